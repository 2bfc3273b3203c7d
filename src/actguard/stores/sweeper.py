"""A thread that frees what is over in a store of this process, so that it goes without anybody asking.

It is there while something in the store ends later, looks every few seconds, and ends with the last of it. It never
keeps the process, or the store, alive; in a forked child the next key starts another one.
"""

import threading
import time
import weakref
from collections.abc import Callable
from typing import Protocol

from actguard.context import APART, inside

PAUSE_S = 5.0
_AT_ONCE = 500


class Swept(Protocol):
    """What a sweeper sweeps."""

    def free(self, most: int) -> int:
        """Free what is over, looking at no more than about *most* entries under one lock. How many were looked at."""
        ...

    def ends_later(self) -> bool:
        """Whether there is anything that will have to be freed."""
        ...


class Sweeper:
    """Sweeps *store*, as long as it lives.

    Args:
        clock: the store's. One that is not the process's own is somebody else's time, and his to sweep by.
    """

    def __init__(self, store: Swept, clock: Callable[[], float]) -> None:
        self._store = weakref.ref(store)
        self._idle = clock is not time.monotonic
        self._lock = threading.Lock()
        self.running = self._idle
        """Whoever adds something that ends looks here first, and calls `begin` if not."""

    def begin(self) -> None:
        """Start the thread, unless it runs."""
        with self._lock:
            if self.running:
                return
            sweeper = threading.Thread(target=_sweep, args=(self._store, self), name="actguard-sweeper", daemon=True)
            try:
                with inside(APART):  # it serves everybody, and belongs to no run or session
                    sweeper.start()
            except RuntimeError:  # no more threads, or the interpreter ends: who adds something sweeps, too
                return
            self.running = True

    def goes_on(self, store: Swept) -> bool:
        """Free what is over; whether the thread is still needed."""
        while store.free(_AT_ONCE):
            time.sleep(0)  # others may want the locks
        with self._lock:
            self.running = False  # before the last look: whoever adds something after it starts another thread
        if not store.ends_later():
            return False
        with self._lock:
            needed, self.running = not self.running, True
        return needed

    def after_fork(self) -> None:
        """The thread stayed behind, and may have held the lock."""
        self._lock = threading.Lock()
        self.running = self._idle


def _sweep(kept: "weakref.ref[Swept]", sweeper: Sweeper) -> None:
    while True:
        time.sleep(PAUSE_S)
        store = kept()
        if store is None or not sweeper.goes_on(store):
            return
        del store
