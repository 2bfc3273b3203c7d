"""From a provider's usage object to `Usage`, by a table that says which key is which count.

A table maps a key to a slot, or to the table of the object nested under it. Keys that it does not know bill nothing.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, TypeVar

from actguard.budget.usage import MalformedUsage, Usage
from actguard.providers.body import Body, is_object

SLOT = {field: slot for slot, field in enumerate(Usage._fields)}
"""Where each count of `Usage` stands in a list of counts."""
TOTAL = len(SLOT)
"""Behind them: the sum that a provider states of its counts."""
SHORT_LIVED = TOTAL + 1
"""And the tokens written to the cache for the usual lifetime; `Usage` holds those for longer ones, and all."""

_Named = TypeVar("_Named", bound=tuple[Any, ...])

Table = Mapping[str, "int | Table"]


class _New(Protocol):
    def __call__(self, kind: type[_Named], values: Iterable[object], /) -> _Named: ...


new: _New = tuple.__dict__["__new__"]
"""Makes a NamedTuple of all its values. Its own constructor takes a microsecond for `Usage` alone."""


def no_counts() -> list[int]:
    return [0] * (SHORT_LIVED + 1)


def collect(said: Body, table: Table, counts: list[int]) -> None:
    """Put what *said* reports into *counts*. Where two keys mean the same count, the larger one is it.

    Raises:
        MalformedUsage: a count is no whole number >= 0, or a part is no object.
    """
    for key, value in said.items():
        if value and (where := table.get(key)) is not None:
            if isinstance(where, int):
                if type(value) is not int or value < 0:  # not isinstance: True is no count
                    raise MalformedUsage(f"{key} is no count but {_kind(value)}")
                if value > counts[where]:
                    counts[where] = value
            elif is_object(value):
                collect(value, where, counts)
            else:
                raise MalformedUsage(f"{key} is no object but {_kind(value)}")


def usage_from(counts: list[int]) -> Usage:
    """Raises:
    MalformedUsage: a part is larger than what it is part of.
    """
    if any(counts[2:_PARTS]) and not _consistent(*counts[:_PARTS]):
        raise MalformedUsage("a part is larger than its whole")
    return new(Usage, counts[:TOTAL])


def _consistent(
    read_in: int,
    written: int,
    cached: int,
    stored: int,
    stored_1h: int,
    stored_12h: int,
    audio: int,
    image: int,
    video: int,
    cached_audio: int,
    cached_image: int,
    cached_video: int,
    tools: int,
    reasoning: int,
    audio_out: int,
    image_out: int,
    video_out: int,
    accepted: int,
    rejected: int,
) -> bool:
    """Takes the counts in the order of `Usage`: fields looked up by name would take most of the time of a reading."""
    return (
        cached + stored <= read_in
        and stored_1h + stored_12h <= stored
        and audio + image + video <= read_in
        and cached_audio + cached_image + cached_video <= cached
        and cached_audio <= audio
        and cached_image <= image
        and cached_video <= video
        and tools <= read_in
        and reasoning <= written
        and audio_out + image_out + video_out <= written
        and accepted + rejected <= written
    )


_PARTS = SLOT["rejected_prediction_tokens"] + 1


def _kind(value: object) -> str:
    return "a negative number" if type(value) is int else f"a {type(value).__name__}"
