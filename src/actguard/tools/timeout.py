"""`timeout`: a call ends in time, or its caller goes on without it."""

import asyncio
import contextvars
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from actguard.context import current_frame
from actguard.exceptions import (
    ActGuardToolError,
    TimeoutUsageError,
    ToolGuardError,
    ToolTimeoutError,
)
from actguard.pipeline.deadline import deadline as _deadline
from actguard.pipeline.deadline import remaining as remaining
from actguard.pipeline.decorate import Decorator
from actguard.pipeline.guard import Guard, Part, called, choice, positive, whole
from actguard.pipeline.target import Target
from actguard.tools.alarms import Alarms
from actguard.tools.bounded import Bounded, Overrun
from actguard.tools.late import answering
from actguard.tools.orphans import Orphans, unstarted
from actguard.tools.overrun import watched
from actguard.tools.relay import relay
from actguard.tools.workers import Job, Workers

_workers = Workers()


@dataclass(frozen=True, eq=False)
class Timeout(Decorator):
    """Give the function *seconds*.

    A coroutine is cancelled; if it does not listen, its caller goes on after *grace* seconds more. A thread cannot be
    stopped: a synchronous function goes on running, and its caller goes on without it; the error says `still_running`.
    Nested ones: whichever is over first counts.

    Args:
        seconds: how long it may take.
        executor: runs synchronous functions there instead. Then a full pool counts against the time; a call that
            has not started by then is taken back.
        grace: seconds that a cancelled coroutine has for cleaning up.
        thread: "daemon": a thread of its own for each call at a time. "none": the function stays on its thread, for
            what must not change it (sqlite3 connections, say); it is not interrupted, but an overrun raises afterwards.
        on_orphan: called when a call that was given up ends after all, with its result, or its exception.
        max_orphans: so many calls that were given up may still run; more are not started.

    With `on_block`, a call that was too late returns instead of raising; other guards see all the same that it was.

    Raises:
        ToolTimeoutError: it took longer. Also a TimeoutError; a TimeoutError of the function's own stays what it is.
        TooManyOrphansError: on a call while *max_orphans* still run.
    """

    kind: ClassVar[str] = "timeout"

    seconds: float
    executor: Executor | None = None
    grace: float = 1.0
    thread: Literal["daemon", "none"] = "daemon"
    on_orphan: Callable[[Any], None] | None = None
    max_orphans: int | None = None

    def __post_init__(self) -> None:
        Guard.__post_init__(self)
        positive("seconds", self.seconds, error=TimeoutUsageError)
        if self.seconds > threading.TIMEOUT_MAX:
            raise TimeoutUsageError("seconds is more than a thread can wait for", argument="seconds")
        if self.executor is not None and not isinstance(self.executor, Executor):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TimeoutUsageError(
                f"executor must be a concurrent.futures.Executor, not {self.executor!r}", argument="executor"
            )
        if type(self.executor).__name__ == "ProcessPoolExecutor":
            raise TimeoutUsageError(
                "executor must be one of threads: what surrounds a call (its run, its session) stays in this process",
                argument="executor",
            )
        positive("grace", self.grace, or_zero=True, error=TimeoutUsageError)
        choice("thread", self.thread, ("daemon", "none"))
        if self.executor is not None and self.thread != "daemon":
            raise TimeoutUsageError("thread='none' and an executor exclude each other", argument="thread")
        if self.on_orphan is not None:
            called("on_orphan", self.on_orphan, error=TimeoutUsageError)
        if self.max_orphans is not None:
            whole("max_orphans", self.max_orphans, error=TimeoutUsageError)

    def bind(self, target: Target) -> Part[Any]:
        if target.kind == "generator":
            raise TimeoutUsageError(
                f"{target.name} is a generator: it runs on its consumer's thread, and cannot be left in time",
                argument="seconds",
            )
        return Part(
            guard=self,
            wrap=lambda body: _wrapped(self, target, body),
            watch=lambda body, tell: watched(body, target, self.seconds, lambda runs: tell(_late(self, target, runs))),
            bound_s=self.seconds,
            refuses_late=self.max_orphans is not None or self.executor is not None,
        )

    def around(self, target: Target, wrapper: Callable[..., Any]) -> Callable[..., Any]:
        return wrapper if self.on_block == "raise" else answering(self.on_block, self.kind, target, wrapper)

    def explain(self) -> str:
        return f"{self.seconds:g} s"


