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
from typing import Any, Final, TypeVar

from actguard.gateway.ledger.operations import Operation, Reply
from actguard.gateway.storage.store import Store, StoreDown, Transaction

T = TypeVar("T")

_log = logging.getLogger("actguard.gateway")

LARGEST_BATCH: Final = 512
MOST_WAITING: Final = 20_000
"""Beyond this, requests are told to come back instead of being kept in memory."""


class Overloaded(Exception):  # noqa: N818 - a state that passes
    """More requests wait for the store than should."""


_Work = Callable[[Transaction], Any]
_Job = tuple[Operation | None, _Work | None, Callable[[Any], None]]
"""What is asked of the ledger, or what else is to be done, and who is told. Neither: holds are to be ended."""


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

    def submit(self, operation: Operation, done: Callable[[Reply | Exception], None]) -> None:
        """Have *done* called from the event loop with what the ledger says, durable by then, or with its failure."""
        self._submit(operation, None, done)

    async def apply(self, operation: Operation) -> Reply:
        """What the ledger says; it is durable when it does."""
        reply: Reply = await self._said(operation, None)
        return reply

    async def write(self, work: Callable[[Transaction], T]) -> T:
        """Do *work* in a transaction of its own, between two batches."""
        result: T = await self._said(None, work)
        return result

    async def reap(self) -> None:
        """End the holds whose time has come, as one more batch."""
        await self._said(None, None)

    def _said(self, operation: Operation | None, work: _Work | None) -> "asyncio.Future[Any]":
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def done(answer: Any) -> None:
            if future.done():
                return
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)

        self._submit(operation, work, done)
        return future

    def _submit(self, operation: Operation | None, work: _Work | None, done: Callable[[Any], None]) -> None:
        if self.waiting >= MOST_WAITING:
            raise Overloaded
        self.waiting += 1
        if not self._gathered:
            assert self._loop is not None
            self._loop.call_soon(self._hand_over)
        self._gathered.append((operation, work, done))

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
            operations: list[Operation] = []
            while waiting and (operation := waiting[0][0]) is not None and len(batch) < LARGEST_BATCH:
                operations.append(operation)
                batch.append(waiting.popleft())
            if batch:
                self._answer(batch, self._apply(operations))
            elif waiting:
                job = waiting.popleft()
                self._answer([job], [self._do(job[1])])

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

    def _apply(self, operations: list[Operation]) -> "list[Any]":
        self.batches += 1
        self.operations += len(operations)
        try:
            return [*self._store.apply(operations)]
        except StoreDown as error:
            return [error] * len(operations)
        except Exception as error:  # noqa: BLE001 - one request must not take down those that were beside it
            if len(operations) == 1:
                _log.exception("an operation of the ledger failed")
                return [error]
            return [answer for operation in operations for answer in self._apply([operation])]

    def _do(self, work: _Work | None) -> Any:
        try:
            return self._store.write(work) if work is not None else self._store.apply(())
        except Exception as error:  # noqa: BLE001 - is raised where it was submitted
            return error

    def _answer(self, jobs: list[_Job], answers: "list[Any]") -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._deliver, jobs, answers)

    def _deliver(self, jobs: list[_Job], answers: "list[Any]") -> None:
        self.waiting -= len(jobs)
        for (_, _, done), answer in zip(jobs, answers, strict=True):
            try:
                done(answer)
            except Exception:  # noqa: BLE001 - what one client does must not keep the next one's answer
                _log.exception("an answer could not be given")
