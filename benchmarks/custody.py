"""What custody costs: `enforce` of one fact and `prove` of one item, beside a bare call and a floor written by hand.

Every row is measured in many short rounds, in an order that is drawn anew for each, so that whatever else the machine
does falls on all of them alike. Best and median, in microseconds per call.
"""

import random
import statistics
import time
from collections.abc import Callable
from typing import Any

from actguard import RequireFact, enforce, prove, session

ROUNDS = 300
CALLS = 300
BARS = {"enforce, one fact": (1.0, 2.0), "prove, one item": (2.0, 3.0)}


def measured() -> dict[str, tuple[float, float]]:
    """Best and median of each row, in microseconds per call."""
    rows = _rows()
    times: dict[str, list[float]] = {name: [] for name in rows}
    with session():
        for call in rows.values():
            call()
        for _ in range(ROUNDS):
            for name, call in random.sample(list(rows.items()), len(rows)):
                times[name].append(_timed(call))
    return {name: (min(taken), statistics.median(taken)) for name, taken in times.items()}


def _timed(call: Callable[[], Any]) -> float:
    rounds = range(CALLS)
    started = time.perf_counter()
    for _ in rounds:
        call()
    return (time.perf_counter() - started) / CALLS * 1e6


def _rows() -> dict[str, Callable[[], Any]]:
    reply = {"id": "m1"}
    facts: dict[tuple[str, str], float] = {}

    @prove("mail", "id")
    def read() -> dict[str, str]:
        return reply

    def bare_read() -> dict[str, str]:
        return reply

    def floor_read() -> dict[str, str]:
        result = bare_read()
        facts["mail", result["id"]] = time.monotonic() + 300
        return result

    @enforce([RequireFact("mail_id", "mail")])
    def write(mail_id: str) -> str:
        return mail_id

    def bare_write(mail_id: str) -> str:
        return mail_id

    def floor_write(mail_id: str) -> str:
        if facts.get(("mail", mail_id), 0.0) <= time.monotonic():
            raise PermissionError
        return mail_id

    return {
        "prove, one item": read,
        "prove, by hand": floor_read,
        "enforce, one fact": lambda: write("m1"),
        "enforce, by hand": lambda: floor_write("m1"),
        "bare call": lambda: bare_write("m1"),
    }


def main() -> None:
    print(f"custody, microseconds per call ({ROUNDS} interleaved rounds of {CALLS})")
    for name, (best, median) in measured().items():
        bar = f"   (bars {BARS[name][0]} / {BARS[name][1]})" if name in BARS else ""
        print(f"  {name:<20} best {best:6.2f}   median {median:6.2f}{bar}")


if __name__ == "__main__":
    main()
