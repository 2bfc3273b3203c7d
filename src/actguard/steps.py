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

from actguard.context import APART, Frame, current_frame, end_frame, enter_frame, is_outside

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


class Entry:
    """One entry of something: what is in force by it, what was around it, and the generators that have noted it."""

    __slots__ = ("around", "entered", "noted")

    def __init__(self, around: Frame) -> None:
        self.around = self.entered = around
        self.noted: tuple[FrameType, ...] = ()


class Entries:
    """Where one guard, run or session was entered and not left yet, oldest first.

    An interrupt (Ctrl-C, a signal handler that raises) may come out of any call, with half of it done. So whoever is
    broken off while he enters calls `end`, and while he leaves, `leave` again: each of their steps may be done twice.
    Threads that come and go at once are to hold a lock.
    """

    __slots__ = ("_entries",)

    def __init__(self) -> None:
        self._entries: dict[Entry, None] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def enter(self, entry: Entry, entered: Frame, python: FrameType) -> None:
        """Have *entered* in force for *python*, which enters it."""
        entry.entered = entered
        self._entries[entry] = None
        note_generator(python, entry)
        enter_frame(entered)

    def leave(self, python: FrameType, leaving: list[Entry]) -> None:
        """End the entry that *python* leaves, if there is one.

        Args:
            leaving: gets that entry. Another call with it completes what an interrupt has broken off.
        """
        if not leaving and (entry := self._left_by(python)) is not None:
            leaving += (entry,)
        for entry in leaving:
            self.end(entry)

    def end(self, entry: Entry) -> None:
        """Undo `enter`, or as much of it as was done."""
        if entry in self._entries:
            end_frame(entry.entered, entry.around)
            if entry.noted:
                forget_generator(entry)
            self._entries.pop(entry, None)  # unless the collector has closed its generator meanwhile

    def _left_by(self, python: FrameType) -> Entry | None:
        """The entry that *python* leaves; None: there is none.

        Its own, if it is a generator's, which may be closed in the midst of anything; else the one that is in force
        here; else the last one of a generator that runs here; else the last one of all.
        """
        entry = self._last_noted_by(python) or self._last_of([current_frame()])
        above = python.f_back if generators else None
        while entry is None and above is not None:
            entry, above = self._last_noted_by(above), above.f_back
        return entry or next(reversed(tuple(self._entries)), None)

    def _last_noted_by(self, python: FrameType) -> Entry | None:
        noted = generators.get(python)
        return None if noted is None else self._last_of([entered for entered, _ in noted])

    def _last_of(self, frames: list[Frame]) -> Entry | None:
        for entry in reversed(tuple(self._entries)):
            for frame in frames:
                if entry.entered is frame:
                    return entry
        return None


def note_generator(python: FrameType, entry: Entry) -> None:
    """Remember that *python* enters *entry*, if it is a generator's.

    Who enters by means of contextlib, through an `ExitStack` or a `@contextmanager` of his own, enters it too.
    """
    last: FrameType | None = python
    while last is not None:
        if last.f_code.co_flags & _GENERATOR:
            entry.noted = (*entry.noted, last)
            generators[last] = (*generators.get(last, ()), (entry.entered, entry.around))
        back = last.f_back
        by_contextlib = _CONTEXTLIB in (last.f_code.co_filename, None if back is None else back.f_code.co_filename)
        last = back if by_contextlib else None
    if entry.noted and is_outside(current_frame()):
        thread = threading.current_thread()
        if thread is not threading.main_thread():
            stained.add(thread)


def forget_generator(entry: Entry) -> None:
    for python in entry.noted:
        left = tuple(pair for pair in generators.get(python, ()) if pair[0] is not entry.entered)
        if left:
            generators[python] = left
        else:
            generators.pop(python, None)


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
