"""HTTP/1.1, as much of it as API clients speak, with the socket in reach: resets, half bodies, one-byte chunks.

`Connection` is one client connection. It hands each `Request` to the application and offers it the ways to answer.
"""

import asyncio
import json
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from functools import cached_property
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import parse_qsl, unquote

_REASONS = {status.value: status.phrase for status in HTTPStatus}
_MAX_HEAD = 64 * 1024


class Request:
    """One request, whole."""

    def __init__(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> None:
        self.method = method
        self.target = target
        self.headers = headers
        """Names in lower case."""
        self.body = body
        path, _, self.query_string = target.partition("?")
        self.path = unquote(path)

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(self.query_string))

    @cached_property
    def json(self) -> dict[str, Any]:
        """The body as an object; empty when it is anything else."""
        try:
            body: object = json.loads(self.body)
        except ValueError:
            return {}
        return cast("dict[str, Any]", body) if isinstance(body, dict) else {}

    @cached_property
    def model(self) -> str:
        """The model it names in its body, else empty."""
        model = self.json.get("model")
        return model if isinstance(model, str) else ""

    @property
    def text(self) -> str:
        """The body as text, for matching."""
        return self.body.decode("utf-8", "replace")

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.target}>"


Application = Callable[[Request, "Connection"], Awaitable[None]]


class Connection(asyncio.Protocol):
    """One client connection; requests on it are answered one after the other."""

    def __init__(self, application: Application, connections: "set[Connection]") -> None:
        self._application = application
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray()
        self._current: asyncio.Task[None] | None = None
        self._keep_alive = True
        self._writable: asyncio.Future[None] | None = None
        self._transport: asyncio.Transport
        self.gone: asyncio.Future[None] = self._loop.create_future()
        """Done once the client has left."""

    # -- answering ---------------------------------------------------------------------------------------------------

    def respond(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """A whole response at once."""
        self.write(self._head(status, {**headers, "content-length": str(len(body))}) + body)

    def start(self, status: int, headers: Mapping[str, str], *, length: int | None = None) -> None:
        """A response whose body follows in pieces: `chunk` them and `finish`, or `write` *length* bytes raw."""
        framing = {"transfer-encoding": "chunked"} if length is None else {"content-length": str(length)}
        self.write(self._head(status, {**headers, **framing}))

    def chunk(self, data: bytes) -> None:
        if data:
            self.write(b"%x\r\n%b\r\n" % (len(data), data))

    def finish(self) -> None:
        self.write(b"0\r\n\r\n")

    def write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)

    async def drain(self) -> None:
        """Let the socket empty, and let news of the client's leaving come in."""
        if self._writable is not None:
            await asyncio.wait((self._writable, self.gone), return_when=asyncio.FIRST_COMPLETED)
        else:
            await asyncio.sleep(0)

    async def wait(self, seconds: float) -> None:
        """Sleep, but not longer than the client stays."""
        if seconds > 0:
            await asyncio.wait((self.gone,), timeout=seconds)

    def reset(self) -> None:
        """Break the connection so that the client sees a reset, not an orderly end."""
        sock = self._transport.get_extra_info("socket")
        if sock is not None and not self._transport.is_closing():  # else the client has left, and its socket with it
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    def abort(self) -> None:
        """Drop the connection and whatever was to be sent."""
        self._transport.abort()

    def close(self) -> None:
        self._transport.close()

    def _head(self, status: int, headers: Mapping[str, str]) -> bytes:
        if not self._keep_alive:
            headers = {**headers, "connection": "close"}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"HTTP/1.1 {status} {_REASONS.get(status, 'Status')}\r\n{lines}\r\n".encode("latin-1")

    # -- asyncio.Protocol --------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(0)  # `drain` means that the kernel has all of it
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._current is None:
            self._next()

    def eof_received(self) -> bool:
        self._left()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._left()
        self._connections.discard(self)

    def pause_writing(self) -> None:
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    # -- requests ----------------------------------------------------------------------------------------------------

    def _left(self) -> None:
        if not self.gone.done():
            self.gone.set_result(None)

    def _next(self) -> None:
        try:
            request = self._parse()
        except ValueError:
            self._keep_alive = False
            self.respond(400, {}, b"")
            self._transport.close()
            return
        if request is not None:
            self._current = self._loop.create_task(self._answer(request))

    async def _answer(self, request: Request) -> None:
        try:
            await self._application(request, self)
        finally:
            self._current = None
            if not self._keep_alive:
                self._transport.close()
            elif self._buffer and not self.gone.done():
                self._next()

    def _parse(self) -> Request | None:
        """Take one whole request off the buffer, or nothing."""
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > _MAX_HEAD:
                raise ValueError("endless head")
            return None
        start_line, *lines = bytes(self._buffer[:end]).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        method, target, version = start_line.split(" ")
        if "expect" in headers and len(self._buffer) == end + 4:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if headers.get("transfer-encoding", "").lower() == "chunked":
            unchunked = _unchunk(self._buffer, end + 4)
            if unchunked is None:
                return None
            body, used = unchunked
        else:
            used = end + 4 + int(headers.get("content-length", 0))
            if len(self._buffer) < used:
                return None
            body = bytes(self._buffer[end + 4 : used])
        del self._buffer[:used]
        self._keep_alive = version == "HTTP/1.1" and headers.get("connection", "").lower() != "close"
        return Request(method, target, headers, body)


def _unchunk(buffer: bytearray, at: int) -> tuple[bytes, int] | None:
    """The body of a chunked request and where it ends; None while it is incomplete."""
    body = bytearray()
    while (line_end := buffer.find(b"\r\n", at)) >= 0:
        size = int(bytes(buffer[at:line_end]).partition(b";")[0], 16)
        start = line_end + 2
        if len(buffer) < start + size + 2:
            return None
        body += buffer[start : start + size]
        at = start + size + 2
        if size == 0:
            return bytes(body), at
    return None
