"""Generators that are run step by step, each step in a context of its own: as a web server's thread pool does.

In such a step nothing is in force of what the generator has entered before. So what generators enter is noted here, and
is in force again for what they call themselves: who has a noted generator among his callers is inside (`frame_here`).
Where no generator has entered anything, which is nearly everywhere, that is one look at an empty mapping.
"""

import sys
import threading
import weakref
from contextlib import contextmanager
from types import FrameType

from actguard.context import APART, Frame, current_frame, is_outside

_GENERATOR = 0x20 | 0x200  # co_flags: a generator, or an asynchronous one
_CONTEXTLIB = contextmanager.__code__.co_filename

_Noted = tuple[tuple[Frame, Frame], ...]

generators: dict[FrameType, _Noted] = {}
"""What generators have entered and not left, innermost last, and what was around it, by their Python frames."""

stained: weakref.WeakSet[threading.Thread] = weakref.WeakSet()
"""Threads on which a generator has entered something where nothing was in force. Where the step ran in the thread's own
context, that is in force there until it is left, for whatever the thread does between two steps."""


def caller() -> FrameType:
    """The Python frame that has called whoever asks."""
    return sys._getframe(2)  # pyright: ignore[reportPrivateUsage]


def note_generator(python: FrameType, entered: Frame, around: Frame) -> tuple[FrameType, ...]:
    """Remember that *python* enters *entered*, if it is a generator's: what `forget_generator` is to be given.

    Who enters by means of contextlib, through an `ExitStack` or a `@contextmanager` of his own, enters it too.
    """
    noted: list[FrameType] = []
    last: FrameType | None = python
    while last is not None:
        if last.f_code.co_flags & _GENERATOR:
            generators[last] = (*generators.get(last, ()), (entered, around))
            noted.append(last)
        back = last.f_back
        by_contextlib = _CONTEXTLIB in (last.f_code.co_filename, None if back is None else back.f_code.co_filename)
        last = back if by_contextlib else None
    if noted and is_outside(current_frame()) and (thread := threading.current_thread()) is not threading.main_thread():
        stained.add(thread)
    return tuple(noted)


def forget_generator(noted: tuple[FrameType, ...], entered: Frame) -> None:
    for python in noted:
        left = tuple(pair for pair in generators.get(python, ()) if pair[0] is not entered)
        if left:
            generators[python] = left
        else:
            generators.pop(python, None)


Entry = tuple[Frame, Frame, tuple[FrameType, ...]]
"""What was entered, what was in force around it, and the generators that have noted it."""


def take_entry(entries: list[Entry], python: FrameType) -> Entry | None:
    """Take out of *entries*, oldest first, the one that *python* leaves; None: there is none.

    Its own, if it is a generator's, which may be closed in the midst of anything; else the one that is in force here;
    else the last one of a generator that runs here; else the last one of all.
    """
    entry = _taken(entries, _noted_by(python)) or _taken(entries, [current_frame()])
    above = python.f_back if generators else None
    while entry is None and above is not None:
        entry, above = _taken(entries, _noted_by(above)), above.f_back
    return entry or (entries.pop() if entries else None)


def _noted_by(python: FrameType) -> list[Frame]:
    return [frame for frame, _ in generators.get(python, ())]


def _taken(entries: list[Entry], frames: list[Frame]) -> Entry | None:
    for index in range(len(entries) - 1, -1, -1):
        for frame in frames:
            # The collector may close a generator at any time, which takes its own entry out.
            if index < len(entries) and entries[index][0] is frame:
                return entries.pop(index)
    return None


def lost_frame() -> Frame | None:
    """What is in force here, and beside it what the innermost generator that runs here has entered and is not.

    None: nothing was lost. To be asked where `generators` is not empty; looks at every caller.
    """
    here = current_frame()
    entered: Frame | None = None
    around: list[Frame] = []  # what was entered last, and then what was around that, from one to the next
    python: FrameType | None = caller()
    while python is not None:
        for inner, outer in reversed(generators.get(python, ())):
            if entered is None:
                entered, around = inner, [inner]
                if here is entered:
                    return None
                if is_outside(here):
                    return entered
            if any(inner is frame for frame in around):
                around.append(outer)
                if here is outer:  # a step runs where the first one began, without what that has entered
                    return entered
        python = python.f_back
    if entered is None:
        return None
    whole = Frame._make(outer if inner is None else inner for inner, outer in zip(here, entered, strict=True))
    return None if all(now is then for now, then in zip(whole, here, strict=True)) else whole


def frame_here() -> Frame:
    """`current_frame()`, or what a generator that runs here has entered."""
    frame = current_frame()
    return (lost_frame() or frame) if generators and frame is not APART else frame
