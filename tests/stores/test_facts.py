"""Facts in every store: random programs, and every answer is what the machine says."""

import random
from collections.abc import Sequence
from typing import Any

import pytest

from actguard.stores.fact_machine import FactMachine
from actguard.stores.facts import UNLIMITED, Fact, Known, Need, Spend
from tests.stores.places import Here

KEYS = [("k", "s:a"), ("k", "s:b"), ("kind:1", "i:1"), ("k", "s:\ud800é"), ("", "")]
SOURCES = ["", "list", "gét"]
RECORDS: list[tuple[str, ...]] = [(), ("r1",), ("r2",), ("r1", "r2")]


class Program:
    """A store and the machine, told the same things."""

    def __init__(self, here: Here, seed: int) -> None:
        self.here = here
        self.store: Any = here.store
        self.machine = FactMachine()
        self.dice = random.Random(seed)

    def run(self, steps: int) -> None:
        moves = [self.put, self.put, self.check, self.check, self.give_back, self.revoke, self.wait, self.end]
        for _ in range(steps):
            self.dice.choices(moves, [6, 6, 8, 8, 3, 1, 4, 0.3])[0](self.dice.choice(["s", "tenant/é"]))

    def put(self, session: str) -> None:
        facts = [
            Fact(
                self.dice.choice(KEYS),
                self.dice.choice([1.0, 4.0, 64.0]),
                self.dice.randrange(3),
                self.dice.choice(SOURCES),
                self.dice.choice(RECORDS),
                self.dice.choice([UNLIMITED, UNLIMITED, 1, 2]),
            )
            for _ in range(self.dice.randint(1, 4))
        ]
        self.store.facts_put(session, facts)
        self.machine.put(session, facts, self.here.clock())
        self.same(session)

    def needs(self) -> list[Need]:
        return [
            Need(
                self.dice.choice(KEYS),
                self.dice.randrange(2),
                self.dice.choice([None, None, 0.5, 3.0]),
                self.dice.choice([(), (), ("list",), ("list", "gét")]),
                self.dice.random() < 0.2,
                self.dice.choice([None, None, 0, 1]),
                self.dice.random() < 0.1,
            )
            for _ in range(self.dice.randint(0, 3))
        ]

    def spends(self) -> list[Spend]:
        return [
            Spend(self.dice.choice(["a", "b"]), self.dice.randint(0, 9), 8.0, 20)
            for _ in range(self.dice.randint(0, 2))
        ]

    def check(self, session: str) -> None:
        needs, spends, commit = self.needs(), self.spends(), self.dice.random() < 0.7
        said = self.store.facts_check(session, needs, spends, commit=commit)
        expected = self.machine.check(session, needs, spends, self.here.clock(), commit=commit)

        assert said[:2] == expected[:2]
        assert (said.receipt is None) == (expected.receipt is None)
        if said.receipt is not None:
            assert sorted(said.receipt.charges) == sorted(expected.receipt.charges)
        self.same(session)

    def give_back(self, session: str) -> None:
        needs, spends = self.needs(), self.spends()
        said = self.store.facts_check(session, needs, spends)
        expected = self.machine.check(session, needs, spends, self.here.clock())
        assert (said.receipt is None) == (expected.receipt is None)
        if said.receipt is not None:
            self.store.facts_give_back(session, said.receipt)
            self.machine.give_back(session, expected.receipt)
        self.same(session)

    def revoke(self, session: str) -> None:
        kind, value = self.dice.choice(KEYS)
        chosen = self.dice.choice([None, value])

        gone = self.machine.revoke(session, kind, chosen, self.here.clock())
        assert self.store.facts_revoke(session, kind, chosen) == gone
        self.same(session)

    def wait(self, session: str) -> None:
        self.here.wait(self.dice.choice([0.25, 0.5, 1.0, 3.0, 65.0]))
        self.same(session)

    def end(self, session: str) -> None:
        self.store.facts_end(session)
        self.machine.end(session)
        self.same(session)

    def same(self, session: str) -> None:
        for kinds in ((), ("k",), ("", "kind:1")):
            assert ordered(self.store.facts_list(session, kinds)) == ordered(
                self.machine.known(session, kinds, self.here.clock())
            )


