"""Google's side of a call, whichever of its SDKs makes it."""

import re
from collections.abc import Mapping
from typing import Any

from actguard.budget.account import Account
from actguard.budget.usage import MalformedUsage
from actguard.providers.body import is_object
from actguard.providers.call import Call, log_once
from actguard.providers.deferred import deferred
from actguard.providers.endpoint import Endpoint, Kind
from actguard.providers.gate import open_call, unmetered
from actguard.providers.google.endpoints import classify, deferred_id
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
    kind = endpoint.kind
    if kind is Kind.FREE or kind is Kind.TERMINAL:
        return None
    if kind is Kind.UNMETERED:
        if endpoint.name != "predict" or not _EMBEDS.search(path):
            unmetered(account, f"{WIRE.name} {endpoint.name}")
            return None
        endpoint = _EMBEDDING
    host = account.book.host_of(url, WIRE.name)
    return open_call(account, WIRE, endpoint, host, (path, body, None), model_of(path, body))


def settle_deferred(endpoint: Endpoint, path: str, body: Any) -> Call | None:
    """A read that may have found a deferred call finished. Returns the call if it is settled now."""
    said = deferred_id(path)
    call = deferred.get(said) if said is not None else None
    if call is None or not is_object(body):
        return None
    try:
        bill = WIRE.read(endpoint, body, call.model)
    except MalformedUsage as malformed:
        log_once(f"{WIRE.name} reported usage that cannot be right: {malformed}")
        bill = None
    if bill is not None and not bill.final:
        return None
    if deferred.pop(said or "", None) is None:
        return None  # another read was faster
    call.settle(bill)
    return call


# On Vertex, older embedding models answer to `:predict`, and say what they read.
_EMBEDS = re.compile(r"models/[^/:]*embedding")
_EMBEDDING = Endpoint("predict", Kind.PRICED)
