"""Recorded traffic, and what an independent, naive reading of its raw JSON says that it billed.

The naive reading flattens the usage object to `path: number` and works with totals and regular expressions; it shares
no code with the readers. genai-prices' rates are a second opinion on what it costs.
"""

import base64
import json
import os
import re
import struct
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import genai_prices
import pytest

from actguard.budget.pricing import PriceBook
from actguard.budget.usage import Bill, Line, MalformedUsage
from actguard.providers import bedrock_reply
from actguard.providers.anthropic import endpoints as anthropic_endpoints
from actguard.providers.anthropic import reply as anthropic_reply
from actguard.providers.aws_eventstream import EventStreamParser
from actguard.providers.endpoint import Endpoint, Kind
from actguard.providers.google import endpoints as google_endpoints
from actguard.providers.google import reply as google_reply
from actguard.providers.openai import endpoints as openai_endpoints
from actguard.providers.openai import reply as openai_reply
from actguard.providers.sse import SSEParser

# Replies that were billed and do not say for how much, or of which the recording has no body: left to an estimate.
NOTHING_SAID = {
    "the recording has no body": (
        "deepseek_completion__0",
        "openinference/api_portkey_ai/v1_chat_completions/test_chat_completion__0",
        "azure_chat_completion__0",
        "azure_embedding__0",
        "azure_openai_chat_completion_categorical__0",
        "openinference/openai/chat_completions/test_instrumentor__1",
        "chat_completion_audio_output__0",
        "completion_truncation__0",
        "embedding_b64__0",
        "dd-trace-py/openai/responses/response_tools__0",
        "dd-trace-py/openai/responses/response__0",
    ),
    "a stream without include_usage": (
        "azure_chat_completion_streamed__0__stream",
        "openai_chat_completions_post_eb4ba851__0__stream",
        "test_sync_chat_completions_stream_version_v1_only__0__stream",
        "TestTracerLLMDecorator_test_async_generator_with_unapplied_d__0__stream",
        "test_agent_with_raw_dict_messages__0__stream",
        "llama_index_chat_stream__0__stream",
        "test_completion_streaming_with_events_with_content__2__stream",
        "openai_completions_post_8af08079__0__stream",
    ),
    "an error object with status 200": ("test_prompt_content_filtering_with_events_with_content__0",),
    "DALL-E, billed by the image": ("test_image_gen_metrics__4",),
    "a prompt that was blocked; only the kind of traffic is told": (
        "test_google_model_armor_prompt_template_text_gets_blocked__1",
    ),
    "a model on Bedrock that tells its counts in headers alone": (
        "TestBedrock_test_nova_with_dimensions__0",
        "dd-trace-py/bedrock/model_m_invoke/anthropic_invoke__0",
        "test_anthropic_2_completion_with_events_with_no_content__0",
        "TestBedrock_test_cohere_v3_minimal__0",
        "TestBedrock_test_cohere_v4_with_dimensions__0",
        "cohere_rerank_invoke__0",
    ),
    "all counts zero, beside sixteen tokens of text": ("response_stream_incomplete__0__stream",),
}
# Replies whose usage cannot be right as it stands.
MALFORMED = {
    "counts that are floats, of a guardrail on Bedrock that answered instead of the model": (
        "openllmetry/bedrock/model_m_invoke/test_guardrail_invoke__0",
        "test_guardrail_invoke_stream__0__stream",
    ),
    "output, but neither input nor a total": (
        "test_generate_content_with_file_uri_image_False__0",
        "test_generate_content_with_file_uri_image_True__0__stream",
    ),
}


@dataclass(frozen=True)
class Exchange:
    """One request and its reply."""

    file: str
    provider: str
    url: str
    method: str
    model: str
    stream: bool
    status: int
    headers: dict[str, str]
    """Of the reply."""
    body: bytes
    """Of the reply."""
    request: Any
    """The JSON of the request; None where it is no JSON."""
    wire: str

    @property
    def endpoint(self) -> Endpoint:
        tables: dict[str, Callable[[str, str], Endpoint]] = {
            "openai": openai_endpoints.classify,
            "google": google_endpoints.classify,
        }
        return tables.get(self.wire, anthropic_endpoints.classify)(self.method, self.url)

    @property
    def reader(self) -> ModuleType:
        return {
            "openai": openai_reply,
            "anthropic": anthropic_reply,
            "google": google_reply,
            "bedrock": bedrock_reply,
        }[self.wire]

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def is_one_of(self, table: dict[str, tuple[str, ...]]) -> str | None:
        """The reason under which this exchange stands in *table*."""
        stem = self.file.removesuffix(".json")
        for reason, names in table.items():
            if any(stem == name or stem.endswith(f"/{name}") for name in names):
                return reason
        return None


