"""`idempotent`: the same call, made again, takes effect once."""

import functools
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from typing import Any, ClassVar, Literal, NamedTuple

from actguard.context import current_frame
from actguard.exceptions import (
    ActGuardToolError,
    ActGuardUsageError,
    DuplicateIdempotencyKey,
    IdempotencyInProgress,
    IdempotencyOutcomeUnknown,
    IdempotencyPayloadMismatch,
    InvalidIdempotentToolError,
    MissingIdempotencyKeyError,
    ToolGuardError,
)
from actguard.pipeline import arguments, settings
from actguard.pipeline.arguments import MISSING, Getter
from actguard.pipeline.guard import Answer, Ending, Guard, OnStoreError, Part, choice, named, positive
from actguard.pipeline.outcome import is_steering
from actguard.pipeline.target import Target
from actguard.stores.keys import encode_int, encode_text
from actguard.stores.protocol import (
    Done,
    IdempotencyBegin,
    IdempotencyDone,
    IdempotencyLost,
    IdempotencyRecord,
    IdempotencyRelease,
    InProgress,
    Mismatch,
    Receipt,
    Refusal,
    Report,
    Store,
    Unknown,
    fast_new,
)
from actguard.tools import results
from actguard.tools.canonical import digest
from actguard.tools.heartbeat import heartbeats
from actguard.tools.hidden_key import refuse_misplaced
from actguard.tools.max_attempts import no_run, session_id
from actguard.tools.owners import new_owner
from actguard.tools.results import Codec, NotKept
from actguard.tools.scope import key_prefix

_POLL_S = 0.05


class Executed(NamedTuple):
    """Says `reconcile`: it was done, with this result."""

    result: Any = None


class NotExecuted(NamedTuple):
    """Says `reconcile`: it was not done, and may be done now."""


class StillUnknown(NamedTuple):
    """Says `reconcile`: nobody knows."""


Reconciled = Executed | NotExecuted | StillUnknown


