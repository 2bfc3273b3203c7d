"""What happens when a store does not answer: each guard's `on_store_error`, and the way back.

    closed   the call is refused: StoreUnavailableError
    local    this process's own memory stands in, until the store answers again
    open     the call passes; the guard is not asked, and told nothing

One `Standby` for each store, shared by all guards that use it. A pipeline calls it instead of the store, and gets an
`Entry` that says who answered; its reports go to the same place:

    entry = standby.admit(steps, ("closed", "local"))       # one policy per step
    ...
    standby.finish(entry.store, reports)

A store that failed is left alone for `pause_s`, so that an outage costs one timeout now and then instead of one for
every call; the first call after that asks it again. What could not be written after a call is kept and written when the
store answers (at-least-once is safe), so that an outage during a body costs no record, unless the process ends first.
So is the withdrawal of a call that was not made, but may have been let in: its answer was lost, or it was cancelled.
A store that is there and refuses one thing is asked for everything else as before; that one thing is not tried again.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

from actguard.exceptions import StoreFullError, StoreUnavailableError
from actguard.stores.protocol import (
    ANY_GENERATION,
    REFUSED,
    Admitted,
    BreakerAcquire,
    BreakerRecord,
    IdempotencyBegin,
    IdempotencyRelease,
    LeaseGive,
    LeaseTake,
    Refused,
    Report,
    Step,
    Unguarded,
)
from actguard.stores.store import Store

OnStoreError: TypeAlias = Literal["local", "open", "closed"]

_MOST_OWED = 10_000  # reports kept for a store that is away; the oldest go first, and then read UNKNOWN there

log = logging.getLogger("actguard.stores")


class Entry(NamedTuple):
    """An answer, and who gave it: where heartbeats and reports of this call go. None: nobody was asked."""

    answer: Admitted | Refused
    store: Store | None


def withdrawals(steps: Sequence[Step]) -> list[Report]:
    """What frees the keys, places and probes of a call that may have been let in, and is not made. A rate stays
    taken."""
    reports: list[Report] = []
    for step in steps:
        if isinstance(step, IdempotencyBegin):
            reports.append(IdempotencyRelease(step.key, step.owner))
        elif isinstance(step, LeaseTake):
            reports.append(LeaseGive(step.key, step.owner))
        elif isinstance(step, BreakerAcquire):
            reports.append(BreakerRecord(step.key, step.rules, step.owner, ANY_GENERATION, "neutral"))
    return reports


class Standby:
    """Asks *store*, and does what each guard's `on_store_error` says when it does not answer.

    Args:
        local: makes the store that stands in, when it is needed for the first time.
        pause_s: seconds that a store is left alone after it failed.
    """

    def __init__(
        self,
        store: Store,
        local: Callable[[], Store],
        *,
        pause_s: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.store = store
        self._make_local = local
        self._local: Store | None = None
        self._pause_s = pause_s
        self._clock = clock
        self._lock = threading.Lock()
        self._failure: StoreUnavailableError | None = None
        self._ask_again = 0.0
        self._owed: deque[Report] = deque(maxlen=_MOST_OWED)

    @property
    def away(self) -> bool:
        """The store did not answer when it was last asked."""
        return self._failure is not None

    # ---- before a call ----

    def admit(self, steps: Sequence[Step], on_error: Sequence[OnStoreError]) -> Entry:
        """Ask for all *steps*, with one policy for each.

        Raises:
            StoreUnavailableError: there is no answer, and at least one of the guards is closed.
            StoreFullError: the store takes no new keys.
        """
        failure = self._resting()
        if failure is None:
            try:
                if self._owed:  # first: it may be what stands in the way of this call
                    self._pay(self._take_owed())
                answer = self.store.admit(steps)
            except StoreUnavailableError as error:
                failure = self._lost(error, steps, on_error)
            else:
                self._answered()
                return Entry(answer, self.store)
        return self._without(steps, on_error, failure)

    async def aadmit(self, steps: Sequence[Step], on_error: Sequence[OnStoreError]) -> Entry:
        """`admit`, for an event loop."""
        failure = self._resting()
        if failure is None:
            try:
                if self._owed:
                    await self._apay(self._take_owed())
                answer = await self._acall("admit", steps)
            except asyncio.CancelledError:
                await self.afinish(self.store, withdrawals(steps))
                raise
            except StoreUnavailableError as error:
                failure = self._lost(error, steps, on_error)
            else:
                self._answered()
                return Entry(answer, self.store)
        return self._without(steps, on_error, failure)

    # ---- after it ----

    def finish(self, store: Store | None, reports: Sequence[Report]) -> tuple[bool, ...]:
        """Carry out *reports* where the call was admitted. Never raises for a store that is away: it is told later.
        What the store said to each; nothing, where it was not asked."""
        if store is None or not reports:
            return ()
        if store is not self.store:
            return store.finish(reports)
        if self._resting() is not None:
            self._owe(reports)
            return ()
        try:
            done = self._pay([*self._take_owed(), *reports])
        except StoreUnavailableError as error:
            self._failed(error)
            return ()
        self._answered()
        return done[-len(reports) :]

    async def afinish(self, store: Store | None, reports: Sequence[Report]) -> tuple[bool, ...]:
        """`finish`, for an event loop."""
        if store is None or not reports:
            return ()
        if store is not self.store:
            return store.finish(reports)  # memory
        if self._resting() is not None:
            self._owe(reports)
            return ()
        try:
            done = await self._apay([*self._take_owed(), *reports])
        except StoreUnavailableError as error:
            self._failed(error)
            return ()
        self._answered()
        return done[-len(reports) :]

    def finish_later(self, store: Store | None, reports: Sequence[Report]) -> None:
        """`finish`, with the next request that is made anyhow."""
        if store is self.store:
            self._owe(reports)
        elif store is not None:
            store.finish(reports)

    # ---- how the store is ----

    def _resting(self) -> StoreUnavailableError | None:
        """The failure, while the store is left alone. The first caller afterwards gets None, and asks for everybody."""
        if self._failure is None:
            return None
        with self._lock:
            now = self._clock()
            if now < self._ask_again:
                return self._failure
            self._ask_again = now + self._pause_s
            return None

    def _failed(self, error: StoreUnavailableError) -> StoreUnavailableError:
        with self._lock:
            news = self._failure is None
            self._failure = StoreUnavailableError(error.message, details=error.details)  # not what its traceback holds
            self._ask_again = self._clock() + self._pause_s
        if news:
            log.warning("%s Guards go on as their on_store_error says until it answers again.", error)
        return error

    def _answered(self) -> None:
        """The store answers, perhaps again."""
        if self.away:
            with self._lock:
                news = self.away
                self._failure = None
            if news:
                log.warning("The store answers again; guards are shared as before.")

    def _lost(
        self, error: StoreUnavailableError, steps: Sequence[Step], on_error: Sequence[OnStoreError]
    ) -> StoreUnavailableError:
        if error.reason == REFUSED:
            return error
        if "closed" in on_error:
            self._owe(withdrawals(steps))
        return self._failed(error)

    def _without(
        self, steps: Sequence[Step], on_error: Sequence[OnStoreError], failure: StoreUnavailableError
    ) -> Entry:
        if "closed" in on_error:
            raise StoreUnavailableError(failure.message, reason=failure.reason, details=failure.details)
        asked = [index for index, policy in enumerate(on_error) if policy == "local"]
        if not asked:
            return Entry(Admitted((Unguarded(),) * len(steps)), None)
        if self._local is None:
            with self._lock:
                self._local = self._local or self._make_local()
        answer = self._local.admit([steps[index] for index in asked])
        if isinstance(answer, Refused):
            return Entry(Refused(asked[answer.step], answer.refusal), self._local)
        receipts: list[Any] = [Unguarded()] * len(steps)
        for index, receipt in zip(asked, answer.receipts, strict=True):
            receipts[index] = receipt
        return Entry(Admitted(tuple(receipts)), self._local)

    # ---- telling it ----

    def _owe(self, reports: Sequence[Report]) -> None:
        with self._lock:
            self._owed.extend(reports)

    def _take_owed(self) -> list[Report]:
        if not self._owed:
            return []
        with self._lock:
            owed = list(self._owed)
            self._owed.clear()
        return owed

    def _pay(self, reports: Sequence[Report]) -> tuple[bool, ...]:
        try:
            return self.store.finish(reports)
        except StoreFullError:
            self._owe(reports)  # what it has no room for now, it may have later; the call was made all the same
            return ()
        except BaseException as error:
            if not _is_refusal(error):
                self._owe(reports)
                raise
        if len(reports) == 1:
            return _not_written(reports[0])
        done: tuple[bool, ...] = ()
        for count, report in enumerate(reports, 1):
            try:
                done += self._pay((report,)) or (False,)
            except BaseException:
                self._owe(reports[count:])
                raise
        return done

    async def _apay(self, reports: Sequence[Report]) -> tuple[bool, ...]:
        try:
            return tuple(await self._acall("finish", reports))
        except StoreFullError:
            self._owe(reports)
            return ()
        except BaseException as error:
            if not _is_refusal(error):
                self._owe(reports)
                raise
        if len(reports) == 1:
            return _not_written(reports[0])
        done: tuple[bool, ...] = ()
        for count, report in enumerate(reports, 1):
            try:
                done += await self._apay((report,)) or (False,)
            except BaseException:
                self._owe(reports[count:])
                raise
        return done

    async def _acall(self, name: str, argument: Sequence[Any]) -> Any:
        if self.store.aio is not None:
            return await getattr(self.store.aio, name)(argument)
        if not self.store.blocking:
            return getattr(self.store, name)(argument)
        return await asyncio.to_thread(getattr(self.store, name), argument)


def _is_refusal(error: BaseException) -> bool:
    return isinstance(error, StoreUnavailableError) and error.reason == REFUSED


def _not_written(report: Report) -> tuple[bool]:
    log.error("The store refuses to write how a call came out (%s), and is not asked again.", type(report).__name__)
    return (False,)
