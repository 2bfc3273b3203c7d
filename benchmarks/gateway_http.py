"""What the gateway's own half of a request takes of the processor, without sockets and with a store that only nods.

On the gateway's connections and on uvicorn's, in turns in one process; of each the best of many rounds of 64 requests,
which is the one that other work has disturbed least.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from actguard.gateway import serve
from actguard.gateway.config import Settings
from actguard.gateway.http.app import App
from actguard.gateway.keys import new_key
from actguard.gateway.ledger.operations import Operation, Reply, Reserve
from actguard.gateway.storage.store import Store

CONNECTIONS = 64
ROUNDS = 300
KEY = new_key()
NAME = "0194f3c2e8a1-bench-0001"
RESERVE = f'{{"run_id":"bench","user_id":"u12","reserve_id":"{NAME}","usd_limit_micros":50000}}'
USAGE = '{"provider":"openai","provider_model_id":"gpt-4o","input_tokens":1200,"output_tokens":340,"calls":1}'
SETTLE = f'{{"reserve_id":"{NAME}","usage_breakdown":[{USAGE}]}}'
GRANTED = {
    "reserve_id": NAME, "status": "reserved", "usd_limit_micros": 50000, "token_limit": None, "cost_limit": 50,
    "estimated_usd_micros": 50000, "expires_at": "2026-11-22T11:00:00.000Z", "remaining_ttl_ms": 900000,
    "tariff_version": "1",
}  # fmt: skip
SETTLED = {"reserve_id": NAME, "status": "settled", "usd_micros": 6400, "released_micros": 43600, "overrun_micros": 0}


class Nodding(Store):
    """Knows one key, and grants everything."""

    kind, shared = "none", True

    def open(self) -> None: ...

    def close(self) -> None: ...

    @contextmanager
    def reading(self) -> Iterator[Any]:
        yield self

    writing = session = reading

    def rows(self, name: str, **_: Any) -> list[tuple[Any, ...]]:
        return [(1, "bench", "agent", KEY.hash, None)] if name == "key" else [(0,)]

    def now(self) -> int:
        return time.time_ns() // 1000

    def apply(self, operations: Sequence[Operation]) -> list[Reply]:
        return [Reply(200, GRANTED if isinstance(operation, Reserve) else SETTLED) for operation in operations]


class Nowhere(asyncio.Transport):
    """Counts the answers that are written to it."""

    answers = 0

    def write(self, data: Any) -> None:
        self.answers += bytes(data).startswith(b"HTTP/1.1 200")

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name in ("peername", "sockname") else default

    def is_closing(self) -> bool:
        return False

    def close(self) -> None: ...

    abort = pause_reading = resume_reading = close


def request(path: str, body: str, key: str) -> bytes:
    head = f"POST /api/v1/{path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY.text}\r\nidempotency-key: {key}\r\n"
    return f"{head}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()


def connections(app: App, options: dict[str, Any]) -> list[tuple[Any, Nowhere]]:
    config, state = uvicorn.Config(app, **options, timeout_keep_alive=3600), ServerState()
    config.load()
    state.default_headers = [(b"date", b"Sun, 22 Nov 2026 12:00:00 GMT")]
    make: Callable[..., Any] = config.http_protocol_class
    made = [(make(config, state, {}), Nowhere()) for _ in range(CONNECTIONS)]
    for connection, transport in made:
        connection.connection_made(transport)
    return made


async def one_round(made: list[tuple[Any, Nowhere]], data: bytes) -> float:
    """Processor time of one request, in microseconds."""
    expected = made[-1][1].answers + 1
    started = time.process_time()
    for connection, _ in made:
        connection.data_received(data)
    while any(transport.answers < expected for _, transport in made):  # noqa: ASYNC110 - an event would be measured too
        await asyncio.sleep(0)
    return (time.process_time() - started) / CONNECTIONS * 1e6


async def measure() -> None:
    app = App(Nodding(), Settings(log_level="warning"), alone=True)
    serve.configure_logs("warning")
    options = {name: value for name, value in serve.options().items() if name != "timeout_keep_alive"}
    plain = {name: value for name, value in options.items() if name != "http"}
    async with app.running():
        await app.gateway.warmed()
        kinds = {"the gateway's connections": connections(app, options), "uvicorn's": connections(app, plain)}
        for path, body, key in (("reserve", RESERVE, NAME), ("settle", SETTLE, f"{NAME}:final")):
            data = request(path, body, key)
            best = dict.fromkeys(kinds, float("inf"))
            for _ in range(ROUNDS):
                for kind, made in kinds.items():
                    best[kind] = min(best[kind], await one_round(made, data))
            print(f"  {path:8}", ", ".join(f"{kind} {took:.1f} us" for kind, took in best.items()))
        for made in kinds.values():
            for connection, _ in made:
                connection.connection_lost(None)


def main() -> None:
    print("processor time of one request without its system calls, store and disk:")
    try:
        import uvloop

        uvloop.run(measure())
    except ImportError:
        asyncio.run(measure())


if __name__ == "__main__":
    main()
