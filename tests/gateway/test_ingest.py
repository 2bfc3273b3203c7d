"""Events of several requests go in together, and each request is told what became of its own."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from threading import Event
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actguard.gateway import ingest
from actguard.gateway.http.bodies import Envelope
from actguard.gateway.http.envelopes import Read, read_events
from actguard.gateway.ingest import Ingest, Sent, add_events
from actguard.gateway.storage.store import Crossed, Row, StoreDown, Transaction
from actguard.gateway.storage.writer import Overloaded, Writer
from tests.gateway.conftest import NOON, Ledger


def sent(*ids: str) -> Sent:
    return Sent(1, "bot", NOON, [(Envelope(id=id, category="llm", name="usage", usd_micros=10), "{}") for id in ids])


class Busy:
    """A writer that is at work until it may go on, and counts the transactions that store events."""

    def __init__(self, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
        self.writer = Writer(ledger.store)
        self.ingest = Ingest(self.writer)
        self.stored: list[int] = []
        self._go_on = Event()
        add = ingest.add_events

        def counted(transaction: Transaction, sent: list[Sent]) -> list[int]:
            added = add(transaction, sent)
            self.stored.append(len(sent))
            return added

        monkeypatch.setattr(ingest, "add_events", counted)

    async def begin(self) -> None:
        self.writer.start()
        self._first = asyncio.ensure_future(self.writer.write(lambda transaction: self._go_on.wait(30)))
        await asyncio.sleep(0)

    async def told(self, *requests: Sent) -> list[Any]:
        """What each is told, when all of them have come while the writer was busy."""
        waiting = [asyncio.ensure_future(self.ingest.add(request)) for request in requests]
        for _ in range(5):
            await asyncio.sleep(0)
        self._go_on.set()
        return await asyncio.gather(*waiting, return_exceptions=True)


@pytest.fixture
async def busy(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Busy]:
    busy = Busy(ledger, monkeypatch)
    await busy.begin()
    yield busy
    await busy.writer.close()


def stored(ledger: Ledger) -> list[str]:
    span = {"since": 0, "until": 2 * NOON, "run_id": "", "category": "", "most": 99}
    rows = ledger.store.read(lambda t: t.rows("stored_events", workspace=1, **span))
    sums = ledger.store.read(
        lambda t: t.rows("event_rollups", workspace=1, dim="total", since=0, until=2 * NOON, event="llm.usage")
    )
    assert sum(row[2] for row in sums) == len(rows)
    return sorted(str(row[0]) for row in rows)


async def test_requests_that_wait_are_stored_together_and_each_is_told_its_own(busy: Busy, ledger: Ledger) -> None:
    assert await busy.told(sent("a", "b"), sent("b", "c", "d"), sent("a", "d"), sent("e")) == [2, 2, 0, 1]
    assert busy.stored == [4]
    assert len(stored(ledger)) == 5


async def test_no_more_go_together_than_a_settle_can_wait_for(
    busy: Busy, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "MOST_TOGETHER", 3)
    requests = [sent("a", "b"), sent("c"), sent("d"), sent("e", "f", "g", "h"), sent("i")]

    assert await busy.told(*requests) == [2, 1, 1, 4, 1]
    assert busy.stored == [2, 1, 1, 1]
    assert len(stored(ledger)) == 9


async def test_a_request_that_fails_takes_down_none_beside_it(busy: Busy, ledger: Ledger) -> None:
    broken = sent("b")
    broken.rows[0] = ({}, *broken.rows[0][1:])

    first, second, third = await busy.told(sent("a"), broken, sent("c"))

    assert (first, third) == (1, 1)
    assert isinstance(second, Exception)
    assert len(stored(ledger)) == 2


async def test_what_has_crossed_another_gateway_is_stored_anew(
    busy: Busy, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = ingest.add_events
    crossed = iter([True])

    def crossing(transaction: Transaction, sent: list[Sent]) -> list[int]:
        added = add(transaction, sent)
        if next(crossed, False):
            raise Crossed
        return added

    monkeypatch.setattr(ingest, "add_events", crossing)

    assert await busy.told(sent("a"), sent("b", "c")) == [1, 2]
    assert len(stored(ledger)) == 3


@pytest.mark.parametrize("error", [StoreDown("away"), Overloaded()])
async def test_all_that_wait_are_told_that_nothing_can_be_stored(
    busy: Busy, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    async def down(work: Callable[[Transaction], Any]) -> Any:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(busy.writer, "write", down)
        assert await busy.told(sent("a"), sent("b")) == [error, error]
    assert await busy.ingest.add(sent("a")) == 1


async def test_who_no_longer_waits_is_no_hindrance(busy: Busy, ledger: Ledger) -> None:
    gone = asyncio.ensure_future(busy.ingest.add(sent("a")))
    await asyncio.sleep(0)
    gone.cancel()

    assert await busy.told(sent("b")) == [1]
    assert len(stored(ledger)) == 2


def test_events_are_kept_as_they_are_however_many_there_are(ledger: Ledger) -> None:
    odd = ("NULL", "{}", 'a"b', "a\\b", "a,b", "'", " ", "ünïcödé", "%s", ":rows", "{NULL}")
    events = [
        (Envelope(id=f"{n}.{odd[n % 11]}", category="llm", name=odd[n % 11], run_id=odd[n % 11]), odd[n % 11])
        for n in range(600)
    ]

    assert ledger.store.write(lambda t: add_events(t, [Sent(1, "bot", NOON, events)])) == [600]
    assert ledger.store.write(lambda t: add_events(t, [Sent(1, "bot", NOON, events)])) == [0]
    for name in odd:
        span = {"since": NOON, "until": NOON + 1, "run_id": name, "category": "llm", "most": 600}
        rows = ledger.store.read(lambda t, said=span: t.rows("stored_events", workspace=1, **said))
        assert [row[2] for row in rows] == [name] * sum(said.name == name for said, _ in events)


# ---- how they are read ----------------------------------------------------------------------------------------------

NAMES = ("id", "ts", "run_id", "user_id", "category", "name", "provider", "model", "scope_name", "tool_name")
_ODD = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 10**14), st.floats(allow_nan=False, allow_infinity=False),
    st.just([]), st.just({"a": [1]}),
    st.text(max_size=5), st.sampled_from(["a\nb", "\x7f", "\\", " ", "x" * 201, "settled", "budget"]),
)  # fmt: skip
_EVENTS = st.fixed_dictionaries(
    {
        "id": st.text(min_size=1, max_size=5) | _ODD,
        "category": st.just("llm") | _ODD,
        "name": st.just("usage") | _ODD,
    },
    optional=dict.fromkeys(
        (*NAMES[1:4], *NAMES[6:], "usd_micros", "input_tokens", "cached_input_tokens", "output_tokens"), _ODD
    )
    | {"payload": st.sampled_from(["plain", 'with "quotes"', "two\nlines", "ünïcödé"])},
)


def alone(event: bytes) -> Read:
    """How *event* is read beside one that is broken, so that no two can be read together."""
    return read_events(b'{"events":[%s,{"id":7}]}' % event)


def values(event: Envelope) -> Row:
    """What is stored and added up of an event."""
    amounts = (event.usd_micros, event.input_tokens, event.cached_input_tokens, event.output_tokens)
    return (*(getattr(event, name) or "" for name in NAMES), *(amount or 0 for amount in amounts))


@given(st.lists(_EVENTS, min_size=1, max_size=4), st.booleans())
def test_events_are_read_alike_whatever_is_beside_them(events: list[dict[str, Any]], ascii: bool) -> None:
    texts = [json.dumps(event, ensure_ascii=ascii).encode() for event in events]
    together = read_events(b'{"events":[%s]}' % b",".join(texts))
    each = [alone(text) for text in texts]

    expected = [pair for read in each for pair in read.understood]
    assert [(values(said), text) for said, text in together.understood] == [
        (values(said), text) for said, text in expected
    ]
    assert [said["index"] for said in together.rejected] == [n for n, read in enumerate(each) if not read.understood]


def test_what_the_gateway_alone_tells_is_taken_from_nobody() -> None:
    event = b'{"id":"a","category":"%s","name":"settled"}'
    read = read_events(b'{"events":[%s,%s]}' % (event % b"budget", event % b"mine"))

    assert [said.category for said, _ in read.understood] == ["mine"]
    assert "gateway alone tells" in read.rejected[0]["error"]
