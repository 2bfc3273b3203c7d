"""The gateway is down, slow, or answers nonsense: what a program sees, how long it waits, and that no spend is lost."""

import asyncio
import importlib
import logging
import ssl
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

from actguard import ActGuardUsageError, BudgetGuard, Client
from actguard.exceptions import BudgetTransportError
from actguard.runtime.remote import GatewayWarning
from actguard.transport.spool import look
from tests.fake_gateway import KEY, Answer, FakeGateway, fake_gateway, until

Make = Callable[..., Client]
DEADLINE = 0.6
SLACK = 0.35  # a busy machine

TROUBLES: dict[str, Answer] = {
    "slow": Answer(200, {}, wait=30),
    "dripping": Answer(200, {"reserve_id": "x" * 500}, drip=0.05),
    "hanging up": Answer(hang_up=True),
    "garbage": Answer(200, b"<html>welcome</html>"),
    "half a JSON": Answer(200, b'{"reserve_id": '),
    "a list": Answer(200, [1, 2]),
    "no reserve_id": Answer(200, {"status": "reserved"}),
    "huge": Answer(200, b'"' + b"x" * 3_000_000 + b'"'),
    "a page of a proxy": Answer(404, b"<html>not here</html>"),
    "redirecting": Answer(302, b"", {"location": "http://elsewhere.example"}),
    "failing": Answer(500, {"error": "oops"}),
    "down behind a balancer": Answer(503, b"no backend"),
    "busy for long": Answer(429, {"error": "later"}, {"Retry-After": "60"}),
}


@pytest.fixture
def down(gateway: FakeGateway) -> FakeGateway:
    gateway.stop()
    return gateway


@pytest.fixture(scope="module", autouse=True)
def warm() -> None:
    """What is loaded once, when the first guard is entered, is not what is measured."""
    importlib.import_module("httpx2")
    with BudgetGuard():
        pass


def used(client: Client) -> Any:
    assert client.remote is not None
    return client.remote.spool


# ---- at reserve ----


@pytest.mark.parametrize("trouble", TROUBLES)
def test_without_a_sensible_answer_a_run_goes_on_within_the_deadline(
    gateway: FakeGateway, make: Make, ask: Callable[..., Any], trouble: str
) -> None:
    gateway.script = lambda asked: Answer(hang_up=True) if asked.path.endswith("/settle") else TROUBLES[trouble]
    client = make(gateway, budget_timeout_s=DEADLINE, event_timeout_s=0.2, event_mode="off")
    with client.run(run_id="r1"):
        guard = client.budget_guard(usd_limit=0.5)
        began = time.monotonic()
        with pytest.warns(GatewayWarning, match="local limits"):
            guard.__enter__()
        assert time.monotonic() - began < DEADLINE + SLACK
        assert guard.usd_limit == 0.5
        ask()
        began = time.monotonic()
        guard.__exit__(None, None, None)
        assert time.monotonic() - began < SLACK  # known to be away: it is not waited for again

    (owed,) = used(client).pending()
    assert owed.body["offline"] is True
    assert owed.body["output_tokens"] == 20


@pytest.mark.parametrize("trouble", ["slow", "dripping", "garbage", "failing", "hanging up", "no reserve_id"])
def test_closed_raises_within_the_deadline_and_nothing_runs(gateway: FakeGateway, make: Make, trouble: str) -> None:
    gateway.script = lambda asked: TROUBLES[trouble]
    client = make(gateway, budget_timeout_s=DEADLINE, event_timeout_s=0.2, on_gateway_error="closed", event_mode="off")
    began = time.monotonic()
    with client.run(), pytest.raises(BudgetTransportError) as caught:
        client.budget_guard(usd_limit=0.5).__enter__()

    assert time.monotonic() - began < DEADLINE + SLACK
    assert caught.value.retryable
    assert used(client).pending() == []


