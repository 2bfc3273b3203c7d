"""What one of each billed kind costs: the vocabulary of kinds, and the `RateCard` that every source of prices fills in.

Rates are exact fractions of a pico-dollar for one token, search, second or image. The kinds are the fields of `Usage`;
some are part of others, as the tokens read from a cache are part of the input. A rate says what a token of that kind
costs in all, not what it costs on top.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from actguard.budget.usage import Usage

Steps = tuple[tuple[int, Fraction], ...]
"""A rate by total input: `((0, base), (200_000, rate above that), ...)`, ascending."""

# Which kinds every token of a kind also counts in. Checked against the unit registry of genai-prices by a test.
PART_OF: Mapping[str, tuple[str, ...]] = {
    "cache_read_tokens": ("input_tokens",),
    "cache_write_tokens": ("input_tokens",),
    "cache_write_1h_tokens": ("input_tokens", "cache_write_tokens"),
    "cache_write_12h_tokens": ("input_tokens", "cache_write_tokens"),
    "input_audio_tokens": ("input_tokens",),
    "input_image_tokens": ("input_tokens",),
    "input_video_tokens": ("input_tokens",),
    "cache_audio_read_tokens": ("input_tokens", "cache_read_tokens", "input_audio_tokens"),
    "cache_image_read_tokens": ("input_tokens", "cache_read_tokens", "input_image_tokens"),
    "cache_video_read_tokens": ("input_tokens", "cache_read_tokens", "input_video_tokens"),
    "input_tool_tokens": ("input_tokens",),
    "output_reasoning_tokens": ("output_tokens",),
    "output_audio_tokens": ("output_tokens",),
    "output_image_tokens": ("output_tokens",),
    "output_video_tokens": ("output_tokens",),
    "accepted_prediction_tokens": ("output_tokens",),
    "rejected_prediction_tokens": ("output_tokens",),
}
TOKEN_KINDS = frozenset({"input_tokens", "output_tokens", *PART_OF})
UNIT_KINDS = frozenset(Usage._fields) - TOKEN_KINDS
"""Billed each on its own: searches, seconds, characters, images."""

PLAIN_TEXT = frozenset(
    {
        *("cache_write_1h_tokens", "cache_write_12h_tokens"),
        *("input_audio_tokens", "input_image_tokens", "input_video_tokens"),
        *("output_audio_tokens", "output_image_tokens", "output_video_tokens"),
    }
)
"""For `Price.bound(without=...)`: what a request of text for text, that asks for no long cache, can rule out."""

ENDLESS = sys.maxsize


def _mixtures(
    whole: str, ways: Mapping[str, tuple[str, ...]], modalities: tuple[str, ...]
) -> dict[str, tuple[frozenset[str], ...]]:
    """Every set of kinds that one token can count in, by how it is treated (plain, cached, ...)."""
    found: dict[str, tuple[frozenset[str], ...]] = {}
    for way, kinds in ways.items():
        sets = [frozenset({whole, *kinds})]
        for modality in modalities:
            mixed = frozenset({whole, modality, *kinds})
            sets.append(mixed)  # also what a provider reports that does not say how much of the cached part was audio
            sets += [mixed | {kind} for kind, wholes in PART_OF.items() if len(wholes) > 2 and mixed.issuperset(wholes)]
        found[way] = tuple(sets)
    return found


INPUT_MIXTURES = _mixtures(
    "input_tokens",
    {
        "input_tokens": (),
        "input_tool_tokens": ("input_tool_tokens",),
        "cache_read_tokens": ("cache_read_tokens",),
        "cache_write_tokens": ("cache_write_tokens",),
        "cache_write_1h_tokens": ("cache_write_tokens", "cache_write_1h_tokens"),
        "cache_write_12h_tokens": ("cache_write_tokens", "cache_write_12h_tokens"),
    },
    ("input_audio_tokens", "input_image_tokens", "input_video_tokens"),
)
OUTPUT_MIXTURES = _mixtures(
    "output_tokens",
    {
        "output_tokens": (),
        "output_reasoning_tokens": ("output_reasoning_tokens",),
        "accepted_prediction_tokens": ("accepted_prediction_tokens",),
        "rejected_prediction_tokens": ("rejected_prediction_tokens",),
    },
    ("output_audio_tokens", "output_image_tokens", "output_video_tokens"),
)


@dataclass(frozen=True, slots=True)
class RateCard:
    """What one of each kind costs, in pico-dollars. A kind without a rate is billed as the kind it is part of."""

    rates: Mapping[str, Steps]
    request: Fraction = Fraction(0)
    """Per request, whatever it uses."""
    minimum: tuple[str, int] | None = None
    """A kind that, once used at all, is billed as at least so many."""
    uncounted: tuple[str, ...] = ()
    """What the list also bills and `Usage` has no count for."""

    def times(self, factor: Fraction) -> "RateCard":
        """The same card with the rates of all tokens multiplied."""
        scaled = {
            kind: tuple((start, rate * factor) for start, rate in steps) if kind in TOKEN_KINDS else steps
            for kind, steps in self.rates.items()
        }
        return RateCard(scaled, self.request, self.minimum, self.uncounted)

    def plus(self, rates: Mapping[str, Steps]) -> "RateCard":
        """The same card with *rates* put in, over its own where it has them."""
        return RateCard({**self.rates, **rates}, self.request, self.minimum, self.uncounted)

    def starts(self) -> tuple[int, ...]:
        """Where the rates change: input totals above which other rates hold, the first being 0."""
        return tuple(sorted({0, *(start for steps in self.rates.values() for start, _ in steps)}))

    def at(self, start: int) -> dict[str, Fraction]:
        """The rates of the band that begins above *start*."""
        return {kind: _in_band(steps, start) for kind, steps in self.rates.items()}

    def coefficients(self, start: int) -> dict[str, Fraction]:
        """The rates of that band as coefficients of inclusive counts: what a kind adds to what its wholes say."""
        rates = self.at(start)
        found: dict[str, Fraction] = {}
        for kind in sorted(rates, key=lambda kind: len(PART_OF.get(kind, ()))):  # wholes before their parts
            found[kind] = rates[kind] - sum(found.get(whole, Fraction(0)) for whole in PART_OF.get(kind, ()))
        return found

    def dearest(self, mixtures: Iterable[frozenset[str]], without: frozenset[str] = frozenset()) -> Steps:
        """The highest rate of a token of any of *mixtures*, band by band; never below zero."""
        possible = {mixture.intersection(self.rates) for mixture in mixtures if without.isdisjoint(mixture)}
        steps: list[tuple[int, Fraction]] = []
        for start in self.starts():
            parts = self.coefficients(start)
            rates = [sum((parts[kind] for kind in mixture), Fraction(0)) for mixture in possible]
            steps.append((start, max((Fraction(0), *rates))))
        return tuple(steps)

    @staticmethod
    def highest(cards: Sequence["RateCard"], without: frozenset[str] = frozenset()) -> "RateCard":
        """A card nowhere below any of *cards*, and coarse: it tells uses of a cache apart, but no modalities."""
        starts = sorted({start for card in cards for start in card.starts()})
        rates: dict[str, Steps] = {}
        for kind, mixtures in (*INPUT_MIXTURES.items(), *OUTPUT_MIXTURES.items()):
            all_steps = {card.dearest(mixtures, without) for card in cards}
            rates[kind] = tuple((start, max(_in_band(steps, start) for steps in all_steps)) for start in starts)
        for kind in UNIT_KINDS.intersection(kind for card in cards for kind in card.rates):
            rates[kind] = ((0, max(_in_band(card.rates[kind], 0) for card in cards if kind in card.rates)),)
        minimum = next((card.minimum for card in cards if card.minimum), None)
        return RateCard(rates, max(card.request for card in cards), minimum)


def _in_band(steps: Steps, start: int) -> Fraction:
    return next(rate for step, rate in reversed(steps) if step <= start)


FREE_TOKENS = RateCard({"input_tokens": ((0, Fraction(0)),), "output_tokens": ((0, Fraction(0)),)})
"""Known to cost nothing, which is not the same as not known."""
FREE = RateCard({kind: ((0, Fraction(0)),) for kind in Usage._fields if kind not in PART_OF})
"""Nothing at all is billed: a model on one's own machine."""
