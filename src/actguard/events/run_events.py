"""The events of one run: stamped where they happen, and put on their way."""

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from actguard.context import current_frame
from actguard.events.catalog import Mode, wanted
from actguard.events.channel import Channel
from actguard.events.envelope import Origin, Record


class RunEvents:
    """The Emitter of a run (see emitter.py)."""

    def __init__(self, origin: Origin, mode: Mode, channels: Sequence[Channel]) -> None:
        self.origin = origin
        self.mode: Mode = mode
        self.channels = tuple(channels)
        self._pid = os.getpid()

    def emit(self, category: str, name: str, payload: Mapping[str, Any], fields: Mapping[str, Any]) -> None:
        if wanted(self.mode, category, name):
            scope = current_frame().scope
            if getattr(scope, "pid", self._pid) != self._pid:  # it is of the process that this one was forked from
                scope = None
            self.put(Record(self.origin, category, name, dict(payload), fields, scope))

    def put(self, record: Record) -> None:
        """Take an event that is wanted."""
        for channel in self.channels:
            channel.put(record)


def surrounding_span() -> tuple[str | None, str | None]:
    """The ids of the OpenTelemetry span that is active here, where the program uses that."""
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return None, None
    context = trace.get_current_span().get_span_context()
    return (f"{context.trace_id:032x}", f"{context.span_id:016x}") if context.is_valid else (None, None)
