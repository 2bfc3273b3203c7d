"""When the running code has to be done: set by `timeout`, read by tools, and by whatever waits on their behalf."""

import time
from contextvars import ContextVar

deadline: ContextVar[float | None] = ContextVar("actguard.deadline", default=None)
"""On the monotonic clock; of nested timeouts, the nearest."""


def remaining() -> float | None:
    """Seconds until the nearest timeout around the running code; None: there is none."""
    end = deadline.get()
    return None if end is None else max(0.0, end - time.monotonic())
