"""`actguard.circuits`: what the circuits of this process agree on, how they stand, and putting them right by hand.

    circuits.state("mail_api").state
    circuits.force("mail_api", "forced_open")

A circuit is where its guards keep it: in the store of each guard that has one, else in the configured one.
"""

import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any, get_args

from actguard.exceptions import CircuitBreakerConfigurationError
from actguard.pipeline import settings
from actguard.pipeline.guard import a_store
from actguard.stores.keys import encode
from actguard.stores.protocol import BreakerRules, BreakerState, Circuit
from actguard.stores.store import Store
from actguard.tools.scope import key_prefix

_Error = CircuitBreakerConfigurationError

_STOPS_MOST = ("forced_open", "open", "half_open", "closed", "observe", "disabled")


class _Known:
    """A circuit's settings, and the stores that guards of its name were given. None: they use the configured one."""

    def __init__(self, rules: BreakerRules) -> None:
        self.rules = rules
        self._stores: list[Callable[[], Store | None] | None] = []

    def add(self, store: Store | None) -> None:
        if not any((None if kept is None else kept()) is store for kept in self._stores):
            self._stores.append(None if store is None else weakref.ref(store))

    def stores(self) -> list[Store]:
        """Where it is, now."""
        configured = settings.current().store
        found = [configured if kept is None else kept() for kept in self._stores]
        there = {id(store): store for store in found if store is not None}
        return list(there.values()) or [configured]


class Circuits:
    """The circuits of this process, by name.

    `astate`, `aforce`, `areset` and `aforget` are the same, on an event loop.
    """

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}
        self._lock = threading.Lock()

    def agree(self, name: str, rules: BreakerRules, store: Store | None) -> None:
        """Note the settings of *name*, and that a guard keeps it in *store*.

        Raises:
            CircuitBreakerConfigurationError: a guard with other settings has that name already.
        """
        with self._lock:
            known = self._known.setdefault(name, _Known(rules))
            before = known.rules
            if before == rules:
                known.add(store)
                return
        differs = next(field for field in rules._fields if getattr(before, field) != getattr(rules, field))
        raise _Error(
            f"the circuit {name!r} has {differs}={getattr(before, differs)!r} elsewhere, and "
            f"{getattr(rules, differs)!r} here: give both the same, or another name; "
            "actguard.circuits.forget(name) drops the old settings",
            argument=differs,
        )

    def state(self, name: str, scope: Any = None, *, store: Store | None = None) -> Circuit:
        """How the circuit stands: `.state`, `.fails`, `.retry_after`. Of several, the one that stops most.

        Args:
            scope: whose circuit, where each has one.
            store: the one in this store, where guards of one name have several.
        """
        known, key = self._of(name), _key(name, scope)
        return _first([each.circuit(key, known.rules) for each in _places(known, store)])

    def force(self, name: str, state: BreakerState, scope: Any = None, *, store: Store | None = None) -> None:
        """Put the circuit into *state*; "forced_open", "disabled" and "observe" last until the next time.

        Args:
            state: "closed", "open", "half_open"; "forced_open" lets no call pass, "disabled" and "observe" let all
                pass, and "observe" counts.
            scope, store: as in `state`.
        """
        known, key = self._of(name), _key(name, scope)
        _check_state(state)
        for each in _places(known, store):
            each.force_circuit(key, known.rules, state)

    def reset(self, name: str, scope: Any = None, *, store: Store | None = None) -> None:
        """Close the circuit."""
        self.force(name, "closed", scope, store=store)

    def forget(self, name: str) -> None:
        """Drop its settings and all its state, so that it may be defined anew."""
        for each in self._drop(name):
            each.forget("breaker", _begin(name))

    async def astate(self, name: str, scope: Any = None, *, store: Store | None = None) -> Circuit:
        known, key = self._of(name), _key(name, scope)
        return _first([await _awaited(each, "circuit", key, known.rules) for each in _places(known, store)])

    async def aforce(self, name: str, state: BreakerState, scope: Any = None, *, store: Store | None = None) -> None:
        known, key = self._of(name), _key(name, scope)
        _check_state(state)
        for each in _places(known, store):
            await _awaited(each, "force_circuit", key, known.rules, state)

    async def areset(self, name: str, scope: Any = None, *, store: Store | None = None) -> None:
        await self.aforce(name, "closed", scope, store=store)

    async def aforget(self, name: str) -> None:
        for each in self._drop(name):
            await _awaited(each, "forget", "breaker", _begin(name))

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._known))

    def _of(self, name: str) -> _Known:
        try:
            return self._known[name]
        except (KeyError, TypeError):
            known = ", ".join(map(repr, self)) or "none"
            raise _Error(f"there is no circuit {name!r}, but {known}", argument="name") from None

    def _drop(self, name: str) -> list[Store]:
        with self._lock:
            known = self._known.pop(name, None)
        return [settings.current().store] if known is None else known.stores()


circuits = Circuits()


def _places(known: _Known, store: Store | None) -> list[Store]:
    if store is None:
        return known.stores()
    a_store("store", store)
    return [store]


def _first(found: list[Circuit]) -> Circuit:
    return min(found, key=lambda circuit: _STOPS_MOST.index(circuit.state))


def _check_state(state: Any) -> None:
    allowed = get_args(BreakerState)
    if not isinstance(state, str) or state not in allowed:
        raise _Error(f"state must be one of {', '.join(map(repr, allowed))}, not {state!r}", argument="state")


async def _awaited(store: Store, operation: str, *arguments: Any) -> Any:
    if store.aio is not None:
        return await getattr(store.aio, operation)(*arguments)
    if store.blocking:
        import asyncio

        return await asyncio.to_thread(getattr(store, operation), *arguments)
    return getattr(store, operation)(*arguments)


def _begin(name: str) -> str:
    return key_prefix("circuit_breaker", name)


def _key(name: str, scope: Any) -> str:
    try:
        return _begin(name) + ("" if scope is None else encode(scope))
    except (TypeError, ValueError) as error:
        raise _Error(f"scope has no stable text ({error}), so that no circuit is its own", argument="scope") from None
