"""The usage objects of Google's wires, and what stands beside them: `generateContent` and its kin, and interactions."""

import re
from typing import Any

from actguard.budget.usage import MalformedUsage, Usage
from actguard.providers.body import Body, is_list, is_object, objects
from actguard.providers.counting import SLOT, TOTAL, Table, collect, new, no_counts, usage_from

Context = tuple[tuple[str, str], ...]

_CONTENT: Table = {
    "promptTokenCount": SLOT["input_tokens"],
    "candidatesTokenCount": SLOT["output_tokens"],
    "responseTokenCount": SLOT["output_tokens"],  # the Live API's word
    "cachedContentTokenCount": SLOT["cache_read_tokens"],
    "thoughtsTokenCount": SLOT["output_reasoning_tokens"],
    "toolUsePromptTokenCount": SLOT["input_tool_tokens"],
    "totalTokenCount": TOTAL,
}
_INTERACTION: Table = {
    "total_input_tokens": SLOT["input_tokens"],
    "total_output_tokens": SLOT["output_tokens"],
    "total_cached_tokens": SLOT["cache_read_tokens"],
    **dict.fromkeys(("total_thought_tokens", "total_reasoning_tokens"), SLOT["output_reasoning_tokens"]),
    "total_tool_use_tokens": SLOT["input_tool_tokens"],
    "total_tokens": TOTAL,
}


def _slots(prefix: str, suffix: str = "") -> dict[object, int]:
    """Where the count of each modality goes. A document is billed as images are; text is what is left of the whole."""
    modalities = {"IMAGE": "image", "DOCUMENT": "image", "VIDEO": "video", "AUDIO": "audio"}
    named: dict[object, int] = {name: SLOT[f"{prefix}_{kind}{suffix}_tokens"] for name, kind in modalities.items()}
    numbers = {2: "IMAGE", 3: "VIDEO", 4: "AUDIO", 5: "DOCUMENT"}  # as protocol buffers have it
    return {
        **named,
        **{name.lower(): named[name] for name in modalities},
        **{number: named[name] for number, name in numbers.items()},
    }


_INPUT, _CACHED, _OUTPUT = _slots("input"), _slots("cache", "_read"), _slots("output")
_CONTENT_DETAILS = {
    "promptTokensDetails": _INPUT,
    "promptTokenDetails": _INPUT,  # so spelt for embeddings
    "toolUsePromptTokensDetails": _INPUT,
    "cacheTokensDetails": _CACHED,
    "candidatesTokensDetails": _OUTPUT,
    "responseTokensDetails": _OUTPUT,
}
_INTERACTION_DETAILS = {
    "input_tokens_by_modality": _INPUT,
    "tool_use_tokens_by_modality": _INPUT,
    "cached_tokens_by_modality": _CACHED,
    "output_tokens_by_modality": _OUTPUT,
}


def content_tokens(usage: Body) -> Usage | None:
    """The counts of a `usageMetadata`; None when it has none.

    Raises:
        MalformedUsage: they cannot be.
    """
    return _text_alone(usage) or _tokens(usage, _CONTENT, _CONTENT_DETAILS, "tokenCount")


def _text_alone(usage: Body) -> Usage | None:
    """The everyday counts, cut short: text in and out, and thoughts. None for what needs a closer look."""
    if not usage.keys() <= _EVERYDAY:
        return None
    try:
        read_in, written, total = usage["promptTokenCount"], usage["candidatesTokenCount"], usage["totalTokenCount"]
        for key in ("promptTokensDetails", "candidatesTokensDetails"):
            if key in usage and [detail["modality"] for detail in usage[key]] != ["TEXT"]:
                return None
    except (KeyError, TypeError):
        return None
    thoughts = usage.get("thoughtsTokenCount", 0)
    if not (type(read_in) is type(written) is type(thoughts) is type(total) is int):
        return None
    if read_in <= 0 or written < 0 or thoughts < 0:
        return None
    if total != read_in + written + thoughts:
        return None
    return new(Usage, (read_in, written + thoughts, *_BETWEEN, thoughts, *_BEHIND))


