"""Who goes when: the one lock of a tree of scopes, and the queue of calls that wait for others to settle.

Rules of the queue:
- First come, first served among calls that wait for the same scope; a call that another scope would let through passes.
- Nobody waits for a call that cannot go on before he does: his own, or one whose owner is waiting himself.
- Nobody waits for ever for a stream that was dropped unread, or given to somebody else by a task or thread that has
  ended: who waits looks for such streams now and then.
- A waiter wakes when something settles, is released, or a limit is raised. Cancelled or timed out, he leaves the queue,
  and gives back a hold that was granted in the same moment.

Who holds the lock never does I/O, never calls user code. Finalizers run at any allocation, also under the lock: they
never take it, but leave their work for whoever holds it (`later`).
"""

import gc
import math
import threading
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial

from actguard.budget.async_signal import async_signal
from actguard.budget.charge import NO_CHARGE, Charge
from actguard.budget.hold import Hold
from actguard.budget.scope import BudgetScope, Phase, Refusal, Wait
from actguard.context import is_over

_FIRST_TURN, _LONGEST_TURN = 1.0, 30.0  # seconds; see `_turns`
_REMEMBERED_IDS = 1024  # at least, twice that at most; replies reported twice arrive close together


class WaitTimeout(Exception):  # noqa: N818 - becomes the public BudgetWaitTimeoutError where the guard is known
    """`wait_timeout` ran out. Carries the scope that was waited for."""

    def __init__(self, scope: BudgetScope) -> None:
        super().__init__("waited too long")
        self.scope = scope


class _Waiter:
    __slots__ = ("hold", "verdict", "wake")

    def __init__(self, hold: Hold, wake: Callable[[], bool]) -> None:
        self.hold = hold
        self.wake = wake
        self.verdict: Hold | Refusal | None = None  # None while it waits


