"""kill -9 of clients, gateways and Postgres in the middle of everything: what was acknowledged is there, once."""

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any

import psycopg
import pytest

from actguard import Client
from actguard.gateway.accounts import add_workspace
from actguard.gateway.audit import audit
from actguard.gateway.ledger.operations import Release, Reserve
from tests.fake_gateway import until
from tests.gateway.conftest import make_store, start_postgres
from tests.gateway.killed_client import cost
from tests.gateway.server import SOURCE, Caller, GatewayProcess

FULL = bool(os.environ.get("ACTGUARD_CHAOS"))
PAIRS = int(os.environ.get("ACTGUARD_CHAOS_PAIRS", "10000")) if FULL else 240
KILLS = 5
"""Of the short profile; the full one kills every second until the clients have done their work."""
WIRES, PROGRAMS = 4, 2
HOLD_TTL_S = 4
LIMIT = 10**12


class Wire:
    """Reserves and settles over the wire, tries again until it is answered, and writes down every answer it got."""

    def __init__(self, name: str, gateways: list[GatewayProcess], pairs: int) -> None:
        self.name, self.pairs = name, pairs
        self.granted: set[str] = set()
        self.settled: dict[str, int] = {}
        self.wrong: list[str] = []
        self._dice = random.Random(name)
        self._callers = [Caller(gateway.port, gateway.agent_key) for gateway in gateways]

    def run(self) -> None:
        for number in range(self.pairs):
            rid, usd = f"{self.name}-{number}", self._dice.randrange(1, 1000)
            asked = {"run_id": rid, "reserve_id": rid, "usd_limit_micros": 1000}
            if self._until_answered("reserve", asked, f"{rid}:r").get("status") == "reserved":
                self.granted.add(rid)
            line = {"type": "custom_cost", "name": "tool", "usd_micros": usd}
            said = self._until_answered("settle", {"reserve_id": rid, "usage_breakdown": [line]}, f"{rid}:s")
            if said.get("usd_micros") != usd:
                self.wrong.append(f"{rid}: {said}")
            self.settled[rid] = usd

    def _until_answered(self, path: str, body: Any, key: str) -> Any:
        end = time.monotonic() + 120
        while time.monotonic() < end:
            try:
                answer = self._dice.choice(self._callers).post(path, body, idempotency_key=key)
            except (OSError, HTTPException, ValueError):  # it died before its answer, or in the middle of it
                time.sleep(0.05)
                continue
            if answer.status == 200:
                return answer.body
            if answer.status != 503:
                return {"status": answer.status, "body": answer.body}
            time.sleep(0.05)
        return {"status": "never answered"}


@dataclass
class Program:
    """A program that uses the SDK, in a process that is killed; what it could not tell, whoever comes next tells."""

    name: str
    gateway: GatewayProcess
    folder: Path
    pairs: int
    process: "subprocess.Popen[bytes] | None" = None
    killed: int = field(default=0)

    @property
    def journal(self) -> Path:
        return self.folder / f"{self.name}.journal"

    @property
    def options(self) -> dict[str, Any]:
        return {"gateway_url": self.gateway.url, "api_key": self.gateway.agent_key, "event_mode": "off",
                "spool_dir": str(self.folder / "spool"), "budget_timeout_s": 5}  # fmt: skip

    def start(self) -> None:
        program = Path(__file__).with_name("killed_client.py")
        command = [sys.executable, str(program), self.name, str(self.pairs), str(self.journal)]
        self.process = subprocess.Popen(
            [*command, json.dumps(self.options)], env={**os.environ, "PYTHONPATH": str(SOURCE)}
        )

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.killed += 1
        self.process.wait()

    def said(self, word: str) -> set[int]:
        if not self.journal.exists():
            return set()
        lines = [line.split() for line in self.journal.read_text().splitlines()]
        return {int(number) for said, number in lines if said == word}

    def deliver(self) -> None:
        """As a later process of this user does; what was killed last may not answer yet."""
        with Client(**self.options) as client:
            assert client.remote is not None
            until(client.remote.courier.deliver_all, 60)


