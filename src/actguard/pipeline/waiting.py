"""Calls that wait until they are let in: first come, first served, and never longer than it is of use.

A call that is refused for want of room joins the line of its key. Only the first one there asks the store again; the
others wait to be first, and a call that comes later joins behind them without asking. The first one asks when the
refusal said that it should, or as soon as a store that is here says that a place was given back. A line is this
process's own: between processes, whoever asks first is first.
"""

import asyncio
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from actguard.pipeline.call import Ask, Asking, Group
from actguard.pipeline.deadline import remaining
from actguard.pipeline.guard import Part
from actguard.stores.protocol import NoPlace, OverLimit, Refusal, Refused, Step
from actguard.stores.store import Store

_SLACK_S = 0.005
"""Timers are not exact: what fits but for so much, fits."""

_DEAD_S = 1.0
"""Who should have given up so long ago is not there any more (its event loop stopped, say)."""


class _Place:
    """A call's place in a line, and the bell that is rung there: it is first now, or there may be room now."""

    __slots__ = ("_rung", "_told", "end", "first")

    def __init__(self, end: float) -> None:
        self.end = end
        self.first = False
        self._rung = False
        self._told: Callable[[], Any] | None = None

    def wait(self, seconds: float) -> None:
        """Until the bell is rung, or for *seconds*."""
        event = threading.Event()
        if self._listens(event.set):
            event.wait(seconds)

    async def await_(self, seconds: float) -> None:
        """`wait`, on an event loop."""
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        if self._listens(lambda: loop.call_soon_threadsafe(_settle, turn)):
            await asyncio.wait((turn,), timeout=seconds)

    def ring(self) -> bool:
        """False when nobody is there to hear it."""
        self._rung = True
        try:
            if self._told is not None:
                self._told()
        except RuntimeError:  # its event loop is closed
            return False
        return True

    def quiet(self) -> None:
        """Whoever waits from now on waits for a bell that is yet to be rung."""
        self._rung = False

    def _listens(self, told: Callable[[], Any]) -> bool:
        self._told = told  # before the look: whoever rings after it tells
        return not self._rung


class _Line:
    """Who waits at one key, and what the first one was told last."""

    __slots__ = ("due", "places", "refusal")

    def __init__(self, refusal: OverLimit | NoPlace) -> None:
        self.places: deque[_Place] = deque()
        self.refusal = refusal
        self.due = 0.0  # when the first one asks again


_At = tuple[int, str]

_lines: dict[_At, _Line] = {}
_lock = threading.RLock()  # a call that was abandoned leaves its line when it is collected, wherever that is


def ahead(store: Store, step: Step) -> OverLimit | NoPlace | None:
    """What calls with such a *step* are told while others wait there; None: nobody does."""
    line = _lines.get((id(store), step.key)) if _lines else None
    if line is None:
        return None
    if isinstance(line.refusal, NoPlace):
        return line.refusal  # nobody knows when a place is given back
    return line.refusal._replace(retry_after=max(line.due - time.monotonic(), 1e-6))


def behind(group: Group, steps: Sequence[Step]) -> Refused | None:
    """What a call that has just come is told, if others wait for what it wants: no need to ask the store."""
    for index, (part, step) in enumerate(zip(group.parts, steps, strict=True)):
        if part.lined and (refusal := ahead(group.store, step)) is not None:
            return Refused(index, refusal)
    return None


class Waiting:
    """One call, while it waits for *part* to let it in.

    Args:
        began: when the call was first refused, or about.
        bound_s: it would be too late after so many seconds, whatever the part says.
    """

    __slots__ = ("_at", "_end", "_hears", "_place", "_tells", "part", "refusal")

    def __init__(self, part: Part[Any], store: Store, step: Step, began: float, bound_s: float) -> None:
        self.part = part
        self.refusal: Refusal
        left = remaining()
        self._end = began + min(part.wait_s, bound_s)
        if left is not None:
            self._end = min(self._end, time.monotonic() + left)
        self._at = (id(store), step.key)
        self._place: _Place | None = None
        self._tells: Callable[[str, Callable[[], Any] | None], None] | None = getattr(store, "tell_when_given", None)
        self._hears = False  # it is told when a place is given back

    def again(self, refusal: Refusal) -> Asking:
        """Wait until it is worth asking again. False: it is not, or would be too late."""
        self.refusal = refusal
        if self.part.patience is None:
            return False
        left = min(self._end - time.monotonic(), threading.TIMEOUT_MAX)
        pause = self.part.patience(refusal, left + _SLACK_S if self.part.lined else left)
        if pause is None:
            return False
        if self.part.lined and not self._is_first(refusal, pause):
            place = self._place
            assert place is not None
            yield Ask(place.wait, place.await_, (left,))
            return place.first
        if isinstance(refusal, NoPlace) and self._place is not None and self._tells is not None:
            yield from self._till_given(self._place, pause)
        else:
            yield Ask(time.sleep, asyncio.sleep, (min(pause, threading.TIMEOUT_MAX),))
        return True

    def leave(self) -> None:
        """Somebody else is first now. Goes on where it was interrupted, if it is asked again."""
        place = self._place
        if place is None:
            return
        if self._hears and self._tells is not None:
            self._tells(self._at[1], None)
            self._hears = False
        with _lock:
            line = _lines.get(self._at)
            if line is not None and place in line.places:
                line.places.remove(place)
            if line is not None:
                _move_up(self._at, line)
        self._place = None

    def _till_given(self, place: _Place, seconds: float) -> Asking:
        """Until a place is given back, or for *seconds*. The first time at once: what was given before is seen then."""
        assert self._tells is not None
        if self._hears:
            yield Ask(place.wait, place.await_, (seconds,))
        self._hears = True
        place.quiet()
        self._tells(self._at[1], place.ring)

    def _is_first(self, refusal: Refusal, pause: float) -> bool:
        """Whether it is this call that asks again, after *pause*; joins the line, if it is not there yet."""
        assert isinstance(refusal, OverLimit | NoPlace)
        with _lock:
            line = _lines.get(self._at) or _Line(refusal)
            if self._place is None:
                self._place = _Place(self._end)
                line.places.append(self._place)
                _lines[self._at] = line  # not before: an interrupt must not leave a line in which nobody stands
                _move_up(self._at, line)
            if self._place.first:
                line.refusal, line.due = refusal, time.monotonic() + pause
            return self._place.first


def _move_up(at: _At, line: _Line) -> None:
    """Tell the first one so, if nobody is first, and forget those that are not there any more."""
    now = time.monotonic()
    places = line.places
    while places:
        place = places[0]
        if place.end + _DEAD_S > now and (place.first or _is_told(place)):
            return
        places.popleft()
    _lines.pop(at, None)


def _is_told(place: _Place) -> bool:
    place.first = True
    return place.ring()


def _settle(turn: "asyncio.Future[None]") -> None:
    if not turn.done():
        turn.set_result(None)


def _after_fork() -> None:
    global _lock
    _lock = threading.RLock()
    _lines.clear()  # those who wait there are the parent's


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
