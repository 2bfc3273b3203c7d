"""AWS binary event streams (`application/vnd.amazon.eventstream`), read beside the program that they are meant for."""

import base64
import json
import struct
import uuid
import zlib
from typing import NamedTuple

from actguard.providers.body import Body, is_object

_PRELUDE = struct.Struct(">III")  # length of all, length of the headers, checksum of these two
_OVERHEAD = _PRELUDE.size + 4  # and the checksum of all at the end
_LARGEST = 24 * 1024 * 1024 + _OVERHEAD  # a length beyond this is no length

HeaderValue = bool | int | bytes | str | uuid.UUID


class EventStreamMessage(NamedTuple):
    headers: dict[str, HeaderValue]
    payload: bytes
    raw: bytes


class EventStreamParser:
    """Incremental: feed what arrives, get the messages that it completed.

    Bytes that are no event stream set `broken`, once and for all: nothing after them can be told apart.
    """

    __slots__ = ("_buffer", "broken")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.broken = False

    def feed(self, chunk: bytes) -> list[EventStreamMessage]:
        if self.broken:
            return []
        buffer = self._buffer
        buffer += chunk
        messages: list[EventStreamMessage] = []
        begin = 0
        while len(buffer) - begin >= _PRELUDE.size:
            length, header_length, checksum = _PRELUDE.unpack_from(buffer, begin)
            if zlib.crc32(buffer[begin : begin + 8]) != checksum or not header_length + _OVERHEAD <= length <= _LARGEST:
                self.broken = True
                break
            if len(buffer) - begin < length:
                break
            raw = bytes(buffer[begin : begin + length])
            message = _message(raw, header_length)
            if message is None:
                self.broken = True
                break
            messages.append(message)
            begin += length
        if self.broken:
            buffer.clear()
        else:
            del buffer[:begin]
        return messages

    def events(self, chunk: bytes) -> list[Body]:
        """`feed`, and the JSON event of every message that has one."""
        return [event for message in self.feed(chunk) if (event := json_event(message)) is not None]


def json_event(message: EventStreamMessage) -> Body | None:
    """The JSON event in a Bedrock message, or None when there is none.

    `invoke-with-response-stream` wraps the model's own event as base64; `converse-stream` names it in a header, here
    `{name: payload}`; an exception becomes `{"type": "error", ...}`, as on the other wires.
    """
    event = _object(message.payload or b"{}")
    if event is None:
        return None
    headers = message.headers
    if headers.get(":message-type") in ("exception", "error"):
        kind = headers.get(":exception-type") or headers.get(":error-code")
        return {"type": "error", "error": {"type": kind, "message": event.get("message")}}
    name = headers.get(":event-type")
    if name != "chunk":
        return {name: event} if isinstance(name, str) else None
    try:
        return _object(base64.b64decode(event["bytes"], validate=True))
    except (KeyError, TypeError, ValueError):
        return None


def _object(document: bytes) -> Body | None:
    try:
        value: object = json.loads(document)
    except ValueError:
        return None
    return value if is_object(value) else None


def _message(raw: bytes, header_length: int) -> EventStreamMessage | None:
    if zlib.crc32(raw[:-4]) != int.from_bytes(raw[-4:], "big"):
        return None
    body = _PRELUDE.size + header_length
    headers = _headers(raw[_PRELUDE.size : body])
    return None if headers is None else EventStreamMessage(headers, raw[body:-4], raw)


def _headers(raw: bytes) -> dict[str, HeaderValue] | None:
    headers: dict[str, HeaderValue] = {}
    at = 0
    try:
        while at < len(raw):
            end = at + 1 + raw[at]
            name, kind, at = raw[at + 1 : end].decode(), raw[end], end + 1
            if kind in _FIXED:
                size = _FIXED[kind]
            else:
                size = int.from_bytes(raw[at : at + 2], "big")
                at += 2
            value = raw[at : at + size]
            if len(value) != size:
                return None
            headers[name] = _value(kind, value)
            at += size
    except (IndexError, UnicodeDecodeError, KeyError):
        return None
    return headers


# Header types by number: true, false, 1 to 8 byte integers, bytes, text, milliseconds, UUID.
_FIXED = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
_BYTES, _TEXT, _UUID = 6, 7, 9


def _value(kind: int, value: bytes) -> HeaderValue:
    if kind in (0, 1):
        return kind == 0
    if kind == _TEXT:
        return value.decode()
    if kind == _BYTES:
        return value
    if kind == _UUID:
        return uuid.UUID(bytes=value)
    if kind in _FIXED:
        return int.from_bytes(value, "big", signed=True)
    raise KeyError(kind)
