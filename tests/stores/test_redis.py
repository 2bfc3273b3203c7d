"""What is particular to Redis: requests, connections, memory, clusters, and how it is set up."""

import asyncio
import gc
import json
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
import redis.asyncio

import actguard
from actguard.context import Frame, Run, inside
from actguard.exceptions import ActGuardUsageError, StoreFullError, StoreUnavailableError
from actguard.stores.protocol import (
    Admitted,
    BreakerAcquire,
    BreakerRecord,
    BreakerRules,
    Counted,
    CounterTake,
    IdempotencyBegin,
    IdempotencyDone,
    LeaseTake,
    Limit,
    OverLimit,
    RateTake,
    Refused,
    UsedUp,
)
from actguard.stores.redis import RedisStore
from actguard.tools.circuit_breaker import circuits
from tests.stores.redis_server import NoServer, RedisServer, running_redis

COUNT = CounterTake("attempts", 1000, 60.0)
SECRET = "hunter2-very-secret"


@pytest.fixture
def store(redis_url: str) -> Iterator[RedisStore]:
    store = RedisStore(redis_url, timeout_s=10)
    yield store
    store.close()


@pytest.fixture
def beside(redis_url: str) -> Iterator[Any]:
    """A connection that looks at what the store wrote."""
    with redis.Redis.from_url(redis_url) as connection:
        yield connection


def commands(beside: Any) -> dict[str, int]:
    """What was sent by clients since the last look, without what scripts do inside."""
    counted = beside.info("commandstats")
    beside.config_resetstat()
    sent = ("evalsha", "eval", "get", "set", "script|load", "ping", "client|setinfo")
    return {name: counted[f"cmdstat_{name}"]["calls"] for name in sent if f"cmdstat_{name}" in counted}


# ---- requests -------------------------------------------------------------------------------------------------------


@pytest.fixture
def shared(store: RedisStore) -> Iterator[None]:
    """What the guards of a test keep is in the shared store, and their circuit "one-round-trip" is gone after it."""
    before = actguard.configure(store=store)
    yield
    actguard.configure(store=before.store)
    circuits.forget("one-round-trip")


@pytest.fixture
def pay(shared: None) -> Callable[..., Any]:
    """A tool with all the guards that keep something, in the shared store."""

    @actguard.tool(
        idempotent={"scope": "global"},
        max_attempts={"calls": 1000},
        circuit_breaker={"name": "one-round-trip"},
        rate_limit={"max_calls": 1000, "period": 60},
        concurrency=10,
    )
    def pay(amount: int, idempotency_key: str) -> int:
        return amount

    return pay


def test_a_tool_with_every_guard_makes_one_request_before_its_body_and_one_after(
    pay: Callable[..., Any], beside: Any
) -> None:
    with inside(Frame(run=Run("run-1"))):
        pay(1, idempotency_key="first")
        commands(beside)
        for number in range(20):
            pay(1, idempotency_key=f"key-{number}")
        assert commands(beside) == {"evalsha": 40}
        pay(1, idempotency_key="key-1")
        assert commands(beside) == {"evalsha": 1}  # a duplicate has nothing to report


def test_a_rate_limited_tool_makes_one_request(store: RedisStore, beside: Any) -> None:
    @actguard.rate_limit(max_calls=1000, period=60, store=store)
    def search() -> int:
        return 1

    search()
    commands(beside)
    for _ in range(20):
        search()

    assert commands(beside) == {"evalsha": 20}


@pytest.mark.parametrize(
    ("guards", "requests"),
    [
        (
            {
                "rate_limit": {"max_calls": 1000},
                "max_attempts": {"calls": 1000},
                "circuit_breaker": {"name": "one-round-trip"},
                "timeout": 30,
            },
            1,
        ),
        ({"idempotent": {"scope": "global"}}, 2),
        ({"concurrency": 10}, 2),
        ({"circuit_breaker": {"name": "one-round-trip", "failure_rate": 0.5}}, 2),
    ],
)
def test_what_is_known_only_after_the_body_takes_a_second_request(
    shared: None, beside: Any, guards: dict[str, Any], requests: int
) -> None:
    @actguard.tool(**guards)
    def pay(amount: int, idempotency_key: str) -> int:
        return amount

    with inside(Frame(run=Run("run-1"))):
        pay(1, idempotency_key="first")
        commands(beside)
        for number in range(20):
            pay(1, idempotency_key=f"key-{number}")

    assert commands(beside) == {"evalsha": 20 * requests}


