"""ClientRun: what groups the calls of one task of an agent; and the guards that a client makes for it."""

import os
import re
import threading
from types import FrameType, TracebackType
from typing import Any, Literal, Protocol, Self, get_args

from actguard.budget.account import Account
from actguard.budget.backing import Ask, Backing
from actguard.budget.guard import BudgetGuard, before_first_call
from actguard.budget.policy import text
from actguard.context import Frame, Run
from actguard.exceptions import (
    ActGuardUsageError,
    BudgetClientMismatchError,
    BudgetConfigurationError,
    MissingRuntimeContextError,
    NestedRuntimeContextError,
    ScopeValidationError,
)
from actguard.runtime.backing import RunBacking, ScopeListener
from actguard.runtime.remote import Remote
from actguard.steps import Entries, Entry, caller, frame_here
from actguard.transport.names import check_fits

_PLAN_KEY = re.compile(r"[a-z0-9][a-z0-9_-]*")
_LONGEST_NAME = 200
_LONGEST_PLAN_KEY = 100

WhenShort = Literal["shrink", "deny"]


class OpensRuns(Protocol):
    """A client, as its runs see it."""

    remote: Remote | None

    def open_run(self, run_id: str, user_id: str | None) -> RunBacking:
        """What stands behind a run that is entered now."""
        ...


class ClientRun:
    """A run, active while it is entered; `with` and `async with`. Made by `Client.run`.

    Each task and each thread that works on it inherits it; two of them with runs of their own do not meet.
    """

    def __init__(
        self, client: OpensRuns, user_id: str | None, run_id: str | None, thread_id: str | None = None
    ) -> None:
        text("user_id", user_id)
        text("run_id", run_id)
        text("thread_id", thread_id)
        if client.remote is not None:
            check_fits("run_id", run_id)
            check_fits("user_id", user_id)
        self.client = client
        self.user_id = user_id
        self.run_id = run_id or f"run_{os.urandom(16).hex()}"
        self.thread_id = thread_id
        self._entries = Entries()
        self._coming_and_going = threading.RLock()  # the collector may close a generator inside it, which leaves too

    def __enter__(self) -> Self:
        self._enter(caller())
        return self

    def _enter(self, python: FrameType) -> None:
        frame = frame_here()
        if frame.run is not None and not _of_another_process(frame):
            raise NestedRuntimeContextError(_nested(frame))
        for prepare in before_first_call:  # what is started in a run carries it, whether or not a guard was entered yet
            prepare()
        backing = self.client.open_run(self.run_id, self.user_id)
        run = Run(self.run_id, self.user_id, backing.emitter, backing, self.thread_id)
        entry = Entry(frame)
        try:
            backing.started()
            with self._coming_and_going:
                self._entries.enter(entry, frame._replace(run=run), python)
        except BaseException as error:  # an interrupt: nobody will leave what he has not entered
            with self._coming_and_going:
                self._entries.end(entry)
            backing.ended(error)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        leaving: list[Entry] = []
        try:
            self._leave(caller(), leaving, error)
        except BaseException:  # an interrupt: who has begun to leave has left
            self._leave(caller(), leaving, error)
            raise
        if not leaving:
            raise self._not_inside()

    def _leave(self, python: FrameType, leaving: list[Entry], error: BaseException | None) -> None:
        with self._coming_and_going:
            self._entries.leave(python, leaving)
        for entry in leaving:
            assert entry.entered.run is not None
            entry.entered.run.backing.ended(error)

    def _not_inside(self) -> MissingRuntimeContextError:
        return MissingRuntimeContextError(f"Run {self.run_id!r} is not entered, or was left already.")

    async def __aenter__(self) -> Self:
        self._enter(caller())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        leaving: list[Entry] = []
        try:
            self._leave(caller(), leaving, error)
        except BaseException:
            self._leave(caller(), leaving, error)
            raise
        if not leaving:
            raise self._not_inside()

    def __repr__(self) -> str:
        return f"<ClientRun {self.run_id!r}{' (active)' if self._entries else ''}>"


class ClientBudgetGuard(BudgetGuard):
    """A BudgetGuard that belongs to a client, and is entered inside one of its runs. Made by `Client.budget_guard`."""

    def __init__(
        self, client: OpensRuns, *, plan_key: str | None = None, when_short: WhenShort = "deny", **options: Any
    ) -> None:
        super().__init__(**options)
        if self.name is not None and len(self.name) > _LONGEST_NAME:
            raise ScopeValidationError(f"name must have at most {_LONGEST_NAME} characters", argument="name")
        self.plan_key = None if plan_key is None else checked_plan_key(plan_key)
        self._when_short: WhenShort = checked_when_short(when_short)
        self._client = client

    def _backing(self, frame: Frame) -> Backing | None:
        run = frame.run
        backing = run.backing if run is not None else None
        if run is None or not isinstance(backing, RunBacking):
            raise MissingRuntimeContextError("Enter a run first: `with client.run(): with client.budget_guard(...):`.")
        if backing.client is not self._client:
            raise BudgetClientMismatchError(
                f"The active run {run.run_id!r} belongs to another Client than this guard: make the guard with the "
                "client that the run was started with."
            )
        asked = super()._backing(frame)
        if asked is None and self.plan_key is not None and not self._reservations:
            outermost = frame.scope.listener if isinstance(frame.scope, Account) else None
            if isinstance(outermost, ScopeListener) and outermost.plan_key != self.plan_key:
                raise BudgetConfigurationError(
                    f"This guard is nested, and has plan_key {self.plan_key!r}, but the plan is that of the outermost "
                    f"guard: {outermost.plan_key!r}. Give plan_key there."
                )
        return asked

    def _ask(self, frame: Frame) -> Ask:
        return super()._ask(frame)._replace(plan_key=self.plan_key, when_short=self._when_short)


def checked_plan_key(plan_key: str) -> str:
    """*plan_key*, if it can be one.

    Raises:
        ActGuardUsageError: otherwise.
    """
    text("plan_key", plan_key)
    check_fits("plan_key", plan_key, _LONGEST_PLAN_KEY)
    if not _PLAN_KEY.fullmatch(plan_key):
        raise ActGuardUsageError(
            f"plan_key must be lower-case letters, digits, - and _, and begin with a letter or digit, not {plan_key!r}",
            argument="plan_key",
        )
    return plan_key


def checked_when_short(when_short: WhenShort) -> WhenShort:
    """*when_short*, if it can be one.

    Raises:
        ActGuardUsageError: otherwise.
    """
    if when_short not in get_args(WhenShort):
        raise ActGuardUsageError(f"when_short must be 'shrink' or 'deny', not {when_short!r}", argument="when_short")
    return when_short


def _of_another_process(frame: Frame) -> bool:
    """Whether the run around was entered in the process that this one was forked from."""
    run, scope = frame.run, frame.scope
    if isinstance(scope, Account):
        return scope.pid != os.getpid()
    return run is not None and isinstance(run.backing, RunBacking) and run.backing.pid != os.getpid()


def _nested(frame: Frame) -> str:
    assert frame.run is not None
    if isinstance(frame.run.backing, RunBacking):
        return f"Run {frame.run.run_id!r} is active here already: leave it before you enter another one."
    return (
        "A BudgetGuard is open here, with a run of its own, in which its limits are counted: "
        "enter client.run() first, and the guard inside it."
    )
