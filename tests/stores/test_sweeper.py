"""What is over in memory goes without any traffic, by a thread that is there only while it has something to do."""

import gc
import os
import subprocess
import sys
import threading
import time
import weakref

import pytest

from actguard.stores import sweeper
from actguard.stores.facts import Fact
from actguard.stores.memory import MemoryStore
from actguard.stores.protocol import (
    BreakerAcquire,
    BreakerRecord,
    BreakerRules,
    CounterTake,
    IdempotencyBegin,
    IdempotencyDone,
    LeaseTake,
    Limit,
    RateTake,
)

INF = float("inf")
LIFE = 0.02


def rate(store, key):
    store.admit([RateTake(key, (Limit(5, LIFE),))])


def counter(store, key):
    store.admit([CounterTake(key, 5, LIFE)])


def idempotency(store, key):
    store.admit([IdempotencyBegin(key, "o", LIFE, INF)])
    store.finish([IdempotencyDone(key, "o", LIFE, "done")])


def breaker(store, key):
    rules = BreakerRules(idle_s=LIFE)
    store.admit([BreakerAcquire(key, rules, "o")])
    store.finish([BreakerRecord(key, rules, "o", 0, "failure")])


def lease(store, key):
    store.admit([LeaseTake(key, "o", 1, LIFE)])


def until(true, seconds=30):
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.01)
    return true()


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(sweeper, "PAUSE_S", 0.01)


@pytest.mark.parametrize("use", [rate, counter, idempotency, breaker, lease])
def test_keys_that_are_over_go_without_any_traffic(quick, use):
    store = MemoryStore()
    for number in range(5_000):
        use(store, f"key {number}")
    assert store._sweeper.running

    assert until(lambda: len(store) == 0)
    assert until(lambda: not store._sweeper.running)
    use(store, "another")
    assert until(lambda: len(store) == 0)


def test_the_memory_of_large_tables_is_given_back():
    now = [0.0]
    store = MemoryStore(clock=lambda: now[0])
    for number in range(100_000):
        store.admit([CounterTake(f"key {number}", 5, 10.0 if number % 200 else 1e6)])
    full = sum(sys.getsizeof(shard.counters) for shard in store._shards)
    now[0] = 20.0
    while store.free(500):
        pass
    assert len(store) == 500
    assert sum(sys.getsizeof(shard.counters) for shard in store._shards) < full / 20
    assert all(shard.tables["counter"] is shard.counters for shard in store._shards)
    assert store.admit([CounterTake("key 0", 1, 10.0)]).refusal.used == 1


def test_no_thread_without_something_that_ends():
    store = MemoryStore()
    store.admit([IdempotencyBegin("a", "o", 60.0, INF), LeaseTake("b", "o", 1, INF)])
    store.force_circuit("c", BreakerRules(), "forced_open")
    assert not store._sweeper.running
    rate(store, "d")
    assert store._sweeper.running


def test_the_thread_keeps_no_store_alive(quick):
    store = MemoryStore()
    store.admit([CounterTake("a", 5, 3600.0)])
    gone = weakref.ref(store)
    del store
    gc.collect()
    assert until(lambda: gone() is None)


def test_a_circuit_that_was_put_right_by_hand_is_forgotten_like_any_other():
    now = [0.0]
    rules = BreakerRules(idle_s=10.0)
    store = MemoryStore(clock=lambda: now[0])
    for state in ("forced_open", "observe", "disabled"):
        store.force_circuit("mail", rules, state)
        store.finish([BreakerRecord("mail", rules, "", store.circuit("mail", rules).generation, "failure")])
        now[0] += 1000.0
        assert store.sweep() == 1
        assert store.circuit("mail", rules).state == state
    store.force_circuit("mail", rules, "closed")
    now[0] += 11.0
    assert store.sweep() == 0


def test_only_one_thread_starts_for_a_store(quick):
    store = MemoryStore()
    before = {thread for thread in threading.enumerate() if thread.name == "actguard-sweeper"}
    users = [threading.Thread(target=lambda n=n: store.admit([CounterTake(f"k{n}", 5, 3600.0)])) for n in range(16)]
    for user in users:
        user.start()
    for user in users:
        user.join()
    store.facts_put("s", [Fact(("id", "1"), 3600.0)])
    after = {thread for thread in threading.enumerate() if thread.name == "actguard-sweeper"}
    assert len(after - before) == 1


FORKED = """
import os, sys, threading
from actguard.stores import sweeper
from actguard.stores.memory import MemoryStore
from actguard.stores.protocol import CounterTake
store = MemoryStore()
store.admit([CounterTake("a", 5, 3600.0)])
held, done = threading.Event(), threading.Event()
def hold():
    for lock in {shard.lock for shard in store._shards}:
        lock.acquire()
    held.set()
    done.wait()
threading.Thread(target=hold, daemon=True).start()
held.wait()
child = os.fork()
if child == 0:
    sweeper.PAUSE_S = 0.01
    store.admit([CounterTake(f"b{n}", 5, 0.01) for n in range(64)])
    import time
    end = time.monotonic() + 20
    while len(store) > 1 and time.monotonic() < end:
        time.sleep(0.01)
    os._exit(len(store) - 1)
done.set()
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_has_locks_and_a_thread_of_its_own():
    result = subprocess.run([sys.executable, "-c", FORKED], timeout=60, check=False)
    assert result.returncode == 0
