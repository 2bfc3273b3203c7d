"""Threads that do blocking work for callers who wait no longer than they said.

A socket can keep a thread longer than any timeout that is set on it: a name that does not resolve, headers that trickle
in. So the work runs elsewhere, and whoever waits for it can leave: a thread when its time is over, an event loop at any
time. What is left behind ends by itself. The threads are daemons: none of them keeps a program from ending.
"""

import threading
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

from actguard.context import APART, inside

T = TypeVar("T")

_IDLE_SECONDS = 30.0  # a thread without work ends after so long


class Job(Generic[T]):
    """A piece of work, and how it came out."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._late: Callable[[T], object] | None = None
        self._lock = threading.Lock()
        self._waiting: Callable[[], object] | None = None
        self._done = False
        self._value: T | None = None
        self._error: BaseException | None = None

    def perform(self) -> None:
        try:
            self._value = self._work()
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            self._error = error
        with self._lock:
            self._done = True
            wake, late = self._waiting, self._late
        if wake is not None:
            wake()
        if late is not None and self._error is None:
            with suppress(Exception):  # nobody is left who could be told
                late(self._value)  # type: ignore[arg-type]

    def when_done(self, wake: Callable[[], object]) -> bool:
        """Have *wake* called, from another thread, when the work is done; False if it is already."""
        with self._lock:
            if not self._done:
                self._waiting = wake
            return not self._done

    def wait(self, seconds: float | None) -> bool:
        """Block until the work is done, at most so long. Returns whether it is."""
        done = threading.Lock()
        done.acquire()
        return not self.when_done(done.release) or done.acquire(timeout=-1 if seconds is None else seconds)

    def outcome(self) -> T:
        """What the work returned; raises what it raised."""
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]

    def abandon(self, late: Callable[[T], object] | None = None) -> bool:
        """Stop waiting; what the work returns goes to *late*. False if it is done already."""
        with self._lock:
            self._waiting, self._late = None, late
            return not self._done


class Workers:
    """As many threads as there is work at once; kept for a while for the next."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """In a forked child: the threads stayed behind."""
        self._queue: SimpleQueue[Job[Any]] = SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0

    def start(self, job: Job[T]) -> Job[T]:
        with self._lock:
            needed = self._idle <= 0
            if not needed:
                self._idle -= 1  # it is taken, from now on
        if not needed:
            self._queue.put(job)
            return job
        try:
            with inside(APART):  # a thread inherits where it is started; this one serves everybody
                threading.Thread(target=self._work, args=(job,), name="actguard-transport", daemon=True).start()
        except RuntimeError:  # the interpreter is ending, and starts no threads any more
            job.perform()
        return job

    def _work(self, job: Job[Any]) -> None:
        while True:
            job.perform()
            with self._lock:
                self._idle += 1
            del job  # and what it refers to, while there is nothing to do
            try:
                job = self._queue.get(timeout=_IDLE_SECONDS)
            except Empty:
                with self._lock:
                    if self._idle > 0:
                        self._idle -= 1
                        return
                job = self._queue.get()  # it was given some in the same moment
