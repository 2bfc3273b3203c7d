"""Whatever a reply says, reading it raises nothing but MalformedUsage and counts nothing below zero."""

import contextlib
import copy
import random
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actguard.budget.usage import Bill, MalformedUsage
from actguard.providers import bedrock_reply, counting
from actguard.providers.anthropic import endpoints as anthropic_endpoints
from actguard.providers.anthropic import reply as anthropic_reply
from actguard.providers.endpoint import Endpoint, Kind
from actguard.providers.google import endpoints as google_endpoints
from actguard.providers.google import reply as google_reply
from actguard.providers.openai import endpoints as openai_endpoints
from actguard.providers.openai import reply as openai_reply

ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 2000)
    | st.integers()
    | st.floats()
    | st.sampled_from(["", "0", "12", "text", "completed", "queued", "flex", "batch", "refusal", "message"])
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)

CHAT_USAGE = {
    "prompt_tokens": 100,
    "completion_tokens": 50,
    "total_tokens": 150,
    "cost": 0.01,
    "is_byok": False,
    "cost_details": {"upstream_inference_cost": 0.1},
    "prompt_cache_hit_tokens": 4,
    "prompt_tokens_details": {"cached_tokens": 40, "audio_tokens": 3, "cache_write_tokens": 5},
    "completion_tokens_details": {"reasoning_tokens": 20, "accepted_prediction_tokens": 1},
    "server_tool_use_details": {"web_search_requests": 1},
}
RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "model": "gpt-5",
    "status": "completed",
    "service_tier": "flex",
    "background": False,
    "usage": {
        "input_tokens": 100,
        "input_tokens_details": {
            "cached_tokens": 10,
            "cache_write_tokens": 9,
            "cache_write_tokens_details": {"ttl_30m_tokens": 4, "ttl_12h_tokens": 5},
        },
        "output_tokens": 50,
        "output_tokens_details": {"reasoning_tokens": 20},
        "total_tokens": 150,
    },
    "tool_usage": {"web_search": {"num_requests": 2}, "image_gen": {"input_tokens": 5, "output_tokens": 6}},
    "tools": [{"type": "image_generation", "model": "gpt-image-2"}],
    "output": [{"type": "web_search_call", "action": {"type": "search"}}, {"type": "file_search_call"}],
}
MESSAGE = {
    "id": "msg_1",
    "model": "claude-opus-5",
    "stop_reason": "end_turn",
    "usage": {
        "input_tokens": 10,
        "output_tokens": 50,
        "cache_read_input_tokens": 100,
        "cache_creation_input_tokens": 30,
        "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
        "output_tokens_details": {"thinking_tokens": 5},
        "server_tool_use": {"web_search_requests": 1},
        "service_tier": "standard",
        "inference_geo": "us",
        "speed": "fast",
        "iterations": [
            {"type": "compaction", "input_tokens": 5, "output_tokens": 6},
            {"type": "message", "model": "claude-fable-5", "input_tokens": 5, "output_tokens": 6},
            {"type": "fallback_message", "model": "claude-opus-5", "input_tokens": 5, "output_tokens": 6},
            {"type": "advisor_message", "model": "claude-opus-5", "input_tokens": 5, "output_tokens": 6},
        ],
    },
}
CONTENT = {
    "responseId": "r1",
    "modelVersion": "gemini-3-pro",
    "candidates": [
        {
            "finishReason": "STOP",
            "groundingMetadata": {"webSearchQueries": ["a"], "groundingChunks": [{"maps": {}}]},
            "content": {"parts": [{"text": "a"}, {"functionCall": {"name": "f", "args": {"x": 1}}}]},
        }
    ],
    "usageMetadata": {
        "promptTokenCount": 100,
        "cachedContentTokenCount": 40,
        "candidatesTokenCount": 20,
        "thoughtsTokenCount": 10,
        "toolUsePromptTokenCount": 5,
        "totalTokenCount": 135,
        "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 50}],
        "cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": 30}],
        "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 3}],
        "trafficType": "ON_DEMAND",
    },
}
INTERACTION = {
    "id": "v1_1",
    "status": "completed",
    "model": "gemini-3-pro",
    "service_tier": "flex",
    "usage": {
        "total_input_tokens": 10,
        "total_output_tokens": 5,
        "total_cached_tokens": 3,
        "total_tokens": 15,
        "input_tokens_by_modality": [{"modality": "image", "tokens": 3}],
        "grounding_tool_count": [{"type": "google_search", "count": 2}],
    },
    "steps": [{"type": "google_search_call", "arguments": {"queries": ["a"]}}],
}
CONVERSE = {
    "usage": {
        "inputTokens": 3,
        "outputTokens": 4,
        "totalTokens": 17,
        "cacheReadInputTokens": 4,
        "cacheWriteInputTokens": 6,
        "cacheDetails": [{"ttl": "1h", "inputTokens": 2}],
    },
    "serviceTier": {"type": "flex"},
    "amazon-bedrock-invocationMetrics": {"inputTokenCount": 1, "outputTokenCount": 2},
}


