"""Facts against a plain model of them: random programs, a clock that the test moves, every answer compared."""

import os
import threading
import time
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from actguard.stores.fact_machine import FactMachine
from actguard.stores.facts import UNLIMITED, Charge, Fact, Key, Need, Receipt, Refused, Spend
from actguard.stores.memory import MemoryStore
from actguard.stores.memory_facts import MemoryFacts

SESSIONS = st.sampled_from(["s", "s", "s", "t"])
KEYS = st.sampled_from([("k", "s:a"), ("k", "s:a"), ("k", "s:b"), ("l", "s:a")])
RECORDS = st.sampled_from([(), ("r1",), ("r2",), ("r1", "r2")])
FACTS = st.builds(
    Fact,
    KEYS,
    st.sampled_from([1.0, 5.0, 60.0]),
    st.integers(0, 2),
    st.sampled_from(["", "list", "get"]),
    RECORDS,
    st.sampled_from([UNLIMITED, UNLIMITED, 1, 2]),
)
NEEDS = st.builds(
    Need,
    KEYS,
    st.integers(0, 2),
    st.sampled_from([None, None, 0.5, 3.0]),
    st.sampled_from([(), (), ("list",), ("list", "get")]),
    st.booleans(),
    st.sampled_from([None, None, 0, 1]),
    st.sampled_from([False, False, False, True]),
)
SPENDS = st.builds(Spend, st.sampled_from(["a", "b"]), st.integers(0, 10), st.just(10.0), st.just(20))

Proof = dict[str, Any]


class Oracle:
    """A session, written down plainly: every proof and amount there ever was."""

    def __init__(self) -> None:
        self.proofs: list[Proof] = []
        self.amounts: list[tuple[str, int, float]] = []

    def put(self, fact: Fact, now: float) -> None:
        same = [
            p
            for p in self.alive(fact.key, now)
            if (p["trust"], p["source"], p["records"]) == (fact.trust, fact.source, fact.records)
        ]
        ends = max([now + fact.ttl, *(p["ends"] for p in same)])
        self.proofs = [p for p in self.proofs if p not in same]
        self.proofs.append(
            {
                "key": fact.key,
                "trust": fact.trust,
                "source": fact.source,
                "records": fact.records,
                "from": now,
                "ends": ends,
                "uses": fact.uses,
            }
        )

    def alive(self, key: Key, now: float) -> list[Proof]:
        return [p for p in self.proofs if p["key"] == key and p["ends"] > now]

    def meeting(self, need: Need, now: float) -> tuple[list[Proof], Refused | None]:
        found = self.alive(need.key, now)
        if need.absent:
            return [], "present" if any(p["uses"] != 0 for p in found) else None
        demands: list[tuple[Refused, Any]] = [
            ("source", lambda p: not need.sources or p["source"] in need.sources),
            ("trust", lambda p: p["trust"] >= need.min_trust),
            ("age", lambda p: need.max_age is None or now - p["from"] <= need.max_age),
            ("used", lambda p: p["uses"] != 0),
        ]
        if not found:
            return [], "unknown"
        for why, meets in demands:
            found = [p for p in found if meets(p)]
            if not found:
                return [], why
        return found, None

    def spent(self, key: str, now: float) -> int:
        return sum(amount for name, amount, at in self.amounts if name == key and at + 10.0 > now)

    def check(
        self, needs: list[Need], spends: list[Spend], now: float, commit: bool
    ) -> tuple[list[Refused | None], list[int], bool]:
        met = [self.meeting(need, now) for need in needs]
        refused = [why for _, why in met]
        for group in (0, 1):
            inside = [index for index, need in enumerate(needs) if need.group == group]
            shared = [{r for p in met[index][0] for r in p["records"]} for index in inside]
            if inside and not set.intersection(*shared):
                for index in inside:
                    refused[index] = refused[index] or "record"
        before = [self.spent(spend.key, now) for spend in spends]
        totals: dict[str, int] = {}
        fits = True
        for spend in spends:
            totals[spend.key] = totals.get(spend.key, 0) + spend.amount
            fits = fits and self.spent(spend.key, now) + totals[spend.key] <= spend.total
        granted = commit and fits and not any(refused)
        if granted:
            consumed = {need.key for need in needs if need.consume and not need.absent}
            taken: list[int] = []
            for key in consumed:
                for proof in self.alive(key, now):
                    proof["uses"] = 0
            for need, (found, _) in zip(needs, met, strict=True):
                if need.key not in consumed and not any(p["uses"] == UNLIMITED for p in found):
                    for proof in found:
                        if id(proof) not in taken:
                            proof["uses"] -= 1
                            taken.append(id(proof))
            self.amounts += [(spend.key, spend.amount, now) for spend in spends]
        return refused, before, granted


