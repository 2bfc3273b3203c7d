"""Models whose price nobody knows: what may happen to their calls, and the error that says how to give one."""

from typing import Literal

from actguard.budget.catalog import Catalog
from actguard.budget.hosts import UNKNOWN, canonical
from actguard.exceptions import UnknownPriceError

UnknownPolicy = Literal["refuse", "warn", "most_expensive", "zero"]
"""What happens to a call whose price nobody knows.

`refuse`: under a dollar limit it is not sent; without one its tokens are counted, and a warning is logged once.
`warn`: it is sent; its tokens are counted, its dollars are not, and a warning is logged once for each model.
`most_expensive`: it is charged at the highest rates in the list of its provider.
`zero`: it is free, because you say so.
"""


def unknown_error(catalog: Catalog, provider: str, model: str) -> UnknownPriceError:
    """The error for a call that is refused for want of a price, with the ways out."""
    if provider.startswith(UNKNOWN):
        host = provider.removeprefix(UNKNOWN)
        message = (
            f"Nobody has said what calls to {host!r} cost, and a dollar limit is active. Say whose prices it "
            f"charges: actguard.prices.host({host!r}, provider='openai'), or that it is free: "
            f"actguard.prices.host({host!r}, free=True), or what this model costs: "
            f"actguard.prices.set({model!r}, input=..., output=..., per='1M')."
        )
    elif not model:
        message = (
            f"The request to {provider} names no model, or not where it can be read, so no price is known for it, "
            "and a dollar limit is active. Name the model in the body, given to the SDK as an object, or choose what "
            "happens: actguard.prices.unknown, or BudgetGuard(unknown_price=...)."
        )
    else:
        near = catalog.nearest(canonical(provider), model)
        where = f" at {provider}" if provider else ""
        message = (
            f"No price is known for model {model!r}{where}{f' (there is {near})' if near else ''}, "
            f"and a dollar limit is active. State it: actguard.prices.set({model!r}, input=..., output=..., "
            f"per='1M'), or what it equals: actguard.prices.set({model!r}, same_as='...'), or choose what happens: "
            "actguard.prices.unknown, or BudgetGuard(unknown_price=...)."
        )
    return UnknownPriceError(message, model=model, provider=provider)
