"""A settle that a gateway refuses: it says so to the program, and what was spent stays known."""

from collections.abc import Callable
from pathlib import Path

import pytest

from actguard import BudgetExceededError, Client
from actguard.exceptions import ActGuardError, ActGuardPaymentRequired
from actguard.transport.spool import look
from tests.fake_gateway import Answer, FakeGateway


@pytest.mark.parametrize(("status", "raised"), [(402, ActGuardPaymentRequired), (409, BudgetExceededError)])
def test_the_decision_is_raised_and_the_spend_is_put_aside_for_a_person(
    gateway: FakeGateway, make: Callable[..., Client], tmp_path: Path, status: int, raised: type[ActGuardError]
) -> None:
    gateway.answers["/api/v1/settle"] = [Answer(status, {"error": "used up", "message": "pay first"})]
    client = make(gateway)
    with pytest.raises(raised), client.run(run_id="r1"), client.budget_guard(usd_limit=1) as guard:
        guard.add_cost(name="search", usd=0.25)
    client.close()

    (waiting,) = look(tmp_path / "spool")
    assert not waiting.entries
    (refused,) = waiting.refused
    assert refused["body"]["usage_breakdown"][0]["usd_micros"] == 250_000
    assert len(gateway.to("settle")) == 1