def test_a_server_that_does_not_know_the_script_is_given_it(store: RedisStore, beside: Any) -> None:
    store.admit([COUNT])
    beside.script_flush()
    commands(beside)

    assert store.admit([COUNT]) == Admitted((Counted(2),))
    assert store.admit([COUNT]) == Admitted((Counted(3),))
    assert commands(beside) == {"evalsha": 2, "eval": 1}


async def test_an_asynchronous_request_gives_it_too(store: RedisStore, beside: Any) -> None:
    assert store.aio is not None
    await store.aio.admit([COUNT])
    beside.script_flush()

    assert await store.aio.admit([COUNT]) == Admitted((Counted(2),))
    await store.aio.aclose()


def test_the_scripts_are_few_and_of_one_text_each(store: RedisStore, beside: Any) -> None:
    for number in range(50):
        store.admit(
            [CounterTake(f"key-{number}", number + 1, 60), RateTake(f"key-{number}", (Limit(number + 1, 9.0),))]
        )

    assert beside.info("memory")["number_of_cached_scripts"] < 20


# ---- memory ---------------------------------------------------------------------------------------------------------


def everything(key: str, seconds: float) -> list[Any]:
    rules = BreakerRules(idle_s=seconds, probe_lease_s=seconds)
    return [
        IdempotencyBegin(key, "me", seconds, seconds),
        CounterTake(key, 5, seconds),
        RateTake(key, tuple(Limit(2, seconds, algorithm) for algorithm in ("sliding", "gcra", "fixed"))),  # type: ignore[arg-type]
        LeaseTake(key, "me", 3, seconds),
        BreakerAcquire(key, rules, "me"),
    ]


def test_every_key_says_when_it_goes(store: RedisStore, beside: Any) -> None:
    steps = everything("key", 60)
    permit = store.admit(steps).receipts[-1]  # type: ignore[union-attr]
    store.finish([BreakerRecord("key", steps[-1].rules, "me", permit.generation, "failure", 30.0)])  # type: ignore[union-attr]
    store.finish([IdempotencyDone("key", "me", 60, "1")])
    store.admit(steps[1:4])
    store.admit(steps[2:4])

    left = {key: beside.pttl(key) for key in beside.scan_iter()}
    assert len(left) == 7
    assert all(0 < milliseconds <= 121_000 for milliseconds in left.values()), left


def test_what_is_over_goes_without_being_asked_for(store: RedisStore, beside: Any) -> None:
    for number in range(100):
        permit = store.admit(everything(f"key-{number}", 0.05)).receipts[-1]  # type: ignore[union-attr]
        rules = BreakerRules(idle_s=0.05)
        store.finish([BreakerRecord(f"key-{number}", rules, "me", permit.generation, "failure")])  # type: ignore[union-attr]
    deadline = time.monotonic() + 20
    while beside.dbsize() and time.monotonic() < deadline:
        time.sleep(0.05)  # the server's own sweep

    assert beside.dbsize() == 0


@pytest.mark.parametrize(
    "new",
    [
        CounterTake("b", 1, 60),
        RateTake("b", (Limit(1, 60.0),)),
        RateTake("b", (Limit(1, 60.0, "gcra"),)),
        RateTake("b", (Limit(1, 60.0, "fixed"),)),
        IdempotencyBegin("b", "me", 60.0, 60.0),
    ],
    ids=["attempts", "sliding", "gcra", "fixed", "record"],
)
def test_a_full_server_takes_no_new_key_and_forgets_none(own_redis: RedisServer, new: Any) -> None:
    store = RedisStore(own_redis.url)
    store.admit([CounterTake("a", 1, 60)])
    with redis.Redis.from_url(own_redis.url) as beside:
        beside.config_set("maxmemory", "1")

        with pytest.raises(StoreFullError, match="no memory left"):
            store.admit([new])
        beside.config_set("maxmemory", "0")
        assert not beside.keys("*b*")
    assert store.admit([CounterTake("a", 1, 60)]) == Refused(0, UsedUp(1, 1))
    store.close()


# ---- the server's clock ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["sliding", "gcra"])
def test_a_clock_that_is_put_back_lifts_no_limit_and_blocks_for_one_period_at_most(
    redis_url: str, algorithm: Any
) -> None:
    now = [1_700_000_000_000_000]
    store = RedisStore(redis_url, now=lambda: now[0])
    step = RateTake("key", (Limit(2, 10.0, algorithm),))
    store.admit([step]), store.admit([step])

    now[0] -= 3_600_000_000
    refused = store.admit([step])
    assert isinstance(refused, Refused)
    assert isinstance(refused.refusal, OverLimit)
    assert refused.refusal.retry_after <= 10.001
    now[0] += 10_001_000
    assert isinstance(store.admit([step]), Admitted)
    assert isinstance(store.admit([step]), Admitted)
    assert isinstance(store.admit([step]), Refused)
    store.close()


