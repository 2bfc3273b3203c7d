"""Google's side of a call, whichever of its SDKs makes it."""

import re
from collections.abc import Mapping
from typing import Any

from actguard.budget import pricing
from actguard.budget.account import Account
from actguard.providers.call import Call
from actguard.providers.destination import Destinations, find
from actguard.providers.endpoint import Endpoint, Kind
from actguard.providers.gate import open_at, unmetered
from actguard.providers.google.endpoints import classify
from actguard.providers.google.reply import StreamReader, read
from actguard.providers.google.request import facts, model_of, with_output_cap
from actguard.providers.wire import Wire

WIRE = Wire(
    "google",
    classify,
    facts,
    read,
    StreamReader,
    with_output_cap,
    caps=frozenset({"generate_content", "stream_generate_content", "interactions"}),
)


def gate(account: Any, endpoint: Endpoint, url: str, path: str, body: Mapping[str, Any]) -> Call | None:
    """What stands before a request; None where nothing is billed, or the policy lets it through unmetered.

    Args:
        url: where it goes; says whose prices are charged.
        path: names the model, where the body does not.
        body: of the request, as it will be sent.
    """
    assert isinstance(account, Account)
    model, book = model_of(path, body), account.book
    key = url, path, model, book
    found = _known.get(key)
    if found is None or found.edition is not pricing.edition or found.endpoint is not endpoint:
        if endpoint.kind is Kind.UNMETERED:
            if endpoint.name != "predict" or not _EMBEDS.search(path):
                unmetered(account, f"{WIRE.name} {endpoint.name}")
                return None
            endpoint = _EMBEDDING
        if endpoint.kind not in _BILLED:
            return None
        found = find(_known, key, book, WIRE, endpoint, url, model)
    return open_at(account, found, (path, body, None))


_BILLED = (Kind.PRICED, Kind.DEFERRED)
_known: Destinations = {}

# On Vertex, older embedding models answer to `:predict`, and say what they read.
_EMBEDS = re.compile(r"models/[^/:]*embedding")
_EMBEDDING = Endpoint("predict", Kind.PRICED)
