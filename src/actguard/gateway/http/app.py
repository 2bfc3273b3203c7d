"""The ASGI application. What agents call is found in one look-up; the rest goes through Starlette's router."""

import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from starlette.routing import Route, Router

from actguard.budget.pricing import PriceBook
from actguard.gateway.config import Settings
from actguard.gateway.http.gateway import Gateway
from actguard.gateway.http.openapi import document
from actguard.gateway.http.routes import ENDPOINTS, Endpoint
from actguard.gateway.http.wire import (
    Receive,
    Refused,
    Request,
    Scope,
    Send,
    read_body,
    send_bytes,
    send_reply,
)
from actguard.gateway.ledger.operations import Reply
from actguard.gateway.storage.store import Store, StoreDown
from actguard.gateway.storage.writer import Overloaded

_log = logging.getLogger("actguard.gateway.requests")
_AGAIN: Final = {"retry-after": "1"}


class App:
    """The gateway over HTTP, for any ASGI server. It opens its store when it starts and closes it when it stops."""

    def __init__(self, store: Store, settings: Settings, *, book: PriceBook | None = None, alone: bool = False) -> None:
        self.gateway: Final = Gateway(store, settings, book=book, alone=alone)
        self._direct = {(e.method, e.path): _Endpoint(self.gateway, e) for e in ENDPOINTS if "{" not in e.path}
        paths: dict[str, dict[str, _Endpoint]] = {}
        for endpoint in ENDPOINTS:
            paths.setdefault(endpoint.path, {})[endpoint.method] = _Endpoint(self.gateway, endpoint)
        routes = [Route(path, _Methods(by_method)) for path, by_method in paths.items()]
        plain = {"/healthz": self._health, "/readyz": self._ready, "/metrics": self._metrics}
        routes += [Route(path, _Plain(answer)) for path, answer in plain.items()]
        routes.append(Route("/openapi.json", _Plain(self._openapi)))
        self._router = Router(routes, redirect_slashes=False, default=_not_found, lifespan=self._lifespan)
        self._store = store

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            direct = self._direct.get((scope["method"], scope["path"]))
            if direct is not None:
                await direct(scope, receive, send)
                return
        await self._router(scope, receive, send)

    @asynccontextmanager
    async def _lifespan(self, _: Any) -> AsyncGenerator[None]:
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
        try:
            rows = await self.gateway.read(lambda transaction: transaction.rows("open_holds"))
        except StoreDown:
            rows = [(0,)]
        text = self.gateway.metrics.text(
            waiting=writer.waiting, batches=writer.batches, operations=writer.operations, open_holds=rows[0][0]
        )
        return 200, text.encode(), "text/plain; version=0.0.4"

    async def _openapi(self) -> tuple[int, bytes, str]:
        import msgspec

        return 200, msgspec.json.encode(document()), "application/json"


class _Endpoint:
    """One endpoint as an ASGI application: within limits, for who may, and never a stack trace for an answer."""

    def __init__(self, gateway: Gateway, endpoint: Endpoint) -> None:
        self._gateway: Final = gateway
        self._endpoint: Final = endpoint
        self._route: Final = f"{endpoint.method} {endpoint.path}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, b"")
        headers: Mapping[str, str] = {}
        who = ""
        try:
            request.body = await read_body(scope, receive)
            caller: Any = None
            if self._endpoint.role:
                caller = await self._gateway.auth.caller(request)
                who = caller.key_id
                if self._endpoint.role == "admin" and caller.role != "admin":
                    raise Refused(
                        403, "forbidden", "This needs an admin key; `actguard keys create --admin` makes one."
                    )
            reply = await self._endpoint.handler(self._gateway, caller, request)
        except Refused as refused:
            reply, headers = refused.reply, refused.headers
        except StoreDown as error:
            _log.warning("the store is down: %s", error)
            reply = _error(503, "unavailable", "The gateway cannot reach its store now; try again.")
            headers = _AGAIN
        except Overloaded:
            reply, headers = _error(503, "overloaded", "Too many requests wait; try again."), _AGAIN
        except Exception:  # noqa: BLE001 - the last resort: logged whole, told without a detail
            _log.exception("request failed", extra={"request_id": request.id, "route": self._route})
            reply = _error(500, "internal", f"Something went wrong here; the log knows more under {request.id}.")
        seconds = time.perf_counter() - request.started
        self._gateway.metrics.request(self._route, reply.status, seconds)
        level = logging.DEBUG if reply.status < 400 else logging.INFO
        if _log.isEnabledFor(level):
            about = {"request_id": request.id, "route": self._route, "status": reply.status, "key_id": who}
            _log.log(level, "request", extra={**about, "ms": round(seconds * 1000, 2)})
        await send_reply(send, reply, {**headers, "x-request-id": request.id})


class _Methods:
    """The endpoints of one path; another method is told which there are."""

    def __init__(self, by_method: Mapping[str, _Endpoint]) -> None:
        self._by_method: Final = by_method

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self._by_method.get(scope["method"])
        if endpoint is not None:
            await endpoint(scope, receive, send)
            return
        allowed = ", ".join(self._by_method)
        message = f"This path takes {allowed}."
        await send_reply(send, _error(405, "method_not_allowed", message), {"allow": allowed})


class _Plain:
    def __init__(self, answer: Callable[[], Awaitable[tuple[int, bytes, str]]]) -> None:
        self._answer: Final = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in ("GET", "HEAD"):
            await send_reply(send, _error(405, "method_not_allowed", "This path takes GET."), {"allow": "GET"})
            return
        status, content, kind = await self._answer()
        await send_bytes(send, status, content, kind, {})


async def _not_found(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1000})
        return
    await send_reply(send, _error(404, "not_found", "There is nothing at this path; see /openapi.json."), {})


def _error(status: int, code: str, message: str) -> Reply:
    return Reply(status, {"error": message, "code": code})
