"""What genai-prices lacks: regions, tiers of service, long caches, audio, pictures, and how long replies can get."""

from datetime import UTC, datetime
from fractions import Fraction

import pytest

from actguard.budget.limits import context_window, limits, max_output_tokens
from actguard.budget.names import bare, candidates
from actguard.budget.overlay import normal
from actguard.budget.price import Price
from actguard.budget.pricing import PriceBook
from actguard.budget.usage import Usage

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
BOOK = PriceBook(clock=NOW.timestamp)
M = 10**6
ONE_OF_EACH = Usage(input_tokens=1000, output_tokens=1000, cache_read_tokens=100)


def price_of(provider: str, model: str, **context: str) -> Price:
    price = BOOK.price(provider, model, tuple(sorted(context.items())))
    assert price is not None
    return price


def ratio(provider: str, model: str, **context: str) -> Fraction:
    """How much dearer a reply is in a context."""
    return Fraction(price_of(provider, model, **context).cost(ONE_OF_EACH), price_of(provider, model).cost(ONE_OF_EACH))


# ---- regions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("provider", "model", "geo"),
    [
        ("anthropic", "claude-opus-5-5", "us"),
        ("openai", "gpt-5.6-sol", "eu"),
        ("openai", "gpt-5.4-mini-2026-03-17", "us"),
        ("openai", "gpt-6-astra", "jp"),
        ("google", "claude-sonnet-4-5@20250929", "us-east5"),
        ("google", "gemini-3.6-flash", "eu"),
        ("x-ai", "grok-4.3", "us"),
    ],
)
def test_a_region_costs_a_tenth_more(provider, model, geo):
    assert ratio(provider, model, geo=geo) == Fraction(11, 10)


@pytest.mark.parametrize(
    ("provider", "model", "geo"),
    [
        ("anthropic", "claude-opus-5-5", "global"),
        ("anthropic", "claude-haiku-4-5", "not_available"),
        ("openai", "gpt-4o", "eu"),
        ("openai", "gpt-5.2", "eu"),
        ("google", "gemini-2.5-pro", "europe-west1"),
        ("google", "claude-3-5-sonnet@20240620", "us-east5"),
        ("google", "gemini-3.6-flash", "global"),
    ],
)
def test_where_a_region_is_not_said_to_cost_more_it_does_not(provider, model, geo):
    price = price_of(provider, model, geo=geo)
    assert ratio(provider, model, geo=geo) == 1
    assert price.assumed == ""


def test_a_region_multiplies_tokens_and_not_searches():
    assert price_of("anthropic", "claude-opus-5", geo="us").cost(Usage(web_searches=1)) == 10**10


def test_a_region_comes_on_top_of_a_batch_and_of_fast_mode():
    batch = price_of("anthropic", "claude-opus-5", processing="batch", geo="us")
    fast = price_of("anthropic", "claude-opus-5", speed="fast", geo="us")
    assert batch.cost(Usage(1000, 0)) == 1000 * 2_500_000 * 11 // 10
    assert fast.cost(Usage(1000, 0)) == 1000 * 10 * M * 11 // 10


# ---- tiers of service -----------------------------------------------------------------------------------------------


def test_ultrafast_is_six_times_as_dear_in_every_tier():
    price = price_of("openai", "gpt-6-astra", service_tier="ultrafast")
    assert price.cost(Usage(1000, 1000)) == 1000 * 60 * M + 1000 * 300 * M
    assert price.cost(Usage(300_000, 0)) == 300_000 * 120 * M
    assert price.assumed == ""


@pytest.mark.parametrize("model", ["gemini-2.5-flash", "gemini-2.5-pro", "gemini-3-flash-preview", "gemini-3.6-flash"])
def test_gemini_flex_is_billed_like_batch(model):
    usage = Usage(input_tokens=1000, output_tokens=1000)
    flex, batch = (
        price_of("google", model, service_tier="flex"),
        price_of("google", model, processing="batch"),
    )
    assert flex.cost(usage) == batch.cost(usage)
    assert 2 * flex.cost(usage) == price_of("google", model).cost(usage)
    assert flex.cost(ONE_OF_EACH) == batch.cost(ONE_OF_EACH)


def test_gemini_flex_is_half_where_no_batch_price_is_listed():
    assert ratio("google", "gemini-3.7-flash", service_tier="flex") == Fraction(1, 2)


@pytest.mark.parametrize("model", ["gemini-2.5-flash", "gemini-3.6-flash", "gemini-4-argon", "gemini-3.8-flash-tts"])
def test_gemini_priority_is_a_little_less_than_double(model):
    assert ratio("google", model, service_tier="priority") == Fraction(9, 5)


def test_azure_has_the_tiers_of_the_models_it_resells():
    assert ratio("azure", "gpt-5.6-sol", service_tier="priority") == 2


@pytest.mark.parametrize("said", ["default", "standard", "auto", "on_demand", "ON_DEMAND", ""])
def test_the_ordinary_tier_by_any_name_is_no_context(said):
    assert normal((("service_tier", said),)) == {}


def test_other_words_for_a_tier_are_understood():
    assert normal((("service_tier", "ON_DEMAND_FLEX"),)) == {"service_tier": "flex"}
    assert normal((("service_tier", "batch"),)) == {"processing": "batch"}


def test_a_tier_without_a_known_rate_is_charged_at_the_standard_one_and_says_so():
    price = price_of("openai", "gpt-4o", service_tier="scale")
    assert ratio("openai", "gpt-4o", service_tier="scale") == 1
    assert price.assumed == "service_tier=scale"
    assert "service_tier=scale" in price.describe()


