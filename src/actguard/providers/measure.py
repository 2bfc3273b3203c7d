"""How large a request is on the wire, found without serialising it, consuming it or calling into it.

The size is that of compact UTF-8 JSON: exact for what strings hold, escapes included, and rounded up for numbers. Parts
whose `id` is in *skip* (media, whose base64 is priced by what it shows) are left out; their owner adds what is left.
"""

import binascii
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time
from json.encoder import encode_basestring
from typing import Any, cast

from actguard.budget.request import Media, MediaKind, RequestFacts

# Everything in a body is user data of any type; `Any` here says that each value is looked at before it is used.
JSON = Any


_type: Callable[[Any], object] = type  # narrows nothing: what is in a list of user data stays `Any`
_SCALARS: dict[object, int] = {type(None): 4, bool: 5}
_LIMIT = 64 << 20
_MOST = 500_000
"""Bytes of numbers and syntax, and objects, at which measuring gives up: a list that holds itself comes to it."""
_SHORT = 256

_ESCAPED = bytes(range(32)) + b'"\\'
_PLAIN = bytes(c for c in range(256) if c not in _ESCAPED)
_TWO_BYTES = b'"\\\b\t\n\f\r'
_MESSAGE = len('{"role":,"content":},')


def measure(root: JSON, skip: "set[int] | None" = None) -> tuple[int, bool]:
    """The size of *root* as JSON, and whether that is certain.

    It is not where something would have to be consumed, called or converted to be measured.
    """
    parts: list[Any] = []
    more: list[Any] = []
    if _type(root) is dict:
        more.append({key: value for key, value in root.items() if value is None or not is_absent(value)})
        return _walk(0, True, parts, more, skip)
    size, exact = _other(root, parts, more)
    return _walk(size, exact, parts, more, skip)


def measure_chat(body: dict[str, Any]) -> "tuple[int, bool] | None":
    """What `measure` says of a chat request that is text and nothing else, as most are; None of any other."""
    parts: list[Any] = list(body)
    more: list[Any] = []
    size = 2 + 2 * len(body)
    exact = True
    for key, value in body.items():
        kind = _type(value)
        if kind is str:
            parts.append(value)
        elif key == "messages":
            if kind is not list:
                return None
            size += 2
            for message in value:
                if _type(message) is not dict:
                    return None
                content, role = message.get("content"), message.get("role")
                if _type(content) is str and _type(role) is str and len(message) == 2:
                    parts.append(role)
                    parts.append(content)
                    size += _MESSAGE
                elif (content is not None and _type(content) is not str) or "audio" in message:
                    return None
                else:
                    more.append(message)
                    size += 1
        elif kind is int:
            size += value.bit_length() // 3 + 2
        elif value is not None and is_absent(value):
            size -= len(key) + 4  # an SDK hands over every argument there is, and sends those that were given
        else:
            added, known = _other(value, parts, more)
            size += added
            exact = exact and known
    return _walk(size, exact, parts, more, None)


def _walk(size: int, exact: bool, parts: "list[Any]", more: "list[Any]", skip: "set[int] | None") -> tuple[int, bool]:
    """Add to *size* what is in the containers *more*, and the strings and keys *parts*."""
    for node in more:  # grows while it is read
        if size > _LIMIT or len(more) > _MOST:
            return size, False
        if skip and id(node) in skip:
            continue
        if _type(node) is dict:
            size += 2 + 2 * len(node)
            parts += node
            values: Iterable[Any] = node.values()
        else:
            size += 2 + len(node)
            values = node
        for value in values:
            kind = _type(value)
            if kind is str:
                parts.append(value)
            elif kind is dict or kind is list:
                more.append(value)
            elif kind in _SCALARS:
                size += _SCALARS[kind]
            elif kind is int:
                size += value.bit_length() // 3 + 2
            else:
                added, known = _other(value, parts, more)
                size += added
                exact = exact and known
    size += 2 * len(parts)
    try:
        text = "".join(parts)
    except TypeError:  # keys that JSON turns into strings
        text, known = _as_keys(parts)
        exact = exact and known
    return size + text_bytes(text), exact


def text_bytes(text: str) -> int:
    """UTF-8 bytes of *text* inside a JSON string, without its quotes."""
    if len(text) <= _SHORT and text.isascii():
        return len(encode_basestring(text)) - 2
    data = text.encode("utf-8", "surrogatepass")
    special = data.translate(None, _PLAIN)  # one pass at memory speed; counting each character would take five
    return len(data) + len(special) + 4 * len(special.translate(None, _TWO_BYTES)) if special else len(data)


