"""What a call may cost in tokens, before it is sent: a bound that holds, and an estimate that is usually near.

- The **bound** rests on tokenizers: no text has more tokens than UTF-8 bytes (Claude's: 2.5 times as many), and what a
  provider wraps around messages is smaller than the JSON around them. `strict` guards reserve it.
- The **estimate** is tokens per byte as learned from the replies of the same family of models. Default guards reserve
  it.
- Where the request does not say how much will be read (a server-side tool, a video behind a URL) there is no bound:
  None. Where only the size of one prompt is unknown (a PDF, a conversation kept by the provider) the context window is
  the bound.
"""

from typing import Final, NamedTuple

from actguard.budget.families import profile_for
from actguard.budget.limits import limits, max_output_tokens
from actguard.budget.media_tokens import media_tokens
from actguard.budget.ratios import InputRatios
from actguard.budget.request import RequestFacts


class Estimate(NamedTuple):
    """In tokens. A bound is None where none exists."""

    input_bound: int | None
    input_estimate: int
    output_bound: int | None
    output_estimate: int


def estimate(
    provider: str | None,
    facts: RequestFacts,
    ratios: InputRatios,
    *,
    strict: bool = False,
    state_tokens: int | None = None,
) -> Estimate:
    """Bounds and estimates for one call.

    Args:
        provider: whose API it is, by genai-prices' id; None for an unknown host.
        ratios: what has been learned from earlier replies.
        strict: make the bound hold for every text, not only for those that occur.
        state_tokens: input and output tokens of what `facts.state` names, where they are remembered.
    """
    cap = output_bound(facts)
    return Estimate(
        input_bound(provider, facts, strict=strict, state_tokens=state_tokens),
        ratios.estimate(provider, facts, state_tokens=state_tokens),
        cap,
        DEFAULT_OUTPUT * facts.choices if cap is None else cap,
    )


def input_bound(
    provider: str | None, facts: RequestFacts, *, strict: bool, state_tokens: int | None = None
) -> int | None:
    """No fewer than the input tokens that will be billed; None where the request does not bound them."""
    if facts.unbounded or facts.server_tools or not facts.sized:
        return None
    profile = profile_for(provider, facts)
    bound = facts.body_bytes + facts.hidden_tokens + (profile.tools_overhead if facts.tools else profile.overhead)
    if strict and profile.dialect == "claude":
        bound += facts.body_bytes * 3 // 2  # 2.5 in all: case and word boundaries can be tokens of their own
    window = bool(facts.unsized)
    for item in facts.media:
        tokens = media_tokens(profile, item).bound
        if tokens is None:
            window = True
        else:
            bound += tokens
    if facts.state:
        if state_tokens is None:
            window = True
        else:
            bound += state_tokens
    return limits(facts.model).context if window else bound


def output_bound(facts: RequestFacts) -> int | None:
    """No fewer than the output tokens that will be billed: the cap, or the model's own, for each choice."""
    if facts.endpoint in WITHOUT_OUTPUT:
        return 0
    if facts.endpoint in WITHOUT_CAP:
        return None
    cap = max_output_tokens(facts.model) if facts.output_cap is None else facts.output_cap
    return None if cap is None else cap * facts.choices


WITHOUT_OUTPUT: Final = frozenset(("embeddings", "embed_content", "cached_contents", "count_tokens", "moderations"))
WITHOUT_CAP: Final = frozenset(
    ("images", "audio.transcriptions", "audio.speech", "videos", "predict", "predict_long_running", "decisions")
)
DEFAULT_OUTPUT: Final = 4096
"""Estimated output of one choice where neither the request nor a table caps it."""
