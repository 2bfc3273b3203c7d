"""What an OpenAI request says about its size and its output: OpenAI, Azure, every host that speaks the same wire."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, cast

from actguard.budget.families import profile_of
from actguard.budget.limits import max_output_tokens
from actguard.budget.request import CapTooSmall, Media, RequestFacts
from actguard.providers.endpoint import Endpoint
from actguard.providers.measure import (
    Base64,
    Found,
    as_dict,
    given,
    inline,
    items,
    kind_in,
    measure_chat,
    merged,
    whole,
)
from actguard.providers.openai.parts import chat_part, response_content


def facts(
    endpoint: Endpoint, path: str, body: Mapping[str, Any] | None, extra: Mapping[str, Any] | None = None
) -> RequestFacts:
    """What is known of a request before it is sent; nothing in *body* is consumed or changed.

    Args:
        path: of the URL; names the model where the body does not (Azure deployments).
        body: as the SDK is about to serialise it.
        extra: `extra_body`, which replaces whole keys of *body*.
    """
    body = merged(body, extra)
    name = endpoint.name
    model = body.get("model")
    if type(model) is not str or not model:
        model = _model_in(path)
    size = measure_chat(body) if name == "chat.completions" else None
    found = RequestFacts(model, 0, endpoint=name)
    if size is not None:
        found.body_bytes, found.sized = size
    if _searches(model):
        found.unbounded = (f"model {model} runs tools by itself",)
    if size is not None and _UNPLAIN.isdisjoint(body):
        if not _OUTPUT.isdisjoint(body):
            _output(found, body, "max_completion_tokens", "max_tokens")
        return found
    reader = Found(found)
    _READERS.get(name, _other)(reader, body)
    if size is None:
        reader.measured(body)
    return found


def with_output_cap(
    endpoint: Endpoint, body: Mapping[str, Any], cap: int, *, provider: str | None = None
) -> dict[str, Any]:
    """A copy of *body* that asks for at most *cap* tokens of output per choice. A cap the request has is never raised.

    Args:
        provider: whose API it is: OpenAI itself wants `max_completion_tokens`, most others only know `max_tokens`.

    Raises:
        CapTooSmall: the provider accepts no cap this low.
    """
    capped = dict(body)
    name = endpoint.name
    if name not in _CAPS or given(body, "prediction") is not None:  # with a prediction, the API takes no cap
        return capped
    stated = [field for field in _CAPS[name] if whole(given(body, field)) is not None]
    lowered = [field for field in stated if body[field] > cap]
    if stated and not lowered:
        return capped
    least = 16 if name == "responses" else 1
    if cap < least:
        raise CapTooSmall(cap, least, "the least the API accepts")
    if not stated:
        model = given(body, "model")
        model = model if isinstance(model, str) else ""
        default = _LEGACY_CAP if name == "completions" and _LEGACY.match(model) else max_output_tokens(model)
        if default is not None and default <= cap:
            return capped
        lowered = [_cap_field(name, model, provider)]
    for field in lowered:
        capped[field] = cap
    return capped


def with_include_usage(body: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of *body* that asks a chat or completions stream to end with a usage chunk."""
    return {**body, "stream_options": {**as_dict(given(body, "stream_options")), "include_usage": True}}


# -- caps --------------------------------------------------------------------------------------------------------------

_CAPS = {
    "chat.completions": ("max_completion_tokens", "max_tokens"),
    "completions": ("max_tokens",),
    "responses": ("max_output_tokens",),
    "runs": ("max_completion_tokens",),
}
_LEGACY = re.compile(r"gpt-3\.5-turbo-instruct|davinci-00|babbage-00|text-(?:davinci|curie|babbage|ada)-")
_LEGACY_CAP = 16
"""`max_tokens` of OpenAI's completions API where none is given."""
_OLDER = re.compile(r"gpt-3|gpt-4")
_DEPLOYMENT = re.compile(r"/deployments/([^/?]+)")
_SEARCHING = re.compile(r"-search-|deep-research|:online\b|sonar|\bcompound")


def _model_in(path: str) -> str:
    found = _DEPLOYMENT.search(path)
    return found[1] if found else ""


@lru_cache(maxsize=1024)
def _searches(model: str) -> bool:
    return _SEARCHING.search(model) is not None


def _cap_field(name: str, model: str, provider: str | None) -> str:
    """The field to set where the request has none."""
    if name != "chat.completions":
        return _CAPS[name][0]
    if provider == "openai":
        return "max_completion_tokens"
    if provider == "azure":  # api versions before 2024-09 know the older name only, for the models they serve
        return "max_tokens" if _OLDER.match(model) else "max_completion_tokens"
    newer = provider is None and profile_of(None, model).dialect == "openai" and not _OLDER.match(model)
    return "max_completion_tokens" if newer else "max_tokens"


