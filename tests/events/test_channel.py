"""The queue between a program and a sink: bounded, batched, and in order."""

import threading
import time
from collections.abc import Sequence
from typing import Any

from actguard import Client
from actguard.events.channel import Channel, NotNow
from actguard.events.emitter import emit
from actguard.events.envelope import Origin, Record
from actguard.events.sinks import Event
from actguard.runtime.delivery import GatewaySink
from tests.fake_gateway import Answer, fake_gateway, until

ORIGIN = Origin("r1")


class Held:
    """A sink that can be kept from taking anything, and can fail."""

    def __init__(self) -> None:
        self.batches: list[list[Event]] = []
        self.open = threading.Event()
        self.open.set()
        self.entered = threading.Event()
        self.failures = 0
        self.closed = False

    def write(self, events: Sequence[Event]) -> None:
        self.entered.set()
        self.open.wait(10)
        if self.failures:
            self.failures -= 1
            raise NotNow("away")
        self.batches.append(list(events))

    def close(self) -> None:
        self.closed = True

    @property
    def numbers(self) -> list[Any]:
        return [event["payload"].get("n") for batch in self.batches for event in batch]


def event(number: int, *, spend: bool = False) -> Record:
    return Record(ORIGIN, "llm" if spend else "order", "usage" if spend else "placed", {"n": number}, {})


def stuck(limit: int, batch: int = 100) -> tuple[Held, Channel]:
    """A channel whose sink is busy with a first event, so that the next ones wait."""
    sink = Held()
    channel = Channel(sink, interval_s=0.001, limit=limit, batch=batch)
    sink.open.clear()
    channel.put(event(-1))
    assert sink.entered.wait(10)
    return sink, channel


def test_a_full_queue_drops_the_oldest_that_is_not_about_spend() -> None:
    sink, channel = stuck(limit=4)
    for record in (event(1), event(2, spend=True), event(3), event(4), event(5, spend=True), event(6)):
        channel.put(record)
    sink.open.set()
    assert channel.close(10)

    assert sink.numbers == [-1, 2, 4, 5, 6]
    assert channel.dropped == 2


def test_spend_gives_way_only_to_spend() -> None:
    sink, channel = stuck(limit=3)
    for number in range(5):
        channel.put(event(number, spend=True))
    channel.put(event(99))  # it is dropped itself, as there is nothing lesser
    sink.open.set()
    channel.close(10)

    assert sink.numbers == [-1, 2, 3, 4]
    assert channel.dropped == 3


def test_events_travel_together_by_count_and_by_time() -> None:
    sink = Held()
    channel = Channel(sink, interval_s=60, batch=10)
    for number in range(25):
        channel.put(event(number))
    until(lambda: len(sink.numbers) >= 20)
    assert all(len(batch) <= 10 for batch in sink.batches)
    channel.close(10)
    assert sink.numbers == list(range(25))
    assert sink.closed

    timed = Channel(sink := Held(), interval_s=0.05, batch=10)
    began = time.monotonic()
    timed.put(event(1))
    until(lambda: sink.numbers == [1])
    assert time.monotonic() - began >= 0.05
    timed.close(10)


def test_what_could_not_be_delivered_is_delivered_later_in_order(monkeypatch: Any) -> None:
    monkeypatch.setattr("actguard.events.channel._PAUSES", (0.01,))
    sink = Held()
    sink.failures = 3
    channel = Channel(sink, interval_s=0.001, batch=4)
    for number in range(10):
        channel.put(event(number, spend=number % 2 == 0))
    until(lambda: len(sink.numbers) == 10)
    channel.close(10)

    assert sorted(sink.numbers) == list(range(10))
    assert channel.dropped == 0


def test_putting_from_many_threads_loses_nothing() -> None:
    sink = Held()
    channel = Channel(sink, interval_s=0.001, limit=100_000)

    def put(base: int) -> None:
        for number in range(1000):
            channel.put(event(base + number))

    threads = [threading.Thread(target=put, args=(base * 1000,)) for base in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert channel.close(20)

    assert sorted(sink.numbers) == list(range(8000))


def test_requests_to_the_gateway_are_bounded_in_bytes() -> None:
    with fake_gateway() as gateway:
        client = Client(**gateway.options(max_batch_bytes=4000, event_mode="off"))
        assert client.remote is not None
        sink = GatewaySink(client.remote.transport, client.config.events, 4000)
        events = [event(number).envelope() for number in range(20)]
        huge = Record(ORIGIN, "order", "placed", {"list": ["x" * 900] * 10}, {}).envelope()
        sink.write([*events, huge])
        client.close()

        assert len(gateway.events()) == 21
        assert len(gateway.to("events")) > 2
        assert all(int(asked.headers["content-length"]) <= 4000 for asked in gateway.to("events"))
        (cut,) = [found for found in gateway.events() if found["id"] == huge["id"]]
        assert "left_out" in cut["payload"]


def test_events_are_retried_and_stored_once() -> None:
    with fake_gateway() as gateway:
        gateway.say("events", Answer(503, {"error": "x"}), Answer(429, {"error": "x"}, {"Retry-After": "0.01"}))
        client = Client(**gateway.options(backoff_base_ms=1))
        with client.run():
            emit("order", "placed", {})
        client.close()

        assert [found["name"] for found in gateway.events()] == ["start", "placed", "end"]
        assert client.dropped_events == 0


def test_a_batch_that_is_refused_is_counted_and_the_next_one_goes() -> None:
    with fake_gateway() as gateway:
        gateway.say("events", Answer(401, {"error": "no such key"}))
        client = Client(**gateway.options())
        with client.run():
            client.flush(5)
            assert client.dropped_events == 1
        client.close()

        assert {found["name"] for found in gateway.events()} >= {"end"}


def test_closing_gives_up_in_time_when_the_gateway_is_away() -> None:
    with fake_gateway() as gateway:
        gateway.script = lambda asked: Answer(200, {}, wait=30)
        client = Client(**gateway.options(event_timeout_s=0.5))
        with client.run():
            pass
        began = time.monotonic()
        client.close()

        assert time.monotonic() - began < 1.5
        assert client.dropped_events == 2


def test_an_event_after_the_end_is_counted_as_dropped() -> None:
    channel = Channel(Held(), interval_s=0.001)
    channel.put(event(1))
    assert channel.close(10)
    channel.put(event(2, spend=True))

    assert (channel.dropped, channel.waiting) == (1, 0)


def test_what_happens_after_a_flush_was_asked_for_is_not_its_matter() -> None:
    class Busy(Channel):
        def _deliver(self) -> bool:
            delivered = super()._deliver()
            self.put(event(2))
            return delivered

    channel = Busy(Held(), interval_s=60)
    channel.put(event(1))

    assert channel.flush(10)
