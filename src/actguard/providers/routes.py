"""Endpoint tables: which request is billed how. The rows are in `*/endpoints.py`; here is only the matching."""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from actguard.providers.endpoint import Endpoint, Kind

_HOST = re.compile(r"^[a-z][a-z0-9+.-]*://[^/]*", re.IGNORECASE)
_SLASHES = re.compile(r"//+")
_READING = frozenset({"GET", "HEAD", "OPTIONS", "DELETE"})

UNKNOWN_READ = Endpoint("unknown", Kind.FREE)
UNKNOWN_WRITE = Endpoint("unknown", Kind.UNMETERED)


class Row(NamedTuple):
    method: str
    path: str
    """`/a/{any}/b` fits the *end* of a path, whatever base it stands on; `/a/**` fits everything below `a`;
    `:verb` fits the end of a last segment."""
    name: str
    kind: Kind


class Routes:
    """The first row that fits decides; a read that no row knows is free, a write that none knows is unmetered."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows = [(row.method, row.path, Endpoint(row.name, row.kind)) for row in rows]
        self.find = lru_cache(maxsize=1024)(self._find)
        """The endpoint of a method and a path. Remembered, because ids and model names stand in paths."""

    def exact(self, *requests: tuple[str, str]) -> dict[tuple[str, str], Endpoint]:
        """What is asked most, for one dict lookup; methods in both of the spellings that the SDKs use."""
        return {
            (spelt, path): self._find(method, path) for method, path in requests for spelt in (method, method.lower())
        }

    def _find(self, method: str, path: str) -> Endpoint:
        method = method.upper()
        path = bare(path)
        parts = path.split("/")
        for wanted, pattern, endpoint in self._rows:
            if wanted == method and (path.endswith(pattern) if pattern.startswith(":") else _fits(pattern, parts)):
                return endpoint
        return UNKNOWN_READ if method in _READING else UNKNOWN_WRITE


def bare(url: str) -> str:
    """The path alone: no host, query, fragment, doubled or trailing slash."""
    path = _HOST.sub("", url).partition("?")[0].partition("#")[0]
    return _SLASHES.sub("/", path).rstrip("/")


def _fits(pattern: str, parts: list[str]) -> bool:
    """Whether the end of a path, given by its *parts*, is as *pattern* says. No regular expressions: to compile a
    hundred of them takes longer than everything else that the first guard does."""
    below = pattern.endswith("/**")
    wanted = pattern.removesuffix("/**").strip("/").split("/")
    last = len(parts) - len(wanted)
    return any(
        all(part if want.startswith("{") else part == want for want, part in zip(wanted, parts[start:], strict=False))
        for start in range(0 if below else max(last, 0), last + 1)
    )
