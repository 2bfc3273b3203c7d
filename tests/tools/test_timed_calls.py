"""A timed call, on whichever thread it runs: the time it has left, how it is given up, and who hears of its end."""

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

import actguard
from actguard import ActGuardToolError, ToolTimeoutError, timeout
from actguard.context import current_frame
from actguard.exceptions import TimeoutUsageError, ToolGuardError, TooManyOrphansError
from actguard.pipeline.target import target_of
from actguard.tools import timeout as timed

SECONDS = 10.0
"""What should come at once may take so long on a busy machine."""


@pytest.fixture(scope="module")
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4, "pool") as pool:
        yield pool


@pytest.fixture(params=["thread", "pool", "here"])
def way(request: pytest.FixtureRequest, pool: ThreadPoolExecutor) -> dict[str, Any]:
    """Options by which a synchronous function runs on a thread of ours, in a pool, or where it is."""
    ways: dict[str, dict[str, Any]] = {"thread": {}, "pool": {"executor": pool}, "here": {"thread": "none"}}
    return ways[request.param]


@pytest.fixture(params=["thread", "pool"])
def elsewhere(request: pytest.FixtureRequest, pool: ThreadPoolExecutor) -> dict[str, Any]:
    return {} if request.param == "thread" else {"executor": pool}


def refused(function: Any, *args: Any, error: type[Any] = ToolTimeoutError) -> Any:
    with pytest.raises(error) as caught:
        function(*args)
    return caught.value


# ---- the time that is left ----


def test_a_call_knows_what_is_left_of_its_time_and_nobody_else_does(way: Any) -> None:
    left = timeout(60, **way)(actguard.remaining)()
    assert left is not None
    assert 50 < left <= 60
    assert actguard.remaining() is None


@pytest.mark.parametrize(("outer", "inner"), [(60, 3600), (3600, 60)])
def test_of_two_times_the_nearer_end_counts(way: Any, outer: float, inner: float) -> None:
    left = timeout(outer, **way)(timeout(inner, **way)(actguard.remaining))()
    assert left is not None
    assert 50 < left <= 60


def test_behind_a_timed_call_the_time_of_the_one_around_it_counts_again(way: Any) -> None:
    inner = timeout(5, **way)(actguard.remaining)
    left = timeout(60, **way)(lambda: (inner(), actguard.remaining()))()

    assert left[0] <= 5
    assert 50 < left[1] <= 60


async def test_behind_a_timed_coroutine_or_item_the_time_of_the_call_around_counts_again() -> None:
    @timeout(5)
    async def call() -> float | None:
        return actguard.remaining()

    @timeout(5)
    async def items(*numbers: int, more: int) -> AsyncIterator[int]:
        for number in (*numbers, more):
            yield number

    @timeout(60)
    async def around() -> list[float | None]:
        left = [await call(), actguard.remaining()]
        assert [item async for item in items(1, 2, more=3)] == [1, 2, 3]
        return [*left, actguard.remaining()]

    first, *later = await around()
    assert first is not None
    assert first <= 5
    assert all(left is not None and 50 < left <= 60 for left in later)


async def test_coroutines_and_generators_know_it_too() -> None:
    @timeout(60)
    async def call() -> float | None:
        return actguard.remaining()

    @timeout(3600)
    async def longer() -> float | None:
        return await call()

    @timeout(60)
    async def items() -> AsyncIterator[float | None]:
        yield actguard.remaining()

    @timeout(60)
    def awaited() -> Any:
        return call()

    found: list[float | None] = [await call(), await longer(), await awaited(), *[item async for item in items()]]
    for left in found:
        assert left is not None
        assert 50 < left <= 60
    assert actguard.remaining() is None


def test_a_call_gets_its_arguments_and_sees_what_surrounds_it(way: Any, run: Any) -> None:
    @timeout(60, **way)
    def call(one: int, *more: int, two: int = 2, **named: int) -> Any:
        return (one, more, two, named, current_frame().run)

    assert call(1, 3, 4, two=5, six=6) == (1, (3, 4), 5, {"six": 6}, run)
    assert call(1) == (1, (), 2, {}, run)


def test_where_a_call_runs_is_said_by_its_options(pool: ThreadPoolExecutor) -> None:
    assert timeout(60)(threading.current_thread)().name == "actguard-timeout"
    assert timeout(60, pool)(threading.current_thread)().name.startswith("pool")
    assert timeout(60, thread="none")(threading.current_thread)() is threading.current_thread()


def test_an_error_of_the_call_is_its_own(way: Any) -> None:
    for error in (LookupError("mine"), TimeoutError("mine"), actguard.ToolExecutionError("mine", "MINE")):

        @timeout(60, **way)
        def fail(error: Exception = error) -> None:
            raise error

        assert refused(fail, error=type(error)) is error


# ---- given up ----