class Facts(RuleBasedStateMachine):
    """`FactMachine` and the oracle, told the same."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.machine = FactMachine()
        self.oracles: dict[str, Oracle] = {"s": Oracle(), "t": Oracle()}

    @rule(session=SESSIONS, facts=st.lists(FACTS, min_size=1, max_size=4))
    def put(self, session: str, facts: list[Fact]) -> None:
        self.machine.put(session, facts, self.now)
        for fact in facts:
            self.oracles[session].put(fact, self.now)

    @rule(
        session=SESSIONS, needs=st.lists(NEEDS, max_size=3), spends=st.lists(SPENDS, max_size=2), commit=st.booleans()
    )
    def check(self, session: str, needs: list[Need], spends: list[Spend], commit: bool) -> None:
        refused, before, granted = self.oracles[session].check(needs, spends, self.now, commit)
        verdict = self.machine.check(session, needs, spends, self.now, commit=commit)

        assert (list(verdict.needs), list(verdict.spends), verdict.receipt is not None) == (refused, before, granted)

    @rule(
        session=SESSIONS,
        picks=st.lists(st.tuples(st.integers(0, 9), st.booleans(), st.booleans()), min_size=1, max_size=2),
        consume=st.sampled_from([False, False, False, True]),
        spends=st.lists(SPENDS, max_size=1),
    )
    def use(self, session: str, picks: list[tuple[int, bool, bool]], consume: bool, spends: list[Spend]) -> None:
        """A call that asks for what is there, so that it is mostly granted."""
        usable = [p for p in self.oracles[session].proofs if p["ends"] > self.now and p["uses"] != 0]
        needs: list[Need] = []
        for index, exact, together in picks if usable else []:
            proof = usable[index % len(usable)]
            sources = (proof["source"],) if exact and proof["source"] else ()
            group = 0 if together and proof["records"] else None
            needs.append(Need(proof["key"], proof["trust"] if exact else 0, None, sources, consume, group))
        self.check(session, needs, spends, commit=True)

    @rule(session=SESSIONS, key=KEYS, trust=st.integers(0, 2), ttl=st.sampled_from([1.0, 5.0]), late=st.booleans())
    def ends_on_time(self, session: str, key: Key, trust: int, ttl: float, late: bool) -> None:
        """A fact is there until the very moment at which it ends."""
        self.put(session, [Fact(key, ttl, trust)])
        self.now += ttl - (0.0 if late else 0.125)
        self.check(session, [Need(key, trust)], [], commit=True)
        self.holds(session, key, trust)

    @rule(session=SESSIONS, needs=st.lists(NEEDS, min_size=1, max_size=3), spends=st.lists(SPENDS, max_size=2))
    def check_and_give_back(self, session: str, needs: list[Need], spends: list[Spend]) -> None:
        """A call that a later guard refuses leaves everything as it was."""
        before = (self.machine.known(session, (), self.now), self.oracles[session].spent("a", self.now))
        receipt = self.machine.check(session, needs, spends, self.now).receipt
        if receipt is not None:
            self.machine.give_back(session, receipt)

        look = self.machine.check(session, [], [Spend("a", 0, 10.0, 10**9)], self.now, commit=False)
        assert (self.machine.known(session, (), self.now), look.spends[0]) == before

    @rule(session=SESSIONS, key=KEYS, trust=st.integers(0, 2))
    def holds(self, session: str, key: Key, trust: int) -> None:
        alive = self.oracles[session].alive(key, self.now)
        expected = any(p["trust"] >= trust and p["uses"] == UNLIMITED for p in alive)

        assert self.machine.holder(session, lambda: self.now)(key, trust) is expected

    @rule(session=SESSIONS, key=KEYS, whole=st.booleans())
    def revoke(self, session: str, key: Key, whole: bool) -> None:
        oracle = self.oracles[session]
        gone = [p for p in oracle.proofs if p["key"][0] == key[0] and (whole or p["key"] == key)]
        expected = len({p["key"] for p in gone if p["ends"] > self.now and p["uses"] != 0})
        oracle.proofs = [p for p in oracle.proofs if p not in gone]

        assert self.machine.revoke(session, key[0], None if whole else key[1], self.now) == expected

    @rule(session=SESSIONS)
    def end(self, session: str) -> None:
        self.machine.end(session)
        self.oracles[session] = Oracle()

    @rule(seconds=st.sampled_from([0.0, 0.25, 0.5, 1.0, 3.0, 10.0, 61.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(most=st.sampled_from([None, 1, 3]))
    def sweep(self, most: int | None) -> None:
        self.machine.sweep(self.now, most)

    @invariant()
    def what_is_known_is_the_same(self) -> None:
        for session, oracle in self.oracles.items():
            known = {(k.key, k.trust, k.source, k.records, k.uses) for k in self.machine.known(session, (), self.now)}
            expected = {
                (p["key"], p["trust"], p["source"], p["records"], p["uses"])
                for p in oracle.proofs
                if p["ends"] > self.now and p["uses"] != 0
            }
            assert known == expected

    def teardown(self) -> None:
        """Whatever happened, nothing is left when everything is over."""
        self.machine.sweep(self.now + 10_000)
        assert len(self.machine) == 0


TestFacts = Facts.TestCase
TestFacts.settings = settings(stateful_step_count=50, max_examples=settings.default.max_examples * 2)


@pytest.mark.parametrize("sessions", [1, 1_000])
def test_facts_that_are_over_go_without_anybody_asking(sessions: int) -> None:
    count = 1_000_000 if os.environ.get("HYPOTHESIS_PROFILE") == "long" else 100_000
    now = [0.0]
    store = MemoryStore(clock=lambda: now[0])
    for number in range(count):
        store.facts_put(f"s{number % sessions}", [Fact(("id", f"i:{number}"), 0.05)])
    assert store.facts_held() == count
    now[0] += 2.0

    store.facts_put("another", [Fact(("id", "i:0"), 60.0)])
    while store.facts_sweep(2_000):  # what the store's own thread does
        pass

    assert store.facts_held() < count / 100


def test_the_store_sweeps_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actguard.stores.sweeper.PAUSE_S", 0.01)
    store = MemoryFacts()
    for number in range(1_000):
        store.facts_put("s", [Fact(("id", f"i:{number}"), 0.01)])

    deadline = time.monotonic() + 20
    while store.facts_held() and time.monotonic() < deadline:
        time.sleep(0.05)

    assert store.facts_held() == 0
    store.facts_put("s", [Fact(("id", "i:1"), 60.0)])
    assert any(thread.name == "actguard-sweeper" for thread in threading.enumerate())


def test_a_fact_keeps_a_bounded_number_of_proofs() -> None:
    machine = FactMachine()
    for number in range(1_000):
        machine.put("s", [Fact(("k", "v"), 60.0 + number, source=str(number))], 0.0)

    known = machine.known("s", (), 0.0)
    assert len(known) == 64
    assert {fact.source for fact in known} == {str(number) for number in range(936, 1_000)}


def test_a_sum_keeps_a_bounded_number_of_amounts() -> None:
    machine = FactMachine()
    now = 0.0
    for _ in range(20_000):
        machine.check("s", [], [Spend("a", 1, 10.0, 10**9)], now)
        now += 0.001
    kept = machine._sessions["s"].sums["a"]

    assert len(kept.parts) <= 1_026
    assert 10_000 <= kept.spent(now) <= 10_012  # never less than the truth: late, not early


def test_what_was_revoked_or_ended_is_not_given_back() -> None:
    machine = FactMachine()
    machine.put("s", [Fact(("k", "v"), 60.0, uses=1)], 0.0)
    receipt = machine.check("s", [Need(("k", "v"))], [], 0.0).receipt
    assert receipt == Receipt((Charge(("k", "v"), "1||", 1, used_up=False),))

    machine.revoke("s", "k", "v", 0.0)
    machine.give_back("s", receipt)
    assert machine.known("s", (), 0.0) == []
    machine.end("s")
    machine.give_back("s", receipt)
    assert len(machine) == 0


def test_what_is_given_back_is_what_was_taken() -> None:
    machine = FactMachine()
    need = Need(("k", "v"))
    machine.put("s", [Fact(("k", "v"), 60.0, uses=3)], 0.0)
    first = machine.check("s", [need], [Spend("a", 5, 10.0, 20)], 0.0).receipt
    second = machine.check("s", [need._replace(consume=True)], [Spend("a", 15, 10.0, 20)], 0.0).receipt
    assert first is not None
    assert second is not None
    assert machine.known("s", (), 0.0) == []

    machine.give_back("s", second)
    assert [fact.uses for fact in machine.known("s", (), 0.0)] == [2]
    machine.give_back("s", first)
    assert [fact.uses for fact in machine.known("s", (), 0.0)] == [3]
    assert machine.check("s", [], [Spend("a", 20, 10.0, 20)], 9.9).receipt is not None
    assert machine.check("s", [], [Spend("a", 1, 10.0, 20)], 19.8).receipt is None
    assert machine.check("s", [], [Spend("a", 20, 10.0, 20)], 19.9).receipt is not None


def test_an_age_is_allowed_up_to_its_last_moment() -> None:
    machine = FactMachine()
    machine.put("s", [Fact(("k", "v"), 60.0)], 0.0)

    assert machine.check("s", [Need(("k", "v"), max_age=5.0)], [], 5.0).needs == (None,)
    assert machine.check("s", [Need(("k", "v"), max_age=5.0)], [], 5.1).needs == ("age",)
