"""A small gateway that remembers what it was asked, and answers as it is told: the wire, without a ledger behind it."""

import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "ag_live_k1.s3cret-of-the-key"


@dataclass
class Asked:
    """One request."""

    path: str
    body: dict[str, Any]
    headers: dict[str, str]
    at: float = field(default_factory=time.monotonic)

    @property
    def key(self) -> str | None:
        return self.headers.get("idempotency-key")


@dataclass
class Answer:
    """What it says to one request."""

    status: int = 200
    body: Any = None
    """Bytes go out as they are; anything else as JSON."""
    headers: dict[str, str] = field(default_factory=dict)
    wait: float = 0.0
    """Seconds before it answers."""
    drip: float = 0.0
    """Seconds between the bytes of the answer."""
    hang_up: bool = False
    """Closes the connection instead."""


Script = Callable[[Asked], Answer | None]


class FakeGateway:
    """Grants everything it is asked for, unless `answers` says otherwise: a queue for each path, or a function."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.answers: dict[str, list[Answer]] = {}
        self.script: Script | None = None
        self.granted_micros: int | None = None
        self.ttl_ms = 900_000
        self._lock = threading.Lock()
        self._quit = threading.Event()
        self._server: ThreadingHTTPServer | None = None
        self.port = 0
        self.tls: ssl.SSLContext | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def options(self, **more: Any) -> dict[str, Any]:
        """For a Client that is to use it."""
        return {"gateway_url": self.url, "api_key": KEY, "flush_interval_ms": 20, **more}

    def to(self, path: str) -> list[Asked]:
        with self._lock:
            return [asked for asked in self.asked if asked.path == f"/api/v1/{path}"]

    def events(self) -> list[dict[str, Any]]:
        """Every event it has accepted, once."""
        found = {event["id"]: event for asked in self.to("events") for event in asked.body["events"]}
        return list(found.values())

    def settled(self) -> dict[str, dict[str, Any]]:
        """Settle requests by their keys: what a ledger would count."""
        return {asked.key or "": asked.body for asked in self.to("settle")}

    def say(self, path: str, *answers: Answer) -> None:
        """Answer the next requests to *path* so."""
        self.answers.setdefault(f"/api/v1/{path}", []).extend(answers)

    def answer(self, asked: Asked) -> Answer:
        with self._lock:
            self.asked.append(asked)
            queue = self.answers.get(asked.path)
            if queue:
                return queue.pop(0)
        if self.script is not None and (said := self.script(asked)) is not None:
            return said
        return Answer(200, self._grant(asked))

    def _grant(self, asked: Asked) -> dict[str, Any]:
        body = asked.body
        if asked.path.endswith("/events"):
            return {"accepted": len(body["events"]), "duplicates": 0, "rejected": []}
        if asked.path.endswith("/reserve"):
            micros = self.granted_micros if self.granted_micros is not None else body.get("usd_limit_micros", 10**7)
            return {
                "reserve_id": body["reserve_id"],
                "status": "reserved",
                "usd_limit_micros": micros,
                "token_limit": body.get("token_limit"),
                "remaining_ttl_ms": self.ttl_ms,
            }
        if asked.path.endswith("/extend"):
            return {"reserve_id": body["reserve_id"], "status": "reserved", "remaining_ttl_ms": self.ttl_ms}
        return {"reserve_id": body.get("reserve_id"), "status": "settled", "usd_micros": 0}

    # ---- the server ----

    def start(self, port: int = 0) -> None:
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                answer = gateway.answer(Asked(self.path, json.loads(raw), headers))
                if answer.wait:
                    gateway._quit.wait(answer.wait)
                if answer.hang_up:
                    self.close_connection = True
                    return
                content = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                try:
                    for byte in content if answer.drip else ():
                        self.wfile.write(bytes([byte]))
                        if gateway._quit.wait(answer.drip):
                            return
                    if not answer.drip:
                        self.wfile.write(content)
                except OSError:  # who asked has left
                    self.close_connection = True

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass

            def get_request(self) -> Any:
                connection, address = super().get_request()
                if gateway.tls is not None:
                    connection = gateway.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
                return connection, address

        self._quit.clear()
        self._server = Server(("127.0.0.1", port or self.port), Handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        self._quit.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


@contextmanager
def fake_gateway() -> Iterator[FakeGateway]:
    gateway = FakeGateway()
    gateway.start()
    try:
        yield gateway
    finally:
        gateway.stop()


def until(condition: Callable[[], Any], seconds: float = 10.0) -> Any:
    """Wait for what another thread or process does; the value once it is true."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)
    return value
