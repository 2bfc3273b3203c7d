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
