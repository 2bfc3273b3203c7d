"""Keys that cannot be confused: every value says its type, every value but the last its length.

    1 -> i:1      "1" -> s:1      ("a", "bc") -> t:2:3:s:a,4:s:bc

A value without a stable text (an object with an address for a repr, NaN) is no key; None means that a value is missing,
and is no key either.
"""

import hashlib
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from actguard.money import EXACT

LARGE = 1 << 62
"""Whole numbers below it are written as they are."""

LONGEST = 200
"""Longer texts are replaced by their SHA-256: keys are bounded whatever a model sends."""


def encode(value: Any) -> str:
    """*value* as the last part of a key.

    Raises:
        TypeError: it has no stable text; says which type.
        ValueError: it is None or NaN, or goes in a circle.
    """
    kind: type[object] = type(value)  # pyright: ignore[reportUnknownVariableType]
    encoder = _ENCODERS.get(kind)
    if encoder is not None:
        return encoder(value)
    if value is None:
        raise ValueError("None")
    if isinstance(value, Enum):
        return _bounded("e:", f"{kind.__module__}.{kind.__qualname__}.{value.name}")
    for base, plain in _PLAIN.items():
        if isinstance(value, base):
            return _ENCODERS[base](plain(value))
    for base, encoder in _ENCODERS.items():
        if isinstance(value, base):
            return encoder(value)
    raise TypeError(type(value).__name__)


def encode_text(value: str) -> str:
    return "s:" + value if len(value) <= LONGEST else _digest("s", value)


def encode_int(value: int) -> str:
    return f"i:{value}" if -LARGE < value < LARGE else _large(value)


def prefix(app: str, env: str, guard: str, tool: str) -> str:
    """What every key of a guard on a tool starts with."""
    return "".join(f"{len(part)}:{part}/" for part in (app, env, guard, tool))


def _digest(tag: str, text: str) -> str:
    return f"{tag}#:{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()}"


def _bounded(tag: str, text: str) -> str:
    return tag + text if len(text) <= LONGEST else _digest(tag[0], text)


def _real(value: float) -> str:
    if value != value:
        raise ValueError("NaN")
    return f"f:{value!r}"


def _decimal(value: Decimal) -> str:
    if value.is_nan():
        raise ValueError("NaN")
    return _bounded("n:", EXACT.to_sci_string(value.normalize(EXACT)))


def _large(value: int) -> str:
    return f"i:{value}" if -(10**100) < value < 10**100 else _digest("i", hex(value))


def _sequence(value: tuple[Any, ...] | list[Any]) -> str:
    try:
        parts = [encode(item) for item in value]
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return _bounded("t:", f"{len(parts)}:" + ",".join(f"{len(part)}:{part}" for part in parts))


_ENCODERS: dict[type, Callable[[Any], str]] = {
    str: encode_text,
    bool: lambda value: "b:1" if value else "b:0",
    int: encode_int,
    float: _real,
    bytes: lambda value: _bounded("y:", value.hex()),
    UUID: lambda value: f"u:{value.hex}",
    datetime: lambda value: f"d:{value.isoformat()}",
    date: lambda value: f"d:{value.isoformat()}",
    Decimal: _decimal,
    tuple: _sequence,
    list: _sequence,
}

# Of a subclass only what its base holds counts, whatever it says of itself.
_PLAIN: dict[type, Callable[[Any], Any]] = {
    str: str.__str__,
    int: int.__index__,
    float: float.__float__,
}
