"""Events: what a run tells, in which envelope, and to whom."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from actguard import BudgetExceededError, BudgetGuard, Client, Usage, emit_event, emit_violation
from actguard.context import OUTSIDE, enter_frame
from actguard.events.emitter import emit
from actguard.events.envelope import KEYS
from actguard.exceptions import GuardError, ReportingContractError
from actguard.testing import LocalProvider

API = (
    "id ts tenant_id agent_id user_id run_id trace_id span_id category name version severity outcome provider model "
    "usd_micros input_tokens cached_input_tokens output_tokens scope_id scope_name scope_kind parent_scope_id "
    "root_scope_id plan_key tool_name payload evidence meta"
)

Told = list[dict[str, Any]]


@pytest.fixture
def told() -> Told:
    return []


@pytest.fixture
def client(told: Told) -> Iterator[Client]:
    made = Client(event_sinks=[told.append], flush_interval_ms=10)
    yield made
    made.close()
    enter_frame(OUTSIDE)


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    with LocalProvider() as provider:
        for name, value in provider.env().items():
            monkeypatch.setenv(name, value)
        sdk = openai.OpenAI(max_retries=0)

        def create(**options: Any) -> Any:
            messages: Any = [{"role": "user", "content": "Hi"}]
            return sdk.chat.completions.create(model="gpt-4o", messages=messages, **options)

        yield create


def named(told: Told, name: str) -> Told:
    return [event for event in told if f"{event['category']}.{event['name']}" == name]


# ---- the envelope ----


def test_every_event_has_every_key_and_no_other(client: Client, told: Told) -> None:
    with client.run(user_id="alice", run_id="r1"):
        emit_event("order", "placed", {"number": 5}, tool_name="shop")
    client.flush()

    assert tuple(KEYS) == tuple(API.split())
    assert all(tuple(event) == KEYS for event in told)
    (event,) = named(told, "order.placed")
    assert (event["user_id"], event["run_id"], event["tool_name"]) == ("alice", "r1", "shop")
    assert (event["payload"], event["version"], event["tenant_id"]) == ({"number": 5}, 1, None)
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", event["id"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", event["ts"])
    assert re.fullmatch(r"[0-9a-f]{32}", event["trace_id"])


def test_a_run_tells_its_beginning_and_its_end(client: Client, told: Told) -> None:
    with client.run(run_id="r1"):
        pass
    with pytest.raises(ZeroDivisionError), client.run(run_id="r2"):
        raise ZeroDivisionError("of a secret")
    with pytest.raises(GuardError), client.run(run_id="r3"):
        raise GuardError("no", code="NO_SESSION")
    with pytest.raises(KeyboardInterrupt), client.run(run_id="r4"):
        raise KeyboardInterrupt
    client.flush()

    assert len(named(told, "run.start")) == 4
    assert [event["outcome"] for event in named(told, "run.end")] == ["success", "failed", "blocked", "cancelled"]
    assert named(told, "run.end")[1]["payload"]["error"] == "ZeroDivisionError"
    assert named(told, "run.end")[2]["payload"]["code"] == "NO_SESSION"
    assert named(told, "run.end")[0]["payload"]["duration_ms"] >= 0
    assert "secret" not in json.dumps(told)


@pytest.mark.parametrize(
    ("code", "outcome", "severity"), [(None, "success", "info"), (0, "success", "info"), (3, "failed", "error")]
)
def test_a_program_that_exits_in_a_run_has_the_outcome_of_its_exit(
    client: Client, told: Told, code: int | None, outcome: str, severity: str
) -> None:
    with pytest.raises(SystemExit), client.run():
        raise SystemExit(code)
    client.flush()

    (end,) = named(told, "run.end")
    assert (end["outcome"], end["severity"]) == (outcome, severity)
    assert ("error" in end["payload"]) is (outcome != "success")


# ---- spend ----


def test_every_paid_call_is_told_once(client: Client, told: Told, ask: Callable[..., Any]) -> None:
    with client.run(user_id="alice"), client.budget_guard(usd_limit=1, name="root") as guard:
        ask()
        list(ask(stream=True))
        with BudgetGuard(name="inner") as inner:
            reply = ask()
        guard.add_usage("gpt-4o", Usage(8, 20), provider="openai", response_id=reply.id)  # what was seen already
        guard.add_usage("gpt-4o", Usage(100, 10, cache_read_tokens=40), provider="openai", response_id="elsewhere")
    client.flush()

    usage = named(told, "llm.usage")
    assert len(usage) == 4
    assert sum(event["payload"]["usd_pico"] for event in usage) == guard.account.used_pico  # type: ignore[union-attr]
    first, third, last = usage[0], usage[2], usage[3]
    assert (first["provider"], first["model"], first["usd_micros"]) == ("openai", "gpt-4o", 220)
    assert (first["input_tokens"], first["cached_input_tokens"], first["output_tokens"]) == (8, 0, 20)
    assert (first["scope_id"], first["scope_name"], first["scope_kind"]) == (guard.scope_id, "root", "root")
    assert (third["scope_name"], third["scope_kind"]) == ("inner", "nested")
    assert (third["scope_id"], third["parent_scope_id"]) == (inner.scope_id, guard.scope_id)
    assert third["root_scope_id"] == guard.scope_id
    assert third["payload"]["response_id"] == reply.id
    assert (last["cached_input_tokens"], last["payload"]["usage"]["cache_read_tokens"]) == (40, 40)


def test_a_stream_that_ends_after_its_guard_is_told_once(client: Client, told: Told, ask: Callable[..., Any]) -> None:
    with client.run(), client.budget_guard(usd_limit=1):
        stream = ask(stream=True)
        next(stream)
    client.flush()
    assert named(told, "llm.usage") == []
    list(stream)
    client.flush()

    (usage,) = named(told, "llm.usage")
    assert not usage["payload"]["estimated"]


def test_a_stream_that_is_left_early_is_told_as_an_estimate(
    client: Client, told: Told, ask: Callable[..., Any]
) -> None:
    with client.run(), client.budget_guard(usd_limit=1), ask(stream=True) as stream:
        next(stream)
    client.flush()

    (usage,) = named(told, "llm.usage")
    assert usage["payload"]["estimated"]


def test_external_spend_is_told_as_a_cost(client: Client, told: Told) -> None:
    with client.run(), client.budget_guard(usd_limit=1) as guard:
        guard.add_cost(name="tavily", usd=0.01)
    client.flush()

    (cost,) = named(told, "budget.cost")
    assert (cost["usd_micros"], cost["payload"]["name"]) == (10_000, "tavily")
    assert named(told, "llm.usage") == []


def test_whatever_happens_in_a_budget_says_its_plan(client: Client, told: Told, ask: Callable[..., Any]) -> None:
    with client.run(), client.budget_guard(usd_limit=1, plan_key="pro"), client.budget_guard(usd_limit=0.0001):
        emit_event("order", "placed", {})
        emit_violation(GuardError("no"))
        with pytest.raises(BudgetExceededError):
            ask()
        with pytest.raises(BudgetExceededError):
            ask()
    client.flush()

    inside = [event for event in told if event["category"] != "run"]
    assert [event["name"] for event in inside] == ["placed", "blocked", "usage", "limit_exceeded", "blocked"]
    assert {event["plan_key"] for event in inside} == {"pro"}


def test_what_happens_in_a_guard_is_its_users(client: Client, told: Told, ask: Callable[..., Any]) -> None:
    with client.run():
        with client.budget_guard(user_id="bob"):
            ask()
            with client.budget_guard():
                emit_event("order", "placed", {})
    with client.run(user_id="alice"), client.budget_guard():
        ask()
    client.flush()

    assert [event["user_id"] for event in told] == [None, "bob", "bob", None, "alice", "alice", "alice"]


def test_a_limit_that_is_passed_and_a_call_that_is_refused_are_told(
    client: Client, told: Told, ask: Callable[..., Any]
) -> None:
    with client.run(), client.budget_guard(usd_limit=0.0003, name="small") as guard:
        ask()
        with pytest.raises(BudgetExceededError):
            ask()
        with pytest.raises(BudgetExceededError):
            ask()
    client.flush()

    (passed,) = named(told, "budget.limit_exceeded")
    (blocked,) = named(told, "budget.blocked")
    assert len(named(told, "llm.usage")) == 2
    assert (passed["payload"]["phase"], blocked["payload"]["phase"]) == ("after", "before")
    assert (passed["scope_id"], passed["scope_name"], passed["outcome"]) == (guard.scope_id, "small", "blocked")
    assert passed["payload"]["usd_limit"] == 0.0003
    assert passed["payload"]["token_limit"] is None


def test_calls_outside_a_run_are_nobodys_business(client: Client, told: Told, ask: Callable[..., Any]) -> None:
    with BudgetGuard(usd_limit=1):
        ask()
    client.flush()

    assert told == []


# ---- modes ----


def every_kind() -> None:
    emit_event("order", "placed")
    emit("guard", "blocked", {}, tool_name="t")
    emit("tool", "failure", {})
    emit("tool", "invoke", {})
    emit("guard", "intervention", {})


@pytest.mark.parametrize(
    ("mode", "names"),
    [
        ("off", set()),
        ("significant", {"run.start", "run.end", "guard.blocked", "tool.failure", "guard.intervention"}),
        (
            "verbose",
            {"run.start", "run.end", "guard.blocked", "tool.failure", "guard.intervention", "order.placed"},
        ),
    ],
)
def test_a_mode_lets_its_events_through(
    mode: Any, names: set[str], told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ACTGUARD_EMIT_ALL_TOOL_RUNS", raising=False)
    with Client(event_sinks=[told.append], event_mode=mode) as client, client.run():
        every_kind()

    assert {f"{event['category']}.{event['name']}" for event in told} == names


@pytest.mark.parametrize(("value", "told_of"), [("1", 1), ("TRUE", 1), ("Yes", 1), ("on", 1), ("0", 0), ("", 0)])
@pytest.mark.parametrize("mode", ["significant", "verbose"])
def test_tool_runs_are_told_where_that_is_asked_for(
    told: Told, monkeypatch: pytest.MonkeyPatch, value: str, told_of: int, mode: Any
) -> None:
    monkeypatch.setenv("ACTGUARD_EMIT_ALL_TOOL_RUNS", value)
    with Client(event_sinks=[told.append], event_mode=mode) as client, client.run():
        every_kind()

    assert len(named(told, "tool.invoke")) == told_of


# ---- events of one's own ----


def test_emitting_outside_a_run_does_nothing() -> None:
    emit_event("order", "placed", {"number": 5})
    emit_violation(GuardError("no"))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: emit_event("", "x"),
        lambda: emit_event("order", ""),
        lambda: emit_event("order", 5),  # type: ignore[arg-type]
        lambda: emit_event("order", "placed", [1]),  # type: ignore[arg-type]
        lambda: emit_event("order", "placed", nope=1),
        lambda: emit_event("order", "placed", id="mine"),
        lambda: emit_event("order", "placed", usd_micros=1.5),
        lambda: emit_event("order", "placed", input_tokens=-1),
        lambda: emit_event("order", "placed", output_tokens=True),
        lambda: emit_event("order", "placed", model=5),
        lambda: emit_event("order", "placed", evidence="x"),
        lambda: emit_event("order", "placed", meta=[1]),
        lambda: emit_event("budget", "settled"),
        lambda: emit_event("budget", "reserved"),
        lambda: emit_violation(ValueError("x")),  # type: ignore[arg-type]
    ],
)
def test_an_event_that_does_not_fit_is_refused_where_it_is_emitted(wrong: Callable[[], None]) -> None:
    with pytest.raises(ReportingContractError):
        wrong()


def test_a_violation_is_told_with_its_code_and_without_its_details(client: Client, told: Told) -> None:
    with client.run():
        error = GuardError("Too much.", code="THRESHOLD_EXCEEDED", details={"argument": "secret"})
        emit_violation(error, tool_name="pay", attempt=2)
    client.flush()

    (event,) = named(told, "guard.blocked")
    assert (event["tool_name"], event["outcome"], event["severity"]) == ("pay", "blocked", "error")
    assert event["payload"]["code"] == "THRESHOLD_EXCEEDED"
    assert event["payload"]["attempt"] == 2
    assert "secret" not in json.dumps(event)


def test_what_json_cannot_hold_is_named_by_its_type_alone(client: Client, told: Told) -> None:
    class Card:
        def __repr__(self) -> str:
            return "4111 1111"

    deep: Any = []
    for _ in range(50):
        deep = [deep]
    payload = {"card": Card(), "nan": float("nan"), "deep": deep, "set": {1}, 5: "number", "long": "x" * 20_000}
    with client.run():
        emit_event("order", "placed", payload)
        payload["card"] = "changed afterwards"
    client.flush()

    said = named(told, "order.placed")[0]["payload"]
    assert (said["card"], said["nan"], said["set"], said["5"]) == ("<Card>", None, [1], "number")
    assert len(said["long"]) == 10_001
    json.dumps(said, allow_nan=False)


# ---- sinks ----


def test_a_file_gets_one_line_for_each_event(tmp_path: Path) -> None:
    file = tmp_path / "logs" / "events.jsonl"
    for _ in range(2):
        with Client(events_file=file) as client, client.run(user_id="zoë"):
            emit_event("order", "placed")

    events = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert [event["name"] for event in events] == ["start", "placed", "end"] * 2
    assert tuple(events[0]) == KEYS
    assert events[0]["user_id"] == "zoë"


def test_a_sink_that_raises_harms_neither_the_program_nor_the_others(
    told: Told, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(event: Any) -> None:
        raise RuntimeError("no")

    with Client(event_sinks=[broken, told.append], flush_interval_ms=5) as client:
        for _ in range(3):
            with client.run():
                pass
            client.flush()
        assert client.dropped_events == 6

    assert len(told) == 6
    assert len([record for record in caplog.records if record.name == "actguard.events"]) == 1


def test_a_program_that_ends_drains_what_waits(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    program = (
        "import sys; from actguard import Client\n"
        "with Client(events_file=sys.argv[1], flush_interval_ms=60_000).run(): pass\n"
    )
    subprocess.run([sys.executable, "-c", program, str(file)], check=True, timeout=60)

    assert len(file.read_text().splitlines()) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="forks")
@pytest.mark.filterwarnings("ignore:This process")
def test_a_forked_child_tells_its_own_events_and_none_of_its_parents(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    with Client(events_file=file, flush_interval_ms=60_000) as client:
        with client.run(run_id="parent"):
            emit_event("order", "placed")
            child = os.fork()
            if not child:
                emit_event("order", "child")
                os._exit(0 if client.flush(10) else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

    names = sorted(json.loads(line)["name"] for line in file.read_text().splitlines())
    assert names == ["child", "end", "placed", "start"]


@pytest.mark.skipif(sys.platform == "win32", reason="forks")
@pytest.mark.filterwarnings("ignore:This process")
def test_a_run_of_a_forked_child_is_not_its_parents_users(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    with Client(events_file=file) as client, client.run(), client.budget_guard(user_id="parent", usd_limit=1):
        child = os.fork()
        if not child:
            with client.run(run_id="child", user_id="child"):
                pass
            os._exit(0 if client.flush(10) else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

    told = [event for event in map(json.loads, file.read_text().splitlines()) if event["run_id"] == "child"]
    assert [(event["user_id"], event["scope_id"]) for event in told] == [("child", None)] * 2


MULTIPROCESSING = """
import multiprocessing, sys
from actguard import Client, emit_event

def work(file):
    with Client(events_file=file, flush_interval_ms=60_000).run():
        emit_event("order", "placed")

if __name__ == "__main__":
    process = multiprocessing.get_context(sys.argv[2]).Process(target=work, args=(sys.argv[1],))
    process.start()
    process.join()
    sys.exit(process.exitcode)
"""


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_a_process_of_multiprocessing_drains_what_waits(tmp_path: Path, method: str) -> None:
    file, program = tmp_path / "events.jsonl", tmp_path / "program.py"
    program.write_text(MULTIPROCESSING)
    subprocess.run([sys.executable, str(program), str(file), method], check=True, timeout=60)

    assert len(file.read_text().splitlines()) == 3
