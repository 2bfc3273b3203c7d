"""The main job, with the three real SDKs: budgets around unchanged code, and a provider that says what it billed.

    make demo                       against the local provider: no key, no network beyond loopback
    make demo ARGS=--live           against the real services whose keys are in the environment

Each scenario ends as a row: what the guard says was spent, what the provider billed, and the limit. The exit status is
1 when they differ, or when a strict limit was passed. At the end, two processes share one budget through a gateway.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import anthropic
import openai
import shared_budget
from google import genai
from rich.console import Console
from rich.table import Table

from actguard import BudgetExceededError, BudgetGuard
from actguard.testing import LocalProvider, Reply

PROMPT = "Name the three laws of robotics, briefly."
AT_ONCE = 50


@dataclass
class Provider:
    """One SDK, as a program would use it: the four ways of asking the same question."""

    name: str
    key: str
    model: str
    small_limit: float
    """Dollars; a limit that a few calls reach."""
    plain: Callable[[], Any]
    stream: Callable[[], Any]
    ask: Callable[[], Awaitable[Any]]


def providers(keywords: dict[str, dict[str, Any]]) -> Iterator[Provider]:
    """The SDKs' own clients; *keywords* point them at the local provider, and are empty for the real services."""
    messages: Any = [{"role": "user", "content": PROMPT}]

    gpt: Any = {"model": "gpt-4o-mini", "messages": messages, "max_completion_tokens": 300}
    client, aclient = openai.OpenAI(**keywords["openai"]), openai.AsyncOpenAI(**keywords["openai"])
    yield Provider(
        "OpenAI",
        "OPENAI_API_KEY",
        gpt["model"],
        0.001,
        lambda: client.chat.completions.create(**gpt),
        lambda: list(client.chat.completions.create(**gpt, stream=True)),
        lambda: aclient.chat.completions.create(**gpt),
    )

    claude: Any = {"model": "claude-haiku-4-5", "messages": messages, "max_tokens": 300}
    anthropic_client = anthropic.Anthropic(**keywords["anthropic"])
    async_anthropic_client = anthropic.AsyncAnthropic(**keywords["anthropic"])
    yield Provider(
        "Anthropic",
        "ANTHROPIC_API_KEY",
        claude["model"],
        0.008,
        lambda: anthropic_client.messages.create(**claude),
        lambda: list(anthropic_client.messages.create(**claude, stream=True)),
        lambda: async_anthropic_client.messages.create(**claude),
    )

    gemini: Any = {"model": "gemini-2.5-flash", "contents": PROMPT, "config": {"max_output_tokens": 300}}
    google_client = genai.Client(**keywords["google"])
    yield Provider(
        "Google",
        "GEMINI_API_KEY",
        gemini["model"],
        0.004,
        lambda: google_client.models.generate_content(**gemini),
        lambda: list(google_client.models.generate_content_stream(**gemini)),
        lambda: google_client.aio.models.generate_content(**gemini),
    )


@dataclass
class Row:
    provider: str
    scenario: str
    guard: BudgetGuard
    billed: Decimal | None
    note: str

    @property
    def right(self) -> bool:
        exact = self.billed is None or Decimal(str(self.guard.usd_used)) == self.billed
        return exact and not (self.guard.strict and self.guard.usd_used > self.guard.usd_limit)


class Demo:
    def __init__(self, local: LocalProvider | None) -> None:
        self.local = local
        self.rows: list[Row] = []

    @contextmanager
    def scenario(self, provider: Provider, name: str, guard: BudgetGuard) -> Iterator[list[str]]:
        """Run a block in *guard*, and note down what it cost on both sides."""
        before = self.local.ledger.total_usd if self.local else Decimal(0)
        notes: list[str] = []
        with guard:
            yield notes
        billed = self.local.ledger.total_usd - before if self.local else None
        self.rows.append(Row(provider.name, name, guard, billed, ", ".join(notes)))

    async def show(self, provider: Provider) -> None:
        with self.scenario(provider, "one call", BudgetGuard("alice", usd_limit=0.05)):
            provider.plain()

        with self.scenario(provider, "one stream", BudgetGuard("alice", usd_limit=0.05)):
            provider.stream()

        outer, inner = BudgetGuard("alice", usd_limit=0.05), BudgetGuard(name="search", usd_limit=0.01)
        with self.scenario(provider, "a nested guard", outer) as notes:
            provider.plain()
            with inner:
                provider.plain()
            notes.append(f"{money(inner.usd_used)} of it inside")

        for mode in (False, True):
            guard = BudgetGuard("alice", usd_limit=provider.small_limit, strict=mode)
            with self.scenario(provider, f"{AT_ONCE} at once, {'strict' if mode else 'default'}", guard) as notes:
                notes.append(await all_at_once(provider))

    def table(self) -> Table:
        billed_by = "provider billed" if self.local else "provider billed (see its console)"
        table = Table("provider", "scenario", "guard says", billed_by, "limit", "of limit", "", title="actguard")
        for column in table.columns[2:6]:
            column.justify = "right"
        for row in self.rows:
            table.add_row(
                row.provider,
                row.scenario,
                money(row.guard.usd_used),
                "-" if row.billed is None else money(float(row.billed)),
                money(row.guard.usd_limit),
                f"{row.guard.usd_used / row.guard.usd_limit:.2f}",
                row.note if row.right else f"[bold red]DIFFERENT[/] {row.note}",
            )
        return table


async def all_at_once(provider: Provider) -> str:
    """Send the same question many times at once; every answer that was paid for arrives, one way or the other."""

    async def one() -> str:
        try:
            await provider.ask()
        except BudgetExceededError as refused:
            return "answered" if refused.response is not None else "refused"
        return "answered"

    outcomes = await asyncio.gather(*(one() for _ in range(AT_ONCE)))
    return f"{outcomes.count('answered')} answered, {outcomes.count('refused')} refused"


def money(usd: float) -> str:
    return f"${usd:.7f}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--live", action="store_true", help="use the real services whose keys are in the environment; costs some cents"
    )
    live = parser.parse_args().live
    console = Console(width=None if sys.stdout.isatty() else 140)
    if live:
        shown = [p for p in providers({"openai": {}, "anthropic": {}, "google": {}}) if os.environ.get(p.key)]
        if not shown:
            console.print("--live needs at least one of OPENAI_API_KEY, ANTHROPIC_API_KEY, GEMINI_API_KEY.")
            return 2
        return present(Demo(None), shown, console)
    with LocalProvider() as local:
        local.default = Reply(output_tokens=200)
        keywords = {
            "openai": local.openai_kwargs(),
            "anthropic": local.anthropic_kwargs(),
            "google": local.google_kwargs(),
        }
        wrong = present(Demo(local), list(providers(keywords)), console)
        return shared_budget.show(local, console) or wrong


def present(demo: Demo, shown: list[Provider], console: Console) -> int:
    async def show_all() -> None:
        for provider in shown:
            console.print(f"{provider.name} ({provider.model}) ...")
            await demo.show(provider)

    asyncio.run(show_all())
    console.print(demo.table())
    wrong = [row for row in demo.rows if not row.right]
    if wrong:
        console.print(f"{len(wrong)} of {len(demo.rows)} rows are wrong.", style="bold red")
        return 1
    console.print("Every guard says what the provider billed, to the last pico-dollar; no strict limit was passed.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
