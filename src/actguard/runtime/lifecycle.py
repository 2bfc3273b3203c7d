"""What happens to clients when a program ends or forks."""

import atexit
import os
import sys
from typing import Protocol


class Living(Protocol):
    """A client that has threads, queues or connections."""

    def close(self) -> None: ...

    def forked(self) -> None: ...


_living: set[Living] = set()
_registered = False


def live(client: Living) -> None:
    """Have *client* closed when the program ends, and told in a forked child. Until `die`."""
    global _registered
    if not _registered:
        _registered = True
        atexit.register(_end)
        if sys.platform != "win32":
            os.register_at_fork(after_in_child=_forked)
    _living.add(client)


def die(client: Living) -> None:
    _living.discard(client)


def _end() -> None:
    for client in list(_living):
        client.close()


def _forked() -> None:
    for client in list(_living):
        client.forked()
