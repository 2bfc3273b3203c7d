"""`idempotent`: the same call, made again, takes effect once."""

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from typing import Any, ClassVar, Literal, NamedTuple

from actguard.context import current_frame
from actguard.exceptions import (
    ActGuardUsageError,
    DuplicateIdempotencyKey,
    IdempotencyInProgress,
    IdempotencyOutcomeUnknown,
    IdempotencyPayloadMismatch,
    InvalidIdempotentToolError,
    ToolGuardError,
)
from actguard.pipeline import arguments, settings
from actguard.pipeline.at_once import AnswersAtOnce
from actguard.pipeline.decorate import Decorator
from actguard.pipeline.guard import (
    Answer,
    Args,
    Ending,
    Guard,
    Kwargs,
    OnStoreError,
    Part,
    called,
    choice,
    flag,
    named,
    parameters,
    positive,
)
from actguard.pipeline.outcome import is_steering, is_unstarted
from actguard.pipeline.target import Target
from actguard.stores.protocol import (
    Begun,
    Claim,
    Done,
    IdempotencyBegin,
    IdempotencyDone,
    IdempotencyLost,
    IdempotencyRelease,
    InProgress,
    Mismatch,
    Receipt,
    Refusal,
    Report,
    Unknown,
    fast_new,
)
from actguard.stores.store import Store
from actguard.tools import results
from actguard.tools.heartbeat import heartbeats
from actguard.tools.hidden_key import refuse_misplaced
from actguard.tools.idempotency_key import (
    fingerprinter,
    giving_key,
    key_reader,
    key_said,
    reach,
    takes_key,
    whole_key_reader,
)
from actguard.tools.owners import new_owner
from actguard.tools.results import Codec, NotKept

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
class Idempotent(Decorator):
    """Run the function once for each key.

    Args:
        ttl_s: seconds that a key is remembered, from the end of its call, however that came out. Then it is a new one.
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
        lease_s: seconds that a running call is believed in without a sign of life, in a store that processes share.
        codec: how results are written to a store that keeps text: "json", "pickle", or two functions. Unpickling runs
            code: only for a store that nobody else writes to.
        reconcile: gets the key and the call's arguments by name when nobody knows how a call came out, and says
            `Executed(result)`, `NotExecuted()` or `StillUnknown()`.
        wait_s: seconds that "wait" waits.
        durable: a file (SQLite) that keeps the records beyond this process. Instead of `store`.

    Raises:
        MissingIdempotencyKeyError: the call has no key.
        IdempotencyInProgress: the first call is still running.
        DuplicateIdempotencyKey: it succeeded, and on_duplicate="raise", or its result could not be kept.
        IdempotencyOutcomeUnknown: it was started, and nobody knows whether it took effect.
        IdempotencyPayloadMismatch: it had other arguments.
        MissingRuntimeContextError: outside a run, or a session, if that is how far a key reaches.
        InvalidIdempotentToolError: where it is written: the function takes no key, or is a generator.
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
        if callable(self.key):
            called("key", self.key)
        else:
            choice("key", self.key, ("arg", "derived"), also="a callable that gets the call's arguments")
        named("key_arg", self.key_arg)
        if self.hide_key is not None:
            flag("hide_key", self.hide_key)
        if self.fingerprint is not None and self.fingerprint != "args":
            parameters("fingerprint", self.fingerprint, also='"args", None')
        object.__setattr__(self, "safe_exceptions", _exceptions(self.safe_exceptions))
        if isinstance(self.codec, str):
            choice("codec", self.codec, ("json", "pickle"), also="a pair of functions")
        elif not isinstance(self.codec, tuple) or len(self.codec) != 2:  # pyright: ignore[reportUnnecessaryIsInstance, reportUnnecessaryComparison]
            raise ActGuardUsageError("codec must be 'json', 'pickle', or a pair of functions", argument="codec")
        else:
            for function in self.codec:
                called("codec", function)
        if self.reconcile is not None:
            called("reconcile", self.reconcile)
        if self.durable is not None:
            if self.store is not None:
                raise ActGuardUsageError("give either durable or store", argument="durable")
            path = named("durable", self.durable)
            # A relative path means the same file wherever the program goes later. ":memory:" is refused, as itself.
            object.__setattr__(self, "store", _kept_at(path if path == ":memory:" else os.path.abspath(path)))

    def bind(self, target: Target) -> Part[IdempotencyBegin]:
        _refuse_generators(target)
        if takes_key(self, target):
            refuse_misplaced(target, self.key_arg, given=self.key != "arg", hidden=bool(self.hidden(target)))
        store = self.store_under(settings.current().store)
        lease_s = (
            self.lease_s if store.blocking else inf
        )  # without a process of its own, a call cannot outlive its store
        codec = results.codec(self.codec) if store.serialises else None
        where, key = reach(self, target), whole_key_reader(self, target)
        fingerprint = fingerprinter(self, target)
        ttl_s = float(self.ttl_s)
        names_owners = isinstance(store, AnswersAtOnce)
        by_key = names_owners and fingerprint is None

        def step(args: Args, kwargs: Kwargs) -> IdempotencyBegin:
            payload = fingerprint(args, kwargs) if fingerprint else None
            owner = "" if names_owners else new_owner()
            fields = (key(args, kwargs), owner, ttl_s, lease_s, payload, False)
            return fast_new(IdempotencyBegin, fields)  # type: ignore[no-any-return]

        def refuse(step: IdempotencyBegin, refusal: Refusal) -> ToolGuardError | Answer:
            returns = self.on_duplicate != "raise" and not step.observe
            if isinstance(refusal, Done) and returns:
                with suppress(NotKept):
                    kept = results.replay(refusal.result, codec)
                    lazy = kept.awaited and target.kind == "sync"
                    return Answer(_ready(kept.value) if lazy else kept.value, replayed=True)
            said, tool = key_said(step.key, where()), target.name
            run = current_frame().run
            named: dict[str, Any] = {"tool": tool, "key": said, "record": step.key, "run_id": run and run.run_id}
            if isinstance(refusal, Done):
                if returns:
                    message = f"{tool} was done with key {said!r} already; its result could not be kept."
                    return DuplicateIdempotencyKey(message, reason="result_not_kept", **named)
                return DuplicateIdempotencyKey(f"{tool} was done with key {said!r} already.", **named)
            if isinstance(refusal, InProgress):
                after = None if refusal.retry_after == inf else refusal.retry_after
                return IdempotencyInProgress(f"{tool} is running with key {said!r}.", retry_after=after, **named)
            if isinstance(refusal, Mismatch):
                message = f"{tool} was called with key {said!r} before, and other arguments."
                return IdempotencyPayloadMismatch(message, **named)
            assert isinstance(refusal, Unknown)
            return IdempotencyOutcomeUnknown(
                f"{tool} was started with key {said!r}, and it is not known whether it took effect ({refusal.error}).",
                details={"error": refusal.error},
                **named,
            )

        def patience(refusal: Refusal, left: float) -> float | None:
            return min(_POLL_S, left) if isinstance(refusal, InProgress) and left > 0 else None

        def started(step: IdempotencyBegin, store: Store | None) -> None:
            if store is not None:
                heartbeats.begin(step.owner, store, "idempotency", step.key, step.lease_s)

        def report(step: IdempotencyBegin, receipt: Receipt, ending: Ending) -> Report:
            assert isinstance(receipt, Begun | Claim)
            owner = receipt.owner if isinstance(receipt, Claim) else step.owner
            if step.lease_s != inf:
                heartbeats.end(owner)
            error = ending.error
            if error is None:
                kept = results.keep(ending.result, ending.awaited, codec)
                return fast_new(IdempotencyDone, (step.key, owner, ttl_s, kept))  # type: ignore[no-any-return]
            if isinstance(error, self.safe_exceptions) or is_steering(error) or is_unstarted(error, target):
                return IdempotencyRelease(step.key, owner)
            return IdempotencyLost(step.key, owner, ttl_s, type(error).__qualname__)

        return Part(
            guard=self,
            asks="idempotency",
            step=None if by_key else step,
            key=key if by_key else None,
            like=IdempotencyBegin("", "", ttl_s, lease_s) if by_key else None,
            refuse=refuse,
            patience=patience if self.on_duplicate == "wait" else None,
            wait_s=self.wait_s,
            recourse=_recourse(self, target, codec) if self.reconcile else None,
            fill=giving_key(self, target, key_reader(self, target)) if self.key != "arg" else None,
            started=started if lease_s != inf else None,
            report=report,
            keep=results.copied if names_owners and codec is None else None,
            kept_as_they_are=results.BARE,
            keep_s=ttl_s,
            lost=_lease_lost,
        )

    def hidden(self, target: Target) -> frozenset[str]:
        """Parameters that are not to be seen in the function's signature."""
        hide = self.key != "arg" if self.hide_key is None else self.hide_key
        return frozenset({self.key_arg}) if hide and takes_key(self, target) else frozenset()

    def explain(self) -> str:
        key = f"key {self.key_arg!r}" if self.key == "arg" else "derived key" if self.key == "derived" else "own key"
        return f"once per {key} and {self.scope}, kept {self.ttl_s:g} s"


idempotent = Idempotent


@functools.cache
def _kept_at(path: str) -> Store:
    from actguard.stores.durable import DurableStore

    return DurableStore(path)


# ---- endings ------------------------------------------------------------------------------------------------------


def _lease_lost(report: Report) -> ToolGuardError | None:
    """The call took longer than anybody believed in it, and its key has another owner, or a result, by now."""
    if not isinstance(report, IdempotencyDone | IdempotencyLost | IdempotencyRelease):
        return None
    return ToolGuardError("another call holds this key by now.", "LEASE_LOST", reason="lease_lost")


def _recourse(guard: Idempotent, target: Target, codec: Codec | None) -> Callable[..., bool]:
    key, named_arguments = key_reader(guard, target), arguments.named_arguments(target)

    def recourse(
        args: tuple[Any, ...], kwargs: Mapping[str, Any], step: IdempotencyBegin, refusal: Refusal, store: Store
    ) -> bool:
        """Whether it is worth asking again."""
        if not isinstance(refusal, Unknown) or guard.reconcile is None:
            return False
        found = guard.reconcile(str(key(args, kwargs)), named_arguments(args, kwargs))
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
