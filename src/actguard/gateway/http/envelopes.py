"""What the events of one request say: all of them read at once, and those that are odd once more, each by itself."""

from collections.abc import Sequence
from operator import attrgetter
from typing import Any, Final, NamedTuple

import msgspec

from actguard.events.catalog import GATEWAYS_OWN
from actguard.gateway.http.bodies import (
    Decoder,
    Envelope,
    EventsBody,
    Identified,
    PlainEnvelope,
    PlainEventsBody,
    unsearched,
)
from actguard.gateway.http.wire import Refused, decoded
from actguard.gateway.rollups import count_said, name_said

MOST_EVENTS: Final = 1000

_batch = Decoder(EventsBody)
_plain: Final[msgspec.json.Decoder[PlainEventsBody]] = msgspec.json.Decoder(unsearched(PlainEventsBody))
_envelope = Decoder(Envelope)
_identified = msgspec.json.Decoder(Identified)
_names = attrgetter("id", "ts", "run_id", "user_id", "category", "name", "provider", "model", "scope_name")
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Read(NamedTuple):
    understood: list[tuple[Envelope, str]]
    """What an event says, and its text, all of which is kept."""
    rejected: list[dict[str, Any]]


def read_events(body: bytes) -> Read:
    """Whatever is wrong with one envelope is said of that one: its batch is never lost for it.

    Raises:
        Refused: *body* is no list of events, or has too many.
    """
    batch = decoded(_batch, body).events
    if len(batch) > MOST_EVENTS:
        raise Refused(413, "too_large", f"A batch may have up to {MOST_EVENTS} events.")
    read = Read([], [])
    for index, (raw, said) in enumerate(zip(batch, _together(body, len(batch)), strict=True)):
        try:
            text = str(raw, "utf-8")  # all of it must be readable: what is not looked at, too
            read.understood.append((said if said is not None and _is_plain(said, text) else _alone(bytes(raw)), text))
        except _UNREADABLE as error:
            read.rejected.append({"index": index, "id": _id_of(raw), "error": f"not a valid event: {error}"[:300]})
    return read


def _together(body: bytes, count: int) -> Sequence[PlainEnvelope | None]:
    """What all so many events say, in a fraction of the time that each alone takes; nothing where one is odd."""
    try:
        return _plain.decode(body).events
    except _UNREADABLE:
        return [None] * count


def _is_plain(said: PlainEnvelope, text: str) -> bool:
    """Whether an event that was read with the others may be left at that."""
    if said.name in GATEWAYS_OWN or not (said.tool_name or "").isprintable():
        return False
    return ("\\" not in text and "\x7f" not in text) or all((name or "").isprintable() for name in _names(said))


def _alone(raw: bytes) -> Envelope:
    """What one event says; what of it cannot be added up counts nothing, and fails nothing."""
    said = _envelope.decode(raw)
    if said.category == "budget" and said.name in GATEWAYS_OWN:
        raise msgspec.ValidationError(f"budget.{said.name} is what the gateway alone tells")
    said.tool_name = name_said(said.tool_name)
    said.input_tokens = count_said(said.input_tokens)
    said.cached_input_tokens = count_said(said.cached_input_tokens)
    said.output_tokens = count_said(said.output_tokens)
    return said


def _id_of(raw: msgspec.Raw) -> str | None:
    try:
        return _identified.decode(raw).id
    except _UNREADABLE:
        return None
