"""What a Gemini request says about its size and its output: the Gemini API, Vertex, and the interactions API."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, cast

from actguard.budget.request import CapTooSmall, Media, MediaKind, RequestFacts
from actguard.providers.endpoint import Endpoint
from actguard.providers.measure import Base64, Found, as_dict, given, inline, is_absent, items, kind_in, kind_of, whole


def facts(
    endpoint: Endpoint, path: str, body: Mapping[str, Any] | None, extra: Mapping[str, Any] | None = None
) -> RequestFacts:
    """What is known of a request before it is sent; nothing in *body* is consumed or changed.

    Args:
        path: of the URL; names the model.
        body: the JSON body, or the `request_dict` that google-genai makes it from.
        extra: `http_options.extra_body`, which is merged into *body* key by key, at every depth.
    """
    sent = _sent(body, extra) if extra else dict(body or {})
    for key in _OWN:
        sent.pop(key, None)
    name = endpoint.name
    found = Found(RequestFacts(model_of(path, sent), 0, endpoint=name))
    if name == "interactions":
        _interaction(found, sent)
    else:
        found.facts.stream = name == "stream_generate_content"
        _generate(found, sent)
    return found.measured(sent)


def model_of(path: str, body: Mapping[str, Any]) -> str:
    """The model that a request names."""
    model = body.get("model")
    return model if isinstance(model, str) else _model_in(path)


def with_output_cap(
    endpoint: Endpoint, body: Mapping[str, Any], cap: int, *, provider: str | None = None
) -> dict[str, Any]:
    """A copy of *body* that asks for at most *cap* tokens of output per candidate. It never raises a cap there is.

    Raises:
        CapTooSmall: the provider accepts no cap this low.
    """
    capped = dict(body)
    if endpoint.name not in _CONFIGS or given(body, "agent") is not None:  # an agent takes no cap
        return capped
    outer, inner = _spelling(endpoint, body)
    config = as_dict(given(body, outer))
    stated = whole(given(config, inner))
    if stated is not None and stated <= cap:
        return capped
    if cap < 1:
        raise CapTooSmall(cap, 1, "the least the API accepts")
    capped[outer] = {**config, inner: cap}
    return capped


# -- the body ----------------------------------------------------------------------------------------------------------

_CONFIGS = {
    "generate_content": (("generationConfig", "generation_config"), ("maxOutputTokens", "max_output_tokens")),
    "stream_generate_content": (("generationConfig", "generation_config"), ("maxOutputTokens", "max_output_tokens")),
    "interactions": (("generation_config", "generationConfig"), ("max_output_tokens", "maxOutputTokens")),
}
_OWN = ("_url", "_query")
"""Keys of a `request_dict` that say where it goes; they are not sent."""
_MODEL = re.compile(r"(?:^|/)(?:models|endpoints|tunedModels)/([^/:?]+)")


@lru_cache(maxsize=1024)
def _model_in(path: str) -> str:
    found = _MODEL.search(path)
    return found[1] if found else ""


def _sent(body: Mapping[str, Any] | None, extra: Mapping[str, Any]) -> dict[str, Any]:
    """*body* with *extra* merged in, as google-genai does it."""
    sent = dict(body or {})
    for key, value in extra.items():
        both = isinstance(value, Mapping) and isinstance(sent.get(key), Mapping)
        sent[key] = _sent(sent[key], cast("Mapping[str, Any]", value)) if both else value
    return sent


def _spelling(endpoint: Endpoint, body: Mapping[str, Any]) -> tuple[str, str]:
    """Which of the two spellings that the API takes (camel and snake case) this request uses."""
    outers, inners = _CONFIGS[endpoint.name]
    outer = next((name for name in outers if given(body, name) is not None), outers[0])
    config = as_dict(given(body, outer))
    return outer, next((name for name in inners if given(config, name) is not None), inners[0])


def _word(value: object) -> str:
    """*value* as it is sent; an SDK's enum prints as its Python name."""
    return str.__str__(value) if isinstance(value, str) else ""


def _either(holder: dict[str, Any], camel: str, snake: str) -> Any:
    """The value under one of two spellings."""
    value = holder.get(camel)
    return holder.get(snake) if value is None else value