def merged(body: Mapping[str, Any] | None, extra: Mapping[str, Any] | None) -> dict[str, Any]:
    """*body* as it is sent: keys of *extra* (`extra_body`) replace its own, and what is `Omit` is left out."""
    if not extra:
        return cast("dict[str, Any]", body) if type(body) is dict else dict(body or {})
    return {key: value for key, value in {**(body or {}), **extra}.items() if value is None or not is_absent(value)}


def is_absent(value: object) -> bool:
    """Whether *value* gives nothing: None, or an SDK's `NotGiven` or `Omit` (known by name, as no SDK is imported)."""
    return value is None or type(value).__name__ in ("NotGiven", "Omit")


def given(body: Mapping[str, Any], key: str) -> JSON:
    """What *body* says for *key*; None where it says nothing."""
    value = body.get(key)
    return None if is_absent(value) else value


def whole(value: object) -> "int | None":
    """*value* where it is a count, else None."""
    return int(value) if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def kind_in(part: Mapping[str, Any], default: str) -> str:
    """The `type` that *part* names, whatever was put there."""
    kind = part.get("type", default)
    return kind if isinstance(kind, str) else str(kind)


def items(value: JSON) -> "list[Any]":
    """The members of a JSON list; of anything else (a generator above all) nothing is read."""
    if _type(value) is list:
        return cast("list[Any]", value)
    return list(cast("Iterable[Any]", value)) if isinstance(value, list | tuple) else []


def as_dict(value: object) -> "dict[str, Any]":
    """A JSON object as a dict, or an empty one for anything else."""
    if isinstance(value, dict):  # the object itself: it is only read
        return cast("dict[str, Any]", value)
    return dict(cast("Mapping[str, Any]", value)) if isinstance(value, Mapping) else {}


def _other(value: Any, parts: "list[Any]", more: "list[Any]") -> tuple[int, bool]:
    """The size of *value*, but for what it adds to *parts* and *more*; and whether that is certain."""
    if isinstance(value, str):
        parts.append(value)
        return 0, True
    if value is None or isinstance(value, bool):
        return 5, True
    if isinstance(value, int):
        return value.bit_length() // 3 + 2, True
    if isinstance(value, float):
        return len(float.__repr__(value)), True
    if isinstance(value, tuple | list):
        more.append(items(value))
        return 0, True
    if isinstance(value, Mapping):
        more.append(dict(cast("Mapping[object, Any]", value)))
        return 0, True
    if is_absent(value):
        return 4, True
    if isinstance(value, bytes | bytearray):
        return len(value) * 4 // 3 + 6, True  # sent as base64
    if isinstance(value, datetime | date | time):
        return 48, True
    if hasattr(_type(value), "model_fields"):
        more.append(vars(value))  # pydantic: near enough for an estimate; aliases and unset fields differ
    return 64, False


def _as_keys(parts: "list[Any]") -> tuple[str, bool]:
    text: list[str] = []
    known = True
    for part in parts:
        if isinstance(part, str):
            text.append(part)
        elif part is None or isinstance(part, bool | int | float):
            text.append("-" * _other(part, [], [])[0])
        else:  # json refuses such a key, and so will the SDK
            known = False
    return "".join(text), known


# -- media -------------------------------------------------------------------------------------------------------------


class Found:
    """Collects into *facts* what the parts of a request are, and keeps base64 out of its size."""

    __slots__ = ("bytes", "facts", "skip")

    def __init__(self, facts: RequestFacts) -> None:
        self.facts = facts
        self.skip: set[int] = set()
        self.bytes = 0

    def media(self, part: "dict[str, Any]", item: Media, without: "dict[str, Any] | None" = None) -> None:
        """*part* shows *item*; *without* is the part as it would be with no payload in it."""
        self.facts.media += (item,)
        if without is not None:
            self.skip.add(id(part))
            size, exact = measure(without)
            self.bytes += size
            self.facts.sized = self.facts.sized and exact

    def server_tool(self, name: str) -> None:
        self.facts.server_tools += (name,)
        self.facts.unbounded += (f"server tool {name}",)

    def state(self, *ids: str) -> None:
        self.facts.state += ids

    def unbounded(self, why: str) -> None:
        self.facts.unbounded += (why,)

    def unsized(self, why: str) -> None:
        self.facts.unsized += (why,)

    def measured(self, body: JSON) -> RequestFacts:
        """The facts, with the size of *body* in them."""
        facts = self.facts
        size, exact = measure(body, self.skip)
        facts.body_bytes = size + self.bytes
        facts.sized = facts.sized and exact
        return facts