def test_an_open_circuit_stays_open_no_longer_than_its_time_when_the_clock_is_put_back(redis_url: str) -> None:
    now = [1_700_000_000_000_000]
    store = RedisStore(redis_url, now=lambda: now[0])
    rules = BreakerRules(max_fails=1, reset_timeout=5.0)
    store.finish([BreakerRecord("mail", rules, "me", 0, "failure")])
    now[0] -= 3_600_000_000

    assert store.admit([BreakerAcquire("mail", rules, "me")]).refusal.retry_after == pytest.approx(5.0)  # type: ignore[union-attr]
    now[0] += 5_000_000
    assert isinstance(store.admit([BreakerAcquire("mail", rules, "me")]), Admitted)
    store.close()


def test_time_is_the_servers(store: RedisStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client whose clock is wrong changes nothing."""
    step = RateTake("key", (Limit(1, 30.0),))
    store.admit([step])
    real = time.time()
    monkeypatch.setattr(time, "time", lambda: real + 86_400)
    monkeypatch.setattr(time, "monotonic", lambda: real + 86_400)

    assert isinstance(store.admit([step]), Refused)


# ---- connections ----------------------------------------------------------------------------------------------------


def test_no_connection_is_made_before_it_is_needed() -> None:
    RedisStore("redis://127.0.0.1:1/0").close()


def test_threads_share_a_store(store: RedisStore) -> None:
    def work() -> None:
        for _ in range(50):
            store.admit([COUNT])

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert store.admit([COUNT]) == Admitted((Counted(401),))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_has_a_connection_of_its_own(store: RedisStore) -> None:
    store.admit([COUNT])
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        counted = [store.admit([COUNT]).receipts[0].used for _ in range(50)]  # type: ignore[union-attr]
        os.write(writing, json.dumps(counted).encode())
        os._exit(0)
    os.close(writing)
    mine = [store.admit([COUNT]).receipts[0].used for _ in range(50)]  # type: ignore[union-attr]
    with open(reading) as pipe:
        childs = json.load(pipe)
    os.waitpid(child, 0)

    assert sorted(mine + childs) == list(range(2, 102))


def test_each_event_loop_has_connections_of_its_own(store: RedisStore) -> None:
    async def ask() -> Any:
        assert store.aio is not None
        return await store.aio.admit([COUNT])

    answers = [asyncio.run(ask()) for _ in range(3)]

    assert answers == [Admitted((Counted(number),)) for number in (1, 2, 3)]


def test_a_loop_that_ends_closes_its_connections(store: RedisStore, beside: Any) -> None:
    async def ask() -> None:
        assert store.aio is not None
        await asyncio.gather(*(store.aio.admit([COUNT]) for _ in range(10)))

    before = beside.info("clients")["connected_clients"]
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        asyncio.run(ask())
        gc.collect()

    deadline = time.monotonic() + 10
    while beside.info("clients")["connected_clients"] > before and time.monotonic() < deadline:
        time.sleep(0.01)  # the server notices
    assert beside.info("clients")["connected_clients"] == before


async def test_a_cancelled_request_leaves_no_answer_for_the_next_one(store: RedisStore, beside: Any) -> None:
    aio = store.aio
    assert aio is not None
    await aio.admit([COUNT])
    for _ in range(20):
        asking = asyncio.create_task(aio.admit([CounterTake("other", 1000, 60)]))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        before = (await aio.admit([COUNT])).receipts[0].used  # type: ignore[union-attr]
        assert (await aio.admit([COUNT])).receipts[0].used == before + 1  # type: ignore[union-attr]
    await aio.aclose()


async def test_many_tasks_wait_for_connections_instead_of_failing(redis_url: str) -> None:
    store = RedisStore(redis_url, max_connections=2, timeout_s=10)
    assert store.aio is not None

    answers = await asyncio.gather(*(store.aio.admit([COUNT]) for _ in range(50)))

    assert sorted(answer.receipts[0].used for answer in answers) == list(range(1, 51))  # type: ignore[union-attr]
    await store.aio.aclose()


# ---- namespaces and clusters ----------------------------------------------------------------------------------------


def test_namespaces_share_nothing(redis_url: str) -> None:
    one, other = RedisStore(redis_url, namespace="one"), RedisStore(redis_url, namespace="other")
    step = CounterTake("key", 1, 60)

    assert one.admit([step]) == other.admit([step]) == Admitted((Counted(1),))
    assert one.forget("counter", "") == 1
    assert isinstance(other.admit([step]), Refused)


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisServer]:
    """A cluster of one node, which refuses what a larger one would."""
    try:
        with running_redis("--cluster-enabled", "yes") as server:
            with redis.Redis(port=server.port) as connection:
                connection.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
                deadline = time.monotonic() + 20
                while connection.execute_command("CLUSTER INFO")["cluster_state"] != "ok":
                    assert time.monotonic() < deadline
                    time.sleep(0.01)
            yield server
    except NoServer as missing:
        pytest.skip(str(missing))


def test_all_keys_of_a_call_are_in_one_slot_of_a_cluster(cluster: RedisServer) -> None:
    client = redis.RedisCluster(host="127.0.0.1", port=cluster.port)
    store = RedisStore(client=client)

    for number in range(20):
        assert isinstance(store.admit(everything(f"key-{number}", 60)), Admitted)
    assert len(store.list_idempotency()) == 20
    assert store.forget("counter", "key-") == 20
    assert store.aio is None
    client.close()


async def test_a_cluster_is_reached_from_an_event_loop(cluster: RedisServer) -> None:
    def client() -> Any:
        return redis.asyncio.RedisCluster(host="127.0.0.1", port=cluster.port)

    store = RedisStore(
        client=redis.RedisCluster(host="127.0.0.1", port=cluster.port), async_client=client, namespace="aio"
    )
    assert store.aio is not None

    assert isinstance(await store.aio.admit(everything("key", 60)), Admitted)
    assert await store.aio.forget("counter", "key") == 1
    await store.aio.aclose()


# ---- set up ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        ({}, "url"),
        ({"url": "http://localhost"}, "url"),
        ({"url": 1}, "url"),
        ({"url": "redis://localhost", "client": redis.Redis()}, "url"),
        ({"url": "redis://localhost", "timeout_s": 0}, "timeout_s"),
        ({"url": "redis://localhost", "timeout_s": float("nan")}, "timeout_s"),
        ({"url": "redis://localhost", "connect_timeout_s": True}, "connect_timeout_s"),
        ({"url": "redis://localhost", "max_connections": 0}, "max_connections"),
        ({"url": "redis://localhost", "namespace": ""}, "namespace"),
        ({"url": "redis://localhost", "namespace": 7}, "namespace"),
        ({"url": "redis://localhost", "namespace": "a{b}"}, "namespace"),
        ({"url": "redis://localhost", "async_client": redis.asyncio.Redis}, "async_client"),
        ({"url": "redis://localhost?decode_responses=True"}, "url"),
        ({"client": redis.Redis(decode_responses=True)}, "client"),
        ({"client": redis.asyncio.Redis()}, "client"),
        ({"client": "redis://localhost"}, "client"),
        ({"client": redis.Redis(), "async_client": 1}, "async_client"),
    ],
)
def test_a_wrong_option_is_refused_where_it_is_written(options: dict[str, Any], argument: str) -> None:
    with pytest.raises(ActGuardUsageError) as caught:
        RedisStore(**options)

    assert caught.value.argument == argument


@pytest.mark.parametrize(
    "make",
    [lambda: redis.asyncio.Redis(decode_responses=True), redis.Redis, lambda: None],
    ids=["decodes", "sync", "none"],
)
async def test_a_wrong_client_for_event_loops_is_refused_before_it_is_asked(make: Callable[[], Any]) -> None:
    store = RedisStore(client=redis.Redis(), async_client=make)
    assert store.aio is not None

    with pytest.raises(ActGuardUsageError) as caught:
        await store.aio.admit([COUNT])
    assert caught.value.argument == "async_client"


def test_a_client_of_ones_own_is_used_as_it_is(redis_url: str) -> None:
    client = redis.Redis.from_url(redis_url)
    store = RedisStore(client=client)

    assert store.admit([COUNT]) == Admitted((Counted(1),))
    store.close()
    assert client.ping()


def test_no_password_is_told(own_redis: RedisServer) -> None:
    with redis.Redis.from_url(own_redis.url) as beside:
        beside.config_set("requirepass", "another")
    wrong = RedisStore(f"redis://user:{SECRET}@127.0.0.1:{own_redis.port}/3")
    nobody = RedisStore(f"redis://user:{SECRET}@127.0.0.1:1/3")

    for store in (wrong, nobody):
        with pytest.raises(StoreUnavailableError) as caught:
            store.admit([COUNT])
        told = [
            str(caught.value),
            repr(caught.value),
            repr(store),
            str(caught.value.__cause__),
            caught.value.to_prompt(),
        ]
        assert not any(SECRET in text for text in [*told, json.dumps(caught.value.details)])
        assert "127.0.0.1" in str(caught.value)
