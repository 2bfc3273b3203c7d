"""What is asked of a gateway by mistake, or to mislead: answered, and never with more than was meant."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from actguard.cli import cli
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


def test_a_budget_for_each_agent_which_there_is_not_is_refused(admin: Caller) -> None:
    said = admin.send("PUT", "/api/v1/budgets", {"scope": "agent", "key": "*", "usd_micros": 5})

    assert said.status == 422
    assert "name the agent" in said.body["error"]


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
