"""One part of a store in memory: its tables, a lock around them, and the ends by which what is over is found.

The functions at the end carry out one step or one report each; they are called with the shard's lock held.
"""

import sys
import threading
from collections.abc import Callable, Sequence
from math import inf
from typing import Any, Literal, TypeVar, cast

from actguard.exceptions import StoreFullError
from actguard.stores.breaker import QUIET, CircuitMachine
from actguard.stores.counter import CounterMachine
from actguard.stores.ends import Ends
from actguard.stores.idempotency import BEGUN, IdempotencyMachine
from actguard.stores.leases import LeaseMachine
from actguard.stores.protocol import (
    BreakerAcquire,
    BreakerRecord,
    CounterGive,
    CounterSeen,
    CounterTake,
    IdempotencyBegin,
    IdempotencyDone,
    IdempotencyLost,
    IdempotencyRelease,
    Kind,
    LeaseGive,
    LeaseTake,
    Limit,
    OverLimit,
    RateGive,
    RateTake,
    Receipt,
    Refusal,
    Step,
    Taken,
    fast_new,
)
from actguard.stores.rate import METERS, Meter, Sliding, grain_of, remaining
from actguard.stores.sweeper import Sweeper
from actguard.stores.undo import undoing

_SWEPT_AT_ONCE = 8
_REST_S = 0.001
"""What ends within so many seconds is looked at together: one look for each key would cost as much as the key."""
_SPARSE = 400  # bytes of a table for each of its entries; a full one has a quarter of that

T = TypeVar("T")


class _Meters:
    """The meters of one key: one for each of its limits."""

    __slots__ = ("meters", "until")

    def __init__(self, limits: Sequence[Limit]) -> None:
        self.meters: tuple[Meter, ...] = tuple(METERS[limit.algorithm]() for limit in limits)
        self.until = 0.0


def _meters(limits: Sequence[Limit]) -> Sliding | _Meters:
    """What is kept for *limits*: of a single log, which is what most are, itself."""
    return Sliding() if len(limits) == 1 and limits[0].algorithm == "sliding" else _Meters(limits)


_TABLES: dict[Kind, str] = {
    "rate": "rates",
    "breaker": "circuits",
    "counter": "counters",
    "idempotency": "records",
    "lease": "leases",
}


class Claimed(IdempotencyMachine):
    """A record that says where it is kept, so that who was given it need not look for it."""

    __slots__ = ("key", "shard")

    key: str
    shard: "Shard"


class Shard:
    """See the module.

    Args:
        room: how many keys it takes.
        sweeper: told when there is something that ends.
    """

    __slots__ = (
        "circuits",
        "counters",
        "ends",
        "given",
        "leases",
        "lock",
        "rates",
        "records",
        "room",
        "sweeper",
        "tables",
    )

    def __init__(self, room: int, sweeper: Sweeper) -> None:
        self.lock = threading.Lock()
        self.room = room
        self.sweeper = sweeper
        self.rates: dict[str, Sliding | _Meters] = {}
        self.circuits: dict[str, CircuitMachine] = {}
        self.counters: dict[str, CounterMachine] = {}
        self.records: dict[str, Claimed] = {}
        self.leases: dict[str, LeaseMachine] = {}
        self.tables: dict[Kind, dict[str, Any]] = {kind: getattr(self, name) for kind, name in _TABLES.items()}
        self.ends = Ends()
        self.given: dict[str, Callable[[], Any]] = {}
        """Who is told when a place at a key is given back. Changed without the lock: also by what is collected."""

    def state(self, kind: Kind, key: str, now: float, make: Callable[[], T], end: float) -> T:
        """What is kept at *key*, made if there is nothing."""
        state = self.tables[kind].get(key)
        return self.add(kind, key, make(), end) if state is None else cast("T", state)

    def add(self, kind: Kind, key: str, state: T, end: float) -> T:
        """Keep *state* at *key*, where there is nothing so far."""
        if self.ends.count >= self.room:
            raise self.full()
        self.tables[kind][key] = state
        if end < inf:  # what has no end yet is given one when it is known
            self.expect(end, kind, key)
        return state

    def full(self) -> StoreFullError:
        return StoreFullError(
            f"MemoryStore holds {self.room} live keys in one of its parts and takes no new one; "
            "give it more with MemoryStore(max_keys=...)"
        )

    def expect(self, end: float, kind: Kind, key: str) -> None:
        """Look at *key* when *end* is over."""
        self.ends.add(end, kind, key)
        if not self.sweeper.running:
            self.sweeper.begin()

    def sweep(self, now: float, most: int = _SWEPT_AT_ONCE) -> int:
        """Forget what is over, at most *most*; how many ends were looked at."""
        ends, looked = self.ends, 0
        while looked < most and (over := ends.take(now, most - looked)) is not None:
            kind, keys = over
            looked += len(keys)
            table = self.tables[kind]
            for key in keys:
                state = table.get(key)
                if state is None:
                    continue
                if state.until <= now:
                    del table[key]
                elif state.until < inf:
                    ends.add(state.until, kind, key)
        if looked < most:
            ends.rest(now + _REST_S)
        return looked

    def shrink(self) -> None:
        """Give back the memory of tables that were large once: a dict never does so by itself."""
        for kind, table in self.tables.items():
            if sys.getsizeof(table) > 65_536 + _SPARSE * len(table):
                # A new one, not this one cleared: who looks without the lock must find what is there.
                setattr(self, _TABLES[kind], fresh := dict(table))
                self.tables[kind] = fresh


