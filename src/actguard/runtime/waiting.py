"""Waiting for work that runs on another thread: a thread waits so long, a task does without blocking its loop."""

from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from actguard.budget.async_signal import async_signal
from actguard.transport.workers import Job, Workers

T = TypeVar("T")


class TooLate(Exception):  # noqa: N818 - becomes a public error where it is known what was asked for
    """The work is not done yet; what it returns goes to `late`."""


def wait_for(
    workers: Workers, work: Callable[[], T], seconds: float | None, late: Callable[[T], object] | None = None
) -> T:
    """Run *work* on another thread, and wait for it at most *seconds*.

    Args:
        seconds: None: as long as it takes.
        late: gets what *work* returns when nobody waits for it any more.

    Raises:
        TooLate: it takes longer.
    """
    job = Job(work)
    try:
        workers.start(job)
        if not job.wait(seconds) and job.abandon(late):
            raise TooLate
        return job.outcome()
    except TooLate:
        raise
    except BaseException:
        _leave(job, late)
        raise


async def await_for(
    workers: Workers, work: Callable[[], T], seconds: float | None, late: Callable[[T], object] | None = None
) -> T:
    """`wait_for` without blocking the event loop (asyncio or trio). *late* also when the task is cancelled."""
    wait, wake = async_signal()
    job = Job(work)
    try:
        workers.start(job)
        if job.when_done(wake) and not await wait(seconds) and job.abandon(late):
            raise TooLate
        return job.outcome()
    except TooLate:
        raise
    except BaseException:
        _leave(job, late)
        raise


def _leave(job: Job[T], late: Callable[[T], object] | None) -> None:
    """Have *late* called also with what the work returned in the moment in which the wait for it was ended."""
    if not job.abandon(late) and late is not None:
        with suppress(Exception):  # nobody is left who could be told
            late(job.outcome())
