"""genai-prices' description of a model, brought to a `RateCard` and the time for which it holds.

Nothing of genai-prices is imported here: its objects are handed in. Which rates apply at a moment and in a context is
asked of the model itself (`ModelInfo.get_prices`); only the arithmetic is ours.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

from actguard.budget.rates import RateCard, Steps
from actguard.money import PICO_PER_USD

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, TieredPrices

_MILLION = 10**6
_MS_PER_HOUR = 3_600_000

# genai-prices' price keys: the kinds of `Usage` they price, and how many of them the price is for. Checked by a test.
PRICE_KEYS: Mapping[str, tuple[tuple[str, ...], int]] = {
    "input_mtok": (("input_tokens",), _MILLION),
    "output_mtok": (("output_tokens",), _MILLION),
    "cache_read_mtok": (("cache_read_tokens",), _MILLION),
    "cache_write_mtok": (("cache_write_tokens",), _MILLION),
    "cache_write_1h_mtok": (("cache_write_1h_tokens",), _MILLION),
    "input_audio_mtok": (("input_audio_tokens",), _MILLION),
    "input_image_mtok": (("input_image_tokens",), _MILLION),
    "input_video_mtok": (("input_video_tokens",), _MILLION),
    "cache_audio_read_mtok": (("cache_audio_read_tokens",), _MILLION),
    "cache_image_read_mtok": (("cache_image_read_tokens",), _MILLION),
    "cache_video_read_mtok": (("cache_video_read_tokens",), _MILLION),
    "input_tool_mtok": (("input_tool_tokens",), _MILLION),
    "output_reasoning_mtok": (("output_reasoning_tokens",), _MILLION),
    "output_audio_mtok": (("output_audio_tokens",), _MILLION),
    "output_image_mtok": (("output_image_tokens",), _MILLION),
    "output_video_mtok": (("output_video_tokens",), _MILLION),
    "web_searches_kcount": (("web_searches",), 1000),
    "storage_searches_kcount": (("storage_searches",), 1000),
    "code_executions_kcount": (("code_executions",), 1000),
    "input_mchars": (("input_characters",), _MILLION),
    "audio_hours": (("input_audio_milliseconds", "output_audio_milliseconds"), _MS_PER_HOUR),
    "input_audio_hours": (("input_audio_milliseconds",), _MS_PER_HOUR),
    "output_audio_hours": (("output_audio_milliseconds",), _MS_PER_HOUR),
}
_PER_REQUEST = "requests_kcount"

# Billed as at least so much: genai-prices has it in code, not in data (types.py, ModelInfo.calc_price).
_MINIMA: Mapping[tuple[str, str], tuple[str, int]] = {
    ("groq", "whisper-large-v3"): ("input_audio_milliseconds", 10_000),
    ("groq", "whisper-large-v3-turbo"): ("input_audio_milliseconds", 10_000),
}


class Compiled(NamedTuple):
    card: RateCard | None
    """None: the list states no rate of anything that `Usage` counts."""
    valid_from: datetime | None
    valid_until: datetime | None
    honoured: frozenset[str]
    """Keys of the context for which the model has rates of its own."""


def compile_model(model: "ModelInfo", provider: str, context: Mapping[str, str], at: datetime) -> Compiled:
    """The rates of *model* for calls in *context* made at *at*, and the time around it during which they hold."""
    variants = [variant for variant in model.price_variants or () if variant.when.items() <= context.items()]
    active = [v for v in variants if v.constraint is None or v.constraint.active(at)]
    card = card_of(model.get_prices(at, context), _MINIMA.get((provider, model.id)))
    valid_from, valid_until = _validity(model, at)
    return Compiled(card, valid_from, valid_until, frozenset(key for variant in active for key in variant.when))


def card_of(price: "ModelPrice", minimum: tuple[str, int] | None = None) -> RateCard | None:
    """The rates that genai-prices states, in its own terms; None when there are none that we can count."""
    rates: dict[str, Steps] = {}
    request = Fraction(0)
    uncounted: list[str] = []
    stated: dict[str, Decimal | TieredPrices] = {
        key: value for key, value in vars(price).items() if value is not None and not key.startswith("_")
    }
    for key, value in stated.items():
        if key == _PER_REQUEST:
            request = _steps(value, 1000)[0][1]
        elif key in PRICE_KEYS:
            kinds, per = PRICE_KEYS[key]
            for kind in kinds:
                if kind not in rates or len(kinds) == 1:  # the rate of one direction goes before that of both
                    rates[kind] = _steps(value, per)
        else:
            uncounted.append(key)
    if not rates or any(rate < 0 for steps in rates.values() for _, rate in steps):
        return None
    return RateCard(rates, request, minimum, tuple(uncounted))


def _steps(value: "Decimal | TieredPrices", per: int) -> Steps:
    if isinstance(value, Decimal):
        return ((0, _rate(value, per)),)
    return ((0, _rate(value.base, per)), *((tier.start, _rate(tier.price, per)) for tier in value.tiers))


def _rate(dollars: Decimal, per: int) -> Fraction:
    return Fraction(dollars) * PICO_PER_USD / per


def _validity(model: "ModelInfo", at: datetime) -> tuple[datetime | None, datetime | None]:
    """The moments next to *at*, before and after, at which any constraint of the model begins or ends to hold."""
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    moments = sorted(set(_moments(model, at.date())))
    before = [moment for moment in moments if moment <= at]
    after = [moment for moment in moments if moment > at]
    return (before[-1] if before else None), (after[0] if after else None)


def _moments(model: "ModelInfo", today: date) -> Iterator[datetime]:
    conditions = [price.constraint for price in model.prices] if isinstance(model.prices, list) else []
    conditions += [variant.constraint for variant in model.price_variants or ()]
    for condition in conditions:
        if condition is None:
            continue
        start: date | None = getattr(condition, "start_date", None)
        if start is not None:
            yield datetime.combine(start, time.min, UTC)
            continue
        for edge in (getattr(condition, "start_time", None), getattr(condition, "end_time", None)):
            if isinstance(edge, time):
                for day in (-1, 0, 1):
                    moment = datetime.combine(today + timedelta(days=day), edge)
                    yield moment.replace(tzinfo=UTC) if edge.tzinfo is None else moment.astimezone(UTC)
