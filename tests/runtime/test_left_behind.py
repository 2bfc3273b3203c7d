"""What a process could not deliver and left behind: the next one need not enter a run to deliver it."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from actguard import Client
from actguard.transport.spool import look
from tests.fake_gateway import KEY, Answer, FakeGateway, until


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


def test_a_run_that_spent_nothing_gives_back_what_it_may_have_been_granted(
    gateway: FakeGateway, make: Callable[..., Client]
) -> None:
    gateway.say("reserve", *[Answer(hang_up=True)] * 2)
    client = make(gateway, backoff_base_ms=1, event_mode="off")
    with pytest.warns(UserWarning, match="could not be reached"), client.run(), client.budget_guard(usd_limit=0.5):
        pass

    until(lambda: gateway.to("release"))
    assert gateway.to("release")[0].body == {"reserve_id": gateway.to("reserve")[0].body["reserve_id"]}
    assert gateway.to("settle") == []


def test_a_gateway_that_is_away_from_the_beginning_is_said_where_the_guard_is(
    gateway: FakeGateway, make: Callable[..., Client]
) -> None:
    gateway.script = lambda asked: Answer(hang_up=True)
    client = make(gateway, event_mode="off")
    with pytest.warns(UserWarning, match="local limits") as warned:
        with client.run(), client.budget_guard(usd_limit=1):
            pass

    assert warned[0].filename == __file__


ENDS_INSIDE = """
import sys, threading
from actguard import Client
url, key, folder = sys.argv[1:]
client = Client(gateway_url=url, api_key=key, spool_dir=folder)
entered = threading.Event()
def work():
    with client.run(run_id="r1"), client.budget_guard(usd_limit=1) as guard:
        guard.add_cost(name="search", usd=0.25)
        entered.set()
        threading.Event().wait()
threading.Thread(target=work, daemon=True).start()
entered.wait()
"""


@pytest.mark.parametrize("away", [False, True])
def test_a_program_that_ends_inside_a_guard_tells_what_was_spent(
    away: bool, gateway: FakeGateway, tmp_path: Path
) -> None:
    if away:
        gateway.script = lambda asked: Answer(503)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ENDS_INSIDE, gateway.url, KEY, str(tmp_path)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr

    (spool,) = look(tmp_path)
    bodies = [entry.body for entry in spool.entries] if away else [settle.body for settle in gateway.to("settle")]
    (part,) = bodies
    assert (part["run_id"], part["final"], part["seq"], part.get("offline", False)) == ("r1", False, 1, away)
    assert [line["usd_micros"] for line in part["usage_breakdown"]] == [250_000]
    assert bool(spool.entries) == away


def test_a_guard_that_is_left_after_its_client_was_closed_tells_the_rest(
    gateway: FakeGateway, make: Callable[..., Client]
) -> None:
    client = make(gateway)
    with client.run(), client.budget_guard(usd_limit=1) as guard:
        guard.add_cost(name="first", usd=0.25)
        client.close()
        guard.add_cost(name="second", usd=0.5)

    part, last = (settle.body for settle in gateway.to("settle"))
    assert (part["final"], part["usage_breakdown"][0]["name"]) == (False, "first")
    assert ("final" in last, [line["name"] for line in last["usage_breakdown"]]) == (False, ["second"])


def test_a_client_that_did_nothing_is_closed_without_a_thread(
    gateway: FakeGateway, make: Callable[..., Client]
) -> None:
    client = make(gateway)
    client.close()

    assert client.remote is not None
    assert client.remote.courier._thread is None
    assert gateway.asked == []