class Admission:
    """The lock and the queue of one tree of scopes; shared by a root scope and all its descendants."""

    __slots__ = ("_later", "_lock", "_waiters", "seen", "seen_before", "some_outlive")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiters: deque[_Waiter] = deque()
        self._later: deque[Callable[[], None]] = deque()
        self.some_outlive = False  # or did, their guard
        self.seen: dict[str, bool] = {}  # by the id of a reply, whether the call itself has reported it
        self.seen_before: dict[str, bool] = {}  # the ids before those: both go at once, as to take one out is slow

    # ---- before a call ----

    def hold(self, hold: Hold, wait_timeout: float | None = None) -> Hold | Refusal:
        """Wait for room, blocking the thread, and set *hold* aside.

        Raises:
            WaitTimeout: after *wait_timeout* seconds (None: as long as other calls are in flight).
        """
        verdict = self.try_hold(hold)
        if not isinstance(verdict, Wait):
            return verdict
        granted = threading.Lock()
        granted.acquire()

        def wake() -> bool:
            granted.release()
            return True

        waiter = _Waiter(hold, wake)
        try:
            if self._enqueue(waiter):
                for seconds in self._turns(waiter, wait_timeout):
                    if granted.acquire(timeout=seconds):
                        break
                else:
                    return self._give_up(waiter)
        except BaseException:
            self._abandon(waiter)
            raise
        return self._verdict_of(waiter)

    async def ahold(self, hold: Hold, wait_timeout: float | None = None) -> Hold | Refusal:
        """`hold` for an event loop (asyncio or trio): waits without blocking it."""
        verdict = self.try_hold(hold)
        if not isinstance(verdict, Wait):
            return verdict
        wait, wake = async_signal()
        waiter = _Waiter(hold, wake)
        try:
            if self._enqueue(waiter):
                for seconds in self._turns(waiter, wait_timeout):
                    if await wait(seconds):
                        break
                else:
                    return self._give_up(waiter)
        except BaseException:
            self._abandon(waiter)
            raise
        return self._verdict_of(waiter)

    def try_hold(self, hold: Hold) -> Hold | Wait | Refusal:
        """The answer now. `Wait` also when earlier callers wait for a scope that this call would use."""
        with self._lock:
            if self._later:
                self._catch_up()
            if self._waiters:
                refusal = hold.scope.standing_refusal()
                return refusal if refusal is not None else Wait(hold.scope)
            return hold.scope.admit(hold, self._blockers)

    def hold_at_once(self, hold: Hold) -> Hold | Refusal:
        """`hold` for who cannot wait: past the queue. An estimate is no reason to refuse; for default scopes only."""
        with self._lock:
            self._catch_up()
            verdict = hold.scope.admit(hold, _nobody)
            assert not isinstance(verdict, Wait)  # there is nobody to wait for
            return verdict

    # ---- after a call ----

    def settle(
        self, hold: Hold, charge: Charge, response_id: str | None = None, final: bool = True
    ) -> tuple[bool, Refusal | None]:
        """Turn *hold* into spend; nothing is added when *response_id* was counted before.

        Args:
            final: False for a provisional figure, corrected by the next.

        Returns:
            Whether *charge* was counted, and the limit that is passed now, if any.
        """
        with self._lock:
            outcome = self.settle_locked(hold, charge, response_id, final)
            if self._waiters or self._later:
                self._catch_up()
            return outcome

    def settle_locked(
        self, hold: Hold, charge: Charge, response_id: str | None = None, final: bool = True
    ) -> tuple[bool, Refusal | None]:
        """`settle`, for an action that `locked` or `later` runs."""
        if hold.final:
            hold.scope.release(hold)  # unless that was done when it was settled, and not broken off
            return False, None
        if response_id is None or self._first_report(response_id, True):
            return True, hold.scope.settle(hold, charge, final)
        hold.scope.settle(hold, NO_CHARGE, True, 0)
        return False, None

    def release(self, hold: Hold) -> None:
        with self._lock:
            self.drop(hold)
            if self._waiters or self._later:
                self._catch_up()

    def charge(
        self,
        scope: BudgetScope,
        charge: Charge,
        response_id: str | None = None,
        *,
        calls: int = 1,
        phase: Phase = "after",
    ) -> tuple[bool, Refusal | None]:
        """Count spend that has no hold. Returns as `settle` does."""
        with self._lock:
            counted = response_id is None or self._first_report(response_id)
            exceeded = scope.charge(charge, calls, phase) if counted else None
            if self._waiters or self._later:
                self._catch_up()
            return counted, exceeded

    def charge_beside(self, hold: Hold, charge: Charge) -> Refusal | None:
        """Count an attempt that may have been billed, and keep *hold* for the next one.

        Returns:
            The strict limit without room for both; then *hold* is used up by *charge*, and nothing more may be sent.
        """
        with self._lock:
            for scope in hold.scope.chain:
                left_pico = scope.limit_pico - scope.used_pico - scope.held_pico
                if scope.strict and (
                    charge.pico > left_pico
                    or charge.tokens > scope.limit_tokens - scope.used_tokens - scope.held_tokens
                ):
                    self.settle_locked(hold, charge)
                    scope.refused = Refusal(scope, "usd" if charge.pico > left_pico else "token")
                    self._catch_up()
                    return scope.refused
            hold.scope.charge(charge)
            return None

    def grow(self, hold: Hold, pico: int, tokens: int) -> Refusal | None:
        """Set more aside for a call that turned out larger than it looked; a strict scope may refuse, nobody waits."""
        with self._lock:
            if hold not in hold.scope.holds:
                return None
            for scope in hold.scope.chain:
                if scope.strict and (
                    scope.used_pico + scope.held_pico + pico > scope.limit_pico
                    or scope.used_tokens + scope.held_tokens + tokens > scope.limit_tokens
                ):
                    usd = scope.used_pico + scope.held_pico + pico > scope.limit_pico
                    scope.refused = Refusal(scope, "usd" if usd else "token")
                    return scope.refused
            hold.bound_pico += pico
            hold.bound_tokens += tokens
            hold.estimate_pico += pico
            hold.estimate_tokens += tokens
            try:
                for scope in hold.scope.chain:
                    scope.held_pico += pico
                    scope.held_tokens += tokens
            except BaseException:
                hold.scope.count_held()
                raise
            return None

    # ---- at any time ----

    def locked(self, action: Callable[[], None]) -> None:
        """Run *action* on the tree's scopes, then let waiters look again: limits raised, flags set."""
        with self._lock:
            action()
            self._catch_up()

    def later(self, action: Callable[[], None]) -> None:
        """From a finalizer: run *action* now if nobody holds the lock, else leave it for him. *action* takes no lock
        of its own: it gets the lock's protection from here."""
        self._later.append(action)
        if self._lock.acquire(blocking=False):
            try:
                self._catch_up()
            finally:
                self._lock.release()

    @property
    def waiting(self) -> int:
        """Calls in the queue."""
        return len(self._waiters)

    def settle_pending(self) -> None:
        """Do what finalizers left; before spend is read."""
        if self._later:
            with self._lock:
                self._catch_up()

    def outliving(self, scope: BudgetScope) -> list[Hold]:
        """Calls in flight in *scope*, or nested in it, whose guard was left: readers are told what each may come to."""
        if not self.some_outlive:
            return []
        with self._lock:
            return [hold for hold in scope.holds if hold.expected is not None and scope in hold.scope.chain]

    def open_holds(self, scope: BudgetScope) -> list[Hold]:
        """Calls in flight that were opened directly in *scope*."""
        with self._lock:
            self._catch_up()
            return [hold for hold in scope.holds if hold.scope is scope]

    # ---- under the lock ----

    def _first_report(self, response_id: str, by_call: bool = False) -> bool:
        """Whether this report of a reply is to be counted: the first one is, be it the call's own or somebody else's.

        Some servers number their replies from a few hundred ids, so a further call with the same one is another call.
        """
        seen = self.seen
        called = seen.get(response_id)
        if called is None:
            called = self.seen_before.get(response_id)
        if by_call or called is None:
            if len(seen) >= _REMEMBERED_IDS:
                self.seen_before, self.seen = seen, {}
                seen = self.seen
            seen[response_id] = by_call
        return called is None or (by_call and called)

    def _blockers(self, scope: BudgetScope, asking: Hold) -> tuple[int, int, int]:
        """Calls in flight in *scope* that *asking* may wait for: how many, and what they hold there."""
        waiting = [waiter.hold for waiter in self._waiters]
        count = pico = tokens = 0
        for hold in scope.holds:
            if (
                scope not in hold.scope.chain
                or asking.waits_in_vain_for(hold)
                or any(stuck.waits_in_vain_for(hold) for stuck in waiting)
            ):
                continue
            count += 1
            pico += hold.bound_pico if scope.strict else hold.estimate_pico
            tokens += hold.bound_tokens if scope.strict else hold.estimate_tokens
        return count, pico, tokens

    def _catch_up(self) -> None:
        while True:
            while self._later:
                self._later.popleft()()
            if self._waiters:
                self._serve()
            if not self._later:
                return

    def _serve(self) -> None:
        """Let everybody through who can go now, in order. Who waits for a scope keeps those behind him from it."""
        taken: list[BudgetScope] = []
        for waiter in tuple(self._waiters):
            hold = waiter.hold
            chain = hold.scope.chain
            if any(scope in chain for scope in taken):
                if chain[-1] in taken:
                    break  # the root is taken: everybody behind needs it
                continue
            verdict = hold if hold in hold.scope.holds else hold.scope.admit(hold, self._blockers)
            if isinstance(verdict, Wait):
                taken.append(verdict.scope)
                continue
            waiter.verdict = verdict
            self._waiters.remove(waiter)  # at once: from here on others may wait for this one
            if not waiter.wake() and verdict is hold:
                self._later.append(partial(self.drop, hold))

    def drop(self, hold: Hold) -> None:
        """`release`, for an action that `locked` or `later` runs."""
        hold.scope.release(hold)

    def _enqueue(self, waiter: _Waiter) -> bool:
        """Join the queue; False when there is nothing to wait for any more."""
        with self._lock:
            self._waiters.append(waiter)
            self._catch_up()
            return waiter in self._waiters

    def _turns(self, waiter: _Waiter, seconds: float | None) -> Iterator[float]:
        """For how long to wait at a time, *seconds* in all. After each, streams that nobody reads are looked for.

        What a dropped stream holds comes back when the collector finds it, and where everybody waits nothing runs that
        would call the collector. Whoever is next in the queue does.
        """
        left, turn = math.inf if seconds is None else seconds, _FIRST_TURN
        while left > 0:
            yield min(turn, left)
            left -= turn
            turn = min(2 * turn, _LONGEST_TURN)
            scope = waiter.hold.scope
            with self._lock:
                if waiter not in self._waiters:
                    return  # who let it go was broken off before he could say so
                is_next = self._waiters[0] is waiter
                waits_for_streams = is_next and any(hold.reader is not None for hold in scope.holds)
            if waits_for_streams:
                self.look_for_streams(scope)

    def look_for_streams(self, scope: BudgetScope) -> None:
        """In its tree, let go of those that nobody reads, and wait no more for those whose reader nobody knows."""
        gc.collect()
        with self._lock:
            for hold in scope.holds:
                if hold.reader is not None and is_over(hold.reader):
                    hold.parked = True  # it was given to somebody, who may be waiting here
            self._catch_up()

    def _give_up(self, waiter: _Waiter) -> Hold | Refusal:
        with self._lock:
            if waiter not in self._waiters:
                return self._verdict_of(waiter)  # granted in the same moment
            self._waiters.remove(waiter)
            self._catch_up()
        raise WaitTimeout(waiter.hold.scope)

    def _abandon(self, waiter: _Waiter) -> None:
        with self._lock:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
            elif waiter.verdict is waiter.hold:
                self.drop(waiter.hold)
            self._catch_up()

    @staticmethod
    def _verdict_of(waiter: _Waiter) -> Hold | Refusal:
        assert waiter.verdict is not None
        return waiter.verdict


def _nobody(scope: BudgetScope, asking: Hold) -> tuple[int, int, int]:
    return 0, 0, 0
