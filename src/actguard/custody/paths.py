"""Where a value stands: `order.id`, `items[].id`, `[]`, `.` (the whole).

A dot goes into a record by name: a key of a mapping, a field of a dataclass, pydantic model, named tuple or object;
never a method, never a name that starts with an underscore. `[]` goes through the elements of a list, tuple, set or
the values of a mapping. A dot on a list goes through its elements by itself.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, cast

from actguard.custody.values import Unfit, a, is_list, members
from actguard.exceptions import ActGuardUsageError

EACH: Final = "[]"
_PATH = re.compile(r"\.|(?:\[\]|[^\s.\[\]]+(?:\[\])*)(?:\.[^\s.\[\]]+(?:\[\])*|\[\])*")

Index = tuple[int, ...]
"""Which element was taken at every `[]` on the way."""


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
    if path == ".":
        return ()
    return tuple(step for part in path.split(".") for step in part.replace(EACH, f".{EACH}").split(".") if step)


def follow(value: Any, steps: Sequence[str], *, parse_json: bool = False) -> Iterator[tuple[Any, Index]]:
    """Everything that *steps* lead to in *value*; None where a record lacks the name.

    Args:
        parse_json: a text on the way that must be gone into is read as JSON.

    Raises:
        Unfit: a step leads into something that has no parts.
    """
    waiting: list[tuple[Any, int, Index]] = [(value, 0, ())]
    while waiting:
        held, taken, index = waiting.pop()
        if taken == len(steps):
            yield held, index
            continue
        if parse_json and isinstance(held, str | bytes | bytearray):
            held = _from_json(held)
        step = steps[taken]
        if held is None:
            yield None, index
        elif step == EACH:
            waiting.extend(_elements(held, taken + 1, index))
        elif is_list(held):
            waiting.extend(_elements(held, taken, index))
        elif step.startswith("_") or (record := members(held)) is None:
            raise Unfit(f"{a(held)} has no {step!r}")
        else:
            waiting.append((record.get(step, _field(held, step)), taken + 1, index))


def _field(held: Any, name: str) -> Any:
    """A property of an object; nothing of a mapping, no methods."""
    if _is_mapping(held) or not isinstance(getattr(type(held), name, None), property):
        return None
    return getattr(held, name)


def _elements(held: Any, taken: int, index: Index) -> list[tuple[Any, int, Index]]:
    several: Any = cast("Any", held).values() if _is_mapping(held) else held
    if isinstance(several, str | bytes | bytearray) or not hasattr(several, "__len__"):
        raise Unfit("what should be a list is none")
    try:
        found = [(element, taken, (*index, count)) for count, element in enumerate(several)]
    except TypeError:
        raise Unfit("what should be a list is none") from None
    found.reverse()  # the first is looked at first
    return found


def _is_mapping(value: Any) -> bool:
    return isinstance(value, Mapping)


def _from_json(text: str | bytes | bytearray) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise Unfit("a text that should be JSON is none") from None
