"""A Redis of their own for the tests of the stores; without one they are skipped, and say so."""

from collections.abc import Iterator

import pytest

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


STORES = ("memory", "redis", "redis-async")


@pytest.fixture(params=STORES)
def here(request: pytest.FixtureRequest) -> Iterator[Here]:
    """An empty store of each kind, and its clock."""
    clock = Clock()
    if request.param == "memory":
        yield Here(MemoryStore(clock=clock), clock)
        return
    shared = RedisStore(request.getfixturevalue("redis_url"), now=clock.micros, timeout_s=10)
    store = Awaited(shared.aio) if request.param == "redis-async" else shared
    yield Here(store, clock)
    store.close()
