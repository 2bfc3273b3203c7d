"""What one reply used, each unit in exactly one place.

Providers disagree on which of their figures contain which: OpenAI's cached tokens are inside the input, Anthropic's
beside it, Gemini's thoughts beside the output. The ledger avoids the question by never overlapping anything.
"""

import operator
from typing import NamedTuple


class Counts(NamedTuple):
    """Disjoint counts: their sum is everything. Named after what they cost, not after any one wire."""

    input: int = 0
    """Fresh text input; what is none of the kinds below."""
    cached: int = 0
    cached_audio: int = 0
    cache_write: int = 0
    """Written for five minutes (or, on OpenAI, for its only period)."""
    cache_write_1h: int = 0
    audio_input: int = 0
    image_input: int = 0
    tool_prompt: int = 0
    """Gemini: results of its own tools fed back to it."""
    output: int = 0
    """Visible text and tool calls."""
    reasoning: int = 0
    audio_output: int = 0
    image_output: int = 0
    # not tokens
    web_search: int = 0
    audio_second: int = 0
    character: int = 0
    image: int = 0

    @property
    def input_tokens(self) -> int:
        return (
            self.input
            + self.cached
            + self.cached_audio
            + self.cache_write
            + self.cache_write_1h
            + self.audio_input
            + self.image_input
            + self.tool_prompt
        )

    @property
    def output_tokens(self) -> int:
        return self.output + self.reasoning + self.audio_output + self.image_output

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    @property
    def all_cached(self) -> int:
        return self.cached + self.cached_audio

    def after(self, generated: int) -> "Counts":
        """What is used once only *generated* output tokens exist: reasoning comes first, then text, then the rest."""
        left = max(0, min(generated, self.output_tokens))
        made: dict[str, int] = {}
        for kind in ("reasoning", "output", "audio_output", "image_output"):
            made[kind] = min(left, getattr(self, kind))
            left -= made[kind]
        return self._replace(**made)

    def by_kind(self) -> dict[str, int]:
        """Only what occurred."""
        return {kind: count for kind, count in zip(self._fields, self, strict=True) if count}

    def plus(self, other: "Counts") -> "Counts":
        return Counts(*map(operator.add, self, other))


UNIT_KINDS = ("web_search", "audio_second", "character", "image")
TOKEN_KINDS = tuple(kind for kind in Counts._fields if kind not in UNIT_KINDS)
