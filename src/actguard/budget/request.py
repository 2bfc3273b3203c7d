"""What a request says about its own size, for `estimate`; and how it refuses to be made smaller."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

MediaKind = Literal["image", "pdf", "audio", "video", "file"]
MediaSource = Literal["inline", "url", "file_id"]


class Media(NamedTuple):
    """One thing in a request that is not text. Its base64 is not part of `RequestFacts.body_bytes`."""

    kind: MediaKind
    source: MediaSource
    bytes: int = 0
    """Decoded size of inline data; 0 where it is elsewhere."""
    detail: str = ""
    """How closely an image is looked at, in the request's word (`low`, `MEDIA_RESOLUTION_HIGH`); else a MIME type."""
    width: int = 0
    height: int = 0
    seconds: int = 0
    """At least as long as the sound lasts; 0 where that is unknown."""


@dataclass(slots=True)
class RequestFacts:
    """What a request says about its own size. Read from the wire form by `providers/*/request.py`."""

    model: str
    body_bytes: int
    """At least the size of the body as compact UTF-8 JSON, base64 payloads of `media` excluded."""
    media: tuple[Media, ...] = ()
    tools: bool = False
    """Client tools are declared."""
    server_tools: tuple[str, ...] = ()
    """Tools the provider runs by itself, as the request names their types."""
    state: tuple[str, ...] = ()
    """What the provider keeps and will add to the prompt: response, conversation, cache and file ids."""
    choices: int = 1
    """How many times the output cap may be spent: `n` times the prompts of a list."""
    output_cap: int | None = None
    """As the request states it, for one choice."""
    sized: bool = True
    """False when a part could not be measured without consuming it. Read the facts again from the final body."""
    unbounded: tuple[str, ...] = ()
    """Why no bound exists, for messages and policy."""
    unsized: tuple[str, ...] = ()
    """What only the context window bounds."""
    hidden_tokens: int = 0
    """At most what the provider's own descriptions of its client tools add to the prompt."""
    server_tool_uses: int | None = None
    """At most how often all `server_tools` together may run, where the request limits that."""
    endpoint: str = ""
    stream: bool = False
    include_usage: bool | None = None
    """`stream_options.include_usage` as the user gave it."""
    background: bool = False
    long_cache: bool = False
    """A part of the prompt marks what is to be kept in the prompt cache, for as long as it may say."""
    upload_bytes: int = 0
    """Of what is sent in files beside the body; 0 where there is nothing, or nobody knows how much."""


class CapTooSmall(ValueError):  # noqa: N818 - read as what it says of the cap
    """The request cannot be given so low an output cap: the provider would refuse it."""

    def __init__(self, cap: int, minimum: int, why: str) -> None:
        super().__init__(f"an output cap of {cap} tokens is below {minimum}, {why}")
        self.cap, self.minimum, self.why = cap, minimum, why

    def __reduce__(self) -> tuple[type["CapTooSmall"], tuple[int, int, str]]:
        return type(self), (self.cap, self.minimum, self.why)
