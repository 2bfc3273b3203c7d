"""What an event says of how it came out is one of the words that the manual lists."""

import re
from pathlib import Path
from typing import Any

import pytest

import actguard
from actguard import BudgetExceededError, Client, RateLimitExceeded, add_cost

MANUAL = Path(__file__).parents[2] / "docs" / "events.md"


def test_outcomes_are_those_of_the_manual(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACTGUARD_EMIT_ALL_TOOL_RUNS", "1")
    told: list[Any] = []

    @actguard.rate_limit(max_calls=1)
    def search() -> None: ...

    @actguard.rate_limit(max_calls=1, mode="observe")
    def watched() -> None: ...

    @actguard.tool(timeout=5)
    def broken() -> None:
        raise ValueError

    with Client(event_sinks=[told.append]) as client:
        with pytest.raises(BudgetExceededError), client.run():
            search()
            with pytest.raises(RateLimitExceeded):
                search()
            watched()
            watched()
            with pytest.raises(ValueError):
                broken()
            with client.budget_guard(usd_limit=0.1):
                add_cost(name="search", usd=0.2)
        with pytest.raises(ValueError), client.run():
            raise ValueError

    line = next(line for line in MANUAL.read_text(encoding="utf-8").splitlines() if line.startswith("| `severity`"))
    severities, outcomes = (set(re.findall(r"`(\w+)`", part)) for part in line.split("|")[2].split(";"))
    assert {event["severity"] for event in told} <= severities
    assert {event["outcome"] for event in told} <= outcomes
    assert {event["outcome"] for event in told if event["name"] == "failure"} == {"failed"}
    assert {"blocked", "failed", "observed", "success"} <= {event["outcome"] for event in told}
