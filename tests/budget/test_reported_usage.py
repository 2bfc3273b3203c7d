"""`add_usage`: what a call costs that no watched SDK made, priced as a watched one would be."""

from typing import Any

import pytest

from actguard import BudgetGuard, UnknownPriceError, Usage, prices

TEN = Usage(input_tokens=4, output_tokens=6)


def test_a_model_without_its_provider_is_priced_at_its_own() -> None:
    with BudgetGuard(usd_limit=1) as guard:
        guard.add_usage("gpt-4o", TEN)

    price = prices.get("gpt-4o")
    assert price is not None
    assert guard.usd_used == price.cost(TEN) / 10**12


@pytest.mark.parametrize(
    ("policy", "usd"), [("zero", 0), ("warn", 0), ({"input": 1_000, "output": 2_000}, 4e-3 + 12e-3)]
)
@pytest.mark.parametrize("provider", ["", "openai", "acme"])
def test_a_model_without_a_price_is_charged_as_the_guard_says(provider: str, policy: Any, usd: float) -> None:
    with BudgetGuard(usd_limit=1, unknown_price=policy) as guard:
        guard.add_usage("brand-new-model", TEN, provider=provider)

    assert (guard.usd_used, guard.tokens_used, guard.calls) == (usd, 10, 1)
    assert guard.unmetered_calls == (policy == "warn")


def test_at_the_highest_price_it_is_never_free() -> None:
    with BudgetGuard(usd_limit=1, unknown_price="most_expensive") as guard:
        guard.add_usage("brand-new-model", TEN)

    assert guard.usd_used > 0


@pytest.mark.parametrize(("provider", "where"), [("", ""), ("openai", " at openai")])
def test_without_a_price_it_is_refused_under_a_dollar_limit_alone(provider: str, where: str) -> None:
    with BudgetGuard(token_limit=100) as guard:
        guard.add_usage("brand-new-model", TEN, provider=provider)
    assert (guard.tokens_used, guard.usd_used) == (10, 0)

    with (
        BudgetGuard(usd_limit=1) as guard,
        pytest.raises(UnknownPriceError, match=f"for model 'brand-new-model'{where}, and a dollar limit is active"),
    ):
        guard.add_usage("brand-new-model", TEN, provider=provider)
    assert guard.calls == 0


def test_what_was_counted_needs_no_price_to_add_nothing() -> None:
    with BudgetGuard(usd_limit=1) as guard:
        guard.add_usage("brand-new-model", TEN, usd=0.5, response_id="r-1")
        guard.add_usage("brand-new-model", TEN, response_id="r-1")

    assert (guard.usd_used, guard.calls) == (0.5, 1)
