"""One timer of an event loop for all calls of a function that have the same time: as a rule they end before it is over.

A timer for each call, set and cancelled, would cost as much as all the rest of its guard. The one here stands until the
first call that runs is over; if none runs by then, it is not set again. It holds calls only while they run.
"""

import asyncio
import threading
import weakref
from contextvars import Context
from typing import Protocol


class Timed(Protocol):
    """What is told that its time is over."""

    def over(self) -> None: ...


class Alarms:
    """Tells those that run when they have done so for *seconds*."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._here = threading.local()

    def add(self, call: Timed, loop: asyncio.AbstractEventLoop) -> dict[Timed, float]:
        """Tell *call*, unless it takes itself out of what is returned before."""
        alarm: _Alarm | None = getattr(self._here, "alarm", None)
        if alarm is None or alarm.loop() is not loop:
            alarm = self._here.alarm = _Alarm(loop)
        alarm.running[call] = end = loop.time() + self._seconds
        if not alarm.is_set:
            alarm.set(loop, end)
        return alarm.running


class _Alarm:
    """The calls of one event loop, by when they are over: in the order in which they began."""

    __slots__ = ("_context", "is_set", "loop", "running")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = weakref.ref(loop)
        self.running: dict[Timed, float] = {}
        self.is_set = False
        self._context = Context()  # the timer outlives the call that sets it, and is not to hold what that stands in

    def set(self, loop: asyncio.AbstractEventLoop, end: float) -> None:
        self.is_set = True
        loop.call_at(end, self._ring, context=self._context)

    def _ring(self) -> None:
        self.is_set = False
        loop = self.loop()
        assert loop is not None  # it is what rings
        now = loop.time()
        late: list[Timed] = []
        for call, end in self.running.items():
            if end > now:
                self.set(loop, end)
                break
            late.append(call)
        for call in late:
            if self.running.pop(call, None) is not None:
                call.over()
