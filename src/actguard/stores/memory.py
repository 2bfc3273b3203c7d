"""Guard state in this process: the machines, with locks around them, and nothing kept longer than it matters.

Keys are spread over shards, each with a lock of its own; an `admit` of several steps takes the locks of all its shards,
in order. What is over is found by a heap of ends: every write looks at the first few, so that what is kept is in
proportion to what is used, and no call pays for many others. Time is monotonic: setting the clock changes nothing.
"""

import threading
import time
from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from math import inf
from typing import Any, Literal, TypeVar, cast

from actguard.exceptions import StoreFullError
from actguard.stores.breaker import QUIET, CircuitMachine
from actguard.stores.counter import CounterMachine
from actguard.stores.idempotency import IdempotencyMachine
from actguard.stores.leases import LeaseMachine
from actguard.stores.memory_facts import MemoryFacts
from actguard.stores.protocol import (
    Admitted,
    AsyncStore,
    BreakerAcquire,
    BreakerRecord,
    BreakerRules,
    BreakerState,
    Circuit,
    CounterGive,
    CounterTake,
    Done,
    IdempotencyBegin,
    IdempotencyDone,
    IdempotencyLost,
    IdempotencyRecord,
    IdempotencyRelease,
    Kind,
    LeaseGive,
    LeaseTake,
    OverLimit,
    RateGive,
    RateTake,
    Receipt,
    Refusal,
    Refused,
    Report,
    Step,
    Taken,
    fast_new,
)
from actguard.stores.rate import METERS, Meter, Sliding, remaining
from actguard.stores.undo import KIND_OF, REFUSALS, undoing

_SHARDS = 16
_SWEPT_AT_ONCE = 8

T = TypeVar("T")


class _Meters:
    """The meters of one key: one for each of its limits. only: the single one, if it is a log."""

    __slots__ = ("meters", "only", "until")

    def __init__(self, step: RateTake) -> None:
        self.meters: tuple[Meter, ...] = tuple(METERS[limit.algorithm]() for limit in step.limits)
        first = self.meters[0]
        self.only = first if isinstance(first, Sliding) and len(self.meters) == 1 else None
        self.until = 0.0


class _Shard:
    __slots__ = ("circuits", "counters", "ends", "leases", "lock", "rates", "records", "room", "tables")

    def __init__(self, room: int) -> None:
        self.lock = threading.Lock()
        self.room = room
        self.rates: dict[str, _Meters] = {}
        self.circuits: dict[str, CircuitMachine] = {}
        self.counters: dict[str, CounterMachine] = {}
        self.records: dict[str, IdempotencyMachine] = {}
        self.leases: dict[str, LeaseMachine] = {}
        self.tables: dict[Kind, dict[str, Any]] = {
            "rate": self.rates,
            "breaker": self.circuits,
            "counter": self.counters,
            "idempotency": self.records,
            "lease": self.leases,
        }
        self.ends: list[tuple[float, Kind, str]] = []

    def state(self, kind: Kind, key: str, now: float, make: Callable[[], T], end: float) -> T:
        """What is kept at *key*, made if there is nothing."""
        table = self.tables[kind]
        state = table.get(key)
        if state is None:
            if len(self.ends) >= self.room:
                raise StoreFullError(
                    f"MemoryStore holds {self.room} live keys in one of its {_SHARDS} parts and takes no new one; "
                    "give it more with MemoryStore(max_keys=...)"
                )
            state = table[key] = make()
            if end < inf:  # what has no end yet is given one when it is known
                heappush(self.ends, (end, kind, key))
        return cast("T", state)

    def sweep(self, now: float, most: int = _SWEPT_AT_ONCE) -> int:
        """Forget what is over, at most *most*; how many ends were looked at."""
        ends, looked = self.ends, 0
        while looked < most and ends and ends[0][0] <= now:
            _, kind, key = heappop(ends)
            looked += 1
            state = self.tables[kind].get(key)
            if state is None:
                continue
            if state.until > now:
                heappush(ends, (state.until, kind, key))
            else:
                del self.tables[kind][key]
        return looked


