"""The wire to the letter, over real sockets, on both stores."""

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from actguard.events.envelope import KEYS
from tests.gateway.server import Caller, GatewayProcess

GPT = {"provider": "openai", "provider_model_id": "gpt-4o", "input_tokens": 1200, "cached_input_tokens": 200}


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def gateway(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("gateway")
    database = str(folder / "gateway.db")
    if request.param == "postgres":
        database = request.getfixturevalue("postgres").database()
    process = GatewayProcess(database, folder).start()
    yield process
    assert process.stop() == 0, process.log.read_text()
    log = process.log.read_text()
    assert "Traceback" not in log, log
    assert process.agent_key.partition(".")[2] not in log, "a secret is in the log"


@pytest.fixture
def admin(gateway: GatewayProcess) -> Caller:
    return gateway.admin()


@pytest.fixture
def agent(admin: Caller, request: pytest.FixtureRequest) -> Caller:
    """A key of an agent of this test's own, so that its budgets are its own too."""
    made = admin.post("keys", {"agent": f"agent of {request.node.name}"[:100]})
    return Caller(admin.port, made.body["key"])


def budget(admin: Caller, key: str, window: str = "total", **limits: Any) -> None:
    said = admin.send("PUT", "/api/v1/budgets", {"scope": "user", "key": key, "window": window, **limits})
    assert said.status == 200, said


def test_reserve_and_settle_as_documented(agent: Caller, admin: Caller) -> None:
    budget(admin, "alice", usd_micros=60_000)
    asked = {"run_id": "req-42", "user_id": "alice", "plan_key": "pro", "usd_limit_micros": 50_000, "cost_limit": 5000}
    granted = agent.post("reserve", asked | {"unknown": {"field": 1}}).body
    assert granted["status"] == "reserved"
    assert (granted["usd_limit_micros"], granted["cost_limit"], granted["estimated_usd_micros"]) == (50_000, 50, 50_000)
    assert 0 < granted["remaining_ttl_ms"] <= 900_000
    assert granted["tariff_version"]
    assert granted["expires_at"].endswith("Z")

    lines = [GPT | {"output_tokens": 340, "scope_name": "search"}]
    lines.append({"type": "custom_cost", "name": "tavily", "cost_cu": 10, "scope_name": "search"})
    settled = agent.post("settle", {"reserve_id": granted["reserve_id"], "usage_breakdown": lines})
    # 1000 * $2.50 + 200 * $1.25 + 340 * $10 a million, and 10 CU
    assert settled.body == {
        "reserve_id": granted["reserve_id"],
        "status": "settled",
        "usd_micros": 2_500 + 250 + 3_400 + 10_000,
        "released_micros": 50_000 - 16_150,
        "overrun_micros": 0,
    }
    left = agent.get("budget?user_id=alice").body["budgets"]
    assert [(b["scope"], b["usd_spent_micros"], b["usd_remaining_micros"]) for b in left] == [("user", 16_150, 43_850)]


def test_a_used_up_budget_is_409_with_what_older_clients_read(agent: Caller, admin: Caller) -> None:
    budget(admin, "bob", "day", usd_micros=10_000)
    body = agent.post("reserve", {"run_id": "r", "user_id": "bob", "usd_limit_micros": 20_000})
    assert body.status == 409
    assert body.body["code"] == "budget_exceeded"
    assert (body.body["user_id"], body.body["cost_used"], body.body["cost_limit"]) == ("bob", 0, 10)
    assert body.body["resets_at"].endswith("T00:00:00.000Z")


def test_top_level_usage_of_an_older_client_is_priced(agent: Caller) -> None:
    rid = agent.post("reserve", {"run_id": "old", "usd_limit_micros": 10**6}).body["reserve_id"]
    settled = agent.post("settle", {"reserve_id": rid, **GPT, "output_tokens": 0, "reasoning_effort": "low"})
    assert settled.body["usd_micros"] == 2_750
    rid = agent.post("reserve", {"run_id": "none", "usd_limit_micros": 10**6}).body["reserve_id"]
    nothing = {"provider": "none", "provider_model_id": "none", "input_tokens": 0, "cached_input_tokens": 0}
    assert agent.post("settle", {"reserve_id": rid, **nothing, "output_tokens": 0}).body["usd_micros"] == 0


def test_tokens_that_a_client_counts_beside_its_input_are_charged_as_they_are_billed(
    agent: Caller, admin: Caller
) -> None:
    budget(admin, "beside", tokens=10_000)
    model = "claude-opus-4-5"
    usage = {"provider": "anthropic", "provider_model_id": model, "input_tokens": 100, "cached_input_tokens": 500}
    before = admin.get("spend?by=model").body
    agent.post("reserve", {"run_id": "b", "user_id": "beside", "reserve_id": "beside", "token_limit": 700})
    agent.post("settle", {"reserve_id": "beside", "usage_breakdown": [usage | {"output_tokens": 10}]})
    (left,) = agent.get("budget?user_id=beside").body["budgets"]
    assert (left["tokens_spent"], left["tokens_held"]) == (510, 0)
    after = admin.get("spend?by=model").body
    assert after["tokens"] - before["tokens"] == 510
    assert {group["key"]: group["tokens"] for group in after["groups"]}[model] == 510


def test_a_model_that_nobody_knows_is_never_free(agent: Caller) -> None:
    for extra, least in (({}, 1), ({"usd_micros": 777}, 777)):
        rid = agent.post("reserve", {"run_id": "x", "usd_limit_micros": 10**6, "reserve_id": f"x{least}"}).body[
            "reserve_id"
        ]
        line = {"provider": "openai", "provider_model_id": "no-such-model", "input_tokens": 1000, **extra}
        charged = agent.post("settle", {"reserve_id": rid, "usage_breakdown": [line]}).body["usd_micros"]
        assert charged == 777 if extra else charged > 1000


def test_the_same_key_is_the_same_answer_and_another_body_is_422(agent: Caller) -> None:
    body = {"run_id": "r", "usd_limit_micros": 5}
    first = agent.post("reserve", body, idempotency_key="k1")
    again = agent.post("reserve", body, idempotency_key="k1")
    assert first.body["reserve_id"] == again.body["reserve_id"]
    assert agent.post("reserve", body | {"run_id": "other"}, idempotency_key="k1").status == 422
    assert agent.post("settle", {"reserve_id": first.body["reserve_id"]}, idempotency_key="k1").status == 422
    assert agent.post("reserve", body, idempotency_key="k" * 300).status == 422


def test_a_retry_without_any_key_is_the_same_hold_while_it_is_open(agent: Caller) -> None:
    body = {"run_id": "r", "user_id": "u", "cost_limit": 5}
    first, again = agent.post("reserve", body).body, agent.post("reserve", body).body
    assert first["reserve_id"] == again["reserve_id"]
    for same in ({"cost_limit": 5, "user_id": "u", "run_id": "r"}, body | {"plan_key": None}, body | {"unknown": 1}):
        assert agent.post("reserve", same).body["reserve_id"] == first["reserve_id"]
    other = agent.post("reserve", body | {"cost_limit": 6}).body
    assert other["reserve_id"] != first["reserve_id"]
    agent.post("settle", {"reserve_id": first["reserve_id"]})
    assert agent.post("reserve", body).body["reserve_id"] != first["reserve_id"]


def test_extend_release_and_a_late_settle(agent: Caller) -> None:
    rid = agent.post("reserve", {"run_id": "long", "usd_limit_micros": 100, "reserve_id": "mine"}).body["reserve_id"]
    assert rid == "mine"
    assert agent.post("extend", {"reserve_id": rid, "usd_micros": 50}).body["usd_limit_micros"] == 150
    renewed = agent.post("extend", {"reserve_id": rid, "ttl_s": 3600}).body
    assert 3_590_000 < renewed["remaining_ttl_ms"] <= 3_600_000
    assert agent.post("release", {"reserve_id": rid}).body["status"] == "released"
    assert agent.post("release", {"reserve_id": rid}).body["status"] == "released"
    late = agent.post("settle", {"reserve_id": rid, **GPT, "output_tokens": 0}).body
    assert (late["status"], late["usd_micros"]) == ("settled_late", 2_750)
    assert agent.post("settle", {"reserve_id": "nobody"}).status == 404
    offline = {"reserve_id": "nobody", "offline": True, "run_id": "away", **GPT, "output_tokens": 0}
    assert agent.post("settle", offline).body["status"] == "settled"


def test_events_are_stored_once_and_a_bad_one_spoils_no_batch(agent: Caller, admin: Caller) -> None:
    def event(id: str, **said: Any) -> dict[str, Any]:
        fixed = {"id": id, "ts": "2026-01-01T00:00:00Z", "tenant_id": "evil", "category": "llm", "name": "usage"}
        return fixed | {"run_id": "ev", "payload": {"text": "\x00 ' ; DROP TABLE events"}} | said

    sent = [event("e1"), event("e2"), event("e1"), {"name": "x"}, "no object", event("e3", usd_micros=-1), 7]
    said = agent.post("events", {"events": sent})
    assert said.status == 202
    assert (said.body["accepted"], said.body["duplicates"]) == (2, 1)
    assert [(r["index"], r["id"]) for r in said.body["rejected"]] == [(3, None), (4, None), (5, "e3"), (6, None)]
    assert agent.post("events", {"events": [event("e1")]}).body["duplicates"] == 1
    found = admin.get("events?run_id=ev").body["events"]
    assert {e["id"] for e in found} == {"e1", "e2"}
    assert all(e["tenant_id"] != "evil" and e["ingested_at"] > "2026-01-02" for e in found)
    assert agent.post("events", {"events": [event(f"n{n}") for n in range(1001)]}).status == 413


def test_an_event_is_kept_as_it_was_sent_or_rejected(agent: Caller, admin: Caller) -> None:
    """Nobody looks at its payload before it is asked for: what could not be told again then is not taken."""
    said = b'{"id":"%s","category":"llm","name":"usage","run_id":"kept","payload":%s}'
    payloads = [b'{"big":1e999,"deep":[[0]],"text":"\\u0000\xc3\xa9"}', b'"\xff"', b'"\xed\xa0\x80"', b'"\\x"']
    sent = b'{"events":[%s]}' % b",".join(said % (b"%d" % n, payload) for n, payload in enumerate(payloads[:3]))
    told = agent.post("events", sent).body
    assert (told["accepted"], [r["index"] for r in told["rejected"]]) == (1, [1, 2])
    assert agent.post("events", b'{"events":[%s]}' % (said % (b"x", payloads[3]))).status == 400

    (found,) = admin.get("events?run_id=kept").body["events"]
    assert found["payload"] == {"big": float("inf"), "deep": [[0]], "text": "\x00é"}


def test_the_gateway_tells_of_its_own_decisions_as_events(agent: Caller, admin: Caller) -> None:
    rid = agent.post("reserve", {"run_id": "told", "usd_limit_micros": 100}).body["reserve_id"]
    agent.post("settle", {"reserve_id": rid, **GPT, "output_tokens": 0})
    told = {e["name"]: e for e in admin.get("events?run_id=told&category=budget").body["events"]}
    assert sorted(told) == ["overrun", "reserved", "settled"]
    assert (told["settled"]["outcome"], told["overrun"]["severity"]) == ("success", "warning")
    for event in told.values():
        assert set(event) == {*KEYS, "ingested_at"}


def test_renewals_hide_no_event_from_who_asks_for_the_latest(agent: Caller, admin: Caller) -> None:
    rid = agent.post("reserve", {"run_id": "renewed", "usd_limit_micros": 100}).body["reserve_id"]
    for _ in range(3):
        agent.post("extend", {"reserve_id": rid, "ttl_s": 60})
    agent.post("extend", {"reserve_id": rid, "usd_micros": 7})
    told = admin.get("events?run_id=renewed&limit=2").body["events"]
    assert [(e["name"], e["usd_micros"]) for e in told] == [("extended", 7), ("reserved", 100)]


def test_the_tariff_needs_no_key_and_holds_integers(gateway: GatewayProcess) -> None:
    said = Caller(gateway.port).get("cu-tariff").body
    assert said["cu_per_usd"] == 1000
    assert said["llm"]["providers"]["openai"]["models"]["gpt-4o"] == {
        "input_cu_per_1m": 2500,
        "output_cu_per_1k": 10,
        "cached_cu_per_1k": 2,
    }
    assert all(isinstance(said["llm"]["default"][f"{kind}_cu_per_1k"], int) for kind in ("input", "output", "cached"))


def test_spend_is_the_ledgers_and_divides_without_remainder(agent: Caller, admin: Caller) -> None:
    since = "since=2020-01-01T00:00:00Z"
    before = admin.get(f"spend?{since}&by=model").body
    rid = agent.post("reserve", {"run_id": "spend", "user_id": "sp", "usd_limit_micros": 10**6}).body["reserve_id"]
    lines = [
        GPT | {"output_tokens": 1},
        {"provider": "anthropic", "provider_model_id": "claude-opus-4-5", "input_tokens": 3},
    ]
    usd = agent.post("settle", {"reserve_id": rid, "usage_breakdown": lines}).body["usd_micros"]
    for by in ("agent", "user", "plan", "model", "provider", "scope", "run", "day"):
        found = admin.get(f"spend?{since}&by={by}").body
        assert found["usd_micros"] == before["usd_micros"] + usd
        assert sum(g["usd_micros"] for g in found["groups"]) + found["unattributed_micros"] == found["usd_micros"]
    by_run = {g["key"]: g["usd_micros"] for g in admin.get(f"spend?{since}&by=run").body["groups"]}
    assert by_run["spend"] == usd
    assert admin.get("spend?by=nothing").status == 422
    assert admin.get("runs?run_id=spend").body["runs"][0]["usd_micros"] == usd


def test_a_revoked_key_stops_within_a_second_also_when_revoked_elsewhere(
    gateway: GatewayProcess, admin: Caller
) -> None:
    from actguard.gateway.storage.connect import connect

    made = admin.post("keys", {"agent": "soon gone"}).body
    caller = Caller(gateway.port, made["key"])
    assert caller.post("reserve", {"run_id": "r"}).status == 200
    store = connect(gateway.database, alone=False)
    store.open()
    assert store.write(lambda t: t.run("revoke_key", workspace=1, key_id=made["key_id"], now=1)) == 1
    store.close()
    end = time.monotonic() + 1
    while caller.get("budget").status != 401:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert made["key"] not in json.dumps(admin.get("keys").body)
    again = admin.post("keys", {"agent": "soon gone"}).body
    assert admin.send("DELETE", f"/api/v1/keys/{again['key_id']}").status == 200
    assert Caller(gateway.port, again["key"]).get("budget").status == 401


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"\xff\xfe", 400),
        (b'{"run_id": "\xff"}', 400),
        (b'{"run_id": "\\ud800"}', 400),
        (b"[" * 100_000, 422),
        (b'{"x":' + b"[" * 500_000 + b"]" * 500_000 + b"}", 400),
        (b"[]", 422),
        (b"{}", 422),
        (b'{"run_id": ""}', 422),
        (b'{"run_id": 7}', 422),
        (b'{"run_id": "a\\u0000b"}', 422),
        (b'{"run_id": "a\\n"}', 422),
        (b'{"run_id": "r", "plan_key": "a\\n"}', 422),
        (b'{"run_id": "r", "usd_limit_micros": -1}', 422),
        (b'{"run_id": "r", "usd_limit_micros": 1e400}', 422),
        (b'{"run_id": "r", "usd_limit_micros": 9999999999999999999999999}', 422),
        (b'{"run_id": "r", "token_limit": 1.5}', 422),
        (b'{"run_id": "r", "plan_key": "No Such Plan"}', 422),
        (b'{"run_id": "' + b"x" * 300 + b'"}', 422),
        (b'{"run_id": "' + b"x" * (1 << 20) + b'"}', 413),
    ],
)
def test_what_cannot_be_is_refused_with_a_reason(agent: Caller, body: bytes, status: int) -> None:
    said = agent.send("POST", "/api/v1/reserve", body)
    assert said.status == status, said
    assert said.body["error"]
    assert said.body["code"]
    settle = agent.send("POST", "/api/v1/settle", body.replace(b"run_id", b"reserve_id"))
    assert 400 <= settle.status < 500


