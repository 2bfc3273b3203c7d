"""The server: one thread, one event loop, one socket on loopback."""

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

from actguard.testing.exchange import Billing, Exchange, refuse, request_id
from actguard.testing.gate import Gate
from actguard.testing.http import Connection, Request
from actguard.testing.jsons import dumps
from actguard.testing.ledger import Ledger
from actguard.testing.script import ErrorEvent, HttpError, Reply, Reset, Script
from actguard.testing.settle import answer
from actguard.testing.wires.route import Route, Static
from actguard.testing.wires.routes import Routes
from actguard.testing.wires.wire import Answer, Wire

_log = logging.getLogger("actguard.testing")


class Server:
    """Accepts requests and sees each to its settled reply.

    Args:
        seen: called with every request, on the server's thread.
        default_tokens: how many tokens a reply has when nothing says otherwise.
    """

    def __init__(self, *, script: Script, ledger: Ledger, seen: Callable[[Request], None], default_tokens: int) -> None:
        self._script = script
        self._ledger = ledger
        self._seen = seen
        self._default_tokens = default_tokens
        self._routes = Routes()
        self._loop = asyncio.new_event_loop()
        self._connections: set[Connection] = set()
        self._thread: threading.Thread | None = None
        self._server: asyncio.Server | None = None
        self._gate: Gate | None = None
        self.paused = Gate(self._loop)

    def start(self, host: str, port: int) -> int:
        """Listen; returns the port.

        Raises:
            OSError: the address is taken or is none of this machine's.
            RuntimeError: it runs, or has run, already.
        """
        if self._thread is not None or self._loop.is_closed():
            raise RuntimeError("a local provider starts once; make another")
        self._thread = threading.Thread(target=self._run, name="actguard-testing", daemon=True)
        self._thread.start()
        try:
            return asyncio.run_coroutine_threadsafe(self._listen(host, port), self._loop).result()
        except OSError:
            self.stop()
            raise

    def stop(self) -> None:
        """Close every connection. What is in flight is neither answered nor billed."""
        if self._thread is None:
            return
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._thread = None

    def hold(self) -> Gate:
        """A new gate before every generating request."""
        self._gate = Gate(self._loop)
        return self._gate

    def release(self) -> None:
        """Let go of everything held or paused now."""
        if self._gate is not None:
            self._gate.release()
        self.paused.release()
        self.paused = Gate(self._loop)

    def make(self, request: Request, billing: Billing) -> tuple[Wire, Answer]:
        """The scripted answer to *request*, unsent and unbilled.

        Raises:
            ValueError: its path generates nothing.
        """
        route = self._routes.find(request.method, request.path)
        if route is None or not isinstance(route.target, Wire):
            raise ValueError(f"nothing is generated at {request.path}")
        reply = self._script.next(request, generates=True) or Reply()
        return route.target, self._settle(route.target, request, route, reply, billing)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _listen(self, host: str, port: int) -> int:
        self._server = await self._loop.create_server(
            lambda: Connection(self._answer, self._connections), host, port, backlog=1024
        )
        return int(self._server.sockets[0].getsockname()[1])

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        for connection in tuple(self._connections):
            connection.abort()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _answer(self, request: Request, connection: Connection) -> None:
        self._ledger.arrived()
        try:
            self._seen(request)
            await self._dispatch(request, connection)
        except Exception:  # noqa: BLE001 - the client gets a status, the test run a traceback
            _log.exception("no reply to %r", request)
            connection.respond(500, {"content-type": "application/json"}, b'{"error": {"message": "see the log"}}')
        finally:
            self._ledger.departed()

    async def _dispatch(self, request: Request, connection: Connection) -> None:
        route = self._routes.find(request.method, request.path)
        wire = route.target if route is not None and isinstance(route.target, Wire) else None
        if wire is not None and self._gate is not None:
            await self._gate.passed(connection)
        reply = self._script.next(request, generates=wire is not None)
        if reply is not None and isinstance(reply.fault, HttpError | Reset):
            refuse(wire, connection, reply.fault)
        elif route is None:
            refuse(None, connection, HttpError(status=404, message=f"no such path: {request.method} {request.path}"))
        elif wire is None:
            self._static(route, request, connection)
        elif not request.json and not request.headers.get("content-type", "").startswith("multipart/"):
            refuse(wire, connection, HttpError(status=400, message="the body is not a JSON object"))
        else:
            assert reply is not None
            billing = Billing(self._ledger, request_id())
            settled = self._settle(wire, request, route, reply, billing)
            if isinstance(reply.fault, ErrorEvent) and not settled.asked.stream:
                refuse(wire, connection, reply.fault)
            else:
                await Exchange(wire, settled, connection, billing, self.paused).run()

    def _settle(self, wire: Wire, request: Request, route: Route, reply: Reply, billing: Billing) -> Answer:
        settled = answer(wire, wire.asked(request, route.match), reply, default_tokens=self._default_tokens)
        if settled.asked.provider == "openrouter":  # states what it costs
            listed = billing.charge(settled, settled.counts, usd=None).usd
            settled.usd = listed if reply.cost is None else reply.cost
        return settled

    def _static(self, route: Route, request: Request, connection: Connection) -> None:
        assert not isinstance(route.target, Wire)
        result = route.target(request, route.match, _Desk(self, Billing(self._ledger, request_id())))
        if isinstance(result, Static):
            body = result.body if isinstance(result.body, bytes) else dumps(result.body).encode()
            connection.respond(200, {"content-type": result.content_type}, body)
        else:
            refuse(None, connection, result)


class _Desk:
    """Runs the requests inside a batch."""

    def __init__(self, server: Server, billing: Billing) -> None:
        self._server = server
        self._billing = billing

    def make(self, path: str, body: Mapping[str, Any]) -> tuple[Wire, Answer]:
        return self._server.make(Request("POST", path, {}, dumps(body).encode()), self._billing)

    def bill(self, wire: Wire, answer: Answer, *, variant: str | None = None) -> None:
        self._billing.bill(wire, answer, variant=variant)
