"""Calls that are billed later are settled by the read that finds them finished, wherever that happens, and once."""

from typing import Any

from actguard.budget.usage import MalformedUsage
from actguard.providers.body import is_object
from actguard.providers.call import Call, deferred
from actguard.providers.endpoint import Endpoint, Kind
from actguard.providers.faults import log_malformed
from actguard.providers.taps import tap
from actguard.providers.wire import Wire, parse_json


def settle_deferred(wire: Wire, endpoint: Endpoint, response_id: str | None, body: Any) -> Call | None:
    """A read of *response_id* that may have found a deferred call finished. Returns the call if it is settled now."""
    call = deferred.get(response_id) if response_id is not None else None
    if call is None or response_id is None or not is_object(body):
        return None
    try:
        bill = wire.read(endpoint, body, call.model)
    except MalformedUsage as malformed:
        log_malformed(wire.name, malformed)
        bill = None
    if bill is not None and not bill.final:
        return None
    if deferred.pop(response_id, None) is None:
        return None  # another read was faster
    call.settle(bill)
    return call


def look_at(wire: Wire, response: Any, stream: bool) -> None:
    """A response to something that is no call, and may be a read that finds one finished which was accepted earlier.

    Args:
        stream: the SDK is about to iterate over the body.
    """
    request = response.request
    if response.status_code >= 400:
        return
    endpoint = wire.classify(request.method, request.url.path)
    if endpoint.kind is not Kind.TERMINAL:
        return
    body = getattr(response, "_content", None)
    if body is not None and not stream:
        try:
            reply = parse_json(body)
        except ValueError:
            return  # it says nothing, and another read may
        response_id = reply.get("id") if is_object(reply) else None
        settle_deferred(wire, endpoint, response_id if isinstance(response_id, str) else None, reply)
        return
    for part in request.url.path.split("/"):
        call = deferred.get(part)
        if call is not None:
            tap(call, response, endpoint)
