"""The SDKs with something below them replaced, so that nothing but Python runs.

openai_client, ...    the real SDK, over an HTTP layer that answers at once
without_sdk           the methods that are watched do nothing themselves: what is left is our own code
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import anthropic
import google.genai
import httpx2
import openai
from google.genai import _api_client as google_base
from google.genai.types import HttpOptions, HttpResponse
from openai import _base_client as openai_base

from actguard import install, uninstall

_T = TypeVar("_T")

CHUNKS = 500
MESSAGES: Any = [{"role": "user", "content": "Hello! This is a message of about the usual length for a test."}]
CONTENTS: Any = MESSAGES[0]["content"]


# ---- replies, as the providers send them ----------------------------------------------------------------------------


def chat_reply(number: int) -> bytes:
    reply = {
        "id": f"chatcmpl-{number:029d}",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "gpt-4o-2024-08-06",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello! How can I help you today?", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 9,
            "completion_tokens": 12,
            "total_tokens": 21,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": 0,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        },
        "service_tier": "default",
        "system_fingerprint": "fp_44709d6fcb",
    }
    return _json(reply)


def chat_stream(number: int, chunks: int = CHUNKS) -> Iterator[bytes]:
    head = {
        "id": f"chatcmpl-{number:029d}",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": "gpt-4o-2024-08-06",
        "service_tier": "default",
        "system_fingerprint": "fp_44709d6fcb",
    }

    def event(**rest: Any) -> bytes:
        return b"data: " + _json({**head, **rest}) + b"\n\n"

    delta = event(
        choices=[{"index": 0, "delta": {"content": " word"}, "logprobs": None, "finish_reason": None}], usage=None
    )
    for _ in range(chunks):
        yield delta
    yield event(choices=[{"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}], usage=None)
    used = {"prompt_tokens": 9, "completion_tokens": chunks, "total_tokens": chunks + 9}
    yield event(choices=[], usage=used)
    yield b"data: [DONE]\n\n"


def message_reply(number: int) -> bytes:
    reply = {
        "id": f"msg_{number:024d}",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-5",
        "content": [{"type": "text", "text": "Hello! How can I help you today?"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 9,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
            "output_tokens": 12,
            "service_tier": "standard",
        },
    }
    return _json(reply)


def content_reply(number: int, written: int = 12, *, last: bool = True) -> bytes:
    candidate = {"content": {"parts": [{"text": "Hello! How can I help you?"}], "role": "model"}, "index": 0}
    if last:
        candidate["finishReason"] = "STOP"
    reply = {
        "candidates": [candidate],
        "usageMetadata": {
            "promptTokenCount": 9,
            "candidatesTokenCount": written,
            "totalTokenCount": 9 + written,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 9}],
        },
        "modelVersion": "gemini-2.5-flash",
        "responseId": f"{number:024d}",
    }
    return _json(reply)


def content_stream(number: int, chunks: int = CHUNKS) -> Iterator[bytes]:
    for written in range(1, chunks + 2):
        yield content_reply(number, written, last=written > chunks)


def _json(reply: Any) -> bytes:
    return json.dumps(reply, separators=(",", ":")).encode()


# ---- the SDKs over a replaced HTTP layer ----------------------------------------------------------------------------


class Chunks(httpx2.SyncByteStream):
    def __init__(self, chunks: list[bytes]) -> None:
        self._chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._chunks)


def _answering(reply: Callable[[int], bytes], stream: Callable[..., Iterator[bytes]] | None = None) -> httpx2.Client:
    """An HTTP client that sends nothing. What is asked for as a stream has as many chunks as its `seed` says."""
    number = 0

    def answer(request: httpx2.Request) -> httpx2.Response:
        nonlocal number
        number += 1
        if stream is not None and b'"stream":true' in request.content:
            chunks = list(stream(number, json.loads(request.content)["seed"]))
            return httpx2.Response(200, headers={"content-type": "text/event-stream"}, stream=Chunks(chunks))
        if stream is not None and "streamGenerateContent" in str(request.url):
            chunks = [b"data: " + chunk + b"\r\n\r\n" for chunk in stream(number, _seed(request))]
            return httpx2.Response(200, headers={"content-type": "text/event-stream"}, stream=Chunks(chunks))
        return httpx2.Response(200, headers={"content-type": "application/json"}, content=reply(number))

    return httpx2.Client(transport=httpx2.MockTransport(answer))


def _seed(request: httpx2.Request) -> int:
    return int(json.loads(request.content)["generationConfig"]["seed"])


def openai_client() -> openai.OpenAI:
    return openai.OpenAI(api_key="none", http_client=_answering(chat_reply, chat_stream))


def anthropic_client() -> anthropic.Anthropic:
    return anthropic.Anthropic(api_key="none", http_client=_answering(message_reply))


def google_client() -> google.genai.Client:
    options = HttpOptions(httpx_client=_answering(content_reply, content_stream))
    return google.genai.Client(api_key="none", http_options=options)


# ---- no SDK at all --------------------------------------------------------------------------------------------------


class _Request:
    def __init__(self) -> None:
        self.extensions: dict[str, Any] = {}
        self._content = b"{}"


class _Response:
    status_code = 200

    def __init__(self, request: _Request, body: bytes | None, chunks: list[bytes] | None = None) -> None:
        self.request = request
        self._content = body
        self._chunks = chunks
        self.headers = {"content-type": "text/event-stream"}

    def json(self) -> Any:
        return json.loads(self._content or b"null")

    def iter_bytes(self) -> Iterator[bytes]:
        yield from self._chunks or ()

    def close(self) -> None: ...


@contextmanager
def without_sdk() -> Iterator[None]:
    """Inside, what the SDKs do between our wrappers takes a microsecond, and our own code stays in the caches."""
    replies = [_numbered(kind) for kind in (chat_reply, message_reply)]
    contents = _numbered(lambda number: HttpResponse(headers={}, body=content_reply(number).decode()))
    streams = {count: list(chat_stream(0, count)) for count in (0, CHUNKS)}
    pieces = {
        count: [HttpResponse(headers={}, body=chunk.decode()) for chunk in content_stream(0, count)]
        for count in (0, CHUNKS)
    }

    def replaced(base: Any, reply: Callable[[], bytes]) -> list[tuple[Any, str, Any]]:
        def request(client: Any, cast_to: Any, options: Any, *, stream: bool = False, stream_cls: Any = None) -> Any:
            request = client._build_request(options, retries_taken=0)
            chunks = streams[options.json_data["seed"]] if stream else None
            return client._process_response(
                cast_to=cast_to,
                options=options,
                response=_Response(request, None if stream else reply(), chunks),
                stream=stream,
                stream_cls=stream_cls,
                retries_taken=0,
            )

        def _build_request(client: Any, options: Any, *, retries_taken: int = 0) -> Any:
            return _Request()

        def _process_response(
            client: Any,
            *,
            cast_to: Any,
            options: Any,
            response: Any,
            stream: Any,
            stream_cls: Any,
            retries_taken: int = 0,
        ) -> Any:
            if response._content is not None:
                response.json()  # what the SDKs do with a reply that is no stream
            return response

        return [
            (base.SyncAPIClient, "request", request),
            (base.BaseClient, "_build_request", _build_request),
            (base.SyncAPIClient, "_process_response", _process_response),
        ]

    def google_request(client: Any, method: str, path: str, body: Any, options: Any = None) -> Any:
        return contents()

    def google_streamed(client: Any, method: str, path: str, body: Any, options: Any = None) -> Any:
        yield from pieces[body["generationConfig"]["seed"]]

    places = [
        *replaced(openai_base, replies[0]),
        *replaced(anthropic._base_client, replies[1]),
        (google_base.BaseApiClient, "request", google_request),
        (google_base.BaseApiClient, "request_streamed", google_streamed),
    ]
    uninstall()
    originals = [(owner, name, getattr(owner, name)) for owner, name, _ in places]
    for owner, name, replacement in places:
        setattr(owner, name, replacement)
    try:
        install()
        yield
    finally:
        uninstall()
        for owner, name, original in originals:
            setattr(owner, name, original)


def _numbered(make: Callable[[int], _T], many: int = 2_500) -> Callable[[], _T]:
    """A reply with an id of its own each time; made beforehand. The same ones come again when the ids are forgotten."""
    replies = [make(number) for number in range(many)]
    number = -1

    def reply() -> _T:
        nonlocal number
        number = (number + 1) % many
        return replies[number]

    return reply
