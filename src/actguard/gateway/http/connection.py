"""A client's connection, for uvicorn's server: what agents ask goes straight to its endpoint.

Uvicorn's own makes a task, an event, a timer and two writes for each request, which is more work than the rest of a
reserve. Here only what goes through the ASGI application takes a task. Nothing streams: requests and answers are whole.
"""

import asyncio
import logging
import re
from collections.abc import Coroutine
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Final, cast
from urllib.parse import unquote

import httptools
from uvicorn import Config
from uvicorn.server import ServerState

from actguard.gateway.http.app import App
from actguard.gateway.http.reader import Heard, Reader
from actguard.gateway.http.wire import Answer, Message, Request, answer, failure, header_lines

_log = logging.getLogger("actguard.gateway.requests")

SLOWEST_S: Final = 60
"""How long a client may take to send one request."""
_UNFIT: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


class Connection(asyncio.Protocol):
    """One request after the other; those sent ahead wait for their turn. To be given to `uvicorn.Config(http=...)`."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        app = cast(object, config.loaded_app)  # pyright: ignore[reportUnknownMemberType]
        assert isinstance(app, App), "this serves the gateway's application and no other"
        self._app: Final = app
        self._idle_s: Final = config.timeout_keep_alive
        self._server: Final = server_state
        self._connections: Final[set[Any]] = server_state.connections
        self._loop: Final = _loop or asyncio.get_running_loop()
        self._reader: Final = Reader()
        self._gone: Final = asyncio.Event()
        self._answering: Heard | None = None
        self._stuck = self._ahead = self._stopped = self._heard_all = False
        """Whether the client does not read its answers, has sent some ahead, the server ends, the client has ended."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._connections.add(self)
        self._deadline = self._loop.time() + SLOWEST_S
        self._timer = self._loop.call_later(self._idle_s, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        self._timer.cancel()
        self._gone.set()

    def data_received(self, data: bytes) -> None:
        reader = self._reader
        begun = reader.begun
        reader.feed(data)
        if reader.heard:
            self._next()
            if reader.heard and not self._transport.is_closing():
                self._ahead = True
                self._transport.pause_reading()
        if reader.begun and not begun:
            self._deadline = self._loop.time() + SLOWEST_S
        if reader.asks_to_continue and self._answering is None:
            reader.asks_to_continue = False
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def eof_received(self) -> bool:
        """Whoever has only stopped sending still hears what was asked for."""
        self._heard_all = True
        return self._answering is not None

    def pause_writing(self) -> None:
        self._stuck = True

    def resume_writing(self) -> None:
        self._stuck = False
        self._next()

    def shutdown(self) -> None:
        """Finish what is being answered; called by the server before it ends."""
        self._stopped = True
        if self._answering is None:
            self._transport.close()

    def _look(self) -> None:
        """Whether the client takes too long: one timer for a connection, where one for a request would be dear."""
        left = self._deadline - self._loop.time()
        if self._transport.is_closing():
            self._transport.abort()
            return
        if self._answering is None and left <= 0:
            if self._reader.begun:
                self._write(answer(failure(408, "too_slow", f"A request may take {SLOWEST_S} seconds.")), last=True)
            self._transport.close()
        self._timer = self._loop.call_later(left if left > 0 else self._idle_s, self._look)

    def _next(self) -> None:
        heard = self._reader.heard
        if not heard or self._answering is not None or self._stuck or self._transport.is_closing():
            return
        now = self._answering = heard.popleft()
        served = self._app.direct.get((now.method, now.url))
        if now.refusal is not None:
            request = Request(now.url, now.headers)
            self._answered(served.finished(request, now.refusal) if served is not None else answer(now.refusal))
            return
        if served is not None:
            left = served.begin(Request(now.url, now.headers, now.body), self._answered)
        else:
            left = self._through_app(now)
        if left is not None:
            task = self._loop.create_task(self._wait_for(left))
            self._server.tasks.add(task)
            task.add_done_callback(self._server.tasks.discard)

    async def _wait_for(self, left: Coroutine[Any, Any, Answer]) -> None:
        self._answered(await left)

    def _answered(self, answer: Answer) -> None:
        heard, self._answering = self._answering, None
        if heard is None or self._transport.is_closing():
            return
        self._server.total_requests += 1
        more = bool(self._reader.heard)
        last = not heard.keep_alive or self._stopped or (self._heard_all and not more)
        self._write(answer, last=last, bodiless=heard.method == "HEAD")
        if last:
            self._transport.close()
            return
        self._deadline = self._loop.time() + (SLOWEST_S if self._reader.begun else self._idle_s)
        if more:
            self._loop.call_soon(self._next)
        elif self._ahead:
            self._ahead = False
            self._transport.resume_reading()

    def _write(self, answer: Answer, *, last: bool, bodiless: bool = False) -> None:
        always = _always(answer.status, *self._server.default_headers)
        end = b"connection: close\r\n" if last else b""
        length, content = len(answer.content), b"" if bodiless else answer.content
        self._transport.write(b"%s%s%scontent-length: %d\r\n\r\n%s" % (always, answer.headers, end, length, content))

    async def _through_app(self, heard: Heard) -> Answer:
        """What the ASGI application says."""
        try:
            url = httptools.parse_url(heard.url.encode("latin-1"))
        except httptools.HttpParserInvalidURLError:
            return answer(failure(400, "malformed", "The address is not valid."))
        path = (url.path or b"/").decode("latin-1")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": heard.method,
            "scheme": "http",
            "path": unquote(path),
            "raw_path": url.path,
            "query_string": url.query or b"",
            "root_path": "",
            "headers": [*heard.headers.items()],
            "client": self._transport.get_extra_info("peername"),
            "server": self._transport.get_extra_info("sockname"),
        }
        bodies = [heard.body]
        status, headers, content = 500, b"", bytearray()

        async def receive() -> Message:
            if bodies:
                return {"type": "http.request", "body": bodies.pop(), "more_body": False}
            await self._gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            nonlocal status, headers
            if message["type"] == "http.response.start":
                status = message["status"]
                if any(_UNFIT.search(value) for _, value in message["headers"]):
                    raise ValueError("a header has a character that none can have")
                headers = header_lines(header for header in message["headers"] if header[0] != b"content-length")
            else:
                content.extend(message.get("body", b""))

        try:
            await self._app(scope, receive, send)
        except Exception:  # noqa: BLE001 - the last resort: logged whole, told without a detail
            _log.exception("request failed", extra={"route": f"{heard.method} {path}"})
            return answer(failure(500, "internal", "Something went wrong here; the log knows more."))
        return Answer(status, headers, bytes(content))


@lru_cache(maxsize=64)
def _always(status: int, *headers: tuple[bytes, bytes]) -> bytes:
    """The first line of an answer, and the *headers* that every one has: they stay the same for a second."""
    return b"HTTP/1.1 %d %s\r\n%s" % (status, HTTPStatus(status).phrase.encode(), header_lines(headers))