def openai(path: str, method: str = "POST") -> tuple[ModuleType, Endpoint]:
    return openai_reply, openai_endpoints.classify(method, path)


def google(path: str, method: str = "POST") -> tuple[ModuleType, Endpoint]:
    return google_reply, google_endpoints.classify(method, path)


def anthropic(path: str, method: str = "POST") -> tuple[ModuleType, Endpoint]:
    return anthropic_reply, anthropic_endpoints.classify(method, path)


CASES: dict[str, tuple[tuple[ModuleType, Endpoint], dict[str, Any]]] = {
    "chat": (openai("/chat/completions"), {"id": "chatcmpl-0123456789", "model": "m", "usage": CHAT_USAGE}),
    "groq": (openai("/chat/completions"), {"model": "m", "x_groq": {"usage": CHAT_USAGE}}),
    "responses": (openai("/responses"), RESPONSE),
    "embeddings": (openai("/embeddings"), {"model": "m", "usage": {"prompt_tokens": 5, "total_tokens": 5}}),
    "images": (openai("/images/edits"), {"usage": RESPONSE["usage"], "svg_usage": CHAT_USAGE}),
    "transcription": (openai("/audio/transcriptions"), {"usage": {"type": "duration", "seconds": 3}, "duration": 1.5}),
    "batch": (openai("/batches/b", "GET"), RESPONSE | {"request_counts": {"completed": 0}}),
    "run": (openai("/threads/t/runs"), {"object": "thread.run", "status": "completed", "usage": CHAT_USAGE}),
    "messages": (anthropic("/v1/messages"), MESSAGE),
    "message batch": (
        anthropic("/v1/messages/batches/b", "GET"),
        {"id": "b", "processing_status": "ended", "request_counts": {"succeeded": 0}},
    ),
    "results": (
        anthropic("/v1/messages/batches/b/results", "GET"),
        {"custom_id": "x", "result": {"type": "succeeded", "message": MESSAGE}},
    ),
    "content": (google("m:generateContent"), CONTENT),
    "snake case": (google("m:generateContent"), {"usage_metadata": {"prompt_token_count": 3}, "model_version": "m"}),
    "embed": (google("m:embedContent"), {"usageMetadata": CONTENT["usageMetadata"]}),
    "predict": (google("m:predict"), {"predictions": [{"embeddings": {"statistics": {"token_count": 4}}}]}),
    "cached": (google("cachedContents"), {"name": "c", "model": "m", "usageMetadata": {"totalTokenCount": 5}}),
    "operation": (
        google("batches/b", "GET"),
        {"name": "b", "done": True, "response": {"inlinedResponses": {"inlinedResponses": [{"response": CONTENT}]}}},
    ),
    "interaction": (google("/interactions"), INTERACTION),
    "converse": ((bedrock_reply, Endpoint("converse", Kind.PRICED)), CONVERSE),
    "titan": (
        (bedrock_reply, Endpoint("messages", Kind.PRICED)),
        {"inputTextTokenCount": 6, "results": [{"tokenCount": 5}]},
    ),
    "jurassic": (
        (bedrock_reply, Endpoint("messages", Kind.PRICED)),
        {"prompt": {"tokens": [1]}, "completions": [{"data": {"tokens": [1]}}]},
    ),
}


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a document that something else could stand in."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in inner:
        yield (*path, key)
        yield from places(child, (*path, key))