timeout = Timeout


def shutdown(wait: bool = True) -> None:
    """End the threads that timed functions ran on and that have nothing to do any more.

    They are daemons: a program need not call this. Timed functions go on working afterwards.

    Args:
        wait: until calls that run have come back (at most 5 seconds).
    """
    limit = time.monotonic() + 5.0
    while wait and _workers.busy and time.monotonic() < limit:
        time.sleep(0.01)
    _workers.stop()


def _wrapped(guard: Timeout, target: Target, body: Callable[..., Any]) -> Callable[..., Any]:
    orphans = Orphans(target, guard.max_orphans, guard.on_orphan)
    if target.kind == "async":
        return _timed_async(guard, target, body, orphans)
    if target.kind == "async_generator":
        return _timed_generator(guard, target, body)
    if guard.thread == "none":
        return _timed_here(guard, target, body, orphans)
    if guard.executor is not None:
        return _timed_in_pool(guard, target, body, orphans, guard.executor)
    return _timed_in_thread(guard, target, body, orphans)


def _error(
    guard: Timeout, target: Target, given: float | None = None, *, started: bool = True, still_running: bool = False
) -> ToolTimeoutError:
    """given: how long it had, where that was not for this guard to say."""
    run = current_frame().run
    return ToolTimeoutError(
        tool_name=target.name,
        timeout_s=guard.seconds if given is None else given,
        run_id=None if run is None else run.run_id,
        started=started,
        still_running=still_running,
    )


def _late(guard: Timeout, target: Target, runs: bool) -> ToolTimeoutError:
    """What is told of a watched call that takes too long, once while it runs, and once when it has ended."""
    error = _error(guard, target, still_running=runs)
    error.reason = "still_running" if runs else "ended_late"
    return error


def _left(guard: Timeout, target: Target, given: float, *, started: bool) -> ActGuardToolError:
    error = _error(guard, target, given, started=started, still_running=started)
    return error if started else unstarted(error, target)


def _no_thread(target: Target, why: RuntimeError) -> ActGuardToolError:
    message = f"{target.name} was not run, because there is no thread for it ({why})."
    return unstarted(ToolGuardError(message, "NO_THREAD", retryable=True), target)


# A deadline is set within the `try` that takes it back to what it was before, instead of by a token: between a token
# and its `try` an interrupt would leave the deadline in force for ever.


def _until(seconds: float) -> tuple[float, float]:
    """The deadline of a call that begins now, its own or a nearer one of a call around it, and how far away it is."""
    now = time.monotonic()
    deadline = now + seconds
    outer = _deadline.get()
    return (deadline, seconds) if outer is None or outer > deadline else (outer, max(0.0, outer - now))


# ---- asynchronous functions ---------------------------------------------------------------------------------------


def _timed_async(guard: Timeout, target: Target, body: Callable[..., Any], orphans: Orphans) -> Callable[..., Any]:
    seconds, grace, bounded = guard.seconds, guard.grace, guard.max_orphans is not None
    alarms = Alarms(seconds)

    async def timed(*args: Any, **kwargs: Any) -> Any:
        if bounded:
            orphans.check()
        before, deadline = _deadline.get(), _until(seconds)[0]
        try:
            _deadline.set(deadline)
            return await Bounded(body(*args, **kwargs), alarms, grace, orphans.ended)
        except Overrun as overrun:
            if overrun.still_running:
                orphans.add()
            error = _error(guard, target, still_running=overrun.still_running)
        except ActGuardToolError as inner:
            inner.unstarted = None  # the body ran, and met it further in, perhaps in a call of itself
            raise
        finally:
            _deadline.set(before)
        raise error

    return timed


