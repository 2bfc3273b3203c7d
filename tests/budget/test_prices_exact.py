"""Costs are exact: against genai-prices, model by model, and against the price pages that were checked by hand."""

import itertools
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

import genai_prices
import pytest
from genai_prices.data import providers as PROVIDERS
from genai_prices.data_units import unit_data
from genai_prices.types import ModelInfo, ModelPrice, Provider

from actguard.budget.price import Price
from actguard.budget.price_compile import PRICE_KEYS, compile_model
from actguard.budget.pricing import PriceBook
from actguard.budget.rates import PART_OF, UNIT_KINDS, RateCard
from actguard.budget.usage import Usage

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
OTHER_TIMES = tuple(
    datetime(year, month, 1, hour, tzinfo=UTC) for year, month, hour in ((2025, 1, 0), (2026, 10, 3), (2027, 2, 8))
)
ALMOST = Decimal("1e-9")
MODELS = [pytest.param(provider, id=provider.id) for provider in PROVIDERS]

# What genai-prices prices and `Usage` has no count for: pages of documents, messages of a voice API, citations.
NOT_COUNTED = {
    "input_document_kpages",
    "input_annotated_document_kpages",
    "input_text_messages_kcount",
    "output_citation_mtok",
}


def price_of(provider: str, model: str) -> Price:
    price = PriceBook(clock=NOW.timestamp).price(provider, model)
    assert price is not None
    return price


def consistent(counts: dict[str, int]) -> Usage:
    """A usage in which every token of a part is also counted in its wholes, from counts that exclude each other."""
    total: dict[str, int] = dict.fromkeys(Usage._fields, 0)
    for kind, count in counts.items():
        for counted in (kind, *PART_OF.get(kind, ())):
            total[counted] += count
    return Usage(**total)


def usages(dice: random.Random, provider: str, card: RateCard) -> Iterator[Usage]:
    """Plain ones, one for each kind with a rate, mixtures of all kinds, and totals around every tier."""
    # genai-prices knows no caches of 12 hours, and no model of Groq speaks: there, all audio is what it listened to.
    absent = {"cache_write_12h_tokens", "output_audio_milliseconds" if provider == "groq" else ""}
    kinds = [kind for kind in Usage._fields if kind not in absent]
    yield Usage(1, 1)
    for kind in card.rates.keys() - absent:
        yield consistent({kind: dice.randint(1, 50_000)})
    for _ in range(2):
        yield consistent({kind: dice.randint(0, 3_000) for kind in dice.sample(kinds, dice.randint(2, len(kinds)))})
    for start, beside in itertools.product(card.starts()[1:], (0, 1)):
        cached = dice.randint(0, start - 1)
        yield consistent({"cache_read_tokens": cached, "input_tokens": start + beside - cached, "output_tokens": 777})


def oracle(usage: Usage) -> genai_prices.Usage:
    said: dict[str, Any] = {
        kind: count
        for kind, count in usage._asdict().items()
        if kind in unit_data and not kind.endswith("_milliseconds")
    }
    said["input_audio_seconds"] = Decimal(usage.input_audio_milliseconds) / 1000
    said["output_audio_seconds"] = Decimal(usage.output_audio_milliseconds) / 1000
    said["audio_seconds"] = said["input_audio_seconds"] + said["output_audio_seconds"]
    return genai_prices.Usage(**said, input_document_pages=0, input_annotated_document_pages=0)


def contexts(model: ModelInfo) -> list[dict[str, str]]:
    """No context, every variant's own, and a mixture of all of them."""
    whens = [dict(variant.when) for variant in model.price_variants or ()]
    mixed = {key: value for when in whens for key, value in when.items()}
    return [{}, *whens, mixed] if whens else [{}]


@pytest.mark.parametrize("provider", MODELS)
def test_every_model_costs_what_genai_prices_says_it_costs(provider: Provider):
    dice = random.Random(provider.id)
    for model in provider.models:
        dated = isinstance(model.prices, list) or model.price_variants
        for at, context in itertools.product((NOW, *(OTHER_TIMES if dated else ())), contexts(model)):
            card = compile_model(model, provider.id, context, at).card
            if card is None:
                continue  # see the tests of what has no price, below
            price = Price(card)
            tried = list(usages(dice, provider.id, card))
            for usage in tried if at is NOW else dice.sample(tried, 2):
                exact = model.calc_price(
                    oracle(usage), provider, genai_request_timestamp=at, price_context=context
                ).total_price
                # Whole pico-dollars, rounded up; genai-prices itself rounds, at the 28th digit.
                above = price.cost(usage) - exact * 10**12
                assert -ALMOST < above < 1 + ALMOST, (model.id, context, at, usage)