@st.composite
def mutated(draw: st.DrawFn, document: dict[str, Any]) -> dict[str, Any]:
    changed = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        found = list(places(changed))
        if not found:
            break
        *way, key = draw(st.sampled_from(found))
        parent: Any = changed
        for step in way:
            parent = parent[step]
        if draw(st.booleans()):
            parent[key] = draw(ANYTHING)
        elif isinstance(parent, dict):
            del parent[key]
    return changed


def check(bill: Bill | None) -> None:
    if bill is None:
        return
    assert bill.response_id is None or isinstance(bill.response_id, str)
    assert bill.reported_cost is None or (type(bill.reported_cost) is int and bill.reported_cost >= 0)
    for line in bill.lines:
        usage = line.usage
        assert isinstance(line.model, str)
        assert all(type(count) is int and count >= 0 for count in usage)
        assert usage.cache_read_tokens + usage.cache_write_tokens <= usage.input_tokens
        assert usage.output_reasoning_tokens <= usage.output_tokens
        assert list(line.context) == sorted(line.context)
        assert all(isinstance(word, str) for pair in line.context for word in pair)


@pytest.mark.parametrize("name", CASES)
@given(data=st.data())
def test_a_mutated_reply_is_read_or_malformed(name: str, data: st.DataObject) -> None:
    (reader, endpoint), document = CASES[name]
    body = data.draw(mutated(document))
    try:
        bill = reader.read(endpoint, body, "requested")
    except MalformedUsage:
        return
    check(bill)


@pytest.mark.parametrize("name", CASES)
def test_the_document_that_is_mutated_is_a_good_one(name: str) -> None:
    (reader, endpoint), document = CASES[name]
    bill = reader.read(endpoint, document, "requested")
    assert bill is not None
    check(bill)


@pytest.mark.parametrize("name", CASES)
@given(body=st.dictionaries(st.sampled_from(["usage", "usageMetadata", "id", "model", "status", "result"]), ANYTHING))
def test_any_document_is_read_or_malformed(name: str, body: dict[str, Any]) -> None:
    (reader, endpoint), _ = CASES[name]
    with contextlib.suppress(MalformedUsage):
        check(reader.read(endpoint, body, "requested"))


