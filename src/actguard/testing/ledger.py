"""What the local provider billed, in its own terms and its own money. It knows nothing of the code under test."""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from actguard.testing.counts import Counts
from actguard.testing.prices import PriceList


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """One model's part of a bill. Most replies have one; an advisor or a compaction adds others."""

    model: str
    counts: Counts
    usd: Decimal | None
    """None when the price list has no such model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One billed reply."""

    request_id: str
    response_id: str | None
    provider: str
    """`openai`, `azure`, `openrouter`, `anthropic`, `aws`, `google` or `vertex`, by the path that was asked."""
    endpoint: str
    charges: tuple[Charge, ...]
    usage: Mapping[str, Any]
    """The usage object as the provider's wire states it, whatever the reply was scripted to say."""
    aborted: bool = False
    """The reply ended before it was whole: its input is billed, and the output up to there."""
    at: float = field(default_factory=time.time)

    @property
    def model(self) -> str:
        return self.charges[0].model

    @property
    def usd(self) -> Decimal:
        return sum((charge.usd for charge in self.charges if charge.usd is not None), Decimal())

    @property
    def input_tokens(self) -> int:
        return sum(charge.counts.input_tokens for charge in self.charges)

    @property
    def output_tokens(self) -> int:
        return sum(charge.counts.output_tokens for charge in self.charges)

    @property
    def tokens(self) -> int:
        return sum(charge.counts.tokens for charge in self.charges)


@dataclass(slots=True)
class ModelTotal:
    calls: int = 0
    usd: Decimal = Decimal()
    counts: Counts = field(default_factory=Counts)

    @property
    def tokens(self) -> int:
        return self.counts.tokens


class Ledger:
    """Every bill so far. Safe to read from any thread while the server runs.

    Args:
        prices: the price list that turns counts into dollars.
        keep: how many entries to remember; totals are exact whatever is forgotten.
        on_entry: called with every entry, on the server's thread.
    """

    def __init__(
        self, prices: PriceList, keep: int | None = None, on_entry: Callable[[Entry], None] | None = None
    ) -> None:
        self.prices = prices
        self._on_entry = on_entry
        self._changed = threading.Condition()
        self._entries: deque[Entry] = deque(maxlen=keep)
        self._by_model: dict[str, ModelTotal] = {}
        self._unpriced: set[str] = set()
        self._calls = self._aborted = self._in_flight = 0

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Oldest first."""
        with self._changed:
            return tuple(self._entries)

    @property
    def last(self) -> Entry:
        with self._changed:
            return self._entries[-1]

    @property
    def calls(self) -> int:
        """How many replies were billed."""
        return self._calls

    @property
    def aborted(self) -> int:
        return self._aborted

    @property
    def total_usd(self) -> Decimal:
        with self._changed:
            return sum((total.usd for total in self._by_model.values()), Decimal())

    @property
    def tokens(self) -> int:
        with self._changed:
            return sum(total.counts.tokens for total in self._by_model.values())

    @property
    def input_tokens(self) -> int:
        with self._changed:
            return sum(total.counts.input_tokens for total in self._by_model.values())

    @property
    def output_tokens(self) -> int:
        with self._changed:
            return sum(total.counts.output_tokens for total in self._by_model.values())

    @property
    def by_model(self) -> dict[str, ModelTotal]:
        """Calls, dollars and counts by model. A second model in a bill (an advisor) counts as a call of its own."""
        with self._changed:
            return {model: ModelTotal(total.calls, total.usd, total.counts) for model, total in self._by_model.items()}

    @property
    def unpriced(self) -> frozenset[str]:
        """Models that were used and that the price list does not know; they are in no dollar figure."""
        with self._changed:
            return frozenset(self._unpriced)

    @property
    def in_flight(self) -> int:
        """Requests that have arrived and are not yet answered or given up."""
        return self._in_flight

    def wait_idle(self, timeout: float = 5.0) -> None:
        """Return once nothing is in flight, so that every bill is in.

        Raises:
            TimeoutError: something still is, after *timeout* seconds.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._in_flight == 0, timeout):
                raise TimeoutError(f"{self._in_flight} requests still in flight after {timeout:g} s")

    def reset(self) -> None:
        """Forget every bill."""
        with self._changed:
            self._entries.clear()
            self._by_model.clear()
            self._unpriced.clear()
            self._calls = self._aborted = 0

    def charge(
        self,
        model: str,
        counts: Counts,
        *,
        variant: str | None = None,
        geo: str | None = None,
        usd: Decimal | None = None,
    ) -> Charge:
        """A charge at list price, or at *usd* where the provider names its own figure."""
        if usd is None and (price := self.prices.find(model)) is not None:
            usd = price.usd(counts, variant=variant, geo=geo)
        return Charge(model=model, counts=counts, usd=usd)

    def record(self, entry: Entry) -> None:
        with self._changed:
            self._entries.append(entry)
            self._calls += 1
            self._aborted += entry.aborted
            for charge in entry.charges:
                total = self._by_model.setdefault(charge.model, ModelTotal())
                total.calls += 1
                total.counts = total.counts.plus(charge.counts)
                if charge.usd is None:
                    self._unpriced.add(charge.model)
                else:
                    total.usd += charge.usd
        if self._on_entry is not None:
            self._on_entry(entry)

    def arrived(self) -> None:
        with self._changed:
            self._in_flight += 1

    def departed(self) -> None:
        with self._changed:
            self._in_flight -= 1
            self._changed.notify_all()

    def table(self) -> str:
        """By model, for people."""
        rows = [("model", "calls", "input", "output", "usd")]
        for model, total in sorted(self.by_model.items()):
            usd = "no price" if model in self._unpriced else f"{total.usd:.6f}"
            rows.append((model, f"{total.calls}", f"{total.counts.input_tokens}", f"{total.counts.output_tokens}", usd))
        totals = f"{self.calls}", f"{self.input_tokens}", f"{self.output_tokens}", f"{self.total_usd:.6f}"
        rows.append(("total", *totals))
        name, *widths = (max(map(len, column)) for column in zip(*rows, strict=True))
        return "\n".join(
            "  ".join([row[0].ljust(name), *(cell.rjust(width) for cell, width in zip(row[1:], widths, strict=True))])
            for row in rows
        )
