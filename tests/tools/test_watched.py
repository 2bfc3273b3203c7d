"""What guards say that is no refusal: what a watched one would have refused, and a key that was lost."""

import asyncio
import contextvars
import dataclasses
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import actguard
from actguard import MaxAttemptsExceeded, idempotent, no_repeat, rate_limit, timeout, tool
from actguard.tools import overrun


def test_a_watched_timeout_lets_the_call_go_on_and_says_so(run, heard):
    def slow():
        time.sleep(0.5)
        return actguard.remaining()

    assert timeout(60, mode="observe")(slow)() is None
    assert "guard.intervention" not in heard.names
    assert timeout(0.01, mode="observe")(slow)() is None
    first, last = told(heard)
    assert (first["guard"], first["code"], first["outcome"]) == ("timeout", "TOOL_TIMEOUT", "observed")
    assert [first["reason"], last["reason"]] == ["still_running", "ended_late"]


def test_who_looks_after_watched_calls_keeps_no_program_from_ending(run):
    timeout(60, mode="observe")(lambda: None)()
    threads = [thread for thread in threading.enumerate() if thread.name == "actguard-watched"]
    assert threads
    assert all(thread.daemon for thread in threads)


def told(heard):
    return [event for name, event in heard.events if name == "guard.intervention"]


def reasons(heard):
    return [event["reason"] for event in told(heard)]


def until(condition):
    for _ in range(2000):
        if condition():
            return
        time.sleep(0.002)
    raise AssertionError("it did not come to that")


def test_a_watched_call_that_hangs_is_told_of_while_it_does(run, heard):
    gate = threading.Event()

    @timeout(0.02, mode="observe")
    def hang():
        gate.wait(10)
        return 1

    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(contextvars.copy_context().run, hang) for _ in range(2)]
        until(lambda: reasons(heard) == ["still_running"] * 2)
        time.sleep(0.03)
        assert reasons(heard) == ["still_running"] * 2  # once
        gate.set()
        assert [call.result(5) for call in calls] == [1, 1]
    assert reasons(heard) == ["still_running"] * 2 + ["ended_late"] * 2


async def test_a_watched_coroutine_that_hangs_is_told_of_while_it_does(run, heard):
    gate = asyncio.Event()

    @timeout(0.01, mode="observe")
    async def hang():
        await gate.wait()
        return 1

    @timeout(0.01, mode="observe")
    def later():
        return hang.__wrapped__()

    @timeout(0.01, mode="observe")
    async def items():
        await gate.wait()
        yield 1

    async def collect():
        return [item async for item in items()]

    calls = [asyncio.create_task(hang()), asyncio.create_task(collect()), asyncio.ensure_future(later())]
    await asyncio.sleep(0.05)
    assert reasons(heard) == ["still_running"] * 3
    gate.set()
    assert await asyncio.gather(*calls) == [1, [1], 1]
    assert reasons(heard) == ["still_running"] * 3 + ["ended_late"] * 3


def test_a_nearer_deadline_is_looked_after_first_and_one_that_ended_not_at_all(run, heard):
    gate = threading.Event()

    @timeout(60, mode="observe")
    def patient():
        gate.wait(10)

    @timeout(0.02, mode="observe")
    def hasty():
        gate.wait(10)

    @timeout(0.2, mode="observe")
    def quick():
        return 1

    threads = [threading.Thread(target=contextvars.copy_context().run, args=(call,)) for call in (patient, hasty)]
    for thread in threads:
        thread.start()
    assert quick() == 1
    until(lambda: told(heard))
    gate.set()
    for thread in threads:
        thread.join(5)
    assert reasons(heard) == ["still_running", "ended_late"]
    assert overrun._watches._running == {}


