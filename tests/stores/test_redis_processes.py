"""Many processes on one Redis, one of them killed now and then. `ACTGUARD_LONG=1` has them run for 10 seconds."""

import multiprocessing
import os
import threading
import time
from bisect import bisect_left
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
import redis

import actguard
from actguard.stores.protocol import Admitted, BreakerAcquire, BreakerRecord, BreakerRules
from actguard.stores.redis import RedisStore
from tests.stores import worker
from tests.stores.worker import LIMITS, payments

SECONDS = 10.0 if os.environ.get("ACTGUARD_LONG") else 2.0
PROCESSES = 8
PATIENCE = 90  # a process that takes longer has failed


servers = multiprocessing.get_context("forkserver")
servers.set_forkserver_preload(["tests.stores.worker"])  # they load it once


class Worker:
    """A process, and what it sends home."""

    def __init__(self, url: str, what: str) -> None:
        self._home, away = servers.Pipe(duplex=False)
        self._process = servers.Process(target=worker.main, args=(url, what, SECONDS, away), daemon=True)
        self._process.start()
        away.close()

    def saw(self) -> Any:
        assert self._home.poll(PATIENCE), "a process hangs"
        return self._home.recv()

    def kill(self) -> None:
        self._process.kill()
        self._process.join(PATIENCE)

    @property
    def lives(self) -> bool:
        return self._process.is_alive()


@contextmanager
def workers(url: str, what: str, *, count: int = PROCESSES) -> Iterator[list[Worker]]:
    """Processes that begin at the same moment, when all of them are there."""
    running = [Worker(url, what) for _ in range(count)]
    try:
        with redis.Redis.from_url(url) as beside:
            deadline = time.monotonic() + PATIENCE
            while int(beside.get("test:ready") or 0) < count:
                assert time.monotonic() < deadline, "the processes did not start"
                assert all(one.lives for one in running), "a process failed"
                time.sleep(0.01)
            beside.set("test:go", 1)
        yield running
    finally:
        for one in running:
            one.kill()


def test_no_window_holds_more_calls_than_the_limit(redis_url: str) -> None:
    with workers(redis_url, "rate") as running:
        seen = [one.saw() for one in running]

    assert sum(bool(calls) for calls in seen) > 1  # they did contend
    for index, limit in enumerate(LIMITS):
        moments = sorted(call[index] for calls in seen for call in calls)
        closest = min(later - earlier for earlier, later in zip(moments, moments[limit.max_calls :], strict=False))
        most = max(bisect_left(moments, moment + limit.period * 1_000_000) - at for at, moment in enumerate(moments))
        print(f"{len(moments)} calls, {most} at most in {limit.period:g} s, of {limit.max_calls}")
        assert most <= limit.max_calls
        assert closest >= limit.period * 1_000_000
    assert len(moments) > 20 * SECONDS  # nor does it starve: 30 a second may pass


def test_each_body_runs_once_whoever_asks_and_whoever_dies(redis_url: str) -> None:
    with workers(redis_url, "pay") as running:
        time.sleep(SECONDS / 2)  # they work
        for victim in running[:2]:
            victim.kill()
        seen = [one.saw() for one in running[2:]]
    time.sleep(0.6)  # the leases of the dead end

    with redis.Redis.from_url(redis_url) as beside:
        ran = {key: int(beside.get(key)) for key in beside.scan_iter("test:pay-*")}
    store = RedisStore(redis_url)
    records = store.list_idempotency(limit=1_000_000)

    unknown = sum(record.state == "unknown" for record in records)
    print(f"{len(ran)} bodies ran once each at most: {max(ran.values())}; {len(running) - len(seen)} killed")
    print(f"{sum(sum(saw.values()) for saw in seen)} calls of the others, {unknown} outcomes unknown")
    assert len(ran) > 50
    assert set(ran.values()) == {1}
    assert {record.state for record in records} <= {"done", "unknown"}
    assert unknown <= 2
    assert sum(saw.get("paid", 0) for saw in seen) > len(ran)  # results were handed on
    assert set().union(*seen) <= {"paid", "IdempotencyInProgress", "IdempotencyOutcomeUnknown"}


def test_what_a_killed_holder_did_is_not_done_again(redis_url: str) -> None:
    with workers(redis_url, "hang", count=1) as [holder], redis.Redis.from_url(redis_url) as beside:
        while beside.get("test:pay-1") is None:
            time.sleep(0.01)
        time.sleep(0.7)  # longer than the lease: its heartbeat keeps it
        tool = payments(RedisStore(redis_url), beside)
        with pytest.raises(actguard.IdempotencyInProgress):
            tool(idempotency_key="pay-1")

        holder.kill()
        time.sleep(0.6)

        with pytest.raises(actguard.IdempotencyOutcomeUnknown):
            tool(idempotency_key="pay-1")
        assert int(beside.get("test:pay-1")) == 1


@pytest.mark.parametrize("probes", [1, 3])
def test_of_fifty_calls_at_the_reset_only_the_probes_pass(redis_url: str, probes: int) -> None:
    rules = BreakerRules(max_fails=1, reset_timeout=0.05, half_open_probes=probes)
    stores = [RedisStore(redis_url) for _ in range(5)]
    permit = stores[0].admit([BreakerAcquire("mail", rules, "first")]).receipts[0]  # type: ignore[union-attr]
    stores[0].finish([BreakerRecord("mail", rules, "first", permit.generation, "failure")])  # type: ignore[union-attr]
    time.sleep(0.06)  # the server's clock
    together = threading.Barrier(50)

    def ask(number: int) -> bool:
        together.wait(PATIENCE)
        return isinstance(stores[number % 5].admit([BreakerAcquire("mail", rules, f"owner-{number}")]), Admitted)

    with ThreadPoolExecutor(50) as pool:
        passed = sum(pool.map(ask, range(50)))

    assert passed == probes
    for store in stores:
        store.close()
