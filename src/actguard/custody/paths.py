"""Where a value stands: `order.id`, `items[].id`, `[]`, `.` (the whole).

A dot goes into a record by name: a key of a mapping, a field of a dataclass, pydantic model, named tuple or object;
never a method, and of what is no mapping never a name that starts with an underscore. `[]` goes through the elements of
a list, tuple, set or the values of a mapping. A dot on a list goes through its elements by itself.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from actguard.custody.values import DEEPEST, Unfit, a, is_list, members
from actguard.exceptions import ActGuardUsageError

EACH: Final = "[]"
_PATH = re.compile(r"\.|(?:\[\]|[^\s.\[\]]+(?:\[\])*)(?:\.[^\s.\[\]]+(?:\[\])*|\[\])*")

Index = tuple[int, ...]
"""Which element was taken at every `[]` on the way."""

MOST_PLACES: Final = 1_000_000
"""Places that are looked at in one value; one with more, or that goes in a circle, is refused."""

_Place = tuple[Any, int, Index]
"""A value, how many steps led to it, and through which elements."""


def parse(argument: str, path: Any) -> tuple[str, ...]:
    """The steps of *path*.

    Raises:
        ActGuardUsageError: it is none; names *argument*.
    """
    if not isinstance(path, str) or not _PATH.fullmatch(path):
        raise ActGuardUsageError(
            f"{argument} must be a path such as 'id', 'order.id', 'items[].id', '[]' or '.', not {path!r}",
            argument=argument,
        )
    return tuple(step for part in path.split(".") for step in part.replace(EACH, f".{EACH}").split(".") if step)


def follow(value: Any, steps: Sequence[str], *, parse_json: bool = False) -> Iterator[tuple[Any, Index]]:
    """Everything that *steps* lead to in *value*; None where a record lacks the name.

    Args:
        parse_json: a text on the way that must be gone into is read as JSON.

    Raises:
        Unfit: a step leads into something that has no parts.
    """
    waiting: list[Iterator[_Place]] = [iter([(value, 0, ())])]
    looked = 0
    while waiting:
        place = next(waiting[-1], None)
        if place is None:
            waiting.pop()
            continue
        held, taken, index = place
        looked += 1
        if looked > MOST_PLACES or len(index) > DEEPEST:
            raise Unfit("too many parts, or parts too deep")
        if taken == len(steps):
            yield held, index
        elif held is None:
            yield None, index
        else:
            waiting.append(_further(held, steps[taken], taken, index, parse_json))


def _further(held: Any, step: str, taken: int, index: Index, parse_json: bool) -> Iterator[_Place]:
    """Where *step* leads to from *held*."""
    if parse_json and isinstance(held, str | bytes | bytearray):
        held = _from_json(held)
        if held is None:
            return iter([(None, taken + 1, index)])
    if step == EACH:
        return _elements(held, taken + 1, index)
    if is_list(held):
        return _elements(held, taken, index)
    private = step.startswith("_") and not _is_mapping(held)
    if private or (record := members(held)) is None:
        raise Unfit(f"{a(held)} has no {step!r}")
    return iter([(record.get(step, _field(held, step)), taken + 1, index)])


def _field(held: Any, name: str) -> Any:
    """A property of an object; nothing of a mapping, no methods."""
    if _is_mapping(held) or not isinstance(_of_class(held, name), property):
        return None
    return getattr(held, name)


def _elements(held: Any, taken: int, index: Index) -> Iterator[_Place]:
    several: Any = held.values() if _is_mapping(held) else held
    if isinstance(several, str | bytes | bytearray) or not hasattr(several, "__len__"):
        raise Unfit("what should be a list is none")
    try:
        elements = iter(several)
    except TypeError:
        raise Unfit("what should be a list is none") from None
    return ((element, taken, (*index, count)) for count, element in enumerate(elements))


def _of_class(held: Any, name: str) -> Any:
    kind: type[Any] = held.__class__
    return getattr(kind, name, None)


def _is_mapping(value: Any) -> bool:
    return isinstance(value, Mapping)


def _from_json(text: str | bytes | bytearray) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise Unfit("a text that should be JSON is none") from None