def wire_of(url: str) -> str:
    path = url.partition("?")[0]
    if "amazonaws.com" in url:
        return "bedrock"
    if re.search(r"/(messages|complete)(/|$)", path):
        return "anthropic"
    if re.search(r":\w+$|/interactions", path):
        return "google"
    return "openai"


def all_exchanges() -> list[Exchange]:
    folder = os.environ.get("ACTGUARD_RECORDED")
    if not folder:
        return []
    found: list[Exchange] = []
    for row in json.loads((Path(folder) / "index.json").read_text()):
        document = json.loads((Path(folder) / row["file"]).read_text())
        asked, reply = document["request"], document["response"]
        if "base64" in reply:
            body = base64.b64decode(reply["base64"])
        else:
            body = (json.dumps(reply["json"]) if "json" in reply else reply.get("text", "")).encode()
        found.append(
            Exchange(
                file=row["file"],
                provider=row["provider"],
                url=asked["url"],
                method=row["method"].upper(),
                model=row["model"] or "",
                stream=bool(row["stream"] and body),
                status=row["status"],
                headers=reply["headers"],
                body=body,
                request=asked.get("json"),
                wire=wire_of(asked["url"]),
            )
        )
    return found


RECORDED = all_exchanges()
# Agents and knowledge bases of Bedrock are none of the wires that are read here.
ALL = [one for one in RECORDED if one.status == 200 and (one.wire != "bedrock" or "/model/" in one.url)]
METERED = [one for one in ALL if one.endpoint.kind is not Kind.FREE]
BILLED = [one for one in METERED if one.endpoint.kind is not Kind.UNMETERED]
STREAMS = [one for one in BILLED if one.stream]


def each(exchanges: list[Exchange]) -> pytest.MarkDecorator:
    without = pytest.mark.skip(reason="no recorded traffic: ACTGUARD_RECORDED does not name a folder")
    cases = [pytest.param(one, id=one.file) for one in exchanges] or [pytest.param(None, marks=without, id="none")]
    return pytest.mark.parametrize("exchange", cases)


# ---- the subject -----------------------------------------------------------------------------------------------------


def bill_of(exchange: Exchange, chunks: Iterable[bytes] | None = None) -> Bill | None:
    """What the readers say; None too when the usage is malformed."""
    if not exchange.stream:
        try:
            return exchange.reader.read(exchange.endpoint, exchange.json, exchange.model) if exchange.body else None
        except MalformedUsage:
            return None
    return follow(exchange, chunks or [exchange.body]).bill()


def follow(exchange: Exchange, chunks: Iterable[bytes]) -> Any:
    reader = exchange.reader.StreamReader(exchange.endpoint, exchange.model)
    if exchange.wire == "bedrock":
        parser = EventStreamParser()
        for chunk in chunks:
            for event in parser.events(chunk):
                reader.feed(event)
        assert not parser.broken
        return reader
    events = SSEParser()
    parsed = [event for chunk in chunks for event in events.feed(chunk)] + events.flush()
    for event in parsed:
        if event.data and event.data != b"[DONE]":
            reader.feed(json.loads(event.data))
    return reader


# ---- the naive reading -----------------------------------------------------------------------------------------------

Naive = list[tuple[str, dict[str, int], dict[str, str]]]


def naive(exchange: Exchange) -> Naive | None:
    """(model, counts, context) of each line, from the raw document."""
    events = list(naive_events(exchange))
    return {"openai": naive_openai, "anthropic": naive_anthropic, "google": naive_google, "bedrock": naive_bedrock}[
        exchange.wire
    ](exchange, events)


def naive_events(exchange: Exchange) -> Iterator[Any]:
    """The documents in a body, cut by hand."""
    if not exchange.body:
        return
    if not exchange.stream:
        yield exchange.json
    elif exchange.wire == "bedrock":
        rest = exchange.body
        while rest:
            size, headers = struct.unpack(">II", rest[:8])
            payload = json.loads(rest[12 + headers : size - 4])
            inner = payload.get("bytes")
            yield json.loads(base64.b64decode(inner)) if inner else payload
            rest = rest[size:]
    else:
        for line in exchange.body.decode().split("\n"):
            if line.startswith("data:") and "[DONE]" not in line:
                yield json.loads(line[5:])


def flat(value: Any, path: str = "") -> dict[str, Any]:
    if isinstance(value, dict):
        return {p: v for k, inner in value.items() for p, v in flat(inner, f"{path}.{k}" if path else k).items()}
    if isinstance(value, list):
        return {p: v for i, inner in enumerate(value) for p, v in flat(inner, f"{path}.{i}").items()}
    return {} if value is None else {path: value}


def most(counts: dict[str, Any], *patterns: str) -> int:
    """The largest number whose path matches."""
    return max((v for p, v in counts.items() for pattern in patterns if re.fullmatch(pattern, p)), default=0)


