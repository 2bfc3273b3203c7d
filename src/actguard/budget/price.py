"""The price of one model as integers: what a reply cost, and the most that a call can cost.

A `Price` is a `RateCard` made ready for use. Because the counts in `Usage` are inclusive, a cost is one sum of count
times coefficient: with rates I for input and C for cached input, the tokens cost ``I * input + (C - I) * cached``, and
a kind that overlaps two others (cached audio) corrects what both have said. Long-context tiers change all coefficients
at once, by the total of input tokens, as every provider bills them.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from math import lcm
from typing import NamedTuple

from actguard.budget.rates import (
    ENDLESS,
    INPUT_MIXTURES,
    OUTPUT_MIXTURES,
    PART_OF,
    TOKEN_KINDS,
    UNIT_KINDS,
    RateCard,
)
from actguard.budget.usage import NOTHING, Usage
from actguard.money import PICO_PER_USD

_INDEX = {kind: index for index, kind in enumerate(Usage._fields)}
_STANDALONE = tuple(index for kind, index in _INDEX.items() if kind not in PART_OF)


class _Bound(NamedTuple):
    """One band of input totals: above *start*, up to *end* tokens; each token at most so much, times the scale."""

    start: int
    end: int
    input: int
    output: int


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Price:
    """A compiled rate card. Immutable; costs are whole pico-dollars, rounded up where a rate is a broken number."""

    card: RateCard
    provider: str = ""
    model: str = ""
    """The model as the price list names it."""
    source: str = ""
    """Where the rates come from: `override`, `host`, `overlay`, `genai-prices`, `most_expensive` or `unknown`."""
    valid_from: datetime | None = None
    valid_until: datetime | None = None
    """The first moment at which other rates may hold; a call made from then on needs a new look-up."""
    assumed: str = ""
    """Not empty: a variant (`service_tier=priority`) was named of which no rate is known; these are standard rates."""

    complete: bool = field(init=False, default=True)
    """Whether plain input and plain output both have a rate: a model of embeddings may have none for output."""

    _scale: int = field(init=False, default=1)
    _constant: int = field(init=False, default=0)
    _input: int = field(init=False, default=0)
    _output: int = field(init=False, default=0)
    _rest: tuple[tuple[int, int], ...] = field(init=False, default=())
    _plain_until: int = field(init=False, default=0)
    _bands: tuple[tuple[int, tuple[tuple[int, int], ...]], ...] = field(init=False, default=())
    _gaps: tuple[int, ...] = field(init=False, default=())
    _bounds: dict[frozenset[str], tuple[_Bound, ...]] = field(
        init=False, default_factory=lambda: dict[frozenset[str], tuple[_Bound, ...]]()
    )

    def __post_init__(self) -> None:
        starts = self.card.starts()
        exact = [(start, self.card.coefficients(start)) for start in starts]
        scale = lcm(self.card.request.denominator, *(c.denominator for _, terms in exact for c in terms.values()))
        bands = [
            (start, tuple((_INDEX[kind], int(c * scale)) for kind, c in terms.items() if c)) for start, terms in exact
        ]
        base = dict(bands[0][1])
        put = object.__setattr__
        put(self, "_scale", scale)
        put(self, "_constant", int(self.card.request * scale))
        put(self, "_input", base.pop(0, 0))
        put(self, "_output", base.pop(1, 0))
        put(self, "_rest", tuple(base.items()))
        put(self, "_bands", tuple(reversed(bands)))
        # A price without peculiarities is summed straight away up to its first tier; -1 sends every usage the long way.
        peculiar = scale != 1 or self.card.minimum is not None
        put(self, "_plain_until", -1 if peculiar else starts[1] if len(starts) > 1 else ENDLESS)
        known = {"input_characters"} if "input_tokens" in self.card.rates else set[str]()  # another measure of the same
        known.update(self.card.rates)
        put(self, "complete", {"input_tokens", "output_tokens"} <= known)
        put(self, "_gaps", tuple(index for index in _STANDALONE if Usage._fields[index] not in known))

    def cost(self, usage: Usage) -> int:
        """What *usage* costs, in pico-dollars."""
        tokens = usage[0]
        if tokens > self._plain_until:
            return self._cost_the_long_way(usage)
        total = self._constant + tokens * self._input + usage[1] * self._output
        for index, coefficient in self._rest:
            total += usage[index] * coefficient
        return total if total >= 0 else self._cost_of_contradiction(usage)

    def plain_cost(self, input_tokens: int, output_tokens: int) -> int:
        """`cost` where neither input nor output is of a special kind."""
        if input_tokens > self._plain_until:
            return self._cost_the_long_way(Usage(input_tokens, output_tokens))
        return self._constant + input_tokens * self._input + output_tokens * self._output

    def bound(
        self,
        input_tokens: int,
        output_tokens: int,
        *,
        without: frozenset[str] = frozenset(),
        other: Usage = NOTHING,
    ) -> int:
        """The most, in pico-dollars, that a call of at most so many tokens can cost.

        Args:
            input_tokens: upper bound of all input, cached and cache-writing tokens included.
            output_tokens: upper bound of all output.
            without: kinds (fields of `Usage`) that this request cannot cause; every other kind is assumed, so an
                empty set is always sound. `PLAIN_TEXT` fits a request of text for text.
            other: upper bounds of what is not billed by the token (searches, seconds, images).
        """
        most = 0
        for start, end, rate_in, rate_out in self._bounds.get(without) or self._make_bounds(without):
            if input_tokens > start or not start:
                most = max(most, rate_in * (input_tokens if input_tokens < end else end) + rate_out * output_tokens)
        most += self._constant
        if other is not NOTHING:
            most += self._cost_of_units(other)
        return most if self._scale == 1 else -(-most // self._scale)

    def affordable_output(
        self,
        remaining: int,
        input_tokens: int,
        *,
        without: frozenset[str] = frozenset(),
        other: Usage = NOTHING,
    ) -> int:
        """The most output tokens whose `bound` is at most *remaining* pico-dollars; -1 when not even 0 fit."""
        free = remaining * self._scale - self._constant
        if other is not NOTHING:
            free -= self._cost_of_units(other)
        fits = ENDLESS
        for start, end, rate_in, rate_out in self._bounds.get(without) or self._make_bounds(without):
            if input_tokens > start or not start:
                left = free - rate_in * min(input_tokens, end)
                if left < 0:
                    return -1
                if rate_out:
                    fits = min(fits, left // rate_out)
        return fits

    def unpriced(self, usage: Usage) -> tuple[str, ...]:
        """The kinds in *usage* that this price bills at nothing because no rate is known. Usually empty."""
        for index in self._gaps:
            if usage[index]:
                return tuple(Usage._fields[index] for index in self._gaps if usage[index])
        return ()

    @property
    def input_rate(self) -> int:
        """The highest rate that an input token may have, in pico-dollars, rounded up."""
        return -(-max(band.input for band in self._make_bounds(frozenset())) // self._scale)

    @property
    def output_rate(self) -> int:
        """The highest rate that an output token may have, in pico-dollars, rounded up."""
        return -(-max(band.output for band in self._make_bounds(frozenset())) // self._scale)

    @property
    def stated(self) -> bool:
        """Whether the program itself has said so, of the model or of its host."""
        return self.source in ("override", "host")

    @property
    def free(self) -> bool:
        """Whether everything it knows costs nothing."""
        return not (self._constant or any(terms for _, terms in self._bands))

    def describe(self) -> str:
        """For people: `gpt-4o (openai, genai-prices): input $2.5, output $10, cache_read $1.25 per 1M tokens`."""
        whence = ", ".join(filter(None, (self.provider, self.source)))
        return f"{self.model or '(any model)'} ({whence}): {self.rates()}"

    def rates(self) -> str:
        """For people: the rates alone."""
        base = self.card.at(0)
        tokens = [f"{_short(kind)} {_usd(rate * 10**6)}" for kind, rate in base.items() if kind in TOKEN_KINDS]
        units = [f"{_short(kind)} {_usd(rate)} each" for kind, rate in base.items() if kind in UNIT_KINDS]
        parts = [f"{', '.join(tokens)} per 1M tokens"] if tokens else []
        parts += units
        parts += [f"request {_usd(self.card.request)}"] if self.card.request else []
        parts += [f"other rates above {start:,} input tokens" for start in self.card.starts()[1:]]
        parts += [f"until {self.valid_until:%Y-%m-%d %H:%M} UTC"] if self.valid_until else []
        parts += [f"standard rates, none known for {self.assumed}"] if self.assumed else []
        return "; ".join(parts)

    def __repr__(self) -> str:
        return f"<Price {self.describe()}>"

    @staticmethod
    def highest(prices: Iterable["Price"], *, without: frozenset[str] = frozenset()) -> "Price":
        """A price nowhere below any of *prices*: for a call of which the variant is not known beforehand.

        Args:
            prices: at least one.
            without: as in `bound`; what it names is not covered.
        """
        several = list(prices)
        first, card = several[0], RateCard.highest([price.card for price in several], without)
        until = min((price.valid_until for price in several if price.valid_until), default=None)
        return Price(card, first.provider, first.model, first.source, valid_until=until)

    # ---- the rare paths -------------------------------------------------------------------------------------------

    def _cost_the_long_way(self, usage: Usage) -> int:
        tokens, terms = usage[0], self._bands[-1][1]
        for start, band in self._bands:  # the highest first
            if tokens > start:
                terms = band
                break
        billed = usage if self.card.minimum is None else self._with_minimum(usage)
        total = self._constant
        for index, coefficient in terms:
            total += billed[index] * coefficient
        if total < 0:
            return self._cost_of_contradiction(usage)
        return total if self._scale == 1 else -(-total // self._scale)

    def _cost_of_contradiction(self, usage: Usage) -> int:
        """More tokens of a part than of its whole would cost less than nothing: charge the most the totals can cost."""
        return self.bound(usage.input_tokens, usage.output_tokens, other=usage)

    def _cost_of_units(self, usage: Usage) -> int:
        billed = self._with_minimum(usage)
        base = self._bands[-1][1]
        return sum(billed[index] * coefficient for index, coefficient in base if Usage._fields[index] in UNIT_KINDS)

    def _with_minimum(self, usage: Usage) -> Usage:
        if self.card.minimum is not None:
            kind, least = self.card.minimum
            if 0 < getattr(usage, kind) < least:
                return usage._replace(**{kind: least})
        return usage

    def _make_bounds(self, without: frozenset[str]) -> tuple[_Bound, ...]:
        found = self._bounds.get(without)
        if found is not None:
            return found
        starts = self.card.starts()
        sides: list[list[int]] = []
        for side in (INPUT_MIXTURES, OUTPUT_MIXTURES):
            steps = self.card.dearest([mixture for way in side.values() for mixture in way], without)
            sides.append([int(rate * self._scale) for _, rate in steps])
        found = tuple(map(_Bound, starts, (*starts[1:], ENDLESS), *sides))
        if len(self._bounds) < 64:  # callers have a handful of sets; one that makes them up must not fill memory
            self._bounds[without] = found
        return found


def _short(kind: str) -> str:
    return kind.removesuffix("_tokens")


def _usd(pico: Fraction) -> str:
    return f"${float(pico / PICO_PER_USD):.12g}"
