"""Events on their way into the store: those of several requests in one transaction, each event once.

Whoever asks for its events to be stored takes along those that wait behind them, which then find that they are. So
there is one wait for the disk and one row for each sum, however many clients send at once, and never a timer.
"""

import asyncio
from collections import deque
from collections.abc import Sequence, Set
from typing import Final, NamedTuple

from actguard.gateway.http.bodies import Envelope
from actguard.gateway.rollups import Told, sums_of
from actguard.gateway.storage.store import EventKey, Row, StoreDown, Transaction
from actguard.gateway.storage.writer import Overloaded, Writer
from actguard.gateway.stored_events import body_of, texts_of

MOST_TOGETHER: Final = 2_000
"""Events in one transaction, so that no settle waits long for it."""


class Sent:
    """What one request brought: its events as they are stored, and what they add to the sums, ready for the writer.

    Args:
        agent: whose key it came with.
        at: when, in microseconds.
        events: what each says.
        body: their texts, as a request brings them.
    """

    def __init__(self, workspace: int, agent: str, at: int, events: Sequence[Envelope], body: str) -> None:
        self._of: Final = (workspace, agent, at)
        self.keys: Final[Set[EventKey]] = {(workspace, said.id) for said in events}
        if len(self.keys) < len(events):
            once = {said.id: (said, text) for said, text in zip(events, texts_of(body), strict=True)}
            events, body = [said for said, _ in once.values()], body_of(text for _, text in once.values())
        self._events: Final = events
        self.row: Final[Row] = (workspace, agent, at, len(events), body)
        self.told: Final = Told(workspace, agent, at, events)

    def without(self, known: Set[EventKey]) -> "Sent":
        """The same, where none is *known*."""
        if known.isdisjoint(self.keys):
            return self
        workspace = self._of[0]
        events = zip(self._events, texts_of(self.row[-1]), strict=True)
        new = [(said, text) for said, text in events if (workspace, said.id) not in known]
        return Sent(*self._of, [said for said, _ in new], body_of(text for _, text in new))


def add_events(transaction: Transaction, sent: Sequence[Sent]) -> list[int]:
    """Store events, and add to the sums. Returns how many of each request were not known yet."""
    new: list[Sent] = []
    before: set[EventKey] = set()
    for each in sent:
        new.append(each.without(before))
        before.update(each.keys)
    known = transaction.add_event_ids(before) if before else set[EventKey]()
    if known:
        new = [each.without(known) for each in new]
    if batches := [each.row for each in new if each.keys]:
        transaction.run_many("add_event_batches", batches)
        transaction.run_many("add_to_event_rollups", sums_of(each.told for each in new))
    return [len(each.keys) for each in new]


class _Waiting(NamedTuple):
    sent: Sent
    added: "asyncio.Future[int]"


class Ingest:
    """Stores what requests bring; from the event loop of its writer."""

    def __init__(self, writer: Writer) -> None:
        self._writer: Final = writer
        self._waiting: Final[deque[_Waiting]] = deque()
        self._asked = False
        """Whether a transaction is to come that has not taken yet what it stores."""
        self._storing: Final[set[asyncio.Task[None]]] = set()

    async def add(self, sent: Sent) -> int:
        """Store events; how many were not known yet. They are on the disk when this returns."""
        added: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(sent, added))
        self._ask()
        return await added

    def _ask(self) -> None:
        if self._waiting and not self._asked:
            self._asked = True
            task = asyncio.create_task(self._store())
            self._storing.add(task)
            task.add_done_callback(self._storing.discard)

    async def _store(self) -> None:
        taken: list[_Waiting] = []

        def work(transaction: Transaction) -> list[int]:
            taken.extend(() if taken else self._take())  # anew where it has crossed another: the same
            return add_events(transaction, [each.sent for each in taken])

        answers: Sequence[int | Exception]
        try:
            answers = await self._writer.write(work)
        except Exception as error:  # noqa: BLE001 - is told to whom it concerns
            taken.extend(() if taken else self._take())
            if len(taken) > 1 and not isinstance(error, (StoreDown, Overloaded)):
                answers = [await self._alone(each.sent) for each in taken]
            else:
                answers = [error] * len(taken)
        for (_, added), answer in zip(taken, answers, strict=True):
            if added.done():
                continue
            if isinstance(answer, Exception):
                added.set_exception(answer)
            else:
                added.set_result(answer)
        self._ask()

    async def _alone(self, sent: Sent) -> int | Exception:
        """What is wrong with one request must not take down those that were beside it."""
        try:
            (added,) = await self._writer.write(lambda transaction: add_events(transaction, [sent]))
        except Exception as error:  # noqa: BLE001 - is told to whom it concerns
            return error
        return added

    def _take(self) -> list[_Waiting]:
        """The next that are stored together, from the writer's thread: what comes from now on asks anew."""
        self._asked = False
        taken: list[_Waiting] = []
        size = 0
        while self._waiting and (not taken or size + len(self._waiting[0].sent.keys) <= MOST_TOGETHER):
            taken.append(self._waiting.popleft())
            size += len(taken[-1].sent.keys)
        return taken