# ---- one operation each, under the shard's lock -------------------------------------------------------------------


def _take_rate(shard: Shard, step: RateTake, now: float) -> Any:
    key, limits, cost, _ = step
    state = shard.rates.get(key)
    if state is None:
        longest = max(limit.period for limit in limits)
        state = shard.state("rate", key, now, lambda: _meters(limits), now + longest)
    if isinstance(state, Sliding):
        limit = limits[0]
        if state.take(limit.max_calls, limit.period, grain_of(limit), cost, now):
            return fast_new(Taken, (now, limit.max_calls - state.used))
        return OverLimit(0, limit.max_calls - state.used, state.wait(limit, cost, now))
    room = 1 << 62
    for index, (meter, limit) in enumerate(zip(state.meters, limits, strict=True)):
        wait = meter.wait(limit, cost, now)
        if wait > 0:
            return OverLimit(index, remaining(meter, limit, now), wait)
    for meter, limit in zip(state.meters, limits, strict=True):
        meter.add(limit, cost, now)
        room = min(room, remaining(meter, limit, now))
        if meter.until > state.until:
            state.until = meter.until
    return Taken(now, room)


def _give_rate(shard: Shard, report: RateGive, now: float) -> bool:
    state = shard.rates.get(report.key)
    if state is None:
        return False
    meters = (state,) if isinstance(state, Sliding) else state.meters
    given = [
        meter.give(limit, report.cost, report.token, now) for meter, limit in zip(meters, report.limits, strict=True)
    ]
    return any(given)


def _acquire(shard: Shard, step: BreakerAcquire, now: float) -> Any:
    machine = shard.circuits.get(step.key)
    if machine is None:
        return QUIET if step.rules.failure_rate is None else QUIET._replace(quiet=False)
    return machine.acquire(step.rules, step.owner, now)


def _record(shard: Shard, report: BreakerRecord, now: float) -> bool:
    key, rules, owner, generation, outcome, open_for = report
    machine = shard.circuits.get(key)
    if machine is None:
        if generation != 0 or outcome == "neutral" or (outcome == "success" and rules.failure_rate is None):
            return False
        machine = shard.state("breaker", key, now, CircuitMachine, now + rules.idle_s)
    return machine.record(rules, owner, generation, outcome, now, open_for)


def _count(shard: Shard, step: CounterTake, now: float) -> Any:
    key, limit, ttl_s, _ = step
    counter = shard.counters.get(key)
    if counter is None:
        counter = shard.state("counter", key, now, CounterMachine, now + ttl_s)
    elif counter.until <= now:  # over, and not swept yet
        counter.begin()
    return counter.take(limit, ttl_s, now)


