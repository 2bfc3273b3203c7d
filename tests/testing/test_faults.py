"""What goes wrong, and what it costs."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from actguard.testing import Cut, Delivery, ErrorEvent, HttpError, LocalProvider, Lost, NotJSON, Reply, Reset

CHAT: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}]}
STREAM = {**CHAT, "stream": True}
PATH = "/v1/chat/completions"
INPUT = 8


def test_an_error_status_is_free_and_in_the_words_of_its_wire(llm_provider: LocalProvider) -> None:
    openai, anthropic = pytest.importorskip("openai"), pytest.importorskip("anthropic")
    genai = pytest.importorskip("google.genai")
    llm_provider.default = Reply(fault=HttpError(status=429, message="slow down", retry_after=7))
    with pytest.raises(openai.RateLimitError, match="slow down") as limited:
        llm_provider.openai(max_retries=0).chat.completions.create(**CHAT)
    assert limited.value.response.headers["retry-after"] == "7"
    with pytest.raises(anthropic.RateLimitError, match="slow down") as overloaded:
        llm_provider.anthropic(max_retries=0).messages.create(max_tokens=9, **CHAT)
    assert overloaded.value.body["error"]["type"] == "rate_limit_error"
    with pytest.raises(genai.errors.ClientError) as exhausted:
        llm_provider.google().models.generate_content(model="gemini-2.5-flash", contents="Hi")
    assert exhausted.value.status == "RESOURCE_EXHAUSTED"
    assert llm_provider.ledger.calls == 0


def test_an_overloaded_anthropic_is_a_529(llm_provider: LocalProvider) -> None:
    anthropic = pytest.importorskip("anthropic")
    llm_provider.reply(HttpError(status=529))
    with pytest.raises(anthropic.APIStatusError) as overloaded:
        llm_provider.anthropic(max_retries=0).messages.create(max_tokens=9, **CHAT)
    assert overloaded.value.body["error"]["type"] == "overloaded_error"


def test_an_sdk_retries_until_the_queue_has_a_reply(llm_provider: LocalProvider) -> None:
    openai = pytest.importorskip("openai")
    llm_provider.reply(HttpError(status=500, retry_after=0), HttpError(status=429, retry_after=0), "finally")
    reply = openai.OpenAI(**llm_provider.openai_kwargs()).chat.completions.create(**CHAT)
    assert reply.choices[0].message.content == "finally"
    assert (len(llm_provider.requests), llm_provider.ledger.calls) == (3, 1)


@pytest.mark.parametrize("body", [CHAT, STREAM], ids=["whole", "stream"])
def test_a_reset_before_the_reply_is_free(raw: Any, llm_provider: LocalProvider, body: dict[str, Any]) -> None:
    llm_provider.reply(Reset())
    raw.post(PATH, body)
    with pytest.raises(ConnectionResetError):
        raw.until(b"\r\n")
    llm_provider.wait_idle()
    assert llm_provider.ledger.calls == 0


@pytest.mark.parametrize("body", [CHAT, STREAM], ids=["whole", "stream"])
def test_a_lost_reply_is_billed_in_full(raw: Any, llm_provider: LocalProvider, body: dict[str, Any]) -> None:
    llm_provider.reply(Lost())
    raw.post(PATH, body)
    with pytest.raises(ConnectionResetError):
        raw.until(b"\r\n")
    assert llm_provider.ledger.tokens == INPUT + 20


def test_a_stream_cut_short_is_billed_what_it_said(raw: Any, llm_provider: LocalProvider) -> None:
    llm_provider.reply(Reply(reasoning_tokens=6, fault=Cut(after=3)))
    raw.post(PATH, STREAM)
    with pytest.raises(ConnectionResetError):
        raw.until(b"[DONE]")
    llm_provider.wait_idle()
    entry = llm_provider.ledger.last
    assert entry.aborted
    assert entry.charges[0].counts.by_kind() == {"input": INPUT, "reasoning": 6, "output": 3}
    assert entry.usage["completion_tokens"] == 9


def test_what_was_sent_before_the_cut_arrives(llm_provider: LocalProvider) -> None:
    pytest.importorskip("openai")
    llm_provider.reply(Reply(fault=Cut(after=3)))
    stream = llm_provider.openai().chat.completions.create(**STREAM)
    words = [next(stream).choices[0].delta.content for _ in range(4)]
    assert words == ["", "one ", "two ", "three "]
    with pytest.raises(Exception, match=r"."):  # each version of the SDK has a type of its own for this
        next(stream)


def test_a_clean_cut_ends_the_body_properly_without_its_last_events(raw: Any, llm_provider: LocalProvider) -> None:
    llm_provider.reply(Reply(fault=Cut(after=3, clean=True)))
    raw.post(PATH, STREAM)
    chunks = raw.chunks()
    assert len(chunks) == 1 + 3
    llm_provider.wait_idle()
    assert llm_provider.ledger.output_tokens == 3


def test_a_whole_reply_cut_short_is_billed_in_full(raw: Any, llm_provider: LocalProvider) -> None:
    llm_provider.reply(Cut(clean=True))
    raw.post(PATH, CHAT)
    with pytest.raises(EOFError) as half:
        raw.until(b"nothing ends like this")
    head, _, body = half.value.args[0].partition(b"\r\n\r\n")
    assert 0 < len(body) < int(head.partition(b"content-length: ")[2].partition(b"\r")[0])
    assert llm_provider.ledger.tokens == INPUT + 20


def test_an_error_event_ends_a_stream_and_each_sdk_raises_it(llm_provider: LocalProvider) -> None:
    openai, anthropic = pytest.importorskip("openai"), pytest.importorskip("anthropic")
    llm_provider.default = Reply(fault=ErrorEvent(after=2, message="the model fell over"))
    with pytest.raises(openai.APIError, match="fell over"):
        list(llm_provider.openai().chat.completions.create(**STREAM))
    with pytest.raises(anthropic.APIStatusError, match="fell over"):
        list(llm_provider.anthropic().messages.create(max_tokens=99, **STREAM))
    llm_provider.wait_idle()
    assert [entry.output_tokens for entry in llm_provider.ledger.entries] == [2, 2]
    assert all(entry.aborted for entry in llm_provider.ledger.entries)


def test_an_error_event_has_no_place_outside_a_stream(llm_provider: LocalProvider) -> None:
    openai = pytest.importorskip("openai")
    llm_provider.reply(ErrorEvent(message="the model fell over"))
    with pytest.raises(openai.InternalServerError, match="fell over"):
        llm_provider.openai(max_retries=0).chat.completions.create(**CHAT)
    assert llm_provider.ledger.calls == 0


@pytest.mark.parametrize("body", [CHAT, STREAM], ids=["whole", "stream"])
def test_a_body_that_is_not_json_is_billed(raw: Any, llm_provider: LocalProvider, body: dict[str, Any]) -> None:
    llm_provider.reply(NotJSON(b"<html>oops</html>"))
    raw.post(PATH, body)
    assert b"200 OK" in raw.until(b"</html>")
    assert llm_provider.ledger.tokens == INPUT + 20


def test_a_stream_that_the_client_leaves_is_billed_what_was_made(raw: Any, llm_provider: LocalProvider) -> None:
    llm_provider.reply(Reply(delivery=Delivery(pause_after=5)))
    raw.post(PATH, STREAM)
    llm_provider.paused.wait_for(1)
    raw.socket.close()
    llm_provider.wait_idle()
    assert llm_provider.ledger.aborted == 1
    assert llm_provider.ledger.last.output_tokens == 5


def test_a_paused_stream_goes_on_when_released(raw: Any, llm_provider: LocalProvider) -> None:
    llm_provider.reply(Reply(delivery=Delivery(pause_after=5)))
    raw.post(PATH, STREAM)
    llm_provider.paused.wait_for(1)
    llm_provider.paused.release(1)
    assert len(raw.chunks()) == 23
    assert not llm_provider.ledger.last.aborted


def test_a_client_that_does_not_wait_for_a_whole_reply_pays_for_it(raw: Any, llm_provider: LocalProvider) -> None:
    with llm_provider.hold() as gate:
        raw.post(PATH, CHAT)
        gate.wait_for(1)
        raw.socket.close()
        llm_provider.wait_idle()
    assert llm_provider.ledger.tokens == INPUT + 20


def test_a_bad_request_is_a_400_and_the_server_lives_on(
    connect: Callable[[], Any], llm_provider: LocalProvider
) -> None:
    bad, good = connect(), connect()
    bad.socket.sendall(b"nonsense\r\n\r\n")
    assert b"400 Bad Request" in bad.until(b"\r\n\r\n")
    good.post(PATH, CHAT)
    assert b"200 OK" in good.until(b"}")


def test_a_body_that_is_not_an_object_is_a_400(raw: Any, llm_provider: LocalProvider) -> None:
    raw.post(PATH, ["not", "an", "object"])  # type: ignore[arg-type]
    assert b"400 Bad Request" in raw.until(b"}}")
    assert llm_provider.ledger.calls == 0


def test_a_chunked_request_and_a_pipelined_one_are_read(raw: Any, llm_provider: LocalProvider) -> None:
    body = json.dumps(CHAT).encode()
    head = f"POST {PATH} HTTP/1.1\r\nhost: local\r\ntransfer-encoding: chunked\r\n\r\n".encode()
    half = len(body) // 2
    pieces = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (body[:half], body[half:], b"")]
    raw.socket.sendall((head + b"".join(pieces)) * 2)
    llm_provider.wait_idle()
    received = raw.until(b"}}}")
    while received.count(b"200 OK") < 2:
        received += raw.until(b"}}}")
    assert [request.json for request in llm_provider.requests] == [CHAT, CHAT]
