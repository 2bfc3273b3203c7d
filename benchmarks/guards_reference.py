"""The guards of another actguard, one block of calls at a time, for `guards` to put between its own.

Runs in an environment of its own: told a row on standard input, it answers with microseconds per call. Nothing is
imported from here, and what both versions understand is written as both do.
"""

import asyncio
import gc
import itertools
import sys
import time
from collections.abc import Callable
from typing import Any

import actguard

USERS = [f"user-{number}" for number in range(100)]
RATE = {"max_calls": 10_000, "period": 60, "scope": "user"}


def search(user: str, text: str) -> str:
    return text


def pay(user: str, text: str, idempotency_key: Any) -> str:
    return text


async def asearch(user: str, text: str) -> str:
    return text


def rows() -> dict[str, tuple[Callable[..., Any], bool]]:
    """What is called, and whether it wants a key."""
    four = actguard.tool(
        rate_limit=RATE,
        circuit_breaker={"name": "benchmark"},
        max_attempts={"calls": 10**9},
        idempotent={"ttl_s": 3600.0},
    )
    return {
        "rate_limit for each user": (actguard.rate_limit(**RATE)(search), False),
        "circuit_breaker": (actguard.circuit_breaker(name="benchmark")(search), False),
        "max_attempts": (actguard.max_attempts(calls=10**9)(search), False),
        "idempotent, new key, no fingerprint": (actguard.idempotent(ttl_s=3600.0)(pay), True),
        "tool with four guards": (four(pay), True),
        "async: timeout": (actguard.timeout(5)(asearch), False),
    }


def main() -> None:
    found, numbers = rows(), itertools.count(1)

    def block(guarded: Callable[..., Any], calls: int) -> float:
        begin = time.thread_time()
        for number in range(calls):
            guarded(USERS[number % 100], "text")
        return time.thread_time() - begin

    def keyed_block(guarded: Callable[..., Any], calls: int) -> float:
        begin = time.thread_time()
        for number in range(calls):
            guarded(USERS[number % 100], "text", idempotency_key=next(numbers))
        return time.thread_time() - begin

    async def async_block(guarded: Callable[..., Any], calls: int) -> float:
        begin = time.thread_time()
        for number in range(calls):
            await guarded(USERS[number % 100], "text")
        return time.thread_time() - begin

    gc.disable()
    print("\n".join(found), end="\n\n", flush=True)
    with asyncio.Runner() as loop, actguard.Client().run(run_id="benchmark"):
        for line in sys.stdin:
            name, _, calls = line.strip().rpartition(" x ")
            guarded, keyed = found[name]
            if asyncio.iscoroutinefunction(guarded):
                spent = loop.run(async_block(guarded, int(calls)))
            else:
                spent = (keyed_block if keyed else block)(guarded, int(calls))
            print(spent / int(calls) * 1e6, flush=True)


if __name__ == "__main__":
    main()
