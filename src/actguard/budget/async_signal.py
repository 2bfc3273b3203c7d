"""Something to wait for on an event loop, asyncio's or trio's, and to be woken from by any thread."""

import sys
from collections.abc import Awaitable, Callable


def async_signal() -> tuple[Callable[[float | None], Awaitable[bool]], Callable[[], bool]]:
    """A one-shot event of the running event loop: `await wait(seconds)` -> woken?

    `wake()` may be called from any thread; it is False when the loop is gone, and with it whoever waited.
    """
    import asyncio  # loaded already where a coroutine runs; not by `import actguard`, which it would slow down

    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return _trio_signal()
    future: asyncio.Future[None] = loop.create_future()

    def set_result() -> None:
        if not future.done():
            future.set_result(None)

    def wake() -> bool:
        try:
            loop.call_soon_threadsafe(set_result)
        except RuntimeError:  # the loop is closed
            return False
        return True

    async def wait(seconds: float | None) -> bool:
        done, _ = await asyncio.wait({future}, timeout=seconds)
        return bool(done)

    return wait, wake


def _trio_signal() -> tuple[Callable[[float | None], Awaitable[bool]], Callable[[], bool]]:
    trio = sys.modules["trio"]  # a coroutine runs, and not on asyncio: the SDKs support nothing else
    token, event = trio.lowlevel.current_trio_token(), trio.Event()

    def wake() -> bool:
        try:
            token.run_sync_soon(event.set)
        except trio.RunFinishedError:
            return False
        return True

    async def wait(seconds: float | None) -> bool:
        with trio.move_on_after(float("inf") if seconds is None else seconds):
            await event.wait()
        return bool(event.is_set())

    return wait, wake
