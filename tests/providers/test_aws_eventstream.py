"""AWS binary event streams, as a tap reads them."""

import base64
import json
import struct
import uuid
import zlib
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actguard.providers.aws_eventstream import EventStreamParser, json_event


def header(name: str, kind: int, value: bytes) -> bytes:
    return bytes([len(name)]) + name.encode() + bytes([kind]) + value


def text_header(name: str, value: str) -> bytes:
    return header(name, 7, struct.pack(">H", len(value)) + value.encode())


def message(headers: bytes, payload: bytes) -> bytes:
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    prelude += struct.pack(">I", zlib.crc32(prelude))
    whole = prelude + headers + payload
    return whole + struct.pack(">I", zlib.crc32(whole))


def event(name: str, payload: Any, kind: str = "event") -> bytes:
    key = ":event-type" if kind == "event" else ":exception-type"
    return message(text_header(":message-type", kind) + text_header(key, name), json.dumps(payload).encode())


def chunk(inner: Any) -> bytes:
    return event("chunk", {"bytes": base64.b64encode(json.dumps(inner).encode()).decode(), "p": "abc"})


def test_a_message_has_headers_and_a_payload() -> None:
    raw = message(text_header(":event-type", "chunk"), b"{}")
    (found,) = EventStreamParser().feed(raw)
    assert (found.headers, found.payload, found.raw) == ({":event-type": "chunk"}, b"{}", raw)


def test_headers_of_every_type_are_read() -> None:
    unique = uuid.uuid4()
    headers = b"".join(
        [
            header("true", 0, b""),
            header("false", 1, b""),
            header("byte", 2, struct.pack(">b", -1)),
            header("short", 3, struct.pack(">h", -2)),
            header("integer", 4, struct.pack(">i", -3)),
            header("long", 5, struct.pack(">q", -4)),
            header("bytes", 6, struct.pack(">H", 2) + b"ab"),
            header("text", 7, struct.pack(">H", 2) + "é".encode()),
            header("time", 8, struct.pack(">q", 5)),
            header("uuid", 9, unique.bytes),
        ]
    )
    (found,) = EventStreamParser().feed(message(headers, b""))
    assert found.headers == {
        "true": True,
        "false": False,
        "byte": -1,
        "short": -2,
        "integer": -3,
        "long": -4,
        "bytes": b"ab",
        "text": "é",
        "time": 5,
        "uuid": unique,
    }


def test_the_event_of_a_model_is_unwrapped() -> None:
    assert EventStreamParser().events(chunk({"type": "message_stop"})) == [{"type": "message_stop"}]


def test_an_event_of_converse_is_told_by_its_name() -> None:
    assert EventStreamParser().events(event("metadata", {"usage": {"inputTokens": 1}})) == [
        {"metadata": {"usage": {"inputTokens": 1}}}
    ]


def test_an_exception_in_the_stream_is_an_error_event() -> None:
    (found,) = EventStreamParser().events(event("throttlingException", {"message": "slow down"}, kind="exception"))
    assert found == {"type": "error", "error": {"type": "throttlingException", "message": "slow down"}}


@pytest.mark.parametrize(
    "payload", [b"not json", b"[]", b'{"bytes": "%%%"}', b'{"bytes": 1}', b"{}", b'{"bytes": "W10="}']
)
def test_a_chunk_without_an_event_tells_none(payload: bytes) -> None:
    (found,) = EventStreamParser().feed(message(text_header(":event-type", "chunk"), payload))
    assert json_event(found) is None


def test_an_empty_payload_is_an_empty_event() -> None:
    assert EventStreamParser().events(message(text_header(":event-type", "messageStop"), b"")) == [{"messageStop": {}}]


STREAM = chunk({"type": "message_start"}) + event("x", {}) + chunk({"type": "message_stop"})


@given(st.sets(st.integers(0, len(STREAM)), max_size=8))
def test_chunks_make_no_difference(places: set[int]) -> None:
    parser = EventStreamParser()
    cuts = sorted(places | {0, len(STREAM)})
    found = [one for a, b in pairwise(cuts) for one in parser.feed(STREAM[a:b])]
    assert found == EventStreamParser().feed(STREAM)
    assert b"".join(one.raw for one in found) == STREAM


def test_byte_by_byte_is_a_way_of_chunks_too() -> None:
    parser = EventStreamParser()
    assert [one.raw for byte in STREAM for one in parser.feed(bytes([byte]))] == [
        one.raw for one in EventStreamParser().feed(STREAM)
    ]


@given(st.integers(0, len(STREAM) - 1), st.integers(1, 255))
def test_a_bent_bit_breaks_the_stream_and_nothing_else(place: int, change: int) -> None:
    bent = bytearray(STREAM)
    bent[place] ^= change
    parser = EventStreamParser()
    found = parser.feed(bytes(bent))
    assert parser.broken
    assert [one.raw for one in found] == [one.raw for one in EventStreamParser().feed(STREAM)][: len(found)]
    assert parser.feed(STREAM) == []


@given(st.binary(max_size=200))
def test_any_bytes_are_read_without_an_error(noise: bytes) -> None:
    parser = EventStreamParser()
    parser.events(noise)
    parser.events(STREAM)


@given(st.binary(max_size=60), st.binary(max_size=20))
def test_headers_that_are_none_break_the_stream_or_are_read(headers: bytes, payload: bytes) -> None:
    parser = EventStreamParser()
    assert len(parser.events(message(headers, payload))) <= 1
