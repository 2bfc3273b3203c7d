"""Events of several requests go in together, and each request is told what became of its own."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from threading import Event
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actguard.gateway import ingest, stored_events
from actguard.gateway.http.bodies import Envelope
from actguard.gateway.http.envelopes import Read, read_events
from actguard.gateway.ingest import Ingest, Sent, add_events
from actguard.gateway.storage.store import Crossed, Row, StoreDown, Transaction
from actguard.gateway.storage.writer import Overloaded, Writer
from actguard.gateway.stored_events import body_of, forget, found, texts_of
from tests.gateway.conftest import NOON, Ledger

decode = msgspec.json.decode


def sent(*ids: str) -> Sent:
    return as_sent(*(Envelope(id=id, category="llm", name="usage", usd_micros=10) for id in ids))


def as_sent(*events: Envelope, workspace: int = 1, at: int = NOON) -> Sent:
    return Sent(workspace, "bot", at, events, body_of(msgspec.json.encode(said).decode() for said in events))


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
    events = kept(ledger)
    sums = ledger.store.read(
        lambda t: t.rows("event_rollups", workspace=1, dim="total", since=0, until=2 * NOON, event="llm.usage")
    )
    assert sum(row[2] for row in sums) == len(events)
    return [decode(event["id"]) for event in events]


def kept(ledger: Ledger, run_id: str = "", category: str = "") -> list[dict[str, Any]]:
    return [event for _, event in ledger.store.read(lambda t: [*found(t, 1, 0, 2 * NOON, run_id, category)])]


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


async def test_a_request_that_fails_takes_down_none_beside_it(
    busy: Busy, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = sent("b")
    monkeypatch.setattr(broken, "row", (object(), *broken.row[1:]))

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
    events = [Envelope(id=f"{n}.{odd[n % 11]}", category="llm", name="x", run_id=odd[n % 11]) for n in range(600)]
    each = [{"id": said.id, "run_id": said.run_id, "category": "llm", "payload": said.run_id} for said in events]
    texts = [json.dumps(said, ensure_ascii=n < 300) for n, said in enumerate(each)]
    sent = Sent(1, "bot", NOON, events, body_of(texts))

    assert ledger.store.write(lambda t: add_events(t, [sent])) == [600]
    assert ledger.store.write(lambda t: add_events(t, [sent])) == [0]
    assert [dict(zip(event, map(decode, event.values()), strict=True)) for event in kept(ledger)] == [
        json.loads(text) for text in reversed(texts)
    ]
    for name in odd:
        expected = [said.id for said in reversed(events) if said.run_id == name]
        assert [decode(event["id"]) for event in kept(ledger, name, "llm")] == expected
        assert kept(ledger, name, "tool") == []


def test_an_event_that_is_twice_in_a_request_is_stored_once(ledger: Ledger) -> None:
    one, other = (Envelope(id=id, category="llm", name="usage", usd_micros=10) for id in "ab")

    assert ledger.store.write(lambda t: add_events(t, [as_sent(one, other, one)])) == [2]
    assert sorted(stored(ledger)) == ["a", "b"]


def test_events_of_a_span_are_found_the_latest_first_in_however_many_requests_they_came(ledger: Ledger) -> None:
    def named(request: int, event: int) -> Envelope:
        return Envelope(id=f"{request}.{event}", category="llm", name="usage", run_id=f"run{request % 2}")

    requests = [as_sent(*(named(n, event) for event in range(n % 7 + 1)), at=NOON + n // 3) for n in range(900)]
    expected = [f"{n}.{event}" for n in reversed(range(900)) for event in reversed(range(n % 7 + 1))]
    assert len(requests) > 3 * stored_events.MOST_BATCHES
    ledger.store.write(lambda t: add_events(t, requests))

    assert stored(ledger) == expected
    assert [decode(event["id"]) for event in kept(ledger, "run1")] == [id for id in expected if int(id[:-2]) % 2]
    span = ledger.store.read(lambda t: [*found(t, 1, NOON + 1, NOON + 3, "", "")])
    assert [decode(event["id"]) for _, event in span] == [id for id in expected if 3 <= int(id[:-2]) < 9]
    assert {at for at, _ in span} == {NOON + 1, NOON + 2}
    assert ledger.store.read(lambda t: [*found(t, 2, 0, 2 * NOON, "", "")]) == []


def test_a_forgotten_event_may_come_again_and_the_others_may_not(ledger: Ledger) -> None:
    old, new = sent("a", "b"), as_sent(Envelope(id="c", category="llm", name="usage"), at=NOON + 1)
    ledger.store.write(lambda t: add_events(t, [old, new]))

    assert ledger.store.write(lambda t: forget(t, 2, NOON + 1)) == 0
    assert ledger.store.write(lambda t: forget(t, 1, NOON + 1)) == 2
    assert ledger.store.write(lambda t: forget(t, 1, NOON + 1)) == 0
    assert ledger.store.write(lambda t: add_events(t, [sent("a", "c")])) == [1]
    assert [decode(event["id"]) for event in kept(ledger)] == ["c", "a"]


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

    assert [*map(values, together.understood)] == [values(said) for read in each for said in read.understood]
    assert texts_of(together.body) == [text for read in each for text in texts_of(read.body)]
    assert [said["index"] for said in together.rejected] == [n for n, read in enumerate(each) if not read.understood]


def test_of_a_request_nothing_but_its_events_is_kept() -> None:
    plain, other = b'{"id":"a","category":"mine","name":"told"}', b'"other":[1,2]'

    for body in (b'{"events":[%s],%s}' % (plain, other), b'{%s,"events":[%s,{"id":7}]}' % (other, plain)):
        assert read_events(body).body == body_of([plain.decode()])


def test_what_the_gateway_alone_tells_is_taken_from_nobody() -> None:
    event = b'{"id":"a","category":"%s","name":"settled"}'
    read = read_events(b'{"events":[%s,%s]}' % (event % b"budget", event % b"mine"))

    assert [said.category for said in read.understood] == ["mine"]
    assert "gateway alone tells" in read.rejected[0]["error"]
