"""OpenAI chat completions and legacy completions, as OpenAI, Azure and OpenRouter speak them."""

from collections.abc import Iterator, Mapping
from typing import Any

from actguard.testing import tokens
from actguard.testing.counts import Counts
from actguard.testing.http import Request
from actguard.testing.jsons import mapping, sequence
from actguard.testing.wires.wire import Answer, Asked, Event, ForcedTool, Wire, forced_tool, new_id

_SAFE = {"hate": {"filtered": False, "severity": "safe"}, "violence": {"filtered": False, "severity": "safe"}}


class OpenAIWire(Wire):
    """What all of OpenAI's APIs share."""

    def error(self, status: int, message: str) -> Mapping[str, Any]:
        kind = {401: "authentication_error", 429: "rate_limit_error"}.get(status, "invalid_request_error")
        kind = "server_error" if status >= 500 else kind
        return {"error": {"message": message, "type": kind, "param": None, "code": None}}

    def error_event(self, answer: Answer, message: str, type: str) -> Event:
        return Event({"error": {"message": message, "type": type, "param": None, "code": None}})


class Chat(OpenAIWire):
    """`POST /chat/completions`."""

    def new_id(self) -> str:
        return new_id("chatcmpl-")

    def asked(self, request: Request, match: Mapping[str, str]) -> Asked:
        body = request.json
        response_format = mapping(body.get("response_format"))
        return Asked(
            provider=match["provider"],
            endpoint="chat.completions",
            model=match.get("deployment") or request.model,
            input_tokens=tokens.count_input(body),
            cap=body.get("max_completion_tokens") or body.get("max_tokens"),
            choices=body.get("n") or 1,
            stream=bool(body.get("stream")),
            schema=mapping(response_format.get("json_schema")).get("schema"),
            forced_tool=_forced_tool(body),
            service_tier=service_tier(body),
            body=body,
        )

    def usage(self, answer: Answer, counts: Counts) -> dict[str, Any]:
        usage: dict[str, Any] = {
            "prompt_tokens": counts.input_tokens,
            "completion_tokens": counts.output_tokens,
            "total_tokens": counts.tokens,
            "prompt_tokens_details": {
                "cached_tokens": counts.all_cached,
                "audio_tokens": counts.audio_input + counts.cached_audio,
            },
            "completion_tokens_details": {
                "reasoning_tokens": counts.reasoning,
                "audio_tokens": counts.audio_output,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        }
        if counts.image_input:
            usage["prompt_tokens_details"]["image_tokens"] = counts.image_input
        if written := counts.cache_write + counts.cache_write_1h:
            usage["prompt_tokens_details"]["cache_write_tokens"] = written
        if answer.usd is not None:
            usage |= {"cost": float(answer.usd), "is_byok": False}
        return usage

    def body(self, answer: Answer) -> Mapping[str, Any]:
        message: dict[str, Any] = {
            "role": "assistant",
            "content": answer.text if answer.pieces or not answer.calls else None,
            "refusal": None,
            "annotations": [],
        }
        if answer.calls:
            message["tool_calls"] = [_tool_call(answer, i) for i in range(len(answer.calls))]
        choice = {"message": message, "logprobs": None, "finish_reason": _finish(answer)}
        usage = self.stated_usage(answer)
        return {
            **self._envelope(answer, "chat.completion"),
            "choices": [{"index": i, **choice} for i in range(answer.asked.choices)],
            **({"usage": usage} if usage is not None else {}),
            **answer.reply.fields,
        }

    def events(self, answer: Answer) -> Iterator[Event]:
        where = answer.reply.delivery.usage_chunk
        usage = self.stated_usage(answer) if self._wants_usage(answer) else None
        envelope = {**self._envelope(answer, "chat.completion.chunk"), **answer.reply.fields}
        if usage is not None:
            envelope["usage"] = usage if where == "every_chunk" else None
        azure = answer.asked.provider == "azure"

        def chunk(index: int, delta: dict[str, Any], count: int = 0, finish: str | None = None) -> Event:
            choice: dict[str, Any] = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
            if azure:
                choice["content_filter_results"] = _SAFE if "content" in delta else {}
            return Event({**envelope, "choices": [choice]}, tokens=count)

        if azure:  # what its content filter found in the prompt comes first, in a chunk without a model
            found = [{"prompt_index": 0, "content_filter_results": _SAFE}]
            yield Event(
                {"choices": [], "created": 0, "id": "", "model": "", "object": "", "prompt_filter_results": found}
            )
        for index in range(answer.asked.choices):
            yield chunk(index, {"role": "assistant", "content": "" if answer.pieces else None, "refusal": None})
        for text, count in answer.groups(answer.pieces):
            for index in range(answer.asked.choices):
                yield chunk(index, {"content": text}, count)
        for position, call in enumerate(answer.calls):
            function: dict[str, Any] = {"name": call.name, "arguments": ""}
            for index in range(answer.asked.choices):
                begun = {"index": position, "id": call.id, "type": "function", "function": function}
                yield chunk(index, {"tool_calls": [begun]})
            for text, count in answer.groups(call.pieces):
                for index in range(answer.asked.choices):
                    yield chunk(index, {"tool_calls": [{"index": position, "function": {"arguments": text}}]}, count)
        for index in range(answer.asked.choices):
            final = chunk(index, {}, finish=_finish(answer))
            if usage is not None and where == "with_choices" and index == answer.asked.choices - 1:
                final = Event({**final.data, "usage": usage})  # type: ignore[dict-item]
            yield final
        if usage is not None and where == "separate":
            yield Event({**envelope, "choices": [], "usage": usage})
        if answer.reply.delivery.done:
            yield Event("[DONE]")

    def ping(self) -> bytes:
        return b": OPENROUTER PROCESSING\n\n"

    def _wants_usage(self, answer: Answer) -> bool:
        asked = mapping(answer.asked.body.get("stream_options")).get("include_usage")
        return bool(asked) or answer.asked.provider == "openrouter"

    def _envelope(self, answer: Answer, kind: str) -> dict[str, Any]:
        return {
            "id": answer.id,
            "object": kind,
            "created": answer.created,
            "model": answer.model,
            "service_tier": answer.reply.service_tier or "default",
            "system_fingerprint": "fp_local",
        }


_DEFAULT_CAP = 16  # of the legacy API, in its own reference


class Completions(Chat):
    """`POST /completions`, the legacy API: one text per prompt and choice."""

    def new_id(self) -> str:
        return new_id("cmpl-")

    def asked(self, request: Request, match: Mapping[str, str]) -> Asked:
        asked = super().asked(request, match)
        prompts = sequence(request.json.get("prompt"))
        many = len(prompts) if prompts and not isinstance(prompts[0], int) else 1
        asked.endpoint = "completions"
        asked.choices *= many
        cap = request.json.get("max_tokens")
        asked.cap = _DEFAULT_CAP if cap is None else cap
        asked.schema = asked.forced_tool = None
        return asked

    def body(self, answer: Answer) -> Mapping[str, Any]:
        usage = self.stated_usage(answer)
        choice = {"text": answer.text, "logprobs": None, "finish_reason": _finish(answer)}
        return {
            **self._envelope(answer, "text_completion"),
            "choices": [{"index": i, **choice} for i in range(answer.asked.choices)],
            **({"usage": usage} if usage is not None else {}),
            **answer.reply.fields,
        }

    def events(self, answer: Answer) -> Iterator[Event]:
        usage = self.stated_usage(answer) if self._wants_usage(answer) else None
        envelope = {**self._envelope(answer, "text_completion"), **answer.reply.fields}
        if usage is not None:
            envelope["usage"] = None
        for text, count in answer.groups(answer.pieces):
            for index in range(answer.asked.choices):
                choice = {"index": index, "text": text, "logprobs": None, "finish_reason": None}
                yield Event({**envelope, "choices": [choice]}, tokens=count)
        for index in range(answer.asked.choices):
            choice = {"index": index, "text": "", "logprobs": None, "finish_reason": _finish(answer)}
            yield Event({**envelope, "choices": [choice]})
        if usage is not None:
            yield Event({**envelope, "choices": [], "usage": usage})
        if answer.reply.delivery.done:
            yield Event("[DONE]")


def service_tier(body: Mapping[str, Any]) -> str | None:
    """The tier that a request asks for by name; what it calls fast is reported as priority."""
    tier: object = body.get("service_tier")
    return {"flex": "flex", "priority": "priority", "fast": "priority"}.get(str(tier))


def _finish(answer: Answer) -> str:
    return answer.reply.finish or answer.finish


def _tool_call(answer: Answer, index: int) -> dict[str, Any]:
    call = answer.calls[index]
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _forced_tool(body: Mapping[str, Any]) -> ForcedTool | None:
    choice = body.get("tool_choice")
    if choice != "required" and not mapping(choice):
        return None
    functions = (mapping(mapping(tool).get("function")) for tool in sequence(body.get("tools")))
    return forced_tool(functions, mapping(mapping(choice).get("function")).get("name"), "parameters")
