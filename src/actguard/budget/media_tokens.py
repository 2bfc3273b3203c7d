"""What images, sound and files come to in tokens, by how each family of models counts them."""

from collections.abc import Callable
from typing import Final, NamedTuple

from actguard.budget.families import Dialect, Profile
from actguard.budget.request import Media


class MediaTokens(NamedTuple):
    bound: int | None
    estimate: int


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
