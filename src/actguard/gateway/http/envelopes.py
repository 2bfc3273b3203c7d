"""What the events of one request say: all of them read at once, and those that are odd once more, each by itself."""

from collections.abc import Iterable, Sequence
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
from actguard.gateway.stored_events import body_of

MOST_EVENTS: Final = 1000

_batch = Decoder(EventsBody)
_plain: Final[msgspec.json.Decoder[PlainEventsBody]] = msgspec.json.Decoder(unsearched(PlainEventsBody))
_envelope = Decoder(Envelope)
_identified = msgspec.json.Decoder(Identified)
_names = attrgetter("id", "ts", "run_id", "user_id", "category", "name", "provider", "model", "scope_name")
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Read(NamedTuple):
    understood: Sequence[Envelope]
    body: str
    """Their texts, all of which is kept, as a body of a request that has no others."""
    rejected: list[dict[str, Any]]


def read_events(body: bytes) -> Read:
    """Whatever is wrong with one envelope is said of that one: its batch is never lost for it.

    Raises:
        Refused: *body* is no list of events, or has too many.
    """
    try:
        text = str(body, "utf-8")  # all of it must be readable: what is not looked at, too
        together = _plain.decode(body).events
    except _UNREADABLE:
        return _each_alone(body)
    if len(together) > MOST_EVENTS or not _are_plain(together, text):
        return _each_alone(body)
    return Read(together, text, [])


def _are_plain(together: Sequence[PlainEnvelope], text: str) -> bool:
    """Whether events that were read in a fraction of the time that each alone takes may be left at that."""
    if not GATEWAYS_OWN.keys().isdisjoint({said.name for said in together}):
        return False
    if not _are_printable({said.tool_name for said in together}):
        return False
    return ("\\" not in text and "\x7f" not in text) or all(_are_printable(_names(said)) for said in together)


def _are_printable(names: Iterable[str | None]) -> bool:
    return all(name.isprintable() for name in names if name)


def _each_alone(body: bytes) -> Read:
    batch = decoded(_batch, body).events
    if len(batch) > MOST_EVENTS:
        raise Refused(413, "too_large", f"A batch may have up to {MOST_EVENTS} events.")
    understood: list[Envelope] = []
    texts: list[str] = []
    rejected: list[dict[str, Any]] = []
    for index, raw in enumerate(batch):
        try:
            text = str(raw, "utf-8")
            understood.append(_alone(bytes(raw)))
            texts.append(text)
        except _UNREADABLE as error:
            rejected.append({"index": index, "id": _id_of(raw), "error": f"not a valid event: {error}"[:300]})
    return Read(understood, body_of(texts), rejected)


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
