"""OpenAI Responses: JSON, stream, background, and the server-side state that later requests build on."""

from collections.abc import Iterator, Mapping
from typing import Any

from actguard.testing import tokens
from actguard.testing.counts import Counts
from actguard.testing.http import Request
from actguard.testing.jsons import mapping, sequence
from actguard.testing.wires.openai_chat import OpenAIWire, service_tier
from actguard.testing.wires.wire import Answer, Asked, Event, ForcedTool, forced_tool, new_id


class Responses(OpenAIWire):
    """`POST /responses`. *remembered* tells how many tokens a stored response or conversation brings along."""

    def __init__(self, remembered: Mapping[str, int]) -> None:
        self._remembered = remembered

    def new_id(self) -> str:
        return new_id("resp_")

    def asked(self, request: Request, match: Mapping[str, str]) -> Asked:
        body = request.json
        text_format = mapping(mapping(body.get("text")).get("format"))
        return Asked(
            provider=match["provider"],
            endpoint="responses",
            model=request.model,
            input_tokens=tokens.count_input(body) + self._remembered.get(state_of(body), 0),
            cap=body.get("max_output_tokens"),
            stream=bool(body.get("stream")),
            schema=text_format.get("schema"),
            forced_tool=_forced_tool(body),
            service_tier=service_tier(body),
            body=body,
        )

    def usage(self, answer: Answer, counts: Counts) -> dict[str, Any]:
        usage: dict[str, Any] = {
            "input_tokens": counts.input_tokens,
            "input_tokens_details": {"cached_tokens": counts.all_cached},
            "output_tokens": counts.output_tokens,
            "output_tokens_details": {"reasoning_tokens": counts.reasoning},
            "total_tokens": counts.tokens,
        }
        if written := counts.cache_write + counts.cache_write_1h:
            usage["input_tokens_details"]["cache_write_tokens"] = written
        if answer.usd is not None:
            usage |= {"cost": float(answer.usd), "is_byok": False}
        return usage

    def body(self, answer: Answer) -> dict[str, Any]:
        return self.response(answer, self._final_status(answer))

    def response(self, answer: Answer, status: str) -> dict[str, Any]:
        """The response object in the given *status*; only a final one has output and usage."""
        asked = answer.asked.body
        final = status in ("completed", "incomplete", "failed", "cancelled")
        length = status == "incomplete"
        response: dict[str, Any] = {
            "id": answer.id,
            "object": "response",
            "created_at": answer.created,
            "status": status,
            "background": bool(asked.get("background")),
            "error": {"code": "server_error", "message": "scripted failure"} if status == "failed" else None,
            "incomplete_details": {"reason": answer.reply.finish or "max_output_tokens"} if length else None,
            "instructions": asked.get("instructions"),
            "max_output_tokens": asked.get("max_output_tokens"),
            "metadata": asked.get("metadata") or {},
            "model": answer.model,
            "output": self._output(answer) if final else [],
            "parallel_tool_calls": asked.get("parallel_tool_calls", True),
            "previous_response_id": asked.get("previous_response_id"),
            "reasoning": asked.get("reasoning") or {"effort": None, "summary": None},
            "service_tier": (answer.reply.service_tier or "default") if final else "auto",
            "store": asked.get("store", True),
            "temperature": asked.get("temperature", 1.0),
            "text": asked.get("text") or {"format": {"type": "text"}},
            "tool_choice": asked.get("tool_choice", "auto"),
            "tools": asked.get("tools") or [],
            "top_p": asked.get("top_p", 1.0),
            "truncation": asked.get("truncation", "disabled"),
            "usage": self.stated_usage(answer) if final else None,
            "user": asked.get("user"),
        }
        if isinstance(conversation := asked.get("conversation"), str):
            response["conversation"] = {"id": conversation}
        elif conversation:
            response["conversation"] = conversation
        if final and answer.reply.web_searches:
            response["tool_usage"] = {"web_search": {"num_requests": answer.reply.web_searches}}
        return {**response, **answer.reply.fields}

    def events(self, answer: Answer) -> Iterator[Event]:
        number = -1

        def event(type: str, count: int = 0, **fields: Any) -> Event:
            nonlocal number
            number += 1
            return Event({"type": type, **fields, "sequence_number": number}, name=type, tokens=count)

        yield event("response.created", response=self.response(answer, "in_progress"))
        yield event("response.in_progress", response=self.response(answer, "in_progress"))
        for index, item in enumerate(self._output(answer)):
            if item["type"] == "message":
                yield event("response.output_item.added", output_index=index, item={**item, "content": []})
                at = {"item_id": item["id"], "output_index": index, "content_index": 0}
                part = item["content"][0]
                yield event("response.content_part.added", **at, part={**part, "text": ""})
                for text, count in answer.groups(answer.pieces):
                    yield event("response.output_text.delta", count, **at, delta=text, logprobs=[])
                yield event("response.output_text.done", **at, text=part["text"], logprobs=[])
                yield event("response.content_part.done", **at, part=part)
            elif item["type"] == "function_call":
                yield event("response.output_item.added", output_index=index, item={**item, "arguments": ""})
                at = {"item_id": item["id"], "output_index": index}
                call = next(call for call in answer.calls if call.id == item["call_id"])
                for text, count in answer.groups(call.pieces):
                    yield event("response.function_call_arguments.delta", count, **at, delta=text)
                yield event("response.function_call_arguments.done", **at, arguments=call.arguments, name=call.name)
            else:
                yield event("response.output_item.added", output_index=index, item=item)
            yield event("response.output_item.done", output_index=index, item=item)
        status = self._final_status(answer)
        yield event(f"response.{status}", response=self.response(answer, status))

    def error_event(self, answer: Answer, message: str, type: str) -> Event:
        error = {"type": "error", "code": type, "message": message, "param": None, "sequence_number": 0}
        return Event(error, name="error")

    def _final_status(self, answer: Answer) -> str:
        cut_short = answer.finish == "length" or answer.reply.finish
        return answer.reply.failed or ("incomplete" if cut_short else "completed")

    def _output(self, answer: Answer) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = []
        tail = answer.id.removeprefix("resp_")
        if answer.counts.reasoning:
            items.append({"id": f"rs_{tail}", "type": "reasoning", "summary": []})
        for i in range(answer.reply.web_searches):
            action = {"type": "search", "query": f"query {i + 1}", "queries": [f"query {i + 1}"]}
            items.append({"id": f"ws_{tail}{i}", "type": "web_search_call", "status": "completed", "action": action})
        if answer.pieces or not answer.calls:
            content: dict[str, Any] = {"type": "output_text", "text": answer.text, "annotations": [], "logprobs": []}
            message = {"id": f"msg_{tail}", "type": "message", "status": "completed", "role": "assistant"}
            items.append({**message, "content": [content]})
        for i, call in enumerate(answer.calls):
            function_call = {"id": f"fc_{tail}{i}", "type": "function_call", "status": "completed", "call_id": call.id}
            items.append({**function_call, "name": call.name, "arguments": call.arguments})
        return items


class Compact(Responses):
    """`POST /responses/compact`."""

    def asked(self, request: Request, match: Mapping[str, str]) -> Asked:
        asked = super().asked(request, match)
        asked.endpoint, asked.stream = "responses.compact", False
        return asked

    def body(self, answer: Answer) -> dict[str, Any]:
        item = {"id": new_id("cmp_"), "type": "compaction", "encrypted_content": answer.text}
        compaction: dict[str, Any] = {"id": answer.id, "object": "response.compaction", "created_at": answer.created}
        return {**compaction, "output": [item], "usage": self.stated_usage(answer), **answer.reply.fields}


def state_of(body: Mapping[str, Any]) -> str:
    """The id of the server-side state that a request builds on; empty for none."""
    conversation: object = body.get("conversation")
    return str(body.get("previous_response_id") or mapping(conversation).get("id") or conversation or "")


def _forced_tool(body: Mapping[str, Any]) -> ForcedTool | None:
    choice = body.get("tool_choice")
    if choice != "required" and mapping(choice).get("type") != "function":
        return None
    tools = (mapping(tool) for tool in sequence(body.get("tools")))
    functions = (tool for tool in tools if tool.get("type") == "function")
    return forced_tool(functions, mapping(choice).get("name"), "parameters")
