"""A call that a timeout could not even begin has done nothing: its key is free again."""

import asyncio
import contextlib
import os
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from types import SimpleNamespace

import pytest

import actguard
from actguard import IdempotencyOutcomeUnknown, RateLimitExceeded, Threshold, ToolTimeoutError, session, timeout, tool
from actguard.exceptions import TimeoutUsageError, ToolGuardError, TooManyOrphansError
from actguard.tools import timeout as timed


def test_a_full_pool_leaves_the_key_free(run):
    gate, made = threading.Event(), []
    pool = ThreadPoolExecutor(1)
    pool.submit(gate.wait, 20)

    @tool(timeout={"seconds": 1, "executor": pool}, idempotent=True)
    def pay(idempotency_key):
        made.append(idempotency_key)
        return "paid"

    with pytest.raises(ToolTimeoutError) as late:
        pay("a")
    assert not late.value.started
    assert actguard.idempotency.list() == []
    gate.set()
    pool.submit(lambda: None).result(5)
    assert pay("a") == "paid"
    assert made == ["a"]
    pool.shutdown()


def test_a_pool_that_is_shut_down_leaves_the_key_free(run):
    pool = ThreadPoolExecutor(1)
    pool.shutdown()

    @tool(timeout={"seconds": 1, "executor": pool}, idempotent=True)
    def pay(idempotency_key):
        raise AssertionError

    for _ in range(2):
        with pytest.raises(ToolGuardError) as refused:
            pay("a")
        assert refused.value.code == "NO_THREAD"
        assert "not run" in refused.value.to_prompt()
    assert actguard.idempotency.list() == []


def test_no_more_threads_leaves_the_key_free(run, monkeypatch):
    @tool(timeout=1, idempotent=True)
    def pay(idempotency_key):
        return "paid"

    def none_left(self):
        raise RuntimeError("can't start new thread")

    actguard.shutdown()
    busy = timed._workers.busy
    monkeypatch.setattr(threading.Thread, "start", none_left)
    with pytest.raises(ToolGuardError) as refused:
        pay("a")
    assert refused.value.code == "NO_THREAD"
    assert refused.value.retryable
    assert actguard.idempotency.list() == []
    assert timed._workers.busy == busy
    monkeypatch.undo()
    assert pay("a") == "paid"


def test_too_many_calls_that_hang_leave_the_key_of_a_further_one_free(run):
    gate = threading.Event()

    @tool(timeout={"seconds": 1, "max_orphans": 1}, idempotent=True)  # for it to begin, also where many want to
    def pay(idempotency_key):
        gate.wait(20)
        return "paid"

    with pytest.raises(ToolTimeoutError):
        pay("a")
    with pytest.raises(TooManyOrphansError):
        pay("b")
    (record,) = actguard.idempotency.list()
    assert record.state == "unknown"
    with pytest.raises(IdempotencyOutcomeUnknown):
        pay("a")
    gate.set()


async def test_too_many_coroutines_that_hang_too(run):
    gate = asyncio.Event()

    @tool(timeout={"seconds": 0.01, "grace": 0, "max_orphans": 1}, idempotent=True)
    async def pay(idempotency_key):
        while not gate.is_set():
            try:
                await gate.wait()
            except asyncio.CancelledError:
                continue
        return "paid"

    with pytest.raises(ToolTimeoutError):
        await pay("a")
    with pytest.raises(TooManyOrphansError):
        await pay("b")
    assert len(actguard.idempotency.list()) == 1
    gate.set()
    await asyncio.sleep(0.01)
    assert await pay("b") == "paid"


@pytest.mark.parametrize(
    "guards",
    [
        {"rate_limit": "2/h"},
        {"max_attempts": 2},
        {"no_repeat": {"max_identical": 2, "args": ["hangs"], "tell": False}},
        {"policy": [Threshold("amount", 10, cumulative=(60, 20))]},
        {"rate_limit": "2/h", "max_attempts": 2, "concurrency": 2},
        {"policy": [Threshold("amount", 10, cumulative=(60, 20))], "rate_limit": "2/h", "max_attempts": 2},
    ],
    ids=lambda guards: "+".join(guards),
)
def test_what_a_timeout_refuses_counts_nowhere(run, guards):
    gate, ended = threading.Event(), threading.Event()

    @tool(timeout={"seconds": 1, "max_orphans": 1, "on_orphan": lambda result: ended.set()}, **guards)
    def pay(hangs, amount=10):
        return hangs and gate.wait(20)

    with session():
        with pytest.raises(ToolTimeoutError):
            pay(True)
        for _ in range(5):
            with pytest.raises(TooManyOrphansError):
                pay(False)
        gate.set()
        assert ended.wait(20)
        assert pay(False) is False
        with pytest.raises(ToolGuardError):
            pay(False)


