"""What a request to Claude says about its size and its output.

Messages bodies are the same first-party, on Bedrock and on Vertex; Bedrock's Converse has a form of its own.
"""

import re
from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import unquote

from actguard.budget.request import CapTooSmall, Media, MediaKind, RequestFacts
from actguard.providers.endpoint import Endpoint
from actguard.providers.measure import (
    Base64,
    Found,
    as_dict,
    given,
    inline,
    items,
    kind_in,
    kind_of,
    measure_chat,
    merged,
    whole,
)


def facts(
    endpoint: Endpoint, path: str, body: Mapping[str, Any] | None, extra: Mapping[str, Any] | None = None
) -> RequestFacts:
    """What is known of a request before it is sent; nothing in *body* is consumed or changed.

    Args:
        path: of the URL; names the model where the body does not (Bedrock, Vertex).
        body: as the SDK is about to serialise it.
        extra: `extra_body`, which replaces whole keys of *body*.
    """
    body = merged(body, extra)
    name = endpoint.name
    model = body.get("model")
    if type(model) is not str or not model:
        model = _model_in(path)
    found = RequestFacts(model, 0, endpoint=name)
    _output(found, body, path)
    size = measure_chat(body) if "messages" in body and type(given(body, "system") or "") is str else None
    if size is not None:
        found.body_bytes, found.sized = size
        if _PLAIN.issuperset(body):
            return found
    reader = Found(found)
    if _is_converse(endpoint, body):
        _converse(reader, body)
    elif name == "messages.batches":
        _batch(reader, body)
    else:
        _read(reader, body)
    if size is None:
        reader.measured(body)
    return found


def with_output_cap(
    endpoint: Endpoint, body: Mapping[str, Any], cap: int, *, provider: str | None = None
) -> dict[str, Any]:
    """A copy of *body* that asks for at most *cap* tokens of output. A cap the request has is never raised.

    Raises:
        CapTooSmall: the provider accepts no cap this low, or none that `thinking.budget_tokens` does not fit under.
    """
    capped = dict(body)
    if endpoint.name in _WITHOUT_CAP:
        return capped
    if _is_converse(endpoint, body):
        config = as_dict(given(body, "inferenceConfig"))
        stated = whole(config.get("maxTokens"))
        if stated is None or stated > cap:
            capped["inferenceConfig"] = {**config, "maxTokens": _least(cap)}
        return capped
    field = "max_tokens_to_sample" if endpoint.name == "complete" else "max_tokens"
    stated = whole(given(body, field))
    if stated is not None and stated <= cap:
        return capped
    cap = _least(cap)
    thinking = as_dict(given(body, "thinking"))
    budget = whole(thinking.get("budget_tokens")) if thinking.get("type") != "disabled" else None
    # a budget that the request itself has above its cap is interleaved thinking, where the rule does not hold
    if budget is not None and cap <= budget and (stated is None or stated > budget):
        raise CapTooSmall(cap, budget + 1, "which leaves room for thinking.budget_tokens")
    capped[field] = cap
    return capped


# -- the body ----------------------------------------------------------------------------------------------------------

_WITHOUT_CAP = frozenset(("count_tokens", "messages.batches"))
_MODEL = re.compile(r"/(?:model|models)/([^/?:]+(?::\d+)?(?=[/?]|$)|[^/?:]+)")
_STREAMS = ("/invoke-with-response-stream", "/converse-stream", ":streamRawPredict")
_PLAIN = frozenset(
    (
        *(
            "model",
            "messages",
            "max_tokens",
            "max_tokens_to_sample",
            "prompt",
            "system",
            "temperature",
            "top_p",
            "top_k",
        ),
        *("stop_sequences", "stream", "metadata", "service_tier", "thinking", "inference_geo", "anthropic_version"),
        *("output_config", "output_format", "speed", "cache_control", "tool_choice", "diagnostics", "anthropic_beta"),
        *("billing_policy", "fallback_credit_token", "user_profile_id"),
    )
)
"""Keys that add nothing to the prompt but what they hold."""


def _model_in(path: str) -> str:
    found = _MODEL.search(path)
    return unquote(found[1]) if found else ""


def _is_converse(endpoint: Endpoint, body: Mapping[str, Any]) -> bool:
    return endpoint.name == "converse" or "inferenceConfig" in body  # Nova is invoked with the same form


