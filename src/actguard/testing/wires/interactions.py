"""Google's Interactions API: JSON, stream, background, and the interactions that later ones build on."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from actguard.testing import tokens
from actguard.testing.counts import Counts
from actguard.testing.http import Request
from actguard.testing.jsons import mapping
from actguard.testing.script import HttpError
from actguard.testing.store import Store
from actguard.testing.wires.gemini import GoogleWire, service_tier
from actguard.testing.wires.route import Desk, Match, Static
from actguard.testing.wires.wire import Answer, Asked, Call, Event, new_id

_TIME = "2026-01-01T00:00:00Z"


class Interactions(GoogleWire):
    """`POST /interactions`."""

    crlf: ClassVar[bool] = False

    def __init__(self) -> None:
        self._made = Store[Answer]()
        self._polls = Store[int]()

    def new_id(self) -> str:
        return new_id("v1_")

    def asked(self, request: Request, match: Match) -> Asked:
        body = request.json
        previous = self._made.get(str(body.get("previous_interaction_id")))
        response_format = mapping(body.get("response_format"))
        return Asked(
            provider=match["provider"],
            endpoint="interactions",
            model=request.model or str(body.get("agent", "")),
            input_tokens=tokens.count_input(body) + (previous.counts.tokens if previous else 0),
            cap=mapping(body.get("generation_config")).get("max_output_tokens"),
            stream=bool(body.get("stream")),
            schema=mapping(response_format.get("schema")) or None,
            service_tier=service_tier(body),
            body=body,
        )

    def usage(self, answer: Answer, counts: Counts) -> dict[str, Any]:
        prompt = counts.input_tokens - counts.tool_prompt
        special = {"audio": counts.audio_input + counts.cached_audio, "image": counts.image_input}
        modalities = {"text": prompt - sum(special.values()), **special}
        usage: dict[str, Any] = {
            "total_tokens": counts.tokens,
            "total_input_tokens": prompt,
            "input_tokens_by_modality": [{"modality": m, "tokens": n} for m, n in modalities.items() if n],
            "total_cached_tokens": counts.all_cached,
            "total_output_tokens": counts.output_tokens - counts.reasoning,
            "total_tool_use_tokens": counts.tool_prompt,
            "total_thought_tokens": counts.reasoning,
        }
        if counts.web_search:
            usage["grounding_tool_count"] = [{"type": "google_search", "count": counts.web_search}]
        return usage

    def body(self, answer: Answer) -> dict[str, Any]:
        return {**self._interaction(answer, self._status(answer)), "steps": self._steps(answer), **answer.reply.fields}

    def events(self, answer: Answer) -> Iterator[Event]:
        yield _event("interaction.created", interaction=self._interaction(answer, "in_progress"))
        yield _event("interaction.status_update", interaction_id=answer.id, status="in_progress")
        index = 0
        if answer.counts.reasoning:
            yield _event("step.start", index=index, step={"type": "thought"})
            yield _event("step.delta", index=index, delta={"type": "thought_signature", "signature": "c2ln"})
            yield _event("step.stop", index=index)
            index += 1
        if answer.pieces or not answer.calls:
            yield _event("step.start", index=index, step={"type": "model_output"})
            for text, count in answer.groups(answer.pieces):
                yield _event("step.delta", count, index=index, delta={"type": "text", "text": text})
            yield _event("step.stop", index=index)
            index += 1
        for call in answer.calls:
            yield _event("step.start", index=index, step={**_function_call(call), "arguments": {}})
            for text, count in answer.groups(call.pieces):
                yield _event("step.delta", count, index=index, delta={"type": "arguments_delta", "arguments": text})
            yield _event("step.stop", index=index)
            index += 1
        done = {**self._interaction(answer, self._status(answer)), **answer.reply.fields}
        yield _event("interaction.completed", interaction=done)
        if answer.reply.delivery.done:
            yield Event("[DONE]", name="done")

    def error_event(self, answer: Answer, message: str, type: str) -> Event:
        return _event("error", error={"code": type, "message": message})

    def billed(self, answer: Answer) -> None:
        if answer.asked.body.get("store") is not False:
            self._made[answer.id] = answer
            self._polls[answer.id] = answer.reply.polls if answer.asked.body.get("background") else 0

    def deferred(self, answer: Answer) -> Mapping[str, Any] | None:
        background = answer.asked.body.get("background") and not answer.asked.stream
        return self._interaction(answer, "in_progress") if background else None

    def read(self, request: Request, match: Match, desk: Desk) -> Static | HttpError:
        """`GET /interactions/{id}`."""
        made = self._made.get(match["id"])
        if made is None:
            return HttpError(status=404, message=f"no interaction {match['id']!r}")
        if request.query.get("stream") == "true":
            return Static(b"".join(map(self.frame, self.events(made))), "text/event-stream")
        if self._polls[made.id] > 0:
            self._polls[made.id] -= 1
            return Static(self._interaction(made, "in_progress"))
        return Static(self.body(made))

    def delete(self, request: Request, match: Match, desk: Desk) -> Static | HttpError:
        """`DELETE /interactions/{id}`."""
        self._made.pop(match["id"], None)
        return Static({})

    def _interaction(self, answer: Answer, status: str) -> dict[str, Any]:
        """The interaction without its steps; one in progress has no usage yet."""
        named = "agent" if "agent" in answer.asked.body else "model"
        about = {"id": answer.id, "object": "interaction", "status": status, "created": _TIME, "updated": _TIME}
        interaction = {**about, named: answer.model, "service_tier": answer.reply.service_tier or "standard"}
        usage = self.stated_usage(answer) if status != "in_progress" else None
        return {**interaction, "usage": usage} if usage is not None else interaction

    def _status(self, answer: Answer) -> str:
        if answer.reply.failed or answer.finish == "length":
            return answer.reply.failed or "incomplete"
        return "requires_action" if answer.calls else "completed"

    def _steps(self, answer: Answer) -> list[dict[str, Any]]:
        steps: list[dict[str, Any]] = [{"type": "thought", "signature": "c2ln"}] if answer.counts.reasoning else []
        if answer.pieces or not answer.calls:
            steps.append({"type": "model_output", "content": [{"type": "text", "text": answer.text}]})
        return steps + [_function_call(call) for call in answer.calls]


def _function_call(call: Call) -> dict[str, Any]:
    return {"type": "function_call", "id": call.id, "name": call.name, "arguments": call.parsed}


def _event(type: str, count: int = 0, **fields: Any) -> Event:
    return Event({**fields, "event_type": type}, name=type, tokens=count)
