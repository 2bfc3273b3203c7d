"""A store in memory names who holds a key where the call leaves it to it, and hears what was done the short way."""

import random

from actguard import idempotent, rate_limit
from actguard.context import Frame, Run, inside
from actguard.exceptions import RateLimitExceeded
from actguard.stores.memory import MemoryStore
from actguard.stores.protocol import (
    Admitted,
    Begun,
    CounterTake,
    Done,
    IdempotencyBegin,
    IdempotencyDone,
    IdempotencyLost,
    InProgress,
    Refused,
)
from actguard.stores.undo import undoing

INF = float("inf")
LIKE = IdempotencyBegin("", "", 10.0, INF)


def test_every_claim_without_a_name_is_given_one_of_its_own():
    store = MemoryStore()
    ask = store.key_asker(LIKE, receipts=True)
    begun = [ask("a"), ask("b"), *store.admit([LIKE._replace(key="c"), LIKE._replace(key="d", owner="me")]).receipts]
    assert all(isinstance(receipt, Begun) for receipt in begun)
    assert begun[3].owner == ""
    names = {receipt.owner for receipt in begun[:3]}
    assert len(names) == 3
    assert {record.owner for record in store.list_idempotency()} == {*names, "me"}


def test_only_who_was_given_the_key_says_that_it_was_done():
    store = MemoryStore()
    ask, tell = store.key_asker(LIKE, receipts=True), store.done_teller(10.0)
    first = ask("k")
    assert isinstance(ask("k"), InProgress)
    assert not tell("k", "", 1)
    assert not tell("k", "somebody", 1)
    assert not tell("other", first.owner, 1)
    assert store.forget("idempotency", "k") == 1
    second = ask("k")
    assert not tell("k", first.owner, 1)  # a claim that was taken away holds nothing, whoever has it now
    assert tell("k", second.owner, 2)
    assert not tell("k", second.owner, 3)
    assert ask("k") == Done(2)


def test_what_was_done_is_told_the_short_way_as_the_long_one_tells_it():
    now = [100.0]
    short, long = MemoryStore(clock=lambda: now[0]), MemoryStore(clock=lambda: now[0])
    tell = short.done_teller(3.0)
    chance = random.Random(3)
    told = set()
    for turn in range(800):
        step = IdempotencyBegin(chance.choice("abcd"), chance.choice("xyz"), 3.0, chance.choice((2.0, INF)))
        assert short.admit([step]) == long.admit([step])
        now[0] += chance.choice((0.0, 0.5, 2.0))
        key, owner = chance.choice("abcd"), chance.choice("xyz")
        if chance.random() < 0.2:
            lost = IdempotencyLost(key, owner, 3.0, "ValueError")
            assert short.finish([lost]) == long.finish([lost])
        done = tell(key, owner, turn)
        assert (done,) == long.finish([IdempotencyDone(key, owner, 3.0, turn)])
        told.add(done)
        assert sorted(short.list_idempotency()) == sorted(long.list_idempotency())
    assert told == {True, False}
    now[0] += 10.0
    assert short.sweep() == long.sweep()


def test_a_claim_without_a_name_is_given_back_when_a_later_step_refuses():
    store = MemoryStore()
    step = LIKE._replace(key="k")
    ask = store.several_asker([LIKE, CounterTake("", 1, 60.0)])
    assert isinstance(ask(["k", "once"]), list)
    assert isinstance(ask(["other", "once"]), Refused)
    assert [record.key for record in store.list_idempotency()] == ["k"]
    assert isinstance(store.admit([step._replace(key="other"), CounterTake("once", 1, 60.0)]), Refused)
    assert [record.key for record in store.list_idempotency()] == ["k"]
    answer = store.admit([step._replace(key="third")])
    assert isinstance(answer, Admitted)
    undone = undoing(step._replace(key="third"), answer.receipts[0])
    assert undone is not None
    assert store.finish([undone]) == (True,)


def test_a_key_is_free_again_after_a_refusal_further_in():
    store = MemoryStore()

    @idempotent(store=store, fingerprint=None)
    @rate_limit(max_calls=1, store=MemoryStore())
    def pay(idempotency_key):
        return idempotency_key

    with inside(Frame(run=Run("r"))):
        assert pay(idempotency_key="one") == "one"
        for _ in range(2):
            try:
                pay(idempotency_key="two")
            except RateLimitExceeded:
                continue
            raise AssertionError
        assert pay(idempotency_key="one") == "one"
    assert [(record.state, record.key[-5:]) for record in store.list_idempotency()] == [("done", "s:one")]