@dataclass(frozen=True, kw_only=True, eq=False)
class Idempotent(Guard):
    """Run the function once for each key.

    Args:
        ttl_s: how long a key is remembered, from the end of its call.
        on_duplicate: what a further call with the key does, once the first succeeded: "return" its result, "raise",
            or "wait" for it first if it is still running, and then return its result.
        key: "arg": in the argument *key_arg*; "derived": made of the function, its arguments and the run; or a callable
            that gets the call's arguments.
        key_arg: the parameter. With a key that is not an argument, a function that has it is given the key there.
        hide_key: whether the parameter is left out of the visible signature, so that no model makes one up. None: if
            the key is not an argument.
        fingerprint: what a further call must agree in: "args" (all arguments), some by name, or None: nothing.
        scope: how far a key reaches: the "run", the custody "session", or "global".
        safe_exceptions: after one of these nothing was done, and the key is free again.
        lease_s: how long a running call is believed in without a sign of life; with a store shared by processes only.
        codec: how results are written to a store that keeps text: "json", "pickle", or two functions. Unpickling runs
            code: only for a store that nobody else writes to.
        reconcile: gets the key and the call's arguments by name when nobody knows how a call came out, and says
            `Executed(result)`, `NotExecuted()` or `StillUnknown()`.
        wait_s: how long "wait" waits.
        durable: a file (SQLite) that keeps the records beyond this process. Instead of `store`.

    Raises:
        MissingIdempotencyKeyError: the call has no key.
        IdempotencyInProgress: the first call is still running.
        DuplicateIdempotencyKey: it succeeded, and on_duplicate="raise".
        IdempotencyOutcomeUnknown: it was started, and nobody knows whether it took effect.
        IdempotencyPayloadMismatch: it had other arguments.
        MissingRuntimeContextError: outside a run.
    """

    kind: ClassVar[str] = "idempotent"
    once: ClassVar[bool] = True
    safe_store_error: ClassVar[OnStoreError] = "closed"

    ttl_s: float = 3600.0
    on_duplicate: Literal["return", "raise", "wait"] = "return"
    key: Literal["arg", "derived"] | Callable[..., Any] = "arg"
    key_arg: str = "idempotency_key"
    hide_key: bool | None = None
    fingerprint: Literal["args"] | Sequence[str] | None = "args"
    scope: Literal["run", "session", "global"] = "run"
    safe_exceptions: tuple[type[BaseException], ...] = ()
    lease_s: float = 60.0
    codec: Literal["json", "pickle"] | Codec = "json"
    reconcile: Callable[[str, dict[str, Any]], Reconciled] | None = None
    wait_s: float = 60.0
    durable: str | None = None

    def __post_init__(self) -> None:
        Guard.__post_init__(self)
        for argument in ("ttl_s", "lease_s", "wait_s"):
            positive(argument, getattr(self, argument))
        choice("on_duplicate", self.on_duplicate, ("return", "raise", "wait"))
        choice("scope", self.scope, ("run", "session", "global"))
        if not callable(self.key):
            choice("key", self.key, ("arg", "derived"), also="a callable that gets the call's arguments")
        named("key_arg", self.key_arg)
        if self.hide_key not in (None, True, False):
            raise ActGuardUsageError(
                f"hide_key must be True, False or None, not {self.hide_key!r}", argument="hide_key"
            )
        if isinstance(self.fingerprint, str) and self.fingerprint != "args":
            raise ActGuardUsageError(
                f'fingerprint must be "args", a list of parameters, or None, not {self.fingerprint!r}',
                argument="fingerprint",
            )
        object.__setattr__(self, "safe_exceptions", _exceptions(self.safe_exceptions))
        if isinstance(self.codec, str):
            choice("codec", self.codec, ("json", "pickle"), also="a pair of functions")
        elif not (isinstance(self.codec, tuple) and len(self.codec) == 2 and all(map(callable, self.codec))):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ActGuardUsageError("codec must be 'json', 'pickle', or a pair of functions", argument="codec")
        if self.reconcile is not None and not callable(self.reconcile):
            raise ActGuardUsageError("reconcile must be callable", argument="reconcile")
        if self.durable is not None:
            if self.store is not None:
                raise ActGuardUsageError("give either durable or store", argument="durable")
            path = named("durable", self.durable)
            # A relative path means the same file wherever the program goes later. ":memory:" is refused, as itself.
            object.__setattr__(self, "store", _kept_at(path if path == ":memory:" else os.path.abspath(path)))

    def bind(self, target: Target) -> Part[IdempotencyBegin]:
        _refuse_generators(target)
        if _takes_key(self, target):
            refuse_misplaced(target, self.key_arg, given=self.key != "arg", hidden=bool(self.hidden(target)))
        store = self.store_under(settings.current().store)
        lease_s = (
            self.lease_s if store.blocking else inf
        )  # without a process of its own, a call cannot outlive its store
        codec = results.codec(self.codec) if store.serialises else None
        key = _key_reader(self, target)
        where = _where(self, target)
        fingerprint = _fingerprint(self, target)
        ttl_s = float(self.ttl_s)

        def step(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> IdempotencyBegin:
            payload = fingerprint(args, kwargs) if fingerprint else None
            fields = (where() + key(args, kwargs), new_owner(), ttl_s, lease_s, payload, False)
            return fast_new(IdempotencyBegin, fields)  # type: ignore[no-any-return]

        def refuse(step: IdempotencyBegin, refusal: Refusal) -> ToolGuardError | Answer:
            name, tool = step.key, target.name
            if isinstance(refusal, Done):
                if self.on_duplicate != "raise":
                    try:
                        kept = results.replay(refusal.result, codec)
                    except NotKept:
                        message = f"{tool} was done with this key already; its result could not be kept."
                        return DuplicateIdempotencyKey(message, reason="result_not_kept", tool=tool, key=name)
                    lazy = kept.awaited and target.kind == "sync"
                    return Answer(_ready(kept.value) if lazy else kept.value, replayed=True)
                return DuplicateIdempotencyKey(f"{tool} was done with this key already.", tool=tool, key=name)
            if isinstance(refusal, InProgress):
                after = None if refusal.retry_after == inf else refusal.retry_after
                return IdempotencyInProgress(
                    f"{tool} is running with this key.", tool=tool, key=name, retry_after=after
                )
            if isinstance(refusal, Mismatch):
                return IdempotencyPayloadMismatch(
                    f"{tool} was called with this key before, and other arguments.", tool=tool, key=name
                )
            assert isinstance(refusal, Unknown)
            return IdempotencyOutcomeUnknown(
                f"{tool} was started with this key, and it is not known whether it took effect ({refusal.error}).",
                tool=tool,
                key=name,
                details={"error": refusal.error},
            )

        def patience(refusal: Refusal, left: float) -> float | None:
            return min(_POLL_S, left) if isinstance(refusal, InProgress) and left > 0 else None

        def started(step: IdempotencyBegin, store: Store | None) -> None:
            if store is not None:
                heartbeats.begin(step.owner, store, "idempotency", step.key, step.lease_s)

        def report(step: IdempotencyBegin, receipt: Receipt, ending: Ending) -> Report:
            if step.lease_s != inf:
                heartbeats.end(step.owner)
            error = ending.error
            if error is None:
                kept = results.keep(ending.result, ending.awaited, codec)
                return fast_new(IdempotencyDone, (step[0], step[1], ttl_s, kept))  # type: ignore[no-any-return]
            if isinstance(error, self.safe_exceptions) or is_steering(error) or _never_started(error, target):
                return IdempotencyRelease(step.key, step.owner)
            return IdempotencyLost(step.key, step.owner, ttl_s, type(error).__qualname__)

        return Part(
            guard=self,
            asks="idempotency",
            step=step,
            refuse=refuse,
            patience=patience if self.on_duplicate == "wait" else None,
            wait_s=self.wait_s,
            recourse=_recourse(self, target, codec) if self.reconcile else None,
            fill=_giving_key(self, target, key) if self.key != "arg" else None,
            started=started if lease_s != inf else None,
            report=report,
            lost=_lease_lost,
        )

    def hidden(self, target: Target) -> frozenset[str]:
        """Parameters that are not to be seen in the function's signature."""
        hide = self.key != "arg" if self.hide_key is None else self.hide_key
        return frozenset({self.key_arg}) if hide and _takes_key(self, target) else frozenset()

    def explain(self) -> str:
        key = f"key {self.key_arg!r}" if self.key == "arg" else "derived key" if self.key == "derived" else "own key"
        return f"once per {key} and {self.scope}, kept {self.ttl_s:g} s"


idempotent = Idempotent


class IdempotencyRecords:
    """The records of the configured store: what is there, and what became of calls that nobody knows about."""

    def list(
        self,
        prefix: str = "",
        *,
        state: Literal["in_progress", "done", "unknown"] | None = None,
        limit: int = 100,
        store: Store | None = None,
    ) -> list[IdempotencyRecord]:
        """Records whose key starts with *prefix*; an error's `.key` is a whole one."""
        return _or_configured(store).list_idempotency(prefix, state=state, limit=limit)

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
            codec: the guard's own, which will read the result.
        """
        kept = _or_configured(store)
        writes = results.codec(codec) if kept.serialises else None
        done = Done(results.keep(outcome.result, False, writes)) if isinstance(outcome, Executed) else None
        return kept.resolve_idempotency(key, done, ttl_s=ttl_s)

    def forget(self, prefix: str, *, store: Store | None = None) -> int:
        """Remove records; their calls may be made again."""
        return _or_configured(store).forget("idempotency", named("prefix", prefix))


idempotency = IdempotencyRecords()


def _or_configured(store: Store | None) -> Store:
    return settings.current().store if store is None else store


@functools.cache
def _kept_at(path: str) -> Store:
    from actguard.stores.durable import DurableStore

    return DurableStore(path)


# ---- the parts of a key -------------------------------------------------------------------------------------------


def _where(guard: Idempotent, target: Target) -> Callable[[], str]:
    begin = key_prefix(guard.kind, target.tool_id)
    if guard.scope == "global":
        return lambda: begin
    if guard.scope == "session":
        return lambda: f"{begin}{_counted(session_id(guard.kind, target))}/"

    def run() -> str:
        run = current_frame().run
        if run is None:
            raise no_run(guard.kind, target)
        return f"{begin}{len(run[0])}:{run[0]}/"

    return run


def _counted(text: str) -> str:
    return f"{len(text)}:{text}"


def _takes_key(guard: Idempotent, target: Target) -> bool:
    return target.signature is not None and guard.key_arg in target.signature.parameters


def _key_reader(guard: Idempotent, target: Target) -> Callable[[tuple[Any, ...], Mapping[str, Any]], str]:
    if guard.key == "derived":
        named_arguments = arguments.named_arguments(target)

        def derive(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
            given = named_arguments(args, kwargs)
            given.pop(guard.key_arg, None)
            return "d:" + digest(_without_self(given))

        return derive
    if callable(guard.key):
        read: Getter = arguments.bound(target, guard.key)
    else:
        if not _takes_key(guard, target) and not _takes_anything(target):
            raise InvalidIdempotentToolError(
                f"{target.name} has no parameter {guard.key_arg!r}: add one, name another with key_arg=, "
                'or derive the key with key="derived"',
                argument="key_arg",
            )
        path = guard.key_arg if _takes_key(guard, target) else f"{_takes_anything(target)}.{guard.key_arg}"
        read = arguments.getter(target, path, argument="key_arg", error=InvalidIdempotentToolError)

    def key(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
        value = read(args, kwargs)
        if type(value) is int:
            return encode_int(value)
        if type(value) is str and value.strip():
            return encode_text(value)
        raise MissingIdempotencyKeyError(
            f"{target.name} needs an idempotency key: a non-empty text or a whole number"
            + (f" in {guard.key_arg!r}." if guard.key == "arg" else "."),
            reason="missing" if value is MISSING or value is None else "invalid",
            tool=target.name,
        )

    return key


def _fingerprint(guard: Idempotent, target: Target) -> Callable[[tuple[Any, ...], Mapping[str, Any]], str] | None:
    if guard.fingerprint is None or guard.key == "derived":
        return None
    named_arguments = arguments.named_arguments(target)
    if guard.fingerprint != "args":
        for name in guard.fingerprint:
            arguments.getter(target, name, argument="fingerprint", error=InvalidIdempotentToolError)
    only = None if guard.fingerprint == "args" else frozenset(guard.fingerprint)

    def fingerprint(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
        given = _without_self(named_arguments(args, kwargs))
        given.pop(guard.key_arg, None)
        return digest(given if only is None else {name: given.get(name) for name in only})

    return fingerprint


def _without_self(given: dict[str, Any]) -> dict[str, Any]:
    first = next(iter(given), None)
    if first in ("self", "cls"):
        del given[first]
    return given


def _takes_anything(target: Target) -> str | None:
    if target.signature is None:
        return None
    return next((p.name for p in target.signature.parameters.values() if p.kind is p.VAR_KEYWORD), None)


def _giving_key(
    guard: Idempotent, target: Target, key: Callable[..., str]
) -> Callable[[Callable[..., Any]], Callable[..., Any]] | None:
    if not _takes_key(guard, target):
        return None
    place = arguments.position(target, guard.key_arg)
    index = sys.maxsize if place is None else place[0]

    def wrap(body: Callable[..., Any]) -> Callable[..., Any]:
        def with_key(*args: Any, **kwargs: Any) -> Any:
            with suppress(Exception):  # then it is watched, or off: enforced, it has refused the call
                made = key(args, kwargs)
                if index < len(args):
                    args = (*args[:index], made, *args[index + 1 :])
                else:
                    kwargs = {**kwargs, guard.key_arg: made}
            return body(*args, **kwargs)

        return with_key

    return wrap


# ---- endings ------------------------------------------------------------------------------------------------------


def _lease_lost(report: Report) -> ToolGuardError | None:
    """The call took longer than anybody believed in it, and its key has another owner, or a result, by now."""
    if not isinstance(report, IdempotencyDone | IdempotencyLost | IdempotencyRelease):
        return None
    return ToolGuardError("another call holds this key by now.", "LEASE_LOST", reason="lease_lost")


def _never_started(error: BaseException, target: Target) -> bool:
    return isinstance(error, ActGuardToolError) and error.unstarted == target.tool_id


def _recourse(guard: Idempotent, target: Target, codec: Codec | None) -> Callable[..., bool]:
    named_arguments = arguments.named_arguments(target)

    def recourse(
        args: tuple[Any, ...], kwargs: Mapping[str, Any], step: IdempotencyBegin, refusal: Refusal, store: Store
    ) -> bool:
        """Whether it is worth asking again."""
        if not isinstance(refusal, Unknown) or guard.reconcile is None:
            return False
        found = guard.reconcile(step.key, named_arguments(args, kwargs))
        if isinstance(found, Executed):
            done = Done(results.keep(found.result, target.kind == "async", codec))
            return store.resolve_idempotency(step.key, done, ttl_s=guard.ttl_s)
        return isinstance(found, NotExecuted) and store.resolve_idempotency(step.key, None, ttl_s=guard.ttl_s)

    return recourse


async def _ready(value: Any) -> Any:
    return value


def _refuse_generators(target: Target) -> None:
    if target.kind in ("generator", "async_generator"):
        raise InvalidIdempotentToolError(
            f"{target.name} is a generator: what it yields cannot be given out again; collect it in a function that "
            "returns a list, and guard that",
            argument="function",
        )


def _exceptions(kinds: Any) -> tuple[type[BaseException], ...]:
    found = (kinds,) if isinstance(kinds, type) else tuple(kinds) if isinstance(kinds, list | tuple | set) else (kinds,)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    for kind in found:  # pyright: ignore[reportUnknownVariableType]
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            raise ActGuardUsageError(
                f"safe_exceptions must hold exception classes, not {kind!r}", argument="safe_exceptions"
            )
    return found  # pyright: ignore[reportUnknownVariableType]
