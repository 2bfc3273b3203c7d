"""What a call can cost at most: never below what it then costs, and no looser than it must be."""

from datetime import UTC, datetime
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actguard.budget.price import Price
from actguard.budget.pricing import PriceBook
from actguard.budget.rates import ENDLESS, PART_OF, PLAIN_TEXT, TOKEN_KINDS, UNIT_KINDS, RateCard
from actguard.budget.usage import Usage

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
BOOK = PriceBook(clock=NOW.timestamp)
M = 10**6

counts = st.integers(0, 400_000)
rates = st.builds(Fraction, st.integers(0, 10**8), st.sampled_from([1, 1, 7]))


@st.composite
def cards(draw: st.DrawFn) -> RateCard:
    """Any card whose parts cost something of their own, with up to two tiers."""
    some = st.sets(st.sampled_from(sorted(TOKEN_KINDS | UNIT_KINDS)), max_size=6)
    kinds = {"input_tokens", "output_tokens", *draw(some)}
    # Where two kinds have rates, what is both has one too: genai-prices demands it, `prices.set` fills it in.
    kinds |= {kind for kind, wholes in PART_OF.items() if len(wholes) == 3 and kinds.issuperset(wholes)}
    tiers = [0, *sorted(draw(st.sets(st.sampled_from([1, 1000, 200_000]), max_size=2)))]
    steps = {kind: tuple((start, draw(rates)) for start in tiers if kind in TOKEN_KINDS or not start) for kind in kinds}
    return RateCard(steps, draw(st.sampled_from([Fraction(0), Fraction(10**9)])))


@st.composite
def usages(draw: st.DrawFn, without: frozenset[str] = frozenset()) -> Usage:
    """Any usage in which every token of a part is also counted in its wholes."""
    possible = [k for k in Usage._fields if k not in without and without.isdisjoint(PART_OF.get(k, ()))]
    total = dict.fromkeys(Usage._fields, 0)
    for kind in draw(st.lists(st.sampled_from(possible), max_size=6, unique=True)):
        count = draw(counts)
        for counted in (kind, *PART_OF.get(kind, ())):
            total[counted] += count
    return Usage(**total)


@given(cards(), usages(), counts, counts)
def test_no_call_costs_more_than_its_bound(card: RateCard, usage: Usage, more: int, longer: int):
    price = Price(card)
    bound = price.bound(usage.input_tokens + more, usage.output_tokens + longer, other=usage)
    assert 0 <= price.cost(usage) <= bound


@given(cards(), usages(PLAIN_TEXT), counts)
def test_a_bound_for_plain_text_holds_for_plain_text(card: RateCard, usage: Usage, more: int):
    price = Price(card)
    assert price.cost(usage) <= price.bound(
        usage.input_tokens + more, usage.output_tokens, without=PLAIN_TEXT, other=usage
    )


@given(cards(), counts, counts)
def test_what_a_request_rules_out_only_lowers_its_bound(card: RateCard, tokens: int, output: int):
    price = Price(card)
    assert price.bound(tokens, output, without=PLAIN_TEXT) <= price.bound(tokens, output)


@given(cards(), st.integers(0, 10**14), counts)
def test_the_affordable_output_fits_and_one_token_more_does_not(card: RateCard, remaining: int, tokens: int):
    price = Price(card)
    output = price.affordable_output(remaining, tokens)
    if output < 0:
        assert price.bound(tokens, 0) > remaining
    elif output == ENDLESS:
        assert price.bound(tokens, 10**9) <= remaining
    else:
        assert price.bound(tokens, output) <= remaining < price.bound(tokens, output + 1)


@given(cards(), cards(), usages())
def test_the_highest_of_two_prices_is_below_neither(one: RateCard, other: RateCard, usage: Usage):
    highest = Price.highest([Price(one), Price(other)])
    for price in (Price(one), Price(other)):
        # Coarse on purpose: it has no modalities, so a reply may not be summed by kinds of them.
        assert highest.cost(usage) >= price.cost(usage)
        bound = highest.bound(usage.input_tokens, usage.output_tokens, other=usage)
        assert bound >= price.bound(usage.input_tokens, usage.output_tokens, other=usage)


@pytest.mark.parametrize(
    ("provider", "model", "dollars_in", "dollars_out"),
    [
        ("openai", "gpt-4o", "2.5", "10"),
        ("openai", "gpt-5.6-sol", "5", "20"),  # it may write its cache unasked
        ("anthropic", "claude-opus-5", "6.25", "25"),  # five minutes, if a breakpoint is set
        ("google", "gemini-2.5-flash", "0.3", "2.5"),
        ("google", "gemini-3-pro-image-preview", "2", "12"),
    ],
)
def test_the_bound_of_plain_text_is_its_dearest_possible_use(provider, model, dollars_in, dollars_out):
    price = BOOK.price(provider, model)
    assert price is not None
    expected = 1000 * Fraction(dollars_in) * M + 500 * Fraction(dollars_out) * M
    assert price.bound(1000, 500, without=PLAIN_TEXT) == expected


def test_without_knowing_the_request_every_kind_is_assumed():
    opus, flash, image = (
        BOOK.price("anthropic", "claude-opus-5"),
        BOOK.price("google", "gemini-2.5-flash"),
        BOOK.price("google", "gemini-3-pro-image-preview"),
    )
    assert opus is not None
    assert flash is not None
    assert image is not None
    assert opus.bound(1000, 0) == 1000 * 10 * M  # the cache of an hour
    assert flash.bound(1000, 0) == 1000 * 1 * M  # audio
    assert image.bound(0, 1000) == 1000 * 120 * M  # an image


def test_a_call_that_cannot_reach_a_tier_is_not_bounded_by_it():
    price = BOOK.price("google", "gemini-2.5-pro")
    assert price is not None
    assert price.bound(200_000, 10, without=PLAIN_TEXT) == 200_000 * 1_250_000 + 10 * 10 * M
    assert price.bound(200_001, 10, without=PLAIN_TEXT) == 200_001 * 2_500_000 + 10 * 15 * M


def test_the_highest_rates_of_a_token_are_readable():
    price = BOOK.price("openai", "gpt-4o-audio-preview")
    assert price is not None
    assert (price.input_rate, price.output_rate) == (40 * M, 80 * M)


def test_output_that_costs_nothing_is_affordable_without_end():
    price = BOOK.price("openai", "text-embedding-3-small")
    assert price is not None
    assert price.affordable_output(10**12, 100) == ENDLESS
    assert price.affordable_output(1, 100) == -1
