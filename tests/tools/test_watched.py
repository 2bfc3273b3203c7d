"""What guards say that is no refusal: what a watched one would have refused, and a key that was lost."""

import asyncio
import time

import pytest

import actguard
from actguard import MaxAttemptsExceeded, idempotent, rate_limit, timeout, tool


def test_a_watched_timeout_lets_the_call_go_on_and_says_so(run, heard):
    def slow():
        time.sleep(0.03)
        return actguard.remaining()

    assert timeout(60, mode="observe")(slow)() is None
    assert "guard.intervention" not in heard.names
    assert timeout(0.01, mode="observe")(slow)() is None
    (event,) = [event for name, event in heard.events if name == "guard.intervention"]
    assert (event["guard"], event["code"], event["outcome"]) == ("timeout", "TOOL_TIMEOUT", "observed")


async def test_a_watched_timeout_lets_every_kind_of_call_go_on(run, heard):
    actguard.configure(mode="observe")

    @timeout(0.01)
    async def wait():
        await asyncio.sleep(0.02)
        return 1

    @timeout(0.01)
    def later():
        return wait()

    @timeout(0.01)
    async def items():
        await asyncio.sleep(0.02)
        yield 1

    @timeout(0.01)
    async def fail():
        await asyncio.sleep(0.02)
        raise KeyError

    async def observed(call):
        heard.events.clear()
        result = await call
        assert "guard.intervention" in heard.names
        return result

    async def first():
        return [item async for item in items()]

    assert await observed(wait()) == 1
    assert await observed(later()) == 1
    assert await observed(first()) == [1]
    with pytest.raises(KeyError):
        await fail()
    assert heard.events[-2][1]["outcome"] == "observed"


@pytest.mark.parametrize("mode", ["observe", "off"])
def test_a_function_gets_its_hidden_key_in_every_mode(run, mode):
    @idempotent(key="derived", mode=mode)
    def pay(amount, idempotency_key):
        return idempotency_key

    assert pay(5).startswith("d:")


def test_a_watched_guard_that_has_nothing_to_ask_with_lets_pass(run, heard):
    @tool(
        rate_limit={"scope": "user", "mode": "observe"},
        max_attempts=1,
        idempotent={"mode": "observe"},
    )
    def send(user=None, idempotency_key=None):
        return 1

    assert send() == 1
    assert [(event["guard"], event["outcome"]) for name, event in heard.events if name == "guard.intervention"] == [
        ("idempotent", "observed"),
        ("rate_limit", "observed"),
    ]
    with pytest.raises(MaxAttemptsExceeded):
        send()


def test_settings_that_change_while_a_plan_is_made_are_not_lost(monkeypatch):
    call = rate_limit(max_calls=1)(lambda: 1)
    guard = type(call.__actguard__.guards[0])
    bind = guard.bind

    def changing(self, target):
        part = bind(self, target)
        monkeypatch.setattr(guard, "bind", bind)
        actguard.configure(mode="off")
        return part

    monkeypatch.setattr(guard, "bind", changing)
    assert [call(), call()] == [1, 1]


def test_a_call_that_lost_its_key_says_so(run, heard):
    @idempotent()
    def pay(idempotency_key):
        (record,) = actguard.idempotency.list()
        actguard.idempotency.forget(record.key)
        return 1

    assert pay("a") == 1
    (event,) = [event for name, event in heard.events if name == "guard.intervention"]
    assert (event["guard"], event["reason"]) == ("idempotent", "lease_lost")


def test_a_relative_file_is_meant_where_the_guard_is_made(tmp_path, monkeypatch):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)

        @idempotent(scope="global", durable="kept.db")
        def pay(idempotency_key):
            return 1

        pay("a")
        assert (tmp_path / name / "kept.db").exists()
    with pytest.raises(actguard.ActGuardUsageError):
        idempotent(durable=":memory:")