def _least(cap: int) -> int:
    if cap < 1:
        raise CapTooSmall(cap, 1, "the least the API accepts")
    return cap


def _output(facts: RequestFacts, body: dict[str, Any], path: str) -> None:
    get = body.get
    cap = get("max_tokens")
    facts.output_cap = cap if type(cap) is int and cap >= 0 else whole(get("max_tokens_to_sample"))
    facts.stream = get("stream") is True or path.endswith(_STREAMS)


def _read(found: Found, body: dict[str, Any]) -> None:
    _tools(found, given(body, "tools"))
    for server in map(as_dict, items(given(body, "mcp_servers"))):
        found.server_tool(f"mcp {server.get('name')}")
    edits = items(as_dict(given(body, "context_management")).get("edits"))
    for kind in (str(as_dict(edit).get("type")) for edit in edits):
        if not kind.startswith("clear_"):  # clearing only takes away
            found.unbounded(f"context management {kind}")
    if given(body, "compaction") is not None:
        found.facts.hidden_tokens += 4000  # the server's own instructions for the summary
    if given(body, "fallbacks") is not None:
        found.unbounded("fallbacks: a declined request is run again by another model")
    thread = as_dict(given(body, "thread")).get("previous_message_id")
    if thread is not None:
        found.state(str(thread))
    container = given(body, "container")
    if as_dict(container).get("skills"):
        found.server_tool("skills")
    if found.facts.body_bytes:  # measured already, so all content is text
        return
    for message in map(as_dict, items(given(body, "messages"))):
        _blocks(found, message.get("content"))
    _blocks(found, given(body, "system"))


def _batch(found: Found, body: dict[str, Any]) -> None:
    """Many requests in one: sizes add up, and each may spend the largest cap among them."""
    requests = [as_dict(as_dict(request).get("params")) for request in items(given(body, "requests"))]
    caps = [whole(params.get("max_tokens")) for params in requests]
    models = list(dict.fromkeys(str(params.get("model") or "") for params in requests))
    found.facts.model = next(filter(None, models), "")
    found.facts.output_cap = None if None in caps else max((cap for cap in caps if cap is not None), default=None)
    found.facts.choices = max(1, len(requests))
    found.facts.hidden_tokens += 700 * len(requests)
    if len(models) > 1:
        found.unbounded("a batch for several models")
    for params in requests:
        _read(found, params)


# -- content -----------------------------------------------------------------------------------------------------------

_TEXT_BLOCKS = frozenset(
    (
        *(
            "text",
            "thinking",
            "redacted_thinking",
            "tool_use",
            "server_tool_use",
            "mcp_tool_use",
            "compaction",
            "fallback",
        ),
        *("tool_reference", "tool_removal", "code_execution_tool_result", "mcp_tool_listing"),
        *("bash_code_execution_tool_result", "text_editor_code_execution_tool_result", "tool_search_tool_result"),
        *("advisor_tool_result", "browser_state"),
    )
)
_KEPT_BLOCKS = frozenset(("web_search_tool_result", "web_fetch_tool_result"))
"""Encrypted: what they stand for may be longer than they are."""
_CITED = "citations, for which the text is cut into pieces that are marked"


def _blocks(found: Found, content: object) -> None:
    for block in items(content):
        if not isinstance(block, dict):
            continue
        block = cast("dict[str, Any]", block)
        kind = kind_in(block, "text")
        if kind in ("tool_result", "mcp_tool_result"):
            _blocks(found, block.get("content"))
        elif kind in ("image", "document"):
            _source(found, block, "image" if kind == "image" else "pdf")
        elif kind == "search_result":
            _cited(found, block)
        elif kind == "tool_addition":
            added = as_dict(block.get("tool"))
            if added.get("type") == "tool_definition":
                _tools(found, [added.get("definition")])
        elif kind == "container_upload":
            found.state(str(block.get("file_id")))
        elif kind in _KEPT_BLOCKS:
            found.unsized(kind)
        elif kind not in _TEXT_BLOCKS:
            found.unbounded(f"content of type {kind}")


def _cited(found: Found, block: dict[str, Any]) -> None:
    if as_dict(block.get("citations")).get("enabled"):
        found.unsized(_CITED)


