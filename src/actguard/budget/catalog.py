"""The public price lists: genai-prices with our overlay on top. Loaded on the first question, never on import.

What it answers is exact for a provider, a model, a context and a moment. It knows no overrides, no policy and keeps
no memory of answers: that is `PriceBook`'s.
"""

from datetime import datetime
from typing import TYPE_CHECKING

from actguard.budget import overlay
from actguard.budget.names import candidates
from actguard.budget.price import Price
from actguard.budget.price_compile import Compiled, compile_model
from actguard.budget.rates import RateCard

if TYPE_CHECKING:
    from genai_prices.data_snapshot import DataSnapshot
    from genai_prices.types import ModelInfo

Context = tuple[tuple[str, str], ...]

_HOMES = ("openai", "anthropic", "google")
"""Whose models a name is taken for when nobody says where it runs."""


class Catalog:
    """genai-prices' lists, as bundled with it or as refreshed."""

    def __init__(self) -> None:
        self._refreshed: DataSnapshot | None = None

    def find(self, provider: str, model: str, context: Context, at: datetime) -> Price | None:
        """The listed price of *model* at *provider*, for a call made at *at*; None when no list has one."""
        said = overlay.normal(context)
        names = candidates(provider, model)
        listed = self._listed(provider, names)
        if listed is None:
            return self._added(provider, names, said)
        compiled, assumed = self._compiled(listed, provider, names[-1], said, at)
        if compiled.card is None:
            return None
        return Price(
            compiled.card, provider, listed.id, "genai-prices", compiled.valid_from, compiled.valid_until, assumed
        )

    def home(self, model: str) -> str | None:
        """The provider whose own model *model* is, for a name given without one."""
        for provider in (*_HOMES, *(p.id for p in self._snapshot().providers if p.id not in _HOMES)):
            if self._listed(provider, candidates(provider, model)) is not None:
                return provider
        return next((who for who in _HOMES if overlay.added(who, model.lower(), {}) is not None), None)

    def most_expensive(self, provider: str, context: Context, at: datetime) -> Price | None:
        """At least what any listed chat model of *provider* costs; of the large providers, for one that has no list."""
        lists = [p for p in self._snapshot().providers if p.id == provider]
        lists = lists or [p for p in self._snapshot().providers if p.id in _HOMES]
        said = overlay.normal(context)
        found = [self._compiled(model, p.id, model.id, said, at) for p in lists for model in p.models]
        cards = [c.card for c, _ in found if c.card and {"input_tokens", "output_tokens"} <= c.card.rates.keys()]
        if not cards:
            return None
        until = min((c.valid_until for c, _ in found if c.valid_until), default=None)
        return Price(RateCard.highest(cards), provider, "", "most_expensive", valid_until=until)

    def nearest(self, provider: str, model: str) -> str:
        """The listed models whose names are closest to *model*, for a message; empty when none is close."""
        from difflib import get_close_matches  # for errors alone

        names = [m.id for p in self._snapshot().providers if p.id == provider for m in p.models]
        return ", ".join(get_close_matches(candidates(provider, model)[-1].lower(), names, 3, 0.7))

    def refresh(self) -> int:
        """Load today's lists from genai-prices' repository; the number of models in them. See `PriceBook.refresh`."""
        from genai_prices import UpdatePrices

        snapshot = UpdatePrices().fetch()
        if snapshot is None or not snapshot.providers:
            raise ValueError("the download held no prices; those in use stay")
        self._refreshed = snapshot
        return sum(len(provider.models) for provider in snapshot.providers)

    def _snapshot(self) -> "DataSnapshot":
        if self._refreshed is not None:
            return self._refreshed
        from genai_prices.data_snapshot import get_snapshot  # slow: pydantic, and 1.6 MB of data

        return get_snapshot()

    def _listed(self, provider: str, names: tuple[str, ...]) -> "ModelInfo | None":
        """The model by the provider's own matching rules, else by those of the providers whose models it sells."""
        everyone = self._snapshot().providers
        own = next((p for p in everyone if p.id == provider), None)  # not by likeness: "host:openai.evil" is not OpenAI
        if own is None:
            return None
        found = (own.find_model(name, all_providers=everyone) for name in names)
        return next((model for model in found if model is not None), None)

    def _added(self, provider: str, names: tuple[str, ...], said: dict[str, str]) -> Price | None:
        """The price of a model that only the overlay knows."""
        for name in names:
            found = overlay.added(provider, name.lower(), said)
            if found is not None:
                card, assumed = overlay.completed(provider, (name,), found[0], said, found[1])
                return Price(card, provider, name, "overlay", assumed=assumed)
        return None

    def _compiled(
        self, listed: "ModelInfo", provider: str, name: str, said: dict[str, str], at: datetime
    ) -> tuple[Compiled, str]:
        """The rates with the overlay on them, and what of the context nobody has a rate for."""
        compiled = compile_model(listed, provider, said, at)
        honoured = compiled.honoured
        for key, value in said.items():
            same = overlay.SAME_AS.get((provider, key, value))
            if same is not None and key not in honoured:
                alike = compile_model(listed, provider, {**said, same[0]: same[1]}, at)
                if same[0] in alike.honoured:
                    compiled, honoured = alike, honoured | alike.honoured | {key}
        card = compiled.card or overlay.listed_free(provider, listed.id)
        if card is None:
            return compiled, ""
        card, assumed = overlay.completed(provider, (name, listed.id), card, said, honoured)
        return compiled._replace(card=card), assumed
