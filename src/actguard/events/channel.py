"""A channel: a bounded queue of events, and the thread that takes them to one sink.

`put` is called where a user's code waits, and by finalizers, which run at any allocation. It takes no lock: what it
uses (`deque.append`, `SimpleQueue.put`) may be interrupted by itself.
"""

import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from queue import Empty, SimpleQueue
from typing import Any

from actguard.context import APART, inside
from actguard.events.envelope import Record
from actguard.events.sinks import NotTaken, Sink

logger = logging.getLogger("actguard.events")

_PAUSES = (1.0, 2.0, 5.0, 10.0)  # seconds, after deliveries that failed and may succeed later


class NotNow(Exception):  # noqa: N818 - raised by a sink: says when
    """The events could not be delivered, and may be later: they go back into the queue."""


class _Asked(threading.Event):
    """Set for who waits, when what was there has been taken to the sink, or had to stay."""

    delivered = False


class Channel:
    """Events on their way to *sink*.

    Args:
        interval_s: how long an event waits for others, at most.
        batch: events that do not wait for more, and that one write gets at most.
        limit: events that may wait. Beyond it the oldest goes that is not about spend; the oldest of all if all are.
    """

    def __init__(self, sink: Sink, *, interval_s: float = 1.0, batch: int = 100, limit: int = 10_000) -> None:
        self.sink = sink
        self._interval, self._batch, self._limit = interval_s, batch, limit
        self._write_lock = threading.Lock()
        self._failed = False
        self._closed = False
        self._lost = self._in_hand = 0
        self._renew()

    def _renew(self) -> None:
        self._spend: deque[Record] = deque()
        self._other: deque[Record] = deque()
        self._drops: deque[None] = deque()
        self._wake: SimpleQueue[_Asked | None] = SimpleQueue()
        self._awake = False
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    # ---- where events happen ----

    def put(self, record: Record) -> None:
        if self._closed:
            self._drops.append(None)
            return
        spend, other = self._spend, self._other
        (spend if record.is_spend else other).append(record)
        waiting = len(spend) + len(other)
        if waiting > self._limit:
            self._drop()
        if not self._awake or waiting == self._batch:
            self._awake = True
            if self._thread is None:
                self.start()
            self._wake.put(None)

    def _drop(self) -> None:
        for queue in (self._other, self._spend):
            try:
                queue.popleft()
            except IndexError:
                continue
            self._drops.append(None)
            return

    @property
    def dropped(self) -> int:
        """Events that were dropped because the queue was full, or that the sink did not take."""
        return self._lost + len(self._drops)

    @property
    def waiting(self) -> int:
        return len(self._spend) + len(self._other)

    def start(self) -> None:
        """Have the thread run; early, so that no event has to wait for it."""
        if self._thread is not None or self._closed or not self._starting.acquire(blocking=False):
            return
        thread = threading.Thread(target=self._work, name="actguard-events", daemon=True)
        try:
            with inside(APART):  # a thread inherits where it is started; this one serves everybody
                thread.start()
            self._thread = thread
        except RuntimeError:  # the interpreter is ending; `flush` delivers what waits
            pass
        finally:
            self._starting.release()
        if "multiprocessing.process" in sys.modules:
            _flush_when_a_child_ends(self)

    # ---- the thread ----

    def _work(self) -> None:
        wake, failures = self._wake, 0
        while not self._closed:
            asked = [wake.get()]
            pause = _PAUSES[min(failures, len(_PAUSES)) - 1] if failures else 0.0
            asked += self._gather(wake, max(pause, self._interval), enough=sys.maxsize if failures else self._batch)
            delivered = self._deliver()
            failures = 0 if delivered else failures + 1
            for waiting in asked:
                if waiting is not None:
                    waiting.delivered = delivered
                    waiting.set()
            if not delivered:
                wake.put(None)

    def _gather(self, wake: "SimpleQueue[_Asked | None]", seconds: float, enough: int) -> "list[_Asked | None]":
        """Let events come in for a while, or until there are enough, or somebody waits for them."""
        asked: list[_Asked | None] = []
        deadline = time.monotonic() + seconds
        while self.waiting < enough:
            try:
                asked.append(wake.get(timeout=max(0.0, deadline - time.monotonic())))
            except Empty:
                break
            if asked[-1] is not None or self._closed:
                break
        return asked

    def _deliver(self) -> bool:
        """Take everything that waits to the sink. Returns False if some of it has to wait longer."""
        with self._write_lock:
            self._awake = False
            self._count_drops()
            while batch := self._take():
                self._in_hand = len(batch)
                try:
                    self.sink.write([record.envelope() for record in batch])
                except NotNow as failed:
                    self._give_back(batch)
                    self._report(failed)
                    return False
                except BaseException as failed:  # noqa: BLE001 - a sink is somebody else's code, and the thread must live
                    self._lost += failed.count if isinstance(failed, NotTaken) else len(batch)
                    self._report(failed)
                finally:
                    self._in_hand = 0
            return True

    def _take(self) -> list[Record]:
        batch: list[Record] = []
        for queue in (self._spend, self._other):
            while len(batch) < self._batch:
                try:
                    batch.append(queue.popleft())
                except IndexError:
                    break
        batch.sort(key=lambda record: record.at)
        return batch

    def _give_back(self, batch: Sequence[Record]) -> None:
        for record in reversed(batch):
            (self._spend if record.is_spend else self._other).appendleft(record)
        while self.waiting > self._limit:
            self._drop()

    def _count_drops(self) -> None:
        dropped = 0
        while self._drops:
            self._drops.popleft()
            dropped += 1
        if dropped and not self._lost:
            logger.warning("The queue of events to %r was full; the oldest were dropped", self.sink)
        self._lost += dropped

    def _report(self, failed: BaseException) -> None:
        if not self._failed:
            self._failed = True
            logger.warning("Events could not be delivered to %r: %s", self.sink, failed)

    # ---- its end ----

    def flush(self, seconds: float) -> bool:
        """Deliver what waits. Returns whether everything was, in so many seconds; not what comes meanwhile."""
        if not self.waiting and not self._write_lock.locked():
            return True
        if self._thread is None or not self._thread.is_alive():
            self.start()
        if self._thread is None or not self._thread.is_alive():
            return self._deliver()
        done = _Asked()
        self._wake.put(done)
        return done.wait(seconds) and done.delivered

    def close(self, seconds: float) -> bool:
        """`flush`, then let the sink go. Returns whether everything was delivered."""
        if self._closed:
            return True
        delivered = self.flush(seconds) and not self.waiting
        self._closed = True
        self._wake.put(None)
        if not delivered:
            left = self.waiting + self._in_hand
            logger.warning("%d events to %r were not delivered before the end", left, self.sink)
            self._lost += left
        if self._write_lock.acquire(timeout=0 if not delivered else 1.0):
            try:
                self.sink.close()
            except Exception as failed:  # noqa: BLE001 - a sink is somebody else's code
                self._report(failed)
            finally:
                self._write_lock.release()
        return delivered

    def forked(self) -> None:
        """In a forked child: what waits is the parent's to deliver, and its thread stayed behind."""
        self._write_lock = threading.Lock()
        self._renew()


def _flush_when_a_child_ends(channel: Channel) -> None:
    """Processes of multiprocessing end without `atexit`; they run these."""
    import multiprocessing
    from multiprocessing import util

    if multiprocessing.parent_process() is not None:
        util.Finalize(None, channel.flush, args=(5.0,), exitpriority=10)


def all_flushed(channels: Sequence[Channel], seconds: float) -> bool:
    """Flush every one of *channels* in *seconds* altogether."""
    deadline = time.monotonic() + seconds
    delivered = [channel.flush(max(0.05, deadline - time.monotonic())) for channel in channels]
    return all(delivered)


def sink_named(given: Any) -> Sink:
    """*given* as a sink: a callable is called with each event."""
    from actguard.events.sinks import Callback

    return given if callable(getattr(given, "write", None)) else Callback(given)