def last(events: list[Any], *paths: str) -> Any:
    """What was last said at one of the paths."""
    for event in reversed(events):
        for path in paths:
            value = event
            for key in path.split("."):
                value = value.get(key) if isinstance(value, dict) else None
            if value:
                return value
    return None


def tier(*said: str | None) -> dict[str, str]:
    """A service tier, in the words of a price context."""
    for name in said:
        name = (name or "").lower().removeprefix("on_demand_")
        if name and name not in ("default", "standard", "auto", "on_demand"):
            return {"service_tier": name}
    return {}


def naive_openai(exchange: Exchange, events: list[Any]) -> Naive | None:
    usage = last(events, "usage", "response.usage", "x_groq.usage")
    if not any(flat(usage or {}).values()):
        status = last(events, "status")
        return [] if status in ("queued", "in_progress", "requires_action") else None
    f = flat(usage)
    total, read_in = f.get("total_tokens", 0), most(f, r"(prompt|input)_tokens")
    counts = {
        "input_tokens": read_in,
        "output_tokens": total - read_in,
        "cache_read_tokens": most(f, r".*\.cached_tokens", "prompt_cache_hit_tokens", "(num_)?cached_tokens"),
        "cache_write_tokens": most(f, r".*\.cache_write_tokens"),
        "input_audio_tokens": most(f, r"(prompt|input)_tokens?_details\.audio_tokens"),
        "output_audio_tokens": most(f, r"completion_tokens_details\.audio_tokens"),
        "output_reasoning_tokens": max(
            most(f, r".*reasoning_tokens"), total - read_in - most(f, r"(completion|output)_tokens")
        ),
        "accepted_prediction_tokens": most(f, r".*\.accepted_prediction_tokens"),
        "rejected_prediction_tokens": most(f, r".*\.rejected_prediction_tokens"),
        "web_searches": most(f, r"server_tool_use_details\.web_search_requests"),
    }
    if exchange.endpoint.name == "responses":
        told = last(events, "tool_usage", "response.tool_usage")
        output = json.dumps(last(events, "output", "response.output"))
        searched = [o for o in json.loads(output) or [] if o["type"] == "web_search_call"]
        counts["web_searches"] = (
            told["web_search"]["num_requests"]
            if told
            else sum(
                "open_page" not in json.dumps(o) and "find" not in o.get("action", {}).get("type", "") for o in searched
            )
        )
        counts["storage_searches"] = output.count('"type": "file_search_call"')
    model = last(events, "model", "response.model") or exchange.model
    return [(model, counts, tier(last(events, "service_tier", "response.service_tier")))]


def naive_anthropic(exchange: Exchange, events: list[Any]) -> Naive | None:
    usage: dict[str, Any] = {}
    for event in events:
        for said in (event.get("usage"), event.get("message", {}).get("usage")):
            usage |= {k: v for k, v in (said or {}).items() if v is not None}
    if not usage:
        return None
    model = last(events, "model", "message.model")
    context = tier(usage.get("service_tier"))
    beside = [one for one in usage.get("iterations", []) if one["type"] != "message"]
    return [(model, naive_message(usage), context)] + [
        (one.get("model", model), naive_message(one), context) for one in beside
    ]


def naive_message(usage: dict[str, Any]) -> dict[str, int]:
    return {
        "input_tokens": sum(v for k, v in usage.items() if k.endswith("input_tokens")),
        "output_tokens": usage["output_tokens"],
        "cache_read_tokens": usage.get("cache_read_input_tokens", 0),
        "cache_write_tokens": usage.get("cache_creation_input_tokens", 0),
        "cache_write_1h_tokens": most(flat(usage), r"cache_creation\.ephemeral_1h.*"),
        "output_reasoning_tokens": most(flat(usage), r".*thinking_tokens"),
        "web_searches": most(flat(usage), r".*web_search_requests"),
    }


# In words, and in the numbers of protocol buffers.
MODALITIES = {"DOCUMENT": "image", "IMAGE": "image", "AUDIO": "audio", "VIDEO": "video"}
MODALITIES |= {2: "image", 3: "video", 4: "audio", 5: "image"}


