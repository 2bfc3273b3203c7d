"""kill -9 of the gateway in the middle of everything: what was acknowledged is there, once, after a restart."""

import os
import random
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from actguard.gateway.audit import audit
from tests.gateway.conftest import Postgres, make_store
from tests.gateway.server import Caller, GatewayProcess

FULL = bool(os.environ.get("ACTGUARD_CHAOS"))
PAIRS = 10_000 if FULL else 80
KILLS = 100 if FULL else 3
LIMIT = 10**12


class Client:
    """Reserves and settles, tries again until it is answered, and writes down every answer it got."""

    def __init__(self, name: str, gateways: list[GatewayProcess], pairs: int) -> None:
        self.name, self.gateways, self.pairs = name, gateways, pairs
        self.granted: dict[str, int] = {}
        self.settled: dict[str, int] = {}
        self.wrong: list[str] = []
        self._dice = random.Random(name)
        self._callers = [Caller(gateway.port, gateway.agent_key) for gateway in gateways]

    def run(self) -> None:
        for number in range(self.pairs):
            rid, usd = f"{self.name}-{number}", self._dice.randrange(1, 1000)
            asked = {"run_id": self.name, "reserve_id": rid, "usd_limit_micros": 1000}
            if self._until_answered("reserve", asked, f"{rid}:r").get("status") == "reserved":
                self.granted[rid] = 1000
            line = {"type": "custom_cost", "name": "tool", "usd_micros": usd}
            said = self._until_answered("settle", {"reserve_id": rid, "usage_breakdown": [line]}, f"{rid}:s")
            if said.get("usd_micros") != usd:
                self.wrong.append(f"{rid}: {said}")
            self.settled[rid] = usd

    def _until_answered(self, path: str, body: Any, key: str) -> Any:
        end = time.monotonic() + 90
        while time.monotonic() < end:
            try:
                answer = self._dice.choice(self._callers).post(path, body, idempotency_key=key)
            except OSError:
                time.sleep(0.05)
                continue
            if answer.status == 200:
                return answer.body
            if answer.status != 503:
                return {"status": answer.status, "body": answer.body}
            time.sleep(0.05)
        return {"status": "never answered"}


def killed_at_random(gateways: list[GatewayProcess], clients: list[Client]) -> None:
    """Kill one of them, and start it again, every time the clients have come another step."""
    dice = random.Random(7)
    for step in range(1, KILLS + 1):
        while sum(len(client.settled) for client in clients) < step * PAIRS // (KILLS + 1):
            time.sleep(0.001)
        gateway = dice.choice(gateways)
        gateway.kill()
        gateway.start()


def check(database: str, clients: list[Client]) -> None:
    store = make_store(database, None)
    store.open()
    assert store.read(audit) == []
    rows = store.read(lambda t: t.rows("charges", workspace=1, since=0, until=2**62, most=10**6, skip=0))
    store.close()
    owed = sum(sum(client.settled.values()) for client in clients)
    assert [wrong for client in clients for wrong in client.wrong] == []
    assert all(client.granted.keys() == client.settled.keys() for client in clients)
    assert len(rows) == sum(len(client.settled) for client in clients), "a settle was lost or charged twice"
    assert sum(row[5] for row in rows) == owed


@pytest.mark.timeout(1800 if FULL else 170)
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_every_acknowledged_reserve_and_settle_is_there_once(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    database = str(tmp_path / "gateway.db")
    if kind == "postgres":
        server: Postgres = request.getfixturevalue("postgres")
        database = server.database()
    first = GatewayProcess(database, tmp_path).start()
    gateways = [first]
    if kind == "postgres":
        folder = tmp_path / "second"
        folder.mkdir()
        keys = {"agent_key": first.agent_key, "admin_key": first.admin_key}
        gateways.append(GatewayProcess(database, folder, **keys).start())
    budget = {"scope": "workspace", "window": "total", "usd_micros": LIMIT}
    assert first.admin().send("PUT", "/api/v1/budgets", budget).status == 200
    clients = [Client(f"c{n}", gateways, PAIRS // 4) for n in range(4)]
    threads = [threading.Thread(target=client.run, daemon=True) for client in clients]
    for thread in threads:
        thread.start()
    killed_at_random(gateways, clients)
    for thread in threads:
        thread.join()
    for gateway in gateways:
        assert gateway.stop() == 0
    check(database, clients)
