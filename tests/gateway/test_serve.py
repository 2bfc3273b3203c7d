"""The running server: limits for each key, an end that drops nothing, several processes, and what is not installed."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.gateway.conftest import Postgres, make_store
from tests.gateway.server import SOURCE, Caller, GatewayProcess


def test_a_key_may_do_so_much_a_second_and_is_told_when_it_may_again(tmp_path: Path) -> None:
    process = GatewayProcess(str(tmp_path / "gateway.db"), tmp_path, options=("--rate-limit", "5")).start()
    agent, admin = process.agent(), process.admin()
    began = time.monotonic()
    statuses = []
    refused = None
    while refused is None:
        said = agent.post("release", {"reserve_id": "none"})
        statuses.append(said.status)
        refused = said if said.status == 429 else None
    assert set(statuses[:-1]) == {404}
    assert 5 <= len(statuses) - 1 <= 5 + 5 * (time.monotonic() - began)
    assert refused.body["code"] == "too_many_requests"
    assert "5 requests a second" in refused.body["error"]
    assert refused.headers["retry-after"] == "1"
    assert admin.get("budgets").status == 200, "another key has its own"
    again = time.monotonic() + 1
    while agent.post("release", {"reserve_id": "none"}).status == 429:
        assert time.monotonic() < again
        time.sleep(0.02)
    assert 'status="429"' in admin.send("GET", "/metrics").body
    assert process.stop() == 0


@pytest.mark.parametrize("module", ["actguard.cli", "tests.gateway.plain"])
def test_an_end_finishes_what_was_begun(module: str, tmp_path: Path) -> None:
    """Each request that was taken in is answered, and each that is in the database was."""
    database = str(tmp_path / "gateway.db")
    process = GatewayProcess(database, tmp_path, module=module).start()
    answered: list[str] = []
    underway = threading.Event()

    def client(number: int) -> None:
        caller = process.agent()
        for turn in range(100_000):
            name = f"{number}.{turn}"
            try:
                said = caller.post("reserve", {"run_id": "r", "reserve_id": name, "usd_limit_micros": 1})
            except OSError:
                return
            assert said.status == 200
            answered.append(name)
            if turn > 5:
                underway.set()

    threads = [threading.Thread(target=client, args=(number,)) for number in range(24)]
    for thread in threads:
        thread.start()
    assert underway.wait(30)
    assert process.stop() == 0, process.log.read_text()
    for thread in threads:
        thread.join(30)
    store = make_store(database, None)
    store.open()
    with store.reading() as transaction:
        written = transaction.rows("open_holds")[0][0]
    store.close()
    assert written == len(answered) > 24
    assert "Traceback" not in process.log.read_text()


def workers_of(process: GatewayProcess) -> set[int]:
    assert process.process is not None
    parent = process.process.pid
    try:
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        return {int(child) for child in children if "spawn_main" in Path(f"/proc/{child}/cmdline").read_text()}
    except OSError:  # one has just ended
        return set()


@pytest.fixture
def two_workers(postgres: Postgres, tmp_path: Path) -> Iterator[GatewayProcess]:
    process = GatewayProcess(postgres.database(), tmp_path, options=("--workers", "2")).start()
    yield process
    process.stop()


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="the processes are found in /proc")
def test_several_processes_serve_one_postgres_and_one_that_is_killed_is_replaced(
    two_workers: GatewayProcess,
) -> None:
    process = two_workers
    end = time.monotonic() + 30
    while len(first := workers_of(process)) < 2:
        assert time.monotonic() < end, process.log.read_text()
        time.sleep(0.05)
    process.admin().send("PUT", "/api/v1/budgets", {"scope": "workspace", "window": "total", "usd_micros": 50})

    def ask(number: int) -> int:
        """With a connection of its own, so that any process may be the one that answers."""
        body = {"run_id": "r", "reserve_id": f"w{number}", "usd_limit_micros": 1}
        while True:
            try:
                return process.agent().post("reserve", body).status
            except OSError:
                assert time.monotonic() < end

    assert [ask(number) for number in range(20)] == [200] * 20
    killed = first.pop()
    os.kill(killed, signal.SIGKILL)
    assert [ask(number) for number in range(20, 40)] == [200] * 20
    while len(now := workers_of(process)) < 2 or killed in now:
        assert time.monotonic() < end, process.log.read_text()
        time.sleep(0.05)
    assert [ask(number) for number in range(40, 60)] == [200] * 10 + [409] * 10
    assert process.stop() == 0, process.log.read_text()
    assert workers_of(process) == set()
    log = process.log.read_text()
    assert f"[{killed}] died" in log
    assert "Traceback" not in log


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="the processes are found in /proc")
def test_workers_whose_gateway_was_killed_end_and_leave_the_port_to_the_next(two_workers: GatewayProcess) -> None:
    end = time.monotonic() + 30
    while len(orphans := workers_of(two_workers)) < 2:
        assert time.monotonic() < end, two_workers.log.read_text()
        time.sleep(0.05)
    two_workers.kill()
    try:
        while any(Path(f"/proc/{worker}").exists() for worker in orphans):
            assert time.monotonic() < end, two_workers.log.read_text()
            time.sleep(0.05)
    finally:
        for worker in orphans:
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
    two_workers.start()
    assert two_workers.agent().get("budget").status == 200


def test_workers_that_cannot_start_end_the_gateway(postgres: Postgres, tmp_path: Path) -> None:
    program = (
        "from dataclasses import replace; from actguard.cli import main; from actguard.gateway.config import Settings; "
        "handed = Settings.to_environment; gone = 'postgresql://x@127.0.0.1:1/x'; "
        "Settings.to_environment = lambda settings: handed(replace(settings, database=gone)); "
        f"main(['gateway', '--port', '0', '--workers', '2', '--database', {postgres.database()!r}])"
    )
    environment = {"PYTHONPATH": str(SOURCE), "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False, env=environment
    )
    assert done.returncode == 1, done.stderr
    assert done.stderr.strip().endswith("A worker could not start, and the gateway has ended; the log says why.")
    assert "Postgres cannot be reached" in done.stderr


def without(module: str, database: str, tmp_path: Path) -> "subprocess.CompletedProcess[str]":
    program = (
        f"import sys; sys.modules[{module!r}] = None; from actguard.cli import main; "
        f"main(['gateway', '--port', '0', '--database', {database!r}])"
    )
    environment = {"PYTHONPATH": str(SOURCE), "HOME": str(tmp_path)}
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False, env=environment
    )


@pytest.mark.parametrize(
    ("module", "database", "says"),
    [
        ("psycopg", "postgresql://x@127.0.0.1:1/x", "Postgres needs its driver, which is not installed: pip install"),
        ("uvicorn", "x.db", "needs uvicorn, which is not installed: pip install"),
        ("starlette", "x.db", "The gateway needs starlette"),
        ("msgspec", "x.db", "actguard gateway needs msgspec, which"),
    ],
)
def test_what_is_not_installed_is_said_in_one_sentence(module: str, database: str, says: str, tmp_path: Path) -> None:
    done = without(module, database, tmp_path)
    assert done.returncode != 0
    assert says in done.stderr
    assert "actguard[gateway]" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


@pytest.mark.parametrize("missing", ["httptools", "uvloop"])
def test_it_serves_where_what_makes_it_fast_is_not_installed(missing: str, tmp_path: Path) -> None:
    (tmp_path / "without.py").write_text(
        f"import sys\nsys.modules[{missing!r}] = None\nfrom actguard.cli import main\nmain()\n"
    )
    process = GatewayProcess(str(tmp_path / "gateway.db"), tmp_path, module="without", paths=(str(tmp_path),)).start()
    caller = Caller(process.port, process.agent_key)
    assert caller.post("reserve", {"run_id": "r", "usd_limit_micros": 1}).status == 200
    assert process.stop() == 0
    assert "Traceback" not in process.log.read_text()