def test_a_refused_connection_is_said_and_retried_once(down: FakeGateway, make: Make) -> None:
    client = make(down, on_gateway_error="closed", backoff_base_ms=20, event_mode="off")
    began = time.monotonic()
    with client.run(), pytest.raises(BudgetTransportError, match="could not be reached") as caught:
        client.budget_guard(usd_limit=0.5).__enter__()

    assert caught.value.reason == "unreachable"
    assert time.monotonic() - began < 1


def test_it_is_warned_about_once(down: FakeGateway, make: Make) -> None:
    client = make(down, backoff_base_ms=1, event_mode="off", event_timeout_s=0.2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            with client.run(), client.budget_guard(usd_limit=0.5):
                pass

    assert len([warning for warning in caught if warning.category is GatewayWarning]) == 1


def test_a_run_that_spent_nothing_while_it_was_away_owes_nothing(down: FakeGateway, make: Make) -> None:
    client = make(down, backoff_base_ms=1, event_mode="off", event_timeout_s=0.2)
    with pytest.warns(GatewayWarning), client.run(), client.budget_guard(usd_limit=0.5):
        pass

    assert used(client).pending() == []


@pytest.mark.filterwarnings("ignore::actguard.runtime.remote.GatewayWarning")
def test_what_was_spent_meanwhile_is_delivered_when_it_is_back(
    down: FakeGateway, make: Make, ask: Callable[..., Any]
) -> None:
    client = make(down, backoff_base_ms=1)
    with client.run(user_id="alice", run_id="r1"), client.budget_guard(usd_limit=0.5):
        ask()
    assert len(used(client).pending()) == 1

    down.start()
    until(lambda: down.to("settle"))
    until(lambda: not used(client).pending())

    (body,) = down.settled().values()
    assert (body["run_id"], body["user_id"], body["offline"], body["output_tokens"]) == ("r1", "alice", True, 20)
    client.flush(10)
    assert {event["name"] for event in down.events()} == {"start", "usage", "end"}  # nor is an event lost


async def test_the_loop_never_stands_still_while_it_is_slow(gateway: FakeGateway, make: Make) -> None:
    gateway.script = lambda asked: TROUBLES["slow"] if "events" not in asked.path else None
    client = make(gateway, budget_timeout_s=DEADLINE, event_timeout_s=0.2)
    longest = 0.0

    async def heartbeat() -> None:
        nonlocal longest
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.005)
            longest = max(longest, time.perf_counter() - before)

    beating = asyncio.create_task(heartbeat())
    with pytest.warns(GatewayWarning):
        async with client.run(), client.budget_guard(usd_limit=0.5) as guard:
            guard.add_cost(name="x", usd=0.01)
    beating.cancel()

    print(f"longest beat {longest * 1000:.0f} ms")
    assert longest < 0.2
    assert len(used(client).pending()) == 1


# ---- at settle ----


@pytest.mark.parametrize("trouble", ["slow", "dripping", "garbage", "failing", "hanging up", "busy for long"])
@pytest.mark.parametrize("policy", ["open", "closed"])
def test_a_settle_that_is_not_heard_is_kept_on_disk(
    gateway: FakeGateway, make: Make, trouble: str, policy: str
) -> None:
    client = make(gateway, budget_timeout_s=DEADLINE, event_timeout_s=0.2, on_gateway_error=policy, event_mode="off")
    with client.run():
        guard = client.budget_guard(usd_limit=0.5)
        guard.__enter__()
        guard.add_cost(name="x", usd=0.01)
        gateway.script = lambda asked: TROUBLES[trouble]
        began = time.monotonic()
        with pytest.warns(GatewayWarning):
            guard.__exit__(None, None, None)
        assert time.monotonic() - began < DEADLINE + SLACK

    (owed,) = used(client).pending()
    assert "offline" not in owed.body


@pytest.mark.filterwarnings("ignore::actguard.runtime.remote.GatewayWarning")
def test_a_settle_that_was_heard_but_not_acknowledged_is_the_same_request_again(
    gateway: FakeGateway, make: Make
) -> None:
    client = make(gateway, budget_timeout_s=0.3, budget_max_retries=0)
    with client.run(), client.budget_guard(usd_limit=0.5) as guard:
        guard.add_cost(name="x", usd=0.01)
        gateway.say("settle", Answer(200, {}, wait=2))
    until(lambda: len(gateway.to("settle")) >= 2)

    first, second = gateway.to("settle")[:2]
    assert (first.key, first.body) == (second.key, second.body)
    until(lambda: not used(client).pending())


