"""CPU time of a guarded call: `python -m benchmarks.guards`.

Tools that do nothing, so that nothing but the guards is measured, against a bare call and against the least that each
guard could be, written by hand. All of them take turns in short blocks, in thread time; best and median of the blocks.
"""

import asyncio
import gc
import random
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

import actguard
from actguard.context import Frame, Run, inside

USERS = [f"user-{number}" for number in range(100)]
BLOCK = 200


@dataclass
class Case:
    what: str
    call: Callable[[int], Any]
    aim: tuple[float, float] | None = None
    block: int = BLOCK
    times: list[float] = field(default_factory=list)


# ---- the least that would do --------------------------------------------------------------------------------------


def floor_rate(function: Callable[..., Any]) -> Callable[..., Any]:
    """A sliding log for each user, and nothing else: no bound on keys, no other algorithm, no store."""
    lock, logs = threading.Lock(), {}

    def guarded(user: str, text: str) -> Any:
        now = time.monotonic()
        with lock:
            log = logs.get(user)
            if log is None:
                log = logs[user] = deque()
            while log and log[0] <= now - 60:
                log.popleft()
            if len(log) >= 10_000:
                raise RuntimeError
            log.append(now)
        return function(user, text)

    return guarded


def floor_breaker(function: Callable[..., Any]) -> Callable[..., Any]:
    state = {"open": False, "fails": 0}

    def guarded(user: str, text: str) -> Any:
        if state["open"]:
            raise RuntimeError
        try:
            result = function(user, text)
        except Exception:
            state["fails"] += 1
            raise
        if state["fails"]:
            state["fails"] = 0
        return result

    return guarded


def floor_attempts(function: Callable[..., Any]) -> Callable[..., Any]:
    lock, counts = threading.Lock(), {}

    def guarded(user: str, text: str) -> Any:
        run = actguard.context.current_frame().run
        with lock:
            used = counts.get(run.run_id, 0)
            if used >= 10**9:
                raise RuntimeError
            counts[run.run_id] = used + 1
        return function(user, text)

    return guarded


def floor_idempotent(function: Callable[..., Any]) -> Callable[..., Any]:
    lock, kept = threading.Lock(), {}

    def guarded(user: str, text: str, idempotency_key: Any) -> Any:
        with lock:
            if idempotency_key in kept:
                return kept[idempotency_key][1]
            kept[idempotency_key] = ("running", None)
        result = function(user, text, idempotency_key)
        with lock:
            kept[idempotency_key] = ("done", result)
        return result

    return guarded


def search(user: str, text: str) -> str:
    return text


def pay(user: str, text: str, idempotency_key: Any) -> str:
    return text


async def asearch(user: str, text: str) -> str:
    return text


# ---- measuring ----------------------------------------------------------------------------------------------------


def cases() -> list[Case]:
    def of(guarded: Callable[..., Any]) -> Callable[[int], Any]:
        return lambda number: guarded(USERS[number % 100], "text")

    number = iter(range(10**12))

    def keyed(guarded: Callable[..., Any]) -> Callable[[int], Any]:
        return lambda turn: guarded(USERS[turn % 100], "text", next(number))

    rate = {"max_calls": 10_000, "period": 60, "scope": "user"}
    four = actguard.tool(
        rate_limit=rate,
        circuit_breaker={"name": "benchmark"},
        max_attempts=10**9,
        idempotent={"fingerprint": None, "ttl_s": 0.5},
    )
    return [
        Case("bare call", of(search)),
        Case("rate_limit for each user, by hand", of(floor_rate(search))),
        Case("rate_limit for each user", of(actguard.rate_limit(**rate)(search)), (1.5, 2.5)),
        Case("circuit_breaker, by hand", of(floor_breaker(search))),
        Case("circuit_breaker", of(actguard.circuit_breaker(name="benchmark")(search)), (0.6, 1)),
        Case("max_attempts, by hand", of(floor_attempts(search))),
        Case("max_attempts", of(actguard.max_attempts(calls=10**9)(search)), (1, 1.5)),
        Case("idempotent, new key, by hand", keyed(floor_idempotent(pay))),
        Case(
            "idempotent, new key, no fingerprint",
            keyed(actguard.idempotent(fingerprint=None, ttl_s=0.5)(pay)),
            (3, 5),
        ),
        Case("idempotent, new key", keyed(actguard.idempotent(ttl_s=0.5)(pay)), (12, 20)),
        Case("tool with four guards", keyed(four(pay)), (8, 15)),
        Case("timeout, in a thread", of(actguard.timeout(5)(search)), block=20),
    ]


def async_cases() -> list[Case]:
    async def floor(user: str, text: str) -> str:
        async with asyncio.timeout(5):
            return await asearch(user, text)

    return [
        Case("async: bare call", asearch),
        Case(
            "async: rate_limit for each user", actguard.rate_limit(max_calls=10_000, period=60, scope="user")(asearch)
        ),
        Case("async: asyncio.timeout", floor),
        Case("async: timeout", actguard.timeout(5)(asearch), (6, 8)),
    ]


def timed(case: Case) -> float:
    begin = time.thread_time()
    for number in range(case.block):
        case.call(number)
    return (time.thread_time() - begin) / case.block * 1e6


async def atimed(case: Case) -> float:
    call = case.call
    begin = time.thread_time()
    for number in range(case.block):
        await call(USERS[number % 100], "text")  # type: ignore[call-arg]
    return (time.thread_time() - begin) / case.block * 1e6


def measure(rounds: int) -> list[Case]:
    found, later = cases(), async_cases()
    gc.collect()
    gc.disable()
    with inside(Frame(run=Run("benchmark"))):
        for number in range(rounds + 3):
            for case in random.sample(found, len(found)):
                spent = timed(case)
                if number >= 3:
                    case.times.append(spent)
            if number % 20 == 0:
                gc.collect()

        async def turns() -> None:
            for number in range(rounds + 3):
                for case in random.sample(later, len(later)):
                    spent = await atimed(case)
                    if number >= 3:
                        case.times.append(spent)

        asyncio.run(turns())
    gc.enable()
    return found + later


def main(rounds: int = 200) -> None:
    shown = Table("a call with", "best, us", "median, us", "aims, us", title="guards")
    for column in shown.columns[1:]:
        column.justify = "right"
    for case in measure(rounds):
        aim = "" if case.aim is None else f"{case.aim[0]:g} / {case.aim[1]:g}"
        shown.add_row(case.what, f"{min(case.times):.2f}", f"{median(case.times):.2f}", aim)
    Console(width=None if sys.stdout.isatty() else 100).print(shown)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
