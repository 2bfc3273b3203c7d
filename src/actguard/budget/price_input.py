"""Prices as people state them, checked where they are written and brought to a `RateCard`."""

import math
from collections.abc import Mapping
from decimal import Decimal
from difflib import get_close_matches
from fractions import Fraction
from numbers import Rational, Real

from actguard.budget.hosts import PROVIDERS, UNKNOWN, canonical, provider_of_host
from actguard.budget.rates import PART_OF, RateCard, Steps
from actguard.exceptions import ActGuardUsageError
from actguard.money import PICO_PER_USD

Amount = int | float | Decimal | Fraction
"""Dollars."""

_PER = {"1": 1, "1K": 1000, "1k": 1000, "1M": 10**6, "1m": 10**6}

# The words of `prices.set` for what is stated in dollars per `per`.
BY_AMOUNT: Mapping[str, str] = {
    "input": "input_tokens",
    "output": "output_tokens",
    "cache_read": "cache_read_tokens",
    "cache_write": "cache_write_tokens",
    "cache_write_1h": "cache_write_1h_tokens",
    "cache_write_12h": "cache_write_12h_tokens",
    "input_audio": "input_audio_tokens",
    "input_image": "input_image_tokens",
    "input_video": "input_video_tokens",
    "cache_audio_read": "cache_audio_read_tokens",
    "cache_image_read": "cache_image_read_tokens",
    "cache_video_read": "cache_video_read_tokens",
    "input_tool": "input_tool_tokens",
    "output_reasoning": "output_reasoning_tokens",
    "output_audio": "output_audio_tokens",
    "output_image": "output_image_tokens",
    "output_video": "output_video_tokens",
    "input_characters": "input_characters",
}
# ... and for what is stated in dollars for one, whatever `per` says.
BY_UNIT: Mapping[str, tuple[str, int]] = {
    "web_search": ("web_searches", 1),
    "storage_search": ("storage_searches", 1),
    "map_search": ("map_searches", 1),
    "code_execution": ("code_executions", 1),
    "image": ("output_images", 1),
    "input_audio_second": ("input_audio_milliseconds", 1000),
    "output_audio_second": ("output_audio_milliseconds", 1000),
    "output_video_second": ("output_video_milliseconds", 1000),
}
REQUEST = "request"
WORDS = (*BY_AMOUNT, *BY_UNIT, REQUEST)

# Per token, in pico-dollars. The cheapest model sold costs 5,000, the dearest 600,000,000. What lies far outside is
# a price per token given as one per million, or the reverse; either would make a budget meaningless without a word.
_LEAST_PLAUSIBLE, _MOST_PLAUSIBLE = Fraction(100), Fraction(PICO_PER_USD)


def rate_card(
    prices: Mapping[str, object], per: object, above: Mapping[int, Mapping[str, object]] | None = None
) -> RateCard:
    """The card that *prices* describe.

    Args:
        prices: dollars by word (`WORDS`).
        per: how many tokens or characters a price is for: "1M", "1K", "1" or a whole number.
        above: other token prices for calls with more than so many input tokens.

    Raises:
        ActGuardUsageError: names the argument and says what is allowed.
    """
    divisor = _divisor(per)
    rates: dict[str, Steps] = {}
    request = Fraction(0)
    for word, value in prices.items():
        _known(word, WORDS)
        dollars = _dollars(word, value)
        if word == REQUEST:
            request = dollars * PICO_PER_USD
        elif word in BY_UNIT:
            kind, parts = BY_UNIT[word]
            if word.endswith("_search") and dollars > 1:
                raise wrong(word, f"dollars for one search, whatever `per` says; ${value} is too much for one")
            rates[kind] = ((0, dollars * PICO_PER_USD / parts),)
        else:
            rates[BY_AMOUNT[word]] = ((0, _plausible(word, dollars * PICO_PER_USD / divisor, value, per)),)
    _check_complete(prices)
    for start, tier in sorted((above or {}).items()):
        if isinstance(start, bool) or not isinstance(start, int) or start <= 0:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise wrong("above", f"its keys are numbers of input tokens, whole and positive, not {start!r}")
        for word, value in tier.items():
            _known(word, BY_AMOUNT)
            rate = _plausible(word, _dollars(word, value) * PICO_PER_USD / divisor, value, per)
            kind = BY_AMOUNT[word]
            if kind not in rates:
                raise wrong(word, f"it has a price above {start:,} tokens, but none below: give {word}= as well")
            rates[kind] = (*rates[kind], (start, rate))
    return _with_overlaps(RateCard(rates, request))


