"""A Redis of their own for the tests of the stores; without one they are skipped, and say so."""

from collections.abc import Iterator
from typing import Any

import pytest

from actguard.stores.durable import DurableStore
from actguard.stores.memory import MemoryStore
from actguard.stores.redis import RedisStore
from tests.stores.places import Awaited, Clock, Here
from tests.stores.redis_server import NoServer, RedisServer, running_redis


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """One server for all tests of a worker. Each test leaves it running; its keys are flushed between tests."""
    try:
        with running_redis() as server:
            yield server
    except NoServer as missing:
        pytest.skip(str(missing))


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """An empty database."""
    import redis

    with redis.Redis.from_url(redis_server.url) as connection:
        connection.flushall()
    return redis_server.url


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A server of this one test, to stop, kill and freeze."""
    try:
        with running_redis() as server:
            yield server
    except NoServer as missing:
        pytest.skip(str(missing))


@pytest.fixture(params=["memory", "redis", "redis-async"])
def here(request: pytest.FixtureRequest) -> Iterator[Here]:
    """An empty store of each kind, and its clock."""
    yield from _store(request)


@pytest.fixture(params=["memory", "redis", "redis-async", "durable"])
def records(request: pytest.FixtureRequest) -> Iterator[Here]:
    """The same, and the one that keeps idempotency records only."""
    yield from _store(request)


def _store(request: pytest.FixtureRequest) -> Iterator[Here]:
    clock = Clock()
    store: Any
    if request.param == "memory":
        store = MemoryStore(clock=clock)
    elif request.param == "durable":
        store = DurableStore(request.getfixturevalue("tmp_path") / "records.db", clock=clock)
    else:
        store = RedisStore(request.getfixturevalue("redis_url"), now=clock.micros, timeout_s=10)
        if request.param == "redis-async":
            store = Awaited(store.aio)
    yield Here(store, clock)
    store.close()