# ---- kinds ----------------------------------------------------------------------------------------------------------


def test_a_cache_of_twelve_hours_costs_twice_the_ordinary_write():
    price = price_of("openai", "gpt-5.6-sol")
    usage = Usage(input_tokens=1000, cache_write_tokens=1000, cache_write_12h_tokens=400)
    assert price.cost(usage) == 600 * 5 * M + 400 * 10 * M
    flex = price_of("openai", "gpt-5.6-sol", service_tier="flex")
    assert flex.cost(usage) == price.cost(usage) // 2


def test_audio_of_the_audio_preview_is_not_charged_as_text():
    price = price_of("openai", "gpt-4o-audio-preview-2024-12-17")
    usage = Usage(input_tokens=100, input_audio_tokens=60, output_tokens=50, output_audio_tokens=50)
    assert price.cost(usage) == 40 * 2_500_000 + 60 * 40 * M + 50 * 80 * M


def test_grounding_with_a_map_has_a_price():
    assert price_of("google", "gemini-2.5-flash").cost(Usage(map_searches=2)) == 5 * 10**10
    assert price_of("google", "gemini-3.6-flash").cost(Usage(map_searches=1)) == 14 * 10**9


def test_films_and_pictures_are_priced_by_the_second_and_the_piece():
    assert price_of("google", "veo-3.1-generate-preview").cost(Usage(output_video_milliseconds=8000)) == 32 * 10**11
    sharp = price_of("google", "veo-3.1-generate-preview", resolution="4k")
    assert sharp.cost(Usage(output_video_milliseconds=8000)) == 48 * 10**11
    assert price_of("openai", "sora-2").cost(Usage(output_video_milliseconds=1000)) == 10**11
    assert price_of("google", "imagen-3.0-generate-002").cost(Usage(output_images=2)) == 8 * 10**10


def test_fine_tuned_models_that_the_list_lacks_have_a_price():
    assert price_of("openai", "ft:gpt-4.1-2025-04-14:org::id").cost(Usage(1000, 1000)) == 15_000 * M


def test_models_that_are_listed_as_free_are_free_and_others_without_a_rate_are_unknown():
    assert price_of("openrouter", "meta-llama/llama-4-scout:free").free
    assert price_of("google", "gemma-3-27b-it").free
    assert BOOK.price("cerebras", "qwen-3-coder-480b") is None
    assert BOOK.price("mistral", "mistral-ocr-latest") is None


# ---- names ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("provider", "said", "listed"),
    [
        ("google", "models/gemini-2.5-flash", "gemini-2.5-flash"),
        ("google", "publishers/google/models/gemini-2.5-pro", "gemini-2.5-pro"),
        ("google", "projects/p/locations/us-central1/publishers/google/models/gemini-2.5-pro", "gemini-2.5-pro"),
        ("google", "google/gemini-2.5-flash", "gemini-2.5-flash"),
        ("google", "gemini-2.5-flash-001", "gemini-2.5-flash"),
        ("google", "gemini-2.5-flash-preview-09-2025", "gemini-2.5-flash"),
        ("google", "claude-opus-5-5@default", "claude-opus-5-5"),
        ("openai", "gpt-4o-2024-08-06", "gpt-4o"),
        ("azure", "gpt-4o-2024-11-20", "gpt-4o"),
        ("aws", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "regional.anthropic.claude-sonnet-4-5-20250929-v1:0"),
        ("aws", "global.anthropic.claude-opus-5", "global.anthropic.claude-opus-5"),
        ("anthropic", "Claude-Opus-5", "claude-opus-5"),
    ],
)
def test_a_model_is_found_however_its_name_is_spelled(provider, said, listed):
    assert price_of(provider, said).model == listed


def test_a_bedrock_profile_in_an_arn_is_the_model_behind_it():
    arn = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0"
    assert price_of("aws", arn).cost(Usage(1000, 0)) == 1000 * 3_300_000


def test_a_name_is_tried_literally_first():
    assert candidates("google", "models/gemini-2.5-flash-001") == (
        "models/gemini-2.5-flash-001",
        "gemini-2.5-flash-001",
        "gemini-2.5-flash",
    )
    assert candidates("openai", "gpt-4o") == ("gpt-4o",)


@pytest.mark.parametrize(
    ("said", "family"),
    [
        ("us.anthropic.claude-opus-5-v1:0", "claude-opus-5"),
        ("claude-opus-5@default", "claude-opus-5"),
        ("openai/gpt-4o", "gpt-4o"),
        ("ft:gpt-4o-2024-08-06:org::id", "gpt-4o-2024-08-06"),
        ("gpt-4.1", "gpt-4.1"),
    ],
)
def test_the_bare_name_of_a_family(said, family):
    assert bare(said) == family


# ---- limits ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "output"),
    [
        ("gpt-4o-2024-08-06", 16_384),
        ("gpt-5-mini", 128_000),
        ("gpt-5-pro-2025-10-06", 272_000),
        ("o3", 100_000),
        ("claude-opus-5-5@default", 128_000),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", 64_000),
        ("models/gemini-2.5-flash-preview-09-2025", 65_536),
        ("gemini-4-argon", 1_048_576),
    ],
)
def test_the_longest_reply_of_a_family_is_known(model, output):
    assert max_output_tokens(model) == output
    assert (context_window(model) or 0) >= output


@pytest.mark.parametrize("model", ["gpt-4.9", "gpt-5-turbo", "claude-opus-7", "llama3", "gpt", "", "o1-nano"])
def test_nothing_is_said_of_a_sibling(model):
    assert limits(model) == (None, None)