# -- generateContent and its relatives ---------------------------------------------------------------------------------

_TEXT_PARTS = frozenset(
    (
        *("text", "functionCall", "function_call", "executableCode", "executable_code", "codeExecutionResult"),
        *(
            "code_execution_result",
            "thought",
            "thoughtSignature",
            "thought_signature",
            "videoMetadata",
            "video_metadata",
        ),
        *("mediaResolution", "media_resolution", "partMetadata", "part_metadata", "toolCall", "tool_call"),
        *(
            "toolResponse",
            "tool_response",
            "speechMetadata",
            "speech_metadata",
            "inlineData",
            "inline_data",
            "fileData",
        ),
        *("file_data", "functionResponse", "function_response", "role"),
    )
)
_CONTENTS = frozenset(("contents", "content", "systemInstruction", "system_instruction"))
_ROUTES = frozenset(("routingConfig", "routing_config", "modelConfig", "model_config"))
_CONTINUED = "a continuation, which reads again what was written so far"
_UNKNOWN_SIZE = frozenset(("predict", "predict_long_running", "batch_generate_content", "decisions"))


def _generate(found: Found, body: dict[str, Any]) -> None:
    facts = found.facts
    resolution = ""
    config = body.get("generationConfig") or body.get("generation_config")
    if config:
        config = as_dict(config)
        facts.output_cap = whole(_either(config, "maxOutputTokens", "max_output_tokens"))
        facts.choices = whole(_either(config, "candidateCount", "candidate_count")) or 1
        resolution = _word(_either(config, "mediaResolution", "media_resolution"))
        if not _ROUTES.isdisjoint(config):
            found.unbounded("routing: another model may answer")
    for key, value in body.items():
        if key in _CONTENTS:
            _contents(found, value, resolution)
        elif key == "tools":
            if value is not None:
                _tools(found, value)
        elif key == "requests":
            for request in map(as_dict, items(value)):
                _contents(found, request.get("content"), resolution)
        elif key in ("cachedContent", "cached_content") and value is not None:
            found.state(str(value))
        elif key in ("continuationToken", "continuation_token") and value is not None:
            found.unsized(_CONTINUED)
    if facts.endpoint in _UNKNOWN_SIZE:
        found.unbounded(f"{facts.endpoint}: not known what it reads or writes")


def _contents(found: Found, contents: object, resolution: str) -> None:
    members = [cast("Any", contents)] if isinstance(contents, dict) else items(contents)
    for content in members:
        if not isinstance(content, dict):
            continue
        parts = cast("dict[str, Any]", content).get("parts")
        for part in [cast("Any", parts)] if isinstance(parts, dict) else items(parts):
            if isinstance(part, dict) and not (len(cast("dict[str, Any]", part)) == 1 and "text" in part):
                _part(found, cast("dict[str, Any]", part), resolution)


def _part(found: Found, part: dict[str, Any], resolution: str) -> None:
    level = _either(part, "mediaResolution", "media_resolution")
    if level is not None:
        resolution = _word(as_dict(level).get("level", level))
    for key in part:
        if key in ("inlineData", "inline_data"):
            _inline(found, part, key, resolution)
        elif key in ("fileData", "file_data"):
            holder = as_dict(part[key])
            uri = str(_either(holder, "fileUri", "file_uri") or "")
            _elsewhere(found, part, str(_either(holder, "mimeType", "mime_type") or ""), uri, resolution)
        elif key in ("functionResponse", "function_response"):
            _contents(found, {"parts": as_dict(part[key]).get("parts")}, resolution)
        elif key not in _TEXT_PARTS:
            found.unbounded(f"part {key}")


def _inline(found: Found, part: dict[str, Any], key: str, resolution: str) -> None:
    holder = as_dict(part[key])
    mime = str(_either(holder, "mimeType", "mime_type") or "").lower()
    found.media(part, _item(mime, holder.get("data"), resolution), {**part, key: {**holder, "data": ""}})


