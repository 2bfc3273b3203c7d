"""What most guarded calls ask of a store in memory: a step that is always the same but for its key.

Such a step is compiled into a function of the key, with all else at hand. What is rare (a new key, another meter) is
left to `memory_shard.py`.
"""

from collections.abc import Callable
from typing import Any

from actguard.stores.breaker import QUIET
from actguard.stores.memory_shard import TAKE, Shard, claim
from actguard.stores.protocol import (
    BreakerAcquire,
    Counted,
    CounterTake,
    IdempotencyBegin,
    OverLimit,
    RateTake,
    Step,
    Taken,
    UsedUp,
    fast_new,
)
from actguard.stores.rate import Sliding, grain_of

Take = Callable[[Shard, str, float], Any]
"""Carries out a step at a key, with the lock of its shard held, at a time: gives its receipt or its refusal."""


def taker(like: Step, *, receipts: bool = True) -> Take:
    """What carries out steps like *like*.

    Args:
        receipts: somebody needs them. If not, None may take their place.
    """
    if isinstance(like, RateTake):
        return _rate(like, receipts)
    if isinstance(like, CounterTake):
        return _counter(like, receipts)
    if isinstance(like, BreakerAcquire) and like.rules.failure_rate is None:
        return _breaker(like)
    if isinstance(like, IdempotencyBegin) and not like.owner:
        return _record(like)
    return _whole(like)


def _whole(like: Step) -> Take:
    kind, rest, take = type(like), tuple(like[1:]), TAKE[type(like)]
    return lambda shard, key, now: take(shard, fast_new(kind, (key, *rest)), now)


def _rate(like: RateTake, receipts: bool) -> Take:
    _, limits, cost, _ = like
    limit, whole = limits[0], _whole(like)
    most, period, grain = limit.max_calls, limit.period, grain_of(limit)

    def take(shard: Shard, key: str, now: float) -> Any:
        log = shard.rates.get(key)
        if type(log) is not Sliding:
            return whole(shard, key, now)
        if log.take(most, period, grain, cost, now):
            return fast_new(Taken, (now, most - log.used)) if receipts else None
        return OverLimit(0, most - log.used, log.wait(limit, cost, now))

    return take


def _counter(like: CounterTake, receipts: bool) -> Take:
    _, limit, ttl_s, _ = like
    whole = _whole(like)

    def take(shard: Shard, key: str, now: float) -> Any:
        counter = shard.counters.get(key)
        if counter is None or counter.until <= now:
            return whole(shard, key, now)
        if counter.count(limit, ttl_s, now):
            return fast_new(Counted, (counter.used,)) if receipts else None
        return UsedUp(counter.used, counter.refused)

    return take


def _breaker(like: BreakerAcquire) -> Take:
    _, rules, owner, _ = like

    def take(shard: Shard, key: str, now: float) -> Any:
        circuit = shard.circuits.get(key)
        return QUIET if circuit is None else circuit.acquire(rules, owner, now)

    return take


def _record(like: IdempotencyBegin) -> Take:
    _, owner, ttl_s, lease_s, fingerprint, _ = like
    whole = _whole(like)

    def take(shard: Shard, key: str, now: float) -> Any:
        if key in shard.records:
            return whole(shard, key, now)
        return claim(shard, key, owner, ttl_s, lease_s, fingerprint, now)

    return take
