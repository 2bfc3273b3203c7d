"""The ASGI application. What agents call is found in one look-up; the rest goes through Starlette's router."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Final

from starlette.routing import Route, Router

from actguard.budget.pricing import PriceBook
from actguard.gateway.config import Settings
from actguard.gateway.http.endpoint import Served
from actguard.gateway.http.gateway import Gateway
from actguard.gateway.http.openapi import document
from actguard.gateway.http.routes import ENDPOINTS
from actguard.gateway.http.wire import (
    Answer,
    Receive,
    Refused,
    Request,
    Scope,
    Send,
    answer,
    failure,
    header_lines,
    read_body,
    send_answer,
)
from actguard.gateway.storage.store import Store, StoreDown


class App:
    """The gateway over HTTP, for any ASGI server. It opens its store when it starts and closes it when it stops."""

    def __init__(self, store: Store, settings: Settings, *, book: PriceBook | None = None, alone: bool = False) -> None:
        self.gateway: Final = Gateway(store, settings, book=book, alone=alone)
        served = {(endpoint.method, endpoint.path): Served(self.gateway, endpoint) for endpoint in ENDPOINTS}
        self.direct: Final = {place: each for place, each in served.items() if "{" not in place[1]}
        """The endpoints whose path is always the same, by method and path."""
        paths: dict[str, dict[str, _Served]] = {}
        for (method, path), each in served.items():
            paths.setdefault(path, {})[method] = _Served(each)
        routes = [Route(path, _Methods(by_method)) for path, by_method in paths.items()]
        plain = {"/healthz": self._health, "/readyz": self._ready, "/metrics": self._metrics}
        routes += [Route(path, _Plain(answer)) for path, answer in plain.items()]
        routes.append(Route("/openapi.json", _Plain(self._openapi)))
        self._router = Router(routes, redirect_slashes=False, default=_not_found, lifespan=self.running)
        self._store = store

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            direct = self.direct.get((scope["method"], scope["path"]))
            if direct is not None:
                await _Served(direct)(scope, receive, send)
                return
        await self._router(scope, receive, send)

    @asynccontextmanager
    async def running(self, _: object = None) -> AsyncGenerator[None]:
        """Answers requests as long as this is entered."""
        self._store.open()
        await self.gateway.start()
        try:
            yield
        finally:
            await self.gateway.close()

    async def _health(self) -> tuple[int, bytes, str]:
        return 200, b'{"status":"ok"}', "application/json"

    async def _ready(self) -> tuple[int, bytes, str]:
        """Whether requests can be answered: the store is asked."""
        try:
            if self.gateway.ready:
                await self.gateway.read(lambda transaction: transaction.rows("key_count"))
                return 200, b'{"status":"ready"}', "application/json"
        except StoreDown:
            pass
        return 503, b'{"error":"The gateway is not ready.","code":"unavailable"}', "application/json"

    async def _metrics(self) -> tuple[int, bytes, str]:
        writer = self.gateway.writer
        open_holds: int | None = None
        with suppress(StoreDown):
            ((open_holds, _),) = await self.gateway.read(lambda transaction: transaction.rows("open_holds"))
        text = self.gateway.metrics.text(
            waiting=writer.waiting, batches=writer.batches, operations=writer.operations, open_holds=open_holds
        )
        return 200, text.encode(), "text/plain; version=0.0.4"

    async def _openapi(self) -> tuple[int, bytes, str]:
        import msgspec

        return 200, msgspec.json.encode(document()), "application/json"


class _Served:
    """An endpoint as an ASGI application."""

    def __init__(self, served: Served) -> None:
        self._served: Final = served

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        parameters = scope.get("path_params", {})
        request = Request(
            scope["path"], dict(scope["headers"]), query_string=scope["query_string"], parameters=parameters
        )
        try:
            request.body = await read_body(receive)
        except Refused as refused:
            await send_answer(send, self._served.failed(request, refused))
            return
        await send_answer(send, await self._served.answer(request))


class _Methods:
    """The endpoints of one path; another method is told which there are."""

    def __init__(self, by_method: Mapping[str, _Served]) -> None:
        self._by_method: Final = by_method

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self._by_method.get(scope["method"])
        if endpoint is not None:
            await endpoint(scope, receive, send)
            return
        allowed = ", ".join(self._by_method)
        message = f"This path takes {allowed}."
        await send_answer(send, answer(failure(405, "method_not_allowed", message), {"allow": allowed}))


class _Plain:
    def __init__(self, answer: Callable[[], Awaitable[tuple[int, bytes, str]]]) -> None:
        self._answer: Final = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in ("GET", "HEAD"):
            await send_answer(
                send, answer(failure(405, "method_not_allowed", "This path takes GET."), {"allow": "GET"})
            )
            return
        status, content, kind = await self._answer()
        await send_answer(send, Answer(status, header_lines([(b"content-type", kind.encode())]), content))


async def _not_found(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1000})
        return
    await send_answer(send, answer(failure(404, "not_found", "There is nothing at this path; see /openapi.json.")))
