"""Looking into a parsed reply, of which nothing can be taken on trust."""

from collections.abc import Mapping
from typing import Any, TypeGuard

from actguard.budget.usage import MalformedUsage

Body = Mapping[str, Any]
"""An object of a JSON document."""

NOTHING_SAID: Body = {}


def is_object(value: object) -> TypeGuard[Body]:
    return type(value) is dict or isinstance(value, Mapping)  # the first is far cheaper, and what json.loads makes


def is_list(value: object) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def objects(value: object) -> list[Body]:
    """The objects in a list; none if it is no list."""
    return [item for item in value if type(item) is dict or is_object(item)] if is_list(value) else []


def count_of(counts: Body, key: str) -> int:
    """The count under *key*; absent and null are 0.

    Raises:
        MalformedUsage: it is anything but a whole number >= 0.
    """
    value = counts.get(key)
    if type(value) is int and value >= 0:  # not isinstance: True is no count
        return value
    if value is None:
        return 0
    raise MalformedUsage(f"{key} is no count: a {'negative number' if type(value) is int else type(value).__name__}")


def part_of(counts: Body, key: str) -> Body:
    """The object nested under *key*; absent and null are an empty one.

    Raises:
        MalformedUsage: it is something else.
    """
    value = counts.get(key)
    if value is None:
        return NOTHING_SAID
    if is_object(value):
        return value
    raise MalformedUsage(f"{key} is no object but a {type(value).__name__}")


def text_of(body: Body, key: str) -> str | None:
    """The text under *key*, if there is one that says anything."""
    value = body.get(key)
    return value if isinstance(value, str) and value else None


def utf8_length(text: str) -> int:
    """In bytes; a lone surrogate, which JSON can hold, counts as three."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
