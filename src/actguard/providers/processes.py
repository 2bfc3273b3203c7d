"""Limits end at the edge of a process. What was started inside a guard and runs in another process is told so.

There, its first call to a provider meets the guard's `unmetered` policy: refused, warned about, or let through. A guard
of its own covers it as ever. Three ways lead into another process:

    fork                        the child inherits the frame; its account carries the parent's process id
    spawn, forkserver           a process started inside a guard arrives with a notice, in a frame made of it
    ProcessPoolExecutor.submit  the work carries the notice, not the worker, which serves others too; also joblib's

So does work that is handed to a `multiprocessing.Pool` (pools.py). Not reached: `subprocess`.
"""

import functools
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

from actguard.budget.account import Account, BudgetWarning, label
from actguard.budget.admission import Admission
from actguard.budget.policy import Policy, Reaction
from actguard.budget.pricing import prices
from actguard.context import Frame, Run, enter_frame
from actguard.exceptions import UnmeteredCallError, UnsupportedSDKError
from actguard.propagation import Patching, around_submit, carrying
from actguard.steps import frame_here

pid = os.getpid()
"""Of this process. An account with another one is not covered here: `account_here` says what that means."""

_ELSEWHERE = 0  # no process has this id
_NOTICE = "_actguard_notice"
_told: set[str] = set()


def account_here(account: Account) -> Account:
    """Where to count a call that was made inside *account* of another process, if it may be made.

    That is an account without limits, which nobody reads: nothing here reaches the budget itself.

    Raises:
        UnmeteredCallError: policy `unmetered` is "block", as it is by default under a limit.
    """
    reaction = _reaction(account)
    message = (
        f"This code was started inside {label(account)} and runs in another process, where the limits of that "
        "budget do not reach."
    )
    if reaction == "block":
        raise UnmeteredCallError(
            f"{message} The call was not sent. Open a BudgetGuard in this process, or share one budget between "
            "processes through the gateway; BudgetGuard(unmetered='warn') or 'allow' let such calls pass.",
            reason="process",
        )
    if reaction == "warn" and account.id not in _told:
        if len(_told) > 1000:
            _told.clear()
        _told.add(account.id)
        warnings.warn(f"{message} Its calls are not counted.", BudgetWarning, stacklevel=5)
    return Account(
        account.id,
        name=account.name,
        user_id=account.user_id,
        run_id=account.run_id,
        policy=account.policy,
        book=account.book,
    )


def observe(package: str, patches: Patching) -> None:
    """Have processes and pools of *package*, which is imported, carry the notice."""
    module = sys.modules[package]
    if package == "multiprocessing.process":
        patches.wrap(module.BaseProcess, "start", _around_start)
    else:
        patches.wrap(module.ProcessPoolExecutor, "submit", _around_submit)


class Notice(NamedTuple):
    """What another process needs to know of a budget that does not reach it."""

    id: str
    name: str | None
    user_id: str | None
    run_id: str
    reaction: Reaction

    def frame(self) -> Frame:
        """What surrounds the code there."""
        account = Account(
            self.id,
            name=self.name,
            user_id=self.user_id,
            run_id=self.run_id,
            policy=Policy(unmetered=self.reaction),
            book=prices,
        )
        account.pid = _ELSEWHERE
        return Frame(Run(self.run_id, self.user_id), account)


def arrive(*notice: Any) -> None:
    """Called in a process that was started inside a guard, before its work begins."""
    _watch()
    enter_frame(Notice(*notice).frame())


class Work:
    """A piece of work for another process, with its notice."""

    __slots__ = ("notice", "work")

    def __init__(self, notice: Notice, work: Callable[..., Any]) -> None:
        self.notice = notice
        self.work = work

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        _watch()
        return carrying(self.notice.frame(), self.work)(*args, **kwargs)


class _Arrival:
    """Pickled with a process object, and never unpickled as itself: loading it is the arrival.

    A process that has no actguard must start as ever, so that only built-ins are named.
    """

    _PROGRAM = (
        "try:\n"
        "    from actguard.providers.processes import arrive\n"
        "except ImportError:\n"
        "    pass\n"
        "else:\n"
        "    arrive(*notice)\n"
    )

    def __init__(self, notice: Notice) -> None:
        self.notice = notice

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (self._PROGRAM, {"notice": tuple(self.notice)})


def _around_start(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def start(process: Any) -> Any:
        account = frame_here().scope
        if not isinstance(account, Account):
            return original(process)
        process.__dict__[_NOTICE] = _Arrival(_notice(account))
        try:
            return original(process)
        finally:
            process.__dict__.pop(_NOTICE, None)

    return start


def _around_submit(original: Callable[..., Any]) -> Callable[..., Any]:
    return around_submit(original, noticed)


def noticed(frame: Frame, work: Callable[..., Any]) -> Callable[..., Any]:
    """*work*, handed in inside *frame*, for another process."""
    account = frame.scope
    return Work(_notice(account), work) if isinstance(account, Account) else work


def _notice(account: Account) -> Notice:
    return Notice(account.id, account.name, account.user_id, account.run_id, _reaction(account))


def _reaction(account: Account) -> Reaction:
    return account.policy.unmetered or ("block" if account.limited else "warn")


def _watch() -> None:
    from actguard.providers.install import install

    try:
        install()
    except UnsupportedSDKError as unsupported:  # a process that calls no provider need not end for it
        warnings.warn(str(unsupported), BudgetWarning, stacklevel=3)


def _forked() -> None:
    """In a forked child, on the one thread it has: another one may have held the lock of the budget at that moment, and
    would never let go of it here. Settlements in the child go by a lock of their own, into the child's copy."""
    global pid
    pid = os.getpid()
    account = frame_here().scope
    if isinstance(account, Account):
        admission = Admission()
        for inherited in account.accounts():
            inherited.admission = admission


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_forked)
