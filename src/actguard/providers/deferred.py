"""Calls that were accepted and are billed later (background responses, batches): settled by the read that finds them
finished, wherever that happens, and once."""

from collections import OrderedDict
from typing import Any

from actguard.budget.usage import MalformedUsage
from actguard.providers.body import is_object
from actguard.providers.call import Call
from actguard.providers.endpoint import Endpoint
from actguard.providers.faults import log_once
from actguard.providers.wire import Wire

_MOST = 10_000

deferred: "OrderedDict[str, Call]" = OrderedDict()
"""By the provider's id of the reply."""


def defer(call: Call, response_id: str | None) -> None:
    """Keep *call* open until a read finds it finished. Without an id nothing ever will: it is charged by estimate."""
    if response_id is None:
        call.settle_later(None)
        return
    call.deferred_as = response_id
    deferred[response_id] = call

    def park() -> None:
        call.parked = True  # nobody is to wait for it: it ends when somebody asks, and that may be he

    call.account.admission.later(park)
    while len(deferred) > _MOST:
        _, oldest = deferred.popitem(last=False)
        oldest.deferred_as = None
        oldest.settle_later(None)


def settle_deferred(wire: Wire, endpoint: Endpoint, response_id: str | None, body: Any) -> Call | None:
    """A read of *response_id* that may have found a deferred call finished. Returns the call if it is settled now."""
    call = deferred.get(response_id) if response_id is not None else None
    if call is None or response_id is None or not is_object(body):
        return None
    try:
        bill = wire.read(endpoint, body, call.model)
    except MalformedUsage as malformed:
        log_once(f"{wire.name} reported usage that cannot be right: {malformed}")
        bill = None
    if bill is not None and not bill.final:
        return None
    if deferred.pop(response_id, None) is None:
        return None  # another read was faster
    call.settle(bill)
    return call
