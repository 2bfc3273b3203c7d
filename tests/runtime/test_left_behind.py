"""What a process could not deliver and left behind: the next one need not enter a run to deliver it."""

from collections.abc import Callable

import pytest

from actguard import Client
from tests.fake_gateway import Answer, FakeGateway


def leave_a_settle(gateway: FakeGateway, make: Callable[..., Client]) -> str:
    """Spend in a client whose gateway goes away, and end it. Returns the key of what it owes."""
    gateway.script = lambda asked: Answer(hang_up=True) if asked.path.endswith("/settle") else None
    with pytest.warns(UserWarning, match="could not be reached"):
        with make(gateway, event_mode="off") as client, client.run(), client.budget_guard(usd_limit=1) as guard:
            guard.add_cost(name="search", usd=0.25)
    gateway.script = None
    (key,) = {asked.key for asked in gateway.to("settle")}
    assert key is not None
    gateway.asked.clear()
    return key


def test_flush_delivers_what_others_have_left_once(gateway: FakeGateway, make: Callable[..., Client]) -> None:
    key = leave_a_settle(gateway, make)

    client = make(gateway)
    assert client.flush(10)
    assert client.flush(10)

    assert [asked.key for asked in gateway.to("settle")] == [key]


def test_flush_says_that_it_could_not(gateway: FakeGateway, make: Callable[..., Client]) -> None:
    leave_a_settle(gateway, make)
    gateway.script = lambda asked: Answer(503)

    assert not make(gateway).flush(10)


def test_a_client_that_goes_on_with_nothing_says_no_other_thing(
    gateway: FakeGateway, make: Callable[..., Client]
) -> None:
    gateway.script = lambda asked: Answer(hang_up=True) if asked.path.endswith("/settle") else None
    client = make(gateway, on_gateway_error="closed")
    with pytest.warns(UserWarning, match="delivered later") as warned:
        with client.run(), client.budget_guard(usd_limit=1) as guard:
            guard.add_cost(name="search", usd=0.25)

    assert warned[0].filename == __file__
    assert "no guard is entered" in str(warned[0].message)
    assert "local limits" not in str(warned[0].message)


def test_a_gateway_that_is_away_from_the_beginning_is_said_where_the_guard_is(
    gateway: FakeGateway, make: Callable[..., Client]
) -> None:
    gateway.script = lambda asked: Answer(hang_up=True)
    client = make(gateway, event_mode="off")
    with pytest.warns(UserWarning, match="local limits") as warned:
        with client.run(), client.budget_guard(usd_limit=1):
            pass

    assert warned[0].filename == __file__
