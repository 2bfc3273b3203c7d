"""Processes that wait for a place at one Redis: heard in the order in which they came, whoever asks most.

A store of its own stands for a process: those who wait at one form a line of theirs.
"""

import asyncio
import threading
import time

import pytest

from actguard import ConcurrencyExceeded, concurrency, timeout
from actguard.pipeline import waiting
from actguard.stores.redis import RedisStore


@pytest.fixture
def stores(redis_url):
    stores = [RedisStore(redis_url, timeout_s=10) for _ in range(4)]
    yield stores
    for store in stores:
        store.close()
    assert not waiting._lines


def until(condition):
    for _ in range(2000):
        if condition():
            return
        time.sleep(0.002)
    raise AssertionError("it did not come to that")


def places(store, inside, wait, gate=None):
    @concurrency(limit=1, wait=wait, name="shared", store=store, on_store_error="closed")
    def call(name):
        inside.append(name)
        if gate is not None:
            assert gate.wait(10)

    return call


def test_who_waits_is_let_in_before_one_who_comes_later_and_asks_more_often(stores):
    inside, gate = [], threading.Event()
    holder = threading.Thread(target=places(stores[0], inside, 10, gate), args=("holder",))
    holder.start()
    until(lambda: inside)
    patient = threading.Thread(target=places(stores[1], inside, 10), args=("patient",))
    patient.start()
    until(lambda: len(waiting._lines) == 1)
    time.sleep(0.15)  # the server has heard of him

    pushy = places(stores[2], inside, 0)
    gate.set()
    holder.join(5)
    told = []
    while "pushy" not in inside:
        try:
            pushy("pushy")
        except ConcurrencyExceeded as error:
            told.append(error.retry_after)
    patient.join(5)
    assert inside == ["holder", "patient", "pushy"]
    assert all(seconds > 0 for seconds in told)


def test_processes_are_let_in_in_the_order_in_which_they_came(stores):
    inside, gate = [], threading.Event()
    holder = threading.Thread(target=places(stores[0], inside, 10, gate), args=("holder",))
    holder.start()
    until(lambda: inside)
    threads = []
    for number in (1, 2, 3):
        threads.append(threading.Thread(target=places(stores[number], inside, 10), args=(number,)))
        threads[-1].start()
        until(lambda number=number: len(waiting._lines) == number)
        time.sleep(0.1)
    gate.set()
    for thread in (holder, *threads):
        thread.join(10)
    assert inside == ["holder", 1, 2, 3]


def test_who_gave_up_holds_nobody_up_for_long(stores):
    inside, gate = [], threading.Event()
    holder = threading.Thread(target=places(stores[0], inside, 10, gate), args=("holder",))
    holder.start()
    until(lambda: inside)
    with pytest.raises(ConcurrencyExceeded):
        places(stores[1], inside, 0.05)("hasty")

    async def cancelled():
        @concurrency(limit=1, wait=10, name="shared", store=stores[2], on_store_error="closed")
        async def call():
            inside.append("cancelled")

        @timeout(0.1)
        async def bounded():
            await call()

        with pytest.raises((TimeoutError, ConcurrencyExceeded)):
            await bounded()

    asyncio.run(cancelled())
    gate.set()
    holder.join(5)
    begun = time.monotonic()
    places(stores[3], inside, 10)("next")
    assert inside == ["holder", "next"]
    assert time.monotonic() - begun < 5
