"""Guard state in this process: the machines, with locks around them, and nothing kept longer than it matters.

Keys are spread over shards, so that no table grows large. Each has a lock of its own, and an `admit` of several steps
takes the locks of all its shards, in order; but where the interpreter runs one thread at a time anyway, they share one
lock: more of them would not let more calls through, and cost a call of several guards as much as the guards.

What is over is found by its end (`stores/ends.py`): every write looks at the first few, so that what is kept is in
proportion to what is used, and no call pays for many others; where there are no calls, a thread does it. Time is
monotonic: setting the clock changes nothing.
"""

import logging
import sys
import threading
import time
from collections.abc import Callable, Sequence
from math import inf
from typing import Any, Literal, TypeVar, cast

from actguard.exceptions import ActGuardUsageError, StoreFullError
from actguard.stores.breaker import CircuitMachine
from actguard.stores.memory_asker import asker, taker
from actguard.stores.memory_facts import MemoryFacts
from actguard.stores.memory_shard import TAKE, WRITE, Claimed, Shard, take_back
from actguard.stores.protocol import (
    Admitted,
    BreakerRules,
    BreakerState,
    Circuit,
    Done,
    IdempotencyDone,
    IdempotencyRecord,
    Kind,
    Receipt,
    Refusal,
    Refused,
    Report,
    Step,
    fast_new,
)
from actguard.stores.store import AsyncStore
from actguard.stores.undo import REFUSALS, TYPE_OF, undoing, unmade

_SHARDS = 16
_ONE_LOCK: bool = getattr(sys, "_is_gil_enabled", lambda: True)()

T = TypeVar("T")