def _output(facts: RequestFacts, body: dict[str, Any], *fields: str) -> None:
    """Cap, choices and delivery, which every generating endpoint spells the same way."""
    get = body.get
    for field in fields:
        cap = whole(get(field))
        if cap is not None and (facts.output_cap is None or cap > facts.output_cap):  # of two, hosts obey either
            facts.output_cap = cap
    if "n" in body:
        facts.choices = whole(get("n")) or 1
    facts.stream = get("stream") is True
    facts.background = get("background") is True
    if "stream_options" in body:
        asked = as_dict(get("stream_options")).get("include_usage")
        facts.include_usage = asked if isinstance(asked, bool) else None


# -- chat and completions ----------------------------------------------------------------------------------------------

_OUTPUT = frozenset(("max_completion_tokens", "max_tokens", "n", "stream"))
_UNPLAIN = frozenset(
    (
        *("tools", "functions", "stream_options", "prediction", "web_search_options", "plugins", "search_parameters"),
        *("data_sources", "models", "route", "enable_search", "documents"),
    )
)
_SERVER_KEYS = {
    "web_search_options": "web_search",
    "search_parameters": "search_parameters",
    "plugins": "plugins",
    "data_sources": "data_sources",
    "enable_search": "enable_search",
}
"""Keys of the hosts that let the model read something else."""
_ROUTES = frozenset(("models", "route"))


def _chat(found: Found, body: dict[str, Any]) -> None:
    facts = found.facts
    _output(facts, body, "max_completion_tokens", "max_tokens")
    facts.tools = bool(given(body, "functions"))
    _tools(found, given(body, "tools"))
    _server_keys(found, body)
    if given(body, "prediction") is not None:
        found.unbounded("prediction: what the model rejects of it is billed as output, whatever the cap")
    if facts.body_bytes:  # measured already, so all content is text
        return
    for message in map(as_dict, items(given(body, "messages"))):
        for part in items(message.get("content")):
            if isinstance(part, dict):
                chat_part(found, cast("dict[str, Any]", part))
        audio = as_dict(message.get("audio")).get("id")
        if audio is not None:
            found.state(str(audio))


def _completions(found: Found, body: dict[str, Any]) -> None:
    facts = found.facts
    _output(facts, body, "max_tokens")
    facts.choices = max(facts.choices, whole(given(body, "best_of")) or 1) * _prompts(given(body, "prompt"))
    if facts.output_cap is None and _LEGACY.match(facts.model):
        facts.output_cap = _LEGACY_CAP
    _server_keys(found, body)


def _prompts(prompt: object) -> int:
    """How many prompts a legacy `prompt` is: a list of token ids is one, a list of strings or of lists is many."""
    members = items(prompt)
    return len(members) if members and not isinstance(members[0], int) else 1


# -- responses ---------------------------------------------------------------------------------------------------------

_TEXT_ITEMS = frozenset(
    (
        *("function_call", "custom_tool_call", "reasoning", "computer_call", "configuration_update", "compaction"),
        *(
            "tool_search_call",
            "code_interpreter_call",
            "local_shell_call",
            "local_shell_call_output",
        ),
        *(
            "shell_call",
            "shell_call_output",
            "apply_patch_call",
            "apply_patch_call_output",
            "mcp_list_tools",
            "mcp_call",
        ),
        *("mcp_approval_request", "mcp_approval_response", "program", "program_output"),
    )
)
_KEPT_ITEMS = frozenset(("web_search_call", "file_search_call", "item_reference"))
"""Items that stand for more than they hold."""
_RESPONSE_KEYS = frozenset(
    (
        *("tools", "max_tool_calls", "previous_response_id", "conversation", "prompt", "context_management"),
        *("reasoning", "multi_agent", "models", "route"),
    )
)
"""Keys that may make a response read more than its input."""


