"""Clients that are in the field already, from the package index, unmodified, against this gateway."""

import json
import os
import subprocess
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from actguard.testing import LocalProvider
from tests.gateway.server import GatewayProcess

HERE = Path(__file__).parent

pytestmark = pytest.mark.skipif(
    not any(os.environ.get(name) for name in ("CI", "ACTGUARD_CHAOS", "ACTGUARD_OLDER_CLIENTS")),
    reason="takes minutes and the package index: CI=1, make chaos, or ACTGUARD_OLDER_CLIENTS=folder for environments",
)


@pytest.fixture(scope="module", params=["1.0.2", "0.2.2"])
def older(request: pytest.FixtureRequest) -> tuple[str, Path]:
    """A version and the interpreter that has it; kept between runs, since it takes a while to make."""
    version = str(request.param)
    folder = Path(os.environ.get("ACTGUARD_OLDER_CLIENTS", "/tmp/actguard-older-clients")) / version
    python = folder / "bin" / "python"
    ready = folder / "ready"
    if not ready.exists():
        venv.create(folder, with_pip=True, clear=True)
        packages = [f"actguard=={version}", "openai>=2,<3"]
        done = subprocess.run(
            [python, "-m", "pip", "install", "-q", *packages], capture_output=True, text=True, timeout=300, check=False
        )
        if done.returncode:
            pytest.skip(f"the package index cannot be reached: {done.stderr[-200:]}")
        ready.touch()
    return version, python


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("older")
    process = GatewayProcess(str(folder / "gateway.db"), folder).start()
    yield process
    assert process.stop() == 0


def program(older: tuple[str, Path], gateway: GatewayProcess, provider: LocalProvider, scenario: str, key: str) -> Any:
    version, python = older
    environment = {
        "PATH": os.environ["PATH"],
        "GATEWAY": gateway.url,
        "KEY": key,
        "OPENAI_BASE_URL": str(provider.openai_kwargs()["base_url"]),
    }
    done = subprocess.run(
        [python, str(HERE / "older_client.py"), version, scenario],
        capture_output=True, text=True, env=environment, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def spent(gateway: GatewayProcess, agent: str) -> int:
    groups = gateway.admin().get("spend?by=agent&since=2020-01-01T00:00:00Z").body["groups"]
    return next((int(group["usd_micros"]) for group in groups if group["key"] == agent), 0)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("scenario", ["plain", "nested", "stream", "limits"])
def test_what_our_ledger_charges_is_what_the_provider_bills(
    older: tuple[str, Path], gateway: GatewayProcess, scenario: str
) -> None:
    agent = f"{older[0]} {scenario}"
    key = gateway.admin().post("keys", {"agent": agent}).body["key"]
    with LocalProvider() as provider:
        said = program(older, gateway, provider, scenario, key)
        assert ("error" in said) == (scenario == "limits"), said
        if scenario == "limits":
            assert said["error"] == "BudgetExceededError"
        assert provider.ledger.calls > 0
        billed = provider.ledger.total_usd * 1_000_000
    assert 0 <= spent(gateway, agent) - billed < provider.ledger.calls, "rounded up to whole micro-dollars, no more"
    runs = gateway.admin().get(f"runs?run_id=run-{scenario}").body["runs"]
    assert {run["open_holds"] for run in runs} == {0}
    events = gateway.admin().get(f"events?run_id=run-{scenario}&limit=1000").body["events"]
    names = {f"{event['category']}.{event['name']}" for event in events}
    assert {"run.start", "run.end", "budget.reserved", "budget.settled"} <= names


@pytest.mark.timeout(400)
def test_a_refusal_reaches_the_older_client_as_its_own_error(older: tuple[str, Path], gateway: GatewayProcess) -> None:
    made = gateway.admin().post("keys", {"agent": f"{older[0]} refused"}).body
    body = {"scope": "agent", "key": made["agent"], "window": "total", "usd_micros": 10}
    assert gateway.admin().send("PUT", "/api/v1/budgets", body).status == 200
    with LocalProvider() as provider:
        said = program(older, gateway, provider, "refused", made["key"])
        assert provider.ledger.calls == 0, "nothing was spent"
    # 0.2 knows no 409 and reports what it could not do
    assert said["error"] == ("BudgetExceededError" if older[0] == "1.0.2" else "BudgetTransportError"), said


@pytest.mark.timeout(400)
def test_a_prepaid_balance_asks_the_older_client_for_payment(older: tuple[str, Path], tmp_path: Path) -> None:
    gateway = GatewayProcess(str(tmp_path / "paid.db"), tmp_path).start()
    assert gateway.admin().post("balance", {"usd_micros": 10}).status == 200
    with LocalProvider() as provider:
        said = program(older, gateway, provider, "refused", gateway.agent_key)
        assert provider.ledger.calls == 0
    assert said["error"] == "ActGuardPaymentRequired", said
    assert gateway.stop() == 0
