"""Calls that wait for room: in the order in which they came, no longer than it is of use, and gone when cancelled."""

import asyncio
import threading
import time

import pytest

from actguard import ConcurrencyExceeded, RateLimitExceeded, ToolTimeoutError, concurrency, rate_limit, timeout, tool
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


# ---- places: so many at once ----


def one_place(wait=5.0):
    """A function that one call at a time may be in, the order in which they came in, and what lets each one out."""
    inside = []
    gates = {}

    @concurrency(limit=1, wait=wait)
    def call(name):
        inside.append(name)
        assert gates[name].wait(5)
        return name

    @concurrency(limit=1, wait=wait)
    async def acall(name):
        inside.append(name)
        await gates[name].wait()
        return name

    return call, acall, inside, gates


async def until(condition):
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.002)
    raise AssertionError("it did not come to that")


async def test_places_are_given_in_the_order_in_which_tasks_came():
    _, call, inside, gates = one_place()
    gates.update({number: asyncio.Event() for number in range(6)})
    tasks = []
    for number in range(6):
        tasks.append(asyncio.create_task(call(number)))
        await asyncio.sleep(0)
    for number in range(6):
        await until(lambda: inside)
        assert inside == [number]
        inside.clear()
        gates[number].set()
    assert await asyncio.gather(*tasks) == list(range(6))


def test_places_are_given_in_the_order_in_which_threads_came():
    call, _, inside, gates = one_place()
    gates.update({number: threading.Event() for number in range(5)})
    threads = [threading.Thread(target=call, args=(number,)) for number in range(5)]
    for number, thread in enumerate(threads):
        thread.start()
        while not (inside if number == 0 else sum(len(line.places) for line in waiting._lines.values()) == number):
            time.sleep(0.001)
    for number, thread in enumerate(threads):
        gates[number].set()
        thread.join(5)
    assert inside == list(range(5))


async def test_a_place_that_is_given_back_is_taken_at_once(monkeypatch):
    monkeypatch.setattr("actguard.tools.concurrency._POLL_S", 30)
    _, call, inside, gates = one_place(wait=60)
    gates.update({name: asyncio.Event() for name in "abc"})
    tasks = [asyncio.create_task(call(name)) for name in "abc"]
    await until(lambda: inside)
    begun = time.monotonic()
    for name in "abc":
        await until(lambda name=name: inside[-1] == name)
        gates[name].set()
    assert await asyncio.gather(*tasks) == ["a", "b", "c"]
    assert time.monotonic() - begun < 5


def test_a_thread_takes_a_place_at_once_that_an_event_loop_gave_back(monkeypatch):
    monkeypatch.setattr("actguard.tools.concurrency._POLL_S", 30)
    held, let_go = threading.Event(), threading.Event()

    @concurrency(limit=1, wait=60, name="both kinds")
    async def hold():
        held.set()
        await asyncio.to_thread(let_go.wait, 5)

    @concurrency(limit=1, wait=60, name="both kinds")
    def take():
        return 1

    loop = threading.Thread(target=lambda: asyncio.run(hold()))
    loop.start()
    held.wait(5)
    got = []
    taker = threading.Thread(target=lambda: got.append(take()))
    taker.start()
    while not waiting._lines:
        time.sleep(0.001)
    begun = time.monotonic()
    let_go.set()
    taker.join(5)
    loop.join(5)
    assert got == [1]
    assert time.monotonic() - begun < 5


async def test_who_comes_as_a_place_gets_free_does_not_pass_who_waits_for_it():
    _, call, inside, gates = one_place()
    gates.update({name: asyncio.Event() for name in ("before", "early", "late")})
    before = asyncio.create_task(call("before"))
    await until(lambda: inside)
    early = asyncio.create_task(call("early"))
    await asyncio.sleep(0.01)
    gates["before"].set()
    await before
    late = asyncio.create_task(call("late"))  # before `early`, which was told so, has had its turn of the loop
    gates["early"].set()
    gates["late"].set()
    await asyncio.gather(early, late)
    assert inside == ["before", "early", "late"]


async def test_who_is_cancelled_or_out_of_time_leaves_the_place_to_the_next():
    _, call, inside, gates = one_place()
    gates.update({name: asyncio.Event() for name in ("before", "first", "hasty", "last")})
    before = asyncio.create_task(call("before"))
    await until(lambda: inside)
    first = asyncio.create_task(call("first"))
    await asyncio.sleep(0)

    @timeout(0.02)
    async def hasty():
        return await call("hasty")

    late = asyncio.create_task(hasty())
    await asyncio.sleep(0)
    last = asyncio.create_task(call("last"))
    await asyncio.sleep(0.03)
    first.cancel()
    with pytest.raises((ToolTimeoutError, ConcurrencyExceeded)):
        await late
    gates["before"].set()
    gates["last"].set()
    assert await asyncio.wait_for(last, 5) == "last"
    await before
    assert inside == ["before", "last"]


def test_a_wait_for_a_place_ends_in_time_and_frees_its_own_in_the_line():
    call, _, inside, gates = one_place(wait=0.03)
    gates.update({name: threading.Event() for name in ("before", "late", "after")})
    before = threading.Thread(target=call, args=("before",))
    before.start()
    while not inside:
        time.sleep(0.001)
    begun = time.monotonic()
    with pytest.raises(ConcurrencyExceeded) as caught:
        call("late")
    assert 0.02 < time.monotonic() - begun < 4
    assert caught.value.retry_after is None
    gates["before"].set()
    before.join(5)
    gates["after"].set()
    assert call("after") == "after"


def test_a_place_held_by_a_result_that_was_thrown_away_is_found_by_those_who_wait(monkeypatch):
    @concurrency(limit=1, wait=5)
    def rows():
        return iter_rows()

    def iter_rows():
        yield 1

    held = rows()

    def throw_away():
        nonlocal held
        while not waiting._lines:
            time.sleep(0.001)
        held = None

    thrower = threading.Thread(target=throw_away)
    thrower.start()
    begun = time.monotonic()
    assert list(rows()) == [1]
    thrower.join(5)
    assert time.monotonic() - begun < 4


async def test_many_who_come_and_go_never_pass_the_limit_and_all_get_in():
    most = now = 0

    @concurrency(limit=3, wait=30)
    async def call(number):
        nonlocal most, now
        now += 1
        most = max(most, now)
        await asyncio.sleep(0)
        now -= 1
        return number

    assert await asyncio.gather(*(call(number) for number in range(200))) == list(range(200))
    assert most == 3