def _timed_generator(guard: Timeout, target: Target, body: Callable[..., Any]) -> Callable[..., Any]:
    """The time counts from the first item asked for to the last, the consumer's own included."""

    def timed(*args: Any, **kwargs: Any) -> Any:
        end = asyncio.get_running_loop().time() + guard.seconds
        deadline, _ = _until(guard.seconds)

        async def in_time(asked: Awaitable[Any]) -> Any:
            clock, before = asyncio.timeout_at(end), _deadline.get()
            try:
                _deadline.set(deadline)
                async with clock:
                    return await asked
            except TimeoutError:
                if not clock.expired():
                    raise
                raise _error(guard, target) from None
            finally:
                _deadline.set(before)

        return relay(body(*args, **kwargs), in_time)

    return timed


# ---- synchronous functions ----------------------------------------------------------------------------------------


def _timed_in_thread(guard: Timeout, target: Target, body: Callable[..., Any], orphans: Orphans) -> Callable[..., Any]:
    def timed(*args: Any, **kwargs: Any) -> Any:
        orphans.check()
        deadline, given = _until(guard.seconds)
        before = _deadline.get()
        try:
            _deadline.set(deadline)
            job = Job(body, args, kwargs)
        finally:
            _deadline.set(before)
        try:
            _workers.start(job)
        except RuntimeError as why:
            raise _no_thread(target, why) from None
        try:
            ended = job.wait(max(0.0, deadline - time.monotonic()))
        except BaseException:  # a KeyboardInterrupt, say
            orphans.leave(job)
            raise
        if not ended and orphans.leave(job):
            raise _left(guard, target, given, started=job.started)
        job.carry_context()
        try:
            result = job.outcome()
        except ActGuardToolError as inner:
            inner.unstarted = None
            raise
        return _bounded_further(guard, target, result, (deadline, given), orphans)

    return timed


def _timed_in_pool(
    guard: Timeout, target: Target, body: Callable[..., Any], orphans: Orphans, executor: Executor
) -> Callable[..., Any]:
    def timed(*args: Any, **kwargs: Any) -> Any:
        orphans.check()
        deadline, given = _until(guard.seconds)
        before = _deadline.get()
        try:
            _deadline.set(deadline)
            context = contextvars.copy_context()
        finally:
            _deadline.set(before)
        try:
            future = executor.submit(context.run, body, *args, **kwargs)
        except RuntimeError as why:  # it was shut down, or has no thread either
            raise _no_thread(target, why) from None
        done = threading.Event()
        future.add_done_callback(lambda _: done.set())
        try:
            ended = done.wait(max(0.0, deadline - time.monotonic()))
        except BaseException:  # a KeyboardInterrupt, say
            orphans.leave_in_pool(future)
            raise
        if not ended and orphans.leave_in_pool(future):
            raise _left(guard, target, given, started=not future.cancelled())
        try:
            result = future.result()
        except ActGuardToolError as inner:
            inner.unstarted = None
            raise
        return _bounded_further(guard, target, result, (deadline, given), orphans)

    return timed


def _timed_here(guard: Timeout, target: Target, body: Callable[..., Any], orphans: Orphans) -> Callable[..., Any]:
    def timed(*args: Any, **kwargs: Any) -> Any:
        deadline, given = _until(guard.seconds)
        before = _deadline.get()
        try:
            _deadline.set(deadline)
            result = body(*args, **kwargs)
        finally:
            _deadline.set(before)
        if time.monotonic() > deadline:
            raise _error(guard, target, given)
        return _bounded_further(guard, target, result, (deadline, given), orphans)

    return timed


def _bounded_further(guard: Timeout, target: Target, result: Any, until: tuple[float, float], orphans: Orphans) -> Any:
    """*result*, or, if it is something to wait for, itself with what is left of the time."""
    kind: type[Any] = type(result)  # pyright: ignore[reportUnknownVariableType]
    if not hasattr(kind, "__await__"):
        return result

    async def body() -> Any:
        return await result

    async def timed() -> Any:
        deadline, given = until
        try:
            alarms = Alarms(max(0.0, deadline - time.monotonic()))
            return await Bounded(body(), alarms, guard.grace, orphans.ended)
        except Overrun as overrun:
            if overrun.still_running:
                orphans.add()
            error = _error(guard, target, given, still_running=overrun.still_running)
        raise error

    return timed()
