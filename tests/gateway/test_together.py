"""Many clients on one budget, through several gateways: what is billed never passes the limit."""

import threading
from pathlib import Path

import pytest

from actguard.gateway.audit import audit
from tests.gateway.conftest import Postgres, make_store
from tests.gateway.server import Caller, GatewayProcess


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_no_number_of_clients_passes_the_limit(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    database = str(tmp_path / "gateway.db")
    if kind == "postgres":
        server: Postgres = request.getfixturevalue("postgres")
        database = server.database()
    first = GatewayProcess(database, tmp_path).start()
    gateways = [first]
    if kind == "postgres":
        (tmp_path / "second").mkdir()
        keys = {"agent_key": first.agent_key, "admin_key": first.admin_key}
        gateways.append(GatewayProcess(database, tmp_path / "second", **keys).start())
    limit = 20_000
    first.admin().send("PUT", "/api/v1/budgets", {"scope": "workspace", "window": "total", "usd_micros": limit})
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
