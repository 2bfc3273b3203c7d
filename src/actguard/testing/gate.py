"""Gates: replies held back until a test lets them go, so that what runs at once is decided, not timed."""

import asyncio
import threading
from collections import deque
from types import TracebackType
from typing import Self

from actguard.testing.http import Connection


class Gate:
    """Where requests wait, in the order they came::

        with provider.hold() as gate:
            start_fifty_calls()
            gate.wait_for(50)       # all fifty are on the provider's side
            gate.release(1)         # one gets its answer

    Leaving the block releases the rest.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._changed = threading.Condition()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._arrived = 0
        self._passes: int | None = 0

    @property
    def waiting(self) -> int:
        """How many requests are held right now."""
        with self._changed:
            return len(self._waiting)

    @property
    def arrived(self) -> int:
        """How many requests have come to the gate so far, released ones included."""
        return self._arrived

    def wait_for(self, count: int, timeout: float = 5.0) -> None:
        """Return once *count* requests are held at the same time.

        Raises:
            TimeoutError: they are not, after *timeout* seconds.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._waiting) >= count, timeout):
                raise TimeoutError(f"{len(self._waiting)} of {count} requests are held after {timeout:g} s")

    async def wait_for_async(self, count: int) -> None:
        """`wait_for` without blocking the event loop."""
        await asyncio.to_thread(self.wait_for, count)

    def release(self, count: int | None = None) -> None:
        """Let *count* requests go, the first first, counting those that have yet to come; None: all, for good."""
        with self._changed:
            if count is None or self._passes is None:
                self._passes = None
            else:
                self._passes += count
        self._loop.call_soon_threadsafe(self._open)

    async def passed(self, connection: Connection) -> None:
        """Wait to be released, but not longer than the client stays. Runs on the server's loop."""
        future = self._loop.create_future()
        with self._changed:
            self._waiting.append(future)
            self._arrived += 1
            self._changed.notify_all()
        self._open()
        await asyncio.wait((future, connection.gone), return_when=asyncio.FIRST_COMPLETED)
        with self._changed:
            if not future.done():
                self._waiting.remove(future)
                self._changed.notify_all()

    def _open(self) -> None:
        with self._changed:
            while self._waiting and self._passes != 0:
                future = self._waiting.popleft()
                if self._passes is not None:
                    self._passes -= 1
                future.set_result(None)
            self._changed.notify_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()
