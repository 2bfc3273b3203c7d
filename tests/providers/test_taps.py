"""Taps on streams: what must be read is read, whatever stands where, and nothing else."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from actguard import BudgetExceededError, BudgetGuard
from actguard.budget.hosts import Host
from actguard.budget.usage import Bill
from actguard.providers.anthropic.sdk import WIRE as ANTHROPIC
from actguard.providers.call import Call, deferred
from actguard.providers.gate import admit, open_call
from actguard.providers.google.wire import WIRE as GOOGLE
from actguard.providers.openai.sdk import WIRE as OPENAI
from actguard.providers.taps import tap

WORDS = 400


class Response:
    def __init__(self, chunks: list[bytes], content_type: str) -> None:
        self.headers = {"content-type": content_type} if content_type else {}
        self.chunks = chunks

    def iter_bytes(self) -> Iterator[bytes]:
        yield from self.chunks

    def close(self) -> None: ...


class Reading:
    """How many events of a stream were given to the reader of its wire."""

    def __init__(self) -> None:
        self.events = 0


def read(
    guard: BudgetGuard,
    wire: Any,
    path: str,
    body: dict[str, Any],
    chunks: list[bytes],
    passed: list[bytes] | None = None,
    *,
    hidden: bytes = b"",
    content_type: str = "text/event-stream",
) -> Reading:
    """Read *chunks*, the answer to a call in *guard*, to their end, and unaltered but for what is *hidden*."""
    reading = Reading()
    passed = [] if passed is None else passed

    class Reader(wire.reader):  # type: ignore[misc]
        def feed(self, event: Any) -> None:
            reading.events += 1
            super().feed(event)

    wire = wire._replace(reader=Reader)
    endpoint = wire.classify("POST", path)
    call: Call = open_call(guard.account, wire, endpoint, Host(wire.name), (path, body, None))  # type: ignore[arg-type]
    call.hide_usage = bool(hidden)
    admit(call)
    response = Response(chunks, content_type)
    tap(call, response)
    for chunk in response.iter_bytes():
        passed.append(chunk)
    assert b"".join(passed) == b"".join(chunks).removesuffix(hidden)
    return reading


def event(**fields: Any) -> bytes:
    return b"data: " + json.dumps(fields).encode() + b"\n\n"


def chat(*, first: dict[str, Any] | None = None, rest: dict[str, Any] | None = None, words: int = WORDS) -> list[bytes]:
    """A chat stream with *first* in its first chunk alone, *rest* in all of them."""
    head = {"id": "chatcmpl-" + "a" * 29, "model": "gpt-5", **(rest or {})}
    text = [event(**head, choices=[{"index": 0, "delta": {"content": " word"}}]) for _ in range(words)]
    text[0] = event(**head, **(first or {}), choices=[{"index": 0, "delta": {"content": " word"}}])
    used = {"prompt_tokens": 9, "completion_tokens": words, "total_tokens": 9 + words}
    return [*text, event(**head, choices=[], usage=used), b"data: [DONE]\n\n"]


BODY: dict[str, Any] = {"model": "gpt-5", "stream": True, "stream_options": {"include_usage": True}, "messages": []}


def chat_read(guard: BudgetGuard, chunks: list[bytes], passed: list[bytes] | None = None) -> Reading:
    return read(guard, OPENAI, "/chat/completions", BODY, chunks, passed)


def test_a_stream_that_ends_with_all_it_bills_is_not_read_event_by_event() -> None:
    with BudgetGuard(usd_limit=1) as guard:
        reading = chat_read(guard, chat())

    assert reading.events < 5
    assert (guard.usage, guard.estimated) == ({"input_tokens": 9, "output_tokens": WORDS}, False)


def test_an_empty_chunk_says_nothing_and_breaks_nothing() -> None:
    stream = chat()
    with BudgetGuard(usd_limit=1) as guard:
        chat_read(guard, [*stream[:9], b"", *stream[9:]])

    assert (guard.usage, guard.estimated) == ({"input_tokens": 9, "output_tokens": WORDS}, False)


@pytest.mark.parametrize("split", [1, 50, 10**6])
@pytest.mark.parametrize("end", ["", "\n", "\r", "\r\r", "\r\n"])
def test_a_usage_event_that_nothing_follows_is_read_and_withheld(end: str, split: int) -> None:
    newline = "\r" if end.startswith("\r") else "\n"
    *text, used, _ = (event.replace(b"\n", newline.encode()) for event in chat(words=20))
    last = used.rstrip() + end.encode()
    stream = b"".join(text) + last
    chunks = [stream[at : at + split] for at in range(0, len(stream), split)]

    with BudgetGuard(usd_limit=1) as guard:
        read(guard, OPENAI, "/chat/completions", BODY, chunks, hidden=last)

    assert (guard.usage, guard.estimated) == ({"input_tokens": 9, "output_tokens": 20}, False)


@pytest.mark.parametrize("where", ["first", "rest"])
def test_a_service_tier_is_charged_wherever_it_stands(where: str) -> None:
    with BudgetGuard(usd_limit=1) as plain:
        chat_read(plain, chat())
    with BudgetGuard(usd_limit=1) as flex:
        chat_read(flex, chat(**{where: {"service_tier": "flex"}}))

    assert flex.usd_used == pytest.approx(plain.usd_used / 2)


def test_a_messages_stream_is_not_read_event_by_event_either() -> None:
    started = {"id": "msg_" + "a" * 20, "model": "claude-sonnet-5", "usage": {"input_tokens": 9, "output_tokens": 1}}
    delta = event(type="content_block_delta", index=0, delta={"type": "text_delta", "text": " word"})
    end = event(type="message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": WORDS})
    stream = [event(type="message_start", message=started), *[delta] * WORDS, end, event(type="message_stop")]

    with BudgetGuard(usd_limit=1) as guard:
        reading = read(guard, ANTHROPIC, "/v1/messages", {"model": "claude-sonnet-5", "max_tokens": 999}, stream)

    assert reading.events < 6
    assert (guard.usage, guard.estimated) == ({"input_tokens": 9, "output_tokens": WORDS}, False)


def test_a_stream_without_its_usage_is_read_to_be_charged_for_what_arrived() -> None:
    with BudgetGuard(usd_limit=1) as guard:
        reading = chat_read(guard, chat()[:-2])

    assert reading.events == WORDS
    assert guard.estimated
    assert guard.usage["output_tokens"] >= WORDS


def test_usage_that_cannot_be_is_not_believed_because_it_is_the_last_word() -> None:
    used = {"prompt_tokens": 9, "completion_tokens": -1, "total_tokens": 8}
    stream = [*chat()[:-2], event(id="chatcmpl-" + "a" * 29, model="gpt-5", choices=[], usage=used)]

    with BudgetGuard(usd_limit=1) as guard:
        reading = chat_read(guard, stream)

    assert reading.events > WORDS
    assert guard.estimated
    assert guard.usage["output_tokens"] >= WORDS


def test_a_limit_far_away_is_watched_by_counting_events() -> None:
    with BudgetGuard(token_limit=3 * WORDS) as guard:
        reading = chat_read(guard, chat())

    assert reading.events < 5
    assert guard.tokens_used == 9 + WORDS


def test_a_limit_that_is_passed_by_what_arrived_ends_the_stream_at_once() -> None:
    limit = WORDS // 2
    passed: list[bytes] = []
    with BudgetGuard(token_limit=limit) as guard, pytest.raises(BudgetExceededError, match="would have passed"):
        chat_read(guard, chat(), passed)

    assert len(passed) == limit


# ---- what is reported more than once --------------------------------------------------------------------------------


def test_the_usage_that_was_asked_for_replaces_what_the_last_choice_said() -> None:
    head = {"id": "chatcmpl-" + "a" * 29, "model": "gpt-5"}
    so_far, in_all = ({"prompt_tokens": 9, "completion_tokens": n, "total_tokens": 9 + n} for n in (2, 5))
    last_choice = event(**head, choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}], usage=so_far)
    end = [event(**head, choices=[], usage=in_all), b"data: [DONE]\n\n"]

    with BudgetGuard(usd_limit=1) as guard:
        chat_read(guard, [last_choice, *end])
    assert (guard.usage, guard.estimated) == ({"input_tokens": 9, "output_tokens": 5}, False)

    with BudgetGuard(usd_limit=1) as guard:  # some hosts leave it at that, whatever they were asked for
        chat_read(guard, [last_choice, end[1]])
    assert (guard.usage, guard.estimated) == ({"input_tokens": 9, "output_tokens": 2}, False)


PICTURE = event(type="image_generation.completed", usage={"input_tokens": 9, "output_tokens": 100, "total_tokens": 109})
PICTURES: dict[str, Any] = {"model": "gpt-image-1.5", "prompt": "cats", "n": 3, "stream": True}


def test_every_picture_of_a_stream_is_charged() -> None:
    with BudgetGuard(usd_limit=1) as guard:
        read(guard, OPENAI, "/images/generations", PICTURES, [PICTURE] * 3)

    assert guard.usage == {"input_tokens": 27, "output_tokens": 300, "output_image_tokens": 300}
    assert not guard.estimated


def test_the_pictures_that_arrived_are_charged_where_there_are_fewer_than_were_asked_for() -> None:
    with BudgetGuard(usd_limit=1) as guard:
        read(guard, OPENAI, "/images/generations", PICTURES, [PICTURE] * 2)

    assert guard.usage == {"input_tokens": 18, "output_tokens": 200, "output_image_tokens": 200}
    assert guard.estimated


# ---- what a server calls its answers --------------------------------------------------------------------------------


@pytest.mark.parametrize("content_type", ["Text/Event-Stream; charset=utf-8", "", "text/html"])
def test_the_answer_to_who_asked_for_a_stream_is_one_whatever_it_is_called(content_type: str) -> None:
    *text, used, _ = chat(words=20)
    with BudgetGuard(usd_limit=1) as guard:
        read(guard, OPENAI, "/chat/completions", BODY, [*text, used], hidden=used, content_type=content_type)

    assert (guard.usage, guard.estimated) == ({"input_tokens": 9, "output_tokens": 20}, False)


DOCUMENT = json.dumps({"model": "gpt-5", "usage": {"prompt_tokens": 9, "completion_tokens": 20, "total_tokens": 29}})
ASKED_FOR_NO_STREAM: dict[str, Any] = {"model": "gpt-5", "messages": []}


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        *(
            (ASKED_FOR_NO_STREAM, called)
            for called in ("Application/JSON", "", "text/plain; charset=utf-8", "text/html")
        ),
        (BODY, "application/json"),  # a server that does not stream
    ],
)
def test_a_json_document_is_read_whatever_it_is_called(body: dict[str, Any], content_type: str) -> None:
    chunks = [DOCUMENT[:30].encode(), DOCUMENT[30:].encode()]
    with BudgetGuard(usd_limit=1) as guard:
        read(guard, OPENAI, "/chat/completions", body, chunks, content_type=content_type)

    assert (guard.usage, guard.estimated) == ({"input_tokens": 9, "output_tokens": 20}, False)


# ---- in the background ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wire", "begun"),
    [
        (OPENAI, {"type": "response.created", "response": {"id": "made-1", "status": "queued", "background": True}}),
        (GOOGLE, {"event_type": "interaction.created", "interaction": {"id": "made-1", "status": "in_progress"}}),
    ],
)
def test_what_goes_on_in_the_background_can_be_asked_for_while_its_stream_is_open(wire: Any, begun: Any) -> None:
    path, model = ("/responses", "gpt-5") if wire is OPENAI else ("/interactions", "gemini-2.5-flash")
    body = {"model": model, "input": "hi", "background": True, "stream": True}
    with BudgetGuard(usd_limit=1) as guard:
        host = Host(wire.name)
        call = open_call(guard.account, wire, wire.classify("POST", path), host, (path, body, None))  # type: ignore[arg-type]
        admit(call)
        response = Response([event(**begun)[:20], event(**begun)[20:], event(type="never read")], "text/event-stream")
        tap(call, response)
        stream = response.iter_bytes()
        assert next(stream) == event(**begun)
        assert deferred["made-1"] is call
        call.settle(Bill("made-1", ()))

    assert "made-1" not in deferred
