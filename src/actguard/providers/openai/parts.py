"""Parts of messages and of input items: text is counted where it stands, everything else is looked at here."""

from typing import Any, cast

from actguard.budget.request import Media, MediaKind
from actguard.providers.measure import Base64, Found, as_dict, data_url, inline, items, kind_in, kind_of


def response_content(found: Found, content: object) -> None:
    """The parts of a message of the Responses API, or of what a tool put out."""
    for part in items(content):
        if not isinstance(part, dict):
            continue
        part = cast("dict[str, Any]", part)
        if _KEPT in part:
            found.facts.long_cache = True
        kind = kind_in(part, "input_text")
        if kind in _TEXT_PARTS:
            continue
        if kind in ("input_image", "computer_screenshot"):
            _image(found, part, "image_url")
        elif kind == "input_file":
            _file(found, part, part, nested=False)
        else:
            chat_part(found, part)


def chat_part(found: Found, part: dict[str, Any]) -> None:
    """One part of a message of the chat API."""
    if _KEPT in part:
        found.facts.long_cache = True
    kind = kind_in(part, "text")
    if kind in _TEXT_PARTS:
        return
    inner = part.get(kind)
    if kind in ("image_url", "input_image"):
        _image(found, part, kind)
    elif kind == "input_audio":
        sound = as_dict(inner)
        data = sound.get("data")
        item = inline("audio", Base64(data) if isinstance(data, str) else None, form=str(sound.get("format")))
        found.media(part, item, {**part, "input_audio": {**sound, "data": ""}})
    elif kind == "file":
        _file(found, part, as_dict(inner), nested=True)
    elif kind in ("document_url", "video_url", "audio_url"):
        found.media(part, Media(_URL_KINDS[kind], "url"))
        found.unbounded(f"url {_URL_KINDS[kind]}")
    else:
        found.unbounded(f"content of type {kind}")


_KEPT = "prompt_cache_breakpoint"
_URL_KINDS: dict[str, MediaKind] = {"document_url": "pdf", "video_url": "video", "audio_url": "audio"}
_TEXT_PARTS = frozenset(("text", "refusal", "thinking", "reasoning", "reference", "input_text", "output_text"))


def _image(found: Found, part: dict[str, Any], key: str) -> None:
    """An image: chat nests `{url, detail}`, responses put `image_url`, `file_id` and `detail` side by side."""
    inner: Any = part.get(key)
    holder = as_dict(inner) if inner is not None and not isinstance(inner, str) else part
    url = holder.get("url") if holder is not part else inner
    detail = str(holder.get("detail") or "auto")
    if not isinstance(url, str):
        found.media(part, Media("image", "file_id", 0, detail))
        return
    head = data_url(url)
    if head is None:
        found.media(part, Media("image", "url", 0, detail))
        return
    short = url[: head[1]]
    without = {**part, key: {**holder, "url": short} if holder is not part else short}
    found.media(part, inline("image", Base64(url, head[1]), detail), without)


def _file(found: Found, part: dict[str, Any], holder: dict[str, Any], *, nested: bool) -> None:
    """A file: its data, its URL or its id."""
    data = holder.get("file_data")
    if isinstance(data, str):
        head = data_url(data)
        mime, start = head or ("", 0)
        trimmed = {**holder, "file_data": data[:start]}
        item = inline(kind_of(mime), Base64(data, start), mime)
        found.media(part, item, {**part, "file": trimmed} if nested else trimmed)
    elif holder.get("file_url") is not None:
        found.media(part, Media("pdf", "url"))
        found.unbounded("url file")
    else:
        found.media(part, Media("file", "file_id"))
        found.state(str(holder.get("file_id")))