def test_only_prices_of_broken_numbers_are_rounded():
    rounded = {
        (provider.id, model.id)
        for provider in PROVIDERS
        for model in provider.models
        if (card := compile_model(model, provider.id, {}, NOW).card) is not None
        and any(rate.denominator != 1 for start in card.starts() for rate in card.at(start).values())
    }
    # Prices for an hour of audio that 3,600,000 milliseconds do not divide, and floats that a reseller published.
    assert {provider for provider, _ in rounded} == {
        *("elevenlabs", "groq", "huggingface_together", "mistral", "openai", "openrouter", "x-ai")
    }
    assert {model for provider, model in rounded if provider == "openai"} == {
        *("gpt-live-1", "gpt-live-transcribe", "gpt-realtime-translate", "gpt-realtime-whisper")
    }


def test_models_without_a_rate_that_can_be_counted_have_no_price():
    unpriced = {
        (provider.id, model.id): vars(price)
        for provider in PROVIDERS
        for model in provider.models
        for price in [model.get_prices(NOW)]
        if compile_model(model, provider.id, {}, NOW).card is None
    }
    assert unpriced
    for (provider, model), stated in unpriced.items():
        assert {key for key, value in stated.items() if value is not None} <= NOT_COUNTED, (provider, model)


def test_nothing_listed_goes_uncounted_but_pages_messages_and_citations():
    uncounted = {
        key
        for provider in PROVIDERS
        for model in provider.models
        for price in ([c.prices for c in model.prices] if isinstance(model.prices, list) else [model.prices])
        for key, value in vars(price).items()
        if value is not None and key not in PRICE_KEYS and key != "requests_kcount"
    }
    assert uncounted == NOT_COUNTED


def test_the_price_keys_are_those_of_genai_prices_with_the_same_units():
    by_price_key = {unit.get("price_key", usage): (usage, unit) for usage, unit in unit_data.items()}
    for key, (kinds, per) in PRICE_KEYS.items():
        usage, unit = by_price_key[key]
        if key.endswith("_hours"):
            assert unit["per"] * 1000 == per
        else:
            assert (kinds, per) == ((usage,), unit["per"])


def test_kinds_are_parts_of_one_another_as_in_genai_prices():
    for kind, wholes in PART_OF.items():
        if kind in unit_data:
            dimensions = unit_data[kind]["dimensions"].items()
            ancestors = {
                other
                for other, unit in unit_data.items()
                if other != kind and other in Usage._fields and unit["dimensions"].items() <= dimensions
            }
            assert set(wholes) == ancestors
    for kind in UNIT_KINDS & unit_data.keys():
        assert unit_data[kind]["dimensions"]["family"] != "tokens"


M = 10**6  # pico-dollars for one token, at a dollar for a million

# Checked against litellm, model-prices and the providers' price pages in 2026-11:
# input, output, cache read, cache write (5 minutes), cache write (1 hour), dollars per million.
CHECKED = [
    ("openai", "gpt-4o", "2.5", "10", "1.25", None, None),
    ("openai", "gpt-4o-mini", "0.15", "0.6", "0.075", None, None),
    ("openai", "gpt-4.1", "2", "8", "0.5", None, None),
    ("openai", "gpt-5", "1.25", "10", "0.125", None, None),
    ("openai", "gpt-5.6-sol", "4", "20", "0.4", "5", None),
    ("openai", "gpt-6-astra", "10", "50", "1", "12.5", None),
    ("openai", "o3", "2", "8", "0.5", None, None),
    ("openai", "text-embedding-3-small", "0.02", None, None, None, None),
    ("anthropic", "claude-sonnet-4-5", "3", "15", "0.3", "3.75", "6"),
    ("anthropic", "claude-opus-4-8", "5", "25", "0.5", "6.25", "10"),
    ("anthropic", "claude-opus-5", "5", "25", "0.5", "6.25", "10"),
    ("anthropic", "claude-opus-5-5", "4", "20", "0.2", "5", "8"),
    ("anthropic", "claude-haiku-4-5", "1", "5", "0.1", "1.25", "2"),
    ("anthropic", "claude-haiku-5-5", "0.1", "0.5", "0.01", "0.125", "0.2"),
    ("anthropic", "claude-sonnet-5", "2", "10", "0.2", "2.5", "4"),
    ("anthropic", "claude-fable-5-1", "10", "50", "0.25", "12.5", "20"),
    ("google", "gemini-2.5-pro", "1.25", "10", "0.125", None, None),
    ("google", "gemini-2.5-flash", "0.3", "2.5", "0.03", None, None),
    ("google", "gemini-3-flash-preview", "0.5", "3", "0.05", None, None),
    ("google", "gemini-3.6-flash", "0.75", "3.75", "0.075", None, None),
    ("aws", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "3.3", "16.5", "0.33", "4.125", "6.6"),
]


