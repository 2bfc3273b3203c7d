"""Where a price comes from: what a program said of a model, then the public lists. Nothing is remembered here."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import cast

from actguard.budget.catalog import Catalog
from actguard.budget.hosts import Context
from actguard.budget.overrides import Overrides
from actguard.budget.price import Price
from actguard.budget.price_input import Amount, rate_card


def stated_price(
    stated: Overrides, catalog: Catalog, provider: str, models: tuple[str, ...], context: Context, at: datetime
) -> Price | None:
    """What was said of the first of *models* that anything was said of, or what a resolver says of the first."""
    override = stated.find(provider, models)
    if override is not None:
        if override.card is not None:
            return Price(override.card, override.provider or provider, override.name, "override")
        return _as_stated(_same_as(stated, catalog, provider, cast("str", override.same_as), context, at))
    for resolve in stated.resolvers:
        answer = resolve(provider, models[0], context)
        if answer is not None:
            return _as_stated(answer if isinstance(answer, Price) else _price(answer, provider, models[0]))
    return None


def _as_stated(price: Price | None) -> Price | None:
    """*price* as the program's own word, from whatever list it was taken: it goes before what a provider reports."""
    return replace(price, source="override") if price is not None and not price.stated else price


def listed_price(
    catalog: Catalog, provider: str, models: tuple[str, ...], context: Context, at: datetime
) -> Price | None:
    """What the lists say of the first of *models* that they hold: of what answered, then of what was asked for."""
    # Bedrock answers with less of the name than the request had: without the region, which has a price.
    names = models[::-1] if provider == "aws" and models[0] in models[-1] else models
    listed = (catalog.find(provider, name, context, at) for name in names)
    return next((found for found in listed if found is not None), None)


def _same_as(
    stated: Overrides, catalog: Catalog, provider: str, model: str, context: Context, at: datetime
) -> Price | None:
    """The price of *model*: where the call goes, else at its own provider."""
    override = stated.find(provider, (model,))
    if override is not None and override.card is not None:
        return Price(override.card, provider, model, "override")
    listed = catalog.find(provider, model, context, at) if provider else None
    home = catalog.home(model) if listed is None else None
    return catalog.find(home, model, context, at) if home is not None else listed


def _price(rates: Mapping[str, Amount], provider: str, model: str) -> Price:
    return Price(rate_card(rates, "1M"), provider, model, "override")
