"""An endpoint at work: for who may, counted and logged, and never a stack trace for an answer."""

import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import partial
from typing import Any, Final

from actguard.gateway.http.auth import Caller
from actguard.gateway.http.gateway import Gateway
from actguard.gateway.http.routes import Endpoint
from actguard.gateway.http.wire import Answer, Refused, Request, answer, failure
from actguard.gateway.ledger.operations import Operation, Reply
from actguard.gateway.storage.store import StoreDown
from actguard.gateway.storage.writer import Overloaded

_log = logging.getLogger("actguard.gateway.requests")
_NONE: Final[Mapping[str, str]] = {}
_AGAIN: Final = {"retry-after": "1"}
_NO_STORE: Final = "The gateway cannot reach its store now; try again."

Done = Callable[[Answer], None]


class Served:
    """An endpoint of a running gateway."""

    def __init__(self, gateway: Gateway, endpoint: Endpoint) -> None:
        self._gateway: Final = gateway
        self._endpoint: Final = endpoint
        self._route: Final = f"{endpoint.method} {endpoint.path}"
        self._counted: Final = gateway.metrics.route(self._route)

    async def answer(self, request: Request) -> Answer:
        """What *request* is told."""
        try:
            caller = await self._gateway.auth.caller(request) if self._endpoint.role else None
            work = self._begun(caller, request)
            reply = await (self._gateway.apply(work) if isinstance(work, Operation) else work)
        except Exception as error:  # noqa: BLE001 - every error has an answer
            return self.failed(request, error)
        return self.finished(request, reply)

    def begin(self, request: Request, done: Done) -> "Coroutine[Any, Any, Answer] | None":
        """The same, for who calls this from the event loop and will hear through *done*.

        That takes no task where nothing is waited for but the ledger, which is nearly always. Where something else is,
        *done* is not called: what is left to do for the answer is returned.
        """
        try:
            caller = self._gateway.auth.remembered(request) if self._endpoint.role else None
            if caller is None and self._endpoint.role:
                return self.answer(request)
            work = self._begun(caller, request)
            if not isinstance(work, Operation):
                return self._awaited(request, work)
            self._gateway.writer.submit(work, partial(self._replied, request, work, done))
        except Exception as error:  # noqa: BLE001 - every error has an answer
            done(self.failed(request, error))
        return None

    def failed(self, request: Request, error: BaseException) -> Answer:
        """What is said of *error*."""
        if isinstance(error, Refused):
            return self.finished(request, error.reply, error.headers)
        if isinstance(error, StoreDown):
            _log.warning("the store is down: %s", error)
            return self.finished(request, failure(503, "unavailable", _NO_STORE), _AGAIN)
        if isinstance(error, Overloaded):
            return self.finished(request, failure(503, "overloaded", "Too many requests wait; try again."), _AGAIN)
        _log.error("request failed", exc_info=error, extra={"request_id": request.id, "route": self._route})
        message = f"Something went wrong here; the log knows more under {request.id}."
        return self.finished(request, failure(500, "internal", message))

    def _begun(self, caller: Caller | None, request: Request) -> Operation | Awaitable[Reply]:
        if caller is not None:
            request.key_id = caller.key_id
            if self._endpoint.role == "admin" and caller.role != "admin":
                raise Refused(403, "forbidden", "This needs an admin key; `actguard keys create --admin` makes one.")
        handler: Callable[..., Operation | Awaitable[Reply]] = self._endpoint.handler
        return handler(self._gateway, caller, request)

    async def _awaited(self, request: Request, work: Awaitable[Reply]) -> Answer:
        try:
            reply = await work
        except Exception as error:  # noqa: BLE001 - every error has an answer
            return self.failed(request, error)
        return self.finished(request, reply)

    def _replied(self, request: Request, operation: Operation, done: Done, said: Reply | Exception) -> None:
        if isinstance(said, Exception):
            done(self.failed(request, said))
            return
        self._gateway.metrics.ledger(operation, said)
        done(self.finished(request, said))

    def finished(self, request: Request, reply: Reply, headers: Mapping[str, str] = _NONE) -> Answer:
        """*reply* to *request*, counted and logged."""
        seconds = time.perf_counter() - request.started
        self._counted.add(reply.status, seconds)
        level = logging.DEBUG if reply.status < 400 else logging.INFO
        if _log.isEnabledFor(level):
            about = {"request_id": request.id, "route": self._route, "status": reply.status, "key_id": request.key_id}
            _log.log(level, "request", extra={**about, "ms": round(seconds * 1000, 2)})
        return answer(reply, headers, request_id=request.id)
