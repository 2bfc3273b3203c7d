"""The same arguments give the same text, whatever order they were written in: for fingerprints and derived keys.

Every value says its type, so that 1, "1" and True differ. What has no stable content (an open connection) counts as its
class alone.
"""

import hashlib
from collections.abc import Mapping, Set
from dataclasses import fields, is_dataclass
from typing import Any

_DEEPEST = 64


def digest(value: Any) -> str:
    """A short text for *value*; equal for equal contents.

    Raises:
        ValueError: it is nested too deeply.
    """
    try:
        text = canonical(value)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def canonical(value: Any, depth: int = 0) -> str:
    """The text that `digest` is made of."""
    kind: type[Any] = type(value)  # pyright: ignore[reportUnknownVariableType]
    if kind is str:
        return f"s{len(value)}:{value}"
    if value is None or kind is bool:
        return f"{value!r};"
    if isinstance(value, int):
        return f"i{hex(value)};"
    if kind is float:
        return f"f{value!r};"
    if depth > _DEEPEST:
        raise ValueError("nested too deeply")
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
    if is_dataclass(value):
        content: Any = {field.name: getattr(value, field.name) for field in fields(value)}
    elif callable(dump := getattr(kind, "model_dump", None)):
        content = dump(value)
    else:
        text = _own_text(value, kind)
        if text is not None:
            return f"o{len(name)}:{name}{len(text)}:{text}"
        content = getattr(value, "__dict__", None)
    return f"o{len(name)}:{name}" + (canonical(content, depth + 1) if content else ";")


def _own_text(value: Any, kind: type[Any]) -> str | None:
    """What the class itself makes of a value, unless it is only its address."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - a hostile object counts as its class
        return ""
    return None if " at 0x" in text else text