class MemoryStore(MemoryFacts):
    """A `Store` in this process's memory.

    Args:
        max_keys: how many keys are kept at most. A full store refuses new keys (`StoreFullError`) and never forgets one
            that still matters: otherwise whoever sends enough of them could lift a limit.
        clock: seconds that never go back.
    """

    serialises = False
    blocking = False
    aio: AsyncStore | None = None

    def __init__(self, *, max_keys: int = 4_000_000, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(clock)
        self._shards = tuple(_Shard(max(1, max_keys // _SHARDS)) for _ in range(_SHARDS))

    # ---- before and after a call ----

    def asker(self, kind: Kind) -> Callable[[Any], Any]:
        """`admit` of a single step of *kind*, as one function: gives its receipt or its refusal."""
        shards, clock, take = self._shards, self._clock, _TAKE[kind]

        def ask(step: Any) -> Any:
            shard = shards[hash(step[0]) % _SHARDS]
            with shard.lock:
                now = clock()
                if (ends := shard.ends) and ends[0][0] <= now:
                    shard.sweep(now)  # before the key is looked up: it may be one of those that are over
                return take(shard, step, now)

        def ask_circuit(step: Any) -> Any:
            if step[0] not in shards[hash(step[0]) % _SHARDS].circuits and step[1].failure_rate is None:
                return QUIET  # nothing ever failed there, and a look at a dict needs no lock
            return ask(step)

        return ask_circuit if kind == "breaker" else ask

    def admit(self, steps: Sequence[Step]) -> Admitted | Refused:
        places = [hash(step[0]) % _SHARDS for step in steps]
        shards = [self._shards[place] for place in places]
        locks = [self._shards[place].lock for place in sorted(set(places))]
        receipts: list[Receipt | Refusal] = []
        for lock in locks:
            lock.acquire()
        try:
            now = self._clock()
            for shard in shards:
                if shard.ends and shard.ends[0][0] <= now:
                    shard.sweep(now)
            for shard, step in zip(shards, steps, strict=False):
                answer = _TAKE[KIND_OF[type(step)]](shard, step, now)
                if type(answer) in REFUSALS and not step.observe:
                    self._undo(shards, steps, receipts, now)
                    return Refused(len(receipts), cast("Refusal", answer))
                receipts.append(answer)
        except StoreFullError:
            self._undo(shards, steps, receipts, self._clock())
            raise
        finally:
            for lock in locks:
                lock.release()
        return Admitted(tuple(receipts))

    def finish_one(self, report: Report) -> bool:
        """`finish` of a single report."""
        shard, write = self._shards[hash(report[0]) % _SHARDS], _WRITE[type(report)]
        with shard.lock:
            now = self._clock()
            if shard.ends and shard.ends[0][0] <= now:
                shard.sweep(now)
            return write(shard, report, now)

    def finish(self, reports: Sequence[Report]) -> tuple[bool, ...]:
        return tuple([self.finish_one(report) for report in reports])

    @staticmethod
    def _undo(
        shards: Sequence[_Shard], steps: Sequence[Step], receipts: Sequence[Receipt | Refusal], now: float
    ) -> None:
        for shard, step, receipt in zip(shards, steps, receipts, strict=False):
            report = undoing(step, receipt)
            if report is not None:
                _WRITE[type(report)](shard, report, now)

    def idem_heartbeat(self, key: str, owner: str, lease_s: float) -> bool:
        shard = self._shard(key)
        with shard.lock:
            record = shard.records.get(key)
            return record is not None and record.heartbeat(owner, lease_s, self._clock())

    def lease_heartbeat(self, key: str, owner: str, lease_s: float) -> bool:
        shard = self._shard(key)
        with shard.lock:
            leases = shard.leases.get(key)
            return leases is not None and leases.renew(owner, lease_s, self._clock())

    # ---- looking, and putting right ----

    def circuit(self, key: str, rules: BreakerRules) -> Circuit:
        shard = self._shard(key)
        with shard.lock:
            machine = shard.circuits.get(key) or CircuitMachine()
            return machine.look(rules, self._clock())

    def force_circuit(self, key: str, rules: BreakerRules, state: BreakerState) -> None:
        shard = self._shard(key)
        with shard.lock:
            now = self._clock()
            shard.state("breaker", key, now, CircuitMachine, now + rules.idle_s).force(rules, state, now)

    def list_idempotency(
        self, prefix: str = "", *, state: Literal["in_progress", "done", "unknown"] | None = None, limit: int = 100
    ) -> list[IdempotencyRecord]:
        found: list[IdempotencyRecord] = []
        for shard in self._shards:
            with shard.lock:
                now = self._clock()
                for key, machine in shard.records.items():
                    record = machine.look(key, now) if key.startswith(prefix) else None
                    if record is not None and state in (None, record.state):
                        found.append(record)
                        if len(found) >= limit:
                            return found
        return found

    def resolve_idempotency(self, key: str, outcome: Done | None, *, ttl_s: float) -> bool:
        shard = self._shard(key)
        with shard.lock:
            record = shard.records.get(key)
            return record is not None and record.resolve(outcome, self._clock(), ttl_s)

    def forget(self, kind: Kind, prefix: str) -> int:
        gone = 0
        for shard in self._shards:
            with shard.lock:
                table = shard.tables[kind]
                for key in [key for key in table if key.startswith(prefix)]:
                    del table[key]
                    gone += 1
        return gone

    def sweep(self) -> int:
        """Forget everything that is over, now; how many keys are left."""
        for shard in self._shards:
            while True:
                with shard.lock:
                    if shard.sweep(self._clock(), 256) < 256:
                        break
        return len(self)

    def __len__(self) -> int:
        """Keys that are kept, those included that are over and not swept yet."""
        return sum(len(table) for shard in self._shards for table in shard.tables.values())

    def close(self) -> None:
        """Forget everything."""
        for shard in self._shards:
            with shard.lock:
                shard.ends.clear()
                for table in shard.tables.values():
                    table.clear()

    def _shard(self, key: str) -> _Shard:
        return self._shards[hash(key) % _SHARDS]


# ---- one operation each, under the shard's lock -------------------------------------------------------------------


def _take_rate(shard: _Shard, step: RateTake, now: float) -> Any:
    key, limits, cost, _ = step
    state = shard.rates.get(key)
    if state is None:
        longest = max(limit.period for limit in limits)
        state = shard.state("rate", key, now, lambda: _Meters(step), now + longest)
    if (only := state.only) is not None:
        limit = limits[0]
        wait = only.take(limit, cost, now)
        if wait > 0:
            return OverLimit(0, limit[0] - only.used, wait)
        state.until = only.until
        return fast_new(Taken, (now, limit[0] - only.used))
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


def _give_rate(shard: _Shard, report: RateGive, now: float) -> bool:
    state = shard.rates.get(report.key)
    if state is None:
        return False
    given = [
        meter.give(limit, report.cost, report.token, now)
        for meter, limit in zip(state.meters, report.limits, strict=True)
    ]
    return any(given)


def _acquire(shard: _Shard, step: BreakerAcquire, now: float) -> Any:
    key, rules, owner, _ = step
    machine = shard.circuits.get(key)
    if machine is None:
        return QUIET if rules.failure_rate is None else QUIET._replace(quiet=False)
    return machine.acquire(rules, owner, now)


def _record(shard: _Shard, report: BreakerRecord, now: float) -> bool:
    key, rules, owner, generation, outcome, open_for = report
    machine = shard.circuits.get(key)
    if machine is None:
        if generation != 0 or outcome == "neutral" or (outcome == "success" and rules.failure_rate is None):
            return False
        machine = shard.state("breaker", key, now, CircuitMachine, now + rules.idle_s)
    return machine.record(rules, owner, generation, outcome, now, open_for)


def _count(shard: _Shard, step: CounterTake, now: float) -> Any:
    key, limit, ttl_s, _ = step
    counter = shard.counters.get(key)
    if counter is None:
        counter = shard.state("counter", key, now, CounterMachine, now + ttl_s)
    elif counter.until <= now:  # over, and not swept yet
        counter.used = counter.refused = 0
    return counter.take(limit, ttl_s, now)


def _uncount(shard: _Shard, report: CounterGive, now: float) -> bool:
    counter = shard.counters.get(report.key)
    return counter is not None and counter.until > now and counter.give()


def _begin(shard: _Shard, step: IdempotencyBegin, now: float) -> Any:
    record = shard.state("idempotency", step.key, now, IdempotencyMachine, now + step.lease_s + step.ttl_s)
    return record.begin(step, now)


def _end(shard: _Shard, report: IdempotencyDone | IdempotencyLost, now: float) -> bool:
    record = shard.records.get(report.key)
    if record is None:
        return False
    endless = record.until == inf
    if isinstance(report, IdempotencyDone):
        ended = record.end(report.owner, "done", now, report.ttl_s, result=report.result)
    else:
        ended = record.end(report.owner, "unknown", now, report.ttl_s, error=report.error)
    if ended and endless:
        heappush(shard.ends, (record.until, "idempotency", report.key))
    return ended


def _release(shard: _Shard, report: IdempotencyRelease, now: float) -> bool:
    record = shard.records.get(report.key)
    if record is None or not record.release(report.owner, now):
        return False
    del shard.records[report.key]
    return True


def _lease(shard: _Shard, step: LeaseTake, now: float) -> Any:
    leases = shard.state("lease", step.key, now, LeaseMachine, now + step.lease_s)
    return leases.take(step.owner, step.limit, step.lease_s, now)


def _unlease(shard: _Shard, report: LeaseGive, now: float) -> bool:
    leases = shard.leases.get(report.key)
    if leases is None or not leases.give(report.owner, now):
        return False
    if not leases.until:
        del shard.leases[report.key]
    return True


_TAKE: dict[Kind, Callable[[_Shard, Any, float], Any]] = {
    "rate": _take_rate,
    "breaker": _acquire,
    "counter": _count,
    "idempotency": _begin,
    "lease": _lease,
}
_WRITE: dict[type, Callable[[_Shard, Any, float], bool]] = {
    RateGive: _give_rate,
    BreakerRecord: _record,
    CounterGive: _uncount,
    IdempotencyDone: _end,
    IdempotencyLost: _end,
    IdempotencyRelease: _release,
    LeaseGive: _unlease,
}