def _source(found: Found, block: dict[str, Any], media: MediaKind) -> None:
    source = as_dict(block.get("source"))
    form = source.get("type")
    if media == "pdf":
        _cited(found, block)
    if form == "text":  # is in the body, as it is
        return
    if form == "content":
        _blocks(found, source.get("content"))
    elif form == "base64":
        data = source.get("data")
        mime = str(source.get("media_type") or "")
        payload = Base64(data) if isinstance(data, str) else None
        kind = media if media == "image" else kind_of(mime or "application/pdf")
        found.media(block, inline(kind, payload, mime), {**block, "source": {**source, "data": ""}})
    elif form == "url":
        found.media(block, Media(media, "url"))
        if media == "pdf":
            found.unbounded("url pdf")
    else:
        found.media(block, Media(media, "file_id"))
        if media == "pdf" or form != "file":
            found.state(str(source.get("file_id")))


# -- tools -------------------------------------------------------------------------------------------------------------

_CLIENT_TOOLS = (
    ("custom", 0),
    ("bash_", 600),
    ("text_editor_", 1200),
    ("memory_", 2500),
    ("computer_toolset_", 8000),
    ("browser_toolset_", 8000),
    ("computer_", 2000),
)
"""Tools that the caller runs, with room for the descriptions the provider writes for the model."""


def _tools(found: Found, tools: object) -> None:
    facts = found.facts
    uses = facts.server_tool_uses if facts.server_tools else 0
    for tool in map(as_dict, items(tools)):
        kind = kind_in(tool, "custom")
        hidden = next((tokens for prefix, tokens in _CLIENT_TOOLS if kind.startswith(prefix)), None)
        if hidden is not None:
            facts.tools = True
            facts.hidden_tokens += hidden
            continue
        found.server_tool(kind)
        most = whole(tool.get("max_uses"))
        uses = None if uses is None or most is None else uses + most
    if facts.server_tools:
        facts.server_tool_uses = uses
    if tools is not None and not isinstance(tools, list | tuple):
        facts.sized = False


# -- Bedrock's Converse -----------------------------------------------------------------------------------------------

_CONVERSE_TEXT = frozenset(
    ("text", "toolUse", "cachePoint", "reasoningContent", "guardContent", "citationsContent", "searchResult", "json")
)


def _converse(found: Found, body: dict[str, Any]) -> None:
    found.facts.output_cap = whole(as_dict(given(body, "inferenceConfig")).get("maxTokens"))
    found.facts.tools = bool(as_dict(given(body, "toolConfig")).get("tools"))
    for tool in map(as_dict, items(as_dict(given(body, "toolConfig")).get("tools"))):
        for key in tool:
            if key not in ("toolSpec", "cachePoint"):
                found.server_tool(key)
    _tools(found, as_dict(given(body, "additionalModelRequestFields")).get("tools"))
    if given(body, "promptVariables") is not None or "messages" not in body:
        found.unbounded("a prompt that the provider keeps")
    for message in map(as_dict, items(given(body, "messages"))):
        _converse_blocks(found, message.get("content"))
    _converse_blocks(found, given(body, "system"))


def _converse_blocks(found: Found, content: object) -> None:
    for block in items(content):
        if not isinstance(block, dict):
            continue
        block = cast("dict[str, Any]", block)
        for key, value in block.items():
            if key == "toolResult":
                _converse_blocks(found, as_dict(value).get("content"))
            elif key in ("image", "document", "video", "audio"):
                _converse_media(found, block, key)
            elif key not in _CONVERSE_TEXT:
                found.unbounded(f"content of type {key}")


def _converse_media(found: Found, block: dict[str, Any], key: str) -> None:
    holder = as_dict(block[key])
    source = as_dict(holder.get("source"))
    kind: MediaKind = (
        "image" if key == "image" else "video" if key == "video" else "audio" if key == "audio" else "file"
    )
    data = source.get("bytes")
    if "text" in source or "content" in source:  # is in the body, as it is
        return
    if data is None:
        found.media(block, Media(kind, "url"))
        if kind != "image":
            found.unbounded(f"url {key}")
        return
    payload = Base64(data) if isinstance(data, str) else None
    form = "text/plain" if holder.get("format") in ("txt", "md", "csv", "html") else str(holder.get("format"))
    found.media(block, inline(kind, payload, form), {**block, key: {**holder, "source": {"bytes": ""}}})
