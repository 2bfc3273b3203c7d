"""What a call may cost in tokens, before it is sent: a bound that holds, and an estimate that is usually near.

- The **bound** rests on tokenizers: no text has more tokens than UTF-8 bytes (Claude's: 2.5 times as many), and what a
  provider wraps around messages is smaller than the JSON around them. `strict` guards reserve it.
- The **estimate** is tokens per byte as learned from the replies of the same family of models. Default guards reserve
  it.
- Where the request does not say how much will be read (a server-side tool, a video behind a URL) there is no bound:
  None. Where only the size of one prompt is unknown (a PDF, a conversation kept by the provider) the context window is
  the bound.
"""

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, NamedTuple

from actguard.budget.limits import limits, max_output_tokens
from actguard.budget.names import bare

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


class Estimate(NamedTuple):
    """In tokens. A bound is None where none exists."""

    input_bound: int | None
    input_estimate: int
    output_bound: int | None
    output_estimate: int


class CapTooSmall(ValueError):  # noqa: N818 - read as what it says of the cap
    """The request cannot be given so low an output cap: the provider would refuse it."""

    def __init__(self, cap: int, minimum: int, why: str) -> None:
        super().__init__(f"an output cap of {cap} tokens is below {minimum}, {why}")
        self.cap, self.minimum, self.why = cap, minimum, why

    def __reduce__(self) -> tuple[type["CapTooSmall"], tuple[int, int, str]]:
        return type(self), (self.cap, self.minimum, self.why)