STREAMS: dict[str, tuple[tuple[ModuleType, Endpoint], list[dict[str, Any]]]] = {
    "chat": (
        openai("/chat/completions"),
        [
            {"id": "chatcmpl-0123456789", "model": "m", "choices": [{"index": 0, "delta": {"content": "a"}}]},
            {"choices": [{"index": 0, "delta": {"tool_calls": [{"function": {"arguments": "{}"}}]}}]},
            {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "service_tier": "flex"},
            {"choices": [], "usage": CHAT_USAGE},
        ],
    ),
    "responses": (
        openai("/responses"),
        [
            {"type": "response.created", "response": RESPONSE | {"status": "queued", "usage": None}},
            {"type": "response.output_text.delta", "delta": "a"},
            {"type": "response.completed", "response": RESPONSE},
        ],
    ),
    "images": (openai("/images/edits"), [{"type": "image_edit.completed", "usage": RESPONSE["usage"]}]),
    "runs": (
        openai("/threads/t/runs"),
        [
            {"object": "thread.message.delta", "delta": {"content": [{"text": {"value": "a"}}]}},
            {"object": "thread.run", "status": "completed", "usage": CHAT_USAGE},
        ],
    ),
    "messages": (
        anthropic("/v1/messages"),
        [
            {"type": "message_start", "message": MESSAGE},
            {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "a"}},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": MESSAGE["usage"]},
        ],
    ),
    "results": (
        anthropic("/v1/messages/batches/b/results", "GET"),
        [{"custom_id": "x", "result": {"type": "succeeded", "message": MESSAGE}}] * 2,
    ),
    "content": (google("m:streamGenerateContent"), [CONTENT, CONTENT]),
    "interaction": (
        google("/interactions"),
        [
            {"event_type": "interaction.created", "interaction": INTERACTION | {"status": "in_progress"}},
            {"event_type": "step.delta", "delta": {"type": "text", "text": "a"}, "metadata": {"total_usage": {}}},
            {"event_type": "interaction.completed", "interaction": INTERACTION},
        ],
    ),
    "converse": (
        (bedrock_reply, Endpoint("converse", Kind.PRICED)),
        [{"contentBlockDelta": {"delta": {"text": "a"}}}, {"metadata": CONVERSE}],
    ),
    "invoke": (
        (bedrock_reply, Endpoint("messages", Kind.PRICED)),
        [{"type": "message_start", "message": MESSAGE}, {"generation": "x"}, CONVERSE],
    ),
}


@pytest.mark.parametrize("name", STREAMS)
@given(data=st.data())
def test_a_mutated_stream_is_followed_without_an_error(name: str, data: st.DataObject) -> None:
    (wire, endpoint), events = STREAMS[name]
    reader = wire.StreamReader(endpoint, "requested")
    bytes_before = events_before = 0
    for event in events:
        reader.feed(data.draw(mutated(event)))
        check(reader.bill())
        assert reader.delta_bytes >= bytes_before
        assert reader.delta_events >= events_before
        assert type(reader.terminal) is type(reader.error) is bool
        assert type(reader.delta_bytes) is type(reader.delta_events) is int
        bytes_before, events_before = reader.delta_bytes, reader.delta_events


def shuffled(events: list[dict[str, Any]], seed: int) -> list[dict[str, Any]]:
    dice = random.Random(seed)
    return [dice.choice(events) for _ in range(8)]


@pytest.mark.parametrize("name", STREAMS)
@given(seed=st.integers(0, 10_000))
def test_events_in_any_order_are_followed_without_an_error(name: str, seed: int) -> None:
    (wire, endpoint), events = STREAMS[name]
    reader = wire.StreamReader(endpoint, "requested")
    for event in shuffled(events, seed):
        reader.feed(event)
        check(reader.bill())


CONTRADICTIONS: list[tuple[str, Callable[[dict[str, Any]], Any]]] = [
    ("chat", lambda body: body["usage"].update(prompt_tokens=-1)),
    ("chat", lambda body: body["usage"].update(prompt_tokens=True)),
    ("chat", lambda body: body["usage"].update(prompt_tokens="100")),
    ("chat", lambda body: body["usage"].update(completion_tokens=50.0)),
    ("chat", lambda body: body["usage"].update(total_tokens=149)),
    ("chat", lambda body: body["usage"]["prompt_tokens_details"].update(cached_tokens=101)),
    ("chat", lambda body: body["usage"]["prompt_tokens_details"].update(cache_write_tokens=61)),
    ("chat", lambda body: body["usage"]["prompt_tokens_details"].update(audio_tokens=101)),
    ("chat", lambda body: body["usage"]["completion_tokens_details"].update(reasoning_tokens=51)),
    ("chat", lambda body: body["usage"].update(prompt_tokens_details=[1])),
    ("chat", lambda body: body.update(usage=[CHAT_USAGE])),
    ("chat", lambda body: body.update(usage={"prompt_tokens": 5})),
    ("chat", lambda body: body.update(usage={"completion_tokens": 5})),
    ("chat", lambda body: body.update(usage={"total_tokens": 5})),
    ("embeddings", lambda body: body["usage"].update(total_tokens=4)),
    (
        "responses",
        lambda body: body["usage"]["input_tokens_details"]["cache_write_tokens_details"].update(ttl_12h_tokens=9),
    ),
    ("responses", lambda body: body["tool_usage"]["web_search"].update(num_requests=-1)),
    ("responses", lambda body: body["tool_usage"].update(image_gen=3)),
    ("messages", lambda body: body["usage"].update(output_tokens=None)),
    ("messages", lambda body: body["usage"].update(input_tokens=None)),
    ("messages", lambda body: body["usage"].update(cache_creation_input_tokens=29)),
    ("messages", lambda body: body["usage"]["output_tokens_details"].update(thinking_tokens=51)),
    ("content", lambda body: body["usageMetadata"].update(totalTokenCount=134)),
    ("content", lambda body: body["usageMetadata"].update(cachedContentTokenCount=106)),
    ("interaction", lambda body: body["usage"].update(total_tokens=14)),
    ("converse", lambda body: body["usage"].update(totalTokens=18)),
]


