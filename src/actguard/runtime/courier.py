"""The courier: one thread of a client that does in the background what the gateway is owed.

    owed entries    what could not be delivered when it was due, here or by processes that have ended, tried until it is
    renewals        holds of long runs, before they expire
    late spend      of streams and tasks that ended after their scope

A hold is renewed by what the gateway said of its remaining time, never by a wall clock.
"""

import logging
import threading
import time
import weakref
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Protocol

from actguard.context import APART, inside
from actguard.exceptions import ActGuardError, BudgetTransportError
from actguard.transport.answers import Unanswered
from actguard.transport.spool import Entry, Segment, Spool

logger = logging.getLogger("actguard.runtime")

_PAUSES = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)  # seconds between looks at a gateway that is away
_LOOK_FOR_ORPHANS = 60.0
_SHORTEST_RENEWAL = 0.2


class Renewable(Protocol):
    """A hold at the gateway, as the courier sees it. It keeps none alive: a short run is over and gone before its
    time."""

    over: bool

    def renew(self) -> None: ...

    def owe_spent(self) -> None: ...


class Courier:
    """Args:
    spool: where owed entries are.
    deliver: sends one entry; raises `Unanswered` if the gateway is away.
    """

    def __init__(self, spool: Spool, deliver: Callable[[Entry], None]) -> None:
        self.spool = spool
        self._deliver = deliver
        self._renew()

    def _renew(self) -> None:
        self._owed: dict[str, Entry] = {}
        self._renewals: weakref.WeakKeyDictionary[Renewable, float] = weakref.WeakKeyDictionary()
        self._calls: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._stopped = False
        self._failures = 0
        self._next_try = self._next_look = 0.0
        self._working = threading.Lock()

    # ---- asked from anywhere; takes no lock ----

    def owe(self, entry: Entry) -> None:
        """Have *entry*, which is in the spool, delivered."""
        self.soon(lambda: self._owed.setdefault(entry.id, entry))

    def renew(self, hold: Renewable, seconds: float) -> None:
        """Have a hold renewed in so many seconds."""
        due = time.monotonic() + max(seconds, _SHORTEST_RENEWAL)
        reference = weakref.ref(hold)

        def note() -> None:
            if (held := reference()) is not None:
                self._renewals[held] = due

        self.soon(note)

    def soon(self, action: Callable[[], object]) -> None:
        """Have something done: such as to tell of spend that came after its scope was left."""
        self._calls.put(action)
        if self._thread is None:
            self.start()

    # ---- the thread ----

    def start(self) -> None:
        if self._thread is not None or self._stopped:
            return
        thread = threading.Thread(target=self._work, name="actguard-courier", daemon=True)
        self._thread = thread
        try:
            with inside(APART):
                thread.start()
        except RuntimeError:  # the interpreter is ending; `close` does what is left
            self._thread = None

    def _work(self) -> None:
        while not self._stopped:
            now = time.monotonic()
            due = min((self._next_look, *self._renewals.values(), *((self._next_try,) if self._owed else ())))
            try:
                action = self._calls.get(timeout=max(0.0, due - now))
            except Empty:
                action = None
            with self._working:
                if action is not None or not self._stopped:
                    self._turn(action)

    def _turn(self, action: Callable[[], object] | None) -> None:
        try:
            if action is not None:
                action()
            self._renew_due()
            if self._owed and time.monotonic() >= self._next_try:
                self._pay()
            if time.monotonic() >= self._next_look:
                self._next_look = time.monotonic() + _LOOK_FOR_ORPHANS
                self._pay_for_orphans()
        except Exception:  # the thread must live, whatever went wrong with one piece of work
            logger.exception("Work for the gateway failed in the background")

    def _renew_due(self) -> None:
        now = time.monotonic()
        for hold, due in list(self._renewals.items()):
            if hold.over or due <= now:
                del self._renewals[hold]
                if not hold.over:
                    hold.renew()

    # ---- what is owed ----

    def _pay(self) -> bool:
        """Deliver what this process owes, oldest first. Returns whether nothing is left."""
        for entry in sorted(self._owed.values(), key=lambda entry: entry.at):
            if not self._settled(entry):
                return False
            self.spool.done(entry.id)
            self._owed.pop(entry.id, None)
        return True

    def _pay_for_orphans(self) -> bool:
        """Deliver what processes have left that have ended."""
        delivered = True
        try:
            for segment in self.spool.adopt():
                try:
                    delivered = delivered and self._pay_for(segment)
                finally:
                    segment.close()
        except OSError as error:
            logger.warning("Not all that ended processes have left can be read: %s", error)
            return False
        return delivered

    def _pay_for(self, segment: Segment) -> bool:
        for entry in list(segment.pending.values()):
            if not self._settled(entry):
                return False
            segment.done(entry.id)
        return True

    def _settled(self, entry: Entry) -> bool:
        """Whether *entry* is dealt with: delivered, or put aside as what the gateway will never take."""
        try:
            self._deliver(entry)
        except Unanswered as away:
            self._later(away)
            return False
        except ActGuardError as refused:
            unauthorized = isinstance(refused, BudgetTransportError) and refused.reason == "unauthorized"
            if unauthorized or not self.put_aside(entry, refused):  # a key may be given its rights back, a disk room
                self._later(refused)
                return False
        self._failures = 0
        return True

    def _later(self, error: ActGuardError) -> None:
        if not self._failures:
            logger.warning("%d settles wait for the gateway: %s", max(1, len(self._owed)), error)
        self._next_try = time.monotonic() + _PAUSES[min(self._failures, len(_PAUSES) - 1)]
        self._failures += 1

    def put_aside(self, entry: Entry, error: ActGuardError) -> bool:
        """Keep what the gateway will never take for a person to look at. Returns whether the disk has taken it."""
        try:
            self.spool.refuse(entry, str(error))
        except OSError as full:
            logger.error("What the gateway does not take cannot be put aside in %s: %s", self.spool.folder, full)
            return False
        logger.error("The gateway does not take what was spent; it is put aside in %s: %s", self.spool.folder, error)
        return True

    # ---- its end ----

    def flush(self, seconds: float, *, others: bool = False) -> bool:
        """Deliver what is owed now. Returns whether nothing is left, in so many seconds.

        Args:
            others: what ended processes have left, too.
        """
        if self._stopped:
            return not self._owed
        if others:
            self.start()  # what is left may take longer than *seconds*, and goes on behind them
        if self._thread is None or not self._thread.is_alive():
            with self._working:
                return self._flush()
        done = threading.Event()
        outcome: list[bool] = []

        def flush() -> None:
            try:
                outcome.append(self._flush() and (not others or self._pay_for_orphans()))
            finally:
                done.set()

        self._calls.put(flush)
        return done.wait(seconds) and outcome == [True]

    def _flush(self) -> bool:
        while True:
            try:
                action = self._calls.get_nowait()
            except Empty:
                break
            if action is not None:
                action()
        return self._pay()

    def _owe_open(self) -> None:
        for hold in list(self._renewals):
            if not hold.over:
                hold.owe_spent()

    def deliver_all(self) -> bool:
        """`flush`, of what ended processes have left too; on the calling thread."""
        with self._working:
            own = self._flush()
            return self._pay_for_orphans() and own

    def close(self, seconds: float) -> None:
        """Deliver what can be, also of scopes that nobody may leave any more; the rest stays in the spool."""
        if self._stopped:
            return
        self._calls.put(self._owe_open)
        self.flush(seconds)
        self._stopped = True
        self._calls.put(None)
        self.spool.close()

    def forked(self) -> None:
        """In a forked child: what is owed is the parent's to deliver."""
        self._renew()
        self.spool.forked()