def test_a_settle_that_will_never_be_taken_is_put_aside_and_said(
    gateway: FakeGateway, make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    client = make(gateway)
    gateway.say("settle", *[Answer(422, {"error": "too large", "code": "invalid"})] * 2)
    with client.run(), client.budget_guard(usd_limit=0.5) as guard:
        guard.add_cost(name="x", usd=0.01)
    until(lambda: not used(client).pending())

    (waiting,) = look(tmp_path / "spool")
    assert waiting.refused[0]["reason"].endswith("too large")
    assert waiting.refused[0]["body"]["usage_breakdown"][0]["name"] == "x"
    assert any("put aside" in record.message for record in caplog.records if record.levelno == logging.ERROR)


def test_a_key_that_was_revoked_in_between_loses_nothing(gateway: FakeGateway, make: Make) -> None:
    client = make(gateway, event_mode="off", event_timeout_s=0.2)
    with client.run(), client.budget_guard(usd_limit=0.5) as guard:
        guard.add_cost(name="x", usd=0.01)
        gateway.script = lambda asked: Answer(401, {"error": "revoked", "code": "unauthorized"})

    assert len(used(client).pending()) == 1


@pytest.mark.filterwarnings("ignore::actguard.runtime.remote.GatewayWarning")
def test_what_a_client_leaves_behind_the_next_one_delivers(down: FakeGateway, make: Make) -> None:
    client = make(down, backoff_base_ms=1, event_timeout_s=0.2, event_mode="off")
    with client.run(run_id="r1"), client.budget_guard(usd_limit=0.5) as guard:
        guard.add_cost(name="x", usd=0.01)
    client.close()
    assert len(used(client).segments()) == 1

    down.start()
    successor = make(down)
    with successor.run():
        until(lambda: down.to("settle"))
    successor.flush()
    until(lambda: not used(client).segments())

    assert [body["run_id"] for body in down.settled().values()] == ["r1"]


PROGRAM = """
import os, sys
from actguard import Client
client = Client(gateway_url=sys.argv[1], api_key=sys.argv[2], spool_dir=sys.argv[3], event_mode="off")
with client.run(run_id=f"r{os.getpid()}"), client.budget_guard(usd_limit=0.5) as guard:
    guard.add_cost(name="x", usd=0.01)
print("left", flush=True)
"""


def test_a_process_that_is_killed_between_settle_and_delivery_is_delivered_once(
    gateway: FakeGateway, tmp_path: Path
) -> None:
    """The settle is sent, and its sender killed before the answer: it was on disk before it left."""
    gateway.script = lambda asked: Answer(200, {}, wait=30) if "settle" in asked.path else None
    command = [sys.executable, "-c", PROGRAM, gateway.url, KEY, str(tmp_path)]
    process = subprocess.Popen(command)
    until(lambda: gateway.to("settle"), 30)
    process.kill()
    process.wait()
    killed_key = gateway.to("settle")[0].key
    (waiting,) = look(tmp_path)
    assert [entry.id for entry in waiting.entries] == [killed_key]

    gateway.script = None
    successors = [Client(**gateway.options(spool_dir=tmp_path)) for _ in range(3)]  # several look for it at once
    for successor in successors:
        successor.open_run("another", None)
    until(lambda: [asked for asked in gateway.to("settle")[1:] if asked.key == killed_key])
    until(lambda: not list(tmp_path.glob("*/*.spool")))
    for successor in successors:
        successor.close()

    delivered = [asked for asked in gateway.to("settle")[1:] if asked.key == killed_key]
    assert len(delivered) == 1
    assert delivered[0].body == gateway.to("settle")[0].body


def test_a_program_that_ends_delivers_what_it_can(gateway: FakeGateway, tmp_path: Path) -> None:
    gateway.say("settle", Answer(hang_up=True), Answer(hang_up=True))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, gateway.url, KEY, str(tmp_path)], check=False, timeout=60
    )

    assert done.returncode == 0
    assert len(gateway.settled()) == 1
    assert len(gateway.to("settle")) == 3  # twice in its time, once more at the end
    assert not list(tmp_path.glob("*/*.spool"))


