"""How a reply travels: pieces, pauses, compression, line endings."""

import json
from dataclasses import replace
from typing import Any

import pytest

from actguard.testing import Delivery, LocalProvider, Reply

CHAT: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}]}
STREAM = {**CHAT, "stream": True}
PATH = "/v1/chat/completions"


def test_each_event_is_a_chunk_of_its_own(raw: Any, llm_provider: LocalProvider) -> None:
    raw.post(PATH, STREAM)
    chunks = raw.chunks()
    assert len(chunks) == 1 + 20 + 1 + 1  # role, tokens, finish, [DONE]
    assert chunks[-1] == b"data: [DONE]\n\n"


def test_events_can_share_a_chunk_and_tokens_an_event(raw: Any, llm_provider: LocalProvider) -> None:
    llm_provider.reply(Reply(delivery=Delivery(events_per_chunk=10)), Reply(delivery=Delivery(tokens_per_event=7)))
    raw.post(PATH, STREAM)
    assert [chunk.count(b"data:") for chunk in raw.chunks()] == [10, 10, 3]
    raw.post(PATH, STREAM)
    assert len(raw.chunks()) == 1 + 3 + 1 + 1


@pytest.mark.parametrize("size", [1, 7])
def test_chunks_can_be_of_any_size_and_cut_through_anything(raw: Any, llm_provider: LocalProvider, size: int) -> None:
    llm_provider.reply(
        Reply("päng \u2028 日本", output_tokens=3, delivery=Delivery(chunk_bytes=size)),
        Reply("päng \u2028 日本", output_tokens=3, delivery=Delivery(chunk_bytes=size)),
    )
    raw.post(PATH, STREAM)
    chunks = raw.chunks()
    assert {len(chunk) for chunk in chunks} >= {size}
    assert max(map(len, chunks)) == size
    assert "\u2028".encode() in b"".join(chunks)
    raw.post(PATH, CHAT)
    assert json.loads(b"".join(raw.chunks()))["choices"][0]["message"]["content"] == "päng \u2028 日本"


def test_lines_may_end_in_crlf_and_lack_the_space(raw: Any, llm_provider: LocalProvider) -> None:
    llm_provider.reply(Reply(delivery=Delivery(crlf=True, space=False)))
    raw.post(PATH, STREAM)
    body = b"".join(raw.chunks())
    assert body.startswith(b"data:{")
    assert body.endswith(b"data:[DONE]\r\n\r\n")


def test_the_done_line_can_be_absent(raw: Any, llm_provider: LocalProvider) -> None:
    llm_provider.reply(Reply(delivery=Delivery(done=False)))
    raw.post(PATH, STREAM)
    assert b"[DONE]" not in b"".join(raw.chunks())


SHAPES = {
    "bytes": Delivery(chunk_bytes=1),
    "crlf": Delivery(crlf=True),
    "no space": Delivery(space=False),
    "pings": Delivery(ping_every=2),
    "gzip": Delivery(gzip=True),
    "gzip bytes": Delivery(gzip=True, chunk_bytes=1),
    "one chunk": Delivery(events_per_chunk=1000),
    "no done": Delivery(done=False),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_sdk_reads_every_shape(llm_provider: LocalProvider, shape: str) -> None:
    llm_provider.default = Reply("Grüße, Welt! \u2028 end", delivery=SHAPES[shape])
    whole = llm_provider.default.text
    if openai := _maybe("openai"):
        client = openai.OpenAI(**llm_provider.openai_kwargs())
        assert client.chat.completions.create(**CHAT).choices[0].message.content == whole
        stream = client.chat.completions.create(**STREAM)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == whole
        *_, last = client.responses.create(model="gpt-5", input="Hi", stream=True)
        assert last.response.output_text == whole
    if anthropic := _maybe("anthropic"):
        client = anthropic.Anthropic(**llm_provider.anthropic_kwargs())
        with client.messages.stream(
            model="claude-opus-5", max_tokens=99, messages=[{"role": "user", "content": "Hi"}]
        ) as messages:
            assert messages.get_final_text() == whole
    if _maybe("google.genai") and shape != "no space":  # google-genai insists on it
        llm_provider.default = replace(llm_provider.default, text="Grüße, Welt!")  # its older ones break at U+2028
        client = llm_provider.google()
        stream = client.models.generate_content_stream(model="gemini-2.5-flash", contents="Hi")
        assert "".join(chunk.text for chunk in stream) == "Grüße, Welt!"


@pytest.mark.parametrize("where", ["with_choices", "every_chunk"])
def test_usage_can_be_in_a_chunk_with_choices(llm_provider: LocalProvider, where: Any) -> None:
    openai = pytest.importorskip("openai")
    llm_provider.reply(Reply(delivery=Delivery(usage_chunk=where)))
    client = openai.OpenAI(**llm_provider.openai_kwargs())
    *others, last = client.chat.completions.create(**STREAM, stream_options={"include_usage": True})
    assert last.choices[0].finish_reason == "stop"
    assert last.usage.completion_tokens == 20
    assert all((chunk.usage is not None) == (where == "every_chunk") for chunk in others)


def test_latency_is_waited_out_before_the_first_byte_and_between_events(raw: Any, llm_provider: LocalProvider) -> None:
    slow = Delivery(first_byte=0.02, between_events=0.001)
    llm_provider.reply(Reply(delivery=slow), Reply(delivery=replace(slow, first_byte=0.0)))
    raw.post(PATH, STREAM)
    assert len(raw.chunks()) == 23
    raw.post(PATH, CHAT)
    assert b"200 OK" in raw.until(b"}")


def _maybe(name: str) -> Any:
    try:
        return __import__(name, fromlist=["_"])
    except ImportError:
        return None