def _item(mime: str, data: object, resolution: str) -> Media:
    kind = kind_of(mime)
    detail = resolution if kind == "image" else mime
    if isinstance(data, bytes):  # as google-genai holds it, before it makes base64 of it
        return Media(kind, "inline", len(data), detail)
    return inline(kind, Base64(data) if isinstance(data, str) else None, detail, mime)


def _elsewhere(found: Found, part: dict[str, Any], mime: str, uri: str, resolution: str) -> None:
    """Media that the request only names. An image has a largest size; a video, a sound or a document has not."""
    kind: MediaKind = kind_of(mime.lower()) if mime else "video"
    kept = "/files/" in uri or uri.startswith(("files/", "gs://"))
    found.media(part, Media(kind, "file_id" if kept else "url", 0, resolution if kind == "image" else mime))
    if kind != "image":
        found.unbounded(f"url {kind}")


_COMPUTER_USE = 4000
"""Room for what the provider says to the model about the screen it drives."""


def _tools(found: Found, tools: object) -> None:
    if isinstance(tools, dict):
        tools = [cast("Any", tools)]
    for tool in map(as_dict, items(tools)):
        for key, value in tool.items():
            if is_absent(value):
                continue
            if key in ("functionDeclarations", "function_declarations"):
                found.facts.tools = True
            elif key in ("computerUse", "computer_use"):
                found.facts.tools = True
                found.facts.hidden_tokens += _COMPUTER_USE
            else:
                found.server_tool(key)
    if not isinstance(tools, list | tuple):
        found.facts.sized = False


# -- interactions ------------------------------------------------------------------------------------------------------

_TEXT_STEPS = frozenset(("text", "thought", "function_call"))


def _interaction(found: Found, body: dict[str, Any]) -> None:
    facts = found.facts
    config = as_dict(_either(body, "generation_config", "generationConfig"))
    facts.output_cap = whole(_either(config, "max_output_tokens", "maxOutputTokens"))
    facts.stream = given(body, "stream") is True
    facts.background = given(body, "background") is True
    agent = given(body, "agent")
    if agent is not None:
        found.unbounded(f"agent {agent}, which runs as long as it likes")
        facts.model = facts.model or str(agent)
    previous, cached = given(body, "previous_interaction_id"), given(body, "cached_content")
    if previous is not None:
        found.state(str(previous))
    elif given(body, "continuation_token") is not None:
        found.unsized(_CONTINUED)
    if cached is not None:
        found.state(str(cached))
    if given(body, "environment") is not None:
        found.server_tool("environment")
    _steps(found, given(body, "input"))
    for tool in map(as_dict, items(given(body, "tools"))):
        kind = kind_in(tool, "function")
        if kind in ("function", "computer_use"):
            facts.tools = True
            facts.hidden_tokens += _COMPUTER_USE if kind == "computer_use" else 0
        else:
            found.server_tool(kind)


def _steps(found: Found, content: object) -> None:
    for step in [cast("Any", content)] if isinstance(content, dict) else items(content):
        if not isinstance(step, dict):
            continue
        step = cast("dict[str, Any]", step)
        kind = kind_in(step, "user_input" if "content" in step else "text")
        if kind in ("user_input", "model_output", "message"):
            _steps(found, step.get("content"))
        elif kind == "function_result":
            _steps(found, step.get("result"))
        elif kind in ("image", "audio", "video", "document"):
            _shown(found, step, kind)
        elif kind.endswith(("_call", "_result")) and kind not in _TEXT_STEPS:
            found.state(str(step.get("id") or kind))  # of a tool the provider ran: stands for more than it holds
        elif kind not in _TEXT_STEPS:
            found.unbounded(f"content of type {kind}")


def _shown(found: Found, step: dict[str, Any], kind: str) -> None:
    default = {"image": "image/", "audio": "audio/", "video": "video/", "document": "application/pdf"}[kind]
    mime = str(step.get("mime_type") or default).lower()
    resolution = _word(step.get("resolution"))
    if step.get("data") is not None:
        found.media(step, _item(mime, step["data"], resolution), {**step, "data": ""})
    else:
        _elsewhere(found, step, mime, str(step.get("uri") or ""), resolution)
