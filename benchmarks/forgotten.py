"""What guards keep of a million keys when all of them are over: `python -m benchmarks.forgotten`.

Keys of a rate limit, idempotency keys and facts, each in a process of its own, made by calling guarded functions. Then
nothing is called any more, and what is left is looked at: entries, blocks of Python memory, and what the process holds.
"""

import gc
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

import actguard
from actguard.pipeline import settings

LIVES_S = 90.0
"""Long enough for all of them to be there at once."""


@dataclass
class Kept:
    what: str
    keys: int
    entries: tuple[int, int]
    """When all were there, and in the end."""
    blocks: tuple[int, int]
    """More than before, of Python memory."""
    resident: tuple[int, int]
    """More kilobytes than before, of the process."""
    live: bool
    """All of them were there at once."""


def rates(keys: int) -> Callable[[], int]:
    @actguard.rate_limit(max_calls=5, period=LIVES_S, scope="user")
    def call(user: int) -> None: ...

    for number in range(keys):
        call(number)
    return lambda: len(_store())


def idempotency_keys(keys: int) -> Callable[[], int]:
    @actguard.idempotent(scope="global", ttl_s=LIVES_S)
    def call(idempotency_key: int) -> int:
        return idempotency_key

    for number in range(keys):
        call(number)
    return lambda: len(_store())


def facts(keys: int) -> Callable[[], int]:
    @actguard.prove("order", "id", ttl=LIVES_S)
    def read(number: int) -> dict[str, int]:
        return {"id": number}

    session = actguard.session("benchmark")
    session.__enter__()  # open to the end: it is not its end that frees them
    for number in range(keys):
        read(number)
    return lambda: _store().facts_held()


KINDS: dict[str, Callable[[int], Callable[[], int]]] = {
    "rate limit keys": rates,
    "idempotency keys": idempotency_keys,
    "facts": facts,
}


def look(what: str, keys: int, home: Any) -> None:
    KINDS[what](100)  # what is made once
    gc.collect()
    blocks, resident = sys.getallocatedblocks(), _resident()
    begun = time.monotonic()
    entries = KINDS[what](keys)
    took = time.monotonic() - begun
    gc.collect()
    full = sys.getallocatedblocks() - blocks, _resident() - resident
    counted = entries()
    time.sleep(LIVES_S + 15)
    gc.collect()
    left = sys.getallocatedblocks() - blocks, _resident() - resident
    home.send(Kept(what, keys, (counted, entries()), (full[0], left[0]), (full[1], left[1]), took < LIVES_S))


def measure(keys: int) -> list[Kept]:
    processes = multiprocessing.get_context("spawn")
    found: list[Kept] = []
    for what in KINDS:
        home, away = processes.Pipe(duplex=False)
        process = processes.Process(target=look, args=(what, keys, away))
        process.start()
        found.append(home.recv())
        process.join()
    return found


def _store() -> Any:
    """The configured one: this process's memory."""
    return settings.current().store


def _resident() -> int:
    """Kilobytes that the process holds now."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def table(rows: list[Kept]) -> Table:
    shown = Table("of", "entries", "left", "blocks", "left", "kB", "left", "all at once", title="what is forgotten")
    for column in shown.columns[1:]:
        column.justify = "right"
    for row in rows:
        pairs = (f"{number:,}" for pair in (row.entries, row.blocks, row.resident) for number in pair)
        shown.add_row(row.what, *pairs, "yes" if row.live else "no")
    return shown


def main(keys: int = 1_000_000) -> None:
    Console(width=None if sys.stdout.isatty() else 100).print(table(measure(keys)))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
