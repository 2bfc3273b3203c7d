"""Ctrl-C at every place where it can strike: one run of a piece of work for each.

A signal (Ctrl-C, `signal.alarm`) only sets a flag. The interpreter looks at it at a few places: where a function or a
step of a generator begins, where a loop jumps back, and where a call of something written in C has come back (on 3.11:
at RESUME, JUMP_BACKWARD, CALL and CALL_FUNCTION_EX; later versions have more of the kind). There its handler runs, and
what that raises comes out of that very place. Straight-line code between two such places is never interrupted: neither
a `with` that takes a lock, nor an assignment and the `try` behind it.

Which places these are is not written down here, and nothing pretends to be interrupted: a tracer sets the flag before
one instruction, for real, and the interpreter says where it looks next. The first run sets it before the first
instruction, and each further run before the one behind the place where the last run was struck: no place is left out,
whichever version of Python this is, and next to none comes twice.

Some versions of CPython let an interrupt pass by a `finally` where a loop jumps back (gh-130279, in 3.13 and 3.14), or
the end of a `with` whose lock was just taken (gh-148874, in 3.14). No program can help that: there, tests are skipped.
Later ones do not look for the flag where a `with` begins, but while code is traced they mistake that place.
"""

import _thread
import gc
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dis import EXTENDED_ARG, opmap
from functools import cache
from itertools import islice
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

import actguard

_PACKAGE = str(Path(actguard.__file__).parent)
_FOR_TESTS = str(Path(_PACKAGE, "testing"))


class Interrupted(KeyboardInterrupt):
    """What the handler of the signal raises."""


def ours(code: CodeType) -> bool:
    """Whether *code* is that of the package, and not of what it has for tests."""
    return code.co_filename.startswith(_PACKAGE) and not code.co_filename.startswith(_FOR_TESTS)


def interrupted_everywhere(work: Callable[[], Any], *, inside: Callable[[CodeType], bool] = ours) -> Iterator[str]:
    """Do *work* again and again, interrupted at another place each time; the last time it is not, and that is the end.

        for place in interrupted_everywhere(lambda: tool("a")):
            assert not held(), place

    Args:
        work: what is done; lets `Interrupted` out. It finds what the run before it has left behind, and should do much
            the same each time: whatever is made or compiled once should be there already.
        inside: the code in which, and in what it calls, *work* is interrupted.

    Yields:
        Where it was, innermost first. What nobody holds any more is collected by then.

    Raises:
        AssertionError: *work* went on as if it had not been interrupted.
    """
    if not _ends_what_it_begins():
        assert (3, 13) <= sys.version_info[:2] <= (3, 14), "no other version is known to need this"
        pytest.skip("CPython itself lets an interrupt pass by a `finally` or a `with` here: gh-130279, gh-148874")
    yield from _interrupted(work, inside)


def _interrupted(work: Callable[[], Any], inside: Callable[[CodeType], bool]) -> Iterator[str]:
    last: _Run | None = None
    gc.collect()
    gc.freeze()  # to look through all that is there already, after each run, would take longer than the work
    try:
        while (run := _Run(inside, last)).strikes(work) or run.missed:
            if run.missed:  # not quite the same work as before: go on behind the instruction where the flag was set
                assert last is not None
                last.spot, last.in_call = None, True
                continue
            gc.collect()
            yield run.place
            last = run
    finally:
        gc.unfreeze()


@cache
def _ends_what_it_begins() -> bool:
    """Whether the interpreter does, wherever it is interrupted."""
    lock, begun = threading.Lock(), [False]

    def work() -> None:
        try:
            begun[0] = True
            with lock:
                for number in range(3):
                    if number > 1:
                        continue
        finally:
            begun[0] = False

    return not any(lock.locked() or begun[0] for _ in _interrupted(work, lambda code: code is work.__code__))


class _Flag:
    """Set by its sign: unlike behind a call, the interpreter does not look behind that."""

    __neg__ = _thread.interrupt_main


_flag: Any = _Flag()