def naive_google(exchange: Exchange, events: list[Any]) -> Naive | None:
    if "interactions" in exchange.url:
        return naive_interaction(exchange, events)
    usage: dict[str, Any] = {}
    for event in events:
        usage |= {k: v for k, v in event.get("usageMetadata", {}).items() if v is not None}
    if "predictions" in json.dumps(events):
        found = re.findall(r'"token_count": (\d+)', json.dumps(events))
        characters = re.findall(r'"billableCharacterCount": (\d+)', json.dumps(events))
        return [(exchange.model, {"input_tokens": sum(map(int, found)), "input_characters": int(characters[0])}, {})]
    if "promptTokenCount" not in usage:
        return None
    tools = usage.get("toolUsePromptTokenCount", 0)
    read_in = usage["promptTokenCount"] + tools
    counts = {
        "input_tokens": read_in,
        "output_tokens": usage["totalTokenCount"] - read_in,
        "cache_read_tokens": usage.get("cachedContentTokenCount", 0),
        "input_tool_tokens": tools,
        "output_reasoning_tokens": usage.get("thoughtsTokenCount", 0),
        "web_searches": naive_searches(events, last(events, "modelVersion") or exchange.model),
    }
    for list_name, field in (
        ("promptTokensDetails", "input_{}_tokens"),
        ("toolUsePromptTokensDetails", "input_{}_tokens"),
        ("cacheTokensDetails", "cache_{}_read_tokens"),
        ("candidatesTokensDetails", "output_{}_tokens"),
    ):
        for detail in usage.get(list_name, []):
            kind = MODALITIES.get(detail["modality"])
            if kind:
                name = field.format(kind)
                counts[name] = counts.get(name, 0) + detail["tokenCount"]
    traffic = usage.get("trafficType")
    told = tier(usage.get("serviceTier"), traffic if isinstance(traffic, str) else None)
    return [(last(events, "modelVersion") or exchange.model, counts, told)]


def naive_searches(events: list[Any], model: str) -> int:
    found = [
        query
        for event in events
        for candidate in event.get("candidates", [])
        for query in candidate.get("groundingMetadata", {}).get("webSearchQueries", [])
        if query
    ]
    return len(set(found)) if "gemini-3" in model else int(bool(found))


def naive_interaction(exchange: Exchange, events: list[Any]) -> Naive | None:
    usage = last(events, "usage", "interaction.usage")
    if usage is None:
        return []
    f = flat(usage)
    counts = {
        "input_tokens": f["total_input_tokens"] + f["total_tool_use_tokens"],
        "output_tokens": f["total_tokens"] - f["total_input_tokens"] - f["total_tool_use_tokens"],
        "output_reasoning_tokens": f["total_thought_tokens"],
        "cache_read_tokens": f["total_cached_tokens"],
        "input_image_tokens": sum(
            d["tokens"] for d in usage.get("input_tokens_by_modality", []) if d["modality"] == "image"
        ),
    }
    return [(last(events, "model", "interaction.model"), counts, {})]


def naive_bedrock(exchange: Exchange, events: list[Any]) -> Naive | None:
    usage: dict[str, Any] = {}
    for event in events:
        told = (event, event.get("message", {}), event.get("metadata", {}))
        for said in (one.get("usage") for one in told if isinstance(one, dict)):
            usage |= said or {}
    whole = flat(events[-1]) if events else {}
    if not usage:
        read_in = most(whole, "inputTextTokenCount", "prompt_token_count", r".*inputTokenCount")
        written = most(whole, r"results\.0\.tokenCount", "generation_token_count", r".*outputTokenCount")
        if "completions" in (events[-1] if events else {}):  # Jurassic
            read_in = len(events[-1]["prompt"]["tokens"])
            written = len(events[-1]["completions"][0]["data"]["tokens"])
        return [(exchange.model, {"input_tokens": read_in, "output_tokens": written}, {})] if read_in else None
    if "input_tokens" in usage:
        return [(exchange.model, naive_message(usage), {})]
    if "prompt_tokens" in usage:
        return [
            (exchange.model, {"input_tokens": usage["prompt_tokens"], "output_tokens": usage["completion_tokens"]}, {})
        ]
    counts = {
        "input_tokens": usage["inputTokens"] + most(usage, "cacheRead.*") + most(usage, "cacheWrite.*"),
        "output_tokens": usage["outputTokens"],
        "cache_read_tokens": most(usage, "cacheRead.*"),
        "cache_write_tokens": most(usage, "cacheWrite.*"),
    }
    return [(exchange.model, counts, tier(whole.get("serviceTier.type")))]


# ---- what it costs --------------------------------------------------------------------------------------------------

AT = datetime(2026, 11, 20, tzinfo=UTC)
BOOK = PriceBook()

# Where genai-prices has another price for the same usage.
OTHER_PRICE = {
    "it has no rates for flex of this model; our overlay has": (
        "test_google_vertex_service_tier_flex__0",
        "test_google_vertex_service_tier_flex_stream__0__stream",
    ),
}


def their_cost(provider: str, line: Line) -> int | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the kinds that it has no prices for
        usage = genai_prices.Usage(**line.usage.by_kind())
        try:
            price = genai_prices.calc_price(
                usage,
                line.model,
                provider_id=provider,
                genai_request_timestamp=AT,
                price_context=dict(line.context) or None,
            )
        except LookupError:
            return None
    return int(price.total_price * 10**12)
