"""Events as they are stored: those of a request together, in the words in which it brought them.

Their ids are stored beside them, each once. All else that an event says is read from its text when somebody asks.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from actguard.gateway.http.bodies import EventsBody
from actguard.gateway.storage.store import Transaction

MOST_BATCHES: Final = 64
"""That are read at once, so that as many of the largest are no danger."""
_FORGOTTEN: Final = 1_000
"""Events in one transaction, so that no settle waits long for it; up to so many more go with them."""


class _Event(Struct, gc=False):
    """What events are looked for by. They were valid when they came."""

    id: str
    category: str
    run_id: str | None = None


class _Events(Struct):
    events: list[_Event]


_texts = msgspec.json.Decoder(EventsBody).decode
_events = msgspec.json.Decoder(_Events).decode
_as_sent = msgspec.json.Decoder(dict[str, Raw]).decode


def body_of(texts: Iterable[str]) -> str:
    """The texts of events as the body of a request brings them."""
    return f'{{"events":[{",".join(texts)}]}}'


def texts_of(body: str) -> list[str]:
    return [str(raw, "utf-8") for raw in _texts(body).events]


def found(
    transaction: Transaction, workspace: int, since: int, until: int, run_id: str, category: str
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The events of a span, the latest first: when each came, and what it says.

    Args:
        run_id: empty for any.
        category: empty for any.
    """
    span: dict[str, Any] = {"workspace": workspace, "since": since, "until": until, "number": 0}
    most = 1
    while batches := transaction.rows("event_batches", **span, most=most):
        most = min(2 * most, MOST_BATCHES)
        for span["number"], span["until"], body in batches:
            for raw in _matching(body, run_id, category):
                yield span["until"], _as_sent(raw)


def _matching(body: str, run_id: str, category: str) -> Iterable[Raw]:
    if "\\" not in body and not all(f'"{name}"' in body for name in (run_id, category) if name):
        return ()  # where there are no escapes, a name is written as it reads
    texts = reversed(_texts(body).events)
    if not run_id and not category:
        return texts
    events = reversed(_events(body).events)
    return (
        text
        for text, event in zip(texts, events, strict=True)
        if run_id in ("", event.run_id) and category in ("", event.category)
    )


def forget(transaction: Transaction, workspace: int, before: int) -> int:
    """Forget some of the events that came *before*, the oldest first. Returns how many; 0 when there are none."""
    bodies = transaction.rows("forget_event_batches", workspace=workspace, before=before, most=_FORGOTTEN)
    ids = [event.id for (body,) in bodies for event in _events(body).events]
    transaction.run("forget_event_ids", workspace=workspace, ids=msgspec.json.encode(ids).decode())
    return len(ids)
