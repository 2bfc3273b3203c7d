"""What a path leads to: a wire, which generates, or a handler, which answers from what is known."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from actguard.testing.http import Request
from actguard.testing.script import HttpError
from actguard.testing.wires.wire import Answer, Wire


@dataclass(frozen=True, slots=True)
class Static:
    """A reply that nothing was generated for."""

    body: Mapping[str, Any] | bytes
    content_type: str = "application/json"


class Desk(Protocol):
    """What a handler may ask of the server: to run requests that came inside another one (batches)."""

    def make(self, path: str, body: Mapping[str, Any]) -> tuple[Wire, Answer]:
        """The scripted answer to a request for *path*."""
        ...

    def bill(self, wire: Wire, answer: Answer, *, variant: str | None = None) -> None: ...


Match = Mapping[str, str]
"""The named parts of a path, and `provider`."""

Handler = Callable[[Request, Match, Desk], Static | HttpError]
Target = Wire | Handler


@dataclass(frozen=True, slots=True)
class Route:
    target: Target
    match: Match
