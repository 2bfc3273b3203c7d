"""The short ways to ask a store in memory answer what the long one answers, and one lock is as good as many."""

import random
import threading
from math import inf

import pytest

from actguard.exceptions import StoreFullError
from actguard.stores import memory
from actguard.stores.memory import MemoryStore
from actguard.stores.protocol import (
    Admitted,
    BreakerAcquire,
    BreakerRecord,
    BreakerRules,
    CounterTake,
    IdempotencyBegin,
    IdempotencyDone,
    InProgress,
    LeaseTake,
    Limit,
    RateTake,
    Refused,
)
from actguard.stores.undo import TYPE_OF

LIKE = {
    "a log": RateTake("", (Limit(5, 10.0),)),
    "a long log": RateTake("", (Limit(2000, 10.0),), 700),
    "a dripping bucket": RateTake("", (Limit(5, 10.0, "gcra", 2),)),
    "two limits": RateTake("", (Limit(5, 10.0), Limit(8, 100.0, "fixed")), 2),
    "a counter": CounterTake("", 4, 12.0),
    "a circuit": BreakerAcquire("", BreakerRules(max_fails=2, reset_timeout=5.0), "probe"),
    "a circuit with a rate": BreakerAcquire("", BreakerRules(failure_rate=0.5, min_calls=2), "probe"),
    "a record": IdempotencyBegin("", "me", 10.0, 5.0),
    "a place": LeaseTake("", "me", 1, 5.0),
}


@pytest.mark.parametrize("like", LIKE.values(), ids=LIKE)
@pytest.mark.parametrize("by", ["key", "key alone", "step"])
def test_what_is_asked_at_once_is_answered_as_ever(like, by):
    now = [100.0]
    short, long = MemoryStore(clock=lambda: now[0]), MemoryStore(clock=lambda: now[0])
    kind = next(kind for kind, made in TYPE_OF.items() if isinstance(like, made))
    by_key, by_step = short.key_asker(like, receipts=by == "key"), short.asker(kind)
    chance = random.Random(7)
    refused = 0
    for _ in range(600):
        step = like._replace(key=chance.choice("abc"))
        if isinstance(like, LeaseTake) and by == "step":
            step = step._replace(owner=chance.choice("xyz"))
        mine = by_step(step) if by == "step" else by_key(step.key)
        theirs = long.admit([step])
        if isinstance(theirs, Refused):
            refused += 1
            assert mine == theirs.refusal
        elif by == "key alone" and isinstance(like, CounterTake | RateTake):
            assert mine in (None, theirs.receipts[0])
        else:
            assert mine == theirs.receipts[0]
        if isinstance(like, BreakerAcquire) and isinstance(theirs, Admitted):
            generation = theirs.receipts[0].generation
            told = BreakerRecord(step.key, like.rules, "probe", generation, chance.choice(("success", "failure")))
            assert short.finish_one(told) == long.finish([told])[0]
        now[0] += chance.choice((0.0, 0.1, 1.0, 7.0))
    assert refused > 20 or (isinstance(like, LeaseTake) and by != "step")  # who has the place is not refused it
    assert short.sweep() == long.sweep()


def test_a_receipt_that_nobody_wants_is_not_made():
    store = MemoryStore()
    ask = store.key_asker(RateTake("", (Limit(2, 60.0),)), receipts=False)
    ask("a")  # the first of a key goes the long way
    assert ask("a") is None
    assert ask("a").limit == 0


def test_what_was_taken_without_a_receipt_is_given_back_when_a_later_step_refuses():
    now = [100.0]
    store = MemoryStore(clock=lambda: now[0])
    limits = (Limit(5, 60.0), Limit(9, 600.0, "gcra"))
    like = [CounterTake("", 3, 60.0), RateTake("", limits[:1], 2), RateTake("", limits), LeaseTake("", "me", 1, 5.0)]
    ask = store.several_asker(like, receipts=[False] * 4)
    store.admit([LeaseTake("place", "you", 1, 5.0)])
    for _ in range(4):
        now[0] += 0.5
        assert ask(["count", "log", "both", "place"]).step == 3
    now[0] += 5.0
    looked = store.admit([CounterTake("count", 3, 60.0), RateTake("log", limits[:1]), RateTake("both", limits)])
    assert [looked.receipts[0].used, looked.receipts[1].remaining, looked.receipts[2].remaining] == [1, 4, 4]