def test_a_body_that_never_says_how_long_it_is_is_cut_off(gateway: GatewayProcess, agent: Caller) -> None:
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as raw:
        raw.sendall(b"POST /api/v1/reserve HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
        try:
            for _ in range(300):
                raw.sendall(chunk)
        except OSError:
            pass
        assert b" 413 " in raw.recv(4096)


@pytest.mark.parametrize(
    "key", ["", "x", "ag_live_", "ag_live_abc.def", "ag_live_ZoMw5VLSagw3.KS5piiNFn1VaN3fMYunLoFdxjbEapIB11"]
)
def test_a_key_that_is_none_is_401(gateway: GatewayProcess, key: str) -> None:
    assert Caller(gateway.port, key).post("reserve", {"run_id": "r"}).status == 401


def test_an_agents_key_manages_nothing(agent: Caller) -> None:
    for method, path in (("GET", "keys"), ("POST", "keys"), ("PUT", "budgets"), ("GET", "spend"), ("POST", "balance")):
        assert agent.send(method, f"/api/v1/{path}", {}).status == 403


def test_another_workspace_sees_nothing_and_changes_nothing(
    gateway: GatewayProcess, agent: Caller, admin: Caller
) -> None:
    from actguard.gateway import accounts
    from actguard.gateway.storage.connect import connect

    store = connect(gateway.database, alone=False)
    store.open()
    other = store.write(lambda t: accounts.add_workspace(t, "other", "UTC", 1))
    spies = [store.write(lambda t, r=role: accounts.create_key(t, other, "spy", r, 1)) for role in ("agent", "admin")]
    store.close()
    spy, chief = (Caller(gateway.port, spy.key.text) for spy in spies)
    rid = agent.post("reserve", {"run_id": "secret", "usd_limit_micros": 100}, idempotency_key="shared").body[
        "reserve_id"
    ]

    for path in ("settle", "extend", "release"):
        assert spy.post(path, {"reserve_id": rid, "usd_micros": 1, "ttl_s": 9}).status == 404
    assert (
        spy.post("reserve", {"run_id": "secret", "usd_limit_micros": 100}, idempotency_key="shared").body["reserve_id"]
        != rid
    )
    assert chief.get("spend").body["usd_micros"] == 0
    assert "secret" not in {r["run_id"] for r in chief.get("runs").body["runs"] if r["agent"] != "spy"}
    assert {k["agent"] for k in chief.get("keys").body["keys"]} == {"spy"}
    assert chief.send("DELETE", f"/api/v1/keys/{gateway.agent_key[8:20]}").status == 404
    assert gateway.agent().get("budget").status == 200


@pytest.mark.parametrize(
    "text", ["'; DROP TABLE holds; --", '" OR 1=1 --', "%s %(a)s :name ?", "a\\nb", "{}", "é" * 60]
)
def test_what_looks_like_a_statement_is_only_a_name(agent: Caller, admin: Caller, text: str) -> None:
    granted = agent.post("reserve", {"run_id": text, "user_id": text, "usd_limit_micros": 1, "reserve_id": text})
    assert granted.body["reserve_id"] == text
    assert agent.post("settle", {"reserve_id": text}).body["status"] == "settled"
    budget(admin, text, usd_micros=1)
    assert [r for r in admin.get("runs?limit=1000").body["runs"] if r["run_id"] == text]


def test_requests_are_named_counted_and_described(gateway: GatewayProcess) -> None:
    caller = Caller(gateway.port)
    assert caller.send("GET", "/healthz").body == {"status": "ok"}
    assert caller.send("GET", "/nothing").status == 404
    assert caller.send("DELETE", "/api/v1/reserve").status == 405
    named = caller.send("POST", "/api/v1/reserve", {}, x_request_id="my-id.1")
    assert named.headers["x-request-id"] == "my-id.1"
    forged = caller.send("POST", "/api/v1/reserve", {}, x_request_id='x"} {"level": "error"')
    assert forged.headers["x-request-id"].isalnum()
    assert 'route="POST /api/v1/reserve"' in caller.send("GET", "/metrics").body
    assert "/api/v1/settle" in caller.send("GET", "/openapi.json").body["paths"]
    for line in gateway.log.read_text().splitlines():
        assert isinstance(json.loads(line), dict), line


def test_the_document_says_which_refusals_an_endpoint_has(gateway: GatewayProcess) -> None:
    paths = Caller(gateway.port).send("GET", "/openapi.json").body["paths"]
    refusals = {
        f"{method.upper()} {path}": set(operation["responses"]) & {"402", "403", "404", "409"}
        for path, methods in paths.items()
        for method, operation in methods.items()
    }

    assert refusals["POST /api/v1/reserve"] == {"402", "403", "409"}
    assert refusals["POST /api/v1/extend"] == {"402", "404", "409"}
    assert refusals["POST /api/v1/settle"] == refusals["POST /api/v1/release"] == {"404"}
    assert refusals["GET /api/v1/budget"] == refusals["POST /api/v1/events"] == set()
    for managed in ("GET /api/v1/keys", "PUT /api/v1/budgets", "POST /api/v1/balance", "GET /api/v1/spend"):
        assert refusals[managed] == {"403"}
    assert refusals["DELETE /api/v1/keys/{key_id}"] == {"403", "404"}


def test_paying_in_twice_with_one_key_is_paying_in_once(tmp_path: Path) -> None:
    process = GatewayProcess(str(tmp_path / "paid.db"), tmp_path).start()
    admin, agent = process.admin(), process.agent()
    for _ in range(2):
        assert admin.post("balance", {"usd_micros": 100}, idempotency_key="p1").body["balance_micros"] == 100
    assert admin.post("balance", {"usd_micros": 101}, idempotency_key="p1").status == 422
    refused = agent.post("reserve", {"run_id": "r", "usd_limit_micros": 150})
    assert (refused.status, refused.body["shortfall"], refused.body["CurrentBalance"]) == (402, 50, 100)
    assert agent.post("reserve", {"run_id": "r", "usd_limit_micros": 100}).status == 200
    assert process.stop() == 0
