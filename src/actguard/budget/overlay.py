"""What genai-prices does not know, as data: each entry says from where and when. Rates are dollars.

An entry applies only where genai-prices states nothing itself, so that it retires on its own once genai-prices learns.
Sources, unless an entry names another: litellm 1.109.1 (MIT), model_prices_and_context_window_backup.json, which cites
the providers' price pages; read 2026-11-22.
"""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from fractions import Fraction
from typing import NamedTuple

from actguard.budget.rates import FREE_TOKENS, RateCard, Steps
from actguard.money import PICO_PER_USD


class Multiplier(NamedTuple):
    """In a context, all token rates of some models times a factor."""

    provider: str
    models: str
    key: str
    values: str
    """Globs, separated by spaces; `!` before one excludes."""
    factor: Fraction


class Fill(NamedTuple):
    """Rates that the list lacks for some models."""

    provider: str
    models: str
    rates: Mapping[str, str]
    """Dollars per million tokens, or for one search."""


class Added(NamedTuple):
    """A model that the list lacks."""

    provider: str
    models: str
    rates: Mapping[str, str]
    variants: Mapping[tuple[str, str], Mapping[str, str]] = {}
    """Other rates in a context."""


_REGION = Fraction(11, 10)
_ANY_REGION = "* !global"

MULTIPLIERS = (
    # platform.claude.com/docs/en/manage-claude/data-residency, 2026-11-22: 1.1x on every token kind; reported as
    # usage.inference_geo; models before Opus 4.6 refuse the parameter. Stacks with batch, fast and cache rates.
    Multiplier("anthropic", "*", "geo", "us", _REGION),
    # developers.openai.com/api/docs/guides/data-residency, 2026-11-22: +10 % on models released since 2026-03-05.
    Multiplier("openai", "gpt-5.4* gpt-5.5* gpt-5.6* gpt-6* gpt-realtime-2.1*", "geo", _ANY_REGION, _REGION),
    # Vertex, regional and multi-regional endpoints (litellm: regional_endpoint_uplift_multiplier).
    Multiplier(
        "google",
        "!claude-3* claude-*-4-5* claude-*-4-6* claude-*-4-7* claude-*-4-8* claude-*-5* gemini-3.1-flash-image* "
        "!*-tts* gemini-3.1-flash-lite* gemini-3.5-flash* gemini-3.6-* gemini-3.7-* gemini-3.8-flash* gemini-4-*",
        "geo",
        _ANY_REGION,
        _REGION,
    ),
    # docs.x.ai/developers/advanced-api-usage/regions, 2026-11-22.
    Multiplier("x-ai", "*", "geo", "us", _REGION),
    # developers.openai.com/api/docs/pricing by way of litellm: 6x on every kind and tier.
    Multiplier("openai", "gpt-6-astra* gpt-6.1-sol*", "service_tier", "ultrafast", Fraction(6)),
    # ai.google.dev/gemini-api/docs/pricing by way of litellm and the comments of genai-prices: the same for every model
    # that has the tier.
    Multiplier("google", "gemini-*", "service_tier", "priority", Fraction(9, 5)),
    Multiplier("google", "gemini-2.5-flash-image* gemini-3*", "service_tier", "flex", Fraction(1, 2)),
    Multiplier("google", "gemini-2.5-flash-image* gemini-3*", "processing", "batch", Fraction(1, 2)),
)

# Flex is billed like batch, where genai-prices has batch (cached input of 2.5 is not halved in either).
SAME_AS: Mapping[tuple[str, str, str], tuple[str, str]] = {
    ("google", "service_tier", "flex"): ("processing", "batch"),
}

FILLS = (
    # Retired from the price page; azure and litellm keep the rates of the 2024-12-17 and 2025-06-03 snapshots.
    Fill("openai azure", "gpt-4o-audio-preview*", {"input_audio_tokens": "40", "output_audio_tokens": "80"}),
    Fill("openai azure", "gpt-4o-mini-audio-preview*", {"input_audio_tokens": "10", "output_audio_tokens": "20"}),
    # Grounding: 2.x per grounded prompt, 3 and later per query. The free allowance is the account's, not a call's.
    Fill("google", "gemini-2*", {"web_searches": "0.035", "map_searches": "0.025"}),
    Fill("google", "gemini-3* gemini-4*", {"web_searches": "0.014", "map_searches": "0.014"}),
)

# A prompt cache kept for 12 hours costs twice the ordinary write, in every tier and variant (litellm: _above_12hr).
LONG_CACHE = ("openai azure", Fraction(2))

