"""Redis goes away in the middle, and comes back: what guarded tools do, with nobody helping."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

import actguard
from actguard.context import Frame, Run, inside
from actguard.stores.redis import RedisStore
from actguard.tools.circuit_breaker import circuits
from tests.stores.redis_server import RedisServer

PATIENCE = 20  # seconds for what should take one or two


@pytest.fixture
def store(own_redis: RedisServer) -> Iterator[RedisStore]:
    """The configured store, inside a run."""
    store = RedisStore(own_redis.url, timeout_s=0.3, connect_timeout_s=0.3)
    before = actguard.configure(store=store)
    with inside(Frame(run=Run("run-1"))):
        yield store
    actguard.configure(store=before.store)
    for name in tuple(circuits):
        circuits.forget(name)
    store.close()


def refused(call: Callable[[], Any]) -> str | None:
    """By which error, if at all."""
    try:
        call()
    except actguard.ActGuardError as error:
        return type(error).__name__
    return None


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not recover"
        time.sleep(0.05)  # a real server comes back


@actguard.rate_limit(max_calls=2, period=3600, name="outage-search")
def search() -> str:
    return "found"


@actguard.idempotent(scope="global")
def pay(amount: int, idempotency_key: str) -> int:
    return amount


@actguard.idempotent(scope="global", on_store_error="open")
def remind(idempotency_key: str) -> str:
    return "reminded"


def test_a_rate_goes_on_in_this_process_and_is_shared_again(
    own_redis: RedisServer, store: RedisStore, caplog: pytest.LogCaptureFixture
) -> None:
    assert search() == "found"
    own_redis.stop()

    with caplog.at_level(logging.WARNING, "actguard"):
        assert [refused(search) for _ in range(4)] == [None, None, "RateLimitExceeded", "RateLimitExceeded"]
        own_redis.start()

        def shared_again() -> bool:
            refused(search)
            with redis.Redis.from_url(own_redis.url) as beside:
                return beside.dbsize() > 0

        until(shared_again)

    assert len([record for record in caplog.records if "did not answer" in record.message]) == 1
    assert len([record for record in caplog.records if "The store answers again" in record.message]) == 1


def test_what_must_run_once_is_refused_until_the_store_answers(own_redis: RedisServer, store: RedisStore) -> None:
    assert pay(1, idempotency_key="a") == 1
    own_redis.kill()

    with pytest.raises(actguard.StoreUnavailableError, match=r"127\.0\.0\.1"):
        pay(2, idempotency_key="b")
    own_redis.start()

    until(lambda: refused(lambda: pay(2, idempotency_key="b")) is None)


def test_an_open_guard_lets_calls_pass(own_redis: RedisServer, store: RedisStore) -> None:
    own_redis.stop()

    assert [remind(idempotency_key="a") for _ in range(3)] == ["reminded"] * 3


def test_a_circuit_goes_on_in_this_process(own_redis: RedisServer, store: RedisStore) -> None:
    @actguard.circuit_breaker(name="outage-mail", max_fails=2, reset_timeout=3600)
    def send() -> None:
        raise ConnectionError

    def attempt() -> str:
        try:
            send()
        except (ConnectionError, actguard.CircuitOpenError) as error:
            return type(error).__name__
        raise AssertionError

    assert attempt() == "ConnectionError"
    own_redis.stop()

    assert [attempt() for _ in range(4)] == [
        "ConnectionError",
        "ConnectionError",
        "CircuitOpenError",
        "CircuitOpenError",
    ]


def test_a_result_is_returned_though_it_cannot_be_written_and_is_written_later(
    own_redis: RedisServer, store: RedisStore
) -> None:
    """The server hangs while the body runs, and comes back with what it knew."""

    @actguard.idempotent(scope="global")
    def send(idempotency_key: str) -> str:
        own_redis.freeze()
        return "sent"

    assert send(idempotency_key="a") == "sent"
    own_redis.thaw()
    until(lambda: refused(search) != "StoreUnavailableError" and bool(store.list_idempotency(state="done")))

    assert send(idempotency_key="a") == "sent"  # not run again: it would have frozen the server
    assert store.list_idempotency()[0].state == "done"


def test_a_key_that_a_hanging_server_took_for_a_refused_call_is_free_again(
    own_redis: RedisServer, store: RedisStore
) -> None:
    search()
    own_redis.freeze()
    with pytest.raises(actguard.StoreUnavailableError):
        pay(1, idempotency_key="a")
    own_redis.thaw()

    until(lambda: refused(lambda: pay(1, idempotency_key="a")) is None)


def test_a_server_that_hangs_costs_one_timeout_and_no_more(own_redis: RedisServer, store: RedisStore) -> None:
    search()
    own_redis.freeze()
    begun = time.monotonic()
    for _ in range(20):
        remind(idempotency_key="a")
    took = time.monotonic() - begun
    own_redis.thaw()

    assert took < 20 * 0.3 / 2


async def test_an_event_loop_goes_on_while_the_server_hangs(own_redis: RedisServer, store: RedisStore) -> None:
    @actguard.idempotent(scope="global")
    async def send(idempotency_key: str) -> str:
        return "sent"

    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    assert await send(idempotency_key="warm") == "sent"
    own_redis.freeze()
    ticking = asyncio.create_task(tick())
    with pytest.raises(actguard.StoreUnavailableError):
        await send(idempotency_key="a")
    ticking.cancel()
    own_redis.thaw()
    seen = ticks

    deadline = time.monotonic() + PATIENCE
    while await asyncio.gather(send(idempotency_key="a"), return_exceptions=True) != ["sent"]:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    assert await send(idempotency_key="a") == "sent"
    assert seen >= 5
    assert store.aio is not None
    await store.aio.aclose()


def test_calls_from_many_threads_survive_a_restart(own_redis: RedisServer, store: RedisStore) -> None:
    @actguard.rate_limit(max_calls=1_000_000, period=3600, name="outage-many")
    def work() -> int:
        return 1

    errors: list[BaseException] = []
    done = threading.Event()
    calls = [0] * 4

    def loop(number: int) -> None:
        while not done.is_set():
            try:
                calls[number] += work()
            except BaseException as error:
                errors.append(error)

    threads = [threading.Thread(target=loop, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    until(lambda: min(calls) > 10)
    own_redis.kill()
    seen = list(calls)
    until(lambda: all(now > then + 10 for now, then in zip(calls, seen, strict=True)))
    own_redis.start()

    def is_shared() -> bool:
        with redis.Redis.from_url(own_redis.url) as beside:
            return beside.dbsize() > 0

    until(is_shared)
    done.set()
    for thread in threads:
        thread.join(PATIENCE)

    assert errors == []
