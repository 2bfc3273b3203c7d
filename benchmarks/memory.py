"""Memory of one guard over many calls and many aborted streams: `python -m benchmarks.memory`.

Nothing that a guard keeps may grow with the number of calls: not memory, and none of its registries.
"""

import gc
import sys
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from actguard import BudgetGuard
from actguard.providers.deferred import deferred
from benchmarks.replaced import openai_client


@dataclass
class Growth:
    what: str
    times: int
    bytes: int
    """Of Python memory, between the first tenth and the end."""
    holds: int
    remembered: int
    """Ids of replies; bounded."""


def grown(what: str, times: int, work: Callable[[], object]) -> Growth:
    with BudgetGuard(usd_limit=1_000_000) as guard:
        for _ in range(max(3_000, times // 10)):  # beyond what is remembered on purpose
            work()
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(times):
            work()
        gc.collect()
        after = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        account = guard.account
        assert account is not None
        registries = len(account.admission.holds) + len(deferred) + account.admission.waiting
        return Growth(
            what, times, after - before, registries, len(account.admission.seen) + len(account.admission.seen_before)
        )


def measure(times: int) -> list[Growth]:
    client = openai_client()
    messages: Any = [{"role": "user", "content": "Hello!"}]

    def call() -> None:
        client.chat.completions.create(model="gpt-4o", messages=messages)

    def abort() -> None:
        stream = client.chat.completions.create(model="gpt-4o", messages=messages, stream=True)
        next(stream)
        stream.close()

    return [grown("calls", times, call), grown("aborted streams", times, abort)]


def table(rows: list[Growth]) -> Table:
    shown = Table("in one guard", "times", "bytes grown", "in flight or deferred", "ids remembered", title="memory")
    for column in shown.columns[1:]:
        column.justify = "right"
    for row in rows:
        shown.add_row(row.what, f"{row.times:,}", f"{row.bytes:,}", str(row.holds), f"{row.remembered:,}")
    return shown


def main(times: int = 100_000) -> None:
    Console(width=None if sys.stdout.isatty() else 100).print(table(measure(times)))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
