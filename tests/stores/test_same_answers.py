"""Random programs against memory and Redis at once: whatever is asked, both say the same.

The machines in memory are pure Python, with models of their own; here they are the model for the Lua scripts.
Time is turned in 64ths of a second before every request, so that both clocks are exact.
"""

from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actguard.stores.memory import MemoryStore
from actguard.stores.protocol import (
    BreakerAcquire,
    BreakerRecord,
    BreakerRules,
    CounterGive,
    CounterSeen,
    CounterTake,
    Done,
    IdempotencyBegin,
    IdempotencyDone,
    IdempotencyLost,
    IdempotencyRelease,
    LeaseGive,
    LeaseTake,
    Limit,
    Permit,
    RateGive,
    RateTake,
    Refused,
    Taken,
)
from actguard.stores.redis import RedisStore
from tests.stores.places import Clock

MOMENTS = st.sampled_from([1, 2, 5, 16, 32, 64, 128, 300, 640, 5000]).map(lambda ticks: ticks / 64)
KEYS = st.sampled_from(["a", "b"])
OWNERS = st.sampled_from(["x", "y", "z"])

LIMITS = {
    "a": (Limit(2, 1.0),),
    "b": (Limit(3, 2.0), Limit(8, 10.0), Limit(4, 4.0, "gcra", 2), Limit(5, 8.0, "fixed")),
}
CIRCUITS = {
    "a": BreakerRules(
        max_fails=2, reset_timeout=1.0, backoff=2.0, max_open_s=6.0, probe_lease_s=2.0, half_open_probes=2, idle_s=1e6
    ),
    "b": BreakerRules(
        failure_rate=0.5,
        window=8.0,
        min_calls=3,
        reset_timeout=2.0,
        successes_to_close=2,
        probe_lease_s=2.0,
        idle_s=1e6,
    ),
}

rates = st.builds(
    lambda key, cost, observe: RateTake(key, LIMITS[key], cost, observe), KEYS, st.integers(1, 2), st.booleans()
)
circuits = st.builds(lambda key, owner: BreakerAcquire(key, CIRCUITS[key], owner), KEYS, OWNERS)
counters = st.builds(CounterTake, KEYS, st.integers(1, 3), st.just(5.0), st.booleans())
begins = st.builds(
    IdempotencyBegin, KEYS, OWNERS, st.just(4.0), st.just(1.0), st.sampled_from([None, "p", "q"]), st.booleans()
)
leases = st.builds(
    LeaseTake, KEYS, OWNERS, st.integers(1, 2), st.just(2.0), st.booleans(), st.sampled_from([0.0, 1.0, 3.0])
)
admits = st.builds(
    lambda chosen, order: (
        "admit",
        [step for _, step in sorted(zip(order, chosen, strict=True), key=lambda it: it[0])],
    ),
    st.tuples(begins, counters, circuits, rates, leases),
    st.permutations(range(5)),
).flatmap(lambda asked: st.integers(1, 5).map(lambda many: (asked[0], asked[1][:many])))

OUTCOMES = st.sampled_from(["success", "failure", "failure", "neutral"])
reports = st.one_of(
    st.builds(CounterGive, KEYS),
    st.builds(CounterSeen, KEYS, st.sampled_from(["x", "y"])),
    st.builds(IdempotencyDone, KEYS, OWNERS, st.just(4.0), st.sampled_from(["1", "2"])),
    st.builds(IdempotencyLost, KEYS, OWNERS, st.just(4.0), st.just("lost")),
    st.builds(IdempotencyRelease, KEYS, OWNERS),
    st.builds(LeaseGive, KEYS, OWNERS),
    st.tuples(st.just("record"), KEYS, OWNERS, OUTCOMES, st.sampled_from([None, None, 3.0]), st.integers(0, 5)),
    st.tuples(st.just("give"), KEYS, st.integers(0, 5)),
)
finishes = st.lists(reports, min_size=1, max_size=3).map(lambda told: ("finish", told))
STATES = st.sampled_from(["open", "closed", "forced_open", "disabled", "observe", "half_open"])
others = st.one_of(
    st.tuples(st.just("idem_heartbeat"), st.tuples(KEYS, OWNERS, st.just(1.0))),
    st.tuples(st.just("lease_heartbeat"), st.tuples(KEYS, OWNERS, st.just(2.0))),
    st.tuples(st.just("resolve_idempotency"), st.tuples(KEYS, st.sampled_from([None, Done("3")]))),
    st.tuples(st.just("force_circuit"), st.tuples(KEYS, STATES)),
    st.tuples(st.just("forget"), st.tuples(st.sampled_from(["rate", "counter", "lease", "idempotency"]), KEYS)),
    st.tuples(st.just("look"), KEYS),
)
programs = st.lists(st.tuples(MOMENTS, st.one_of(admits, admits, admits, finishes, finishes, others)), max_size=40)


