"""One budget for two processes: a gateway, two programs that spend until it says no, and what was billed.

    python examples/shared_budget.py        against the local provider and a gateway of its own: no key, no network

`make demo` shows it last.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from actguard.testing import LocalProvider

LIMIT = "0.02"
CLI = [sys.executable, "-m", "actguard.cli"]

PROGRAM = """
import json
import openai
from actguard import BudgetExceededError, Client

client, sdk = Client.from_env(), openai.OpenAI()
guards = []
try:
    while True:
        with client.run(user_id="alice"), client.budget_guard(usd_limit=0.002, strict=True) as guard:
            guards.append(guard)
            for _ in range(3):
                sdk.chat.completions.create(
                    model="gpt-4o-mini", messages=[{"role": "user", "content": "Hi"}], max_completion_tokens=300
                )
            sdk.chat.completions.create(
                model="gpt-4o", messages=[{"role": "user", "content": "Hi"}], max_completion_tokens=100
            )
except BudgetExceededError as refused:
    by = refused.origin
client.close()
calls, usd = sum(guard.calls for guard in guards), sum(guard.usd_used for guard in guards)
print(json.dumps({"runs": len(guards), "calls": calls, "usd": usd, "stopped": by}))
"""


@contextmanager
def gateway(folder: Path) -> Iterator[dict[str, str]]:
    """`actguard gateway` in a process of its own; gives what a program's environment needs to use it."""
    command = [*CLI, "gateway", "--database", str(folder / "gateway.db"), "--port", "0", "--log-level", "error"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    try:
        assert process.stdout is not None
        said = ""
        while "actguard budgets" not in said:
            line = process.stdout.readline()
            if not line:
                raise RuntimeError(f"the gateway did not start: {said}")
            said += line
        url, key = re.search(r"on (http://\S+)", said), re.search(r"ag_live_\w+\.\S+", said)
        assert url is not None
        assert key is not None
        yield {"ACTGUARD_GATEWAY_URL": url[1], "ACTGUARD_API_KEY": key[0]}
    finally:
        process.terminate()
        process.wait()


def ask(folder: Path, *command: str) -> Any:
    answer = subprocess.run(
        [*CLI, *command, "--database", str(folder / "gateway.db"), "--json"], stdout=subprocess.PIPE, check=True
    )
    return json.loads(answer.stdout)


def show(local: LocalProvider, console: Console) -> int:
    """Two processes, one budget. Returns 1 if more was billed than the budget, or other than the ledger says."""
    console.print(f"Two processes on one budget of ${LIMIT}, through a gateway ...")
    with tempfile.TemporaryDirectory() as name, gateway(folder := Path(name)) as found:
        ask(folder, "budgets", "set", "workspace", "--usd", LIMIT, "--per", "total")
        before = local.ledger.total_usd
        environment = {**os.environ, **local.env(), **found, "XDG_STATE_HOME": name}
        processes = [
            subprocess.Popen([sys.executable, "-c", PROGRAM], env=environment, stdout=subprocess.PIPE, text=True)
            for _ in range(2)
        ]
        outcomes = [json.loads(process.communicate()[0]) for process in processes]
        billed = float(local.ledger.total_usd - before)
        (budget,) = ask(folder, "budgets", "list")
    table = Table("process", "runs", "calls", "spent", "stopped by", title="one budget, two processes")
    for number, outcome in enumerate(outcomes, 1):
        by = "the gateway" if outcome["stopped"] == "remote" else "its own limit"
        table.add_row(str(number), str(outcome["runs"]), str(outcome["calls"]), f"${outcome['usd']:.6f}", by)
    console.print(table)
    spent, runs = budget["usd_spent_micros"] / 1e6, sum(outcome["runs"] for outcome in outcomes)
    console.print(f"The provider billed ${billed:.6f}, the gateway's ledger has ${spent:.6f}, the budget was ${LIMIT}.")
    right = billed <= float(LIMIT) and billed - 1e-9 <= spent <= billed + runs / 1e6 and not budget["usd_held_micros"]
    if not right:
        console.print("These should agree.", style="bold red")
    return 0 if right else 1


if __name__ == "__main__":
    with LocalProvider() as provider:
        sys.exit(show(provider, Console()))
