"""Destination: where a call goes, and what it costs there. Found for the first of calls that are alike, and remembered.

It stands in for a classification, and for a look-up of the host and one of the price. It holds for one `edition` of the
price books: until something is said in any of them.
"""

from collections.abc import Hashable
from typing import NamedTuple

from actguard.budget import pricing
from actguard.budget.hosts import Context, Host
from actguard.budget.price import Price
from actguard.budget.pricing import PriceBook
from actguard.providers.endpoint import Endpoint, Kind
from actguard.providers.wire import Wire

_MOST = 256


class Destination(NamedTuple):
    wire: Wire
    endpoint: Endpoint
    host: Host
    provider: str
    """Whose prices apply, by genai-prices' id."""
    host_context: Context
    """What the host itself says about the price."""
    model: str
    """As the request names it; empty where that is still to be found out."""
    price: Price | None
    """By the host's list, at standard rates; None where it has none, or there is more to find out."""
    edition: object = None
    """Of the price books, in which all this was found."""
    url: object = None
    """What the client's base URL was; a key with its id stands for it while it is kept here."""


Destinations = dict[Hashable, Destination]
"""Of calls that are alike in all that the key holds."""


def find(
    known: Destinations,
    key: Hashable,
    book: PriceBook,
    wire: Wire,
    endpoint: Endpoint,
    address: str,
    model: str,
    url: object = None,
) -> Destination:
    """Where calls like this one go; kept in *known* under *key* if its price, or that it has none, lasts.

    Args:
        key: tells calls apart that are not alike; *book* is a part of it.
        address: of the host.
        model: as the request names it; empty where it does not.
    """
    edition = pricing.edition  # before anything is looked up: what is said meanwhile begins another one
    host = book.host_of(address, wire.native)
    priced = bool(model) and endpoint.kind is Kind.PRICED
    price = book.price(host.provider, model, host.context) if priced else None
    found = Destination(wire, endpoint, host, host.provider, host.context, model, price, edition, url)
    if priced and (price is None or price.valid_until is None):
        if len(known) >= _MOST:
            known.clear()
        known[key] = found
    return found
