"""Facts in this process: `FactMachine`s under locks, one for each shard of the sessions.

Those that are over go without anybody asking: see `stores/sweeper.py`.
"""

import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence

from actguard.stores.fact_machine import FactMachine
from actguard.stores.facts import Fact, Key, Known, Need, Receipt, Spend, Verdict
from actguard.stores.sweeper import Sweeper

_SHARDS = 16

_stores: "weakref.WeakSet[MemoryFacts]" = weakref.WeakSet()


class MemoryFacts:
    """A `FactStore` that lives and dies with the process.

    Args:
        clock: seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._fact_shards = tuple((threading.Lock(), FactMachine()) for _ in range(_SHARDS))
        self._sweeper = Sweeper(self, clock)
        _stores.add(self)

    def facts_put(self, session: str, facts: Sequence[Fact]) -> None:
        lock, machine = self._fact_shards[hash(session) % _SHARDS]
        with lock:
            machine.put(session, facts, self._clock())
        if not self._sweeper.running:
            self._sweeper.begin()

    def facts_mint(self, session: str) -> Callable[[str, Sequence[str], float, int, str], None]:
        """`facts_put` of plain facts of one kind, without much ado, as a function of the kind, the values, the seconds
        that they live, the trust and the source."""
        clock, sweeper, place = self._clock, self._sweeper, hash(session) % _SHARDS
        put = self._fact_shards[place][1].minter(session)

        def mint(kind: str, values: Sequence[str], ttl: float, trust: int, source: str) -> None:
            with self._fact_shards[place][0]:
                put(kind, values, ttl, trust, source, clock())
            if not sweeper.running:
                sweeper.begin()

        return mint

    def facts_check(
        self, session: str, needs: Sequence[Need], spends: Sequence[Spend] = (), *, commit: bool = True
    ) -> Verdict:
        lock, machine = self._fact_shards[hash(session) % _SHARDS]
        verdict = None
        try:
            with lock:
                verdict = machine.check(session, needs, spends, self._clock(), commit=commit)
            return verdict  # noqa: RET504 - what came of it must have a name below
        except BaseException:  # an interrupt that keeps it from whoever asked: nobody else would give it back
            if verdict is not None and verdict.receipt is not None:
                self.facts_give_back(session, verdict.receipt)
            raise

    def facts_hold(self, session: str) -> Callable[[Key, int], bool]:
        """What says, of a fact and the least trust, whether `facts_check` would meet such a need of *session* without
        charging anything: the quick way to a yes."""
        # Without the lock: one look-up changes nothing.
        return self._fact_shards[hash(session) % _SHARDS][1].holder(session, self._clock)

    def facts_give_back(self, session: str, receipt: Receipt) -> None:
        lock, machine = self._fact_shards[hash(session) % _SHARDS]
        with lock:
            machine.give_back(session, receipt)

    def facts_revoke(self, session: str, kind: str, value: str | None = None) -> int:
        lock, machine = self._fact_shards[hash(session) % _SHARDS]
        with lock:
            return machine.revoke(session, kind, value, self._clock())

    def facts_list(self, session: str, kinds: Sequence[str] = ()) -> list[Known]:
        lock, machine = self._fact_shards[hash(session) % _SHARDS]
        with lock:
            return machine.known(session, kinds, self._clock())

    def facts_end(self, session: str) -> None:
        lock, machine = self._fact_shards[hash(session) % _SHARDS]
        with lock:
            machine.end(session)

    def facts_held(self) -> int:
        """Facts and sums in memory, alive or not."""
        return sum(len(machine) for _, machine in self._fact_shards)

    def facts_sweep(self, most: int | None = None) -> int:
        """Free what is over, looking at no more than about *most* entries of each shard. How many were looked at."""
        looked = 0
        for lock, machine in self._fact_shards:
            with lock:
                looked += machine.sweep(self._clock(), most)
        return looked

    def free(self, most: int) -> int:
        """For the sweeper: see there."""
        return self.facts_sweep(most)

    def ends_later(self) -> bool:
        """For the sweeper: see there."""
        return self.facts_held() > 0

    def _after_fork(self) -> None:
        """Locks that other threads held would stay so: those threads are the parent's."""
        self._fact_shards = tuple((threading.Lock(), machine) for _, machine in self._fact_shards)
        self._sweeper.after_fork()


def _after_fork() -> None:
    for store in tuple(_stores):
        store._after_fork()  # pyright: ignore[reportPrivateUsage]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
