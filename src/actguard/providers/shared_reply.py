"""A reply that is parsed once, for the SDK and for us."""

import functools
from typing import Any

from actguard.providers.call import Call


def settle_shared(call: Call, response: Any) -> None:
    """Settle by *response*, parsed by its own `json`, as the SDK is about to do: what it then asks for is there.

    To parse a reply once more for ourselves would take as long as everything else that a call costs.
    """
    try:
        document = response.json()
    except ValueError:
        call.unreadable()
    else:
        response.__dict__["json"] = functools.partial(_once, response, document)
        call.reply(document)


def _once(response: Any, document: Any, **kwargs: Any) -> Any:
    """`response.json`, the first time; who asks again, or has it parsed in another way, gets a document of his own."""
    del response.__dict__["json"]
    return response.json(**kwargs) if kwargs else document


def withdraw(response: Any) -> None:
    """Take back what `settle_shared` has put up, if the SDK did not ask for it."""
    stand_in = response.__dict__["json"]
    if type(stand_in) is functools.partial and stand_in.func is _once:
        del response.__dict__["json"]
