"""Rows as Postgres' arrays, one a column: the driver would search each element for what is to be quoted."""

from collections.abc import Collection, Sequence
from typing import Any, Final

import msgspec

_encode: Final = msgspec.json.Encoder().encode


def arrays(rows: Collection[Sequence[Any]], width: int) -> list[str]:
    """The columns of *rows*, of which there are *width* if there are no rows."""
    return [*map(array, zip(*rows, strict=True))] if rows else ["{}"] * width


def array(values: Sequence[Any]) -> str:
    """Numbers, texts or bytes, and None among them.

    Where no text has a control character, an array is JSON but for its brackets: a backslash and a quote are escaped
    alike, and of the names that JSON has for the others, arrays know nothing.
    """
    if not isinstance(next((value for value in values if value is not None), None), bytes):
        written = _encode(values)
        if b"\\" not in written.replace(b"\\\\", b"").replace(b'\\"', b""):
            return f"{{{written[1:-1].decode()}}}"
    return "{" + ",".join(["NULL" if v is None else str(v) if isinstance(v, int) else _quoted(v) for v in values]) + "}"


def _quoted(value: "str | bytes") -> str:
    text = value if isinstance(value, str) else f"\\x{value.hex()}"
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