def _uncount(shard: Shard, report: CounterGive, now: float) -> bool:
    counter = shard.counters.get(report.key)
    return counter is not None and counter.until > now and counter.give()


def _seen(shard: Shard, report: CounterSeen, now: float) -> bool:
    counter = shard.counters.get(report.key)
    return counter is not None and counter.until > now and counter.seen(report.mark)


def _begin(shard: Shard, step: IdempotencyBegin, now: float) -> Any:
    key, owner, ttl_s, lease_s, fingerprint, _ = step
    record = shard.records.get(key)
    if record is not None and record.until > now:
        return record.answer(step, now)
    claimed = claim(shard, key, owner, ttl_s, lease_s, fingerprint, now)
    return BEGUN if owner else claimed


def claim(
    shard: Shard, key: str, owner: str, ttl_s: float, lease_s: float, fingerprint: str | None, now: float
) -> Claimed:
    """Carry out an `IdempotencyBegin` where there is no record that is not over."""
    if shard.ends.count >= shard.room:
        raise shard.full()
    made = Claimed()
    made.claim(owner, ttl_s, lease_s, fingerprint, now)
    made.key, made.shard = key, shard
    shard.records[key] = made
    if lease_s < inf:  # otherwise its end is known when the call has ended
        shard.expect(made.until, "idempotency", key)
    return made


def _done(shard: Shard, report: IdempotencyDone, now: float) -> bool:
    key, owner, ttl_s, result = report
    record = shard.records.get(key)
    return record is not None and owner == record.owner and ended(record, "done", ttl_s, now, result)


def _lost(shard: Shard, report: IdempotencyLost, now: float) -> bool:
    key, owner, ttl_s, error = report
    record = shard.records.get(key)
    return record is not None and owner == record.owner and ended(record, "unknown", ttl_s, now, None, error)


def ended(
    record: Claimed, state: Literal["done", "unknown"], ttl_s: float, now: float, result: Any, error: str = ""
) -> bool:
    """Carry out what he says whom *record* belongs to."""
    endless = record.until == inf
    if not record.end(state, now, ttl_s, result, error):
        return False
    if endless:
        shard = record.shard
        shard.ends.add(record.until, "idempotency", record.key)
        if not shard.sweeper.running:
            shard.sweeper.begin()
    return True


def _release(shard: Shard, report: IdempotencyRelease, now: float) -> bool:
    record = shard.records.get(report.key)
    if record is None or not record.release(report.owner, now):
        return False
    del shard.records[report.key]
    return True


def _lease(shard: Shard, step: LeaseTake, now: float) -> Any:
    leases = shard.state("lease", step.key, now, LeaseMachine, now + step.lease_s)
    return leases.take(step.owner, step.limit, step.lease_s, now, 0.0 if step.observe else step.waits_s)


def _unlease(shard: Shard, report: LeaseGive, now: float) -> bool:
    leases = shard.leases.get(report.key)
    if leases is None:
        return False
    given = leases.give(report.owner, now)
    if not leases.until:
        del shard.leases[report.key]
    if given and (told := shard.given.get(report.key)) is not None:
        told()
    return given


TAKE: dict[type, Callable[[Shard, Any, float], Any]] = {
    RateTake: _take_rate,
    BreakerAcquire: _acquire,
    CounterTake: _count,
    IdempotencyBegin: _begin,
    LeaseTake: _lease,
}
WRITE: dict[type, Callable[[Shard, Any, float], bool]] = {
    RateGive: _give_rate,
    BreakerRecord: _record,
    CounterGive: _uncount,
    CounterSeen: _seen,
    IdempotencyDone: _done,
    IdempotencyLost: _lost,
    IdempotencyRelease: _release,
    LeaseGive: _unlease,
}


def take_back(shard: Shard, step: Step, receipt: Receipt | Refusal | None, now: float) -> None:
    """Undo *step*, whose *receipt* never reached who asked, as an interrupt came first. The lock is not held.

    None: it was not taken, or as if: of what leaves no receipt, nothing is held.
    """
    report = None if receipt is None else undoing(step, receipt)
    if report is not None:
        with shard.lock:
            WRITE[type(report)](shard, report, now)
