"""Server-sent events, as a tap reads them: nothing is lost, and chunks make no difference."""

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from actguard.providers.sse import LineParser, SSEEvent, SSEParser


def parsed(*chunks: bytes) -> list[SSEEvent]:
    parser = SSEParser()
    return [event for chunk in chunks for event in parser.feed(chunk)] + parser.flush()


def data(*chunks: bytes) -> list[bytes]:
    return [event.data for event in parsed(*chunks)]


def test_an_event_ends_at_a_blank_line() -> None:
    assert parsed(b"data: a\n\ndata: b\n\n") == [
        SSEEvent(None, b"a", b"data: a\n\n"),
        SSEEvent(None, b"b", b"data: b\n\n"),
    ]


def test_the_name_of_an_event_is_told() -> None:
    assert parsed(b'event: message_start\ndata: {"type":"message_start"}\n\n') == [
        SSEEvent(
            "message_start", b'{"type":"message_start"}', b'event: message_start\ndata: {"type":"message_start"}\n\n'
        )
    ]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_lines_end_with_lf_crlf_or_cr(end: bytes) -> None:
    stream = end.join([b"event: e", b"data: a", b"", b"data: b", b"", b""])
    assert [(event.event, event.data) for event in parsed(stream)] == [("e", b"a"), (None, b"b")]


def test_an_event_with_crlf_is_told_as_soon_as_it_is_complete() -> None:
    assert SSEParser().feed(b"data: a\r\n\r\n") == [SSEEvent(None, b"a", b"data: a\r\n\r\n")]


def test_a_carriage_return_at_the_end_of_a_chunk_may_be_half_a_line_end() -> None:
    parser = SSEParser()
    assert parser.feed(b"data: a\r\n\r") == []
    assert parser.feed(b"\ndata: b\n\n") == [
        SSEEvent(None, b"a", b"data: a\r\n\r\n"),
        SSEEvent(None, b"b", b"data: b\n\n"),
    ]


def test_the_space_after_the_colon_may_be_missing() -> None:
    assert data(b"data:a\n\n") == [b"a"]
    assert data(b"data:  a\n\n") == [b" a"]


def test_several_data_lines_are_one_document() -> None:
    assert data(b'data: {"a":\ndata: 1}\n\n') == [b'{"a":\n1}']


def test_comments_and_other_fields_say_nothing_but_pass() -> None:
    assert parsed(b": ping\n\nid: 7\nretry: 10\ndata: a\n\n") == [
        SSEEvent(None, b"", b": ping\n\n"),
        SSEEvent(None, b"a", b"id: 7\nretry: 10\ndata: a\n\n"),
    ]


def test_stray_blank_lines_pass() -> None:
    assert [event.raw for event in parsed(b"\n\ndata: a\n\n\n")] == [b"\n", b"\n", b"data: a\n\n", b"\n"]


def test_line_separators_of_unicode_are_no_line_ends() -> None:
    text = '{"t":"a\u2028b\u2029c\x85d"}'.encode()
    assert data(b"data: " + text + b"\n\n") == [text]


def test_the_end_mark_is_an_event_like_any_other() -> None:
    assert data(b"data: {}\n\ndata: [DONE]\n\n") == [b"{}", b"[DONE]"]


def test_what_is_left_at_the_end_of_the_stream_is_told_too() -> None:
    assert parsed(b"data: a\n\ndata: b") == [SSEEvent(None, b"a", b"data: a\n\n"), SSEEvent(None, b"b", b"data: b")]
    assert parsed(b"data: a\r\n\r") == [SSEEvent(None, b"a", b"data: a\r\n\r")]


def test_a_byte_order_mark_is_no_part_of_the_first_field() -> None:
    assert parsed(b"\xef\xbb\xbfdata: a\n\n") == [SSEEvent(None, b"a", b"\xef\xbb\xbfdata: a\n\n")]


pieces = st.sampled_from(
    [
        b"data",
        b":",
        b" ",
        b"\n",
        b"\r",
        b"\r\n",
        b"\n\n",
        b"event: e",
        b"data: {}",
        b"x",
        b"\xef\xbb\xbf",
        b"data: [DONE]\n\n",
    ]
)
streams = st.lists(pieces, max_size=30).map(b"".join)


@st.composite
def cut(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    stream = draw(streams)
    places = sorted(draw(st.sets(st.integers(0, len(stream)), max_size=8)) | {0, len(stream)})
    return stream, [stream[a:b] for a, b in pairwise(places)]


@given(cut())
@example((b"data: {}\n\n\n", [b"data: {}\n\n", b"\n"]))
@example((b"\ndata: {}\n\n", [b"\n", b"data: {}\n\n"]))
@example((b"data: {}\n\n\r\n", [b"data: {}\n\n\r", b"\n"]))
def test_chunks_make_no_difference(case: tuple[bytes, list[bytes]]) -> None:
    stream, chunks = case
    assert parsed(*chunks) == parsed(stream)


@given(cut())
def test_the_raw_events_are_the_stream(case: tuple[bytes, list[bytes]]) -> None:
    stream, chunks = case
    assert b"".join(event.raw for event in parsed(*chunks)) == stream


@given(streams)
def test_a_parser_that_was_flushed_is_as_good_as_new(stream: bytes) -> None:
    parser = SSEParser()
    parser.feed(stream)
    parser.flush()
    assert parser.feed(b"data: a\n\n") == [SSEEvent(None, b"a", b"data: a\n\n")]


def test_a_long_event_in_small_chunks_is_read_once_not_over_and_over() -> None:
    parser = SSEParser()
    for _ in range(200_000):
        parser.feed(b"data: x")
    assert len(parser.feed(b"\n\n")) == 1


@given(st.lists(st.sampled_from([b'{"a":1}', b"\n", b"\r\n", b"", b"\n\n"]), max_size=20), st.integers(1, 5))
def test_lines_of_json_are_told_one_by_one(parts: list[bytes], size: int) -> None:
    stream = b"".join(parts)
    parser = LineParser()
    lines = [line for i in range(0, len(stream), size) for line in parser.feed(stream[i : i + size])] + parser.flush()
    assert [line.strip() for line in lines] == stream.split()
