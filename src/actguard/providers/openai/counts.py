"""The usage object of OpenAI's wire, in every spelling that hosts give it, and what stands beside it."""

from actguard.budget.usage import MalformedUsage, Usage
from actguard.money import PICO_PER_USD, from_usd
from actguard.providers.body import Body, is_object, part_of, text_of
from actguard.providers.counting import SHORT_LIVED, SLOT, TOTAL, Table, collect, no_counts, usage_from


def usage_of(body: Body) -> Body | None:
    """The usage object of a reply or a chunk; None if it has none, or an empty one.

    Raises:
        MalformedUsage: there is something, but no object.
    """
    usage = part_of(body, "usage")
    if not usage and "x_groq" in body:
        usage = part_of(part_of(body, "x_groq"), "usage")
    return usage or None


_IN: Table = {
    "cached_tokens": SLOT["cache_read_tokens"],
    "cache_write_tokens": SLOT["cache_write_tokens"],
    "cache_write_tokens_details": {"ttl_30m_tokens": SHORT_LIVED, "ttl_12h_tokens": SLOT["cache_write_12h_tokens"]},
    "audio_tokens": SLOT["input_audio_tokens"],
    "image_tokens": SLOT["input_image_tokens"],
    "video_tokens": SLOT["input_video_tokens"],
    "cached_tokens_details": {
        "audio_tokens": SLOT["cache_audio_read_tokens"],
        "image_tokens": SLOT["cache_image_read_tokens"],
    },
}
_OUT: Table = {
    "reasoning_tokens": SLOT["output_reasoning_tokens"],
    "audio_tokens": SLOT["output_audio_tokens"],
    "image_tokens": SLOT["output_image_tokens"],
    "accepted_prediction_tokens": SLOT["accepted_prediction_tokens"],
    "rejected_prediction_tokens": SLOT["rejected_prediction_tokens"],
}
_TOOLS: Table = {"web_search_requests": SLOT["web_searches"]}
_READ_IN, _WRITTEN = SLOT["input_tokens"], SLOT["output_tokens"]
_KEYS: Table = {
    **dict.fromkeys(("prompt_tokens", "input_tokens"), _READ_IN),
    **dict.fromkeys(("completion_tokens", "output_tokens"), _WRITTEN),
    "total_tokens": TOTAL,
    **dict.fromkeys(("prompt_tokens_details", "input_tokens_details"), _IN),
    **dict.fromkeys(("prompt_token_details", "input_token_details"), _IN),
    **dict.fromkeys(("completion_tokens_details", "output_tokens_details"), _OUT),
    **dict.fromkeys(("completion_token_details", "output_token_details"), _OUT),
    "prompt_cache_hit_tokens": SLOT["cache_read_tokens"],  # DeepSeek
    "cached_tokens": SLOT["cache_read_tokens"],  # Together, Moonshot
    "num_cached_tokens": SLOT["cache_read_tokens"],  # Mistral
    "cache_read_input_tokens": SLOT["cache_read_tokens"],  # Databricks, LiteLLM
    "cache_creation_input_tokens": SLOT["cache_write_tokens"],
    "reasoning_tokens": SLOT["output_reasoning_tokens"],
    "num_search_queries": SLOT["web_searches"],  # Perplexity
    "cached_tokens_details": {"cached_image_tokens": SLOT["cache_image_read_tokens"]},  # of the image tool
    "server_tool_use": _TOOLS,  # OpenRouter, in two spellings
    "server_tool_use_details": _TOOLS,
}