def estimate(
    provider: str | None,
    facts: RequestFacts,
    ratios: "InputRatios",
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
    profile = _profile(provider, facts)
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


# -- families of models ------------------------------------------------------------------------------------------------

Key = tuple[str | None, str, str]
Dialect = Literal["openai", "claude", "gemini", "nova", "grok", "other"]


class Profile(NamedTuple):
    """How a model counts."""

    family: str
    """The model's name without vendor, region, date and version suffixes."""
    dialect: Dialect
    version: tuple[int, int]
    overhead: int
    tools_overhead: int
    known: bool
    """Whether the name says which model it is: the name of an Azure deployment does not."""
    keys: "tuple[Key, Key]"
    """Where its ratios are learned: without tools, and with."""


# Tokens beyond the body that were seen, with room: what Claude (+315) and Nova (+570) are told around client tools, and
# Grok (+487) of itself.
_OVERHEAD: Final[dict[Dialect, tuple[int, int]]] = {
    "openai": (16, 16),
    "gemini": (16, 16),
    "claude": (16, 700),
    "nova": (64, 800),
    "other": (256, 512),
    "grok": (1500, 1500),
}
_DATE = re.compile(r"[-@](?:20\d{6}|20\d\d-\d\d-\d\d)(?=$|[-:.])")
_SUFFIX = re.compile(r"(?:-latest|-v\d+|:[\w-]+|-preview(?:-\d\d-\d{2,4})?|-\d{3}|-exp)+$")
_VERSION = re.compile(r"(\d{1,2})(?:[-.](\d{1,2}))?(?!\d)")
_OPENAI = re.compile(r"gpt-|chatgpt|o[1-9](?:$|-)|computer-use|codex|text-embedding|davinci|babbage|tts-|whisper")


@lru_cache(maxsize=1024)
def profile_of(provider: str | None, model: str) -> Profile:
    """The profile of *model*, whatever the vendor prefix, region or date it is written with."""
    name = bare(model[:200]).rsplit("/", 1)[-1]
    family = _SUFFIX.sub("", _DATE.sub("", name)) or name
    dialect: Dialect = "other"
    if "claude" in family or provider == "anthropic":
        dialect = "claude"
    elif family.startswith(("gemini", "gemma", "learnlm")) or provider == "google":
        dialect = "gemini"
    elif family.startswith("nova"):
        dialect = "nova"
    elif _OPENAI.match(family) or provider in ("openai", "azure"):
        dialect = "openai"
    elif family.startswith("grok"):
        dialect = "grok"
    version = _VERSION.search(family)
    known = dialect != "openai" or _OPENAI.match(family) is not None
    plain, tools = _OVERHEAD[dialect if known else "other"]
    number = (int(version[1]), int(version[2] or 0)) if version else (0, 0)
    keys = (provider, family, "plain"), (provider, family, "tools")
    return Profile(family, dialect, number, plain, tools, known, keys)


def _profile(provider: str | None, facts: RequestFacts) -> Profile:
    profile = profile_of(provider, facts.model)
    if facts.endpoint in _CLAUDE_ENDPOINTS and profile.dialect not in (
        "claude",
        "nova",
    ):  # behind an ARN or a deployment
        return profile_of("anthropic", facts.model)
    return profile


_CLAUDE_ENDPOINTS: Final = frozenset(("messages", "messages.batches", "complete"))


# -- media -------------------------------------------------------------------------------------------------------------


class MediaTokens(NamedTuple):
    bound: int | None
    estimate: int


# base and tile of the models that cut an image into 512 px tiles (at most 8); by prefix, first match
_TILED: Final = (
    ("gpt-4o-mini", 2833, 5667),
    ("gpt-4", 85, 170),
    ("chatgpt-4o", 85, 170),
    ("computer-use", 65, 129),
    ("o1", 75, 150),
    ("o3", 75, 150),
)
# tokens for each 32 px patch of the models that are limited to 1,536 of them
_PATCHED: Final = (
    ("gpt-4.1-mini", 162),
    ("gpt-4.1-nano", 246),
    ("o4-mini", 172),
    ("gpt-5-mini", 162),
    ("gpt-5-nano", 246),
)
_MOST_TILED: Final = 2833 + 8 * 5667
_OPENAI_PIXELS: Final = 6000 * 6000
"""The largest image the newer models take in at its own size."""


def media_tokens(profile: Profile, item: Media) -> MediaTokens:
    """Tokens of one item; the bound is None where the request does not tell, or how the model counts is not known."""
    if item.kind == "image":
        return _IMAGES[profile.dialect](profile, item)
    if item.kind == "audio":
        rate = {"openai": 12, "gemini": 33}.get(profile.dialect)  # 10 and 32 a second, and the framing
        if item.seconds and rate:
            return MediaTokens(item.seconds * rate + 64, item.seconds * rate)
        return MediaTokens(None, 2000 if not item.bytes else 200 + item.bytes // 250)
    if item.kind == "file" and item.source == "inline" and _is_text(item.detail):
        factor = 3 if profile.dialect == "claude" else 1
        return MediaTokens(item.bytes * factor + 64, item.bytes // 3 + 64)
    if item.kind == "video":
        return MediaTokens(None, 10_000 if not item.bytes else 2000 + item.bytes // 800)
    return MediaTokens(None, 6000 if not item.bytes else 3000 + item.bytes // 25)


def _is_text(mime: str) -> bool:
    return mime.startswith("text/") or mime in ("application/json", "application/xml")


def _openai_image(profile: Profile, item: Media) -> MediaTokens:
    family = profile.family
    patches = -(-item.width // 32) * -(-item.height // 32)
    for prefix, hundredths in _PATCHED:
        if family.startswith(prefix):
            count = min(patches, 1536) if patches else 1536
            return MediaTokens(count * hundredths // 100 + 16, count * hundredths // 100 + 16)
    for prefix, base, tile in _TILED:
        if family.startswith(prefix):
            if item.detail == "low":
                return MediaTokens(base, base)
            return MediaTokens(base + 8 * tile, base + 4 * tile)
    if family in ("gpt-5", "gpt-5-chat", "gpt-5-codex", "gpt-5-pro"):
        return MediaTokens(70 + 8 * 140, 70 + 4 * 140)
    # newer: patches, unlimited up to 12 megapixels at least; 1.0 to 1.23 tokens each were measured, small models 2.46
    tenths = 25 if "mini" in family or "nano" in family or not profile.known else 13
    least = 1200 if profile.known else _MOST_TILED  # some of these still cut tiles, gpt-4o-mini with the dearest of all
    if not patches:
        return MediaTokens(max(least, _OPENAI_PIXELS // 1024 * tenths // 10), 2500)
    return MediaTokens(max(least, patches * tenths // 10 + 128), patches * 12 // 10 + 128)


def _claude_image(profile: Profile, item: Media) -> MediaTokens:
    most = 1700 if profile.version != (0, 0) and profile.version < (4, 7) else 5000
    if not item.width or not item.height:
        return MediaTokens(most, most)
    pixels = item.width * item.height
    patches = -(-item.width // 28) * -(-item.height // 28)
    tokens = min(most, max(pixels // 750, patches) + 32)
    return MediaTokens(tokens, tokens)


def _gemini_image(profile: Profile, item: Media) -> MediaTokens:
    if profile.version >= (3, 0):
        ultra = profile.version >= (4, 0) or "ULTRA" in item.detail.upper()
        return MediaTokens(2400 if ultra else 1250, 1250)
    if not item.width or not item.height:
        return MediaTokens(6500, 1900)
    if item.width <= 384 and item.height <= 384:
        return MediaTokens(300, 260)
    unit = min(768, max(256, int(min(item.width, item.height) / 1.5)))
    tiles = 1 + -(-item.width // unit) * -(-item.height // unit)
    return MediaTokens(min(6500, 258 * tiles + 32), min(6500, 258 * tiles))


def _unknown_image(profile: Profile, item: Media) -> MediaTokens:
    return MediaTokens(None, 3000)


_IMAGES: Final[dict[Dialect, Callable[[Profile, Media], MediaTokens]]] = {
    "openai": _openai_image,
    "claude": _claude_image,
    "gemini": _gemini_image,
    "nova": _unknown_image,
    "grok": _unknown_image,
    "other": _unknown_image,
}


# -- learning ----------------------------------------------------------------------------------------------------------

_SEEDS: Final[dict[Dialect, float]] = {
    "openai": 0.45,
    "gemini": 0.45,
    "claude": 0.6,
    "nova": 0.6,
    "grok": 0.6,
    "other": 0.6,
}
_LEAST_RATIO: Final = 0.1
_DECAY: Final = 0.05
"""How far a learned maximum sinks towards each smaller observation: half of the way in 14."""
_EXTRA_SEED: Final = {"server": 10_000.0, "state": 2_000.0}


class InputRatios:
    """Tokens per byte, learned while running: for each family of models, with and without tools, a maximum that decays.

    Also what server-side tools and server-side state add to a prompt, in tokens. Safe to use from many threads.
    """

    def __init__(self, *, families: int = 256) -> None:
        self._families = families
        self._learned: dict[Key, float] = {}
        self._lock = threading.Lock()

    def estimate(self, provider: str | None, facts: RequestFacts, *, state_tokens: int | None = None) -> int:
        """Input tokens as they are likely to be billed, with a fifth to spare."""
        profile = _profile(provider, facts)
        tokens = self._text(profile, facts)
        kind = _kind(facts, state_tokens)
        if kind:
            tokens += int(self._learned.get((provider, profile.family, kind), _EXTRA_SEED[kind]))
        return tokens + (state_tokens or 0)

    def observe(
        self, provider: str | None, facts: RequestFacts, input_tokens: int, *, state_tokens: int | None = None
    ) -> None:
        """Learn from what a provider billed for the request of *facts*; an estimate would only teach itself."""
        profile = _profile(provider, facts)
        kind = _kind(facts, state_tokens)
        if kind:
            extra = input_tokens - self._text(profile, facts)
            self._learn((provider, profile.family, kind), max(0.0, float(extra)), _EXTRA_SEED[kind])
        elif not (facts.media or facts.unsized or facts.state) and facts.sized and facts.body_bytes > 0:
            overhead = facts.hidden_tokens + (profile.tools_overhead if facts.tools else profile.overhead)
            ratio = max(_LEAST_RATIO, (input_tokens - overhead) / facts.body_bytes)
            self._learn(profile.keys[facts.tools], ratio, _SEEDS[profile.dialect])

    def _text(self, profile: Profile, facts: RequestFacts) -> int:
        """What the request itself comes to, without what the provider adds to it."""
        ratio = self._learned.get(profile.keys[facts.tools], _SEEDS[profile.dialect])
        overhead = facts.hidden_tokens + (profile.tools_overhead if facts.tools else profile.overhead)
        most = 2.5 if profile.dialect == "claude" else 1.0
        tokens = int(facts.body_bytes * min(most, ratio * 1.2)) + overhead
        for item in facts.media:
            tokens += media_tokens(profile, item).estimate
        return tokens

    def _learn(self, key: Key, seen: float, seed: float) -> None:
        with self._lock:
            known = self._learned.pop(key, seed)
            self._learned[key] = seen if seen > known else known + (seen - known) * _DECAY
            if len(self._learned) > self._families:  # the first is the one not taught for the longest time
                del self._learned[next(iter(self._learned))]


def _kind(facts: RequestFacts, state_tokens: int | None) -> str:
    if facts.server_tools or facts.unbounded:
        return "server"
    return "state" if facts.state and state_tokens is None else ""
