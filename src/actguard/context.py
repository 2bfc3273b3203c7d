"""Where the code that runs now stands: ONE ContextVar holding ONE immutable Frame. Beside it: which streams are open.

A frame is replaced, never changed, so whoever captured one (a task, a thread, a stream that ends later) keeps a
consistent view for as long as it needs it.
"""

import sys
import threading
import weakref
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import Context, ContextVar, Token
from types import FrameType
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from actguard.budget.scope import BudgetScope


class Run(NamedTuple):
    """What groups the calls of one task of an agent."""

    run_id: str
    user_id: str | None = None
    emitter: Any = None
    """Takes its events (events/emitter.py); None: nobody listens."""
    backing: Any = None
    """Asked before its outermost scopes are entered (budget/backing.py); None: nobody stands behind them."""
    thread_id: str | None = None
    """The conversation that it is a turn of."""


class Frame(NamedTuple):
    """What surrounds a call. None means: outside of any."""

    run: Run | None = None
    scope: "BudgetScope | None" = None
    session: Any = None
    tool: Any = None


OUTSIDE = Frame()

APART = Frame()
"""Outside on purpose: where a thread is started that serves everybody, whoever happens to start it."""


def is_outside(frame: Frame) -> bool:
    return frame is OUTSIDE or frame is APART


_frame: ContextVar[Frame] = ContextVar("actguard.frame", default=OUTSIDE)

current_frame = _frame.get
"""The frame of the running code. One ContextVar read; this is the whole cost of a call outside any guard."""

enter_frame = _frame.set


open_streams: ContextVar[tuple[int, ...]] = ContextVar("actguard.open_streams", default=())
"""Numbers of the latest streams that were opened here, or where this task or thread was started. Who opened them may be
waiting for what runs here, so nothing here waits for them (`Hold.waits_in_vain_for`)."""


class _Piece:
    """A piece of work that a thread does beside others."""

    __slots__ = ("over",)

    def __init__(self) -> None:
        self.over = False


class _Here(threading.local):
    piece: _Piece | None = None


_here = _Here()


@contextmanager
def piece_of_work() -> Generator[None]:
    """What is done in this block ends with it, and not only with its thread."""
    before, _here.piece = _here.piece, (piece := _Piece())
    try:
        yield
    finally:
        piece.over, _here.piece = True, before


def task_id() -> int:
    """The task of asyncio, or of trio, that runs this; 0: there is none."""
    for library in ("asyncio", "trio.lowlevel"):
        try:
            return id(sys.modules[library].current_task())
        except (RuntimeError, KeyError):  # another event loop, or none
            continue
    return 0


Worker = Any
"""A thread, a piece of work on one, or a weak reference to a task."""


def worker() -> Worker:
    """The task, the piece of work, or the thread that runs this; for `is_over`."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is not None and asyncio._get_running_loop() is not None:
        task = asyncio.current_task()
        if task is not None:
            return weakref.ref(task)
    return _here.piece or threading.current_thread()


def is_over(worker: Worker) -> bool:
    """Whether *worker* has ended."""
    if isinstance(worker, threading.Thread):
        return not worker.is_alive()
    if isinstance(worker, _Piece):
        return worker.over
    task = worker()
    return task is None or bool(task.done())


def frame_in(context: Context) -> Frame:
    """`current_frame()`, of what runs in *context*."""
    return context.get(_frame, OUTSIDE)


def leave_frame(token: Token[Frame], entered: Frame, previous: Frame) -> None:
    """Undo `enter_frame`, also from a context that is not the one it was entered in.

    Frameworks enter in one task and leave in another (an async generator that is finalised elsewhere). There, the token
    belongs to a context nobody will return to; what is left to do is not to leave *entered* behind in this one.
    """
    try:
        _frame.reset(token)
    except ValueError:
        if _frame.get() is entered:
            _frame.set(previous)


_over: dict[int, tuple[Frame, Frame]] = {}
"""Entries that ended while somebody was inside them, by id: the frame, and what was around it."""
_MOST_OVER = 256


def end_frame(entered: Frame, previous: Frame) -> None:
    """Undo `enter_frame` of a frame that was made for this one entry, wherever and in whatever order.

    A generator, or a framework's callbacks, may end an outer entry before an inner one: whoever is inside stays there,
    and comes out where the outer one would have.
    """
    if _frame.get() is not entered:
        while len(_over) >= _MOST_OVER:
            _over.pop(next(iter(tuple(_over))), None)
        _over[id(entered)] = entered, previous
        return
    while previous is not OUTSIDE and (ended := _over.get(id(previous))) is not None:
        previous = ended[1]
    _frame.set(previous)


# ---- generators that are run step by step ----------------------------------------------------------------------------

_GENERATOR = 0x20 | 0x200  # co_flags: a generator, or an asynchronous one
_CONTEXTLIB = contextmanager.__code__.co_filename

_Noted = tuple[tuple[Frame, Frame], ...]

generators: dict[FrameType, _Noted] = {}
"""What generators have entered and not left, innermost last, and what was around it, by their Python frames. The thread
pool of a web server runs each step in a context of its own, in which nothing of it is in force."""


stained: weakref.WeakSet[threading.Thread] = weakref.WeakSet()
"""Threads on which a generator has entered something outside of everything. Where the step ran in the thread's own
context, that is in force there until it is left, for whatever the thread does between two steps."""


def caller() -> FrameType:
    """The Python frame that has called whoever asks."""
    return sys._getframe(2)  # pyright: ignore[reportPrivateUsage]


def note_generator(python: FrameType, entered: Frame, around: Frame) -> tuple[FrameType, ...]:
    """Remember that *python* has entered *entered*, if it is a generator's: what `forget_generator` is to be given.

    Who enters by means of contextlib, through an `ExitStack` or a `@contextmanager` of his own, has entered it too.
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
    if noted and is_outside(around) and (thread := threading.current_thread()) is not threading.main_thread():
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
    entry = _taken(entries, _noted_by(python)) or _taken(entries, [_frame.get()])
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

    None: nothing was lost. To be asked where something was entered by a generator; looks at every caller.
    """
    here = _frame.get()
    python: FrameType | None = caller()
    entered: Frame | None = None
    around: list[Frame] = []  # what was entered last, and then what was around that, from one to the next
    while python is not None:
        if python in generators:
            noted: _Noted = generators.get(python, ())
            for inner, outer in reversed(noted):
                if entered is None:
                    entered, around = inner, [inner]
                    if here is entered or is_outside(here):
                        return None if here is entered else entered
                if any(inner is frame for frame in around):
                    around.append(outer)
                    if here is outer:
                        return entered
        python = python.f_back
    if entered is None:
        return None
    whole = Frame._make(outer if inner is None else inner for inner, outer in zip(here, entered, strict=True))
    return None if all(now is then for now, then in zip(whole, here, strict=True)) else whole


def frame_here() -> Frame:
    """`current_frame()`, or what a generator that runs here has entered."""
    frame = _frame.get()
    return (lost_frame() or frame) if generators and frame is not APART else frame


# ---- elsewhere -------------------------------------------------------------------------------------------------------


def run_in(frame: Frame, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    with inside(frame):
        return work(*args, **kwargs)


async def arun_in(frame: Frame, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    with inside(frame):
        return await work(*args, **kwargs)


@contextmanager
def inside(frame: Frame) -> Generator[None]:
    """Run a block in *frame*: how work that moved to another thread gets back to where it came from."""
    before = _frame.get()
    token = _frame.set(frame)
    try:
        yield
    finally:
        leave_frame(token, frame, before)
