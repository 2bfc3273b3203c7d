"""Random histories of operations, clocks and crashes: the ledger answers as the oracle does, on both stores."""

import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from actguard.gateway import accounts
from actguard.gateway.audit import audit
from actguard.gateway.ledger.operations import Extend, Operation, Release, Reserve, Settle
from actguard.gateway.ledger.windows import SECOND
from tests.gateway.conftest import Clock, Ledger, open_ledger
from tests.gateway.oracle import Oracle

LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"
EXAMPLES = {"sqlite": 2_000 if LONG else 100, "postgres": 2_000 if LONG else 10}
_names = itertools.count()
statuses: Counter[tuple[str, int]] = Counter()
"""What was answered, over all examples: a machine that meets only 404 shows nothing."""

_asked = st.tuples(
    st.sampled_from(["reserve", "reserve", "settle", "settle", "extend", "extend", "release"]),
    st.integers(0, 5).map("r{}".format),
    st.sampled_from([0, 1, 30, 50, 99, 100, 101, 250]),
    st.sampled_from(["alice", "bob"]),
    st.sampled_from([10, 3600]),
    st.sampled_from([None, None, 1, 2, 3]),
)

_EVERY_ANSWER: list[tuple[Any, ...]] = [
    ("reserve", "first", 50, "alice", 3600, None),
    ("reserve", "first", 51, "alice", 3600, None),
    ("reserve", "second", 1000, "alice", 3600, None),
    ("extend", "first", 10, "alice", 10, None),
    ("extend", "first", 1000, "alice", 10, None),
    ("settle", "second", 1, "alice", 10, None),
    ("settle", "first", 0, "alice", 10, 1),
    ("release", "first", 0, "alice", 10, None),
    ("extend", "first", 1, "alice", 10, None),
]
"""Each answer there is, once at the beginning: chance alone meets some of them only in long runs."""


class Machine(RuleBasedStateMachine):
    """Operations come alone or in batches; a batch must be what its operations are one after the other."""

    ledger: Ledger
    emptied: Callable[[], None]
    """Forgets the histories before this one, where they would make it slow."""

    @initialize(total=st.sampled_from([100, 250, 400]), per_user=st.sampled_from([100, 200]))
    def begin(self, total: int, per_user: int) -> None:
        self.emptied()
        store, clock = self.ledger.store, self.ledger.clock
        self.workspace = store.write(lambda t: accounts.add_workspace(t, f"w{next(_names)}", "UTC", clock.now))
        self.ledger.workspace = self.workspace
        self.ledger.budget(usd=total)
        self.ledger.budget("user", "*", window="day", usd=per_user)
        self.oracle = Oracle(total, per_user, None)
        self.run(asked=_EVERY_ANSWER)

    @rule(asked=st.lists(_asked, min_size=1, max_size=6))
    def run(self, asked: list[tuple[Any, ...]]) -> None:
        batch = [self.operation(*parts) for parts in asked]
        now = max(self.ledger.clock.now, getattr(self.ledger.store, "_latest", 0))
        if any(isinstance(o, (Reserve, Extend)) for o in batch):
            self.oracle.expire(now)
        said = [self.ask(operation, now) for operation in batch]
        replies = self.ledger.apply(*batch)
        assert [reply.status for reply in replies] == said, (batch, replies)
        statuses.update((type(o).__name__, reply.status) for o, reply in zip(batch, replies, strict=True))

    def operation(self, kind: str, id: str, usd: int, user: str, ttl: int, seq: int | None) -> Operation:
        whose: dict[str, Any] = {"workspace": self.workspace, "agent": "bot", "reserve_id": id}
        match kind:
            case "reserve":
                said = f"{usd} {user}"
                return Reserve(**whose, run_id="run", user_id=user, usd=usd, ttl=ttl * SECOND, hash=said)
            case "settle":
                return Settle(**whose, usd=usd, tokens=0, final=seq is None, seq=seq, hash=f"{usd}")
            case "extend":
                return Extend(**whose, usd=usd)
            case _:
                return Release(**whose)

    @rule(usd=st.sampled_from([0, 1, 30]), which=st.integers(0, 5))
    def grow(self, usd: int, which: int) -> None:
        """By chance alone, hardly any extension meets a hold that is open and a budget that has room."""
        still_open = [id for id, hold in self.oracle.holds.items() if hold.state == "open"]
        if still_open:
            self.run(asked=[("extend", still_open[which % len(still_open)], usd, "alice", 10, None)])

    @rule(seconds=st.sampled_from([-100, 1, 10, 3600, 86_400]))
    def tick(self, seconds: int) -> None:
        self.ledger.clock.tick(seconds)

    @rule()
    def reap(self) -> None:
        self.oracle.expire(max(self.ledger.clock.now, getattr(self.ledger.store, "_latest", 0)))
        self.ledger.apply()

    @rule()
    def crash(self) -> None:
        latest = getattr(self.ledger.store, "_latest", 0)
        self.ledger.clock.now = max(self.ledger.clock.now, latest)
        self.ledger.crash()

    def ask(self, o: Operation, now: int) -> int:
        match o:
            case Reserve():
                return self.oracle.reserve(o.reserve_id, o.usd or 0, o.user_id, now // SECOND // 86_400, now, o.ttl)
            case Settle():
                return self.oracle.settle(o.reserve_id, o.usd, o.seq)
            case Extend():
                return self.oracle.extend(o.reserve_id, o.usd, now)
            case Release():
                return self.oracle.release(o.reserve_id)

    @invariant()
    def the_counters_are_the_oracles(self) -> None:
        if not hasattr(self, "oracle"):
            return
        holds = self.oracle.holds.values()
        held, spent, _, _ = self.ledger.counter()
        assert (held, spent) == (sum(h.held for h in holds), sum(h.spent for h in holds))

    def teardown(self) -> None:
        if not hasattr(self, "oracle"):
            return
        store = self.ledger.store
        rows = store.read(lambda t: t.rows("all_holds"))
        states = {h.state for h in self.oracle.holds.values()}
        assert states <= {"open", "settled", "released", "expired", "settled_late"}
        mine = [row for row in rows if row[0] == self.workspace]
        assert sorted((row[2], row[3]) for row in mine) == sorted((h.held, h.spent) for h in self.oracle.holds.values())


@pytest.fixture
def machine(database: str, kind: str) -> Iterator[Any]:
    """On Postgres without waiting for the disk: nothing here depends on what outlives a loss of power."""
    if kind == "postgres":
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute(f"ALTER DATABASE {connection.info.dbname} SET synchronous_commit = off".encode())
    ledger = open_ledger(database, Clock())

    def emptied() -> None:
        assert ledger.store.read(audit) == []
        if kind == "postgres":
            with psycopg.connect(database, autocommit=True) as connection:
                connection.execute("SET session_replication_role = replica")  # no triggers: the ledger refuses it
                connection.execute("TRUNCATE holds, ledger, counters, answers, budgets")

    yield type("Machine", (Machine,), {"ledger": ledger, "emptied": staticmethod(emptied)})
    assert ledger.store.read(audit) == []
    ledger.store.close()


@pytest.mark.timeout(3600 if LONG else 120)
def test_the_ledger_answers_as_the_oracle_does(machine: Any, kind: str) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES[kind],
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=[*HealthCheck],
        ),
    )
    met = {("Reserve", 200), ("Reserve", 409), ("Reserve", 422), ("Settle", 200), ("Settle", 404), ("Release", 200)}
    met |= {("Extend", 200), ("Extend", 409), ("Extend", 422)}
    assert met <= statuses.keys()
