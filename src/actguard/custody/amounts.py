"""Numbers in rules: what is one, and the rule that bounds it."""

import math
import sys
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

from actguard.custody.rule import Answer, Call, Denial, Question, Rule, Shape, flag, hinted, invalid, missing, wrong
from actguard.pipeline.arguments import MISSING
from actguard.stores.facts import Spend

_PARTS: Final = 1_000_000
"""Sums are kept in millionths, rounded up: exact in a store whose numbers are doubles, up to 9e9."""
_LARGEST: Final = 9_000_000_000


@dataclass(frozen=True, slots=True)
class Threshold(Rule):
    """The argument is a number within bounds; with *cumulative*, its sum over the session's calls is bounded, too.

    Args:
        arg: the argument, or a path into it: `amount`, `items[].amount`.
        max: the most that one call may say.
        min: the least; None: as little as it likes. A sum needs 0 or more.
        cumulative: (period, total): in any *period* seconds of a session, no more than *total* in all calls of a tool.
        optional: a call without the argument is fine, and so is an element of it that is not there.
        hint: what to do instead, for the model.
    """

    arg: str
    max: float | Decimal
    min: float | Decimal | None = field(default=0, kw_only=True)
    cumulative: tuple[float, float | Decimal] | None = field(default=None, kw_only=True)
    optional: bool = field(default=False, kw_only=True)
    hint: str = field(default="", kw_only=True)

    def __post_init__(self) -> None:
        if exact(self.max) is None and self.max != math.inf:
            raise wrong(Threshold, "max", "a number", self.max)
        if self.min is not None and exact(self.min) is None:
            raise wrong(Threshold, "min", "a finite number or None", self.min)
        if self.min is not None and self.min > self.max:
            raise wrong(Threshold, "min", f"at most max ({self.max})", self.min)
        flag(Threshold, "optional", self.optional)
        hinted(Threshold, self.hint)
        if self.cumulative is None:
            return
        if not isinstance(self.cumulative, tuple) or len(self.cumulative) != 2:  # pyright: ignore[reportUnnecessaryIsInstance, reportUnnecessaryComparison]
            raise wrong(Threshold, "cumulative", "(period, total)", self.cumulative)
        positive(Threshold, "cumulative", self.cumulative[0])
        total = positive(Threshold, "cumulative", self.cumulative[1])
        if total > _LARGEST:
            raise wrong(Threshold, "cumulative", f"a total of at most {_LARGEST:,}", self.cumulative[1])
        if self.min is None or self.min < 0:
            raise wrong(Threshold, "min", "0 or more where sums are bounded", self.min)

    def validate(self, shape: Shape) -> None:
        shape.learn("arg", self.arg)

    def ask(self, call: Call) -> Denial | Question | None:
        total = Fraction(0)
        for value in call.each(self.arg):
            if value is MISSING or value is None:
                if self.optional:
                    continue
                return missing(self, self.arg)
            number = exact(value)
            if number is None:
                return invalid(self.arg, "must be a finite number")
            if number > self.max or (self.min is not None and number < self.min):
                return self._over("call", f"{self.arg!r} must be {self._bounds()}")
            if self.cumulative is not None:
                if number > self.cumulative[1]:
                    return self._over("sum", f"{self.arg!r} alone is more than the sum of all calls may be")
                total += _fraction(number)
        if self.cumulative is None or not total:
            return None
        period, most = float(self.cumulative[0]), _millionths(_fraction(self.cumulative[1]))
        key = f"{call.shape.place}|{self.arg}|{period}|{most}"
        return Question((), (Spend(key, _millionths(total), period, most),))

    def judge(self, call: Call, answer: Answer) -> Denial | None:
        if self.cumulative is None:
            return None
        period, most = self.cumulative
        asked = self.ask(call)
        if isinstance(asked, Question) and answer.spent[0] + asked.spends[0].amount <= asked.spends[0].total:
            return None
        left = max(0, _millionths(_fraction(most)) - answer.spent[0]) / _PARTS
        return self._over(
            "sum", f"the sum of {self.arg!r} in {period:g} seconds may be {most} at most, and {left:g} is left of it"
        )

    def _bounds(self) -> str:
        return f"at most {self.max}" if self.min is None else f"between {self.min} and {self.max}"

    def _over(self, reason: str, message: str) -> Denial:
        return Denial("THRESHOLD_EXCEEDED", message, self.arg, reason, self.hint, {"max": self.max, "min": self.min})


def exact(value: Any) -> int | Decimal | float | None:
    """*value* as a plain, finite number; None: it is none. True is none, and neither is "3"."""
    if type(value) is int:
        return value
    if type(value) is float:
        return value if math.isfinite(value) else None
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return int.__index__(value)
    if isinstance(value, float):
        plain = float.__float__(value)
        return plain if math.isfinite(plain) else None
    if type(value) is Decimal:
        return value if value.is_finite() else None
    return None


def positive(rule: type, argument: str, value: Any) -> float | Decimal:
    number = exact(value)
    if number is None or not 0 < number <= sys.float_info.max:
        raise wrong(rule, argument, "positive and finite", value)
    return number


def _fraction(number: float | Decimal) -> Fraction:
    """What was written, and not what a double makes of it: 0.1 is a tenth."""
    return Fraction(float.__repr__(number)) if isinstance(number, float) else Fraction(number)


def _millionths(amount: Fraction) -> int:
    return math.ceil(amount * _PARTS)
