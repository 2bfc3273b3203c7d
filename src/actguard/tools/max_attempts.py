"""`max_attempts`: so many calls in a run, and no more."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from actguard.context import Run, current_frame
from actguard.exceptions import (
    MaxAttemptsConfigurationError,
    MaxAttemptsExceeded,
    MissingRuntimeContextError,
    ToolGuardError,
)
from actguard.exceptions.base import times
from actguard.pipeline.decorate import Decorator
from actguard.pipeline.guard import Args, Ending, Guard, Kwargs, OnStoreError, Part, choice, named, whole
from actguard.pipeline.outcome import is_steering
from actguard.pipeline.target import Target
from actguard.stores.keys import encode_text
from actguard.stores.protocol import CounterGive, CounterTake, Receipt, Refusal, UsedUp
from actguard.tools.scope import counted, key_prefix, own_name

Per = Literal["run", "session", "thread"]
_WITHIN = {"run": "run", "session": "session", "thread": "conversation"}

KEPT_S = 86_400.0
"""A run that does not call for a day is over: a run may end in another process, or in none."""


@dataclass(frozen=True, kw_only=True, eq=False)
class MaxAttempts(Decorator):
    """At most *calls* calls in a run.

    Args:
        calls: how many.
        per: "run"; "session": in a custody session, which may last for several runs; "thread": in a conversation, as
            `client.run(thread_id=)` names it; a run without one is a conversation of its own.
        count: "failures" gives a call back that returned.
        name: shares the count between all functions with the same name. None: each function has its own.

    Raises:
        MaxAttemptsExceeded: on a further call.
        MissingRuntimeContextError: on a call outside a run, or outside a session if that is what counts.
    """

    kind: ClassVar[str] = "max_attempts"
    safe_store_error: ClassVar[OnStoreError] = "local"

    calls: int
    per: Per = "run"
    count: Literal["calls", "failures"] = "calls"
    name: str | None = None

    def __post_init__(self) -> None:
        Guard.__post_init__(self)
        whole("calls", self.calls, error=MaxAttemptsConfigurationError)
        choice("per", self.per, ("run", "session", "thread"))
        choice("count", self.count, ("calls", "failures"))
        if self.name is not None:
            named("name", self.name, error=MaxAttemptsConfigurationError)

    def bind(self, target: Target) -> Part[CounterTake]:
        begin = key_prefix(self.kind, self.name or own_name(target, self.calls)) + f"{self.per}/{self.count}/"
        calls = self.calls

        latest = ("", "")  # the run that called last, and the key that it has: it will call again

        def key_in_run(args: Args, kwargs: Kwargs) -> str:
            nonlocal latest
            run = current_frame().run
            if run is None:
                raise no_run(self.kind, target)
            known, run_id = latest, run.run_id
            if known[0] is not run_id:
                known = latest = (run_id, begin + encode_text(run_id))
            return known[1]

        def key(args: Args, kwargs: Kwargs) -> str:
            return begin + encode_text(self._whose(target))

        def refuse(step: CounterTake, refusal: Refusal) -> ToolGuardError:
            assert isinstance(refusal, UsedUp)
            run = current_frame().run
            said = f"{target.name} was called {times(refusal.used)} in this {_WITHIN[self.per]}"
            return MaxAttemptsExceeded(
                f"{said}, which is all that it may be.",
                tool=target.name,
                used=refusal.used,
                limit=calls,
                refused=refusal.refused,
                run_id=None if run is None else run.run_id,
            )

        def give_back(step: CounterTake, receipt: Receipt, ending: Ending) -> CounterGive | None:
            if ending.error is None:
                return CounterGive(step.key) if self.count == "failures" else None
            return CounterGive(step.key) if spent_nothing(ending.error) else None

        return Part(
            guard=self,
            asks="counter",
            key=key_in_run if self.per == "run" else key,
            like=CounterTake("", calls, KEPT_S),
            refuse=refuse,
            report=give_back,
            quiet_success=self.count == "calls",
        )

    def explain(self) -> str:
        what = "call" if self.count == "calls" else "failed call"
        return f"{counted(self.calls, what)} in a {self.per}"

    def _whose(self, target: Target) -> str:
        if self.per == "session":
            return session_name(self.kind, target)
        run = run_of(self.kind, target)
        return run.thread_id or run.run_id


max_attempts = MaxAttempts


def no_run(kind: str, target: Target) -> MissingRuntimeContextError:
    """What a guard raises that needs a run, outside of any."""
    return MissingRuntimeContextError(
        f"{kind} on {target.name} needs a run: with actguard.Client().run(...), or inside an actguard.BudgetGuard"
    )


def run_of(kind: str, target: Target) -> Run:
    """The run that the call is made in.

    Raises:
        MissingRuntimeContextError: there is none.
    """
    run = current_frame().run
    if run is None:
        raise no_run(kind, target)
    return run


def session_name(kind: str, target: Target) -> str:
    """The name of the custody session that the call is made in: its id, in its scope.

    Raises:
        MissingRuntimeContextError: there is none.
    """
    session = current_frame().session
    if session is None:
        raise MissingRuntimeContextError(f"{kind} on {target.name} needs a session: with actguard.session(...)")
    name: str = session.name
    return name


def spent_nothing(error: BaseException) -> bool:
    """Whether a call that ended with *error* is not to count: a framework interrupted it, to make it again later."""
    return is_steering(error)
