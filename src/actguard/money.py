"""Money is a whole number of pico-dollars (1 USD = 10**12) everywhere inside, a float of dollars only at the edges.

Nano-dollars would round: $0.0375 per million tokens is 37.5 nano-dollars a token.
"""

import math
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, ROUND_CEILING, Context, Decimal
from numbers import Real
from typing import Final

PICO_PER_USD = 10**12
_DECIMALS = 12

EXACT: Final = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[])
"""How decimals are reckoned with. A program may have told its own arithmetic to round to a few digits, or to raise."""


def to_usd(pico: int) -> float:
    """Pico-dollars as dollars; for reading, never for adding."""
    return pico / PICO_PER_USD


def from_usd(usd: float | int | Decimal | Real) -> int:
    """Dollars as whole pico-dollars, rounded up, so that a cost is never recorded below what was said.

    A float is taken at its shortest decimal reading: ``from_usd(0.1)`` is exactly a tenth of a dollar.

    Raises:
        ValueError: *usd* is NaN or infinite.
    """
    exact = usd if isinstance(usd, Decimal) else Decimal(repr(float(usd)) if not isinstance(usd, int) else usd)
    if not exact.is_finite():
        raise ValueError(f"an amount of money must be finite, not {usd!r}")
    return int(exact.scaleb(_DECIMALS, EXACT).to_integral_value(ROUND_CEILING, EXACT))


def format_usd(pico: int | float) -> str:
    """For messages: four decimals, more when the amount is smaller than they can show."""
    if pico == math.inf:
        return "inf"
    usd = pico / PICO_PER_USD
    return f"${usd:.4f}" if pico == 0 or abs(usd) >= 0.0001 else f"${usd:.3g}"
