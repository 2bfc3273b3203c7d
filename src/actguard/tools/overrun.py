"""A body that may take as long as it likes: it is told of when it has taken too long, and again when it ends after all.

On an event loop, the loop's own timer tells. Elsewhere one daemon thread looks after all such calls of the process,
since a call that hangs for ever never gets to tell of itself.
"""

import asyncio
import contextvars
import itertools
import logging
import os
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from actguard.context import APART, inside
from actguard.pipeline.target import Target
from actguard.tools.relay import relay

log = logging.getLogger("actguard.tools")

_IDLE_S = 10.0
"""The thread ends when there was nothing to look after for so many seconds."""

Tell = Callable[[bool], None]
"""Of a call that took too long: whether it still runs."""


def watched(body: Callable[..., Any], target: Target, seconds: float, tell: Tell) -> Callable[..., Any]:
    """*body*, as it is; *tell* is called when *seconds* are over, and again when it ends then, however it does."""

    def ended(begun: float) -> None:
        if time.monotonic() - begun > seconds:
            tell(False)

    async def waited(begun: float, result: Any) -> Any:
        left = max(0.0, begun + seconds - time.monotonic())
        timer = asyncio.get_running_loop().call_later(left, tell, True)
        try:
            return await result
        finally:
            timer.cancel()
            ended(begun)

    def watched_items(*args: Any, **kwargs: Any) -> Any:
        begun = time.monotonic()
        timer = asyncio.get_running_loop().call_later(seconds, tell, True)

        async def at_leisure(asked: Awaitable[Any]) -> Any:
            return await asked

        def over() -> None:
            timer.cancel()
            ended(begun)

        return relay(body(*args, **kwargs), at_leisure, over)

    async def watched_coroutine(*args: Any, **kwargs: Any) -> Any:
        return await waited(time.monotonic(), body(*args, **kwargs))

    def watched_function(*args: Any, **kwargs: Any) -> Any:
        begun = time.monotonic()
        watch = _watches.begin(begun + seconds, tell)
        result: Any = None
        try:
            result = body(*args, **kwargs)
        finally:
            _watches.end(watch)
            lazy = hasattr(type(result), "__await__")  # pyright: ignore[reportUnknownArgumentType]
            if not lazy:
                ended(begun)
        return waited(begun, result) if lazy else result

    kinds: dict[str, Callable[..., Any]] = {"async": watched_coroutine, "async_generator": watched_items}
    return kinds.get(target.kind, watched_function)


class _Watch(NamedTuple):
    """A call that is to be told of at *end*, in the context that it was made in."""

    end: float
    tell: Tell
    context: contextvars.Context


class _Watches:
    """One daemon thread for all watched calls of the process, there while there are any, and a little longer."""

    def __init__(self) -> None:
        self._forget()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._running: dict[int, _Watch] = {}
        self._numbers = itertools.count()
        self._next_look = 0.0
        self._looks = False

    def begin(self, end: float, tell: Tell) -> int:
        watch = _Watch(end, tell, contextvars.copy_context())
        with self._lock:
            number = next(self._numbers)
            self._running[number] = watch
            if not self._looks:
                thread = threading.Thread(target=self._look_after, name="actguard-watched", daemon=True)
                try:
                    with inside(APART):  # it serves everybody, and belongs to no run
                        thread.start()
                    self._looks = True
                except RuntimeError:  # no more threads: the call is told of when it ends
                    pass
            elif end < self._next_look:
                self._wake.set()
        return number

    def end(self, number: int) -> None:
        with self._lock:
            self._running.pop(number, None)

    def _look_after(self) -> None:
        while True:
            with self._lock:
                now = time.monotonic()
                late = [number for number, watch in self._running.items() if watch.end <= now]
                told = [self._running.pop(number) for number in late]
                self._next_look = min((watch.end for watch in self._running.values()), default=now + _IDLE_S)
                pause = self._next_look - now
            for watch in told:
                try:
                    watch.context.run(watch.tell, True)
                except Exception:
                    log.exception("A call that takes too long could not be told of.")  # the others must be
            del told
            if not self._wake.wait(pause if pause < threading.TIMEOUT_MAX else None) and self._is_idle():
                return
            self._wake.clear()

    def _is_idle(self) -> bool:
        with self._lock:
            self._looks = bool(self._running)
            return not self._looks


_watches = _Watches()
