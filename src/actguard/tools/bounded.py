"""A coroutine with a deadline, on its caller's own task.

When the time is over the task is cancelled, as `asyncio.timeout` does it. A coroutine that does not listen would keep
its caller for ever; so it is stepped from here, and after a grace what is left of it is moved to a task of its own, and
the caller goes on. No task is made for the calls that end in time.
"""

import asyncio
from collections.abc import Callable, Coroutine, Generator
from typing import Any, NoReturn

from actguard.tools.alarms import Alarms

_strays: set["asyncio.Task[None]"] = set()
"""Tasks that nobody waits for; the loop itself keeps only weak references."""


class Overrun(Exception):  # noqa: N818 - becomes the public ToolTimeoutError where the tool is known
    """The time is over. `still_running`: the coroutine did not listen, and was left."""

    def __init__(self, *, still_running: bool) -> None:
        super().__init__()
        self.still_running = still_running


class Bounded:
    """Awaitable: what *coroutine* returns or raises, or `Overrun` when *alarms* ring (or up to *grace* seconds later).

    Args:
        ended: told how the coroutine came out that was left.
    """

    __slots__ = (
        "_alarms",
        "_cancelled_before",
        "_cancels",
        "_coroutine",
        "_ended",
        "_grace",
        "_task",
        "_timer",
    )

    def __init__(
        self, coroutine: Coroutine[Any, Any, Any], alarms: Alarms, grace: float, ended: Callable[[Any], None]
    ) -> None:
        self._coroutine = coroutine
        self._alarms = alarms
        self._grace = grace
        self._ended = ended
        self._cancels = 0  # ours: one when the time is over, a second one after the grace
        self._timer: asyncio.TimerHandle | None = None

    def __await__(self) -> Generator[Any, Any, Any]:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        assert task is not None
        self._task = task
        self._cancelled_before = task.cancelling()
        running = self._alarms.add(self, loop)
        coroutine = self._coroutine
        try:
            waiting = coroutine.send(None)
            while True:
                try:
                    value = yield waiting
                except BaseException as error:  # noqa: BLE001 - for the coroutine
                    if self._cancels == 2 and isinstance(error, asyncio.CancelledError):
                        self._leave(error)
                    waiting = coroutine.throw(error)
                else:
                    waiting = coroutine.send(value)
        except StopIteration as end:
            if self._cancels:
                self._settle()
            return end.value
        except asyncio.CancelledError:
            if self._settle():
                raise Overrun(still_running=False) from None
            raise
        finally:
            running.pop(self, None)
            if self._timer is not None:
                self._timer.cancel()
            if self._cancels:
                self._settle()

    def over(self) -> None:
        """For the alarms: the time is over, or the grace after it."""
        self._cancels += 1
        if self._cancels == 1:
            self._timer = asyncio.get_running_loop().call_later(self._grace, self.over)
        self._task.cancel()

    def _settle(self) -> bool:
        """Take our own cancellations back; whether there were any, and no others."""
        ours = self._cancels > 0
        while self._cancels:
            self._cancels -= 1
            self._task.uncancel()
        return ours and self._task.cancelling() <= self._cancelled_before

    def _leave(self, error: BaseException) -> NoReturn:
        stray = asyncio.get_running_loop().create_task(_stray(self._coroutine, error, self._ended))
        _strays.add(stray)
        stray.add_done_callback(_strays.discard)
        self._settle()
        raise Overrun(still_running=True)


async def _stray(coroutine: Coroutine[Any, Any, Any], error: BaseException, ended: Callable[[Any], None]) -> None:
    """Go on with *coroutine*, which is about to be told *error* once more."""
    outcome: Any
    try:
        outcome = await _Resumed(coroutine, error)
    except BaseException as raised:  # noqa: BLE001 - nobody waits for it but who asked to be told
        outcome = raised
    ended(outcome)


class _Resumed:
    __slots__ = ("_coroutine", "_error")

    def __init__(self, coroutine: Coroutine[Any, Any, Any], error: BaseException) -> None:
        self._coroutine = coroutine
        self._error = error

    def __await__(self) -> Generator[Any, Any, Any]:
        try:
            waiting = self._coroutine.throw(self._error)
            while True:
                try:
                    value = yield waiting
                except BaseException as error:  # noqa: BLE001 - for the coroutine
                    waiting = self._coroutine.throw(error)
                else:
                    waiting = self._coroutine.send(value)
        except StopIteration as end:
            return end.value
