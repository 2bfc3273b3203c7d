"""BudgetGuard: the context manager people see. Limits in, spend out; what happens between is in `account.py`."""

import math
import os
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

from actguard.budget.account import Account, label, sentence
from actguard.budget.backing import Ask, Backing, Reservation
from actguard.budget.policy import (
    OPTIONS,
    Policy,
    callback,
    choice,
    instance,
    no_such_option,
    number,
    text,
    whole_number,
)
from actguard.budget.pricing import PriceBook, prices
from actguard.budget.readings import Readings
from actguard.budget.reported import count_cost, count_usage
from actguard.budget.usage import Usage
from actguard.context import Frame, Run, current_frame
from actguard.exceptions import (
    ActGuardUsageError,
    BudgetConfigurationError,
    BudgetExceededError,
    NestedBudgetGuardError,
)
from actguard.money import from_usd
from actguard.steps import Entries, Entry, caller, frame_here

before_first_call: list[Callable[[], None]] = []
"""Run when a guard is entered, before anything in it: `providers.install` puts itself here. May raise."""

_WARN_AT = 0.8
_ARGUMENTS = ("user_id", "token_limit", "usd_limit", "name", "strict", "on_warning", "prices", "run_id")


class BudgetGuard(Readings):
    """A token and dollar budget around code that calls LLMs; `with` and `async with`.

    Args:
        user_id: who spends; appears in errors and events. None: as the guard or the run around it says.
        token_limit: tokens, input and output together; None for no limit.
        usd_limit: dollars; None for no limit.
        name: for messages, errors and breakdowns.
        strict: never let spend pass a limit: calls are held at a sound bound, and their output cap is lowered to what
            the remainder buys. Otherwise the call that reaches the limit is completed, and the next one refused.
        on_warning: called once with the guard when `warn_at` of a limit is used (0.8 if not given), instead of a
            `BudgetWarning`.
        prices: a PriceBook for this guard. None: that of the guard around it, else `actguard.prices`.
        run_id: the run to count in, where none is active, or that one's; None: the active one, else a new one.
        **options: see `actguard.Policy`: wait_timeout, warn_at, unmetered, unknown_price, unknown_host, unbounded,
            on_abort, lost_attempts, include_usage, bypass, default_max_output.

    Raises:
        ActGuardUsageError: a limit is not a positive, finite number, an option is unknown or has a wrong value.
        NestedBudgetGuardError: on entering it, it is active here already.
        BudgetConfigurationError: on entering it, another run than `run_id` is active here.
    """

    def __init__(
        self,
        user_id: str | None = None,
        *,
        token_limit: int | None = None,
        usd_limit: float | None = None,
        name: str | None = None,
        strict: bool = False,
        on_warning: "Callable[[BudgetGuard], Any] | None" = None,
        prices: PriceBook | None = None,
        run_id: str | None = None,
        **options: Any,
    ) -> None:
        for argument, given in (("user_id", user_id), ("name", name), ("run_id", run_id)):
            text(argument, given)
        choice("strict", strict, (True, False))
        callback("on_warning", on_warning)
        instance("prices", prices, PriceBook)
        for option in options:
            if option not in OPTIONS:
                raise no_such_option(option, _ARGUMENTS)
        if on_warning is not None and options.get("warn_at") is None:
            options["warn_at"] = _WARN_AT  # who wants to be told is told
        self._policy = Policy(**options)
        self._limit_tokens = math.inf if token_limit is None else whole_number("token_limit", token_limit)
        self._limit_pico = (
            math.inf if usd_limit is None else from_usd(number("usd_limit", usd_limit, "dollars, such as 0.05"))
        )
        self.user_id = user_id
        self.name = name
        self.strict = strict
        self.scope_id = f"scp_{os.urandom(16).hex()}"
        self._run_id = run_id
        self._on_warning = on_warning
        self._book = prices
        self._account: Account | None = None
        self._reservations: list[Reservation] = []
        self._entries = Entries()
        self._coming_and_going = threading.RLock()  # the collector may close a generator inside it, which leaves too

    # ---- entering and leaving ----

    def __enter__(self) -> Self:
        frame = self._prepare()
        backing = self._backing(frame)
        entry = Entry(frame)
        reservation = None if backing is None else backing.reserve(self._ask(frame))
        try:
            self._enter(entry, reservation, caller())
        except BaseException:  # an interrupt: nobody will leave what he has not entered
            self._undo(entry, reservation)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        leaving: list[Entry] = []
        due: list[Reservation] = []
        try:
            lost = self._leave(caller(), leaving, due)
            for reservation in due:
                reservation.settle(error)
        except BaseException:  # an interrupt: who has begun to leave has left
            self._leave(caller(), leaving, due)
            for reservation in due:
                reservation.settle_soon()
            raise
        self._show(error, lost)

    async def __aenter__(self) -> Self:
        frame = self._prepare()
        backing = self._backing(frame)
        entry = Entry(frame)
        reservation = None if backing is None else await backing.areserve(self._ask(frame))
        try:
            self._enter(entry, reservation, caller())
        except BaseException:
            self._undo(entry, reservation)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        leaving: list[Entry] = []
        due: list[Reservation] = []
        try:
            lost = self._leave(caller(), leaving, due)
            for reservation in due:
                await reservation.asettle(error)
        except BaseException:
            self._leave(caller(), leaving, due)
            for reservation in due:
                reservation.settle_soon()
            raise
        self._show(error, lost)

    def _prepare(self) -> Frame:
        for prepare in before_first_call:
            prepare()
        frame = frame_here()
        if _is_inside(self._account, frame):
            raise NestedBudgetGuardError("This guard is already active here; make a new BudgetGuard to nest one.")
        run, forked = frame.run, frame.scope is not None and _parent(frame) is None
        if self._run_id is not None and run is not None and run.run_id != self._run_id and not forked:
            raise BudgetConfigurationError(
                f"This guard is for run {self._run_id!r}, and the active run is {run.run_id!r}: leave run_id away, or "
                "enter the guard inside its own run.",
                code="RUN_MISMATCH",
            )
        return frame

    def _backing(self, frame: Frame) -> Backing | None:
        """Whom to ask before this guard is entered: whoever stands behind the run, if it is the outermost one."""
        run = frame.run
        if run is None or run.backing is None or self._reservations or _parent(frame) is not None:
            return None
        backing: Backing = run.backing
        return backing

    def _ask(self, frame: Frame) -> Ask:
        assert frame.run is not None
        account = self._account  # of an earlier entry, which has spent something
        return Ask(
            frame.run.run_id,
            self.scope_id,
            user_id=self.user_id or frame.run.user_id,
            name=self.name,
            pico=self._limit_pico - (account.used_pico if account else 0),
            tokens=self._limit_tokens - (account.used_tokens if account else 0),
        )

    def _enter(self, entry: Entry, reservation: Reservation | None, python: FrameType) -> None:
        frame = entry.around
        with self._coming_and_going:
            account = self._account
            if account is None:
                account = self._open(frame)
            if reservation is not None:
                if not self._reservations:  # else two tasks entered at once: what the second was granted is given back
                    account.listener = reservation.listener
                    self._limit_pico = min(self._limit_pico, account.used_pico + reservation.pico)
                    self._limit_tokens = min(self._limit_tokens, account.used_tokens + reservation.tokens)
                    account.restrict(self._limit_pico, self._limit_tokens)
                    reservation.opened(account)
                self._reservations.append(reservation)
            self._account = account
            run = frame.run or Run(account.run_id, self.user_id)
            self._entries.enter(entry, frame._replace(run=run, scope=account), python)

    def _undo(self, entry: Entry, reservation: Reservation | None) -> None:
        with self._coming_and_going:
            self._entries.end(entry)
            if reservation is not None:
                self._reservations = [other for other in self._reservations if other is not reservation]
                reservation.settle_soon()

    def _open(self, frame: Frame) -> Account:
        parent = _parent(frame)
        book = self._book or (parent.book if parent else prices)
        run_id = self._run_id or (frame.run.run_id if frame.run else None) or f"run_{os.urandom(16).hex()}"
        if self.user_id is None:
            self.user_id = parent.user_id if parent else frame.run.user_id if frame.run else None
        return Account(
            self.scope_id,
            parent=parent,
            name=self.name,
            user_id=self.user_id,
            run_id=run_id,
            policy=self._policy,
            book=book,
            limit_pico=self._limit_pico,
            limit_tokens=self._limit_tokens,
            strict=self.strict,
            on_warning=None if self._on_warning is None else self._warn,
            listener=parent.listener if parent else None,
        )

    def _leave(self, python: FrameType, leaving: list[Entry], due: list[Reservation]) -> bool:
        """Leave an entry, or go on where leaving it was broken off (`Entries.leave`).

        Args:
            due: gets what is to be settled now: nothing while others are inside.

        Returns:
            Whether the code that leaves is not inside.
        """
        account = self._account
        if account is None:
            return False  # as `_show` says
        with self._coming_and_going:
            lost = not _is_inside(account, current_frame())
            if lost and _is_inside(account, frame_here()):
                lost = not account.calls  # by a generator that counts what it calls itself, and has called nothing
            self._entries.leave(python, leaving)
            over = not self._entries
            if over:
                due += self._reservations  # no interrupt comes between two plain assignments
                self._reservations = []
        if over:
            self._tell_unfinished(account)
        return lost

    def _tell_unfinished(self, account: Account) -> None:
        """Tell what still runs by estimate.

        A reply that is billed later, when somebody asks for it, may never be asked for: it is charged by estimate.
        """
        for hold in account.admission.open_holds(account):
            if hold.parked and hold.reader is None:
                account.admission.settle(hold, hold.likely_charge(), final=False)
            else:
                hold.expected, account.admission.some_outlive = hold.likely_charge(), True
            if account.listener is not None:
                account.listener.unfinished(account, hold)

    def _show(self, error: BaseException | None, lost: bool) -> None:
        """Show the refusal that a framework may have hidden."""
        account = self._live()
        blocked = account.standing_block()
        if blocked is not None and isinstance(error, Exception) and not isinstance(error, BudgetExceededError):
            raise blocked from error
        if lost and error is None:  # what is broken off may well be closed from elsewhere
            account.tell_once(
                "lost",
                f"{sentence(label(account))} was entered in one context and left in another, where it was not in "
                "force: calls in between may have gone by uncounted. A web server runs a dependency that yields, or "
                "another generator, step by step on threads. Make it async, or enter the guard around it.",
            )

    def _warn(self) -> None:
        assert self._on_warning is not None
        self._on_warning(self)

    # ---- while it is open ----

    def extend(self, *, usd: float | None = None, tokens: int | None = None) -> None:
        """Raise the limits of a live guard by *usd* dollars and *tokens*; calls are let through again.

        Raises:
            ActGuardUsageError: nothing to add, not a positive number, or the guard has no such limit.
            BudgetExceededError: what is added is shared through a gateway, which has nothing left for it.
        """
        pico, more = self._extension(usd, tokens)
        for reservation in self._reservations[:1]:
            reservation.extend(pico, more)
        self._raise_limits(pico, more)

    async def aextend(self, *, usd: float | None = None, tokens: int | None = None) -> None:
        """`extend` without blocking the event loop, where limits are shared through a gateway."""
        pico, more = self._extension(usd, tokens)
        for reservation in self._reservations[:1]:
            await reservation.aextend(pico, more)
        self._raise_limits(pico, more)

    def _extension(self, usd: float | None, tokens: int | None) -> tuple[int, int]:
        if usd is None and tokens is None:
            raise ActGuardUsageError("extend needs usd=, tokens=, or both", argument="usd")
        pico = 0 if usd is None else from_usd(number("usd", usd, "dollars to add"))
        more = 0 if tokens is None else whole_number("tokens", tokens)
        if pico and self._limit_pico == math.inf:
            raise ActGuardUsageError("this guard has no usd_limit to extend", argument="usd")
        if more and self._limit_tokens == math.inf:
            raise ActGuardUsageError("this guard has no token_limit to extend", argument="tokens")
        return pico, more

    def _raise_limits(self, pico: int, more: int) -> None:
        account = self._account

        def raise_limits() -> None:
            self._limit_pico += pico
            self._limit_tokens += more
            if account is not None:
                account.extend(pico, more)
                account.warned = False

        if account is None:
            raise_limits()
        else:
            account.admission.locked(raise_limits)

    def add_cost(self, *, name: str, usd: float) -> None:
        """Count external spend, such as a paid search, like a call's.

        Raises:
            ActGuardUsageError: the guard was never entered, or *name* is no text.
            ValueError: *usd* is negative or not finite.
            BudgetExceededError: a limit is passed now; the cost is counted nevertheless.
        """
        count_cost(self._live(), name, usd)

    def add_usage(
        self, model: str, usage: Usage, *, usd: float | None = None, provider: str = "", response_id: str | None = None
    ) -> None:
        """Count a call that did not come through a watched SDK, once per *response_id*.

        A framework's callback may report what was already seen at the seam: an id that was counted adds nothing,
        whichever report came first.

        Args:
            usd: its cost, if known; else it is priced as *model* of *provider*, or as `unknown_price` says.
            provider: by default the model's own.

        Raises:
            ActGuardUsageError: the guard was never entered, or *usage* is no `Usage` of counts.
            ValueError: *usd* is negative or not finite.
            UnknownPriceError: no price is known, *usd* is not given, a dollar limit is active, and the policy for
                models without a price is to refuse; nothing is counted.
            BudgetExceededError: a limit is passed now; the usage is counted nevertheless.
        """
        count_usage(self._live(), model, usage, usd, provider, response_id)

    def _live(self) -> Account:
        if self._account is None:
            raise ActGuardUsageError("enter the guard first: with guard: ...")
        return self._account


def _is_inside(account: Account | None, frame: Frame) -> bool:
    return frame.scope is not None and account in frame.scope.chain


def _parent(frame: Frame) -> Account | None:
    """The scope around, if its limits, and its lock, reach into this process."""
    scope = frame.scope
    return scope if isinstance(scope, Account) and scope.pid == os.getpid() else None
