"""Group commit: one thread writes, one batch is in flight, and what arrives meanwhile is the next batch.

There is no timer. A client alone waits for one commit; under load the commits grow and their number does not. Requests
that the event loop has in hand at once are handed over at once: the writer would otherwise wake at the first of them
and compete with the loop for the interpreter while the rest is being read.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Final, NamedTuple, TypeVar

from actguard.gateway.ledger.operations import Operation, Reply
from actguard.gateway.storage.store import Store, StoreDown, Transaction

T = TypeVar("T")

_log = logging.getLogger("actguard.gateway")

LARGEST_BATCH: Final = 512
MOST_WAITING: Final = 20_000
"""Beyond this, requests are told to come back instead of being kept in memory."""


class Overloaded(Exception):  # noqa: N818 - a state that passes
    """More requests wait for the store than should."""


class _Job(NamedTuple):
    future: "asyncio.Future[Any]"
    operation: Operation | None
    work: "Callable[[Transaction], Any] | None"


class Writer:
    """The one thread that writes to a store. Used from one event loop."""

    def __init__(self, store: Store) -> None:
        self._store: Final = store
        self._jobs: Final[SimpleQueue[list[_Job] | None]] = SimpleQueue()
        self._gathered: list[_Job] = []
        self._thread = Thread(target=self._run, name="actguard-writer", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self.waiting = 0
        self.batches = 0
        self.operations = 0

    def start(self) -> None:
        """Begin to write; from the event loop that will submit."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    async def close(self) -> None:
        """Write everything that was submitted, then stop."""
        self._hand_over()
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)

    def apply(self, operation: Operation) -> "asyncio.Future[Reply]":
        """What the ledger will say; it is durable when it does."""
        return self._submit(operation, None)

    async def write(self, work: Callable[[Transaction], T]) -> T:
        """Do *work* in a transaction of its own, between two batches."""
        result: T = await self._submit(None, work)
        return result

    async def reap(self) -> None:
        """End the holds whose time has come, as one more batch."""
        await self._submit(None, None)

    def _submit(self, operation: Operation | None, work: Callable[[Transaction], Any] | None) -> "asyncio.Future[Any]":
        if self.waiting >= MOST_WAITING:
            raise Overloaded
        assert self._loop is not None
        future: asyncio.Future[Any] = self._loop.create_future()
        self.waiting += 1
        if not self._gathered:
            self._loop.call_soon(self._hand_over)
        self._gathered.append(_Job(future, operation, work))
        return future

    def _hand_over(self) -> None:
        if self._gathered:
            self._jobs.put(self._gathered)
            self._gathered = []

    def _run(self) -> None:
        waiting: deque[_Job] = deque()
        ending = False
        while waiting or not ending:
            ending = self._receive(waiting) or ending
            batch: list[_Job] = []
            while waiting and waiting[0].operation is not None and len(batch) < LARGEST_BATCH:
                batch.append(waiting.popleft())
            if batch:
                self._answer(batch, self._apply(batch))
            elif waiting:
                job = waiting.popleft()
                self._answer([job], [self._do(job.work)])

    def _receive(self, waiting: "deque[_Job]") -> bool:
        """Add all that was submitted, at least something; whether the end has come."""
        try:
            while True:
                jobs = self._jobs.get_nowait() if waiting else self._jobs.get()
                if jobs is None:
                    return True
                waiting.extend(jobs)
        except Empty:
            return False

    def _apply(self, batch: list[_Job]) -> "list[Any]":
        operations = [job.operation for job in batch if job.operation is not None]
        self.batches += 1
        self.operations += len(operations)
        try:
            return [*self._store.apply(operations)]
        except StoreDown as error:
            return [error] * len(batch)
        except Exception as error:  # noqa: BLE001 - one request must not take down those that were beside it
            if len(batch) == 1:
                _log.exception("an operation of the ledger failed")
                return [error]
            return [answer for job in batch for answer in self._apply([job])]

    def _do(self, work: Callable[[Transaction], Any] | None) -> Any:
        try:
            return self._store.write(work) if work is not None else self._store.apply(())
        except Exception as error:  # noqa: BLE001 - is raised where it was submitted
            return error

    def _answer(self, jobs: list[_Job], answers: "list[Any]") -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._deliver, jobs, answers)

    def _deliver(self, jobs: list[_Job], answers: "list[Any]") -> None:
        self.waiting -= len(jobs)
        for job, answer in zip(jobs, answers, strict=True):
            if job.future.done():
                continue
            if isinstance(answer, BaseException):
                job.future.set_exception(answer)
            else:
                job.future.set_result(answer)
