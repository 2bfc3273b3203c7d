"""A settle that a gateway refuses: it says so to the program, and what was spent stays known."""

from collections.abc import Callable
from contextlib import suppress
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


@pytest.mark.parametrize("status", [402, 422])
def test_what_cannot_be_put_aside_is_kept_as_it_was(
    gateway: FakeGateway, make: Callable[..., Client], tmp_path: Path, status: int
) -> None:
    gateway.script = lambda asked: Answer(status, {"error": "no"}) if asked.path.endswith("/settle") else None
    client = make(gateway, event_mode="off")
    assert client.remote is not None
    in_its_place = client.remote.spool.folder / "refused.jsonl"
    in_its_place.mkdir(parents=True)
    with suppress(ActGuardPaymentRequired), client.run(), client.budget_guard(usd_limit=1) as guard:
        guard.add_cost(name="search", usd=0.25)
    client.close()

    (waiting,) = look(tmp_path / "spool")
    assert [entry.body["usage_breakdown"][0]["name"] for entry in waiting.entries] == ["search"]
    in_its_place.rmdir()
    with make(gateway, event_mode="off") as another:
        assert another.flush(10)
    (waiting,) = look(tmp_path / "spool")
    assert (waiting.entries, len(waiting.refused)) == ([], 1)