def _divisor(per: object) -> int:
    if isinstance(per, str) and per in _PER:
        return _PER[per]
    if isinstance(per, int) and not isinstance(per, bool) and per > 0:
        return per
    raise wrong("per", f'how many tokens a price is for: "1M", "1K", "1" or a positive whole number, not {per!r}')


def _dollars(word: str, value: object) -> Fraction:
    if isinstance(value, bool) or not isinstance(value, Real | Decimal):
        raise wrong(word, f"dollars as a number (int, float, Decimal), not {value!r}")
    try:
        finite = math.isfinite(value)
    except (OverflowError, ValueError):  # an integer beyond every float, a signalling NaN
        finite = False
    if not finite:
        raise wrong(word, f"a finite number of dollars, not {value!r}")
    if value < 0:
        raise wrong(word, f"dollars, 0 or more, not {value!r}")
    if isinstance(value, Decimal | Rational):
        return Fraction(value)
    return Fraction(repr(float(value)))  # a float at its shortest reading: 0.1 is a tenth


def _plausible(word: str, rate: Fraction, value: object, per: object) -> Fraction:
    if 0 < rate < _LEAST_PLAUSIBLE:
        raise wrong(word, f"${value} for {per} is less than any model costs; if that is for one token, say per='1'")
    if rate > _MOST_PLAUSIBLE:
        raise wrong(word, f"${value} for {per} is more than a dollar for one token; if that is for more, say per='1M'")
    return rate


def _known(word: str, allowed: Mapping[str, object] | tuple[str, ...]) -> None:
    if word not in allowed:
        near = get_close_matches(word.removesuffix("_tokens").removesuffix("s"), list(allowed), 1, 0.6)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise wrong(word, f"it is no kind of usage that can have a price.{hint} Known: {', '.join(allowed)}.")


def _check_complete(prices: Mapping[str, object]) -> None:
    if not prices:
        raise wrong("input", "at least one price is needed; input=0, output=0 says that a model is free")
    of_input = [word for word in prices if word in BY_AMOUNT and "input_tokens" in PART_OF.get(BY_AMOUNT[word], ())]
    of_output = [word for word in prices if word in BY_AMOUNT and "output_tokens" in PART_OF.get(BY_AMOUNT[word], ())]
    if "input" not in prices and (of_input or "output" in prices):
        raise wrong("input", f"needed beside {', '.join(of_input) or 'output'}; input=0 says that input is free")
    if "output" not in prices and of_output:
        raise wrong("output", f"needed beside {', '.join(of_output)}; output=0 says that text output is free")
    if "cache_write" not in prices and ("cache_write_1h" in prices or "cache_write_12h" in prices):
        raise wrong("cache_write", "needed beside the price of a longer cache")


def _with_overlaps(card: RateCard) -> RateCard:
    """Cached audio, when only cached text and audio have a price, at the dearer of the two."""
    for kind, (*_, cached, modality) in ((kind, wholes) for kind, wholes in PART_OF.items() if len(wholes) == 3):
        if kind not in card.rates and cached in card.rates and modality in card.rates:
            starts = sorted({start for part in (cached, modality) for start, _ in card.rates[part]})
            steps = tuple((start, max(card.at(start)[cached], card.at(start)[modality])) for start in starts)
            card = card.plus({kind: steps})
    return card


def text(argument: str, value: object) -> str:
    """A name, without the blanks around it."""
    if not isinstance(value, str) or not value.strip():
        raise wrong(argument, f"a name, not {value!r}")
    return value.strip()


def provider_id(provider: object) -> str | None:
    """A provider that prices can be of, in genai-prices' words, or the `host:<address>` of one that is not known."""
    if provider is None:
        return None
    name = canonical(text("provider", provider))
    if name in PROVIDERS or name.startswith(UNKNOWN):
        return name
    near = get_close_matches(name, PROVIDERS, 1)
    meant = provider_of_host(name) or (near[0] if near else "")
    hint = f" Did you mean {meant!r}?" if meant else ""
    raise wrong("provider", f"{provider!r} is no provider of genai-prices.{hint} Of another host: 'host:<address>'.")


def wrong(argument: str, what: str) -> ActGuardUsageError:
    return ActGuardUsageError(f"{argument}: {what}", argument=argument)
