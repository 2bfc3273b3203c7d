"""Server-sent events, read beside the program that they are meant for.

Every byte of the stream is in the `raw` of exactly one event, so that a tap can drop one event and pass the others on
byte for byte. Where the stream was cut into chunks makes no difference to what comes out.
"""

import re
from typing import NamedTuple

_LINE_END = re.compile(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"
_LF, _CR = 0x0A, 0x0D


class SSEEvent(NamedTuple):
    event: str | None
    data: bytes
    """The data lines, joined with a line feed; empty for an event that has none (a comment, a stray blank line)."""
    raw: bytes
    """The event as it stood in the stream, with the blank line that ended it."""


class SSEParser:
    """Incremental: feed what arrives, get the events that it completed."""

    __slots__ = ("_buffer", "_line", "_seen", "_started")

    def __init__(self) -> None:
        self._buffer = bytearray()  # an event that is not complete
        self._line = 0  # where its last line begins
        self._seen = 0  # up to where line ends were looked for
        self._started = False

    def feed(self, chunk: bytes) -> list[SSEEvent]:
        # The usual chunk: whole events, and line feeds only.
        if not self._buffer and chunk[-2:] == b"\n\n" and chunk[0] != _LF and _CR not in chunk:
            if chunk.find(b"\n\n") == len(chunk) - 2:
                return [self._event(chunk)]
            if b"\n\n\n" not in chunk:
                return [self._event(part + b"\n\n") for part in chunk[:-2].split(b"\n\n")]
        self._buffer += chunk
        return self._events(last=False)

    def flush(self) -> list[SSEEvent]:
        """The stream is over: what is left, complete or not."""
        events = self._events(last=True)
        if self._buffer:
            events.append(self._event(bytes(self._buffer)))
            self._buffer.clear()
        self._line = self._seen = 0
        return events

    def _events(self, *, last: bool) -> list[SSEEvent]:
        buffer = self._buffer
        events: list[SSEEvent] = []
        begin, line, seen = 0, self._line, self._seen
        while found := _LINE_END.search(buffer, seen):
            end, after = found.span()
            if after == len(buffer) and after - end == 1 and buffer[end] == _CR and not last:
                seen = end  # a carriage return alone, or half of a pair? The next byte tells.
                break
            if end == line:
                events.append(self._event(bytes(buffer[begin:after])))
                begin = after
            line = seen = after
        else:
            seen = len(buffer)
        if begin:
            del buffer[:begin]
        self._line, self._seen = line - begin, seen - begin
        return events

    def _event(self, raw: bytes) -> SSEEvent:
        if raw[:6] == b"data: " and raw.find(b"\n") == len(raw) - 2 and raw[-1] == _LF and _CR not in raw:
            self._started = True
            return SSEEvent(None, raw[6:-2], raw)
        text = raw
        if not self._started:
            self._started = True
            text = raw.removeprefix(_BOM)
        name: str | None = None
        data: list[bytes] = []
        for line in text.splitlines():  # of bytes: only at CR, LF and CRLF
            field, _, value = line.partition(b":")
            if field == b"data":
                data.append(value.removeprefix(b" "))
            elif field == b"event":
                name = value.removeprefix(b" ").decode("utf-8", "replace")
        return SSEEvent(name, b"\n".join(data), raw)


class LineParser:
    """Incremental reader of one JSON document a line (results of a message batch). Empty lines are skipped."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest: list[bytes] = []

    def feed(self, chunk: bytes) -> list[bytes]:
        head, found, tail = chunk.rpartition(b"\n")
        if not found:
            self._rest.append(chunk)
            return []
        whole = b"".join((*self._rest, head))
        self._rest = [tail]
        return [line for line in whole.split(b"\n") if line.strip()]

    def flush(self) -> list[bytes]:
        whole = b"".join(self._rest)
        self._rest = []
        return [whole] if whole.strip() else []
