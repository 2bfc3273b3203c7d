"""How the local provider counts and generates, by rules simple enough to predict on paper.

Input tokens of a request: a quarter of the UTF-8 bytes of its text, rounded up, plus 4 for each message and 3 for the
request; an image, sound or file counts 85. Text is every string below the keys that carry content, tool declarations
included; roles, types, ids and base64 media are not text. It never exceeds the bytes of the body (media aside).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from actguard.testing.jsons import mapping, sequence

PER_REQUEST = 3
PER_MESSAGE = 4
PER_MEDIA = 85

_CONTENT = (
    "messages",
    "input",
    "instructions",
    "system",
    "prompt",
    "contents",
    "content",
    "requests",
    "systemInstruction",
    "system_instruction",
    "tools",
    "functions",
    "instances",
)
_MESSAGES = ("messages", "contents", "input")
_NOT_TEXT = frozenset(
    ("role", "type", "id", "call_id", "tool_call_id", "tool_use_id", "model", "detail", "status", "ttl", "format")
) | {"mimeType", "mime_type", "media_type", "cache_control", "signature", "thoughtSignature", "encrypted_content"}
_MEDIA = frozenset(
    ("image_url", "input_audio", "source", "inlineData", "inline_data", "fileData", "file_data", "file", "image")
) | {"data"}
_WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


def count(text: str) -> int:
    """A quarter of the UTF-8 bytes, rounded up."""
    return -(-len(text.encode()) // 4) if not text.isascii() else -(-len(text) // 4)


def count_input(body: Mapping[str, Any]) -> int:
    """The input tokens of a request, by the module's rule."""
    text, media = 0, 0
    messages = 0
    stack: list[object] = []
    for key in _CONTENT:
        if (value := body.get(key)) is not None:
            stack.append(value)
            if key in _MESSAGES:
                messages += len(sequence(value))
    while stack:
        value = stack.pop()
        if isinstance(value, str):
            text += len(value) if value.isascii() else len(value.encode())
        elif fields := mapping(value):
            for key, below in fields.items():
                if key in _MEDIA:
                    media += 1
                elif key not in _NOT_TEXT:
                    stack.append(below)
        else:
            stack.extend(sequence(value))
    return -(-text // 4) + PER_MESSAGE * messages + PER_REQUEST + PER_MEDIA * media


def words(tokens: int) -> list[str]:
    """Text of exactly so many tokens, one piece each: `one two three ...`."""
    pieces = [_WORDS[i % len(_WORDS)] + " " for i in range(tokens)]
    if pieces:
        pieces[-1] = pieces[-1].rstrip()
    return pieces


def split(text: str, pieces: int) -> list[str]:
    """*text* in so many pieces of nearly equal length; some are empty when there is not enough of it."""
    if pieces <= 0:
        return []
    size, longer = divmod(len(text), pieces)
    cut, result = 0, list[str]()
    for i in range(pieces):
        end = cut + size + (i < longer)
        result.append(text[cut:end])
        cut = end
    return result


def grouped(pieces: Sequence[str], size: int) -> list[tuple[str, int]]:
    """Pieces joined *size* at a time, each with how many tokens it is."""
    if size <= 1:
        return [(piece, 1) for piece in pieces]
    return [("".join(group := pieces[i : i + size]), len(group)) for i in range(0, len(pieces), size)]


def instance(schema: Mapping[str, Any], root: Mapping[str, Any] | None = None) -> Any:
    """The smallest value that satisfies a JSON schema, as far as structured output uses one."""
    root = root if root is not None else schema
    if ref := schema.get("$ref"):
        target: Any = root
        for part in str(ref).lstrip("#/").split("/"):
            target = target[part]
        return instance(target, root)
    for constant in ("const", "default"):
        if constant in schema:
            return schema[constant]
    if options := schema.get("enum"):
        return options[0]
    for union in ("anyOf", "oneOf", "allOf"):
        if options := schema.get(union):
            return instance(options[0], root)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    match str(next(iter(sequence(kind)), kind)).lower():
        case "object":
            properties: Mapping[str, Any] = schema.get("properties", {})
            required = schema.get("required", list(properties))
            return {name: instance(properties.get(name, {}), root) for name in required}
        case "array":
            return [instance(schema.get("items", {}), root) for _ in range(schema.get("minItems", 0))]
        case "integer" | "number":
            return schema.get("minimum", 1)
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return "text"
