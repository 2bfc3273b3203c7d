"""Calls of a timed function that were given up and still run."""

import os
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from actguard.exceptions import ActGuardToolError, TooManyOrphansError
from actguard.pipeline.target import Target
from actguard.tools.workers import Job

_all_orphans: "weakref.WeakSet[Orphans]" = weakref.WeakSet()


def _after_fork() -> None:
    for orphans in tuple(_all_orphans):
        orphans.forget()  # those that run are the parent's


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class Orphans:
    """Calls of one function that were given up and still run."""

    def __init__(self, target: Target, most: int | None, on_end: Callable[[Any], None] | None) -> None:
        """At most *most* of them, and who is told how each came out."""
        self._target = target
        self._most = most
        self._on_end = on_end
        self.forget()
        _all_orphans.add(self)

    def forget(self) -> None:
        self._lock = threading.Lock()
        self.count = 0

    def check(self) -> None:
        if self._most is not None and self.count >= self._most:
            raise unstarted(
                TooManyOrphansError(f"As many calls of {self._target.name} hang as may: {self.count}."), self._target
            )

    def add(self) -> None:
        with self._lock:
            self.count += 1

    def leave(self, job: Job) -> bool:
        """Stop waiting for *job*. False when it ended in the same moment."""
        self.add()
        if job.leave(lambda job: self.ended(job.error or job.result)):
            if not job.started:
                self._drop()
            return True
        self._drop()
        return False

    def leave_in_pool(self, future: Future[Any]) -> bool:
        """The same of a call in somebody's pool; one that has not begun there never will."""
        if future.cancel():
            return True
        if future.done():
            return False
        self.add()
        future.add_done_callback(lambda future: self.ended(future.exception() or future.result()))
        return True

    def _drop(self) -> None:
        with self._lock:
            self.count -= 1

    def ended(self, outcome: Any) -> None:
        """A call that was given up is over."""
        self._drop()
        if self._on_end is not None:
            self._on_end(outcome)


def unstarted(error: ActGuardToolError, target: Target) -> ActGuardToolError:
    """*error*, saying that this call of *target* was not begun."""
    error.tool, error.guard, error.unstarted = target.name, "timeout", target.tool_id
    return error
