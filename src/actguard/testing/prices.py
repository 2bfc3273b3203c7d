"""What the local provider charges: its own price list, stated here and nowhere else.

Rates are decimal dollars per million tokens of a kind, and per single unit of what is not a token. The figures are
those the providers published for these models; nothing is looked up at run time, so a test can be read with the list
beside it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Self

from actguard.testing.counts import TOKEN_KINDS, UNIT_KINDS, Counts

MILLION = Decimal(1_000_000)

# A kind without a rate of its own costs what the kind it stands beside costs.
_FALLBACK = {
    "cached": "input",
    "cached_audio": "cached",
    "cache_write": "input",
    "cache_write_1h": "cache_write",
    "audio_input": "input",
    "image_input": "input",
    "tool_prompt": "input",
    "reasoning": "output",
    "audio_output": "output",
    "image_output": "output",
}


@dataclass(frozen=True, slots=True)
class LongContext:
    """Rates that replace the base ones for the whole call once its input is longer than *above* tokens."""

    above: int
    rates: Mapping[str, Decimal]


@dataclass(frozen=True, slots=True)
class Price:
    """The price of one model. Build one with `price`."""

    rates: Mapping[str, Decimal]
    long_context: LongContext | None = None
    variants: Mapping[str, "Price"] = field(default_factory=dict[str, "Price"])
    """By service tier (`flex`, `priority`, `batch`) or speed (`fast`)."""
    geo: Mapping[str, Decimal] = field(default_factory=dict[str, Decimal])
    """Factor on every token, by the region that the reply says it ran in."""
    search_per_prompt: bool = False
    """Any number of searches in one reply costs one (Gemini 2)."""

    def usd(self, counts: Counts, *, variant: str | None = None, geo: str | None = None) -> Decimal:
        """What *counts* cost, exactly."""
        chosen = self.variants.get(variant or "", self)
        rates = chosen.rates
        if chosen.long_context is not None and counts.input_tokens > chosen.long_context.above:
            rates = {**rates, **chosen.long_context.rates}
        tokens, units = Decimal(), Decimal()
        for kind, count in counts.by_kind().items():
            if kind == "web_search" and self.search_per_prompt:
                count = 1
            if kind in UNIT_KINDS:
                units += count * rates.get(kind, Decimal())
            else:
                tokens += count * _rate(rates, kind)
        return tokens / MILLION * self.geo.get(geo or "", Decimal(1)) + units

    def times(self, factor: str | Decimal) -> Self:
        """The same price with every token rate multiplied; units keep theirs."""
        return replace(
            self,
            rates=_scaled(self.rates, Decimal(factor)),
            long_context=self.long_context
            and LongContext(self.long_context.above, _scaled(self.long_context.rates, Decimal(factor))),
            variants={name: variant.times(factor) for name, variant in self.variants.items()},
        )

    def but(self, **rates: str) -> Self:
        """The same price with some rates replaced."""
        return replace(self, rates={**self.rates, **_decimals(rates)})

    def with_variants(self, **variants: "Price") -> Self:
        return replace(self, variants={**self.variants, **variants})

    def with_long_context(self, above: int, **rates: str) -> Self:
        return replace(self, long_context=LongContext(above, _decimals(rates)))


def price(input: str | Decimal, output: str | Decimal = "0", **rates: str | Decimal) -> Price:
    """A price in dollars per million tokens and per single unit: ``price("3", "15", cached="0.3", web_search="0.01")``.

    Raises:
        ValueError: an unknown kind, or a rate that is not a finite number of zero or more.
    """
    return Price(_decimals({"input": input, "output": output, **rates}))


def _decimals(rates: Mapping[str, str | Decimal]) -> dict[str, Decimal]:
    known = {*TOKEN_KINDS, *UNIT_KINDS}
    decimals: dict[str, Decimal] = {}
    for kind, rate in rates.items():
        if kind not in known:
            raise ValueError(f"there is no rate {kind!r}; the kinds are {', '.join(sorted(known))}")
        decimals[kind] = Decimal(rate)
        if not decimals[kind].is_finite() or decimals[kind] < 0:
            raise ValueError(f"the rate {kind} must be a finite number of zero or more, not {rate!r}")
    return decimals


def _rate(rates: Mapping[str, Decimal], kind: str) -> Decimal:
    while kind not in rates:
        if kind not in _FALLBACK:
            return Decimal()
        kind = _FALLBACK[kind]
    return rates[kind]


def _scaled(rates: Mapping[str, Decimal], factor: Decimal) -> dict[str, Decimal]:
    return {kind: rate * factor if kind in TOKEN_KINDS else rate for kind, rate in rates.items()}


_SEARCH = "0.01"


def _openai(input: str, output: str, cached: str, **rates: str) -> Price:
    return price(input, output, cached=cached, web_search=_SEARCH, **rates)


def _claude(input: str, output: str, cached: str, write: str, write_1h: str) -> Price:
    base = price(input, output, cached=cached, cache_write=write, cache_write_1h=write_1h, web_search=_SEARCH)
    return base.with_variants(batch=base.times("0.5"))


_GPT_4O = _openai("2.5", "10", "1.25")
_GPT_4O_MINI = _openai("0.15", "0.6", "0.075")
_GPT_4_1 = _openai("2", "8", "0.5")
_GPT_4_1_MINI = _openai("0.4", "1.6", "0.1")
_O3 = _openai("2", "8", "0.5")
_GPT_5 = _openai("1.25", "10", "0.125")
_GPT_5_MINI = _openai("0.25", "2", "0.025")
_GPT_5_6_SOL = _openai("4", "20", "0.4", cache_write="5").with_long_context(
    272_000, input="8", cached="0.8", cache_write="10", output="30"
)
_GPT_IMAGE_1 = price("5", "40", cached="1.25", image_input="10")
_SONNET_4_5_BASE = price("3", "15", cached="0.3", cache_write="3.75", cache_write_1h="6", web_search=_SEARCH)
_SONNET_4_5 = _SONNET_4_5_BASE.with_long_context(
    200_000, input="6", cached="0.6", cache_write="7.5", cache_write_1h="12", output="22.5"
)
_OPUS = _claude("5", "25", "0.5", "6.25", "10")
_FLASH_2_5 = price("0.3", "2.5", cached="0.03", audio_input="1", cached_audio="0.1", web_search="0.035")
_PRO_2_5 = price("1.25", "10", cached="0.125", web_search="0.035").with_long_context(
    200_000, input="2.5", cached="0.25", output="15"
)
_FLASH_3 = price("0.5", "3", cached="0.05", audio_input="1", cached_audio="0.1", web_search="0.014")
_FLASH_2_5_BATCH = _FLASH_2_5.but(input="0.15", output="1.25", audio_input="0.5")
_FLASH_3_BATCH = _FLASH_3.but(input="0.25", output="1.5", audio_input="0.5")

PRICES: dict[str, Price] = {
    # OpenAI
    "gpt-4o": _GPT_4O.with_variants(
        priority=_GPT_4O.but(input="4.25", cached="2.125", output="17"), batch=_GPT_4O.but(input="1.25", output="5")
    ),
    "gpt-4o-mini": _GPT_4O_MINI.with_variants(
        priority=_GPT_4O_MINI.but(input="0.25", cached="0.125", output="1"),
        batch=_GPT_4O_MINI.but(input="0.075", output="0.3"),
    ),
    "gpt-4.1": _GPT_4_1.with_variants(
        priority=_GPT_4_1.but(input="3.5", cached="0.875", output="14"), batch=_GPT_4_1.but(input="1", output="4")
    ),
    "gpt-4.1-mini": _GPT_4_1_MINI.with_variants(
        priority=_GPT_4_1_MINI.but(input="0.7", cached="0.175", output="2.8"),
        batch=_GPT_4_1_MINI.but(input="0.2", output="0.8"),
    ),
    "gpt-5": _GPT_5.with_variants(flex=_GPT_5.times("0.5"), batch=_GPT_5.times("0.5"), priority=_GPT_5.times("2")),
    "gpt-5-mini": _GPT_5_MINI.with_variants(
        flex=_GPT_5_MINI.times("0.5"), batch=_GPT_5_MINI.times("0.5"), priority=_GPT_5_MINI.times("1.8")
    ),
    "gpt-5.6-sol": _GPT_5_6_SOL.with_variants(
        flex=_GPT_5_6_SOL.times("0.5"), batch=_GPT_5_6_SOL.times("0.5"), priority=_GPT_5_6_SOL.times("2")
    ),
    "o3": _O3.with_variants(flex=_O3.times("0.5"), batch=_O3.but(input="1", output="4"), priority=_O3.times("1.75")),
    "gpt-audio": price("2.5", "10", audio_input="32", audio_output="64"),
    "gpt-3.5-turbo-instruct": price("1.5", "2"),
    "text-embedding-3-small": price("0.02"),
    "gpt-image-1": _GPT_IMAGE_1,
    "dall-e-3": price("0", image="0.04"),
    "gpt-4o-transcribe": price("2.5", "10", audio_input="6"),
    "whisper-1": price("0", audio_second="0.0001"),
    "gpt-4o-mini-tts": price("0.6", "12"),
    "tts-1": price("0", character="0.000015"),
    "omni-moderation-latest": price("0"),
    # Anthropic
    "claude-sonnet-4-5": _SONNET_4_5.with_variants(batch=_SONNET_4_5.times("0.5")),
    "claude-sonnet-5": _claude("2", "10", "0.2", "2.5", "4"),
    "claude-haiku-4-5": _claude("1", "5", "0.1", "1.25", "2"),
    "claude-opus-4-5": _OPUS,
    "claude-opus-4-8": replace(_OPUS.with_variants(fast=_OPUS.times("2")), geo={"us": Decimal("1.1")}),
    "claude-opus-5": replace(_OPUS.with_variants(fast=_OPUS.times("2")), geo={"us": Decimal("1.1")}),
    # Google
    "gemini-2.5-flash": replace(_FLASH_2_5, search_per_prompt=True).with_variants(
        batch=_FLASH_2_5_BATCH,
        flex=_FLASH_2_5_BATCH,  # neither halves what is read from a cache
        priority=_FLASH_2_5.times("1.8"),
    ),
    "gemini-2.5-pro": replace(_PRO_2_5, search_per_prompt=True).with_variants(
        batch=_PRO_2_5.but(input="0.625", output="5").with_long_context(
            200_000, input="1.25", cached="0.25", output="7.5"
        )
    ),
    "gemini-3-flash-preview": _FLASH_3.with_variants(
        batch=_FLASH_3_BATCH,
        flex=_FLASH_3_BATCH,
        priority=_FLASH_3.times("1.8"),
    ),
    "gemini-embedding-001": price("0.15"),
    "imagen-4.0-generate-001": price("0", image="0.04"),
}


class PriceList:
    """Prices by model name; a name with a date or revision behind it costs what the name before it costs."""

    def __init__(self, prices: Mapping[str, Price] | None = None) -> None:
        self._prices = {**PRICES, **(prices or {})}
        self._found: dict[str, Price | None] = {}

    def __getitem__(self, model: str) -> Price:
        if (found := self.find(model)) is None:
            raise KeyError(model)
        return found

    def __contains__(self, model: str) -> bool:
        return self.find(model) is not None

    def set(self, model: str, price: Price) -> None:
        self._prices[model] = price
        self._found.clear()

    def find(self, model: str) -> Price | None:
        """The price of *model*: exact, else without its vendor prefix, else of the longest name it continues."""
        if model not in self._found:
            self._found[model] = self._resolve(model)
        return self._found[model]

    def _resolve(self, model: str) -> Price | None:
        if model in self._prices:
            return self._prices[model]
        region, dot, bare = model.rpartition("anthropic.")
        if dot:  # Bedrock: one price for any length; a region costs a tenth more than the global profile
            listed = self._resolve(bare.removesuffix(":0"))
            listed = listed and replace(listed, long_context=None)
            return listed if listed is None or region == "global." else listed.times("1.1")
        name = model.rpartition("/")[2].partition("@")[0].partition(":")[0]
        continued = [known for known in self._prices if name == known or _is_revision(name.removeprefix(known + "-"))]
        continued = [known for known in continued if name.startswith(known)]
        return self._prices[max(continued, key=len)] if continued else None


def _is_revision(rest: str) -> bool:
    """`2024-08-06`, `20250929`, `20250929-v1`, `001`, `latest` follow a model's name; `mini` is another model."""
    return rest == "latest" or (rest[:1].isdigit() and rest.replace("-", "").replace("v", "").isdigit())
