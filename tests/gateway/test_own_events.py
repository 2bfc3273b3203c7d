"""The events that the gateway alone tells: one for each transition of a hold, under names that nobody else may use."""

import json
from pathlib import Path
from typing import Any

import pytest

from actguard import emit_event
from actguard.events.catalog import GATEWAYS_OWN
from actguard.exceptions import ReportingContractError
from actguard.gateway import reports
from actguard.gateway.http.envelopes import read_events
from actguard.gateway.ledger.operations import Extend, Release, Reserve, Settle
from actguard.gateway.ledger.windows import SECOND


def test_every_transition_of_a_hold_is_told_under_a_name_of_the_gateways(ledger: Any) -> None:
    whose: dict[str, Any] = {"workspace": 1, "agent": "bot"}
    ledger.budget("user", "*", usd=1, observe=True)
    for reserve_id in ("settled", "released", "expired"):
        ledger.one(Reserve(**whose, reserve_id=reserve_id, run_id="run", user_id="ann", usd=10, ttl=SECOND))
    ledger.one(Extend(**whose, reserve_id="settled", usd=5))
    ledger.one(Settle(**whose, reserve_id="settled", usd=4, tokens=0, final=False, seq=1))
    ledger.one(Settle(**whose, reserve_id="settled", usd=40, tokens=0))
    ledger.one(Release(**whose, reserve_id="released"))
    ledger.clock.tick(2)
    ledger.apply()
    ledger.one(Settle(**whose, reserve_id="expired", usd=1, tokens=0))

    told = ledger.store.read(lambda t: reports.events(t, 1, 0, 2 * ledger.clock.now, "", "budget", 100))

    assert {event["name"] for event in told} == GATEWAYS_OWN.keys()


@pytest.mark.parametrize("name", GATEWAYS_OWN)
def test_no_client_tells_what_the_gateway_alone_knows(name: str) -> None:
    told = {"id": "e", "category": "budget", "name": name}
    (rejected,) = read_events(json.dumps({"events": [told]}).encode()).rejected

    assert f"budget.{name} is what the gateway alone tells" in rejected["error"]
    with pytest.raises(ReportingContractError, match=f"budget.{name}"):
        emit_event("budget", name)


def test_the_manual_has_each_of_them(root: Path) -> None:
    page = (root / "docs" / "events.md").read_text()

    assert [name for name in GATEWAYS_OWN if f"`budget.{name}`" not in page] == []
