"""One budget for many processes, end to end: real clients, a real gateway over SQLite, a provider that bills.

The short profile runs by default; ACTGUARD_LONG=1 makes it larger.
"""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from actguard import Client
from actguard.testing import LocalProvider
from tests.fake_gateway import until
from tests.real_gateway import RealGateway, real_gateway

pytest.importorskip("uvicorn")
pytestmark = pytest.mark.timeout(300)

LONG = bool(os.environ.get("ACTGUARD_LONG"))
PROCESSES, TASKS = 4, 16
LIMIT = Decimal("0.20") if LONG else Decimal("0.04")

CLIENT = """
import asyncio, json, os, sys, warnings
import openai
from actguard import BudgetExceededError, Client

warnings.simplefilter("ignore")
settings = json.loads(sys.argv[1])
client = Client(**settings["client"])
sdk = openai.AsyncOpenAI(max_retries=0)
messages = [{"role": "user", "content": "Name the laws of robotics."}]
journal = {"calls": 0, "tokens": 0, "refused": 0, "scopes": 0, "unexpected": []}


async def task(number):
    for turn in range(settings["turns"]):
        guard = None
        try:
            async with client.run(user_id=f"user-{number % 3}"):
                async with client.budget_guard(usd_limit=settings["share"], strict=True, name="task") as guard:
                    journal["scopes"] += 1
                    while True:
                        reply = await sdk.chat.completions.create(
                            model="gpt-4o", messages=messages, max_completion_tokens=60
                        )
        except BudgetExceededError as error:
            if error.origin == "remote" or not guard.calls:  # what is left pays for nothing any more
                journal["refused"] += 1
                return
        except Exception as error:
            journal["unexpected"].append(repr(error))
        finally:
            if guard is not None:
                journal["calls"] += guard.calls
                journal["tokens"] += guard.tokens_used


async def main():
    await asyncio.gather(*(task(number) for number in range(settings["tasks"])))
    await client.aclose()


asyncio.run(main())
print(json.dumps(journal))
"""


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[RealGateway]:
    with real_gateway(tmp_path) as running:
        yield running


@pytest.fixture
def provider() -> Iterator[LocalProvider]:
    with LocalProvider() as running:
        yield running


def start(gateway: RealGateway, provider: LocalProvider, spool: Path, **options: Any) -> "subprocess.Popen[str]":
    settings = {
        "client": {"gateway_url": gateway.url, "api_key": gateway.key, "spool_dir": str(spool), "budget_timeout_s": 20},
        "tasks": TASKS,
        "turns": 1000,
        "share": 0.0015,
        **options,
    }
    return subprocess.Popen(
        [sys.executable, "-c", CLIENT, json.dumps(settings)],
        env={**os.environ, **provider.env()},
        stdout=subprocess.PIPE,
        text=True,
    )


def totals(gateway: RealGateway) -> dict[str, Any]:
    """What the gateway's ledger says."""
    spend = gateway.cli("spend", "--by", "scope")
    (budget,) = gateway.cli("budgets", "list")
    return {
        "micros": spend["usd_micros"],
        "tokens": sum(group["tokens"] for group in spend["groups"]),
        "charges": sum(group["charges"] for group in spend["groups"]),
        "held": budget["usd_held_micros"],
        "spent": budget["usd_spent_micros"],
    }


def deliver(gateway: RealGateway, spool: Path) -> None:
    """What a process could not tell before it ended, the next one tells."""
    with Client(gateway_url=gateway.url, api_key=gateway.key, spool_dir=spool) as client:
        assert client.remote is not None
        assert client.remote.courier.deliver_all()


def test_four_processes_of_sixteen_tasks_never_pass_one_budget(
    gateway: RealGateway, provider: LocalProvider, tmp_path: Path
) -> None:
    gateway.cli("budgets", "set", "workspace", "--usd", str(LIMIT), "--per", "total")
    began = time.monotonic()
    processes = [start(gateway, provider, tmp_path / "spool") for _ in range(PROCESSES)]
    journals = [json.loads(process.communicate(timeout=100)[0]) for process in processes]
    took = time.monotonic() - began

    ledger, billed = totals(gateway), provider.ledger
    scopes = sum(journal["scopes"] for journal in journals)
    print(
        f"\nbilled ${billed.total_usd} of ${LIMIT} in {billed.calls} calls and {scopes} scopes of "
        f"{PROCESSES} x {TASKS} tasks, {took:.1f} s; the provider has {billed.tokens} tokens, "
        f"the ledger {ledger['tokens']} and ${ledger['micros'] / 1e6:.6f}"
    )
    assert [journal["unexpected"] for journal in journals] == [[]] * PROCESSES
    assert sum(journal["refused"] for journal in journals) == PROCESSES * TASKS  # everybody was stopped
    assert billed.total_usd <= LIMIT  # and nobody too late
    assert billed.total_usd > LIMIT * Decimal("0.7")  # nor much too early
    assert ledger["tokens"] == billed.tokens == sum(journal["tokens"] for journal in journals)  # 0 lost, 0 double
    exact = billed.total_usd * 1_000_000
    assert exact <= ledger["micros"] <= exact + scopes  # each settle is rounded up to a micro-dollar
    assert (ledger["held"], ledger["spent"]) == (0, ledger["micros"])
    assert not list((tmp_path / "spool").glob("*/*.spool"))


