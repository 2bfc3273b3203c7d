"""CPU time of a guarded call: `python -m benchmarks.guards`.

Tools that do nothing, so that nothing but the guards is measured, against a bare call, against the least that each
guard could be, written by hand, and against the guards of actguard 1.0.2, in a process of its own. All of them take
turns in short blocks on one core, in an order that is drawn anew for each round, in thread time without garbage
collection; best and median of the blocks.
"""

import asyncio
import gc
import itertools
import os
import random
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

import actguard
from actguard.context import Frame, Run, inside
from benchmarks.venvs import HOME, environment

USERS = [f"user-{number}" for number in range(100)]
BLOCK = 300
WARM_UP = 3
"""Rounds that do not count."""
REFERENCE = "actguard==1.0.2"
PROGRAM = Path(__file__).with_name("guards_reference.py")


@dataclass
class Case:
    what: str
    call: Callable[[int], Any]
    aim: tuple[float, float] | None = None
    keyed: bool = False
    """It gets an idempotency key with each call, a new one."""
    times: list[float] = field(default_factory=list)
    reference: list[float] = field(default_factory=list)


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
        result = function(user, text, idempotency_key=idempotency_key)
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
    rate = {"max_calls": 10_000, "period": 60, "scope": "user"}
    four = actguard.tool(
        rate_limit=rate,
        circuit_breaker={"name": "benchmark"},
        max_attempts=10**9,
        idempotent={"fingerprint": None, "ttl_s": 0.5},
    )
    plain = actguard.idempotent(fingerprint=None, ttl_s=0.5)
    return [
        Case("bare call", search),
        Case("rate_limit for each user, by hand", floor_rate(search)),
        Case("rate_limit for each user", actguard.rate_limit(**rate)(search), (1.5, 2.5)),
        Case("circuit_breaker, by hand", floor_breaker(search)),
        Case("circuit_breaker", actguard.circuit_breaker(name="benchmark")(search), (0.6, 1)),
        Case("max_attempts, by hand", floor_attempts(search)),
        Case("max_attempts", actguard.max_attempts(calls=10**9)(search), (1, 1.5)),
        Case("idempotent, new key, by hand", floor_idempotent(pay), keyed=True),
        Case("idempotent, new key, no fingerprint", plain(pay), (3, 5), keyed=True),
        Case("idempotent, new key", actguard.idempotent(ttl_s=0.5)(pay), (12, 20), keyed=True),
        Case("tool with four guards", four(pay), (8, 15), keyed=True),
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


def thread_cases() -> list[Case]:
    # Apart from the others, whose caches a change of threads would empty.
    return [Case("timeout, in a thread", actguard.timeout(5)(search))]


_keys = itertools.count(1)


def timed(case: Case) -> float:
    """Microseconds for each call of a block. The loop is part of it, as it is of the bare call."""
    call, turns = case.call, range(BLOCK)
    if case.keyed:
        begin = time.thread_time()
        for number in turns:
            call(USERS[number % 100], "text", idempotency_key=next(_keys))
        return (time.thread_time() - begin) / BLOCK * 1e6
    begin = time.thread_time()
    for number in turns:
        call(USERS[number % 100], "text")
    return (time.thread_time() - begin) / BLOCK * 1e6


async def atimed(case: Case) -> float:
    call, turns = case.call, range(BLOCK)
    begin = time.thread_time()
    for number in turns:
        await call(USERS[number % 100], "text")
    return (time.thread_time() - begin) / BLOCK * 1e6


class Reference:
    """The other process. Of what it does not know, there is nothing."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._ask, self._answer = process.stdin, process.stdout
        self._rows = {line.strip() for line in iter(self._answer.readline, "\n")}

    def time(self, case: Case) -> None:
        if case.what in self._rows:
            print(f"{case.what} x {BLOCK}", file=self._ask, flush=True)
            case.reference.append(float(self._answer.readline()))


@contextmanager
def one_core() -> Iterator[None]:
    """Both processes take turns, and cores differ in what else they have to do."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


@contextmanager
def reference() -> Iterator[Reference | None]:
    try:
        python = environment(HOME / "peers" / "actguard", REFERENCE)
    except subprocess.CalledProcessError as error:
        print(f"{REFERENCE} is left out, it does not install: {(error.stderr or '').strip()[-300:]}", flush=True)
        yield None
        return
    elsewhere = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [str(python), str(PROGRAM)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=HOME, env=elsewhere
    ) as process:
        yield Reference(process)


def measure(rounds: int) -> list[Case]:
    plain, later, threads = cases(), async_cases(), thread_cases()
    gc.collect()
    gc.disable()
    with one_core(), reference() as other, inside(Frame(run=Run("benchmark"))), asyncio.Runner() as loop:
        for group in (plain, later, threads):
            for number in range(rounds + WARM_UP):
                for case in random.sample(group, len(group)):
                    case.times.append(loop.run(atimed(case)) if group is later else timed(case))
                    if other is not None:
                        other.time(case)
                    if number < WARM_UP:
                        case.times.clear()
                        case.reference.clear()
                if number % 20 == 0:
                    gc.collect()
    gc.enable()
    return plain + later + threads


def main(rounds: int = 200) -> None:
    columns = ("a call with", "best, us", "median, us", "aims, us", f"{REFERENCE}, us")
    shown = Table(*columns, title="guards")
    for column in shown.columns[1:]:
        column.justify = "right"
    for case in measure(rounds):
        aim = "" if case.aim is None else f"{case.aim[0]:g} / {case.aim[1]:g}"
        theirs = f"{min(case.reference):.2f} / {median(case.reference):.2f}" if case.reference else ""
        shown.add_row(case.what, f"{min(case.times):.2f}", f"{median(case.times):.2f}", aim, theirs)
    Console(width=None if sys.stdout.isatty() else 100).print(shown)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