def test_the_thread_that_looks_after_watched_calls_ends_and_begins_again(run, heard, monkeypatch):
    monkeypatch.setattr(overrun, "_IDLE_S", 0.01)
    monkeypatch.setattr(overrun, "_watches", overrun._Watches())

    @timeout(0.2, mode="observe")
    def slow(seconds):
        time.sleep(seconds)

    slow(0)
    until(lambda: not overrun._watches._looks)
    slow(0.8)
    assert reasons(heard) == ["still_running", "ended_late"]


def test_a_listener_that_breaks_keeps_nobody_else_from_being_told_of(run, heard, caplog):
    hear, broken = heard.emit, []

    def breaks_once(category, name, payload, fields):
        if not broken:
            broken.append(name)
            raise KeyError(name)
        hear(category, name, payload, fields)

    heard.emit = breaks_once

    @timeout(0.01, mode="observe")
    def slow():
        time.sleep(0.5)
        return 1

    assert [slow(), slow()] == [1, 1]
    assert reasons(heard) == ["ended_late", "still_running", "ended_late"]
    assert "could not be told of" in caplog.text


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


def test_a_watched_loop_is_told_of_from_the_first_call_too_many(run, heard):
    look = no_repeat(max_identical=1, mode="observe")(lambda order: order)
    assert [look("A-17") for _ in range(3)] == ["A-17"] * 3
    assert [event["code"] for event in told(heard)] == ["LOOP_DETECTED"] * 2


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("on_duplicate", ["return", "wait", "raise"])
async def test_a_watched_duplicate_is_told_of_and_made(run, heard, on_duplicate):
    made = []

    async def apay(amount):
        made.append(amount)
        return amount

    for pay in (apay, lambda amount: apay(amount)):
        watched = idempotent(key="derived", on_duplicate=on_duplicate, mode="observe")(pay)
        assert [await watched(5), await watched(5)] == [5, 5]
        assert [event["code"] for event in told(heard)] == ["DUPLICATE_IDEMPOTENCY_KEY"]
        heard.events.clear()
    assert made == [5] * 4


def test_the_mode_of_all_guards_is_that_of_each_and_explained_so(run):
    watched = rate_limit(max_calls=1, mode="observe")(lambda: 1)
    off = rate_limit(max_calls=1, mode="off")(lambda: 1)
    assert (watched(), watched()) == (1, 1)
    assert "[observe]" in actguard.explain(watched)
    actguard.configure(mode="enforce")
    with pytest.raises(actguard.RateLimitExceeded):
        watched()
    assert "[" not in actguard.explain(watched)
    assert (off(), off()) == (1, 1)
    for mode in ("observe", "off"):
        actguard.configure(mode=mode)
        assert (watched(), watched()) == (1, 1)
        assert f"[{mode}]" in actguard.explain(watched)
        assert "[off]" in actguard.explain(off)


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


def breaks(*args, **kwargs):
    raise ZeroDivisionError


@pytest.mark.parametrize(
    "guard",
    [
        rate_limit(max_calls=1, scope=breaks, mode="observe"),
        rate_limit(max_calls=1, cost=breaks, mode="observe"),
        idempotent(key=breaks, mode="observe"),
        no_repeat(exempt=breaks, mode="observe"),
        no_repeat(args=breaks, mode="observe"),
    ],
    ids=["scope", "cost", "key", "exempt", "args"],
)
def test_a_watched_guard_whose_own_function_breaks_lets_the_call_pass(run, heard, guard):
    assert guard(lambda user: user)("a") == "a"
    (event,) = told(heard)
    assert (event["outcome"], event["reason"]) == ("observed", "unreadable")
    assert dataclasses.replace(guard, mode="off")(lambda user: user)("a") == "a"
    with pytest.raises(ZeroDivisionError):
        dataclasses.replace(guard, mode="enforce")(lambda user: user)("a")


def test_a_watched_key_that_breaks_is_not_given_to_the_function(run):
    @idempotent(key=breaks, mode="observe")
    def pay(amount, idempotency_key=None):
        return amount, idempotency_key

    assert pay(5) == (5, None)
