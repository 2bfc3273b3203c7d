"""Calls that wait until they are let in: first come, first served, and never longer than it is of use.

A call that is refused for want of room joins the line of its key. Only the first one there asks the store again; the
others wait to be first, and a call that comes later joins behind them without asking. A line is this process's own:
between processes, whoever asks first is first.
"""

import asyncio
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from actguard.pipeline.call import Ask, Asking
from actguard.pipeline.deadline import remaining
from actguard.pipeline.guard import Part
from actguard.stores.protocol import OverLimit, Refusal, Step, Store

_SLACK_S = 0.005
"""Timers are not exact: what fits but for so much, fits."""

_DEAD_S = 1.0
"""Who should have given up so long ago is not there any more (its event loop stopped, say)."""


class _Place:
    """A call's place in a line."""

    __slots__ = ("_told", "end", "first")

    def __init__(self, end: float) -> None:
        self.end = end
        self.first = False
        self._told: Callable[[], Any] | None = None

    def wait(self, seconds: float) -> None:
        """Until it is first, or for *seconds*."""
        event = threading.Event()
        if self._to_tell(event.set):
            event.wait(seconds)

    async def await_(self, seconds: float) -> None:
        """`wait`, on an event loop."""
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        if self._to_tell(lambda: loop.call_soon_threadsafe(_settle, turn)):
            await asyncio.wait((turn,), timeout=seconds)

    def tell(self) -> bool:
        """It is first. False when nobody is there to hear it."""
        self.first = True
        try:
            if self._told is not None:
                self._told()
        except RuntimeError:  # its event loop is closed
            return False
        return True

    def _to_tell(self, told: Callable[[], Any]) -> bool:
        with _lock:
            self._told = told
            return not self.first


class _Line:
    """Who waits at one key, and what the first one was told last."""

    __slots__ = ("due", "places", "refusal")

    def __init__(self, refusal: OverLimit) -> None:
        self.places: deque[_Place] = deque()
        self.refusal = refusal
        self.due = 0.0  # when the first one asks again


_At = tuple[int, str]

_lines: dict[_At, _Line] = {}
_lock = threading.RLock()  # a call that was abandoned leaves its line when it is collected, wherever that is


def ahead(store: Store, step: Step) -> OverLimit | None:
    """What calls with such a *step* are told while others wait there; None: nobody does."""
    line = _lines.get((id(store), step.key)) if _lines else None
    if line is None:
        return None
    return line.refusal._replace(retry_after=max(line.due - time.monotonic(), 1e-6))


class Waiting:
    """One call, while it waits for *part* to let it in.

    Args:
        began: when the call was first refused, or about.
        bound_s: it would be too late after so many seconds, whatever the part says.
    """

    __slots__ = ("_at", "_end", "_place", "part", "refusal")

    def __init__(self, part: Part[Any], store: Store, step: Step, began: float, bound_s: float) -> None:
        self.part = part
        self.refusal: Refusal
        left = remaining()
        self._end = began + min(part.wait_s, bound_s)
        if left is not None:
            self._end = min(self._end, time.monotonic() + left)
        self._at = (id(store), step.key)
        self._place: _Place | None = None

    def again(self, refusal: Refusal) -> Asking:
        """Wait until it is worth asking again. False: it is not, or would be too late."""
        self.refusal = refusal
        if self.part.patience is None:
            return False
        left = self._end - time.monotonic()
        pause = self.part.patience(refusal, left + _SLACK_S if self.part.lined else left)
        if pause is None:
            return False
        if self.part.lined and not self._is_first(refusal, pause):
            place = self._place
            assert place is not None
            yield Ask(place.wait, place.await_, (left,))
            return place.first
        yield Ask(time.sleep, asyncio.sleep, (pause,))
        return True

    def leave(self) -> None:
        """Somebody else is first now."""
        place, self._place = self._place, None
        if place is None:
            return
        with _lock:
            line = _lines.get(self._at)
            if line is not None and place in line.places:
                line.places.remove(place)
                _move_up(self._at, line)

    def _is_first(self, refusal: Refusal, pause: float) -> bool:
        """Whether it is this call that asks again, after *pause*; joins the line, if it is not there yet."""
        assert isinstance(refusal, OverLimit)
        with _lock:
            line = _lines.get(self._at)
            if line is None:
                line = _lines[self._at] = _Line(refusal)
            if self._place is None:
                self._place = _Place(self._end)
                line.places.append(self._place)
                _move_up(self._at, line)
            if self._place.first:
                line.refusal, line.due = refusal, time.monotonic() + pause
            return self._place.first


def _move_up(at: _At, line: _Line) -> None:
    """Tell the first one so, if nobody is first, and forget those that are not there any more."""
    now = time.monotonic()
    places = line.places
    while places:
        if places[0].end + _DEAD_S > now and (places[0].first or places[0].tell()):
            return
        places.popleft()
    _lines.pop(at, None)


def _settle(turn: "asyncio.Future[None]") -> None:
    if not turn.done():
        turn.set_result(None)


def _after_fork() -> None:
    global _lock
    _lock = threading.RLock()
    _lines.clear()  # those who wait there are the parent's


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
