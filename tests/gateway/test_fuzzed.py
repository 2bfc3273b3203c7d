"""The API as its own OpenAPI document describes it, fuzzed: no answer is a 5xx, whatever comes in."""

import os
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings

from tests.gateway.server import GatewayProcess

EXAMPLES = 200 if os.environ.get("HYPOTHESIS_PROFILE") == "long" else 8


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("fuzzed")
    process = GatewayProcess(str(folder / "gateway.db"), folder).start()
    yield process
    assert process.stop() == 0
    assert "Traceback" not in process.log.read_text()


@pytest.mark.timeout(120 if EXAMPLES < 100 else 1800)
def test_no_request_makes_it_fail(gateway: GatewayProcess) -> None:
    schema = schemathesis.openapi.from_url(f"{gateway.url}/openapi.json")
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) > 15
    for operation in operations:
        _attack(operation, gateway)


def _attack(operation: Any, gateway: GatewayProcess) -> None:
    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=[*HealthCheck])
    @given(case=operation.as_strategy())
    def attack(case: Any) -> None:
        response = case.call(headers={"Authorization": f"Bearer {gateway.admin_key}"})
        assert response.status_code < 500, response.text
        assert response.json() is not None

    attack()
