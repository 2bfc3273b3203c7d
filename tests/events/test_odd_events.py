"""One event that cannot be told takes no other one with it."""

import json
from pathlib import Path
from typing import Any

import pytest

from actguard import Client, add_cost, emit_event
from tests.fake_gateway import fake_gateway


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no name")

    __repr__ = __str__


@pytest.mark.parametrize("payload", [{Unprintable(): 1}, {"number": 10**5000}, {"inner": {Unprintable(): 1}}])
def test_a_payload_that_cannot_be_told_costs_no_other_event(payload: dict[Any, Any], tmp_path: Path) -> None:
    told: list[Any] = []
    file = tmp_path / "events.jsonl"
    with (
        fake_gateway() as gateway,
        Client(event_sinks=[told.append], events_file=file, **gateway.options(spool_dir=tmp_path)) as client,
    ):
        with client.run(), client.budget_guard(usd_limit=1):
            add_cost(name="search", usd=0.1)
            emit_event("order", "placed", payload, evidence=[payload])
        client.close()
        sent = [
            event["name"] for asked in gateway.asked if asked.path.endswith("/events") for event in asked.body["events"]
        ]

        expected = ["start", "cost", "placed", "end"]
        assert [event["name"] for event in told] == expected
        assert [json.loads(line)["name"] for line in file.read_text().splitlines()] == expected
        assert sent == expected
        assert client.dropped_events == 0


def test_what_a_number_of_a_payload_is_too_large_for_json_is_named_by_its_type() -> None:
    told: list[Any] = []
    with Client(event_sinks=[told.append]) as client, client.run():
        emit_event("order", "placed", {"large": 2**63, "least": -(2**63), "most": 2**63 - 1})

    assert told[1]["payload"] == {"large": "<int>", "least": -(2**63), "most": 2**63 - 1}


def test_a_function_that_raises_for_one_event_gets_the_others_of_its_batch() -> None:
    told: list[str] = []

    def listen(event: Any) -> None:
        if event["name"] in ("start", "odd"):
            raise RuntimeError("not this one")
        told.append(event["name"])

    with Client(event_sinks=[listen]) as client:
        with client.run(), client.budget_guard(usd_limit=1):
            emit_event("order", "odd")
            add_cost(name="search", usd=0.1)
        client.close()

        assert told == ["cost", "end"]
        assert client.dropped_events == 2


def test_a_function_that_wants_to_end_the_program_ends_no_delivery() -> None:
    told: list[str] = []

    def listen(event: Any) -> None:
        if event["name"] == "odd":
            raise SystemExit
        told.append(event["name"])

    with Client(event_sinks=[listen], flush_interval_ms=1) as client:
        with client.run():
            emit_event("order", "odd")
            assert client.flush(10)
            emit_event("order", "placed")
        client.close()

        assert told == ["start", "placed", "end"]
        assert client.dropped_events == 1
