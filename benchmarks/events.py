"""What an event costs the call that emits it: `python -m benchmarks.events`. The best of many blocks, thread time."""

import sys
import time
from collections.abc import Callable

from rich.console import Console
from rich.table import Table

from actguard import BudgetGuard, Client
from actguard.budget.account import Spend
from actguard.budget.charge import Charge
from actguard.budget.usage import Usage
from actguard.events.emitter import emit

AIM = 5.0
"""Microseconds."""


def best_of(rounds: int, work: Callable[[], None], times: int) -> float:
    """Microseconds for one of *times*, in the best of *rounds*."""
    best = float("inf")
    for _ in range(rounds):
        began = time.thread_time()  # not what others do on a busy machine meanwhile
        for _ in range(times):
            work()
        best = min(best, (time.thread_time() - began) / times * 1e6)
    return best


def measure(rounds: int = 100, times: int = 500) -> dict[str, float]:
    """Microseconds by what is emitted."""

    def blocked() -> None:
        emit("guard", "blocked", {"code": "X"}, tool_name="t")

    spend = Spend(Charge(10**9, 1000, (("gpt-4o", Usage(800, 200), 10**9),)), "call", "openai", "id", "gpt-4o", ((),))
    with Client().run():
        micros = {"nobody listens": best_of(rounds, blocked, times)}
    # A queue that nobody empties meanwhile, so that the sink's thread is not measured too.
    client = Client(event_sinks=[lambda event: None], max_queue_events=10**7)
    with client.run(), BudgetGuard() as guard:
        account = guard.account
        assert account is not None
        told = account.listener
        assert told is not None
        micros["guard.blocked"] = best_of(rounds, blocked, times)
        micros["llm.usage"] = best_of(rounds, lambda: told.spent(account, spend), times)
    client.close()
    return micros


def main() -> None:
    shown = Table("an event", "best, us", "aim, us", title="events")
    for name, value in measure().items():
        shown.add_row(name, f"{value:.2f}", f"<= {AIM:g}")
    Console(width=None if sys.stdout.isatty() else 100).print(shown)


if __name__ == "__main__":
    main()
