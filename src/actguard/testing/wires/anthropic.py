"""Anthropic messages, as Anthropic itself, Vertex (`rawPredict`) and Bedrock (`invoke`) speak them."""

import base64
import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from actguard.testing import tokens
from actguard.testing.counts import Counts
from actguard.testing.http import Request
from actguard.testing.jsons import dumps, mapping, sequence
from actguard.testing.wires.wire import Answer, Asked, Event, ForcedTool, Wire, forced_tool, new_id

_EXCEPTION = "internalServerException"
_ERRORS = {400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error", 413: "request_too_large"}


class Messages(Wire):
    """`POST /v1/messages`."""

    shows_reasoning: ClassVar[bool] = True

    def new_id(self) -> str:
        return new_id("msg_")

    def asked(self, request: Request, match: Mapping[str, str]) -> Asked:
        body = request.json
        output_format = mapping(mapping(body.get("output_config")).get("format")) or mapping(body.get("output_format"))
        return Asked(
            provider=match["provider"],
            endpoint="messages",
            model=match.get("model") or request.model,
            input_tokens=tokens.count_input(body),
            cap=body.get("max_tokens"),
            stream=bool(body.get("stream")) or match.get("verb", "").startswith(("stream", "invoke-with")),
            schema=output_format.get("schema"),
            forced_tool=_forced_tool(body),
            speed=body.get("speed"),
            geo=body.get("inference_geo"),
            body=body,
        )

    def usage(self, answer: Answer, counts: Counts) -> dict[str, Any]:
        reply = answer.reply
        usage: dict[str, Any] = {
            **_counts(counts),
            "service_tier": reply.service_tier or "standard",
            "inference_geo": reply.geo or "not_available",
        }
        if counts.reasoning:
            usage["output_tokens_details"] = {"thinking_tokens": counts.reasoning}
        if counts.web_search:
            usage["server_tool_use"] = {"web_search_requests": counts.web_search, "web_fetch_requests": 0}
        if reply.speed:
            usage["speed"] = reply.speed
        if reply.iterations:
            steps: list[dict[str, Any]] = []
            for step in reply.iterations:
                written = Counts(
                    input=step.input_tokens - step.cached_tokens - step.cache_write_tokens,
                    cached=step.cached_tokens,
                    cache_write=step.cache_write_tokens,
                    output=step.output_tokens,
                )
                steps.append({"type": step.type, **({"model": step.model} if step.model else {}), **_counts(written)})
            usage["iterations"] = [*steps, {"type": "message", **_counts(counts)}]
        return usage

    def body(self, answer: Answer) -> Mapping[str, Any]:
        content: list[dict[str, Any]] = []
        if answer.counts.reasoning:
            content.append({"type": "thinking", "thinking": "".join(self._thinking(answer)), "signature": "c2ln"})
        if answer.pieces:
            content.append({"type": "text", "text": answer.text, "citations": None})
        content += [
            {"type": "tool_use", "id": call.id, "name": call.name, "input": call.parsed} for call in answer.calls
        ]
        usage = self.stated_usage(answer)
        return {
            **self._message(answer, content, _stop_reason(answer)),
            **({"usage": usage} if usage is not None else {}),
            **answer.reply.fields,
        }

    def events(self, answer: Answer) -> Iterator[Event]:
        usage = self.stated_usage(answer)
        message = {**self._message(answer, [], None), **answer.reply.fields}
        if usage is not None:
            message["usage"] = self._first_usage(answer, usage)
        yield _event("message_start", message=message)
        index = -1
        for block, delta_type, key, pieces in self._blocks(answer):
            index += 1
            yield _event("content_block_start", index=index, content_block=block)
            for text, count in answer.groups(pieces):
                delta = {"type": delta_type, key: text}
                yield _event("content_block_delta", count, index=index, delta=delta)
            if block["type"] == "thinking":
                yield _event("content_block_delta", index=index, delta={"type": "signature_delta", "signature": "c2ln"})
            yield _event("content_block_stop", index=index)
        final: dict[str, Any] = {"delta": {"stop_reason": _stop_reason(answer), "stop_sequence": None}}
        if usage is not None:  # cache lifetimes and the tier are only in message_start
            once = ("cache_creation", "service_tier", "inference_geo", "speed")
            final["usage"] = {key: value for key, value in usage.items() if key not in once}
        yield _event("message_delta", **final)
        yield _event("message_stop")

    def error(self, status: int, message: str) -> Mapping[str, Any]:
        kind = _ERRORS.get(status, "overloaded_error" if status == 529 else "api_error")
        kind = "rate_limit_error" if status == 429 else kind
        return {"type": "error", "error": {"type": kind, "message": message}, "request_id": None}

    def error_event(self, answer: Answer, message: str, type: str) -> Event:
        kind = "overloaded_error" if type == "server_error" else type
        return _event("error", error={"type": kind, "message": message})

    def ping(self) -> bytes:
        return b'event: ping\ndata: {"type": "ping"}\n\n'

    def _first_usage(self, answer: Answer, usage: Mapping[str, Any]) -> Mapping[str, Any]:
        if answer.reply.usage != "reported":
            return usage
        first = {key: value for key, value in usage.items() if key not in ("iterations", "output_tokens_details")}
        first["output_tokens"] = min(1, answer.counts.output_tokens)
        first.pop("server_tool_use", None)
        if answer.reply.first_input_tokens is not None:
            first["input_tokens"] = answer.reply.first_input_tokens
        return first

    def _blocks(self, answer: Answer) -> Iterator[tuple[dict[str, Any], str, str, list[str]]]:
        if answer.counts.reasoning:
            block = {"type": "thinking", "thinking": "", "signature": ""}
            yield block, "thinking_delta", "thinking", self._thinking(answer)
        if answer.pieces:
            yield {"type": "text", "text": ""}, "text_delta", "text", answer.pieces
        for call in answer.calls:
            tool: dict[str, Any] = {"type": "tool_use", "id": call.id, "name": call.name, "input": {}}
            yield tool, "input_json_delta", "partial_json", call.pieces

    def _thinking(self, answer: Answer) -> list[str]:
        return tokens.words(answer.counts.reasoning)

    def _message(self, answer: Answer, content: list[dict[str, Any]], stop_reason: str | None) -> dict[str, Any]:
        return {
            "id": answer.id,
            "type": "message",
            "role": "assistant",
            "model": answer.model,
            "content": content,
            "stop_reason": stop_reason,
            "stop_sequence": None,
        }


class BedrockMessages(Messages):
    """`POST /model/{id}/invoke` and `/invoke-with-response-stream`: the same bodies, another framing."""

    stream_type: ClassVar[str] = "application/vnd.amazon.eventstream"

    def new_id(self) -> str:
        return new_id("msg_bdrk_")

    def _message(self, answer: Answer, content: list[dict[str, Any]], stop_reason: str | None) -> dict[str, Any]:
        message = super()._message(answer, content, stop_reason)
        name = answer.model.rpartition("anthropic.")[2].partition("-v1")[0]
        return {**message, "model": answer.reply.model or name}

    def frame(self, event: Event, *, space: bool = True) -> bytes:
        data = event.data if isinstance(event.data, str) else dumps(event.data)
        if event.name == _EXCEPTION:
            return event_message({":exception-type": _EXCEPTION, ":message-type": "exception"}, data.encode())
        payload = dumps({"bytes": base64.b64encode(data.encode()).decode()}).encode()
        return event_message({":event-type": "chunk", ":content-type": "application/json"}, payload)

    def error_event(self, answer: Answer, message: str, type: str) -> Event:
        return Event({"message": message}, name=_EXCEPTION)

    def ping(self) -> bytes:
        return self.frame(Event({"type": "ping"}))

    def error(self, status: int, message: str) -> Mapping[str, Any]:
        return {"message": message}


def event_message(headers: Mapping[str, str], payload: bytes) -> bytes:
    """One message of an AWS event stream: two lengths, a checksum, headers, payload, a checksum."""
    encoded = b"".join(
        bytes((len(name),)) + name.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
        for name, value in {":message-type": "event", **headers}.items()
    )
    prelude = struct.pack(">II", 16 + len(encoded) + len(payload), len(encoded))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + encoded + payload
    return message + struct.pack(">I", zlib.crc32(message))


def _counts(counts: Counts) -> dict[str, Any]:
    """Anthropic's input figure is what was neither read from nor written to the cache."""
    cache = counts.all_cached + counts.cache_write + counts.cache_write_1h
    return {
        "input_tokens": counts.input_tokens - cache,
        "cache_creation_input_tokens": counts.cache_write + counts.cache_write_1h,
        "cache_read_input_tokens": counts.all_cached,
        "cache_creation": {
            "ephemeral_5m_input_tokens": counts.cache_write,
            "ephemeral_1h_input_tokens": counts.cache_write_1h,
        },
        "output_tokens": counts.output_tokens,
    }


def _event(type: str, count: int = 0, **fields: Any) -> Event:
    return Event({"type": type, **fields}, name=type, tokens=count)


def _stop_reason(answer: Answer) -> str:
    reasons = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
    return answer.reply.finish or reasons[answer.finish]


def _forced_tool(body: Mapping[str, Any]) -> ForcedTool | None:
    choice = mapping(body.get("tool_choice"))
    if choice.get("type") not in ("tool", "any"):
        return None
    tools = (mapping(tool) for tool in sequence(body.get("tools")))
    return forced_tool((tool for tool in tools if "input_schema" in tool), choice.get("name"), "input_schema")
