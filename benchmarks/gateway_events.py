"""Events a second that one gateway over SQLite stores with their rollups: `python -m benchmarks gateway_events`.

The requests come from a process of its own, on the same cores. Each event is on the disk before it is answered.
"""

import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import uuid
from collections import deque
from collections.abc import Callable
from pathlib import Path

from benchmarks.gateway import ENVIRONMENT, SECONDS, started

AIM = 50_000
"""Events a second."""
SHAPES = ((100, 8), (500, 4), (1000, 4))
"""Events in a request, and connections; the SDK sends up to 100, the gateway takes up to 1,000."""
IDS = {"uuid7": "ids in the order of time, as the SDK makes them", "uuid4": "random ids, as older clients make them"}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        print(f"events a second, stored and added up, SQLite, synchronous=FULL, one gateway (aim {AIM:,}):")
        for ids, said in IDS.items():
            print(f"  {said}:")
            process, port, key = started(str(Path(folder) / f"{ids}.db"))
            for batch, connections in SHAPES:
                told = loaded(port, key, batch, connections, ids)
                times = f"p50 {told['p50']:6.2f} ms  p99 {told['p99']:6.2f} ms"
                print(
                    f"    {batch:4} in a request, {connections} connections  {told['events_s']:8,.0f} events/s  {times}"
                )
            process.terminate()
            process.wait(30)
            print(f"    the store alone, 1000 in a transaction         {alone(Path(folder), ids):8,.0f} events/s")


def loaded(port: int, key: str, batch: int, connections: int, ids: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.gateway_events", str(port), key, str(batch), str(connections), ids]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=ENVIRONMENT)
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def envelope(dice: random.Random) -> dict[str, object]:
    """As the SDK sends it."""
    from actguard.events.envelope import KEYS

    usage = {"input_tokens": 1200, "cache_read_tokens": 200, "output_tokens": 340}
    return {
        **dict.fromkeys(KEYS),
        "id": str(uuid.UUID(int=dice.getrandbits(128), version=4)), "ts": "2026-01-01T12:00:00.000Z",
        "user_id": f"user-{dice.randrange(500)}", "run_id": f"run_{dice.getrandbits(64):x}", "category": "llm",
        "name": "usage", "version": 1, "severity": "info", "outcome": "success", "provider": "openai",
        "model": dice.choice(("gpt-4o", "gpt-4o-mini", "o3")), "usd_micros": 6400, "input_tokens": 1200,
        "cached_input_tokens": 200, "output_tokens": 340, "scope_name": dice.choice(("search", "answer", None)),
        "payload": {"usd_pico": 6_400_000_000, "estimated": False, "response_id": "chatcmpl-1", "usage": usage},
        "evidence": [], "meta": {"sdk": "actguard-python"},
    }  # fmt: skip


class Requests:
    """Makes bodies of so many events each, no two alike."""

    def __init__(self, ids: str) -> None:
        from actguard.events.envelope import uuid7

        self._dice = random.Random(os.urandom(8))
        self._new: Callable[[], str] = uuid7 if ids == "uuid7" else self._uuid4
        wholes = [json.dumps(envelope(self._dice), separators=(",", ":")) for _ in range(500)]
        self._parts = [whole.split(json.loads(whole)["id"]) for whole in wholes]

    def body(self, events: int) -> bytes:
        parts = self._dice.choices(self._parts, k=events)
        return f'{{"events":[{",".join(f"{before}{self._new()}{after}" for before, after in parts)}]}}'.encode()

    def _uuid4(self) -> str:
        return str(uuid.UUID(int=self._dice.getrandbits(128), version=4))


def alone(folder: Path, ids: str) -> float:
    """When nothing is in front of the store: what an ingest transaction takes."""
    from actguard.gateway.accounts import add_workspace
    from actguard.gateway.http.envelopes import read_events
    from actguard.gateway.ingest import Sent, add_events
    from actguard.gateway.storage.sqlite.store import SqliteStore

    store, requests = SqliteStore(folder / f"bare_{ids}.db"), Requests(ids)
    store.open()
    store.write(lambda t: add_workspace(t, "w", "UTC", 1))
    done, took = 0, 0.0
    while took < SECONDS / 2:
        sent = Sent(1, "bench", time.time_ns() // 1000, *read_events(requests.body(1000))[:2])
        began = time.perf_counter()
        done += sum(store.write(lambda t, new=sent: add_events(t, [new])))
        took += time.perf_counter() - began
    store.close()
    return done / took


async def send(port: int, key: str, bodies: deque[bytes], until: float, times: list[float]) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST /api/v1/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-length: "
    done = 0
    while time.perf_counter() < until and bodies:
        body = bodies.popleft()
        began = time.perf_counter()
        writer.writelines([f"{head}{len(body)}\r\n\r\n".encode(), body])
        answer = await reader.readuntil(b"\r\n\r\n")
        if not answer.startswith(b"HTTP/1.1 202"):
            raise RuntimeError(answer.decode())
        said = await reader.readexactly(int(answer.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]))
        times.append(time.perf_counter() - began)
        done += int(json.loads(said)["accepted"])
    writer.close()
    return done


async def load() -> None:
    port, key, batch, connections, ids = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
    seconds, requests = min(SECONDS, 4), Requests(ids)
    # Made beforehand: what is measured is the gateway.
    bodies = deque(requests.body(batch) for _ in range(int(AIM * 1.5 * seconds / batch)))
    times: list[float] = []
    began = time.perf_counter()
    done = sum(await asyncio.gather(*(send(port, key, bodies, began + seconds, times) for _ in range(connections))))
    took = time.perf_counter() - began
    times.sort()
    middle, late = times[len(times) // 2] * 1e3, times[len(times) * 99 // 100] * 1e3
    print(json.dumps({"events_s": done / took, "p50": middle, "p99": late}))


if __name__ == "__main__":
    asyncio.run(load())
