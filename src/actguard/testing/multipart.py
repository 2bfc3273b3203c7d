"""Form fields of a multipart request."""

import re

from actguard.testing.http import Request

_NAME = re.compile(rb'[; ]name="([^"]*)"')
_FILENAME = re.compile(rb'[; ]filename="')


def form(request: Request) -> dict[str, str]:
    """The text fields, by name. Files are not among them."""
    return {name: value.decode("utf-8", "replace") for name, value, is_file in _parts(request) if not is_file}


def file(request: Request) -> bytes | None:
    """The content of the first file."""
    return next((value for _, value, is_file in _parts(request) if is_file), None)


def _parts(request: Request) -> list[tuple[str, bytes, bool]]:
    content_type, _, boundary = request.headers.get("content-type", "").partition("boundary=")
    if not content_type.startswith("multipart/") or not boundary:
        return []
    parts: list[tuple[str, bytes, bool]] = []
    for part in request.body.split(b"--" + boundary.strip('"').encode()):
        head, blank, content = part.partition(b"\r\n\r\n")
        if blank and (name := _NAME.search(head)):
            parts.append((name[1].decode(), content.removesuffix(b"\r\n"), _FILENAME.search(head) is not None))
    return parts
