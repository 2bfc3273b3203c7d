"""`actguard.idempotency`: the records of idempotent calls, and saying what became of those that nobody knows about."""

import builtins
from typing import Any, Literal

from actguard.exceptions import ActGuardUsageError
from actguard.pipeline import settings
from actguard.pipeline.guard import a_store, choice, named, positive, whole
from actguard.stores.protocol import Done, IdempotencyRecord
from actguard.stores.store import Store
from actguard.tools import results
from actguard.tools.idempotent import Executed, NotExecuted
from actguard.tools.results import Codec

State = Literal["in_progress", "done", "unknown"]
_STATES: tuple[State, ...] = ("in_progress", "done", "unknown")


class IdempotencyRecords:
    """The records of the configured store, or of the one that is named.

    `alist`, `aresolve` and `aforget` are the same, on an event loop.
    """

    def list(
        self, prefix: str = "", *, state: State | None = None, limit: int = 100, store: Store | None = None
    ) -> list[IdempotencyRecord]:
        """Records whose key starts with *prefix*; an error's `.record` is a whole one.

        Args:
            state: "in_progress", "done" or "unknown"; None: any.
            limit: so many at most, in no order.
            store: where they are kept; None: where `actguard.configure` says.
        """
        return _or_configured(store).list_idempotency(_prefix(prefix, state, limit), state=state, limit=limit)

    def resolve(
        self,
        key: str,
        outcome: Executed | NotExecuted,
        *,
        ttl_s: float = 3600.0,
        codec: Literal["json", "pickle"] | Codec = "json",
        store: Store | None = None,
    ) -> bool:
        """Say what became of a call whose outcome is unknown. False when it is not (or no longer) unknown.

        Args:
            key: an error's `.record`, or a record's `.key`.
            outcome: `Executed(result)`: further calls get it; `NotExecuted()`: the next one is made.
            ttl_s: seconds that the result is kept.
            codec: the guard's own, which will read the result.
            store: as in `list`.
        """
        kept = _or_configured(store)
        return kept.resolve_idempotency(
            named("key", key), _written(outcome, kept, codec), ttl_s=positive("ttl_s", ttl_s)
        )

    def forget(self, prefix: str, *, store: Store | None = None) -> int:
        """Remove records; their calls may be made again."""
        return _or_configured(store).forget("idempotency", named("prefix", prefix))

    async def alist(
        self, prefix: str = "", *, state: State | None = None, limit: int = 100, store: Store | None = None
    ) -> builtins.list[IdempotencyRecord]:
        kept = _or_configured(store)
        found: list[IdempotencyRecord] = await _awaited(
            kept, "list_idempotency", _prefix(prefix, state, limit), state=state, limit=limit
        )
        return found

    async def aresolve(
        self,
        key: str,
        outcome: Executed | NotExecuted,
        *,
        ttl_s: float = 3600.0,
        codec: Literal["json", "pickle"] | Codec = "json",
        store: Store | None = None,
    ) -> bool:
        kept = _or_configured(store)
        done, seconds = _written(outcome, kept, codec), positive("ttl_s", ttl_s)
        return bool(await _awaited(kept, "resolve_idempotency", named("key", key), done, ttl_s=seconds))

    async def aforget(self, prefix: str, *, store: Store | None = None) -> int:
        return int(await _awaited(_or_configured(store), "forget", "idempotency", named("prefix", prefix)))


idempotency = IdempotencyRecords()


def _or_configured(store: Store | None) -> Store:
    if store is None:
        return settings.current().store
    a_store("store", store)
    return store


def _prefix(prefix: str, state: State | None, limit: int) -> str:
    if not isinstance(prefix, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ActGuardUsageError(f"prefix must be a text, not {prefix!r}", argument="prefix")
    if state is not None:
        choice("state", state, _STATES)
    whole("limit", limit)
    return prefix


def _written(outcome: Executed | NotExecuted, store: Store, codec: Literal["json", "pickle"] | Codec) -> Done | None:
    """What *store* is told. Nothing is taken for "not executed" but what says so: its call may be made again."""
    if isinstance(outcome, NotExecuted):
        return None
    if not isinstance(outcome, Executed):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ActGuardUsageError(
            f"outcome must be Executed(result) or NotExecuted(), not {outcome!r}", argument="outcome"
        )
    return Done(results.keep(outcome.result, False, results.codec(codec) if store.serialises else None))


async def _awaited(store: Store, operation: str, *arguments: Any, **options: Any) -> Any:
    if store.aio is not None:
        return await getattr(store.aio, operation)(*arguments, **options)
    if store.blocking:
        import asyncio

        return await asyncio.to_thread(getattr(store, operation), *arguments, **options)
    return getattr(store, operation)(*arguments, **options)
