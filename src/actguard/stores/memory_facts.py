"""Facts in this process: `FactMachine`s under locks, one for each shard of the sessions.

While there are facts, a thread looks every few seconds for those that are over, so that they go without anybody asking;
it ends with the last of them, and never keeps the process or the store alive.
"""

import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence

from actguard.context import OUTSIDE, inside
from actguard.stores.fact_machine import FactMachine
from actguard.stores.facts import Fact, Key, Known, Need, Receipt, Spend, Verdict

_SHARDS = 16
_PAUSE = 5.0
_AT_ONCE = 2_000

_stores: "weakref.WeakSet[MemoryFacts]" = weakref.WeakSet()


class MemoryFacts:
    """A `FactStore` that lives and dies with the process.

    Args:
        clock: seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._fact_shards = tuple((threading.Lock(), FactMachine()) for _ in range(_SHARDS))
        self._sweeping = False
        _stores.add(self)

    def facts_put(self, session: str, facts: Sequence[Fact]) -> None:
        lock, machine = self._fact_shards[hash(session) % _SHARDS]
        with lock:
            machine.put(session, facts, self._clock())
        if not self._sweeping:
            self._start_sweeper()

    def facts_mint(self, session: str, kind: str, values: Sequence[str], ttl: float, trust: int, source: str) -> None:
        """`facts_put` of plain facts of one kind, without much ado."""
        lock, machine = self._fact_shards[hash(session) % _SHARDS]
        with lock:
            machine.mint(session, kind, values, ttl, trust, source, self._clock())
        if not self._sweeping:
            self._start_sweeper()

    def facts_check(
        self, session: str, needs: Sequence[Need], spends: Sequence[Spend] = (), *, commit: bool = True
    ) -> Verdict:
        lock, machine = self._fact_shards[hash(session) % _SHARDS]
        with lock:
            return machine.check(session, needs, spends, self._clock(), commit=commit)

    def facts_hold(self, session: str, key: Key, min_trust: int) -> bool:
        """Whether `facts_check` would meet such a need without charging anything: the quick way to a yes."""
        _, machine = self._fact_shards[hash(session) % _SHARDS]  # without the lock: one look-up changes nothing
        return machine.holds(session, key, min_trust, self._clock())

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

    def _start_sweeper(self) -> None:
        self._sweeping = True
        if self._clock is not time.monotonic:
            return  # somebody else's time: it is his to sweep by
        sweeper = threading.Thread(target=_sweep, args=(weakref.ref(self),), name="actguard-facts", daemon=True)
        try:
            with inside(OUTSIDE):  # it serves every session, and belongs to none
                sweeper.start()
        except RuntimeError:  # no more threads, or the interpreter ends: what is added sweeps, too
            self._sweeping = False

    def _sweep_on(self) -> bool:
        """Free what is over; whether there is more to come."""
        while self.facts_sweep(_AT_ONCE):
            time.sleep(0)  # others may want the locks
        self._sweeping = False  # before the last look: whoever adds a fact after it starts another thread
        self._sweeping = self.facts_held() > 0
        return self._sweeping

    def _after_fork(self) -> None:
        self._sweeping = False  # the thread stayed behind


def _sweep(kept: "weakref.ref[MemoryFacts]") -> None:
    while True:
        time.sleep(_PAUSE)
        store = kept()
        if store is None or not store._sweep_on():  # pyright: ignore[reportPrivateUsage] - its own thread
            return
        del store


def _after_fork() -> None:
    for store in _stores:
        store._after_fork()  # pyright: ignore[reportPrivateUsage]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
