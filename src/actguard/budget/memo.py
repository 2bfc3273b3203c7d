"""What a book of prices has answered before, and for how long that holds."""

from math import inf
from typing import NamedTuple, TypeVar

from actguard.budget.price import Price

_K = TypeVar("_K")
_V = TypeVar("_V")

_SIZE = 4096


class Remembered(NamedTuple):
    """An answer and when it holds. One that only the parent can give holds never, so that its changes are seen."""

    price: Price | None
    start: float = -inf
    end: float = inf


ASK_PARENT = Remembered(None, inf, -inf)
NO_PRICE = Remembered(None)
"""Nobody knows one, until something is said."""


def keep(memo: dict[_K, _V], key: _K, value: _V) -> None:
    """Remember, and forget the oldest when there are too many: names of models come from outside."""
    if len(memo) >= _SIZE and key not in memo:
        del memo[next(iter(memo))]
    memo[key] = value


def remembered(price: Price | None) -> Remembered:
    if price is None:
        return NO_PRICE
    start = price.valid_from.timestamp() if price.valid_from else -inf
    end = price.valid_until.timestamp() if price.valid_until else inf
    return Remembered(price, start, end)