def test_a_gateway_that_is_killed_in_between_loses_nothing(
    gateway: RealGateway, provider: LocalProvider, tmp_path: Path
) -> None:
    """It is killed while clients work, and comes back: spend that met nobody is told later, once."""
    gateway.cli("budgets", "set", "workspace", "--usd", "1000", "--per", "total")
    options = {"turns": 4, "tasks": 8, "share": 0.0008}
    processes = [start(gateway, provider, tmp_path / "spool", **options) for _ in range(2)]
    while provider.ledger.calls < 15:
        time.sleep(0.02)
    gateway.stop(signal.SIGKILL)
    time.sleep(0.5)
    gateway.start()
    journals = [json.loads(process.communicate(timeout=100)[0]) for process in processes]
    deliver(gateway, tmp_path / "spool")

    ledger, billed = totals(gateway), provider.ledger
    print(f"\n{billed.calls} calls billed, {billed.tokens} tokens; the ledger has {ledger['tokens']}")
    assert [journal["unexpected"] for journal in journals] == [[], []]
    assert ledger["tokens"] == billed.tokens
    assert ledger["held"] == 0
    assert not list((tmp_path / "spool").glob("*/*.spool"))


@pytest.mark.skipif(not LONG, reason="the long profile: ACTGUARD_LONG=1")
def test_clients_that_are_killed_leave_no_hold_for_ever_and_no_settle_behind(
    provider: LocalProvider, tmp_path: Path
) -> None:
    with real_gateway(tmp_path, "--hold-ttl", "2") as gateway:
        gateway.cli("budgets", "set", "workspace", "--usd", "1000", "--per", "total")
        processes = [start(gateway, provider, tmp_path / "spool", tasks=8, share=0.0008) for _ in range(2)]
        while provider.ledger.calls < 30:
            time.sleep(0.02)
        for process in processes:
            process.kill()
            process.wait()
        provider.ledger.wait_idle(10)
        deliver(gateway, tmp_path / "spool")

        ledger = until(lambda: None if (found := totals(gateway))["held"] else found, 30)  # it expires
        assert not list((tmp_path / "spool").glob("*/*.spool"))  # what they had written down is told
        assert 0 < ledger["tokens"] <= provider.ledger.tokens  # what died with them was never settled


def test_the_gateway_takes_every_event_and_counts_what_the_guard_counted(
    gateway: RealGateway, provider: LocalProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import openai

    for name, value in provider.env().items():
        monkeypatch.setenv(name, value)
    client = Client(gateway_url=gateway.url, api_key=gateway.key, spool_dir=tmp_path / "spool")
    sdk = openai.OpenAI()
    with client.run(user_id="alice", run_id="run-1"):
        with client.budget_guard(usd_limit=1, token_limit=10_000, name="root", plan_key="pro") as guard:
            sdk.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "Hi"}])
            with client.budget_guard(name="search") as inner:
                list(
                    sdk.chat.completions.create(
                        model="gpt-4o", messages=[{"role": "user", "content": "Hi"}], stream=True
                    )
                )
            guard.extend(usd=0.5)
            guard.add_cost(name="tavily", usd=0.01)
            stream = sdk.chat.completions.create(
                model="gpt-4o", messages=[{"role": "user", "content": "Hi"}], stream=True
            )
            next(iter(stream))
    list(stream)  # it outlives its guard
    assert client.flush(20)
    client.close()

    assert client.dropped_events == 0
    spend = {group["key"]: group for group in gateway.cli("spend", "--by", "scope")["groups"]}
    assert sum(group["tokens"] for group in spend.values()) == provider.ledger.tokens == guard.tokens_used
    assert spend["search"]["tokens"] == inner.tokens_used
    micros = sum(group["usd_micros"] for group in spend.values())
    assert micros == round(guard.usd_used * 1e6)
    users = {group["key"]: group["usd_micros"] for group in gateway.cli("spend", "--by", "user")["groups"]}
    assert users == {"alice": micros}
    request = urllib.request.Request(
        f"{gateway.url}/api/v1/events?run_id=run-1", headers={"authorization": f"Bearer {gateway.admin_key}"}
    )
    with urllib.request.urlopen(request) as response:
        events = json.load(response)["events"]
    named = [f"{event['category']}.{event['name']}" for event in events]
    told = sorted(name for name in named if not name.startswith("budget.") or name == "budget.cost")
    assert told == ["budget.cost", "llm.usage", "llm.usage", "llm.usage", "run.end", "run.start"]
