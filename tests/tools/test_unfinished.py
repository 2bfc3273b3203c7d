"""Calls that do not end as calls do: results that nobody asks for, stores without room, callbacks that fail."""

import asyncio
import gc
import threading
import time

import pytest

import actguard
from actguard import IdempotencyOutcomeUnknown, circuit_breaker, circuits, concurrency, idempotent, timeout
from actguard.tools import timeout as timeouts


def until(true, seconds=20):
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.005)
    return true()


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
@pytest.mark.parametrize("kind", ["generator", "awaitable", "async generator"])
def test_a_result_that_nobody_asks_for_frees_its_place(kind):
    async def soon():
        return 1

    async def items():
        yield 1

    make = {"generator": lambda: (n for n in range(3)), "awaitable": soon, "async generator": items}[kind]

    @concurrency(limit=1)
    def call():
        return make()

    for _ in range(3):
        result = call()
        with pytest.raises(actguard.ConcurrencyExceeded):
            call()
        del result
        gc.collect()


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
def test_a_key_whose_result_nobody_asked_for_reads_unknown(run):
    @idempotent()
    def pay(idempotency_key):
        async def later():
            return 1

        return later()

    pay("a")
    gc.collect()
    with pytest.raises(IdempotencyOutcomeUnknown):
        pay("a")


def test_a_generator_that_was_asked_for_is_told_of_once(run):
    @concurrency(limit=1)
    def call():
        return (n for n in range(3))

    items = call()
    assert next(items) == 0
    del items
    gc.collect()
    assert list(call()) == [0, 1, 2]
    assert list(call()) == [0, 1, 2]


def test_the_error_of_a_function_is_not_replaced_by_that_of_a_full_store():
    store = actguard.MemoryStore(max_keys=16, clock=lambda: 0.0)
    for number in range(200):
        try:
            store.admit([actguard.stores.protocol.CounterTake(f"k{number}", 1, 60.0)])
        except actguard.StoreFullError:
            continue
    actguard.configure(store=store)

    @circuit_breaker(name="full", max_fails=1)
    def call():
        raise ConnectionError("mine")

    with pytest.raises(ConnectionError, match="mine"):
        call()
    assert circuits.state("full").state == "closed"


def test_who_is_told_of_an_orphan_and_fails_costs_no_thread():
    told, go = [], threading.Event()

    def on_orphan(outcome):
        told.append(outcome)
        raise KeyError(outcome)

    @timeout(1, on_orphan=on_orphan)  # for it to begin, also where many want to
    def hang():
        go.wait(20)
        return 7

    busy = timeouts._workers.busy
    with pytest.raises(actguard.ToolTimeoutError):
        hang()
    go.set()
    assert until(lambda: told == [7])
    assert until(lambda: timeouts._workers.busy <= busy)


def test_a_call_that_no_thread_could_be_found_for_is_not_counted_as_running(monkeypatch):
    @timeout(1)
    def call():
        return 1

    timeouts._workers.stop()
    busy = timeouts._workers.busy
    monkeypatch.setattr(threading.Thread, "start", lambda self: (_ for _ in ()).throw(RuntimeError("no more threads")))
    with pytest.raises(actguard.ToolGuardError, match="no more threads") as refused:
        call()
    assert refused.value.code == "NO_THREAD"
    assert timeouts._workers.busy == busy


async def test_a_generator_that_is_closed_before_it_began_frees_its_place():
    async def items():
        yield 1

    @concurrency(limit=1)
    def call():
        return items()

    for _ in range(3):
        result = call()
        await result.aclose()
        del result
        gc.collect()
        await asyncio.sleep(0)


async def collected(items):
    return [item async for item in items] if hasattr(items, "__aiter__") else list(items)


async def test_a_generator_whose_arguments_do_not_fit_frees_its_place():
    @concurrency(limit=1)
    def items(one):
        yield one

    @concurrency(limit=1)
    async def later_items(one):
        yield one

    for function in (items, later_items):
        with pytest.raises(TypeError, match="missing 1 required positional argument"):
            await collected(function())
        assert await collected(function(1)) == [1]


async def test_a_generator_that_outlives_its_session_frees_its_place():
    @concurrency(limit=1)
    @actguard.prove("number", "id")
    def items():
        return (each for each in [{"id": 1}])

    @concurrency(limit=1)
    @actguard.prove("number", "id")
    def later_items():
        async def make():
            yield {"id": 1}

        return make()

    for function in (items, later_items):
        with actguard.session():
            late = function()
        with pytest.raises(actguard.GuardError) as refused:
            await collected(late)
        assert refused.value.code == "NO_SESSION"
        with actguard.session():
            assert await collected(function()) == [{"id": 1}]
