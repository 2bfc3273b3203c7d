"""What the next replies are: figures, words, manner of delivery, and what goes wrong."""

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from decimal import Decimal
from typing import Any, Literal

from actguard.testing.http import Request


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The model asks for a client tool."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict[str, Any])
    id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Iteration:
    """Anthropic: a step inside one reply that is billed beside the reply's own figures."""

    type: Literal["compaction", "advisor_message"]
    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    model: str | None = None
    """An advisor is another model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """How a reply travels. Times are seconds; events are server-sent events (or AWS event messages)."""

    first_byte: float = 0.0
    between_events: float = 0.0
    pause_after: int | None = None
    """After so many output events, go on only when `LocalProvider.release` is called or the client leaves."""
    tokens_per_event: int = 1
    events_per_chunk: int = 1
    """Events sent in one network write."""
    chunk_bytes: int | None = None
    """Cut the body into pieces of this size, whatever they cut through."""
    gzip: bool = False
    crlf: bool = False
    """Lines of the stream end in CRLF instead of LF (Google's always do)."""
    space: bool = True
    """`data: {}`; False sends `data:{}`."""
    ping_every: int | None = None
    """A comment (Anthropic: a ping event) before every so many events."""
    done: bool = True
    """OpenAI's closing `[DONE]`."""
    usage_chunk: Literal["separate", "with_choices", "every_chunk"] = "separate"
    """OpenAI chat: where the usage of a stream is, when it is asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpError:
    """An error status instead of a reply. Nothing is billed."""

    status: int
    message: str = "scripted error"
    retry_after: float | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Reset:
    """The connection is reset before anything was run or sent. Nothing is billed."""


@dataclass(frozen=True, slots=True)
class Lost:
    """The reply is made and billed in full; the connection is reset before its first byte."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """A stream breaks off after some output events: input and the output so far are billed.

    A reply that is not a stream breaks off in the middle of its body and is billed in full.
    """

    after: int = 1
    clean: bool = False
    """The body ends properly, only its last events are missing. Otherwise the connection is reset."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorEvent:
    """A stream reports an error in its own body after some output events, and ends. Billed like `Cut`.

    A reply that is not a stream becomes a status 500, unbilled.
    """

    after: int = 1
    message: str = "scripted error"
    type: str = "server_error"


@dataclass(frozen=True, slots=True)
class NotJSON:
    """Status 200 and a body that no parser accepts. Billed in full."""

    body: bytes = b"<html>upstream</html>"


Fault = HttpError | Reset | Lost | Cut | ErrorEvent | NotJSON


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply. What is left out has a sensible value, so `Reply()` is a plain answer.

    Counts are the provider-neutral truth, which the ledger bills; each wire renders them its own way.
    """

    text: str | None = None
    """Else as many words as there are output tokens (or, if the request has a JSON schema, an instance of it)."""
    _: KW_ONLY
    output_tokens: int | None = None
    """Tokens of what is visible, text and tool calls. Else a quarter of its UTF-8 bytes, rounded up, or, without
    *text*, the provider's `output_tokens`."""
    reasoning_tokens: int = 0
    """Generated before and beside the visible ones."""
    input_tokens: int | None = None
    """All input, the kinds below included. Else what the request's text counts, plus the kinds below."""
    cached_tokens: int = 0
    cached_audio_tokens: int = 0
    cache_write_tokens: int = 0
    """For five minutes (Anthropic), or the only period there is (OpenAI)."""
    cache_write_1h_tokens: int = 0
    audio_input_tokens: int = 0
    image_input_tokens: int = 0
    tool_prompt_tokens: int = 0
    """Gemini's `toolUsePromptTokenCount`; beside the prompt there, and beside *input_tokens* here."""
    audio_output_tokens: int = 0
    image_output_tokens: int = 0
    web_searches: int = 0
    tool_calls: Sequence[ToolCall] = ()
    iterations: Sequence[Iteration] = ()
    audio_seconds: int | None = None
    """A transcription that is billed by duration."""
    model: str | None = None
    """The model that the reply names (and that is billed), when it is not the one asked for."""
    service_tier: str | None = None
    """As the reply states it: `flex`, `priority`, `batch`, ..."""
    speed: str | None = None
    geo: str | None = None
    finish: str | None = None
    """In the wire's own words: `content_filter`, `refusal`, `SAFETY`, ..."""
    usage: Literal["reported", "omitted"] | Mapping[str, Any] = "reported"
    """A mapping is sent as it is, however wrong. The ledger bills the truth."""
    first_input_tokens: int | None = None
    """Anthropic streams: the input that `message_start` claims, when the final one is larger."""
    cost: Decimal | None = None
    """OpenRouter: the cost it states, and bills. Else the list price."""
    polls: int = 0
    """Background replies and batches: how many reads find it unfinished."""
    failed: str | None = None
    """Background replies: it ends as `failed` or `cancelled` instead."""
    fields: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Merged over the top level of the reply's body."""
    delivery: Delivery = Delivery()
    fault: Fault | None = None

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if name.endswith("_tokens") and (count := getattr(self, name)) is not None and count < 0:
                raise ValueError(f"{name} must be zero or more, not {count}")
        if self.input_tokens is not None and self.input_tokens < self.special_input:
            raise ValueError(f"input_tokens is all input, so it cannot be less than its parts, {self.special_input}")

    @property
    def special_input(self) -> int:
        """Input that is of a kind of its own, and inside *input_tokens*."""
        return (
            self.cached_tokens
            + self.cached_audio_tokens
            + self.cache_write_tokens
            + self.cache_write_1h_tokens
            + self.audio_input_tokens
            + self.image_input_tokens
        )


Step = str | Reply | Fault | Callable[[Request], "str | Reply | Fault"]
"""One scripted reply: its text, the whole of it, what goes wrong, or a function of the request."""

Match = Callable[[Request], bool]


@dataclass(slots=True)
class _Rule:
    match: Match
    step: Step
    left: int | None


class Script:
    """The replies to come: rules first, newest rule first; then the queue, in order; then the default.

    Rules see every request. The queue is for requests that generate something: listing models or counting tokens
    takes nothing from it.
    """

    def __init__(self, default: Reply) -> None:
        self.default = default
        self._lock = threading.Lock()
        self._queue: deque[Step] = deque()
        self._rules: list[_Rule] = []

    def __len__(self) -> int:
        """Queued steps that no request has taken yet."""
        return len(self._queue)

    def add(self, steps: Sequence[Step]) -> None:
        with self._lock:
            self._queue.extend(steps)

    def add_rule(self, match: Match, step: Step, times: int | None) -> None:
        with self._lock:
            self._rules.insert(0, _Rule(match, step, times))

    def clear(self) -> None:
        with self._lock:
            self._queue.clear()
            self._rules.clear()

    def next(self, request: Request, *, generates: bool) -> Reply | None:
        """The reply to *request*; None for one that generates nothing and that no rule is about."""
        step = self._take(request, generates=generates)
        if step is None:
            return self.default if generates else None
        return self._reply(step(request) if callable(step) else step)

    def _reply(self, step: "str | Reply | Fault") -> Reply:
        if isinstance(step, Reply):
            return step
        if isinstance(step, str):
            return replace(self.default, text=step, output_tokens=None)
        return replace(self.default, fault=step)

    def _take(self, request: Request, *, generates: bool) -> Step | None:
        with self._lock:
            for rule in self._rules:
                if rule.match(request):
                    if rule.left is not None:
                        rule.left -= 1
                        if not rule.left:
                            self._rules.remove(rule)
                    return rule.step
            return self._queue.popleft() if generates and self._queue else None