def ordered(known: Sequence[Known]) -> list[Any]:
    return sorted((k.key, k.trust, k.source, k.records, round(k.age, 6), round(k.expires_in, 6), k.uses) for k in known)


@pytest.mark.parametrize("seed", range(6))
def test_a_store_of_facts_says_what_the_machine_says(here: Here, seed: int) -> None:
    Program(here, seed).run(120)


def test_a_fact_keeps_a_bounded_number_of_proofs(here: Here) -> None:
    store: Any = here.store
    for number in range(80):
        store.facts_put("s", [Fact(("k", "v"), 60.0 + number, source=str(number))])

    assert {known.source for known in store.facts_list("s")} == {str(number) for number in range(16, 80)}


def test_a_sum_is_exact_and_slides(here: Here) -> None:
    store: Any = here.store
    most = Spend("a", 3 * 10**15, 8.0, 9 * 10**15)
    for _ in range(3):
        assert store.facts_check("s", [], [most]).receipt is not None
        here.wait(1.0)
    assert store.facts_check("s", [], [most._replace(amount=1)]).spends == (9 * 10**15,)
    assert store.facts_check("s", [], [most._replace(amount=1)]).receipt is None
    here.wait(5.0)
    assert store.facts_check("s", [], [most._replace(amount=1)]).spends == (6 * 10**15,)


def test_a_session_in_redis_goes_by_itself(redis_url: str) -> None:
    import redis

    from actguard.stores.redis import RedisStore

    store = RedisStore(redis_url, timeout_s=10)
    with redis.Redis.from_url(redis_url) as look:
        store.facts_put("s", [Fact(("k", "v"), 60.0), Fact(("k", "w"), 5.0)])
        store.facts_check("s", [], [Spend("a", 1, 600.0, 5)])
        left = [look.pttl(key) for key in look.scan_iter()]
        assert len(left) == 2
        assert all(590_000 < milliseconds <= 600_010 for milliseconds in left)
        store.facts_put("s", [Fact(("k", "v"), 1.0)])
        assert all(look.pttl(key) > 590_000 for key in look.scan_iter())
        store.facts_end("s")
        assert look.keys() == []
    store.close()


def test_what_is_over_leaves_redis_while_its_session_goes_on(redis_url: str) -> None:
    import redis

    from actguard.stores.redis import RedisStore
    from tests.stores.places import Clock

    clock = Clock()
    store = RedisStore(redis_url, now=clock.micros, timeout_s=10)
    with redis.Redis.from_url(redis_url) as look:
        for number in range(0, 2_000, 100):
            store.facts_put("s", [Fact(("k", f"i:{each}"), 1.0) for each in range(number, number + 100)])
        clock.turn(2.0)
        for number in range(40):
            store.facts_put("s", [Fact(("k", f"i:{number}"), 60.0)])
        held, due = sorted(look.keys())
        assert look.hlen(held) == look.zcard(due) == 40
    store.close()


async def test_custody_works_over_redis(redis_url: str) -> None:
    from actguard import GuardError, RequireFact, Threshold, enforce, prove, session
    from actguard.stores.redis import RedisStore

    @prove("id", "[]", max_uses=1)
    async def read() -> list[str]:
        return ["x", "y"]

    @enforce([RequireFact("value", "id"), Threshold("amount", 5, cumulative=(60, 8))])
    async def write(value: str, amount: int) -> str:
        return "written"

    @enforce([RequireFact("value", "id")])
    def write_here(value: str) -> str:
        return "written"

    store = RedisStore(redis_url, timeout_s=10)
    async with session("chat", store=store, shared=True):
        await read()
    async with session("chat", store=RedisStore(redis_url, timeout_s=10), shared=True) as other:
        assert await write("x", 5) == "written"
        for value, amount, code in (("x", 1, "MISSING_FACT"), ("y", 4, "THRESHOLD_EXCEEDED")):
            with pytest.raises(GuardError) as caught:
                await write(value, amount)
            assert caught.value.code == code
        assert write_here("y") == "written"
        await other.aclose()
    with pytest.raises(GuardError):
        write_here("y")
