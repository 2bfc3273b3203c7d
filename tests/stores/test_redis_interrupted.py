"""Ctrl-C at every place of a call whose guards keep what they know in Redis: it is given back before the next call."""

from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from actguard import IdempotencyOutcomeUnknown, RedisStore, concurrency, idempotent
from actguard.tools.heartbeat import heartbeats
from tests.interrupted import interrupted_everywhere


@pytest.fixture
def store(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[RedisStore]:
    monkeypatch.setattr(heartbeats, "begin", lambda *lease: None)  # would come in between, each time elsewhere
    store = RedisStore(redis_url, timeout_s=5)
    yield store
    store.close()


def test_a_place_is_free_again(store: RedisStore) -> None:
    guarded: Callable[[], str] = concurrency(limit=1, store=store)(lambda: "done")
    guarded()

    for place in interrupted_everywhere(guarded):
        assert guarded() == "done", place


def test_a_key_is_free_again_unless_its_body_has_begun(store: RedisStore) -> None:
    begun: list[str] = []

    def charge(idempotency_key: str) -> str:
        begun.append(idempotency_key)
        return "done"

    def call() -> None:
        guarded(key)

    guarded = idempotent(scope="global", store=store)(charge)
    keys = map(str, range(10_000))
    guarded(next(keys))
    key = next(keys)
    just_called = 0
    for place in interrupted_everywhere(call):
        known = begun.count(key)
        with suppress(IdempotencyOutcomeUnknown):
            assert guarded(key) == "done", place
        assert known <= begun.count(key) <= 1, place
        just_called += not begun.count(key)
        key = next(keys)
    assert just_called <= 2  # where its body is being called, nobody knows whether it has begun