_EVERYDAY = frozenset(
    (
        *("promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount", "totalTokenCount"),
        *("promptTokensDetails", "candidatesTokensDetails", "trafficType", "serviceTier"),
    )
)
_BETWEEN = (0,) * (SLOT["output_reasoning_tokens"] - 2)
_BEHIND = (0,) * (len(SLOT) - SLOT["output_reasoning_tokens"] - 1)


def interaction_tokens(usage: Body) -> Usage | None:
    """The counts of an interaction's `usage`; None when it has none.

    Raises:
        MalformedUsage: they cannot be.
    """
    return _tokens(usage, _INTERACTION, _INTERACTION_DETAILS, "tokens")


def cached_tokens(usage: Body) -> int:
    """How many tokens were put into a cache: all there are."""
    counts = no_counts()
    collect(usage, _CONTENT, counts)
    return counts[TOTAL] or counts[_READ_IN]


_READ_IN, _WRITTEN, _THOUGHTS, _TOOLS = (
    SLOT[f"{kind}_tokens"] for kind in ("input", "output", "output_reasoning", "input_tool")
)


def _tokens(usage: Body, keys: Table, details: dict[str, dict[object, int]], count: str) -> Usage | None:
    counts = no_counts()
    collect(usage, keys, counts)
    read_in, written, thoughts = counts[_READ_IN], counts[_WRITTEN], counts[_THOUGHTS]
    tools, total = counts[_TOOLS], counts[TOTAL]
    if not (read_in or written or thoughts or tools or total):
        return None  # nothing is said: no reply is made of nothing
    if total:
        unsaid = total - read_in - written - thoughts - tools
        if unsaid < 0:
            raise MalformedUsage("a total below its parts")
        if not read_in:
            read_in = unsaid
        else:
            written += unsaid
    if not read_in:
        raise MalformedUsage("output without input")
    counts[_READ_IN] = read_in + tools
    counts[_WRITTEN] = written + thoughts
    for key, slots in details.items():
        if key in usage:
            _by_modality(usage[key], count, slots, counts)
    return usage_from(counts)


def _by_modality(details: object, count: str, slots: dict[object, int], counts: list[int]) -> None:
    if details is None:
        return
    if not is_list(details):
        raise MalformedUsage("the details of a count are no list")
    for detail in objects(details):
        modality, tokens = detail.get("modality"), detail.get(count)
        if type(modality) not in (str, int) or (slot := slots.get(modality)) is None or tokens is None:
            continue
        if type(tokens) is not int or tokens < 0:
            raise MalformedUsage("the count of a modality is no count")
        counts[slot] += tokens


def billed_searches(asked: int, model: str) -> int:
    """Gemini 3 bills each query; those before it bill a prompt that was grounded, once."""
    generation = _GENERATION.search(model)
    return min(asked, 1) if generation is not None and int(generation[1]) < 3 else asked


_GENERATION = re.compile(r"gemini-(\d{1,3})")


def context_of(tier: object) -> Context:
    """What a price may depend on; the ordinary tier, under whatever name, is no context at all."""
    if type(tier) is int:
        tier = _TRAFFIC.get(tier)
    if not isinstance(tier, str):
        return ()
    tier = tier.lower().removeprefix("on_demand_")
    return () if tier in _ORDINARY else (("service_tier", tier),)


# As protocol buffers have it; 1 is on demand.
_TRAFFIC = {2: "provisioned_throughput", 3: "on_demand_priority", 4: "on_demand_flex"}
_ORDINARY = ("", "standard", "default", "unspecified", "on_demand", "traffic_type_unspecified")


def in_camels(value: Any) -> Any:
    """Snake case to the wire's own spelling of keys, throughout. The older SDKs' replies are protocol buffers."""
    if is_object(value):
        return {_SNAKE.sub(lambda hump: hump[1].upper(), key): in_camels(inner) for key, inner in value.items()}
    return [in_camels(inner) for inner in value] if is_list(value) else value


_SNAKE = re.compile(r"_([a-z])")
