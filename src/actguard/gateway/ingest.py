"""Events on their way into the store: those of several requests in one transaction, each event once.

Whoever asks for its events to be stored takes along those that wait behind them, which then find that they are. So
there is one wait for the disk and one row for each sum, however many clients send at once, and never a timer.
"""

import asyncio
from collections import deque
from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

import msgspec

from actguard.gateway.http.bodies import Envelope
from actguard.gateway.rollups import Told, sums_of
from actguard.gateway.storage.store import Crossed, Row, StoreDown, Transaction
from actguard.gateway.storage.writer import Overloaded, Writer

MOST_TOGETHER: Final = 2_000
"""Events in one transaction, so that no settle waits long for it."""

_encode: Final = msgspec.json.Encoder().encode


class Sent:
    """What one request brought: its rows and what they add to the sums, ready for the writer.

    Args:
        agent: whose key it came with.
        at: when, in microseconds.
        events: what each event says, and its text.
    """

    def __init__(self, workspace: int, agent: str, at: int, events: Sequence[tuple[Envelope, str]]) -> None:
        self._of: Final = (workspace, agent, at)
        self._events: Final = {said.id: (said, text) for said, text in events}
        self.workspace: Final = workspace
        self.ids: Final[Collection[str]] = self._events.keys()
        self.rows: Final[list[Row]] = [
            (
                workspace, said.id, said.ts, at, agent, said.user_id or "", said.run_id or "", said.category, said.name,
                said.provider or "", said.model or "", said.scope_name or "", said.usd_micros, text,
            )
            for said, text in self._events.values()
        ]  # fmt: skip
        self.told: Final = Told(workspace, agent, at, [said for said, _ in self._events.values()])

    def without(self, known: set[str]) -> "Sent":
        """The same, where none has an id that is *known*."""
        if known.isdisjoint(self.ids):
            return self
        return Sent(*self._of, [event for id, event in self._events.items() if id not in known])


def add_events(transaction: Transaction, sent: Sequence[Sent]) -> list[int]:
    """Store events, and add to the sums. Returns how many of each request were not known yet.

    Raises:
        Crossed: another gateway has just stored one of them.
    """
    known = {workspace: _known(transaction, workspace, sent) for workspace in {each.workspace for each in sent}}
    new: list[Sent] = []
    for each in sent:
        new.append(each.without(known[each.workspace]))
        known[each.workspace].update(each.ids)
    rows = [row for each in new for row in each.rows]
    if rows:
        if transaction.run_many("add_event", rows) != len(rows):
            raise Crossed
        transaction.run_many("add_to_event_rollups", sums_of(each.told for each in new))
    return [len(each.rows) for each in new]


def _known(transaction: Transaction, workspace: int, sent: Sequence[Sent]) -> set[str]:
    ids = [id for each in sent if each.workspace == workspace for id in each.ids]
    return {id for (id,) in transaction.rows("known_events", workspace=workspace, ids=_encode(ids).decode())}


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
        while self._waiting and (not taken or size + len(self._waiting[0].sent.ids) <= MOST_TOGETHER):
            taken.append(self._waiting.popleft())
            size += len(taken[-1].sent.ids)
        return taken
