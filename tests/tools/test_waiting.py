"""Calls that wait for room: in the order in which they came, no longer than it is of use, and gone when cancelled."""

import asyncio
import threading
import time

import pytest

from actguard import RateLimitExceeded, rate_limit, timeout, tool
from actguard.pipeline import waiting


@pytest.fixture(autouse=True)
def nobody_waits_in_the_end():
    yield
    assert not waiting._lines


def a_line_of_one():
    """A function that one call in 0.05 s may go through, and the order in which they did."""
    done = []

    @rate_limit(max_calls=1, period=0.05, wait=5)
    def call(name):
        done.append(name)

    @rate_limit(max_calls=1, period=0.05, wait=5)
    async def acall(name):
        done.append(name)

    return call, acall, done


async def test_who_comes_when_there_is_room_does_not_pass_who_waits_for_it(clock):
    _, call, done = a_line_of_one()
    await call("before")
    early = asyncio.create_task(call("early"))
    await asyncio.sleep(0.01)

    clock.pass_(1)  # room for one
    late = asyncio.create_task(call("late"))
    await early
    assert done == ["before", "early"]
    clock.pass_(1)
    await late
    assert done == ["before", "early", "late"]


async def test_those_who_wait_are_let_in_in_the_order_in_which_they_came(clock):
    _, call, done = a_line_of_one()
    await call(0)
    tasks = []
    for number in range(1, 6):
        tasks.append(asyncio.create_task(call(number)))
        await asyncio.sleep(0)
    for task in tasks:
        clock.pass_(1)
        await task
    assert done == list(range(6))


def test_threads_wait_in_one_line_too(clock):
    call, _, done = a_line_of_one()
    call("before")
    early = threading.Thread(target=call, args=("early",))
    early.start()
    while not waiting._lines:
        time.sleep(0.001)
    clock.pass_(1)
    late = threading.Thread(target=call, args=("late",))
    late.start()
    early.join(5)
    assert done == ["before", "early"]
    clock.pass_(1)
    late.join(5)
    assert done == ["before", "early", "late"]


async def test_who_is_cancelled_leaves_the_line_to_the_others(clock):
    _, call, done = a_line_of_one()
    await call("before")
    first, second, third = [asyncio.create_task(call(name)) for name in ("first", "second", "third")]
    await asyncio.sleep(0.01)
    first.cancel()
    second.cancel()
    clock.pass_(1)
    await asyncio.wait_for(third, 5)
    assert done == ["before", "third"]
    assert first.cancelled()
    assert second.cancelled()


def test_a_wait_that_cannot_end_in_time_does_not_begin():
    @rate_limit(max_calls=1, period=60, wait=300)
    def call():
        return 1

    @timeout(5)
    def outer():
        call()
        with pytest.raises(RateLimitExceeded) as caught:
            call()
        return caught.value.retry_after

    begun = time.monotonic()
    assert outer() > 50
    assert time.monotonic() - begun < 4


async def test_the_timeout_of_the_function_itself_bounds_the_wait_too():
    @tool(rate_limit={"max_calls": 1, "period": 60, "wait": 300}, timeout=5)
    async def call():
        return 1

    assert await call() == 1
    begun = time.monotonic()
    with pytest.raises(RateLimitExceeded):
        await call()
    assert time.monotonic() - begun < 4


async def test_who_could_not_be_let_in_in_time_is_refused_at_once_behind_others(clock):
    @rate_limit(max_calls=1, period=100, wait=200, name="one line")
    async def patient():
        return 1

    @rate_limit(max_calls=1, period=100, wait=1, name="one line")
    async def hasty():
        return 1

    await patient()
    first = asyncio.create_task(patient())
    await asyncio.sleep(0)
    with pytest.raises(RateLimitExceeded) as caught:
        await hasty()
    assert 90 < caught.value.retry_after <= 100
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)


async def test_who_should_have_given_up_long_ago_holds_nobody_up(clock):
    _, call, done = a_line_of_one()
    await call("before")
    gone = asyncio.create_task(call("gone"))
    await asyncio.sleep(0)
    (line,) = waiting._lines.values()
    line.places[0].end = time.monotonic() - 60  # as if its event loop had been stopped a minute ago
    late = asyncio.create_task(call("late"))
    await asyncio.sleep(0)

    (place,) = line.places
    assert place.first
    gone.cancel()
    clock.pass_(1)
    await asyncio.wait_for(late, 5)
    assert done == ["before", "late"]
