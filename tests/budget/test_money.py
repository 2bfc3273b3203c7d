"""Amounts of money are taken as they are written, whatever the program has told its own arithmetic to do."""

import decimal
from decimal import Decimal, localcontext

import pytest

import actguard
from actguard import BudgetGuard
from actguard.money import from_usd

ROUNDING = decimal.Context(prec=3, rounding=decimal.ROUND_DOWN)
NARROW = decimal.Context(Emax=2, Emin=-2, traps=[decimal.Overflow])
LOUD = decimal.Context(traps=[decimal.Inexact, decimal.Rounded, decimal.FloatOperation])


@pytest.mark.parametrize("context", [ROUNDING, NARROW, LOUD], ids=["rounding", "narrow", "loud"])
@pytest.mark.parametrize("kind", [float, Decimal])
def test_limits_and_costs_are_exact_in_any_decimal_context(context, kind):
    with localcontext(context), BudgetGuard(usd_limit=kind("123.456789")) as guard:
        guard.add_cost(name="search", usd=kind("0.123456789"))
        actguard.add_cost(name="search", usd=kind("0.000000001"))
        guard.extend(usd=kind("0.00001"))
    assert (guard.usd_limit, guard.usd_used) == (123.456799, 0.12345679)


@pytest.mark.parametrize(
    ("usd", "pico"),
    [
        ("0", 0),
        ("0.0375e-6", 37_500),
        ("1e-12", 1),
        ("1e-999999", 1),
        ("1.0000000000000000000000000000000001", 10**12 + 1),
        ("123456789012345678901234567890.5", 123456789012345678901234567890500000000000),
    ],
)
def test_an_amount_is_rounded_up_to_the_next_pico_dollar_and_otherwise_as_it_is(usd, pico):
    assert from_usd(Decimal(usd)) == pico
