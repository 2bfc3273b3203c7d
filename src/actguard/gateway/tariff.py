"""Prices as older clients want them: whole cost units, of which a thousand are a dollar."""

from collections.abc import Iterator
from fractions import Fraction
from functools import cached_property
from importlib.metadata import version
from typing import Any, Final

from actguard.budget.price import Price
from actguard.budget.pricing import PriceBook
from actguard.gateway.ledger.operations import CU_PER_USD, MICROS_PER_CU

_PROVIDERS: Final = ("openai", "anthropic", "google")
_DEFAULT: Final = {"input_cu_per_1k": 15, "output_cu_per_1k": 75, "cached_cu_per_1k": 2}
"""For a model that is not listed: what the dearest common models cost. The server charges by its own book anyway."""
_PICO_PER_CU: Final = MICROS_PER_CU * 10**6


class Tariff:
    """The tariff of a book, made when it is first asked for. Rates are rounded up: who counts with them stops early."""

    def __init__(self, book: PriceBook) -> None:
        self._book: Final = book
        self.version: Final = _version()

    @cached_property
    def body(self) -> dict[str, Any]:
        """Slow, once: it reads the price lists."""
        providers: dict[str, Any] = {}
        for provider in _PROVIDERS:
            models: dict[str, dict[str, int]] = {}
            for name in _names(provider):
                price = self._book.price(provider, name)
                if price is not None and {"input_tokens", "output_tokens"} <= price.card.rates.keys():
                    models[name] = _rates(price)
            providers[provider] = {"models": models}
        return {
            "tariff_version": self.version,
            "registry_version": self.version,
            "cu_per_usd": CU_PER_USD,
            "llm": {"default": _DEFAULT, "providers": providers},
            "tools": {},
        }


def _version() -> str:
    """Prices change with the packages that hold them, and with nothing else."""
    return f"{version('genai-prices')}-{version('actguard')}"


def _rates(price: Price) -> dict[str, int]:
    rates = price.card.at(0)
    cached = rates.get("cache_read_tokens", rates["input_tokens"])
    return {
        "input_cu_per_1m": _units(rates["input_tokens"] * 10**6),
        "output_cu_per_1k": _units(rates["output_tokens"] * 1000),
        "cached_cu_per_1k": _units(cached * 1000),
    }


def _units(pico: Fraction) -> int:
    return -(-pico // _PICO_PER_CU)


def _names(provider: str) -> Iterator[str]:
    """Every name that the price list knows literally; older clients look a model up by the name in its reply."""
    from genai_prices.data_snapshot import get_snapshot

    for listed in get_snapshot().providers:
        if listed.id == provider:
            for model in listed.models:
                yield from dict.fromkeys((model.id, *_literals(model.match)))


def _literals(clause: Any) -> Iterator[str]:
    if isinstance(name := getattr(clause, "equals", None), str):
        yield name
    for part in getattr(clause, "or_", None) or ():
        yield from _literals(part)