class Twins:
    """One program's two stores, and what each of them gave out."""

    def __init__(self, url: str) -> None:
        self.clock = Clock()
        self.memory: Any = MemoryStore(clock=self.clock)
        self.redis: Any = RedisStore(url, now=self.clock.micros, timeout_s=10)
        self.tokens: dict[str, list[tuple[Taken, Taken, int]]] = {"a": [], "b": []}
        self.generations: dict[str, list[int]] = {"a": [0], "b": [0]}

    def do(self, what: str, asked: Any) -> tuple[Any, Any]:
        if what == "admit":
            return self.admit(asked)
        if what == "finish":
            told = [self._report(report) for report in asked]
            return self.memory.finish([mine for mine, _ in told]), self.redis.finish([other for _, other in told])
        if what == "look":
            return self._look(self.memory, asked), self._look(self.redis, asked)
        arguments, options = asked, {}
        if what == "force_circuit":
            arguments = (asked[0], CIRCUITS[asked[0]], asked[1])
        if what == "resolve_idempotency":
            options = {"ttl_s": 4.0}
        answers = [getattr(store, what)(*arguments, **options) for store in (self.memory, self.redis)]
        return (
            (None, None) if what == "forget" else (answers[0], answers[1])
        )  # what is over may be gone already, or not

    def admit(self, steps: list[Any]) -> tuple[Any, Any]:
        mine, theirs = self.memory.admit(steps), self.redis.admit(steps)
        if not isinstance(mine, Refused) and not isinstance(theirs, Refused):
            for step, here, there in zip(steps, mine.receipts, theirs.receipts, strict=True):
                if isinstance(here, Taken) and isinstance(there, Taken):
                    self.tokens[step.key].append((here, there, step.cost))
                if isinstance(here, Permit):
                    self.generations[step.key].append(here.generation)
        return mine, theirs

    def _report(self, report: Any) -> tuple[Any, Any]:
        if isinstance(report, tuple) and report[0] == "record":
            _, key, owner, how, open_for, back = report
            known = self.generations[key]
            record = BreakerRecord(key, CIRCUITS[key], owner, known[-1 - back % len(known)], how, open_for)
            return record, record
        if isinstance(report, tuple) and report[0] == "give":
            _, key, back = report
            if not self.tokens[key]:
                return CounterGive("none"), CounterGive("none")
            here, there, cost = self.tokens[key].pop(-1 - back % len(self.tokens[key]))
            return RateGive(key, LIMITS[key], here.token, cost), RateGive(key, LIMITS[key], there.token, cost)
        return report, report

    @staticmethod
    def _look(store: Any, key: str) -> Any:
        return store.circuit(key, CIRCUITS[key]), sorted(store.list_idempotency())


def told(answer: Any) -> Any:
    """*answer* without what each store names in its own way, and with durations as near as microseconds are."""
    if isinstance(answer, Taken):
        return answer.remaining
    if isinstance(answer, tuple | list):
        return type(answer).__name__, [told(part) for part in answer]
    return pytest.approx(answer, abs=3e-6) if isinstance(answer, float) else answer


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(program=programs)
def test_memory_and_redis_say_the_same(redis_url: str, program: list[Any]) -> None:
    with redis.Redis.from_url(redis_url) as connection:
        connection.flushall()
    twins = Twins(redis_url)
    try:
        for moment, (what, asked) in program:
            twins.clock.turn(moment)
            mine, theirs = twins.do(what, asked)
            assert told(theirs) == told(mine), (what, asked)
    finally:
        twins.redis.close()