def _responses(found: Found, body: dict[str, Any]) -> None:
    _output(found.facts, body, "max_output_tokens")
    found.facts.choices = 1
    for item in items(body.get("input")):
        if isinstance(item, dict):
            _item(found, cast("dict[str, Any]", item))
    if _RESPONSE_KEYS.isdisjoint(body) and _SERVER_KEYS.keys().isdisjoint(body):
        return
    _tools(found, given(body, "tools"))
    found.facts.server_tool_uses = whole(given(body, "max_tool_calls"))
    _server_keys(found, body)
    for key in ("previous_response_id", "conversation"):
        kept = given(body, key)
        if kept is not None:
            found.state(str(as_dict(kept).get("id", kept)))
    if given(body, "prompt") is not None:
        found.unbounded("prompt: a template kept by the provider, which may declare server tools")
    if given(body, "context_management"):
        found.unbounded("context_management: the provider may compact by itself")
    if as_dict(given(body, "multi_agent")).get("enabled"):
        found.unbounded("multi_agent: the provider runs as many agents as it likes")
    mode = as_dict(given(body, "reasoning")).get("mode")
    if mode is not None and mode != "standard":
        found.unbounded(f"reasoning.mode={mode}")


def _compact(found: Found, body: dict[str, Any]) -> None:
    _responses(found, body)
    found.unbounded("a compaction, whose output takes no cap")


def _item(found: Found, item: dict[str, Any]) -> None:
    kind = kind_in(item, "message")
    if kind == "message":
        response_content(found, item.get("content"))
    elif kind in ("function_call_output", "custom_tool_call_output"):
        response_content(found, item.get("output"))
    elif kind == "computer_call_output":
        response_content(found, [item.get("output")])
    elif kind == "image_generation_call":
        data = item.get("result")
        if isinstance(data, str):
            found.media(item, inline("image", Base64(data)), {**item, "result": ""})
        else:
            found.media(item, Media("image", "file_id"))
    elif kind in ("additional_tools", "tool_search_output"):
        _tools(found, item.get("tools"))
    elif kind in _KEPT_ITEMS or (kind == "reasoning" and item.get("id") and not item.get("encrypted_content")):
        found.state(str(item.get("id")))
    elif kind not in _TEXT_ITEMS:
        found.unbounded(f"input item {kind}")


# -- tools -------------------------------------------------------------------------------------------------------------

_CLIENT_TOOLS = {
    "function": 0,
    "custom": 0,
    "namespace": 0,
    "local_shell": 3000,
    "apply_patch": 3000,
    "computer": 3000,
    "computer_use_preview": 3000,
}
"""Tools that the caller runs, with room for what the provider says about them to the model."""


def _tools(found: Found, tools: object) -> None:
    for tool in map(as_dict, items(tools)):
        kind = kind_in(tool, "function")
        if kind == "shell" and as_dict(tool.get("environment")).get("type", "local") == "local":
            kind = "local_shell"
        if kind in _CLIENT_TOOLS:
            found.facts.tools = True
            found.facts.hidden_tokens += _CLIENT_TOOLS[kind]
        else:
            found.server_tool(kind)
    if tools is not None and not isinstance(tools, list | tuple):
        found.facts.sized = False


def _server_keys(found: Found, body: dict[str, Any]) -> None:
    if _SERVER_KEYS.keys().isdisjoint(body) and _ROUTES.isdisjoint(body):
        return
    if given(body, "models") or given(body, "route"):
        found.unbounded("models: another model may answer")
    for key, name in _SERVER_KEYS.items():
        value = given(body, key)
        if value or value == {}:  # an empty object asks for the usual search
            found.server_tool(name)


# -- everything else ---------------------------------------------------------------------------------------------------


def _images(found: Found, body: dict[str, Any]) -> None:
    _output(found.facts, body)
    found.unbounded("image output, which takes no cap in tokens")


def _uploaded(found: Found, body: dict[str, Any]) -> None:
    _output(found.facts, body)
    found.unbounded("audio, which is uploaded beside the request")


def _spoken(found: Found, body: dict[str, Any]) -> None:
    _output(found.facts, body)
    found.unbounded("audio output, which takes no cap in tokens")


def _embeddings(found: Found, body: dict[str, Any]) -> None:
    """Text or token ids, and nothing comes out."""


def _runs(found: Found, body: dict[str, Any]) -> None:
    _output(found.facts, body, "max_completion_tokens")
    found.state(str(given(body, "assistant_id")))
    found.unbounded("a thread, whose run may take many steps")


def _other(found: Found, body: dict[str, Any]) -> None:
    _output(found.facts, body, "max_output_tokens", "max_completion_tokens", "max_tokens")
    found.unbounded(f"{found.facts.endpoint}: not known what it reads")


_READERS = {
    "chat.completions": _chat,
    "completions": _completions,
    "responses": _responses,
    "responses.compact": _compact,
    "embeddings": _embeddings,
    "images": _images,
    "audio.transcriptions": _uploaded,
    "audio.translations": _uploaded,
    "audio.speech": _spoken,
    "runs": _runs,
}
