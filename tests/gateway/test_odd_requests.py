"""What is asked of a gateway by mistake, or to mislead: answered, and never with more than was meant."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from actguard.cli import cli
from actguard.gateway.serve import Server
from actguard.gateway.storage.sqlite.file import OneGateway
from tests.gateway.server import Caller, GatewayProcess


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("gateway")
    process = GatewayProcess(str(folder / "gateway.db"), folder).start()
    yield process
    assert process.stop() == 0


@pytest.fixture
def admin(gateway: GatewayProcess) -> Caller:
    return gateway.admin()


@pytest.mark.parametrize(
    "query",
    [
        "since=0001-01-01T00:00:00%2B14:00",
        "since=9999-12-31T23:59:59-14:00",
        "until=0001-01-02T00:00:00Z",
        "since=0001-01-01T00:00:00Z&until=9999-12-31T23:59:59Z",
    ],
)
@pytest.mark.parametrize("zone", ["America/New_York", "Pacific/Kiritimati"])
@pytest.mark.parametrize("report", ["spend?by=day", "spend?by=tool", "runs?limit=1", "events?limit=1"])
def test_a_report_over_the_first_and_the_last_of_days_is_answered(
    admin: Caller, query: str, zone: str, report: str
) -> None:
    assert admin.send("PUT", "/api/v1/workspace", {"time_zone": zone}).status == 200

    assert admin.get(f"{report}&{query}").status == 200


def test_a_budget_may_be_removed_without_a_body(admin: Caller) -> None:
    limit = {"scope": "user", "key": "alice", "window": "day", "usd_micros": 5}
    assert admin.send("PUT", "/api/v1/budgets", limit).status == 200

    path = "/api/v1/budgets?scope=user&key=alice&window=day"
    assert [admin.send("DELETE", path).status for _ in range(2)] == [200, 404]
    assert admin.send("DELETE", "/api/v1/budgets").status == 422
    assert admin.send("DELETE", "/api/v1/budgets?scope=nobody").status == 422


def test_what_is_left_to_a_name_that_is_too_long_is_not_told_of_another_one(gateway: GatewayProcess) -> None:
    agent = gateway.agent()

    assert agent.get(f"budget?user_id={'x' * 200}").status == 200
    assert agent.get(f"budget?user_id={'x' * 201}").status == 422


def test_a_budget_for_each_agent_which_there_is_not_is_refused(admin: Caller) -> None:
    said = admin.send("PUT", "/api/v1/budgets", {"scope": "agent", "key": "*", "usd_micros": 5})

    assert said.status == 422
    assert "name the agent" in said.body["error"]


def test_a_key_that_another_agent_has_used_gives_nobody_its_hold(gateway: GatewayProcess, admin: Caller) -> None:
    other = Caller(gateway.port, admin.post("keys", {"agent": "another"}).body["key"])
    asked = {"run_id": "r", "usd_limit_micros": 1}
    first = gateway.agent().post("reserve", asked, idempotency_key="order-42")
    again = gateway.agent().post("reserve", asked, idempotency_key="order-42")
    refused = other.post("reserve", asked, idempotency_key="order-42")

    assert again.body["reserve_id"] == first.body["reserve_id"]
    assert (refused.status, refused.body["code"]) == (422, "idempotency_mismatch")
    ended = {"reserve_id": first.body["reserve_id"]}
    assert gateway.agent().post("settle", ended, idempotency_key="order-42-end").status == 200
    assert other.post("settle", ended, idempotency_key="order-42-end").status == 422


def test_nobody_but_the_gateway_tells_of_holds(gateway: GatewayProcess, admin: Caller) -> None:
    def event(name: str) -> dict[str, Any]:
        return {"id": f"forged-{name}", "category": "budget", "name": name, "run_id": "forged", "usd_micros": 5}

    names = ["reserved", "blocked", "settled", "expired", "overrun"]
    said = gateway.agent().post("events", {"events": [event(name) for name in names]})

    assert (said.status, said.body["accepted"]) == (202, 1)
    assert [rejected["index"] for rejected in said.body["rejected"]] == [0, 2, 3, 4]
    assert [kept["name"] for kept in admin.get("events?run_id=forged").body["events"]] == ["blocked"]


def refused(*arguments: str) -> str:
    result = CliRunner().invoke(cli, ["gateway", *arguments])
    assert result.exit_code == 1, result.output
    assert len(result.stderr.strip().splitlines()) == 1
    return result.stderr


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that says it is writable, and is not")
def test_a_folder_that_only_says_it_is_writable_is_named() -> None:
    said = refused("--port", "0", "--database", "/proc/gateway.db")

    assert "/proc/gateway.db" in said
    assert "--database" in said


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_a_database_has_one_gateway_by_whatever_name_it_is_called(tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to("gateway.db")
    first = OneGateway(tmp_path / "gateway.db")
    first.acquire()
    try:
        assert "Another gateway" in refused("--port", "0", "--database", str(tmp_path / "link.db"))
    finally:
        first.release()


def test_an_address_of_another_machine_is_the_hosts_fault_and_a_taken_one_the_ports(tmp_path: Path) -> None:
    database = ("--database", str(tmp_path / "gateway.db"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert "Choose another --port." in refused("--port", str(taken.getsockname()[1]), *database)
    assert "Choose another --host." in refused("--host", "192.0.2.1", "--port", "0", *database)


def test_the_first_start_shows_a_command_for_its_own_database(tmp_path: Path) -> None:
    database = tmp_path / "my gateway.db"
    gateway = GatewayProcess(str(database), tmp_path).start()
    assert gateway.process is not None
    assert gateway.process.stdout is not None
    gateway.stop()
    greeting = gateway.process.stdout.read()

    assert f"actguard budgets set workspace --usd 50 --per day --database '{database}'" in greeting


def test_runs_that_name_no_limit_share_a_token_budget_as_they_do_one_of_dollars(tmp_path: Path) -> None:
    options = ("--default-hold", "0.5", "--default-hold-tokens", "400")
    gateway = GatewayProcess(str(tmp_path / "gateway.db"), tmp_path, options=options).start()
    limit = {"scope": "plan", "key": "free", "usd_micros": 1_000_000, "tokens": 1_000}
    assert gateway.admin().send("PUT", "/api/v1/budgets", limit).status == 200

    agent, granted = gateway.agent(), []
    for run in ("a", "b"):
        said = agent.post("reserve", {"run_id": run, "user_id": "alice", "plan_key": "free"}).body
        granted.append((said["usd_limit_micros"], said["token_limit"]))
    assert granted == [(500_000, 400), (500_000, 400)]
    assert agent.post("reserve", {"run_id": "c", "user_id": "alice", "plan_key": "free"}).status == 409
    assert gateway.stop() == 0


@pytest.mark.parametrize("zone", ["localtime", "posixrules", "posix/Europe/Amsterdam", "right/Europe/Amsterdam"])
def test_a_time_zone_that_is_another_one_elsewhere_is_refused(admin: Caller, zone: str) -> None:
    assert admin.send("PUT", "/api/v1/workspace", {"time_zone": zone}).status == 422


def test_what_a_name_may_be_is_said_in_words(gateway: GatewayProcess) -> None:
    agent = gateway.agent()
    odd = agent.post("reserve", {"run_id": "a\nb"}).body["error"]
    assert odd == "The request is not valid: Expected `str` without control characters - at `$.run_id`."
    plan = agent.post("reserve", {"run_id": "r", "plan_key": "Pro"}).body["error"]
    assert "of lower-case letters, digits, - and _, a letter or digit first - at `$.plan_key`" in plan


def test_a_time_zone_is_for_a_new_database_and_another_one_is_told_so(tmp_path: Path) -> None:
    database = ("--database", str(tmp_path / "gateway.db"))
    GatewayProcess(database[1], tmp_path).start().stop()

    assert "'Mars/Base' is no time zone" in refused("--time-zone", "Mars/Base", "--port", "0", *database)
    again = GatewayProcess(database[1], tmp_path, options=("--time-zone", "Asia/Tokyo"), agent_key="known").start()
    again.stop()
    assert "--time-zone is for a new database" in again.log.read_text()


def test_whoever_reads_the_greeting_may_connect(tmp_path: Path) -> None:
    with started(tmp_path) as (process, port), socket.create_connection(("127.0.0.1", port), 10) as early:
        early.settimeout(30)
        early.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        assert early.recv(4096).startswith(b"HTTP/1.1 200")
        process.terminate()
        assert process.wait(30) == 0


def test_whoever_reads_the_greeting_may_end_it(tmp_path: Path) -> None:
    with started(tmp_path) as (process, _):
        process.terminate()
        assert process.wait(30) in (0, -signal.SIGTERM)


@contextmanager
def started(folder: Path) -> Generator[tuple["subprocess.Popen[str]", int]]:
    """A gateway that has said where it is, and no more; and its port."""
    command = [sys.executable, "-m", "actguard.cli", "gateway", "--port", "0", "--database", str(folder / "g.db")]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env={**os.environ, "PYTHONPATH": "src"}
    )
    assert process.stdout is not None
    try:
        yield process, int(process.stdout.readline().partition("127.0.0.1:")[2].split()[0])
    finally:
        process.kill()
        process.wait()


def test_a_gateway_whose_database_another_one_took_meanwhile_says_so_and_fails(tmp_path: Path) -> None:
    database = tmp_path / "gateway.db"
    prepare = Server.prepare
    other = OneGateway(database)

    def prepare_slowly(self: Server, time_zone: str | None = None) -> object:
        first = prepare(self, time_zone)
        other.acquire()
        return first

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(Server, "prepare", prepare_slowly)
            result = CliRunner().invoke(cli, ["gateway", "--port", "0", "--database", str(database)])
    finally:
        other.release()
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert result.exit_code == 1
    assert "could not start; the log says why" in result.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="pipes break in another way there")
def test_whoever_does_not_read_the_greeting_is_told_nothing_of_ports(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "actguard.cli", "gateway", "--port", "0", "--database", str(tmp_path / "g.db")],
        stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60, check=False,
    )  # fmt: skip
    os.close(writing)
    assert done.returncode == 1
    assert "--port" not in done.stderr
