"""One step in memory, asked as one function: what most guarded calls ask for.

Each of these is `admit` of a step that is always the same but for its key, with all else at hand. What is rare (a new
key, another meter) is left to `memory_shard.py`.
"""

from collections.abc import Callable, Sequence
from typing import Any

from actguard.stores.breaker import QUIET
from actguard.stores.memory_shard import TAKE, Shard
from actguard.stores.protocol import BreakerAcquire, CounterTake, OverLimit, RateTake, Step, Taken, UsedUp, fast_new
from actguard.stores.rate import Sliding

Ask = Callable[[str], Any]
"""Of a key: the receipt, or the refusal. None: it was taken, and the receipt is of no use to anybody."""


def asker(like: Step, shards: Sequence[Shard], clock: Callable[[], float], *, receipts: bool) -> Ask:
    """What asks for steps like *like*.

    Args:
        receipts: somebody needs them.
    """
    if isinstance(like, RateTake):
        return _rate(like, shards, clock, receipts)
    if isinstance(like, CounterTake):
        return _counter(like, shards, clock)
    whole = _whole(like, shards, clock)
    if isinstance(like, BreakerAcquire) and like.rules.failure_rate is None:
        return _breaker(shards, whole)
    return whole


def _whole(like: Step, shards: Sequence[Shard], clock: Callable[[], float]) -> Ask:
    kind, rest, parts, take = type(like), tuple(like[1:]), len(shards), TAKE[type(like)]

    def ask(key: str) -> Any:
        shard = shards[hash(key) % parts]
        with shard.lock:
            now = clock()
            if (ends := shard.ends) and ends[0][0] <= now:
                shard.sweep(now)  # before the key is looked up: it may be one of those that are over
            return take(shard, fast_new(kind, (key, *rest)), now)

    return ask


def _rate(like: RateTake, shards: Sequence[Shard], clock: Callable[[], float], receipts: bool) -> Ask:
    _, limits, cost, _ = like
    (most, period, _, _), limit, parts, take = limits[0], limits[0], len(shards), TAKE[RateTake]

    def ask(key: str) -> Any:
        shard = shards[hash(key) % parts]
        with shard.lock:
            now = clock()
            if (ends := shard.ends) and ends[0][0] <= now:
                shard.sweep(now)
            log = shard.rates.get(key)
            if type(log) is not Sliding:
                return take(shard, fast_new(RateTake, (key, limits, cost, False)), now)
            if log.take(most, period, cost, now):
                return Taken(now, most - log.used) if receipts else None
            return OverLimit(0, most - log.used, log.wait(limit, cost, now))

    return ask


def _counter(like: CounterTake, shards: Sequence[Shard], clock: Callable[[], float]) -> Ask:
    _, limit, ttl_s, _ = like
    parts, take = len(shards), TAKE[CounterTake]

    def ask(key: str) -> Any:
        shard = shards[hash(key) % parts]
        with shard.lock:
            now = clock()
            if (ends := shard.ends) and ends[0][0] <= now:
                shard.sweep(now)
            counter = shard.counters.get(key)
            if counter is None or counter.until <= now:
                return take(shard, fast_new(CounterTake, (key, limit, ttl_s, False)), now)
            return None if counter.count(limit, ttl_s, now) else UsedUp(counter.used, counter.refused)

    return ask


def _breaker(shards: Sequence[Shard], whole: Ask) -> Ask:
    parts = len(shards)

    def ask(key: str) -> Any:
        if key not in shards[hash(key) % parts].circuits:
            return QUIET  # nothing ever failed there, and a look at a dict needs no lock
        return whole(key)

    return ask
