"""`rate_limit`: so many calls in so much time."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from actguard.exceptions import ActGuardUsageError, RateLimitExceeded, ToolGuardError
from actguard.pipeline.decorate import Decorator
from actguard.pipeline.guard import (
    Ending,
    Guard,
    OnStoreError,
    Part,
    called,
    choice,
    named,
    positive,
    whole,
)
from actguard.pipeline.target import Target
from actguard.stores.protocol import Algorithm, Limit, OverLimit, RateGive, RateTake, Receipt, Refusal, Taken
from actguard.tools.scope import Scope, check_scope, counted, described, key_maker, key_prefix, own_name

_LIMIT = re.compile(
    r"\s*(\d{1,15})\s*/\s*(?:(\d{1,15}(?:\.\d{1,15})?)\s*)?(s|secs?|seconds?|m|mins?|minutes?|h|hours?|d|days?)\s*"
)
_LARGEST = 1 << 53
"""Whoever may call more often may call as often as he likes; stores reckon with floats."""
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


@dataclass(frozen=True, kw_only=True, eq=False)
class RateLimit(Decorator):
    """At most *max_calls* calls in *period* seconds.

    Args:
        max_calls: how many.
        period: seconds. Measured on a clock that nobody can set.
        scope: whom to count apart: a parameter's name, a path such as "ctx.user.id" or "run.user_id", a callable that
            gets the call's arguments, or a tuple of these. None: all calls together.
        algorithm: "sliding": in no window of *period*, wherever it begins, are there more. "gcra": *burst* at once,
            then evenly, so many in each *period*. "fixed": so many in each window of the clock, up to twice as many
            across its border.
        burst: calls that "gcra" lets through at once; None: *max_calls*.
        cost: how many calls this one counts for, 1 or more: a number, or a callable that gets the call's arguments.
        limits: several limits at once, such as "10/s;100/min", instead of *max_calls* and *period*. A call that one of
            them refuses counts in none.
        name: shares the count between all functions with the same name and limits. None: each function has its own.
        wait: seconds a call may wait for room before it is refused; calls of one process get it in the order in which
            they came. No longer than a `timeout` around the call leaves, or one on the same function gives: a call that
            could not begin in time is refused at once.
        count: "successes" gives a call back that raised.

    Raises:
        RateLimitExceeded: on a call without room; `retry_after` says when there is some.
        ScopeValueError: on a call without a value for *scope*, or with one that has no stable text.
    """

    kind: ClassVar[str] = "rate_limit"
    safe_store_error: ClassVar[OnStoreError] = "local"

    max_calls: int = 10
    period: float = 60.0
    scope: Scope = None
    algorithm: Algorithm = "sliding"
    burst: int | None = None
    cost: int | Callable[..., int] = 1
    limits: str | None = None
    name: str | None = None
    wait: float = 0.0
    count: Literal["calls", "successes"] = "calls"

    def __post_init__(self) -> None:
        Guard.__post_init__(self)
        whole("max_calls", self.max_calls)
        positive("period", self.period)
        check_scope(self.scope)
        choice("algorithm", self.algorithm, get_args(Algorithm))
        if self.burst is not None:
            whole("burst", self.burst)
            if self.algorithm != "gcra":
                raise ActGuardUsageError('burst needs algorithm="gcra"', argument="burst")
        if callable(self.cost):
            called("cost", self.cost)
        else:
            whole("cost", self.cost)
        if self.name is not None:
            named("name", self.name)
        positive("wait", self.wait, or_zero=True)
        choice("count", self.count, ("calls", "successes"))
        limits = self.all_limits()
        if not callable(self.cost) and self.cost > min(_most(limit) for limit in limits):
            raise ActGuardUsageError(f"cost={self.cost} never fits: no limit allows as much", argument="cost")

    def all_limits(self) -> tuple[Limit, ...]:
        """What the options say, as the store reads it."""
        if self.limits is None:
            burst = None if self.burst is None else min(self.burst, _LARGEST)
            return (Limit(min(self.max_calls, _LARGEST), float(self.period), self.algorithm, burst),)
        parts = self.limits.split(";") if isinstance(self.limits, str) else [""]  # pyright: ignore[reportUnnecessaryIsInstance]
        found = [_LIMIT.fullmatch(part) for part in parts]
        if (self.max_calls, self.period) != (10, 60.0):
            raise ActGuardUsageError("give either limits, or max_calls and period", argument="limits")
        read = [
            Limit(int(match[1]), float(match[2] or 1) * _SECONDS[match[3][0]], self.algorithm, self.burst)
            for match in found
            if match is not None
        ]
        if len(read) < len(parts) or any(limit.max_calls < 1 or limit.period <= 0 for limit in read):
            raise ActGuardUsageError(
                f'limits must read like "10/s;100/min" or "5/30s", not {self.limits!r}', argument="limits"
            )
        return tuple(read)

    def bind(self, target: Target) -> Part[RateTake]:
        limits = self.all_limits()
        spelled = ";".join(f"{most}/{period:g}/{how[0]}{burst or ''}" for most, period, how, burst in limits)
        begin = key_prefix(self.kind, self.name or own_name(target, scope=self.scope)) + spelled + "/"
        key = key_maker(target, self.scope, begin)
        cost = self.cost
        priced = _priced(target, key, limits, cost) if callable(cost) else None

        def refuse(step: RateTake, refusal: Refusal) -> ToolGuardError:
            assert isinstance(refusal, OverLimit)
            limit = limits[refusal.limit]
            return RateLimitExceeded(
                tool=target.name,
                limit=limit.max_calls,
                period=limit.period,
                remaining=refusal.remaining,
                retry_after=refusal.retry_after,
                scope=None if self.scope is None else step.key,
            )

        def patience(refusal: Refusal, left: float) -> float | None:
            assert isinstance(refusal, OverLimit)
            return refusal.retry_after if refusal.retry_after <= left else None

        def give_back(step: RateTake, receipt: Receipt, ending: Ending) -> RateGive | None:
            assert isinstance(receipt, Taken)
            return None if ending.error is None else RateGive(step.key, step.limits, receipt.token, step.cost)

        return Part(
            guard=self,
            asks="rate",
            step=priced,
            key=None if callable(cost) else key,
            like=None if callable(cost) else RateTake("", limits, cost),
            fixed_key=begin if self.scope is None else None,
            refuse=refuse,
            patience=patience if self.wait else None,
            wait_s=self.wait,
            lined=self.wait > 0,
            report=give_back if self.count == "successes" else None,
        )

    def explain(self) -> str:
        limits = " and ".join(
            f"{counted(limit.max_calls, 'call')} in {limit.period:g} s" for limit in self.all_limits()
        )
        return f"{limits}{described(self.scope)}"


rate_limit = RateLimit


def _most(limit: Limit) -> int:
    return limit.burst or limit.max_calls


def _priced(
    target: Target, key: Callable[..., str], limits: tuple[Limit, ...], cost: Callable[..., int]
) -> Callable[[tuple[Any, ...], Mapping[str, Any]], RateTake]:
    most = min(_most(limit) for limit in limits)

    def step(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> RateTake:
        price = cost(*args, **kwargs)
        if isinstance(price, bool) or not isinstance(price, int) or price < 1:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ToolGuardError(f"a call of {target.name} must cost 1 or more, not {price!r}", "INVALID_COST")
        if price > most:
            raise RateLimitExceeded(
                f"this call of {target.name} counts for {price}, and no more than {most} ever fit.",
                retryable=False,
                tool=target.name,
                limit=most,
                period=limits[0].period,
                retry_after=float("inf"),
            )
        return RateTake(key(args, kwargs), limits, price)

    return step