ADDED = (
    Added("openai", "ft:gpt-4.1-2*", {"input_tokens": "3", "cache_read_tokens": "0.75", "output_tokens": "12"}),
    Added("openai", "ft:gpt-4.1-mini-*", {"input_tokens": "0.8", "cache_read_tokens": "0.2", "output_tokens": "3.2"}),
    Added("openai", "ft:gpt-4.1-nano-*", {"input_tokens": "0.2", "cache_read_tokens": "0.05", "output_tokens": "0.8"}),
    Added("openai", "ft:o4-mini-*", {"input_tokens": "4", "cache_read_tokens": "1", "output_tokens": "16"}),
    Added("openai azure", "sora-2", {"output_video_seconds": "0.1"}),
    Added(
        "openai azure",
        "sora-2-pro",
        {"output_video_seconds": "0.3"},
        {("resolution", "1024p"): {"output_video_seconds": "0.5"}},
    ),
    Added(
        "google",
        "veo-3.1-generate-*",
        {"output_video_seconds": "0.4"},
        {("resolution", "4k"): {"output_video_seconds": "0.6"}},
    ),
    Added(
        "google",
        "veo-3.1-fast-generate-*",
        {"output_video_seconds": "0.1"},
        {
            ("resolution", "1080p"): {"output_video_seconds": "0.12"},
            ("resolution", "4k"): {"output_video_seconds": "0.3"},
        },
    ),
    Added(
        "google",
        "veo-3.1-lite-generate-*",
        {"output_video_seconds": "0.05"},
        {("resolution", "1080p"): {"output_video_seconds": "0.08"}},
    ),
    Added("google", "veo-3.0-generate-*", {"output_video_seconds": "0.4"}),
    Added(
        "google",
        "veo-3.0-fast-generate-*",
        {"output_video_seconds": "0.1"},
        {("resolution", "1080p"): {"output_video_seconds": "0.12"}},
    ),
    Added("google", "veo-2.0-generate-*", {"output_video_seconds": "0.5"}),
    Added("google", "imagen-3.0-generate-*", {"output_images": "0.04"}),
    Added("google", "imagen-3.0-fast-generate-*", {"output_images": "0.02"}),
)

# Models that genai-prices lists without any rate and that are free by their own name or list. The others without a
# rate (withdrawn, or covered by a subscription) have no known price.
LISTED_FREE = (("*", "*:free"), ("google", "gemma-*"), ("openai", "*moderation*"))

# Said by a provider of an ordinary call.
ORDINARY = frozenset({"", "default", "standard", "auto", "on_demand", "global", "not_available", "none", "unspecified"})
# Other words for the same (Vertex: trafficType; Anthropic: service_tier of a batch).
SPELLINGS: Mapping[tuple[str, str], tuple[str, str]] = {
    ("service_tier", "on_demand_flex"): ("service_tier", "flex"),
    ("service_tier", "on_demand_priority"): ("service_tier", "priority"),
    ("service_tier", "batch"): ("processing", "batch"),
}


def normal(context: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """The context in genai-prices' words, without what is said of every ordinary call."""
    found: dict[str, str] = {}
    for key, value in context:
        key, value = SPELLINGS.get((key, value.lower()), (key, value.lower()))
        if value not in ORDINARY:
            found[key] = value
    return found


def added(provider: str, model: str, context: Mapping[str, str]) -> tuple[RateCard, frozenset[str]] | None:
    """The rates of a model that only the overlay knows, and the keys of the context that they honour."""
    for entry in ADDED:
        if provider in entry.provider.split() and _matches(entry.models, model):
            for (key, value), rates in entry.variants.items():
                if context.get(key) == value:
                    return RateCard(_rates(rates)), frozenset({key})
            return RateCard(_rates(entry.rates)), frozenset()
    return None


def completed(
    provider: str, names: tuple[str, ...], card: RateCard, context: Mapping[str, str], honoured: frozenset[str]
) -> tuple[RateCard, str]:
    """*card* with what the list lacks filled in, and what of *context* nobody has a rate for (`service_tier=scale`).

    Args:
        names: the model as the call names it, and as the list names it.
        honoured: the keys of the context that the card's own rates already answer.
    """
    for fill in FILLS:
        if provider in fill.provider.split() and _matches(fill.models, *names):
            card = card.plus({kind: steps for kind, steps in _rates(fill.rates).items() if kind not in card.rates})
    if provider in LONG_CACHE[0].split() and "cache_write_tokens" in card.rates:
        longer = tuple((start, rate * LONG_CACHE[1]) for start, rate in card.rates["cache_write_tokens"])
        card = card.plus({"cache_write_12h_tokens": longer})
    assumed: list[str] = []
    for key, value in context.items():
        if key in honoured:
            continue
        factor = _factor(provider, names, key, value)
        if factor is not None:
            card = card.times(factor)
        elif key != "geo":  # a region is only said to cost more where it does
            assumed.append(f"{key}={value}")
    return card, ", ".join(assumed)


def listed_free(provider: str, model: str) -> RateCard | None:
    """The card of a model that is listed without a rate because it is free."""
    free = any(who in ("*", provider) and _matches(models, model) for who, models in LISTED_FREE)
    return FREE_TOKENS if free else None


def _factor(provider: str, names: tuple[str, ...], key: str, value: str) -> Fraction | None:
    for entry in MULTIPLIERS:
        ours = entry.provider == provider and entry.key == key
        if ours and _matches(entry.values, value) and _matches(entry.models, *names):
            return entry.factor
    return None


def _matches(globs: str, *names: str) -> bool:
    patterns = globs.split()
    wanted = [pattern for pattern in patterns if not pattern.startswith("!")]
    excluded = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
    return any(
        any(fnmatchcase(name, pattern) for pattern in wanted)
        and not any(fnmatchcase(name, pattern) for pattern in excluded)
        for name in (name.lower() for name in names)
    )


def _rates(rates: Mapping[str, str]) -> dict[str, Steps]:
    found: dict[str, Steps] = {}
    for kind, dollars in rates.items():
        per = 10**6 if kind.endswith("_tokens") else 1
        if kind.endswith("_seconds"):
            kind, per = kind.removesuffix("seconds") + "milliseconds", 1000
        found[kind] = ((0, Fraction(dollars) * PICO_PER_USD / per),)
    return found
