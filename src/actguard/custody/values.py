"""What makes two values the same fact, and how to look into a value without being led astray by it.

Equal are: the same text; numbers that are equal in JSON (1 and 1.0, but neither "1" nor True); sequences of equal
values in the same order; sets and mappings of equal values in any order. None is no value, NaN and infinity are none.
"""

import dataclasses
import math
import unicodedata
from collections.abc import Iterator, Mapping, Sequence, Set
from decimal import Decimal
from enum import Enum
from typing import Any, Final, cast
from uuid import UUID

from actguard.stores import keys

DEEPEST = 32
"""Levels that are looked into; what is deeper, or goes in a circle, is refused."""
MOST_PARTS = 100_000
MOST_FACTS = 10_000
"""Facts that one argument may need."""

_PLAIN: Final = (str, bytes, int, float, Decimal)


class Unfit(Exception):  # noqa: N818 - a finding about a value, never seen by the caller
    """A value that cannot be looked into, compared or kept: says why, and never what is in it."""


def encode(value: Any) -> str:
    """*value* as the second part of a fact.

    Raises:
        Unfit: it has no equals that could be told.
    """
    if type(value) is str:
        return keys.encode_text(value)
    if type(value) is int:
        return keys.encode_int(value)
    return keys.encode(_comparable(value, 0))


def _comparable(value: Any, depth: int) -> Any:
    """*value* in the one form that all its equals have."""
    if depth > DEEPEST:
        raise Unfit("nested too deep")
    if isinstance(value, Enum):
        return _comparable(value.value, depth + 1)
    if isinstance(value, bool | bytes):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int | float | Decimal):
        return _number(value)
    if isinstance(value, Mapping):
        return ("mapping", *sorted(_pair(key, held, depth) for key, held in bounded(value.items())))
    if isinstance(value, Set):
        return ("set", *sorted(keys.encode(_comparable(held, depth + 1)) for held in bounded(value)))
    if isinstance(value, Sequence):
        return tuple(_comparable(held, depth + 1) for held in bounded(value))
    try:
        keys.encode(value)
    except (TypeError, ValueError):
        raise Unfit(f"{a(value)} cannot be compared") from None
    return value


def _pair(key: Any, held: Any, depth: int) -> str:
    return keys.encode((keys.encode(_comparable(key, depth + 1)), keys.encode(_comparable(held, depth + 1))))


def _number(value: float | Decimal) -> int | Decimal:
    if isinstance(value, int):
        return int.__index__(value)
    if not math.isfinite(value):
        raise Unfit("not a finite number")
    exact = value if isinstance(value, Decimal) else Decimal(float.__repr__(value))
    return int(exact) if exact == exact.to_integral_value() and exact.copy_abs() < 10**30 else exact


def bounded(values: Any) -> Iterator[Any]:
    """The parts of a value that may have any number of them.

    Raises:
        Unfit: they are too many to look at.
    """
    for count, value in enumerate(values):
        if count >= MOST_PARTS:
            raise Unfit("too many parts")
        yield value


def members(value: Any) -> Mapping[str, Any] | None:
    """The fields of a record: of a mapping, dataclass, pydantic model, named tuple or object, those included that came
    to it beside its declared ones; None: it is none."""
    if isinstance(value, Mapping):
        return value  # pyright: ignore[reportUnknownVariableType] - whatever it is, only str keys are asked for
    if isinstance(value, type | str | bytes | int | float | UUID) or value is None:
        return None
    names = _declared(value)
    if names is None and isinstance(value, Sequence | Set | Iterator):
        return None
    held: Mapping[str, Any] = getattr(value, "__dict__", None) or {}
    if names is None:
        names = _slots(cast("Any", type(value)))
        if not held and not names:
            return None
    record = {name: getattr(value, name, None) for name in names}
    record.update((name, kept) for name, kept in held.items() if not name.startswith("_"))
    record.update(getattr(value, "__pydantic_extra__", None) or {})
    return record


def _declared(value: Any) -> list[str] | None:
    """The names of the fields that its class lists."""
    if dataclasses.is_dataclass(value):
        return [field.name for field in dataclasses.fields(value)]
    kind = cast("Any", type(value))
    for listed in ("model_fields", "_fields", "__struct_fields__"):
        if (fields := getattr(kind, listed, None)) is not None:
            return [str(name) for name in fields]
    return None


