"""Work that moves to another thread takes the frame of whoever sent it there.

Tasks and `asyncio.to_thread` copy their context by themselves. `threading.Thread` and gevent's greenlets start with an
empty one, and the thread of a pool keeps the one it was born with, so all are given the frame of who sent them:

    Thread.start                the thread runs in the frame it was started in: `Timer` and subclasses too
    Greenlet.start              and so does the greenlet: `gevent.spawn`, `gevent.pool`
    ThreadPoolExecutor.submit   one piece of work does, whichever thread runs it: `map` and `run_in_executor` too
    gevent's ThreadPool.spawn   and on native threads beside greenlets

The pools of multiprocessing are `providers/pools.py`'s.

Not reached: threads started through `_thread`, greenlets through `spawn_raw`, and what is handed to a thread that runs
already by other means (a queue). Outside of everything, one ContextVar read is all there is to it.
"""

import functools
import sys
import threading
from collections.abc import Callable
from contextvars import Context
from types import MethodType
from typing import Any, Protocol

from actguard.context import (
    APART,
    OUTSIDE,
    Frame,
    current_frame,
    enter_frame,
    frame_in,
    inside,
    is_outside,
    leave_frame,
    open_streams,
    piece_of_work,
)
from actguard.steps import frame_here, stained


class Patching(Protocol):
    """What applies patches, and takes them back."""

    def wrap(self, owner: Any, name: str, around: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None: ...

    def undo(self, step: Callable[[], object]) -> None: ...


def observe(package: str, patches: Patching) -> None:
    """Have *package*, which is imported, carry frames."""
    module = sys.modules[package]
    if package == "threading":
        patches.wrap(module.Thread, "start", _around_start)
    elif package == "gevent":
        greenlet = module.Greenlet
        _ = greenlet.gr_context  # or it says that it has none: nothing could be carried
        greenlet.add_spawn_callback(_spawned)
        patches.undo(functools.partial(greenlet.remove_spawn_callback, _spawned))
    elif package == "gevent.threadpool":
        patches.wrap(module.ThreadPool, "spawn", around_submit)
    else:
        patches.wrap(module.ThreadPoolExecutor, "submit", around_submit)


def carrying(frame: Frame, work: Callable[..., Any]) -> Callable[..., Any]:
    """*work*, run in *frame* wherever it is called."""
    streams = open_streams.get()

    def run(*args: Any, **kwargs: Any) -> Any:
        before = current_frame()
        token, around = enter_frame(frame), open_streams.set(streams)
        try:
            with piece_of_work():
                return work(*args, **kwargs)
        finally:
            open_streams.reset(around)
            leave_frame(token, frame, before)

    return run


def around_submit(
    original: Callable[..., Any], carried: Callable[[Frame, Callable[..., Any]], Callable[..., Any]] = carrying
) -> Callable[..., Any]:
    """The `submit` of a pool, with *carried* work.

    The pool may start workers of its own on the way. They outlive this piece of work, so they start outside.
    """

    @functools.wraps(original)
    def submit(executor: Any, work: Any, /, *args: Any, **kwargs: Any) -> Any:
        frame = frame_here()
        if _is_of_interpreters(executor):
            with inside(APART):
                return original(executor, work, *args, **kwargs)
        if is_outside(frame):
            if stained and carried is carrying and _context_of(work) is None:
                work = carrying(OUTSIDE, work)
            return original(executor, work, *args, **kwargs)
        brought = _context_of(work)
        if brought is None:
            work = carried(frame, work)
        elif carried is carrying:
            if frame_in(brought) is current_frame() is not frame:  # a copy of this one, in which something was lost
                brought.run(enter_frame, frame)
            work = functools.partial(_alone, work)
        token = enter_frame(APART)
        try:
            return original(executor, work, *args, **kwargs)
        finally:
            leave_frame(token, APART, frame)

    return submit


def _is_of_interpreters(executor: Any) -> bool:
    """Whether each worker of *executor* has an interpreter of its own (3.14), which takes no work with a frame."""
    pools = sys.modules.get("concurrent.futures.interpreter")
    return pools is not None and isinstance(executor, pools.InterpreterPoolExecutor)


def _alone(work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    with piece_of_work():
        return work(*args, **kwargs)


def _around_start(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def start(thread: Any) -> Any:
        frame = frame_here()
        if thread.ident is not None or getattr(thread, "_context", None) is not None:  # its creator gave it one (3.14)
            return original(thread)
        if getattr(sys.flags, "thread_inherit_context", 0):  # the interpreter hands on what is in force here (3.14)
            return _start_here(OUTSIDE if frame is APART else frame, thread, original)
        return original(thread) if is_outside(frame) else _start_in(frame, thread, original)

    return start


def _start_here(frame: Frame, thread: threading.Thread, original: Callable[..., Any]) -> Any:
    if frame is current_frame():
        return original(thread)
    with inside(frame):
        return original(thread)


def _start_in(frame: Frame, thread: threading.Thread, original: Callable[..., Any]) -> Any:
    """Start *thread* with a `run` that enters *frame*, and that is gone from the thread when it begins."""
    attributes = vars(thread)
    absent = object()
    before = attributes.get("run", absent)
    run, streams = thread.run, open_streams.get()

    def take_back() -> None:
        if attributes.get("run") is stand_in:  # else somebody has put his own over it since
            if before is absent:
                del attributes["run"]
            else:
                attributes["run"] = before

    def enter_and_run(thread: threading.Thread) -> None:
        take_back()
        enter_frame(frame)  # for good: the context ends with the thread
        open_streams.set(streams)
        run()

    stand_in = attributes["run"] = MethodType(enter_and_run, thread)  # a method, as others who wrap `run` expect it
    try:
        return original(thread)
    except BaseException:
        take_back()
        raise


def _spawned(greenlet: Any) -> None:
    """*greenlet* is about to be scheduled by whoever runs this."""
    frame = frame_here()
    if is_outside(frame) or greenlet.gr_context is not None:
        return
    context = Context()
    context.run(enter_frame, frame)
    context.run(open_streams.set, open_streams.get())
    greenlet.gr_context = context


def _context_of(work: Any) -> Context | None:
    """The context of its own that *work* runs in, as `asyncio.to_thread`'s does."""
    called = work.func if type(work) is functools.partial else work
    context = getattr(called, "__self__", None)
    return context if type(context) is Context else None