async def test_a_coroutine_that_a_timeout_refuses_counts_nowhere(run):
    gate, ended = asyncio.Event(), asyncio.Event()
    limits = {"seconds": 0.01, "grace": 0, "max_orphans": 1, "on_orphan": lambda result: ended.set()}

    @tool(timeout=limits, rate_limit="2/h", policy=[Threshold("amount", 10, cumulative=(60, 20))])
    async def pay(hangs, amount=10):
        while hangs and not gate.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await gate.wait()

    async with session():
        with pytest.raises(ToolTimeoutError):
            await pay(True)
        refused = [await asyncio.gather(pay(False), return_exceptions=True) for _ in range(5)]
        gate.set()
        assert [type(error) for (error,) in refused] == [TooManyOrphansError] * 5
        await ended.wait()
        await pay(False)
        with pytest.raises(ToolGuardError):
            await pay(False)


def test_a_function_that_wraps_one_of_its_own_name_was_called(run):
    def refused():
        raise AssertionError

    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    refused.__module__, refused.__qualname__ = "shop", "pay"
    inner = timeout(1, executor=pool)(refused)

    def outer():
        return inner()

    outer.__module__, outer.__qualname__ = "shop", "pay"
    pay = tool(rate_limit="1/h", max_attempts=5)(outer)

    with pytest.raises(ToolGuardError) as first:
        pay()
    assert first.value.code == "NO_THREAD"
    with pytest.raises(RateLimitExceeded):
        pay()


def test_a_body_that_ran_is_not_taken_for_one_that_did_not(run):
    """Its error may be that of a call further in: one of its own name, or of itself."""
    pool = ThreadPoolExecutor(1)
    gate, held = threading.Event(), threading.Event()

    def inner():
        @timeout(0.02, executor=pool)
        def pay():
            return 1

        return pay

    @tool(timeout=5, idempotent=True)
    def pay(idempotency_key):
        pool.submit(lambda: (held.set(), gate.wait(5)))
        held.wait(5)
        return inner()()

    with pytest.raises(ToolTimeoutError) as late:
        pay("a")
    assert not late.value.started
    with pytest.raises(IdempotencyOutcomeUnknown):
        pay("a")
    gate.set()
    pool.shutdown()


def test_a_body_that_calls_itself_in_vain_ran(run):
    pool = ThreadPoolExecutor(1)

    @tool(timeout={"seconds": 5, "executor": pool}, idempotent=True)
    def pay(idempotency_key):
        pool.shutdown(wait=False)
        return pay(idempotency_key + "+")  # there is no thread for it

    with pytest.raises(ToolGuardError) as refused:
        pay("a")
    assert refused.value.code == "NO_THREAD"
    assert {record.key.rpartition("s:")[2]: record.state for record in actguard.idempotency.list()} == {"a": "unknown"}


def test_a_pool_of_processes_is_refused_where_it_is_written():
    with ProcessPoolExecutor(1) as pool, pytest.raises(TimeoutUsageError) as refused:
        timeout(1, pool)
    assert refused.value.argument == "executor"


def test_a_call_that_was_interrupted_before_it_began_never_begins(monkeypatch):
    """A KeyboardInterrupt while the call waits for a place in a full pool."""
    held, calls = threading.Event(), []

    class Interrupted(threading.Event):
        def wait(self, timeout=None):
            raise KeyboardInterrupt

    with ThreadPoolExecutor(1) as pool:

        @timeout(5, executor=pool)
        def send():
            calls.append(1)

        pool.submit(held.wait, 20)
        with monkeypatch.context() as patched:
            patched.setattr(timed, "threading", SimpleNamespace(Event=Interrupted, Lock=threading.Lock))
            with pytest.raises(KeyboardInterrupt):
                send()
        held.set()
    assert calls == []


def test_a_call_that_was_interrupted_while_it_ran_counts_as_one_that_still_runs(monkeypatch):
    held, begun, ended = threading.Event(), threading.Event(), []

    with ThreadPoolExecutor(1) as pool:

        @timeout(5, executor=pool, max_orphans=1, on_orphan=ended.append)
        def send():
            begun.set()
            held.wait(20)
            return "sent"

        class Interrupted(threading.Event):
            def wait(self, timeout=None):
                begun.wait(20)
                raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(timed, "threading", SimpleNamespace(Event=Interrupted, Lock=threading.Lock))
            with pytest.raises(KeyboardInterrupt):
                send()
        with pytest.raises(TooManyOrphansError):
            send()
        held.set()
    assert ended == ["sent"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_has_nothing_to_do_with_calls_that_hang_in_its_parent():
    held = threading.Event()

    @timeout(0.5, max_orphans=1)
    def send(hangs):
        if hangs:
            held.wait(20)

    with pytest.raises(ToolTimeoutError):
        send(True)
    with pytest.raises(TooManyOrphansError):
        send(False)
    child = os.fork()
    if child == 0:
        try:
            send(False)
        except ToolTimeoutError:  # a busy machine; it was begun, at least
            os._exit(0)
        except BaseException:
            os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    with pytest.raises(TooManyOrphansError):
        send(False)
    held.set()
