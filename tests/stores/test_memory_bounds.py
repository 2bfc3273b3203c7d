"""What is over goes: without traffic on it, and in step with what else is used. ACTGUARD_LONG=1 for a million keys."""

import gc
import os
import sys

import pytest

from actguard.stores.memory import MemoryStore
from actguard.stores.protocol import (
    BreakerAcquire,
    BreakerRecord,
    BreakerRules,
    CounterTake,
    IdempotencyBegin,
    IdempotencyDone,
    LeaseGive,
    LeaseTake,
    Limit,
    RateTake,
)

KEYS = 1_000_000 if os.environ.get("ACTGUARD_LONG") else 100_000
INF = float("inf")


def rate(store, key):
    store.admit([RateTake(key, (Limit(5, 10.0),))])


def counter(store, key):
    store.admit([CounterTake(key, 5, 10.0)])


def idempotency(store, key):
    store.admit([IdempotencyBegin(key, "o", 10.0, INF)])
    store.finish([IdempotencyDone(key, "o", 10.0, "done")])


def breaker(store, key):
    rules = BreakerRules(idle_s=10.0)
    store.admit([BreakerAcquire(key, rules, "o")])
    store.finish([BreakerRecord(key, rules, "o", 0, "failure")])


@pytest.mark.timeout(600)
@pytest.mark.parametrize("use", [rate, counter, idempotency, breaker])
def test_keys_that_are_over_are_freed_by_the_traffic_on_others(use):
    now = [0.0]
    store = MemoryStore(clock=lambda: now[0])
    for number in range(KEYS):
        use(store, f"key {number}")
    assert len(store) == KEYS

    now[0] = 21.0
    for number in range(KEYS // 3):
        store.finish([BreakerRecord(f"other {number % 500}", BreakerRules(), "o", 0, "success")])

    assert len(store) < KEYS // 100
    gc.collect()
    kept = sum(sys.getsizeof(table) for shard in store._shards for table in shard.tables.values())
    assert sum(len(shard.ends) for shard in store._shards) < KEYS // 50
    assert kept < KEYS * 100


def test_a_sweep_by_hand_leaves_nothing_that_is_over():
    now = [0.0]
    store = MemoryStore(clock=lambda: now[0])
    for number in range(20_000):
        for use in (rate, counter, idempotency, breaker):
            use(store, f"key {number}")
    now[0] = 30.0
    assert store.sweep() == 0


def test_a_place_that_was_given_back_leaves_nothing():
    store = MemoryStore(clock=lambda: 0.0)
    for number in range(1000):
        store.admit([LeaseTake(f"k{number}", "o", 1, INF)])
        assert store.finish([LeaseGive(f"k{number}", "o")]) == (True,)
    assert len(store) == 0
    assert not any(shard.ends for shard in store._shards)
