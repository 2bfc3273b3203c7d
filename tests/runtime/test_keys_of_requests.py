"""Every request that changes something has an idempotency key, and each renewal one of its own."""

from collections.abc import Callable

from actguard import Client, emit_event
from tests.fake_gateway import FakeGateway, until


def test_every_request_has_a_key_and_no_two_requests_the_same(
    gateway: FakeGateway, make: Callable[..., Client]
) -> None:
    gateway.ttl_ms = 600
    client = make(gateway)
    with client.run(), client.budget_guard(usd_limit=1) as guard:
        guard.add_cost(name="search", usd=0.25)
        guard.extend(usd=1)
        emit_event("order", "placed")
        until(lambda: len([asked for asked in gateway.to("extend") if "ttl_s" in asked.body]) >= 2)
    client.close()

    assert {asked.path.rpartition("/")[2] for asked in gateway.asked} >= {"reserve", "extend", "settle", "events"}
    keys = [asked.key for asked in gateway.asked]
    assert all(keys)
    assert len(set(keys)) == len(keys)
