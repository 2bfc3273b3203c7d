"""What a shared store costs beside the network: `python -m benchmarks.stores`.

Every row is a loop against one real redis-server on loopback, in shuffled rounds, so that all see the same machine.
What is printed: the best block by the clock on the wall, and the median CPU time of both ends, which a busy machine
changes less; and how much of that is above a PING.
"""

import gc
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

import actguard
from actguard.context import Frame, Run, inside
from actguard.stores.durable import DurableStore
from actguard.stores.protocol import (
    BreakerAcquire,
    BreakerRules,
    CounterTake,
    IdempotencyBegin,
    IdempotencyDone,
    Limit,
    RateTake,
)
from actguard.stores.redis import RedisStore
from tests.stores.redis_server import running_redis

ROUNDS = 20
CALLS = 60


class Block(NamedTuple):
    """Microseconds for each call."""

    wall: float
    client: float
    server: float


def block(call: Callable[[], object], server_cpu: Callable[[], float]) -> Block:
    server, client, wall = server_cpu(), time.thread_time(), time.perf_counter()
    for _ in range(CALLS):
        call()
    took = time.perf_counter() - wall, time.thread_time() - client, server_cpu() - server
    return Block(*(seconds / CALLS * 1e6 for seconds in took))


def rows(url: str, folder: Path) -> dict[str, Callable[[], object]]:
    import redis

    client = redis.Redis.from_url(url)
    bare = client.register_script("redis.call('TIME') return redis.call('INCR', KEYS[1])")
    store = RedisStore(url, timeout_s=10)
    durable = DurableStore(folder / "records.db")
    numbers = iter(range(10_000_000))
    rate = (RateTake("rate", (Limit(1_000_000, 60.0),)),)
    exact = (RateTake("exact", (Limit(1000, 0.01),)),)
    several = (
        CounterTake("attempts", 10_000_000, 3600.0),
        BreakerAcquire("mail", BreakerRules(), "me"),
        *rate,
    )

    def once(kept: RedisStore | DurableStore) -> None:
        key = f"key-{next(numbers)}"
        kept.admit((IdempotencyBegin(key, "me", 60.0, 60.0),))
        kept.finish((IdempotencyDone(key, "me", 60.0, "1"),))

    actguard.configure(store=store)

    @actguard.tool(
        rate_limit={"max_calls": 1_000_000, "period": 60},
        circuit_breaker={"name": "benchmark"},
        max_attempts=10_000_000,
    )
    def search() -> int:
        return 1

    return {
        "PING": client.ping,
        "smallest script (TIME, INCR)": lambda: bare(keys=["bare"]),
        "rate, 1,000,000 in 60 s": lambda: store.admit(rate),
        "rate, exact log": lambda: store.admit(exact),
        "counter + circuit + rate, one request": lambda: store.admit(several),
        "tool with the same three guards": search,
        "idempotency: begin and done, two requests": lambda: once(store),
        "idempotency in SQLite: begin and done": lambda: once(durable),
    }


def main() -> None:
    import redis

    table = Table("store", "wall, best us", "client CPU", "server CPU", "CPU above PING")
    with (
        running_redis() as server,
        tempfile.TemporaryDirectory() as folder,
        inside(Frame(run=Run("benchmark"))),
        redis.Redis.from_url(server.url) as beside,
    ):

        def server_cpu() -> float:
            told = beside.info("cpu")
            return float(told["used_cpu_user"]) + float(told["used_cpu_sys"])

        before = actguard.configure()
        calls = rows(server.url, Path(folder))
        taken: dict[str, list[Block]] = {name: [] for name in calls}
        gc.disable()
        for round_ in range(ROUNDS):
            for name in random.sample(list(calls), len(calls)):
                took = block(calls[name], server_cpu)
                if round_:  # the first one warms up
                    taken[name].append(took)
        gc.enable()
        actguard.configure(store=before.store)
    bare = 0.0
    for name, blocks in taken.items():
        client, serving = median(one.client for one in blocks), median(one.server for one in blocks)
        bare = bare or client + serving
        wall = min(one.wall for one in blocks)
        table.add_row(name, f"{wall:.0f}", f"{client:.0f}", f"{serving:.0f}", f"{client + serving - bare:+.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