@pytest.mark.parametrize("one", [True, False])
def test_several_that_are_asked_at_once_are_answered_as_ever(monkeypatch, one):
    monkeypatch.setattr(memory, "_ONE_LOCK", one)
    now = [100.0]
    short, long = MemoryStore(clock=lambda: now[0]), MemoryStore(clock=lambda: now[0])
    like = ["idempotency", LIKE["a counter"], LIKE["a circuit"], LIKE["a log"], LIKE["a dripping bucket"]]
    ask = short.several_asker(like, receipts=[True] * len(like))
    chance = random.Random(11)
    refused = set()
    for turn in range(1500):
        begin = IdempotencyBegin(f"{chance.randrange(200)}", f"{turn}", 30.0, 20.0)
        keys = [chance.choice("abcdef") for _ in like[1:]]
        steps = [begin, *(step._replace(key=key) for step, key in zip(like[1:], keys, strict=True))]
        mine, theirs = ask([begin, *keys]), long.admit(steps)
        if isinstance(theirs, Refused):
            refused.add(theirs.step)
            assert mine == theirs
        else:
            assert tuple(mine) == theirs.receipts
            told = chance.choice(("failure", "neutral"))
            for store in (short, long):
                done = IdempotencyDone(begin.key, begin.owner, 30.0, turn)
                record = BreakerRecord(keys[1], like[2].rules, "probe", mine[2].generation, told)
                assert store.finish([done, record])[0]
        now[0] += chance.choice((0.0, 0.1, 1.0))
    assert refused == {0, 1, 2, 3, 4}
    assert short.sweep() == long.sweep()


def test_a_store_that_is_full_gives_back_what_several_had_taken():
    store = MemoryStore(max_keys=1, clock=lambda: 5.0)
    ask = store.several_asker([CounterTake("", 1000, 60.0), "idempotency"], receipts=[False, True])
    full, begun = 0, []
    for number in range(100):
        step = IdempotencyBegin(f"{number}", "me", 60.0, 60.0)
        try:
            ask(["a", step])
            begun.append(step)
        except StoreFullError:
            full += 1
    assert full > 80
    assert ask(["a", begun[0]]) == Refused(1, InProgress(60.0))
    with store._shard("a").lock:
        assert store._shard("a").counters["a"].used == 100 - full


@pytest.mark.parametrize("one", [True, False])
def test_several_steps_are_all_or_nothing_with_one_lock_and_with_many(monkeypatch, one):
    monkeypatch.setattr(memory, "_ONE_LOCK", one)
    store = MemoryStore()
    assert len({id(shard.lock) for shard in store._shards}) == (1 if one else 16)
    limits = (Limit(500, 600.0),)
    admitted = [0] * 4

    def work(number):
        chance = random.Random(number)
        for turn in range(300):
            keys = chance.sample("abcdefgh", 3)
            steps = [RateTake(key, limits) for key in keys] + [CounterTake("all", 700, 600.0)]
            begin = IdempotencyBegin(f"{number}-{turn}", "me", 600.0, inf)
            if isinstance(store.admit([begin, *steps]), Admitted):
                admitted[number] += 1
                store.finish([IdempotencyDone(begin.key, "me", 600.0, None)])

    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    assert sum(admitted) == 700
    used = [store.admit([RateTake(key, limits)]).receipts[0].remaining for key in "abcdefgh"]
    assert sum(499 - remaining for remaining in used) == 3 * 700
    assert len(store.list_idempotency(state="done", limit=5000)) == 700
    assert store.list_idempotency(state="in_progress") == []