log = logging.getLogger("actguard.stores")


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
        if isinstance(max_keys, bool) or not isinstance(max_keys, int) or max_keys < 1:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ActGuardUsageError(
                f"max_keys must be a whole number, 1 or more, not {max_keys!r}", argument="max_keys"
            )
        super().__init__(clock)
        self._shards = tuple(Shard(max(1, max_keys // _SHARDS), self._sweeper) for _ in range(_SHARDS))
        self._set_locks()

    # ---- before and after a call ----

    def asker(self, kind: Kind) -> Callable[[Any], Any]:
        """`admit` of any single step of *kind*, as one function: gives its receipt or its refusal."""
        shards, clock, take = self._shards, self._clock, TAKE[TYPE_OF[kind]]

        def ask(step: Any) -> Any:
            shard = shards[hash(step[0]) % _SHARDS]
            receipt = None
            try:
                with shard.lock:
                    now = clock()
                    if shard.ends.next <= now:
                        shard.sweep(now)  # before the key is looked up: it may be one of those that are over
                    receipt = take(shard, step, now)
                return receipt  # noqa: RET504 - what came of it must have a name below
            except BaseException:
                take_back(shard, step, receipt, clock())
                raise

        return ask

    def key_asker(self, like: Step, *, receipts: bool) -> Callable[[str], Any]:
        """The same for a step that is *like* this one but for its key, as a function of the key.

        Args:
            receipts: somebody needs them. If not, None may take their place.
        """
        return asker(like, self._shards, self._clock, receipts=receipts)

    def several_asker(
        self, like: Sequence[Kind | Step], *, receipts: Sequence[bool]
    ) -> Callable[[Sequence[Any]], "list[Any] | Refused"]:
        """`admit` of several steps that are none of them observed, as one function: gives their receipts, or `Refused`.

        Args:
            like: for each, a step that it is like but for its key, which is then all that is given of it; or its kind.
            receipts: for each, as in `key_asker`.
        """
        takes = [
            TAKE[TYPE_OF[one]] if isinstance(one, str) else taker(one, receipts=wanted)
            for one, wanted in zip(like, receipts, strict=True)
        ]
        whole_steps = [isinstance(one, str) for one in like]
        kept, clock = self._shards, self._clock

        def whole(given: Sequence[Any]) -> list[Step]:
            pairs = zip(like, given, strict=True)
            return [step if isinstance(one, str) else one._replace(key=step) for one, step in pairs]

        def ask(given: Sequence[Any]) -> "list[Any] | Refused":
            receipts: list[Any] = []
            try:
                with kept[0].lock:
                    now = clock()
                    # Not strict: to compare their lengths costs as much as one.
                    for one, is_step, take in zip(given, whole_steps, takes):  # noqa: B905
                        shard = kept[hash(one[0] if is_step else one) % _SHARDS]
                        if shard.ends.next <= now:
                            shard.sweep(now)
                        # In one: between what was taken and the list, an interrupt would lose it.
                        receipts.append(answer := take(shard, one, now))
                        if answer is not None and type(answer) in REFUSALS:
                            index = len(receipts) - 1
                            self._undo(whole(given), receipts, now)
                            return Refused(index, answer)
                return receipts
            except BaseException:
                if receipts:
                    with kept[0].lock:
                        self._undo(whole(given), receipts, now)  # pyright: ignore[reportPossiblyUnboundVariable]
                raise

        def ask_with_many_locks(given: Sequence[Any]) -> "list[Any] | Refused":
            answer = self.admit(whole(given))
            return answer if isinstance(answer, Refused) else list(answer.receipts)

        return ask if _ONE_LOCK else ask_with_many_locks

    def done_teller(
        self, ttl_s: float, keep: Callable[[Any], Any], as_they_are: frozenset[type]
    ) -> Callable[[Any, Any, Any, float], IdempotencyDone | None]:
        """`finish_one` of an `IdempotencyDone`, as a pipeline's `Tell`.

        Args:
            keep: makes of a result what is kept.
            as_they_are: results of these types are kept themselves.
        """
        clock = self._clock

        def tell(asked: Any, claim: Claimed, result: Any, seconds: float) -> IdempotencyDone | None:
            kept, shard = result if type(result) in as_they_are else keep(result), claim.shard
            with shard.lock:
                now = clock()
                if shard.ends.next <= now:
                    shard.sweep(now)
                # It may have been taken away meanwhile, by hand, and be somebody else's by now.
                if shard.records.get(claim.key) is claim:
                    endless = claim.until == inf
                    if claim.end("done", now, ttl_s, kept):
                        if endless:
                            shard.ends.add(claim.until, "idempotency", claim.key)
                            if not shard.sweeper.running:
                                shard.sweeper.begin()
                        return None
            return IdempotencyDone(claim.key, claim.owner, ttl_s, kept)

        return tell

    def admit(self, steps: Sequence[Step]) -> Admitted | Refused:
        receipts: list[Any] = []
        try:
            if _ONE_LOCK:
                with self._shards[0].lock:
                    refused = self._decide(steps, receipts)
            else:
                refused = self._locked(_places(steps), self._decide, steps, receipts)
            return refused or fast_new(Admitted, (tuple(receipts),))
        except BaseException:
            self._locked(_places(steps), self._undo, steps, receipts, self._clock())
            raise

    def _locked(self, places: list[int], work: Callable[..., T], *args: Any) -> T:
        """Do *work* with the locks of *places* taken, from its end on. By `with` alone: between a lock that is acquired
        by hand and the `try` that releases it, an interrupt would leave it locked for ever."""
        if not places:
            return work(*args)
        with self._shards[places.pop()].lock:
            return self._locked(places, work, *args)

    def _decide(self, steps: Sequence[Step], receipts: list[Any]) -> Refused | None:
        """Take the *steps*, each of which leaves its receipt, unless one is refused: then none is taken."""
        now = self._clock()
        for step in steps:
            shard = self._shards[hash(step[0]) % _SHARDS]
            if shard.ends.next <= now:
                shard.sweep(now)
            receipts.append(answer := TAKE[type(step)](shard, step, now))
            if type(answer) in REFUSALS and not step.observe:
                index = len(receipts) - 1
                self._undo(steps, receipts, now)
                return Refused(index, cast("Refusal", answer))
        return None

    def finish_one(self, report: Report) -> bool:
        """`finish` of a single report."""
        shard, write = self._shards[hash(report[0]) % _SHARDS], WRITE[type(report)]
        with shard.lock:
            now = self._clock()
            if shard.ends.next <= now:
                shard.sweep(now)
            try:
                return write(shard, report, now)
            except StoreFullError as error:  # the call was made: how it came out is what its caller must hear
                log.warning("How a call came out could not be noted down. %s", error)
                return False

    def finish(self, reports: Sequence[Report]) -> tuple[bool, ...]:
        return tuple([self.finish_one(report) for report in reports])

    def _undo(self, steps: Sequence[Step], receipts: list[Receipt | Refusal | None], now: float) -> None:
        """Undo the first of *steps*, which have *receipts*: that loses each receipt as it is done, and can go on where
        it was interrupted."""
        while receipts:
            step, receipt = steps[len(receipts) - 1], receipts[-1]
            report = undoing(step, unmade(step, now) if receipt is None else receipt)
            if report is not None:
                WRITE[type(report)](self._shard(report[0]), report, now)
            receipts.pop()

    def tell_when_given(self, key: str, told: Callable[[], Any] | None) -> None:
        """Call *told* whenever a place at *key* is given back, from where that is done; None: nobody any more."""
        given = self._shards[hash(key) % _SHARDS].given
        if told is None:
            given.pop(key, None)
        else:
            given[key] = told

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
            circuit = shard.state("breaker", key, now, CircuitMachine, inf)
            circuit.force(rules, state, now)
            if circuit.until < inf:
                shard.expect(circuit.until, "breaker", key)

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
                    if kind == "lease" and (told := shard.given.get(key)) is not None:
                        told()
        return gone

    def sweep(self) -> int:
        """Forget everything that is over, now; how many keys are left."""
        for shard in self._shards:
            while True:
                with shard.lock:
                    if shard.sweep(self._clock(), 256) < 256:
                        break
        return len(self)

    def free(self, most: int) -> int:
        """For the sweeper: see there."""
        looked = super().free(most)
        for shard in self._shards:
            with shard.lock:
                if swept := shard.sweep(self._clock(), most):
                    looked += swept
                    if swept < most:
                        shard.shrink()
        return looked

    def ends_later(self) -> bool:
        """For the sweeper: see there."""
        return any(shard.ends for shard in self._shards) or super().ends_later()

    def _after_fork(self) -> None:
        super()._after_fork()
        self._set_locks()
        for shard in self._shards:
            shard.given.clear()

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

    def _set_locks(self) -> None:
        shared = threading.Lock()
        for shard in self._shards:
            shard.lock = shared if _ONE_LOCK else threading.Lock()

    def _shard(self, key: str) -> Shard:
        return self._shards[hash(key) % _SHARDS]


def _places(steps: Sequence[Step]) -> list[int]:
    """The shards of *steps*, whose locks are taken from the end of this on; one for all, where they share it."""
    return [0] if _ONE_LOCK else sorted({hash(step[0]) % _SHARDS for step in steps}, reverse=True)