def _slots(kind: type[Any]) -> list[str]:
    found: list[str] = []
    for base in kind.__mro__:
        slots: Any = base.__dict__.get("__slots__", ())
        found += [name for name in ((slots,) if isinstance(slots, str) else slots) if not name.startswith("_")]
    return found


def is_list(value: Any) -> bool:
    """Whether *value* is several: a list, tuple or set, or what behaves so; no text, no record."""
    return (
        isinstance(value, Sequence | Set) and not isinstance(value, str | bytes | bytearray | memoryview)
    ) and not hasattr(cast("Any", value), "_fields")


def strings(value: Any, *, joined: bool = False) -> Iterator[str]:
    """Every text in *value*, however deep: keys too, and numbers as they are written.

    Args:
        joined: also every list of texts as one line, as a command is made of its words.

    Raises:
        Unfit: something in it cannot be looked into.
    """
    waiting: list[tuple[Any, int]] = [(value, 0)]
    looked = 0
    while waiting:
        held, depth = waiting.pop()
        looked += 1
        if looked > MOST_PARTS:
            raise Unfit("too many parts")
        if depth > DEEPEST:
            raise Unfit("nested too deep")
        if held is None:
            continue
        if isinstance(held, Enum):
            waiting.append((held.value, depth + 1))
        elif isinstance(held, _PLAIN):
            yield _text(held)
        elif (record := members(held)) is not None:
            waiting.extend((part, depth + 1) for pair in record.items() for part in pair)
        elif isinstance(held, bytearray | memoryview):
            yield _text(bytes(held))  # pyright: ignore[reportUnknownArgumentType]
        elif isinstance(held, Sequence | Set):
            inner = list(bounded(held))
            if joined and len(inner) > 1 and all(isinstance(part, str) for part in inner):
                yield " ".join(inner)
            waiting.extend((part, depth + 1) for part in reversed(inner))
        else:
            yield _scalar(held)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, bytes):
        return _decoded(value)
    if isinstance(value, int) and not -(10**100) < value < 10**100:
        raise Unfit("a number with too many digits")
    if not math.isfinite(value):
        raise Unfit("not a finite number")
    return str(value)


def _decoded(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _scalar(value: Any) -> str:
    try:
        keys.encode(value)
    except (TypeError, ValueError):
        raise Unfit(f"{a(value)} cannot be looked into") from None
    return str(value)  # a date, a UUID: types with one text


_INVISIBLE = {"Cf", "Cc", "Mn", "Me", "Co", "Cn", "Cs"}
_KEPT = {"\t", "\n", "\r", "\v", "\f"}
_ASCII_CONTROL = dict.fromkeys(code for code in (*range(32), 127) if chr(code) not in _KEPT)


_STOP = "\u3002"
"""The ideographic full stop. NFKC makes it of the halfwidth one, and a dot of the fullwidth one; any of them parts the
names of a host (IDNA, UTS 46), so that here they are all a dot."""


def fold(text: str) -> str:
    """*text* as it reads: wide letters narrow (NFKC), every full stop a dot, and nothing in it that is not seen."""
    if text.isascii():
        return text.translate(_ASCII_CONTROL) if not text.isprintable() else text
    wide = unicodedata.normalize("NFKC", text).replace(_STOP, ".")
    if wide.isascii() and wide.isprintable():
        return wide
    plain = unicodedata.normalize("NFKD", wide)
    seen = "".join(letter for letter in plain if letter in _KEPT or unicodedata.category(letter) not in _INVISIBLE)
    return unicodedata.normalize("NFKC", seen)


def is_blank(value: Any) -> bool:
    """Whether *value* is a text in which nothing is seen: it names nothing."""
    return isinstance(value, str) and not (value if value.isascii() else fold(value)).strip()


def a(value: Any) -> str:
    """What *value* is, for a message: its type and, of a text, its length; never what is in it."""
    name = type(value).__name__
    return f"a {name} of {len(value)} characters" if type(value) is str else f"a value of type {name}"
