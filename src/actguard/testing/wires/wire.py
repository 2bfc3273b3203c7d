"""What every wire is: pure translation. It reads a request into `Asked` and renders an `Answer`; it does no I/O.

The figures live in `Answer.counts`; a wire only says them in its own words, so that billing is written once.
"""

import itertools
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, ClassVar, Literal, NamedTuple

from actguard.testing import tokens
from actguard.testing.counts import Counts
from actguard.testing.http import Request
from actguard.testing.jsons import dumps, mapping
from actguard.testing.script import Reply

ForcedTool = tuple[str, Mapping[str, Any]]
"""The name of a client tool, and the schema of its arguments."""


class Event(NamedTuple):
    """One event of a stream."""

    data: Mapping[str, Any] | str
    name: str | None = None
    tokens: int = 0
    """How many visible output tokens it carries."""


@dataclass(slots=True, kw_only=True)
class Asked:
    """What a request wants, whichever wire it came by."""

    provider: str
    endpoint: str
    model: str
    input_tokens: int
    """By the counting rule."""
    cap: int | None = None
    """Of one choice, reasoning included."""
    choices: int = 1
    stream: bool = False
    schema: Mapping[str, Any] | None = None
    """Of the JSON that the answer must be."""
    forced_tool: ForcedTool | None = None
    generates_text: bool = True
    service_tier: str | None = None
    """The tier, speed and region that are asked for; the reply is of these unless it is scripted."""
    speed: str | None = None
    geo: str | None = None
    body: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(slots=True)
class Call:
    """A tool call as it is generated: its arguments in pieces, one token each."""

    id: str
    name: str
    pieces: list[str]

    @property
    def arguments(self) -> str:
        return "".join(self.pieces)

    @property
    def parsed(self) -> dict[str, Any]:
        """The arguments as an object; empty when the cap cut them off."""
        try:
            return dict(json.loads(self.arguments))
        except ValueError:
            return {}


@dataclass(slots=True, kw_only=True)
class Answer:
    """A reply with every figure settled. See `settle.answer`."""

    asked: Asked
    reply: Reply
    id: str
    created: int
    model: str
    pieces: list[str]
    """The visible text, one token each."""
    calls: list[Call]
    finish: Literal["stop", "length", "tool_calls"]
    counts: Counts
    """When it is delivered whole."""
    usd: Decimal | None = None
    """What the whole of it costs, where the provider names the figure itself."""

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def visible(self) -> int:
        """Visible tokens of one choice."""
        return len(self.pieces) + sum(len(call.pieces) for call in self.calls)

    def groups(self, pieces: Sequence[str]) -> list[tuple[str, int]]:
        """*pieces* as the events of a stream carry them, each with how many tokens it is."""
        return tokens.grouped(pieces, self.reply.delivery.tokens_per_event)


class Wire(ABC):
    """One API's words."""

    content_type: ClassVar[str] = "application/json"
    stream_type: ClassVar[str] = "text/event-stream"
    shows_reasoning: ClassVar[bool] = False
    """Reasoning tokens have events of their own."""
    crlf: ClassVar[bool] = False

    @abstractmethod
    def asked(self, request: Request, match: Mapping[str, str]) -> Asked:
        """Read a request; *match* holds the named parts of its path."""

    @abstractmethod
    def body(self, answer: Answer) -> Mapping[str, Any] | bytes:
        """The whole reply."""

    @abstractmethod
    def events(self, answer: Answer) -> Iterator[Event]:
        """The reply as a stream."""

    @abstractmethod
    def usage(self, answer: Answer, counts: Counts) -> dict[str, Any]:
        """The usage object that states *counts*."""

    @abstractmethod
    def error(self, status: int, message: str) -> Mapping[str, Any]:
        """The body of an error reply."""

    def error_event(self, answer: Answer, message: str, type: str) -> Event:
        """An error inside a stream."""
        return Event(self.error(500, message))

    def new_id(self) -> str:
        return new_id("")

    def defaults(self, asked: Asked, reply: Reply) -> Reply:
        """*reply* with what this wire generates when nothing is scripted."""
        return reply

    def counted(self, answer: Answer) -> Counts:
        """What is billed of *answer*, where that is not plainly its tokens."""
        return answer.counts

    def billed(self, answer: Answer) -> None:
        """Told of every answer that was made to its end, before that is sent: what later requests may refer to."""
        return

    def deferred(self, answer: Answer) -> Mapping[str, Any] | None:
        """What is sent instead of the reply when it was asked for in the background; else None."""
        return None

    def ping(self) -> bytes:
        return b": ping\n\n"

    def frame(self, event: Event, *, space: bool = True) -> bytes:
        """One event as bytes, lines ending in LF."""
        colon = ": " if space else ":"
        name = f"event{colon}{event.name}\n" if event.name is not None else ""
        data = event.data if isinstance(event.data, str) else dumps(event.data)
        return f"{name}data{colon}{data}\n\n".encode()

    def stated_usage(self, answer: Answer) -> Mapping[str, Any] | None:
        """The usage object that the reply carries, true or as scripted; None when it carries none."""
        if isinstance(answer.reply.usage, str):
            return self.usage(answer, answer.counts) if answer.reply.usage == "reported" else None
        return answer.reply.usage


def forced_tool(tools: Iterable[Mapping[str, Any]], name: object, schema: str) -> ForcedTool | None:
    """The first of *tools*, or the one called *name*, with what it says under *schema*."""
    for tool in tools:
        if name is None or tool.get("name") == name:
            return tool["name"], mapping(tool.get(schema))
    return None


_process = os.urandom(4).hex()
_serial = itertools.count(1)


def new_id(prefix: str) -> str:
    """Unique, and in order within this process."""
    return f"{prefix}{_process}{next(_serial):016d}"
