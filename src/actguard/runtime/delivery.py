"""Events on their way: to any sink as often as the options say, and to the gateway."""

import json
import logging
from collections.abc import Sequence
from typing import Any, cast

from actguard.events.channel import Channel, NotNow
from actguard.events.envelope import uuid7
from actguard.events.sinks import Event, Sink
from actguard.exceptions import ActGuardError
from actguard.runtime.config import Config, Patience
from actguard.transport.answers import Unanswered
from actguard.transport.gateway import GatewayTransport
from actguard.transport.names import fitting

PATH = "/api/v1/events"
_AROUND = len('{"events":[]}')
_NAMES = ("category", "name", "user_id", "run_id", "provider", "model", "scope_name", "tool_name")
logger = logging.getLogger("actguard.runtime")


def channel_to(sink: Sink, config: Config) -> Channel:
    """What takes events to *sink*."""
    return Channel(
        sink,
        interval_s=config.flush_interval_ms / 1000,
        batch=config.max_batch_events,
        limit=config.max_queue_events,
    )


class GatewaySink:
    """Sends events in requests of so many bytes at most. A repeated event is stored once, by its id."""

    def __init__(self, transport: GatewayTransport, patience: Patience, max_bytes: int) -> None:
        self._transport = transport
        self._patience = patience
        self._max_bytes = max_bytes
        self.failing = False
        self.hurried = False
        """The program is ending: a gateway that was away just now is tried once."""
        self.rejected = 0
        """Events that the gateway did not take."""

    def write(self, events: Sequence[Event]) -> None:
        """Deliver *events*.

        Raises:
            NotNow: the gateway is away; those that were delivered are not stored twice.
            ActGuardError: it does not take them.
        """
        for part in self._parts(events):
            try:
                said = self._transport.post(
                    PATH,
                    {"events": part},
                    key=uuid7(),
                    timeout_s=self._patience.timeout_s,
                    max_retries=0 if self.failing and self.hurried else self._patience.max_retries,
                )
            except Unanswered as away:
                self.failing = True
                raise NotNow(str(away)) from None
            except ActGuardError:
                self.failing = True
                raise
            self.failing = False
            self._rejected(said.get("rejected"))

    def _rejected(self, said: Any) -> None:
        """Say which events the gateway does not take, once; the others of the request are stored."""
        rejected = cast("Sequence[Any]", said if isinstance(said, list) else ())
        if rejected and not self.rejected:
            logger.warning("The gateway does not take some events: %.300s", rejected[0])
        self.rejected += len(rejected)

    def _parts(self, events: Sequence[Event]) -> list[list[Event]]:
        parts: list[list[Event]] = []
        room = 0
        for event in map(_named, events):
            size = _size(event)
            if size + _AROUND > self._max_bytes:
                event = _without_payload(event, size)
                size = _size(event)
            if not parts or size > room:
                parts.append([])
                room = self._max_bytes - _AROUND
            parts[-1].append(event)
            room -= size
        return parts

    def close(self) -> None:
        """The connections are the client's."""

    def __repr__(self) -> str:
        return f"the gateway at {self._transport.url}"


def _named(event: Event) -> Event:
    """*event*, its names as the wire takes them."""
    names = {key: value for key in _NAMES if isinstance(value := event.get(key), str)}
    changed = {key: fits for key, value in names.items() if (fits := fitting(value)) != value}
    return {**event, **changed} if changed else event


def _size(event: Event) -> int:
    return len(json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")) + 1


def _without_payload(event: Event, size: int) -> dict[str, Any]:
    """An event that is larger than a whole request: that it happened is still told."""
    return {**event, "payload": {"left_out": f"the event had {size} bytes"}, "evidence": []}
