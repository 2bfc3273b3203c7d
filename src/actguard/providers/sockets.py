"""WebSockets of the `websockets` library, observed only: one to a provider that no watched SDK opens is a bypass.

Noticed at the handshake: nothing has been said yet, and the library closes what is refused there.
"""

import functools
import sys
from collections.abc import Callable
from typing import Any

from actguard.propagation import Patching
from actguard.providers.senders import bypass, sending
from actguard.steps import frame_here


def observe(package: str, patches: Patching) -> None:
    """Observe the connections of *package*, which is imported."""
    patches.wrap(sys.modules[package].ClientConnection, "handshake", _around_handshake)


def _around_handshake(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def handshake(connection: Any, *args: Any, **kwargs: Any) -> Any:  # or its coroutine
        account = frame_here().scope
        if account is not None and not sending.get():
            bypass(account, "GET", _url(connection.protocol))
        return original(connection, *args, **kwargs)

    return handshake


def _url(protocol: Any) -> str:
    to = protocol.uri if hasattr(protocol, "uri") else protocol.wsuri  # as older versions call it
    host = f"[{to.host}]" if ":" in to.host else to.host
    return f"{'wss' if to.secure else 'ws'}://{host}:{to.port}{to.path}"
