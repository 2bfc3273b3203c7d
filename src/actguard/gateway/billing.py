"""What a settle costs by the server's own book, whatever shape the client gave it in."""

from collections.abc import Callable
from operator import itemgetter
from typing import Any, Final

import msgspec

from actguard.budget.price import Price
from actguard.budget.pricing import PriceBook
from actguard.budget.rates import RateCard
from actguard.budget.usage import NOTHING, Usage
from actguard.gateway.http.bodies import SettleBody, UsageEntry
from actguard.gateway.ledger.operations import MICROS_PER_CU

PICO_PER_MICRO: Final = 10**6
LARGEST_CHARGE: Final = 10**15
"""Micro-dollars: a thousand million dollars. What claims more is a mistake."""


def _picked(*names: str) -> Callable[[tuple[Any, ...]], tuple[int, ...]]:
    """What takes these of an entry's values."""
    return itemgetter(*map(UsageEntry.__struct_fields__.index, names))


_counts: Final = _picked(*Usage._fields)
_otherwise: Final = _picked("cached_input_tokens", "cache_write_tokens_5m", "cache_write_tokens_1h",
                            "web_search_count", "cache_read_tokens", "cache_write_tokens",
                            "cache_write_1h_tokens")  # fmt: skip
"""Counts that have several names, and parts that may contradict their whole."""
_NOBODY: Final = ("", "none", "unknown")


class Bill(msgspec.Struct, gc=False):
    """What a settle adds."""

    usd: int
    """Micro-dollars, rounded up once, over all lines."""
    tokens: int
    client_usd: int | None
    """The client's own figure, where every line has one."""
    lines: str
    """JSON: each line with its share; the shares add up to `usd`."""


class _Line(msgspec.Struct, omit_defaults=True, gc=False):
    """What is kept of a line. What does not apply to it is left out."""

    usd_micros: int
    scope_name: str | None
    type: str = ""
    name: str = ""
    provider: str = ""
    model: str = ""
    usage: dict[str, int] | None = None
    client_usd_micros: int | None = None
    estimated: bool = False
    priced_by: str = ""


_encoder: Final = msgspec.json.Encoder()


class TooMuch(ValueError):  # noqa: N818 - says what was asked
    """The amounts are beyond anything that can be charged."""


class Biller:
    """Prices settles. A model that nobody knows is charged as the client priced it, else at its provider's highest."""

    def __init__(self, book: PriceBook) -> None:
        self._book: Final = book
        self._base: dict[int, tuple[Price, Price]] = {}

    def bill(self, body: SettleBody) -> Bill:
        """What *body* adds to its hold.

        Raises:
            TooMuch: its amounts cannot be.
        """
        entries = body.usage_breakdown or [_at_the_top(body)]
        exact, charged, tokens = 0, 0, 0
        said: int | None = 0
        lines: list[_Line] = []
        for entry in entries:
            usage = _usage(entry) if entry.type == "llm" else NOTHING
            pico, note = self._price(entry, usage)
            exact += pico
            share = -(-exact // PICO_PER_MICRO) - charged
            charged += share
            used = usage.tokens
            tokens += used
            said = said + entry.usd_micros if said is not None and entry.usd_micros is not None else None
            if charged > LARGEST_CHARGE:
                raise TooMuch(f"A settle of more than {LARGEST_CHARGE} micro-dollars is a mistake.")
            if share or used:
                lines.append(_line(entry, usage, share, note))
        return Bill(charged, tokens, said, _encoder.encode(lines).decode() if lines else "")

    def _price(self, entry: UsageEntry, usage: Usage) -> tuple[int, str]:
        """Pico-dollars, and how they were found where that was not from the book."""
        if entry.type == "custom_cost":
            micros = entry.usd_micros if entry.usd_micros is not None else entry.cost_cu * MICROS_PER_CU
            return micros * PICO_PER_MICRO, ""
        if usage == NOTHING:
            return 0, ""
        context = tuple(sorted(entry.context.items())) if entry.context else ()
        price = self._book.price(entry.provider, entry.provider_model_id, context, requested=entry.requested_model)
        if price is not None and not price.unpriced(usage):
            return (price if entry.calls == 1 else self._without_tiers(price)).cost(usage), ""
        if entry.usd_micros is not None:
            return entry.usd_micros * PICO_PER_MICRO, "client"
        if price is None:
            price = self._book.resolve_unknown(entry.provider, entry.provider_model_id, "most_expensive")
        return (price.cost(usage) if price is not None else 0), "highest"

    def _without_tiers(self, price: Price) -> Price:
        """For the sum of several calls: a long context is one call's, and a sum of short ones is not one."""
        if len(price.card.starts()) == 1:
            return price
        known = self._base.get(id(price))
        if known is None or known[0] is not price:
            card = price.card
            base = {kind: ((0, rate),) for kind, rate in card.at(0).items()}
            known = price, Price(RateCard(base, card.request, card.minimum), price.provider, price.model, price.source)
            if len(self._base) > 1000:
                self._base.clear()
            self._base[id(price)] = known
        return known[1]


def needs_prices(body: SettleBody) -> bool:
    """Whether anything in it is priced by the book: nothing waits for price lists that it does not need."""
    return any(entry.type == "llm" for entry in body.usage_breakdown) or body.input_tokens + body.output_tokens > 0


def _at_the_top(body: SettleBody) -> UsageEntry:
    """What older clients send instead of a breakdown."""
    return UsageEntry(
        provider=body.provider,
        provider_model_id=body.provider_model_id,
        input_tokens=body.input_tokens,
        output_tokens=body.output_tokens,
        cached_input_tokens=body.cached_input_tokens,
        cache_write_tokens_5m=body.cache_write_tokens_5m,
        cache_write_tokens_1h=body.cache_write_tokens_1h,
        web_search_count=body.web_search_count,
    )


def _usage(entry: UsageEntry) -> Usage:
    """The counts in our kinds. A part never makes its whole smaller: the whole is at least the sum of what is in it."""
    values = msgspec.structs.astuple(entry)
    usage = Usage._make(_counts(values))
    if not any(_otherwise(values)):
        return usage
    one_hour = max(entry.cache_write_1h_tokens, entry.cache_write_tokens_1h)
    writes = max(entry.cache_write_tokens, entry.cache_write_tokens_5m + entry.cache_write_tokens_1h, one_hour)
    reads = max(entry.cache_read_tokens, entry.cached_input_tokens)
    return usage._replace(
        input_tokens=max(entry.input_tokens, reads + writes),
        cache_read_tokens=reads,
        cache_write_tokens=writes,
        cache_write_1h_tokens=one_hour,
        web_searches=max(entry.web_searches, entry.web_search_count),
    )


def _line(entry: UsageEntry, usage: Usage, usd: int, note: str) -> _Line:
    said = entry.usd_micros, entry.estimated, note
    if entry.type == "custom_cost":
        return _Line(usd, entry.scope_name, "custom_cost", entry.name, "", "", None, *said)
    provider = "" if entry.provider in _NOBODY else entry.provider
    return _Line(usd, entry.scope_name, "", "", provider, entry.provider_model_id, usage.by_kind(), *said)
