"""Every request that changes something has an idempotency key, and only a further try of the same one has the same."""

from collections.abc import Callable

from actguard import Client, emit_event
from tests.fake_gateway import FakeGateway, until


def test_every_request_has_a_key_and_no_other_has_the_same(gateway: FakeGateway, make: Callable[..., Client]) -> None:
    gateway.ttl_ms = 600
    client = make(gateway, max_retries=0)
    with client.run(), client.budget_guard(usd_limit=1) as guard:
        guard.add_cost(name="search", usd=0.25)
        guard.extend(usd=1)
        emit_event("order", "placed")
        until(lambda: len([asked for asked in gateway.to("extend") if "ttl_s" in asked.body]) >= 2)
    client.close()

    assert {asked.path.rpartition("/")[2] for asked in gateway.asked} >= {"reserve", "extend", "settle", "events"}
    assert all(asked.key for asked in gateway.asked)
    known: dict[object, object] = {}
    assert all(known.setdefault(asked.key, asked.body) == asked.body for asked in gateway.asked)
    renewals = [asked.key for asked in gateway.to("extend") if "ttl_s" in asked.body]
    assert len(set(renewals)) == len(renewals)
