"""Dollars in tables."""

import pytest

from actguard.cli.database import dollars


@pytest.mark.parametrize(
    ("micros", "shown"),
    [
        (0, "$0.00"),
        (5, "$0.000005"),
        (6_150, "$0.00615"),
        (10_000, "$0.01"),
        (25_000, "$0.025"),
        (34_600, "$0.0346"),
        (500_000, "$0.50"),
        (1_000_001, "$1.000001"),
        (99_999_999, "$99.999999"),
        (100_000_000, "$100.00"),
        (1_234_567_890, "$1,234.57"),
        (-25_000, "$-0.025"),
    ],
)
def test_an_amount_is_exact_where_a_rounded_one_would_mislead(micros: int, shown: str) -> None:
    assert dollars(micros) == shown
