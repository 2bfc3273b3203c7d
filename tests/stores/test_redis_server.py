"""The server that the other tests of this folder lean on."""

import pytest
import redis

from tests.stores.redis_server import RedisServer


def test_a_server_forgets_what_it_knew_when_it_starts_again(own_redis: RedisServer) -> None:
    connection = redis.Redis.from_url(own_redis.url, decode_responses=True)
    connection.set("a", "1")

    own_redis.stop()
    with pytest.raises(redis.ConnectionError):
        redis.Redis(port=own_redis.port, retry=None).ping()
    own_redis.start()

    assert connection.get("a") is None


def test_nothing_is_kept_on_disk(own_redis: RedisServer) -> None:
    redis.Redis.from_url(own_redis.url).set("a", "1")

    own_redis.stop()

    assert [path.name for path in own_redis.folder.iterdir()] == ["redis.log"]
