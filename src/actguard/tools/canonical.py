"""The same arguments give the same text, whatever order they were written in: for fingerprints and derived keys.

Every value says its type, so that 1, "1" and True differ. What has no stable content (an open connection, a framework's
context), or does not let itself be looked at, counts as its class alone.
"""

import hashlib
import pickle
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import fields, is_dataclass
from typing import Any

from actguard.exceptions import ToolGuardError
from actguard.tools.handed_in import is_handed_in

_DEEPEST = 64


def digest(value: Any) -> str:
    """A short text for *value*; equal for equal contents.

    Raises:
        ToolGuardError: INVALID_ARGUMENT: it is nested too deeply, or without end.
    """
    try:
        return _digest(canonical(value))
    except (_TooDeep, RecursionError):
        raise _too_deep() from None


def record_digest(names: Iterable[str]) -> Callable[[Mapping[str, Any]], str]:
    """`digest` of mappings that have no other keys than *names*, which are put in order once and for all."""
    ordered = sorted((canonical(name), name) for name in names)

    def digest_of(record: Mapping[str, Any]) -> str:
        try:
            parts = [key + canonical(record[name], 1) for key, name in ordered if name in record]
            return _digest(f"{{{''.join(parts)}}}")
        except (_TooDeep, RecursionError):
            raise _too_deep() from None

    return digest_of


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _too_deep() -> ToolGuardError:
    return ToolGuardError("an argument is nested too deeply to be compared", "INVALID_ARGUMENT", "nested_too_deeply")


def canonical(value: Any, depth: int = 0) -> str:
    """The text that `digest` is made of."""
    kind: type[Any] = type(value)  # pyright: ignore[reportUnknownVariableType]
    if kind is str:
        return f"s{len(value)}:{value}"
    if value is None or kind is bool:
        return f"{value!r};"
    if kind is int:
        return f"i{value:x};"
    if kind is float:
        return f"f{value!r};"
    if depth > _DEEPEST:
        raise _TooDeep
    try:
        return _parts(value, kind, depth)
    except (_TooDeep, RecursionError):
        raise
    except Exception:  # noqa: BLE001 - an object that fights back: nothing is known of it but its class
        return f"?{kind.__module__}.{kind.__qualname__};"


class _TooDeep(Exception):  # noqa: N818 - never leaves this module
    pass


def _parts(value: Any, kind: type[Any], depth: int) -> str:
    if isinstance(value, int):
        return f"i{int.__index__(value):x};"
    if kind is dict or isinstance(value, Mapping):
        items = [(canonical(key, depth + 1), canonical(item, depth + 1)) for key, item in value.items()]  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType, reportUnknownMemberType]
        return "{" + "".join(key + item for key, item in sorted(items)) + "}"
    if isinstance(value, list | tuple):
        return "[" + "".join(canonical(item, depth + 1) for item in value) + "]"  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    if isinstance(value, Set):
        return "<" + "".join(sorted(canonical(item, depth + 1) for item in value)) + ">"  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    if isinstance(value, bytes | bytearray | memoryview):
        return f"y{bytes(value).hex()};"  # pyright: ignore[reportUnknownArgumentType]
    return _object(value, kind, depth)


def _object(value: Any, kind: type[Any], depth: int) -> str:
    name = f"{kind.__module__}.{kind.__qualname__}"
    if is_handed_in(kind):
        return f"?{name};"
    if is_dataclass(value):
        content: Any = {field.name: getattr(value, field.name) for field in fields(value)}
    elif callable(dump := getattr(kind, "model_dump", None)):
        content = dump(value)
    else:
        text = _own_text(value)
        if text is not None:
            return f"o{len(name)}:{name}{len(text)}:{text}"
        content = getattr(value, "__dict__", None)
    return f"o{len(name)}:{name}" + (canonical(content, depth + 1) if content else ";")


def _own_text(value: Any) -> str | None:
    """What the class itself makes of a value, unless it is only its address, or not all of it."""
    text = repr(value)
    if "..." not in text:
        return None if " at 0x" in text else text
    try:
        return pickle.dumps(value, protocol=5).hex()
    except Exception:  # noqa: BLE001 - many things are not made to be pickled
        return None