def test_a_call_that_was_given_up_still_runs_and_its_end_is_told(elsewhere: Any, run: Any) -> None:
    ended: queue.Queue[Any] = queue.Queue()
    gate = threading.Event()
    broken = LookupError("in the end")

    @timeout(1, **elsewhere, on_orphan=ended.put, max_orphans=1)
    def hang(fails: bool = False) -> str:
        gate.wait(SECONDS)
        if fails:
            raise broken
        return "done"

    for fails, outcome in ((False, "done"), (True, broken)):
        error = refused(hang, fails)
        assert (error.tool_name, error.timeout_s, error.run_id) == ("hang", 1, "run-1")
        assert (error.started, error.still_running) == (True, True)
        assert ended.empty()
        too_many = refused(hang, error=TooManyOrphansError)
        assert (too_many.tool, too_many.guard) == ("hang", "timeout")
        gate.set()
        assert ended.get(timeout=SECONDS) == outcome
        assert hang() == "done"
        gate.clear()


def test_a_call_that_did_not_begin_in_time_never_does(run: Any) -> None:
    gate, began = threading.Event(), threading.Event()
    told: list[Any] = []
    with ThreadPoolExecutor(1) as full:
        full.submit(gate.wait, SECONDS)
        error = refused(timeout(0.05, full, on_orphan=told.append, max_orphans=1)(began.set))
        assert (error.started, error.still_running, error.guard) == (False, False, "timeout")
        assert error.tool_name == error.tool
        gate.set()
    assert not began.is_set()
    assert told == []


def test_a_pool_that_is_shut_down_runs_nothing() -> None:
    over = ThreadPoolExecutor(1)
    over.shutdown()
    error = refused(timeout(5, over)(print), error=ToolGuardError)
    assert (error.code, error.retryable, error.tool, error.guard) == ("NO_THREAD", True, "print", "timeout")


def test_a_call_that_stays_on_its_thread_is_told_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(timed, "time", SimpleNamespace(monotonic=lambda: now[0]))

    @timeout(5, thread="none")
    def take(seconds: float) -> float:
        now[0] += seconds
        return seconds

    assert take(4.9) == 4.9
    assert take(5) == 5
    error = refused(take, 5.1)
    assert (error.tool_name, error.timeout_s, error.started, error.still_running) == ("take", 5, True, False)


async def test_what_a_call_returns_to_be_awaited_has_the_rest_of_its_time(way: Any) -> None:
    @timeout(1, **way)
    def later(seconds: float) -> Any:
        return asyncio.sleep(seconds, "done")

    assert await later(0) == "done"
    with pytest.raises(ToolTimeoutError) as late:
        await later(60)
    assert (late.value.tool_name, late.value.timeout_s, late.value.still_running) == ("later", 1, False)


async def test_an_error_about_a_call_further_in_is_not_about_this_one(way: Any) -> None:
    inner = ActGuardToolError("inner", "INNER")
    inner.unstarted = "somebody"

    @timeout(60, **way)
    def call() -> None:
        raise inner

    @timeout(60)
    async def acall() -> None:
        inner.unstarted = "somebody"
        raise inner

    if way.get("thread") != "none":
        assert refused(call, error=ActGuardToolError).unstarted is None
    with pytest.raises(ActGuardToolError) as caught:
        await acall()
    assert caught.value.unstarted is None


# ---- threads, by hand ----


def test_to_shut_down_waits_for_calls_that_run_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    stopped: list[int] = []
    monkeypatch.setattr(timed, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))
    workers = SimpleNamespace(busy=1, stop=lambda: stopped.append(1))
    monkeypatch.setattr(timed, "_workers", workers)
    actguard.shutdown(wait=False)
    assert (slept, stopped) == ([], [1])
    actguard.shutdown()
    assert sum(slept) == pytest.approx(5, abs=0.02)
    assert stopped == [1, 1]
    slept.clear()
    workers.busy = 0
    actguard.shutdown()
    assert (slept, stopped) == ([], [1, 1, 1])


def test_timed_functions_go_on_working_after_it() -> None:
    call = timeout(60)(threading.current_thread)
    first = call()
    actguard.shutdown()
    first.join(SECONDS)
    assert not first.is_alive()
    assert call().is_alive()


# ---- options ----


def test_the_longest_time_is_what_a_thread_can_wait_for() -> None:
    assert timeout(threading.TIMEOUT_MAX)(lambda: 1)() == 1
    with pytest.raises(TimeoutUsageError) as wrong:
        timeout(threading.TIMEOUT_MAX * 1.001)
    assert wrong.value.argument == "seconds"
    assert timeout(1, grace=0).grace == 0
    assert timeout(1).bind(target_of(lambda: 1)).bound_s == 1


def test_a_generator_that_runs_on_its_consumer_s_thread_cannot_be_left() -> None:
    def items() -> Iterator[int]:
        yield 1

    with pytest.raises(TimeoutUsageError) as wrong:
        timeout(5)(items)
    assert wrong.value.argument == "seconds"


@pytest.mark.parametrize("pooled", [False, True])
def test_a_call_that_was_given_less_time_by_one_around_it_says_how_much(pooled):
    gate, pool = threading.Event(), ThreadPoolExecutor(1)
    elsewhere = {"executor": pool} if pooled else {}
    inner = timeout(20, **elsewhere)(lambda: gate.wait(5))
    outer = timeout(0.05, thread="none")(lambda: inner())

    error = refused(outer)

    gate.set()
    pool.shutdown()
    assert 0 < error.timeout_s <= 0.05
    assert "20 seconds" not in str(error)
