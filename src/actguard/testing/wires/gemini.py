"""Gemini's `generateContent` and `streamGenerateContent`, on the Gemini API and on Vertex."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from actguard.testing import tokens
from actguard.testing.counts import Counts
from actguard.testing.http import Request
from actguard.testing.jsons import mapping, sequence
from actguard.testing.wires.wire import Answer, Asked, Call, Event, ForcedTool, Wire, forced_tool, new_id

_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_TRAFFIC = {"flex": "ON_DEMAND_FLEX", "priority": "ON_DEMAND_PRIORITY"}


class GoogleWire(Wire):
    """What all of Google's APIs share."""

    crlf: ClassVar[bool] = True

    def ping(self) -> bytes:
        return b""  # Google sends none, and its SDK would not read one

    def error(self, status: int, message: str) -> Mapping[str, Any]:
        return {"error": {"code": status, "message": message, "status": _STATUS.get(status, "UNKNOWN")}}


class GenerateContent(GoogleWire):
    """`POST models/{model}:generateContent` and `:streamGenerateContent?alt=sse`."""

    def new_id(self) -> str:
        return new_id("g")

    def asked(self, request: Request, match: Mapping[str, str]) -> Asked:
        body = request.json
        config = mapping(body.get("generationConfig") or body.get("generation_config"))
        schema = config.get("responseJsonSchema") or config.get("responseSchema")
        return Asked(
            provider=match["provider"],
            endpoint="generate_content" if match["verb"] == "generateContent" else "stream_generate_content",
            model=match["model"],
            input_tokens=tokens.count_input(body),
            cap=config.get("maxOutputTokens") or config.get("max_output_tokens"),
            choices=config.get("candidateCount") or 1,
            stream=match["verb"] == "streamGenerateContent",
            schema=schema,
            forced_tool=_forced_tool(body),
            service_tier=service_tier(body),
            body=body,
        )

    def usage(self, answer: Answer, counts: Counts) -> dict[str, Any]:
        prompt = counts.input_tokens - counts.tool_prompt
        modalities = {"AUDIO": counts.audio_input + counts.cached_audio, "IMAGE": counts.image_input}
        usage: dict[str, Any] = {
            "promptTokenCount": prompt,
            "candidatesTokenCount": counts.output_tokens - counts.reasoning,
            "totalTokenCount": counts.tokens,
            "promptTokensDetails": _details({"TEXT": prompt - sum(modalities.values()), **modalities}),
        }
        if counts.all_cached:
            usage["cachedContentTokenCount"] = counts.all_cached
            usage["cacheTokensDetails"] = _details({"TEXT": counts.cached, "AUDIO": counts.cached_audio})
        if counts.reasoning:
            usage["thoughtsTokenCount"] = counts.reasoning
        if counts.tool_prompt:
            usage["toolUsePromptTokenCount"] = counts.tool_prompt
            usage["toolUsePromptTokensDetails"] = _details({"TEXT": counts.tool_prompt})
        if counts.audio_output or counts.image_output:
            special = {"AUDIO": counts.audio_output, "IMAGE": counts.image_output}
            usage["candidatesTokensDetails"] = _details({"TEXT": counts.output, **special})
        tier = answer.reply.service_tier
        if answer.asked.provider == "vertex":
            usage["trafficType"] = _TRAFFIC.get(tier or "", "ON_DEMAND")
        elif tier:
            usage["serviceTier"] = tier
        return usage

    def body(self, answer: Answer) -> Mapping[str, Any]:
        parts: list[dict[str, Any]] = [{"text": answer.text}] if answer.pieces else []
        parts += [_function_call(call) for call in answer.calls]
        usage = self.stated_usage(answer)
        candidates = [self._candidate(answer, i, parts, final=True) for i in range(answer.asked.choices)]
        return self._chunk(answer, candidates, usage)

    def events(self, answer: Answer) -> Iterator[Event]:
        """One chunk per group of tokens, each with the usage so far (Vertex: only in the last)."""
        parts: list[tuple[dict[str, Any], int]] = [({"text": text}, n) for text, n in answer.groups(answer.pieces)]
        parts += [(_function_call(call), len(call.pieces)) for call in answer.calls]
        parts = parts or [({"text": ""}, 0)]
        generated = answer.counts.reasoning
        for position, (part, count) in enumerate(parts):
            final = position == len(parts) - 1
            for index in range(answer.asked.choices):
                generated += count
                last = final and index == answer.asked.choices - 1
                candidate = self._candidate(answer, index, [part], final=final)
                yield Event(self._chunk(answer, [candidate], self._usage_so_far(answer, generated, last)), tokens=count)

    def _usage_so_far(self, answer: Answer, generated: int, last: bool) -> Mapping[str, Any] | None:
        if last or answer.reply.usage != "reported":
            return self.stated_usage(answer)
        if answer.asked.provider == "vertex":
            return {"trafficType": "ON_DEMAND"}
        return self.usage(answer, answer.counts.after(generated))

    def _candidate(self, answer: Answer, index: int, parts: list[dict[str, Any]], *, final: bool) -> dict[str, Any]:
        candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}, "index": index}
        if final:
            candidate["finishReason"] = answer.reply.finish or ("MAX_TOKENS" if answer.finish == "length" else "STOP")
            if index == 0 and (searches := answer.reply.web_searches):  # so many in all
                queries = [f"query {i + 1}" for i in range(searches)]
                candidate["groundingMetadata"] = {"webSearchQueries": queries}
        return candidate

    def _chunk(
        self, answer: Answer, candidates: list[dict[str, Any]], usage: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        return {
            "candidates": candidates,
            **({"usageMetadata": usage} if usage is not None else {}),
            "modelVersion": answer.model,
            "responseId": answer.id,
            **answer.reply.fields,
        }


def service_tier(body: Mapping[str, Any]) -> str | None:
    """The tier that a request asks for by name."""
    tier = str(body.get("serviceTier") or body.get("service_tier") or "").lower().removeprefix("service_tier_")
    return tier if tier in ("flex", "priority") else None


def _details(by_modality: Mapping[str, int]) -> list[dict[str, Any]]:
    return [{"modality": name, "tokenCount": count} for name, count in by_modality.items() if count]


def _function_call(call: Call) -> dict[str, Any]:
    return {"functionCall": {"name": call.name, "args": call.parsed}}


def _forced_tool(body: Mapping[str, Any]) -> ForcedTool | None:
    config = mapping(mapping(body.get("toolConfig")).get("functionCallingConfig"))
    if config.get("mode") != "ANY":
        return None
    allowed = sequence(config.get("allowedFunctionNames"))
    tools = (mapping(tool) for tool in sequence(body.get("tools")))
    functions = [mapping(function) for tool in tools for function in sequence(tool.get("functionDeclarations"))]
    schema = "parametersJsonSchema" if functions and "parametersJsonSchema" in functions[0] else "parameters"
    return forced_tool(functions, allowed[0] if allowed else None, schema)
