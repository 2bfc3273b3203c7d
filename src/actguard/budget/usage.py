"""What a provider bills for one reply: every token kind, each counted once.

`Usage` holds *inclusive* counts, named as genai-prices names them: `input_tokens` is all input (cached, cache-writing,
audio, tool-prompt tokens included), and the others say how much of it was of a special kind. A provider that reports
disjoint counts (Anthropic) or additive ones (Gemini's thoughts) is brought to this shape where its reply is read.
"""

from itertools import compress
from typing import NamedTuple


class MalformedUsage(ValueError):  # noqa: N818 - says what was found; it reaches no user
    """A provider's usage cannot be what it billed: something that is no count, or counts that contradict each other.

    Readers of replies raise nothing else; who catches it logs once and charges an estimate, flagged.
    """


class Usage(NamedTuple):
    """Counts of one billed kind each. All are integers >= 0; kinds a provider did not report are 0."""

    input_tokens: int = 0
    output_tokens: int = 0
    # kinds of input, each part of input_tokens
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0  # all lifetimes; the two below are parts of it
    cache_write_1h_tokens: int = 0
    cache_write_12h_tokens: int = 0
    input_audio_tokens: int = 0
    input_image_tokens: int = 0
    input_video_tokens: int = 0
    cache_audio_read_tokens: int = 0  # part of cache_read_tokens and of input_audio_tokens
    cache_image_read_tokens: int = 0
    cache_video_read_tokens: int = 0
    input_tool_tokens: int = 0  # Gemini's toolUsePromptTokenCount
    # kinds of output, each part of output_tokens
    output_reasoning_tokens: int = 0
    output_audio_tokens: int = 0
    output_image_tokens: int = 0
    output_video_tokens: int = 0
    accepted_prediction_tokens: int = 0
    rejected_prediction_tokens: int = 0
    # billed by other units
    web_searches: int = 0
    storage_searches: int = 0
    map_searches: int = 0
    code_executions: int = 0
    input_audio_milliseconds: int = 0
    output_audio_milliseconds: int = 0
    input_characters: int = 0
    output_images: int = 0
    output_video_milliseconds: int = 0

    @property
    def tokens(self) -> int:
        """Input and output together; every special kind is already inside one of them."""
        return self.input_tokens + self.output_tokens

    def plus(self, other: "Usage") -> "Usage":
        return Usage(*map(int.__add__, self, other))

    def minus(self, other: "Usage") -> "Usage":
        return Usage(*map(int.__sub__, self, other))

    def by_kind(self) -> dict[str, int]:
        """Only the kinds that occurred."""
        return dict(zip(compress(self._fields, self), filter(None, self), strict=True))


NOTHING = Usage()


class Line(NamedTuple):
    """One position of a bill: what one model was used for. Most bills have one; an advisor or compaction adds more."""

    model: str
    """The model as the provider names it in the reply, else as the request named it."""
    usage: Usage
    context: tuple[tuple[str, str], ...] = ()
    """What selects a price variant, as the *reply* states it, sorted: `geo`, `processing`, `service_tier`, `speed`."""


class Bill(NamedTuple):
    """What one reply bills, in the provider's terms."""

    response_id: str | None
    """The provider's id of the reply; a second bill with the same id adds nothing."""
    lines: tuple[Line, ...]
    reported_cost: int | None = None
    """Pico-dollars, where the provider itself states the cost (OpenRouter); only a price that the program set wins."""
    final: bool = True
    """False while the provider has not finished (a background response still queued): nothing is settled yet."""