@dataclass
class OwnPostgres:
    """A Postgres that writes through to the disk, and is killed."""

    folder: Path

    def start(self, port: int = 0) -> None:
        self.process, self.server = start_postgres(self.folder, fsync=True, port=port)

    def kill(self) -> None:
        """The postmaster; its children notice and end, which takes them a moment."""
        self.process.kill()
        self.process.wait()

    def restart(self) -> None:
        self.start(self.server.port)

    def stop(self) -> None:
        self.process.send_signal(2)  # do not wait for connections
        self.process.wait(30)


@pytest.fixture
def own_postgres() -> Iterator[OwnPostgres]:
    folder = Path(tempfile.mkdtemp(prefix="actguard-pg-"))
    postgres = OwnPostgres(folder)
    postgres.start()
    yield postgres
    postgres.stop()
    shutil.rmtree(folder, ignore_errors=True)


def test_what_postgres_has_answered_outlives_its_end_in_the_same_moment(own_postgres: OwnPostgres) -> None:
    """COMMIT does not wait for the disk; the answer does. Nothing else flushes the log before the server is killed."""
    with psycopg.connect(own_postgres.server.url, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET wal_writer_delay = '10s'")
        connection.execute("ALTER SYSTEM SET wal_writer_flush_after = '1GB'")
        connection.execute("SELECT pg_reload_conf()")
    for turn in range(3):
        store = make_store(own_postgres.server.url, None)
        store.open()
        workspace = store.write(lambda t: add_workspace(t, "w", "UTC", 1))
        ids = [f"r{turn}.{number}" for number in range(5)]
        for id in ids:
            (granted,) = store.apply([Reserve(workspace=workspace, agent="bot", reserve_id=id, usd=1)])
            assert granted.status == 200
        own_postgres.kill()
        own_postgres.restart()
        store.close()

        after = make_store(own_postgres.server.url, None)
        after.open()
        released = after.apply([Release(workspace=workspace, agent="bot", reserve_id=id) for id in ids])
        assert [reply.status for reply in released] == [200] * len(ids)
        after.close()


def killed_at_random(targets: list[Callable[[], None]], done: Callable[[], int], at_work: Callable[[], bool]) -> int:
    """Kill one of them and start it again, over and over while the clients work. Returns how often."""
    dice, kills = random.Random(7), 0
    order = dice.sample(targets, len(targets))
    while at_work() and (FULL or kills < KILLS):
        if FULL:
            time.sleep(1)
        elif done() < (kills + 1) * PAIRS // (KILLS + 1):
            time.sleep(0.005)
            continue
        (dice.choice(targets) if FULL else order[kills % len(order)])()
        kills += 1
    return kills


def check(database: str, wires: list[Wire], programs: list[Program]) -> None:
    store = make_store(database, None)
    store.open()
    try:
        assert store.read(audit) == []
        span = {"workspace": 1, "since": 0, "until": 2**52, "run_id": "", "most": 10**6}
        runs = {row[0]: row for row in store.read(lambda t: t.rows("runs", **span))}
    finally:
        store.close()
    charged = {run: int(row[7]) for run, row in runs.items()}
    assert [wrong for wire in wires for wrong in wire.wrong] == []
    for wire in wires:
        assert wire.granted == wire.settled.keys(), "a reserve was not granted"
        assert {rid: charged.get(rid) for rid in wire.settled} == wire.settled, "a settle was lost or charged twice"
    for program in programs:
        begun, left = program.said("begun"), program.said("left")
        assert begun == set(range(program.pairs))
        owed = {f"{program.name}-{number}": cost(program.name, number) for number in begun}
        told = {run: usd for run in owed if (usd := charged.get(run, 0))}
        assert {f"{program.name}-{number}" for number in left} <= told.keys(), "a settle that was written down is lost"
        assert all(usd == owed[run] for run, usd in told.items()), "a settle was charged twice"
        assert len(begun - left) <= program.killed
    ours = {run for wire in wires for run in wire.settled} | {
        f"{program.name}-{number}" for program in programs for number in range(program.pairs)
    }
    assert charged.keys() <= ours
    assert sum(int(row[9]) for row in runs.values()) == 0, "a hold is open for ever"


@pytest.mark.timeout(3600 if FULL else 170)
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_every_acknowledged_reserve_and_settle_is_there_once(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    database, own = str(tmp_path / "gateway.db"), None
    if kind == "postgres":
        own = request.getfixturevalue("own_postgres")
        database = own.server.database()
    options = ("--hold-ttl", str(HOLD_TTL_S))
    gateways = [GatewayProcess(database, tmp_path, options=options).start()]
    if own is not None:
        (tmp_path / "second").mkdir()
        keys = {"agent_key": gateways[0].agent_key, "admin_key": gateways[0].admin_key}
        gateways.append(GatewayProcess(database, tmp_path / "second", options=options, **keys).start())
    budget = {"scope": "workspace", "window": "total", "usd_micros": LIMIT}
    assert gateways[0].admin().send("PUT", "/api/v1/budgets", budget).status == 200
    wires = [Wire(f"wire{n}", gateways, PAIRS // 2 // WIRES) for n in range(WIRES)]
    programs = [
        Program(f"program{n}", gateways[n % len(gateways)], tmp_path, PAIRS // 2 // PROGRAMS) for n in range(PROGRAMS)
    ]
    threads = [threading.Thread(target=wire.run, daemon=True) for wire in wires]
    for program in programs:
        program.start()
    for thread in threads:
        thread.start()

    def at_work() -> bool:
        running = [program.process is not None and program.process.poll() is None for program in programs]
        return any(running) or any(thread.is_alive() for thread in threads)

    def done() -> int:
        return sum(len(wire.settled) for wire in wires) + sum(len(program.said("left")) for program in programs)

    def again(what: Any) -> Callable[[], None]:
        def kill() -> None:
            what.kill()
            (what.restart if isinstance(what, OwnPostgres) else what.start)()

        return kill

    kills = killed_at_random([again(w) for w in (*gateways, *programs, *((own,) if own else ()))], done, at_work)
    for thread in threads:
        thread.join()
    for program in programs:
        assert program.process is not None
        assert program.process.wait(120) == 0
    for program in programs:  # what is owed to one gateway's address is told there
        program.deliver()
    assert not list((tmp_path / "spool").glob("*/*.spool"))
    until(lambda: "actguard_open_holds 0" in str(gateways[0].agent().send("GET", "/metrics").body), HOLD_TTL_S + 20)
    for gateway in gateways:
        assert gateway.stop() == 0
    check(database, wires, programs)
    killed = sum(program.killed for program in programs)
    print(f"\n{kind}: {done():,} pairs, {kills} kills, {killed} of them of clients")


def test_a_postgres_that_dies_in_a_batch_is_waited_for_and_the_batch_is_whole_or_not_there(
    own_postgres: OwnPostgres, tmp_path: Path
) -> None:
    gateway = GatewayProcess(own_postgres.server.database(), tmp_path).start()
    agent = gateway.agent()
    assert agent.post("reserve", {"run_id": "a", "reserve_id": "a", "usd_limit_micros": 5}).status == 200
    own_postgres.kill()
    refused = agent.post("reserve", {"run_id": "b", "reserve_id": "b", "usd_limit_micros": 5})
    assert refused.status == 503
    assert int(refused.headers["retry-after"]) >= 1
    assert gateway.agent().send("GET", "/readyz").status == 503
    own_postgres.restart()
    until(lambda: gateway.agent().send("GET", "/readyz").status == 200, 30)
    line = {"type": "custom_cost", "name": "tool", "usd_micros": 3}
    assert agent.post("settle", {"reserve_id": "a", "usage_breakdown": [line]}).body["usd_micros"] == 3
    assert agent.post("reserve", {"run_id": "b", "reserve_id": "b", "usd_limit_micros": 5}).status == 200
    assert gateway.stop() == 0
