"""What is remembered of a key, for how long, and what ends it; the clock is the test's."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from actguard.gateway.http.auth import Authenticator, Caller
from actguard.gateway.http.wire import Refused, Request
from actguard.gateway.keys import new_key
from actguard.gateway.storage.store import StoreDown

KEY = new_key()
REQUEST = Request("/", {b"authorization": f"Bearer {KEY.text}".encode()})
CALLER = Caller(7, "a", "agent", KEY.key_id)


class Keys:
    """A store that knows one key, or that it was revoked, or nothing at all now."""

    def __init__(self) -> None:
        self.asked = 0
        self.revoked: int | None = None
        self.down = False
        self.before: Callable[[], None] = lambda: None

    def read(self, work: Callable[[Any], Any]) -> Any:
        with self.reading() as transaction:
            return work(transaction)

    @contextmanager
    def reading(self) -> Iterator[Any]:
        self.asked += 1
        if self.down:
            raise StoreDown("away")
        yield self

    def rows(self, name: str, *, key_id: str) -> list[tuple[Any, ...]]:
        found = [(7, "a", "agent", KEY.hash, self.revoked)] if key_id == KEY.key_id else []
        self.before()
        return found


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def keys() -> Keys:
    return Keys()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def authenticator(keys: Keys, clock: Clock, rate: float = 0) -> Authenticator:
    return Authenticator(keys, rate=rate, clock=clock)  # type: ignore[arg-type]


async def settled(auth: Authenticator) -> None:
    while auth._renewed:
        await asyncio.gather(*auth._renewed.values())


async def test_a_key_in_use_is_asked_for_again_before_it_runs_out_and_nobody_waits(keys: Keys, clock: Clock) -> None:
    auth = authenticator(keys, clock)
    assert auth.remembered(REQUEST) is None
    assert await auth.caller(REQUEST) == CALLER
    for _ in range(100):
        clock.now += 0.1
        assert auth.remembered(REQUEST) == CALLER
        await settled(auth)
    assert 20 < keys.asked < 40


async def test_a_key_at_rest_is_forgotten(keys: Keys, clock: Clock) -> None:
    auth = authenticator(keys, clock)
    await auth.caller(REQUEST)
    clock.now += 0.5
    assert auth.remembered(REQUEST) is None
    assert keys.asked == 1


async def test_a_revoked_key_is_refused_as_soon_as_it_was_asked_for_and_within_half_a_second(
    keys: Keys, clock: Clock
) -> None:
    auth = authenticator(keys, clock)
    await auth.caller(REQUEST)
    keys.revoked = 1
    clock.now += 0.35
    assert auth.remembered(REQUEST) == CALLER
    await settled(auth)
    assert auth.remembered(REQUEST) is None
    with pytest.raises(Refused, match="revoked"):
        await auth.caller(REQUEST)


async def test_while_the_store_is_away_a_key_lives_no_longer_than_it_would_have(keys: Keys, clock: Clock) -> None:
    auth = authenticator(keys, clock)
    await auth.caller(REQUEST)
    keys.down = True
    clock.now += 0.49
    assert auth.remembered(REQUEST) == CALLER
    await settled(auth)
    clock.now += 0.01
    assert auth.remembered(REQUEST) is None
    with pytest.raises(StoreDown):
        await auth.caller(REQUEST)


async def test_what_was_asked_before_a_key_was_revoked_here_is_not_remembered_after_it(
    keys: Keys, clock: Clock
) -> None:
    auth = authenticator(keys, clock)
    keys.before = lambda: auth.forget(KEY.key_id)  # between the store's answer and its arrival
    assert await auth.caller(REQUEST) == CALLER
    keys.before = lambda: None
    keys.revoked = 1
    with pytest.raises(Refused, match="revoked"):
        await auth.caller(REQUEST)


async def test_many_that_bring_one_key_at_once_ask_once(keys: Keys, clock: Clock) -> None:
    auth = authenticator(keys, clock)
    assert set(await asyncio.gather(*(auth.caller(REQUEST) for _ in range(50)))) == {CALLER}
    assert keys.asked == 1


async def test_each_key_is_metered_whether_remembered_or_not(keys: Keys, clock: Clock) -> None:
    auth = authenticator(keys, clock, rate=2)
    assert await auth.caller(REQUEST) == CALLER
    assert auth.remembered(REQUEST) == CALLER
    for ask in (auth.caller(REQUEST), asyncio.to_thread(auth.remembered, REQUEST)):
        with pytest.raises(Refused) as refused:
            await ask
        assert refused.value.reply.status == 429
        assert refused.value.headers == {"retry-after": "1"}
    clock.now += 0.5
    assert await auth.caller(REQUEST) == CALLER
    with pytest.raises(Refused):
        await auth.caller(REQUEST)


async def test_a_key_with_less_than_one_request_a_second_has_one_when_it_is_told_to_come_again(
    keys: Keys, clock: Clock
) -> None:
    auth = authenticator(keys, clock, rate=0.4)
    for _ in range(3):
        assert await auth.caller(REQUEST) == CALLER
        clock.now += 0.1
        with pytest.raises(Refused) as refused:
            await auth.caller(REQUEST)
        clock.now += int(refused.value.headers["retry-after"])
