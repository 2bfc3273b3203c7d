"""JSON values of unknown shape, read without trust."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast


def mapping(value: object) -> Mapping[str, Any]:
    """*value* if it is an object, else an empty one."""
    return cast("Mapping[str, Any]", value) if isinstance(value, dict) else {}


def sequence(value: object) -> Sequence[Any]:
    """*value* if it is an array, else an empty one."""
    return cast("Sequence[Any]", value) if isinstance(value, list) else ()


dumps: Callable[[Any], str] = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
"""Compact, and with non-ASCII characters as they are."""
