"""A store in memory names who holds a key where the call leaves it to it, and hears what was done the short way."""

import random
from typing import Any

from actguard import idempotent, rate_limit
from actguard.context import Frame, Run, inside
from actguard.exceptions import RateLimitExceeded
from actguard.stores.memory import MemoryStore
from actguard.stores.protocol import (
    Admitted,
    Begun,
    Claim,
    CounterTake,
    Done,
    IdempotencyBegin,
    IdempotencyDone,
    IdempotencyLost,
    IdempotencyRelease,
    InProgress,
    Refused,
    Unknown,
)
from actguard.stores.undo import undoing

INF = float("inf")
LIKE = IdempotencyBegin("", "", 10.0, INF)


def done_teller(store, ttl_s=10.0):
    """Whether what is told of a claim has an effect; what had none is given back as the report that it was."""
    tell = store.done_teller(ttl_s, lambda result: result, frozenset({int}))

    def done(claim, result):
        unwritten = tell(claim.key, claim, result, 0.0)
        assert unwritten in (None, IdempotencyDone(claim.key, claim.owner, ttl_s, result))
        return unwritten is None

    return done


def test_every_claim_without_a_name_is_given_one_of_its_own():
    store = MemoryStore()
    ask = store.key_asker(LIKE, receipts=True)
    begun = [ask("a"), ask("b"), *store.admit([LIKE._replace(key="c"), LIKE._replace(key="d", owner="me")]).receipts]
    assert all(isinstance(receipt, Claim) for receipt in begun[:3])
    assert begun[3] == Begun()
    names = {receipt.owner for receipt in begun[:3]}
    assert len(names) == 3
    assert {record.owner for record in store.list_idempotency()} == {*names, "me"}


def test_only_who_was_given_the_key_says_that_it_was_done():
    store = MemoryStore()
    ask, tell = store.key_asker(LIKE, receipts=True), done_teller(store)
    first = ask("k")
    assert isinstance(ask("k"), InProgress)
    for owner in ("", "somebody"):
        assert store.finish([IdempotencyDone("k", owner, 10.0, 1)]) == (False,)
    assert store.finish([IdempotencyDone("other", first.owner, 10.0, 1)]) == (False,)
    assert store.forget("idempotency", "k") == 1
    assert not tell(first, 1)
    second = ask("k")
    assert not tell(first, 1)  # a claim that was taken away holds nothing, whoever has it now
    assert store.finish([IdempotencyDone("k", first.owner, 10.0, 1)]) == (False,)
    assert tell(second, 2)
    assert not tell(second, 3)
    assert store.finish([IdempotencyLost("k", second.owner, 10.0, "late")]) == (False,)
    assert ask("k") == Done(2)


def test_a_claim_can_be_ended_by_its_name_as_well():
    store = MemoryStore()
    ask = store.key_asker(LIKE, receipts=True)
    assert store.finish([IdempotencyLost("a", ask("a").owner, 10.0, "ValueError")]) == (True,)
    assert ask("a") == Unknown("ValueError")
    first = ask("b")
    assert store.finish([IdempotencyRelease("b", first.owner)]) == (True,)
    second = ask("b")
    assert second is not first
    assert store.finish([IdempotencyDone("b", second.owner, 10.0, 2)]) == (True,)
    assert ask("b") == Done(2)


def test_a_key_that_is_over_and_not_swept_yet_is_claimed_anew():
    now = [100.0]
    store = MemoryStore(clock=lambda: now[0])
    ask, tell = store.key_asker(LIKE, receipts=True), done_teller(store)
    first = ask("k")
    assert tell(first, 1)
    now[0] += 10.0
    shard = first.shard
    shard.ends.rest(now[0] + 5.0)  # as if it had just been looked at
    second = ask("k")
    assert isinstance(second, Claim)
    assert second is not first
    assert not tell(first, 3)
    assert tell(second, 2)
    assert ask("k") == Done(2)
    now[0] += 10.0
    assert store.sweep() == 0


def test_what_was_done_is_told_the_short_way_as_the_long_one_tells_it():
    now = [100.0]
    short, long = MemoryStore(clock=lambda: now[0]), MemoryStore(clock=lambda: now[0])
    tell = done_teller(short, 3.0)
    chance = random.Random(3)
    claims: list[tuple[str, str, Any]] = []  # key, the name that it has in the other store, the claim
    told = set()
    for turn in range(800):
        step = IdempotencyBegin(chance.choice("abcd"), "", 3.0, chance.choice((2.0, INF)))
        mine, theirs = short.admit([step]), long.admit([step._replace(owner=f"{turn}")])
        if isinstance(mine, Admitted):
            assert theirs == Admitted((Begun(),))
            claims.append((step.key, f"{turn}", mine.receipts[0]))
        else:
            assert mine == theirs
        now[0] += chance.choice((0.0, 0.5, 2.0))
        key, owner, claim = chance.choice(claims[-6:])
        if chance.random() < 0.2:
            lost = IdempotencyLost(key, claim.owner, 3.0, "ValueError")
            assert short.finish([lost]) == long.finish([lost._replace(owner=owner)])
        done = tell(claim, turn)
        assert (done,) == long.finish([IdempotencyDone(key, owner, 3.0, turn)])
        told.add(done)
        ours, other = sorted(short.list_idempotency()), sorted(long.list_idempotency())
        assert [one._replace(owner="") for one in ours] == [one._replace(owner="") for one in other]
    assert told == {True, False}
    now[0] += 10.0
    assert short.sweep() == long.sweep()


def test_a_claim_without_a_name_is_given_back_when_a_later_step_refuses():
    store = MemoryStore()
    step = LIKE._replace(key="k")
    ask = store.several_asker([LIKE, CounterTake("", 1, 60.0)], receipts=[True, True])
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
