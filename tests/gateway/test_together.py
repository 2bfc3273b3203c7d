"""Many clients on one budget, through several gateways: what is billed never passes the limit."""

import json
import os
import subprocess
import sys
import threading
from decimal import Decimal
from pathlib import Path

import pytest

from actguard.gateway import reports
from actguard.gateway.audit import audit
from actguard.testing import LocalProvider
from tests.gateway.conftest import Postgres, make_store
from tests.gateway.server import Caller, GatewayProcess
from tests.runtime.test_many_processes import CLIENT, PROCESSES, TASKS


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_no_number_of_clients_passes_the_limit(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    database = str(tmp_path / "gateway.db")
    if kind == "postgres":
        server: Postgres = request.getfixturevalue("postgres")
        database = server.database()
    gateways = two_gateways(database, tmp_path) if kind == "postgres" else [GatewayProcess(database, tmp_path).start()]
    limit = 20_000
    gateways[0].admin().send("PUT", "/api/v1/budgets", {"scope": "workspace", "window": "total", "usd_micros": limit})
    granted: list[str] = []
    refused: list[int] = []

    def client(number: int) -> None:
        gateway = gateways[number % len(gateways)]
        caller = Caller(gateway.port, gateway.agent_key)
        for turn in range(20):
            said = caller.post("reserve", {"run_id": f"{number}.{turn}", "usd_limit_micros": 1000})
            if said.status != 200:
                refused.append(said.status)
                continue
            rid = said.body["reserve_id"]
            granted.append(rid)
            line = {"type": "custom_cost", "name": "tool", "usd_micros": 700}
            assert caller.post("settle", {"reserve_id": rid, "usage_breakdown": [line]}).status == 200

    threads = [threading.Thread(target=client, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for gateway in gateways:
        assert gateway.stop() == 0
    store = make_store(database, None)
    store.open()
    assert store.read(audit) == []
    place = {"scope": "workspace", "scope_key": "", "window_kind": "total", "window_start": ""}
    held, spent, _, _ = store.read(lambda t: t.rows("counter", workspace=1, **place))[0]
    store.close()
    assert (held, spent) == (0, 700 * len(granted))
    assert spent <= limit
    assert spent > limit - 1000, "what fits is granted"
    assert set(refused) == {409}


@pytest.mark.timeout(170)
def test_four_client_processes_of_sixteen_tasks_never_pass_one_budget_through_two_gateways(
    postgres: Postgres, tmp_path: Path
) -> None:
    """Real clients that call a provider that bills, all on one budget in Postgres."""
    limit, database = Decimal("0.04"), postgres.database()
    gateways = two_gateways(database, tmp_path)
    budget = {"scope": "workspace", "window": "total", "usd_micros": int(limit * 10**6)}
    assert gateways[0].admin().send("PUT", "/api/v1/budgets", budget).status == 200
    with LocalProvider() as provider:
        processes = [client_process(gateways[number % 2], provider, tmp_path / "spool") for number in range(PROCESSES)]
        journals = [json.loads(process.communicate(timeout=150)[0]) for process in processes]
    for gateway in gateways:
        assert gateway.stop() == 0
    store = make_store(database, None)
    store.open()
    assert store.read(audit) == []
    ledger = store.read(lambda t: reports.spend(t, 1, 0, 2**52, "scope"))
    place = {"scope": "workspace", "scope_key": "", "window_kind": "total", "window_start": ""}
    held, spent, _, _ = store.read(lambda t: t.rows("counter", workspace=1, **place))[0]
    store.close()

    billed = provider.ledger
    assert [journal["unexpected"] for journal in journals] == [[]] * PROCESSES
    assert sum(journal["refused"] for journal in journals) == PROCESSES * TASKS  # everybody was stopped
    assert limit * Decimal("0.7") < billed.total_usd <= limit
    tokens = sum(group["tokens"] for group in ledger["groups"])
    assert tokens == billed.tokens == sum(journal["tokens"] for journal in journals)  # 0 lost, 0 double
    exact = billed.total_usd * 1_000_000
    assert exact <= ledger["usd_micros"] <= exact + sum(journal["scopes"] for journal in journals)
    assert (held, spent) == (0, ledger["usd_micros"])
    assert not list((tmp_path / "spool").glob("*/*.spool"))


def two_gateways(database: str, folder: Path) -> list[GatewayProcess]:
    first = GatewayProcess(database, folder).start()
    (folder / "second").mkdir()
    keys = {"agent_key": first.agent_key, "admin_key": first.admin_key}
    return [first, GatewayProcess(database, folder / "second", **keys).start()]


def client_process(gateway: GatewayProcess, provider: LocalProvider, spool: Path) -> "subprocess.Popen[str]":
    options = {"gateway_url": gateway.url, "api_key": gateway.agent_key, "budget_timeout_s": 20}
    settings = {"client": {**options, "spool_dir": str(spool)}, "tasks": TASKS, "turns": 1000, "share": 0.0015}
    return subprocess.Popen(
        [sys.executable, "-c", CLIENT, json.dumps(settings)],
        env={**os.environ, **provider.env()},
        stdout=subprocess.PIPE,
        text=True,
    )