@pytest.mark.parametrize(("provider", "model", "into", "out", "read", "write", "long"), CHECKED)
def test_the_prices_that_were_checked_by_hand(provider, model, into, out, read, write, long):
    price = price_of(provider, model)
    said = {
        "input_tokens": into,
        "output_tokens": out,
        "cache_read_tokens": read,
        "cache_write_tokens": write,
        "cache_write_1h_tokens": long,
    }
    for kind, dollars in said.items():
        if dollars is not None:
            usage = consistent({kind: 1000})
            assert price.cost(usage) == Fraction(dollars) * M * 1000, kind


@pytest.mark.parametrize(
    ("provider", "model", "start", "into", "out"),
    [
        ("openai", "gpt-5.6-sol", 272_000, ("4", "8"), ("20", "30")),
        ("google", "gemini-2.5-pro", 200_000, ("1.25", "2.5"), ("10", "15")),
        ("anthropic", "claude-haiku-5-5", 100_000, ("0.1", "0.5"), ("0.5", "2.5")),
        ("anthropic", "claude-sonnet-4-5", 200_000, ("3", "6"), ("15", "22.5")),
    ],
)
def test_above_a_tier_every_token_of_the_call_costs_more(provider, model, start, into, out):
    price = price_of(provider, model)
    for tokens, tier in ((start, 0), (start + 1, 1)):
        expected = tokens * Fraction(into[tier]) * M + 10 * Fraction(out[tier]) * M
        assert price.cost(Usage(input_tokens=tokens, output_tokens=10)) == expected


def test_cached_input_counts_towards_the_tier():
    price = price_of("google", "gemini-2.5-pro")
    usage = Usage(input_tokens=200_001, cache_read_tokens=200_000)
    assert price.cost(usage) == 200_000 * 250_000 + 1 * 2_500_000


def test_a_cached_audio_token_is_charged_once_at_its_own_rate():
    price = price_of("google", "gemini-2.5-flash")
    usage = Usage(
        input_tokens=100, input_audio_tokens=60, cache_read_tokens=30, cache_audio_read_tokens=20, output_tokens=1
    )
    text, cached_text, audio, cached_audio = 30, 10, 40, 20
    per_token = text * 300_000 + cached_text * 30_000 + audio * 1_000_000 + cached_audio * 100_000
    assert price.cost(usage) == per_token + 2_500_000


def test_searches_are_charged_beside_tokens():
    price = price_of("anthropic", "claude-opus-5")
    assert price.cost(Usage(web_searches=3)) == 3 * 10**10


def test_a_price_per_request_is_charged_once_for_each_line():
    card = ModelPrice(input_mtok=Decimal(1), output_mtok=Decimal(2), requests_kcount=Decimal(5))
    model = ModelInfo("m", match=None, prices=card)  # type: ignore[arg-type]
    compiled = compile_model(model, "perplexity", {}, NOW).card
    assert compiled is not None
    assert Price(compiled).cost(Usage(10, 10)) == 5 * 10**9 + 10 * M + 20 * M


def test_usage_that_contradicts_itself_costs_the_most_it_can_and_never_less_than_nothing():
    price = price_of("anthropic", "claude-opus-5")
    more_cached_than_read = Usage(input_tokens=10, cache_read_tokens=1_000_000)
    assert price.cost(more_cached_than_read) == price.bound(10, 0) > 0


def test_kinds_without_a_rate_are_named_not_hidden():
    embeddings = price_of("openai", "text-embedding-3-small")
    assert embeddings.unpriced(Usage(input_tokens=5)) == ()
    assert embeddings.unpriced(Usage(input_tokens=5, output_tokens=1, web_searches=1)) == (
        "output_tokens",
        "web_searches",
    )