class _Run:
    """One run, in which the flag is set behind the place where *last* was struck."""

    def __init__(self, inside: Callable[[CodeType], bool], last: "_Run | None") -> None:
        self._inside = inside
        self._begin = 1 if last is None else last._at + last.in_call
        self._behind = None if last is None else last.spot
        self._seen = 0
        self._at = 0  # the number of the instruction before which the flag was set
        self._callers: list[tuple[int, int]] = []  # who was calling at that time, and where
        self.spot: tuple[CodeType, int | None] | None = None  # where it was struck; None: wherever it goes on
        self.in_call = False  # it was struck when a call came back that had begun before
        self._came_out = False
        self.place = ""
        self.missed = False  # the place where the last run was struck did not come by

    def strikes(self, work: Callable[[], Any]) -> bool:
        """Do *work*; False: there was no place left to be struck at."""
        assert threading.current_thread() is threading.main_thread(), "signals are handled there only"
        tracer, handler, hook = sys.gettrace(), signal.signal(signal.SIGINT, self._strike), sys.unraisablehook
        collects = gc.isenabled()
        gc.disable()  # it would come at another time in each run, and be interrupted in some
        try:
            sys.unraisablehook = self._could_not_come_out
            try:
                sys.settrace(self._enter)
                work()
            finally:
                sys.settrace(None)
            while self._at and not self.place:
                pass  # it was set behind the last place of all: it comes here, where nobody minds
        except Interrupted:
            self._came_out = True
        finally:
            sys.settrace(tracer)
            signal.signal(signal.SIGINT, handler)
            sys.unraisablehook = hook
            if collects:
                gc.enable()
        assert not self.place or self._came_out, f"was swallowed: what came at {self.place}"
        self.missed = self._behind is not None
        return bool(self.place)

    # ---- called by the interpreter ----

    def _enter(self, frame: FrameType, event: str, arg: Any) -> Any:
        """A function begins, or goes on."""
        if not self._counts(frame):
            return None
        frame.f_trace, frame.f_trace_lines, frame.f_trace_opcodes = self._step, False, True  # 3.13 wants this order
        return self._step(frame, "opcode", arg)

    def _step(self, frame: FrameType, event: str, arg: Any) -> Any:
        """Before each instruction."""
        if event == "opcode":
            self._seen += 1
            if self._seen >= self._begin and self._is_behind(frame):
                self._at = self._seen
                self._callers = [(id(caller), caller.f_lasti) for caller in _outwards(frame.f_back)]
                sys.settrace(None)
                _ = -_flag  # from here to the end nothing is called
                return None
        return self._step

    def _is_behind(self, frame: FrameType) -> bool:
        if self._behind is None:
            return True
        code, instruction = self._behind
        if frame.f_code is not code or instruction not in (None, _begins(code, frame.f_lasti)):
            return False
        self._behind = None
        return instruction is None

    def _strike(self, signum: int, frame: FrameType | None) -> None:
        assert frame is not None
        if sys.version_info >= (3, 15) and _begins_with(frame.f_code, frame.f_lasti):
            _ = -_flag  # it looked only because the code is traced
            return
        if frame.f_code is not _Run.strikes.__code__:
            self.place = " < ".join(map(_place, islice(_outwards(frame), 4)))
        self.in_call = not self._counts(frame) or (id(frame), frame.f_lasti) in self._callers
        if self._counts(frame):
            self.spot = frame.f_code, None if self.in_call else _begins(frame.f_code, frame.f_lasti)
        raise Interrupted

    def _counts(self, frame: FrameType) -> bool:
        """Whether it is interrupted: also what is called by what is meant, as it comes back to that."""
        caller = frame.f_back
        return self._inside(frame.f_code) or (caller is not None and self._inside(caller.f_code))

    def _could_not_come_out(self, what: Any) -> None:
        """It struck in a `__del__`, say."""
        self._came_out = self._came_out or what.exc_type is Interrupted


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _place(frame: FrameType) -> str:
    return f"{frame.f_code.co_qualname} ({Path(frame.f_code.co_filename).name}:{frame.f_lineno})"


def _begins_with(code: CodeType, instruction: int) -> bool:
    """Whether a `with` is entered there."""
    return instruction > 1 and code.co_code[instruction - 2] == opmap["LOAD_SPECIAL"]


def _begins(code: CodeType, instruction: int) -> int:
    """Where an instruction begins: with what lengthens its argument, and where tracers see it before 3.15."""
    while instruction and code.co_code[instruction - 2] == EXTENDED_ARG:
        instruction -= 2
    return instruction
