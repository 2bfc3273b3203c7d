"""Every answer is what the OpenAPI document, and so the page on the protocol, says of it."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from actguard.gateway.http.answers import REFUSALS
from actguard.gateway.http.openapi import document
from actguard.gateway.http.routes import ENDPOINTS
from tests.gateway.server import Answer, Caller, GatewayProcess

GPT = {"provider": "openai", "provider_model_id": "gpt-4o", "input_tokens": 1000, "output_tokens": 10}


def test_every_answer_has_the_fields_that_are_documented_and_no_other(tmp_path: Path) -> None:
    gateway = GatewayProcess(str(tmp_path / "gateway.db"), tmp_path).start()
    agent, admin = gateway.agent(), gateway.admin()
    told: set[tuple[str, str]] = set()

    def say(caller: Caller, method: str, path: str, body: Any = None) -> Any:
        answer = caller.send(method, f"/api/v1/{path}", body)
        endpoint = next(
            e for e in ENDPOINTS if e.method == method and _fits(e.path, f"/api/v1/{path.partition('?')[0]}")
        )
        kind = endpoint.says if answer.status < 400 else REFUSALS[answer.status]
        assert_is(answer, kind)
        told.add((endpoint.method, endpoint.path))
        return answer.body

    try:
        for path in ("keys", "budgets", "balance", "workspace", "spend", "runs", "events"):
            say(admin, "GET", path)
        say(agent, "GET", "cu-tariff")
        say(admin, "PUT", "workspace", {"time_zone": "Europe/Amsterdam"})
        say(admin, "PUT", "budgets", {"scope": "workspace", "usd_micros": 10**6, "tokens": 10**6})
        held = say(agent, "POST", "reserve", {"run_id": "r", "user_id": "u", "usd_limit_micros": 500_000})
        say(agent, "POST", "extend", {"reserve_id": held["reserve_id"], "usd_micros": 10})
        say(agent, "POST", "extend", {"reserve_id": held["reserve_id"], "usd_micros": 10**7})
        say(agent, "POST", "reserve", {"run_id": "r2", "usd_limit_micros": 10**7})
        say(agent, "POST", "settle", {"reserve_id": held["reserve_id"], **GPT})
        say(agent, "POST", "release", {"reserve_id": held["reserve_id"]})
        say(agent, "POST", "events", {"events": [{"id": "e1", "category": "a", "name": "b"}, {"id": "e2"}]})
        say(agent, "GET", "budget?user_id=u")
        say(admin, "POST", "balance", {"usd_micros": 5})
        say(agent, "POST", "reserve", {"run_id": "r3", "usd_limit_micros": 10})
        for by in ("agent", "model", "day"):
            assert say(admin, "GET", f"spend?by={by}")["groups"]
        for path in ("keys", "budgets", "runs", "events"):
            assert say(admin, "GET", path)[path]
        made = say(admin, "POST", "keys", {"agent": "bot"})
        say(admin, "DELETE", f"keys/{made['key_id']}")
        say(admin, "DELETE", "budgets?scope=workspace")
    finally:
        gateway.stop()
    assert told == {(endpoint.method, endpoint.path) for endpoint in ENDPOINTS}


def test_no_two_operations_have_one_name() -> None:
    names = Counter(
        operation["operationId"] for methods in document()["paths"].values() for operation in methods.values()
    )
    assert names.most_common(1)[0][1] == 1


def test_the_page_has_every_refusal_that_the_gateway_knows(root: Path) -> None:
    source = "".join(file.read_text() for file in (root / "src/actguard/gateway").rglob("*.py"))
    said = {*re.findall(r"(?:Refused|failure|error)\(\s*(\d{3}), \"(\w+)\"", source)}
    said |= {*re.findall(r"Reply\(\s*(\d{3}), \{\"error\": \w+, \"code\": \"(\w+)\"", source)}
    said |= {(str(status), kind.__annotations__["code"].__args__[0]) for status, kind in REFUSALS.items()}
    assert ("422", "hold_closed") in said

    table = re.findall(r"^\| ([\d, ]+) \| (`.*?`) \|", (root / "docs/protocol.md").read_text(), re.MULTILINE)
    told = {
        (status, code)
        for statuses, codes in table
        for status in statuses.split(", ")
        for code in re.findall(r"\w+", codes)
    }

    assert told == said


def assert_is(answer: Answer, kind: Any) -> None:
    assert msgspec.to_builtins(msgspec.convert(answer.body, kind)) == answer.body


def _fits(pattern: str, path: str) -> bool:
    parts, given = pattern.split("/"), path.split("/")
    return len(parts) == len(given) and all(p in (g, "{key_id}") for p, g in zip(parts, given, strict=True))
