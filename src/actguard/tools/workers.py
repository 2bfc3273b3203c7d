"""Threads for synchronous functions that must be left in time.

Each call has a thread to itself for as long as it runs: one that hangs keeps nobody waiting. Threads that come back are
used again, for a while; none of them keeps the interpreter from ending.
"""

import contextvars
import logging
import os
import threading
from collections.abc import Callable
from typing import Any

log = logging.getLogger("actguard.tools")

IDLE_S = 10.0
"""A thread without work ends after so many seconds."""


class Job:
    """One call on a worker: it has ended when `done` is released, with a `result` or an `error`."""

    __slots__ = (
        "_args",
        "_before",
        "_context",
        "_function",
        "_kwargs",
        "done",
        "error",
        "left",
        "lock",
        "result",
        "started",
    )

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._function = function
        self._args = args
        self._kwargs = kwargs
        self._context = contextvars.copy_context()
        self._before = self._context.copy()
        self.lock = threading.Lock()
        self.done = threading.Lock()
        self.done.acquire()
        self.result: Any = None
        self.error: BaseException | None = None
        self.started = False
        self.left: Callable[[Job], None] | None = None
        """Set by who stopped waiting: told when it ends after all."""

    def run(self) -> None:
        if not self._begin():
            return  # nobody waits any more: it never will run
        try:
            self.result = self._context.run(self._function, *self._args, **self._kwargs)
        except BaseException as error:  # noqa: BLE001 - raised again where the result is awaited
            self.error = error
        self._function = _nothing
        self._args = ()
        self._kwargs = {}
        self.done.release()
        with self.lock:
            left = self.left
        if left is not None:
            left(self)

    def _begin(self) -> bool:
        with self.lock:
            self.started = self.left is None
            return self.started

    def wait(self, seconds: float) -> bool:
        """Whether it ended within *seconds*."""
        return self.done.acquire(timeout=seconds)

    def leave(self, told: Callable[["Job"], None]) -> bool:
        """Stop waiting. False when it ended in the same moment."""
        with self.lock:
            if self.done.acquire(blocking=False):
                return False
            self.left = told
            return True

    def outcome(self) -> Any:
        """Its result, or its error raised."""
        error = self.error
        if error is None:
            return self.result
        try:
            raise error
        finally:
            self.error = error = None  # the traceback holds this frame

    def carry_context(self) -> None:
        """What the function set in ContextVars, set here too; what it found there stays what it is here."""
        for variable, value in self._context.items():
            if self._before.get(variable, _unset) is not value:
                variable.set(value)


class Workers:
    """As many daemon threads as there are calls at once."""

    def __init__(self) -> None:
        self._forget()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)  # the threads are the parent's: nobody would work here

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []
        self.busy = 0

    def start(self, job: Job) -> None:
        with self._lock:
            worker = self._idle.pop() if self._idle else None
            self.busy += 1
        if worker is None:
            worker = _Worker(self)
            try:
                worker.thread.start()
            except BaseException:  # no more threads
                with self._lock:
                    self.busy -= 1
                raise
        worker.give(job)

    def back(self, worker: "_Worker") -> None:
        with self._lock:
            self.busy -= 1
            self._idle.append(worker)

    def retire(self, worker: "_Worker") -> bool:
        """Whether *worker* may end: nobody has given it a job meanwhile."""
        with self._lock:
            if worker not in self._idle:
                return False
            self._idle.remove(worker)
            return True

    def stop(self) -> None:
        """End the threads that have nothing to do."""
        with self._lock:
            idle, self._idle = self._idle, []
        for worker in idle:
            worker.give(None)


class _Worker:
    __slots__ = ("_job", "_woken", "_workers", "thread")

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._woken = threading.Lock()
        self._woken.acquire()
        self._job: Job | None = None
        self.thread = threading.Thread(target=self._work, name="actguard-timeout", daemon=True)

    def give(self, job: Job | None) -> None:
        self._job = job
        self._woken.release()

    def _work(self) -> None:
        while True:
            while not self._woken.acquire(timeout=IDLE_S):
                if self._workers.retire(self):
                    return
            job, self._job = self._job, None
            if job is None:
                return
            try:
                job.run()
            except BaseException:
                log.exception("What was told of a call that had been given up failed.")
            del job
            self._workers.back(self)


def _nothing() -> None:
    return None


_unset: Any = object()