# ---- TLS ----


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def secure(authority: trustme.CA) -> Any:
    with fake_gateway() as gateway:
        gateway.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(gateway.tls)
        yield gateway


def test_an_authority_of_ones_own_is_trusted_when_it_is_named(
    secure: FakeGateway, authority: trustme.CA, make: Make, tmp_path: Path
) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    client = make(secure, ca_file=tmp_path / "ca.pem")
    with client.run(), client.budget_guard(usd_limit=0.5):
        pass

    assert len(secure.to("settle")) == 1


def test_an_unknown_authority_is_explained(secure: FakeGateway, make: Make) -> None:
    client = make(secure, on_gateway_error="closed", event_mode="off")
    with client.run(), pytest.raises(BudgetTransportError, match="ca_file=") as caught:
        client.budget_guard().__enter__()

    assert caught.value.reason == "tls"
    assert secure.asked == []


def test_a_certificate_for_another_name_is_explained(authority: trustme.CA, make: Make, tmp_path: Path) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with fake_gateway() as gateway:
        gateway.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("gateway.example.com").configure_cert(gateway.tls)
        client = make(gateway, ca_file=tmp_path / "ca.pem", on_gateway_error="closed", event_mode="off")
        with client.run(), pytest.raises(BudgetTransportError, match="for another name"):
            client.budget_guard().__enter__()


def test_tls_where_none_is_spoken_is_explained(gateway: FakeGateway, make: Make) -> None:
    client = make(
        gateway, gateway_url=gateway.url.replace("http:", "https:"), on_gateway_error="closed", event_mode="off"
    )
    with client.run(), pytest.raises(BudgetTransportError, match="http://"):
        client.budget_guard().__enter__()


def test_open_goes_on_without_a_secure_connection_and_says_why(secure: FakeGateway, make: Make) -> None:
    client = make(secure, event_mode="off", event_timeout_s=0.2)
    with client.run(), pytest.warns(GatewayWarning, match="ca_file="):
        with client.budget_guard(usd_limit=0.5):
            pass


@pytest.mark.parametrize("proxy", ["gopher://127.0.0.1:1", "http://127.0.0.1:port"])
def test_a_proxy_that_is_none_is_a_mistake_at_construction(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with pytest.raises(ActGuardUsageError, match="proxy"):
        Client(gateway_url="https://gateway.example.com", api_key=KEY)


def test_a_proxy_whose_name_cannot_be_looked_up_is_a_gateway_that_is_away(
    make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://gate..way:1")
    client = make(gateway_url="https://gateway.example.com", api_key=KEY, spool_dir=tmp_path)
    with pytest.warns(GatewayWarning, match="could not be reached"), client.run(), client.budget_guard(usd_limit=1):
        pass


def test_a_ca_file_that_cannot_be_read_is_a_mistake_at_construction(tmp_path: Path) -> None:
    with pytest.raises(ActGuardUsageError) as caught:
        Client(gateway_url="https://127.0.0.1", api_key=KEY, ca_file=tmp_path / "none.pem")

    assert caught.value.argument == "ca_file"


# ---- debug ----


def test_debug_traces_requests_without_secrets(
    gateway: FakeGateway, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    gateway.say("reserve", Answer(500, {"error": "you sent ag_live_k1.s3cret-of-the-key"}))
    client = make(gateway, debug=True, backoff_base_ms=1)
    with client.run(), client.budget_guard(usd_limit=0.5):
        pass

    text = caplog.text
    assert "POST" in text
    assert "/api/v1/reserve" in text
    assert "-> 500" in text
    assert "s3cret" not in text
