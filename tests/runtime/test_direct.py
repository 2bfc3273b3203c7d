"""Budgets that a program reserves and settles itself: what it may say, and what it is told of what it may not."""

from collections.abc import Callable
from typing import Any

import pytest

from actguard import Client
from actguard.exceptions import ActGuardUsageError
from tests.fake_gateway import Answer, FakeGateway

Make = Callable[..., Client]


def test_an_id_in_any_script_is_told_and_has_one_key(gateway: FakeGateway, make: Make) -> None:
    client = make(gateway)
    client.reserve_budget(run_id="run", reserve_id="réserve-猫", usd_limit=1)
    for _ in range(2):
        client.settle_budget(reserve_id="réserve-猫", input_tokens=5)

    assert gateway.to("reserve")[0].body["reserve_id"] == "réserve-猫"
    first, again = gateway.to("settle")
    assert first.body["reserve_id"] == "réserve-猫"
    assert first.key
    assert first.key == again.key != gateway.to("reserve")[0].key


def test_spend_under_an_id_in_any_script_is_settled(gateway: FakeGateway, make: Make) -> None:
    gateway.answers["/api/v1/reserve"] = [Answer(body={"reserve_id": "réserve-1", "status": "reserved"})]
    client = make(gateway)
    with client.run(), client.budget_guard(usd_limit=1) as guard:
        guard.add_cost(name="search", usd=0.25)

    (settle,) = gateway.to("settle")
    assert settle.body["reserve_id"] == "réserve-1"
    assert client.remote is not None
    assert not client.remote.spool.pending()


@pytest.mark.parametrize(
    ("wrong", "argument"),
    [
        ({"usage_breakdown": [{"usd_micros": float("nan")}]}, "usage_breakdown"),
        ({"usage_breakdown": None}, "usage_breakdown"),
        ({"usage_breakdown": iter([{"type": "custom_cost", "name": "x", "cost_cu": 1}])}, "usage_breakdown"),
        ({"usage_breakdown": "openai"}, "usage_breakdown"),
        ({"reserve_id": "a\nb"}, "reserve_id"),
        ({"reserve_id": "a" * 201}, "reserve_id"),
    ],
)
def test_a_settle_that_could_not_be_told_is_refused_where_it_is_written(
    gateway: FakeGateway, make: Make, wrong: dict[str, Any], argument: str
) -> None:
    settle: Callable[..., Any] = make(gateway).settle_budget
    with pytest.raises(ActGuardUsageError) as caught:
        settle(**{"reserve_id": "rsv_1", **wrong})

    assert caught.value.argument == argument
    assert not gateway.asked


def test_the_unit_of_a_limit_is_said(gateway: FakeGateway, make: Make) -> None:
    with pytest.raises(ActGuardUsageError, match="thousandths of a dollar"):
        make(gateway).reserve_budget(run_id="run", cost_limit=0)


async def test_a_closed_client_reserves_nothing_and_settles_what_it_had_reserved(
    gateway: FakeGateway, make: Make
) -> None:
    client = make(gateway)
    granted = client.reserve_budget(run_id="run", usd_limit=1)
    client.close()

    with pytest.raises(ActGuardUsageError, match="closed"):
        client.reserve_budget(run_id="run", usd_limit=1)
    with pytest.raises(ActGuardUsageError, match="closed"):
        await client.areserve_budget(run_id="run", usd_limit=1)
    client.settle_budget(reserve_id=granted["reserve_id"], input_tokens=5)

    assert (len(gateway.to("reserve")), len(gateway.to("settle"))) == (1, 1)


def test_a_limit_beyond_what_the_wire_can_name_is_asked_for_as_the_largest_it_can(
    gateway: FakeGateway, make: Make
) -> None:
    client = make(gateway)
    with client.run(), client.budget_guard(usd_limit=1e12, token_limit=10**15) as guard:
        assert guard.usd_limit >= 1e9

    (reserve,) = gateway.to("reserve")
    assert (reserve.body["usd_limit_micros"], reserve.body["token_limit"]) == (10**15, 10**12)
