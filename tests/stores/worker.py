"""One process of many on one Redis: does what it is told, and sends home what it saw (test_redis_processes.py)."""

import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import redis

import actguard
from actguard.stores.protocol import Admitted, BreakerRules, Limit, RateTake
from actguard.stores.redis import RedisStore

LIMITS = (Limit(10, 0.25), Limit(30, 1.0))


def main(url: str, what: str, seconds: float, home: Connection) -> None:
    beside = redis.Redis.from_url(url)
    store = RedisStore(url, timeout_s=10)
    store.circuit("warm", BreakerRules())  # imports and connections are not what is measured
    work = WORK[what](store, beside)
    beside.incr("test:ready")
    while not beside.exists("test:go"):
        time.sleep(0.005)
    home.send(work(time.monotonic() + seconds))


def rate(store: RedisStore, beside: Any) -> Callable[[float], Any]:
    """Take as often as it goes; when each call was admitted, by the server's clock."""

    def work(end: float) -> Any:
        admitted: list[list[int]] = []
        while time.monotonic() < end:
            answer = store.admit([RateTake("shared", LIMITS)])
            if isinstance(answer, Admitted):
                admitted.append([int(moment) for moment in answer.receipts[0].token.split(",")])  # type: ignore[union-attr]
        return admitted

    return work


def pay(store: RedisStore, beside: Any) -> Callable[[float], Any]:
    """Make the same payments as everybody else, in the same order; what came of them."""
    tool = payments(store, beside)

    def work(end: float) -> Any:
        seen: dict[str, int] = {}
        number = 0
        while time.monotonic() < end:
            number += 1
            try:
                tool(idempotency_key=f"pay-{number}")
                said = "paid"
            except actguard.ToolGuardError as error:
                said = type(error).__name__
            seen[said] = seen.get(said, 0) + 1
        return seen

    return work


def hang(store: RedisStore, beside: Any) -> Callable[[float], Any]:
    """Hold one payment until somebody ends this process."""
    tool = payments(store, beside, takes=3600)
    return lambda end: tool(idempotency_key="pay-1")


def payments(store: RedisStore, beside: Any, takes: float = 0.002) -> Any:
    """The tool, with which every process pays."""

    def pay(idempotency_key: str) -> int:
        times = int(beside.incr(f"test:{idempotency_key}"))
        time.sleep(takes)
        return times

    return actguard.idempotent(store=store, scope="global", lease_s=0.5)(pay)


WORK = {"rate": rate, "pay": pay, "hang": hang}
