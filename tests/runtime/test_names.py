"""Names of the user's own, whatever is in them: what was spent under them is told, and told so that it is taken."""

import json
import logging
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from actguard import BudgetGuard, Client
from actguard.exceptions import ActGuardUsageError
from actguard.gateway.http.bodies import Envelope, ReserveBody, SettleBody
from actguard.gateway.http.wire import LARGEST_BODY
from actguard.transport.names import fitting
from tests.fake_gateway import Answer, FakeGateway

Make = Callable[..., Client]
ODD = "Summarise:\n\x00first\tpart " + "x" * 300


def as_the_gateway_reads(body: Any, kind: type) -> Any:
    """*body* as the gateway's own types take it; raises where they would refuse it."""
    return msgspec.json.decode(json.dumps(body), type=kind)


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("search", "search"),
        ("größe 猫 🐈", "größe 猫 🐈"),
        ("a\nb\x00c\x7fd", "a b c d"),
        ("x" * 201, "x" * 199 + "…"),
        ("", ""),
    ],
)
def test_a_name_is_made_to_fit_and_stays_readable(given: str, taken: str) -> None:
    assert fitting(given) == taken


def test_spend_under_a_name_that_the_wire_does_not_take_is_told_under_one_that_it_does(
    gateway: FakeGateway, make: Make, ask: Callable[..., Any]
) -> None:
    client = make(gateway)
    with client.run(), BudgetGuard(name=ODD, usd_limit=1) as guard:
        ask()
        guard.add_cost(name=ODD, usd=0.01)
    client.flush()

    (settle,) = gateway.to("settle")
    call, cost = as_the_gateway_reads(settle.body, SettleBody).usage_breakdown
    assert call.scope_name == cost.scope_name == cost.name == fitting(ODD)
    assert (call.usd_micros, cost.usd_micros) == (220, 10_000)
    for event in gateway.events():
        assert as_the_gateway_reads(event, Envelope).scope_name in (None, fitting(ODD))


def test_spend_under_long_names_in_any_script_is_told_in_requests_that_are_taken(
    gateway: FakeGateway, make: Make
) -> None:
    client = make(gateway)
    with client.run(), client.budget_guard(name="名" * 200, usd_limit=5) as guard:
        for _ in range(999):
            guard.add_cost(name="字" * 200, usd=0.001)
    client.flush()

    told = [settle.body for settle in gateway.to("settle")]
    assert all(len(json.dumps(body, ensure_ascii=False).encode()) <= LARGEST_BODY for body in told)
    assert [body.get("final", True) for body in told] == [False, True]
    assert sum(line["usd_micros"] for body in told for line in body["usage_breakdown"]) == 999_000


def test_a_sink_of_the_users_own_gets_names_as_they_are(make: Make) -> None:
    told: list[dict[str, Any]] = []
    client = make(event_sinks=[told.append])
    with client.run(), client.budget_guard(name="a\nb") as guard:
        guard.add_cost(name="tool", usd=0.01)
    client.flush()

    assert [event["scope_name"] for event in told if event["name"] == "cost"] == ["a\nb"]


@pytest.mark.parametrize("name", ["run_id", "user_id"])
@pytest.mark.parametrize("wrong", ["x" * 201, "a\nb", "\x00"])
def test_an_id_that_the_gateway_cannot_take_is_refused_where_it_is_written(
    gateway: FakeGateway, make: Make, name: str, wrong: str
) -> None:
    with pytest.raises(ActGuardUsageError, match=f"{name} must have at most 200 characters, none of them a control"):
        make(gateway).run(**{name: wrong})
    with make().run(**{name: wrong}):  # nobody else's business
        pass


def test_so_is_the_user_of_a_guard(gateway: FakeGateway, make: Make) -> None:
    with make(gateway).run(), pytest.raises(ActGuardUsageError, match="user_id must have at most 200 characters"):
        with BudgetGuard(user_id="a\nb", usd_limit=1):
            pass
    assert gateway.to("reserve") == []
    client = make(gateway)
    with pytest.raises(ActGuardUsageError, match="run_id must have at most 200"):
        client.reserve_budget(run_id="a\nb")
    with pytest.raises(ActGuardUsageError, match="plan_key must have at most 100"):
        client.budget_guard(plan_key="x" * 101)


def test_every_body_of_the_sdk_is_one_that_the_gateway_takes(
    gateway: FakeGateway, make: Make, ask: Callable[..., Any]
) -> None:
    client = make(gateway)
    with (
        client.run(user_id="größe 🐈", run_id="r" * 200),
        client.budget_guard(usd_limit=1, token_limit=10**6, plan_key="pro"),
    ):
        ask()
    client.flush()

    as_the_gateway_reads(gateway.to("reserve")[0].body, ReserveBody)
    as_the_gateway_reads(gateway.to("settle")[0].body, SettleBody)
    assert gateway.events()
    for event in gateway.events():
        as_the_gateway_reads(event, Envelope)


def test_events_that_the_gateway_does_not_take_are_said(
    gateway: FakeGateway, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    rejected = {
        "accepted": 0,
        "duplicates": 0,
        "rejected": [{"index": 0, "id": "e1", "error": "usd_micros is too large"}],
    }
    gateway.say("events", Answer(202, rejected), Answer(202, rejected))
    client = make(gateway)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            with client.run():
                pass
            client.flush()

    (said,) = [record.getMessage() for record in caplog.records if "does not take" in record.getMessage()]
    assert "usd_micros is too large" in said
    assert client.dropped_events == 2