def tokens_of(usage: Body, *, writes: bool = True) -> Usage | None:
    """The counts of a usage object; None when it has none, or says that nothing was used.

    Args:
        writes: False for an endpoint that never has output (embeddings).

    Raises:
        MalformedUsage: they cannot be.
    """
    counts = no_counts()
    collect(usage, _KEYS, counts)
    if not counts[_READ_IN] or not counts[_WRITTEN]:
        if not _says(usage, "prompt_tokens", "input_tokens"):
            if not _says(usage, "completion_tokens", "output_tokens"):
                if counts[TOTAL]:
                    raise MalformedUsage("a total without what it is made of")
                return None
            if not counts[TOTAL]:
                raise MalformedUsage("output without input")
            counts[_READ_IN] = max(counts[TOTAL] - counts[_WRITTEN], 0)
        elif not _says(usage, "completion_tokens", "output_tokens"):
            if not counts[TOTAL] and writes:
                raise MalformedUsage("input without output")
            counts[_WRITTEN] = max(counts[TOTAL] - counts[_READ_IN], 0)
    # Some hosts (xAI, Gemini's endpoint for this wire) leave reasoning out of the output, but not out of the total.
    reasoning = counts[_REASONING]
    if usage.get("total_tokens") is not None:
        hidden = counts[TOTAL] - counts[_READ_IN] - counts[_WRITTEN]
        if hidden < 0:
            raise MalformedUsage("a total below its parts")
    else:
        hidden = reasoning if reasoning > counts[_WRITTEN] else 0
    if not counts[_READ_IN] and not counts[_WRITTEN] and not hidden:
        return None  # seen on replies that were cut off at their cap: nothing cannot be right
    if hidden:
        counts[_WRITTEN] += hidden
        counts[_REASONING] = max(reasoning, hidden)
    if counts[SHORT_LIVED] + counts[_HALF_DAY] > counts[_STORED]:
        raise MalformedUsage("more was written to the cache by lifetime than in all")
    return usage_from(counts)


_REASONING, _STORED, _HALF_DAY = (
    SLOT[field] for field in ("output_reasoning_tokens", "cache_write_tokens", "cache_write_12h_tokens")
)


def _says(usage: Body, *spellings: str) -> bool:
    return any(type(usage.get(key)) is int for key in spellings)  # not "", which is no count either


def model_of(body: Body, model: str) -> str:
    """As the reply names it, else as the request did."""
    return text_of(body, "model") or model


def identity_of(body: Body) -> str | None:
    """The provider's id of the reply, if it tells one reply from another."""
    said = body.get("id")
    if type(said) is not str or not said:
        return None
    # Ollama numbers its replies from 0 to 999, and the documentation's "chatcmpl-123" stands in many a fake: there, the
    # same id again is not the same reply again.
    return None if len(said) <= 12 and said.startswith("chatcmpl-") else said


CONTEXTS: dict[object, tuple[tuple[str, str], ...]] = {
    **dict.fromkeys((None, "", "auto", "default", "standard", "on_demand", "unspecified"), ()),
    **{tier: (("service_tier", tier),) for tier in ("flex", "priority", "fast", "ultrafast", "scale", "performance")},
}
"""What a price may depend on, by service tier. The ordinary one, under whatever name, is no context at all."""


def context_of(body: Body) -> tuple[tuple[str, str], ...]:
    """The service tier that the reply names; the request's is a wish."""
    tier = text_of(body, "service_tier")
    if tier is None:
        return ()
    tier = tier.lower()
    known = CONTEXTS.get(tier)
    return (("service_tier", tier),) if known is None else known


def reported_cost(usage: Body) -> int | None:
    """The provider's own figure in pico-dollars, where it states one in full; anything odd is left to our prices."""
    cost = usage.get("cost")
    if is_object(cost):  # Perplexity
        return _dollars(cost.get("total_cost"))
    if cost is not None:  # OpenRouter
        if usage.get("is_byok") is not True:
            return _dollars(cost)
        details = usage.get("cost_details")  # here `cost` is the fee alone; the model was paid with the caller's key
        upstream = _dollars(details.get("upstream_inference_cost")) if is_object(details) else None
        fee = _dollars(cost)
        return None if upstream is None or fee is None else upstream + fee
    ticks = usage.get("cost_in_usd_ticks")  # xAI: 10**10 to the dollar
    return ticks * (PICO_PER_USD // 10**10) if type(ticks) is int and ticks >= 0 else None


def _dollars(amount: object) -> int | None:
    if isinstance(amount, bool) or not isinstance(amount, int | float) or not amount >= 0:
        return None
    try:
        return from_usd(amount)
    except (ValueError, OverflowError):
        return None
