"""What most guarded calls ask of a store in memory: a step that is always the same but for its key.

Such a step is compiled into a function of the key, with all else at hand. What is rare (a new key, another meter) is
left to `memory_shard.py`. A step that is asked alone has its usual yes in one go, the lock and the time included.
"""

from collections.abc import Callable, Sequence
from math import inf
from typing import Any

from actguard.stores.breaker import QUIET
from actguard.stores.memory_shard import TAKE, Claimed, Shard, claim, take_back
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


Ask = Callable[[str], Any]
"""`Take`, for whoever holds no lock, and has not asked what time it is."""


def asker(like: Step, shards: Sequence[Shard], clock: Callable[[], float], *, receipts: bool) -> Ask:
    """What asks for steps like *like* one at a time."""
    take, places = taker(like, receipts=receipts), len(shards)
    if isinstance(like, RateTake) and not receipts:
        return _usual_rate(like, take, shards, clock)
    if isinstance(like, CounterTake) and not receipts:
        return _usual_count(like, take, shards, clock)
    if isinstance(like, IdempotencyBegin) and not like.owner and like.lease_s == inf:
        return _usual_claim(like, take, shards, clock)

    def ask(key: str) -> Any:
        shard = shards[hash(key) % places]
        receipt = None
        try:
            with shard.lock:
                now = clock()
                if shard.ends.next <= now:
                    shard.sweep(now)
                receipt = take(shard, key, now)
            return receipt  # noqa: RET504 - what came of it must have a name below
        except BaseException:
            take_back(shard, like._replace(key=key), receipt, clock())
            raise

    latest = ("", shards[0])  # the key that was asked for last, and where it is: most circuits have one key

    def ask_circuit(key: str) -> Any:
        nonlocal latest
        known = latest
        if known[0] is not key:
            known = latest = (key, shards[hash(key) % places])
        if key not in known[1].circuits:
            return QUIET  # nothing ever failed there, and a look at a dict needs no lock
        return ask(key)

    never_failed = isinstance(like, BreakerAcquire) and like.rules.failure_rate is None
    return ask_circuit if never_failed else ask


# ---- with the lock held: how one step of several is taken ----------------------------------------------------------


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


# ---- a step that is asked alone: its usual yes; whatever is not that, `take` says ----------------------------------


def _usual_rate(like: RateTake, take: Take, shards: Sequence[Shard], clock: Callable[[], float]) -> Ask:
    _, limits, cost, _ = like
    most, period, grain, places = limits[0].max_calls, limits[0].period, grain_of(limits[0]), len(shards)

    def ask(key: str) -> Any:
        shard = shards[hash(key) % places]
        with shard.lock:
            now = clock()
            if shard.ends.next <= now:
                shard.sweep(now)
            log = shard.rates.get(key)
            if type(log) is Sliding and log.take(most, period, grain, cost, now):
                return None
            return take(shard, key, now)  # a log that has no room is not changed by being asked again

    return ask


def _usual_count(like: CounterTake, take: Take, shards: Sequence[Shard], clock: Callable[[], float]) -> Ask:
    _, limit, ttl_s, _ = like
    places = len(shards)

    def ask(key: str) -> Any:
        shard = shards[hash(key) % places]
        with shard.lock:
            now = clock()
            if shard.ends.next <= now:
                shard.sweep(now)
            counter = shard.counters.get(key)
            if counter is None or counter.until <= now:
                return take(shard, key, now)
            return None if counter.count(limit, ttl_s, now) else UsedUp(counter.used, counter.refused)

    return ask


def _usual_claim(like: IdempotencyBegin, take: Take, shards: Sequence[Shard], clock: Callable[[], float]) -> Ask:
    _, owner, ttl_s, lease_s, fingerprint, _ = like
    places = len(shards)

    def ask(key: str) -> Any:
        shard = shards[hash(key) % places]
        receipt = None
        try:
            with shard.lock:
                now = clock()
                if shard.ends.next <= now:
                    shard.sweep(now)
                if key in shard.records or shard.ends.count >= shard.room:
                    receipt = take(shard, key, now)
                else:
                    made = Claimed()
                    made.claim(owner, ttl_s, lease_s, fingerprint, now)
                    made.key, made.shard = key, shard
                    shard.records[key] = receipt = made  # it has no end yet which somebody would have to look for
            return receipt
        except BaseException:
            take_back(shard, like._replace(key=key), receipt, clock())
            raise

    return ask