def inline(kind: MediaKind, data: "Base64 | None", detail: str = "", form: str = "") -> Media:
    """A media item whose bytes are in the request; *data* is None where they cannot be looked at."""
    if data is None:
        return Media(kind, "inline", 0, detail)
    if kind == "image":
        return Media(kind, "inline", len(data), detail, *image_size(data))
    if kind == "audio":
        return Media(kind, "inline", len(data), detail, seconds=audio_seconds(data, form))
    return Media(kind, "inline", len(data), detail)


def kind_of(mime: str) -> MediaKind:
    """What a MIME type is to a model."""
    family = mime.split("/", 1)[0]
    if family in ("image", "audio", "video"):
        return cast("MediaKind", family)
    return "pdf" if "pdf" in mime else "file"


# -- what inline media shows -------------------------------------------------------------------------------------------

_JPEG_FRAMES = frozenset((0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF))
_URLSAFE = str.maketrans("-_", "+/")
_DATA_URL = re.compile(r"data:([\w.+-]*/?[\w.+-]*)(;[^,]*)?,", re.ASCII)


def data_url(url: str) -> "tuple[str, int] | None":
    """MIME type and where the payload begins, of a base64 `data:` URL; None for any other text."""
    if not url.startswith("data:"):
        return None
    head = _DATA_URL.match(url, 0, 256)
    return (head[1].lower(), head.end()) if head and "base64" in (head[2] or "") else None


class Base64:
    """Random access to bytes that are base64 text, so that a header is read without decoding the file."""

    __slots__ = ("_start", "_text")

    def __init__(self, text: str, start: int = 0) -> None:
        self._text, self._start = text, start

    def __len__(self) -> int:
        return max(0, len(self._text) - self._start) * 3 // 4

    def read(self, offset: int, count: int) -> bytes:
        """Up to *count* bytes from *offset*; fewer where the text ends, or is not base64."""
        first, skipped = divmod(offset, 3)
        begin = self._start + 4 * first
        end = begin + 4 * ((skipped + count + 2) // 3)
        chunk = self._text[begin:end].translate(_URLSAFE)
        try:
            return binascii.a2b_base64(chunk + "=" * (-len(chunk) % 4))[skipped : skipped + count]
        except ValueError:
            return b""


def image_size(data: Base64) -> tuple[int, int]:
    """Width and height from the header of a PNG, JPEG, GIF or WebP; (0, 0) where they cannot be read."""
    head = data.read(0, 32)
    if head[:8] == b"\x89PNG\r\n\x1a\n" and len(head) >= 24:
        return int.from_bytes(head[16:20]), int.from_bytes(head[20:24])
    if head[:3] == b"GIF" and len(head) >= 10:
        return int.from_bytes(head[6:8], "little"), int.from_bytes(head[8:10], "little")
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP" and len(head) >= 30:
        return _webp_size(head)
    return _jpeg_size(data) if head[:2] == b"\xff\xd8" else (0, 0)


def audio_seconds(data: Base64, form: str) -> int:
    """No shorter than the sound lasts, for WAV and MP3; 0 where it cannot be told."""
    if "mp3" in form or "mpeg" in form:
        return len(data) // 1000 + 1  # 8 kbit/s is the lowest rate a frame can have
    if "wav" not in form:
        return 0
    head = data.read(0, 44)
    if head[:4] != b"RIFF" or head[12:16] != b"fmt " or len(head) < 36:
        return 0
    rate, block = int.from_bytes(head[24:28], "little"), int.from_bytes(head[32:34], "little")
    coding, bits = int.from_bytes(head[20:22], "little"), int.from_bytes(head[34:36], "little")
    if (
        coding not in (1, 3) or bits < 8 or not rate or not block
    ):  # not PCM: how long a block lasts depends on the codec
        return 0
    return len(data) // (rate * block) + 1


def _webp_size(head: bytes) -> tuple[int, int]:
    form = head[12:16]
    if form == b"VP8 ":
        return int.from_bytes(head[26:28], "little") & 0x3FFF, int.from_bytes(head[28:30], "little") & 0x3FFF
    if form == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if form == b"VP8X":
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    return 0, 0


def _jpeg_size(data: Base64) -> tuple[int, int]:
    offset = 2
    for _ in range(64):  # segments before the frame header: EXIF, colour profile, tables
        head = data.read(offset, 9)
        if len(head) < 9 or head[0] != 0xFF:
            break
        if head[1] in _JPEG_FRAMES:
            return int.from_bytes(head[7:9]), int.from_bytes(head[5:7])
        offset += 1 if head[1] == 0xFF else 2 + int.from_bytes(head[2:4])
    return 0, 0