@pytest.mark.parametrize(("name", "spoil"), CONTRADICTIONS)
def test_counts_that_contradict_each_other_are_malformed(name: str, spoil: Callable[[dict[str, Any]], Any]) -> None:
    (reader, endpoint), document = CASES[name]
    body = copy.deepcopy(document)
    spoil(body)
    with pytest.raises(MalformedUsage):
        reader.read(endpoint, body, "requested")


def test_the_error_quotes_nothing_of_the_reply() -> None:
    """It is logged, and a reply may hold anything."""
    with pytest.raises(MalformedUsage) as caught:
        openai_reply.read(openai("/chat/completions")[1], {"usage": {"prompt_tokens": "secret"}}, "m")
    assert "secret" not in str(caught.value)


PARTS = {
    ("cache_read_tokens", "cache_write_tokens"): "input_tokens",
    ("cache_write_1h_tokens", "cache_write_12h_tokens"): "cache_write_tokens",
    ("input_audio_tokens", "input_image_tokens", "input_video_tokens"): "input_tokens",
    ("input_tool_tokens",): "input_tokens",
    ("cache_audio_read_tokens",): "input_audio_tokens",
    ("cache_image_read_tokens",): "input_image_tokens",
    ("cache_video_read_tokens",): "input_video_tokens",
    ("cache_audio_read_tokens", "cache_image_read_tokens", "cache_video_read_tokens"): "cache_read_tokens",
    ("output_reasoning_tokens",): "output_tokens",
    ("output_audio_tokens", "output_image_tokens", "output_video_tokens"): "output_tokens",
    ("accepted_prediction_tokens", "rejected_prediction_tokens"): "output_tokens",
}


@pytest.mark.parametrize(("parts", "whole"), PARTS.items())
def test_parts_may_add_up_to_their_whole_and_not_to_more(parts: tuple[str, ...], whole: str) -> None:
    counts = counting.no_counts()
    # Room for what the parts and the whole are themselves parts of.
    roomy = {"input_tokens": 300, "cache_read_tokens": 90, "cache_write_tokens": 90, "output_tokens": 90}
    roomy |= dict.fromkeys((f"input_{kind}_tokens" for kind in ("audio", "image", "video")), 30)
    for field, count in (roomy | dict.fromkeys(parts, 20) | {whole: 20 * len(parts)}).items():
        counts[counting.SLOT[field]] = count
    if whole == "input_tokens":
        for field in roomy.keys() - {whole, *parts} - {"output_tokens"}:
            counts[counting.SLOT[field]] = 0
    assert counting.usage_from(counts)
    counts[counting.SLOT[parts[0]]] += 1
    with pytest.raises(MalformedUsage):
        counting.usage_from(counts)
