"""Memory of one guard over many calls and many aborted streams: `python -m benchmarks.memory`.

Nothing that a guard keeps may grow with the number of calls: not memory, and none of its registries. The collector is
called now and then: a response that the SDK was reading while the collector looked at younger objects is in a cycle of
the HTTP library's, and stays until it looks at all of them, with a guard and without.
"""

import gc
import resource
import sys
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
    blocks: int
    """Of Python memory, more at the end than after the first tenth."""
    kilobytes: int
    """By which the process had to grow meanwhile."""
    holds: int
    remembered: int
    """Ids of replies; bounded."""


def grown(what: str, times: int, work: Callable[[], object]) -> Growth:
    with BudgetGuard(usd_limit=1_000_000) as guard:
        for _ in range(max(3_000, times // 10)):  # beyond what is remembered on purpose
            work()
        gc.collect()
        blocks, most = sys.getallocatedblocks(), _most_memory()
        for number in range(1, times + 1):
            work()
            if not number % 1_000:
                gc.collect()
        gc.collect()
        blocks, most = sys.getallocatedblocks() - blocks, _most_memory() - most
        account = guard.account
        assert account is not None
        registries = len(account.holds) + len(deferred) + account.admission.waiting
        remembered = len(account.admission.seen) + len(account.admission.seen_before)
        return Growth(what, times, blocks, most, registries, remembered)


def _most_memory() -> int:
    """Kilobytes, of this process, so far."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most // 1024 if sys.platform == "darwin" else most


def measure(times: int) -> list[Growth]:
    client = openai_client()
    messages: Any = [{"role": "user", "content": "Hello!"}]

    def call() -> None:
        client.chat.completions.create(model="gpt-4o", messages=messages)

    def abort() -> None:
        stream = client.chat.completions.create(model="gpt-4o", messages=messages, stream=True, seed=20)
        next(stream)
        stream.close()

    return [grown("calls", times, call), grown("aborted streams", times, abort)]


def table(rows: list[Growth]) -> Table:
    shown = Table(
        "in one guard", "times", "blocks more", "kB more", "in flight or deferred", "ids remembered", title="memory"
    )
    for column in shown.columns[1:]:
        column.justify = "right"
    for row in rows:
        shown.add_row(
            row.what, f"{row.times:,}", f"{row.blocks:,}", f"{row.kilobytes:,}", str(row.holds), f"{row.remembered:,}"
        )
    return shown


def main(times: int = 100_000) -> None:
    Console(width=None if sys.stdout.isatty() else 100).print(table(measure(times)))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
