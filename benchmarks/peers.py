"""Other libraries that promise a budget, in the same scenarios: `python -m benchmarks.peers [names]`.

Each is installed from the package index into an environment of its own, with the newest openai SDK, and driven as its
own manual says. What a call costs is read from the local provider's ledger; what a guard adds to one is thread time.
One that does not install or import is left out, and the reason printed.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from actguard.testing import Delivery, LocalProvider, Reply
from benchmarks.enforcement import HUGE, LIMIT, SHARE
from benchmarks.peer_program import MODEL, PEERS, SCENARIOS
from benchmarks.venvs import HOME, environment

PROGRAM = Path(__file__).with_name("peer_program.py")
VERSIONS = {
    "shekel": "1.2.0",
    "agentbudget": "0.4.0",
    "budget-guard-llm": "0.1.2",
    "agentguard47": "2.0.0",
    "agentarmor": "1.6.3",
    "cendor-tokenguard": "1.8.0",
}
OVERHEAD = "overhead"
NO_LIMIT = 1_000.0
"""Dollars, where a limit is to be counted against but not reached."""


def interpreter(name: str) -> Path:
    if name not in VERSIONS:
        return Path(sys.executable)
    return environment(HOME / "peers" / name, f"{name}=={VERSIONS[name]}", "openai>=3.54,<4")


def run(python: Path, name: str, scenario: str, limit: float, provider: LocalProvider) -> dict[str, float]:
    """Dollars billed / limit; or microseconds added, and what they are of the SDK's own.

    Raises:
        RuntimeError: the peer's program failed; says how.
    """
    ran = subprocess.run(
        [python, PROGRAM, name, scenario, repr(limit)],
        env={**os.environ, **({} if scenario == OVERHEAD else provider.env())},  # which sends nothing
        cwd=HOME if HOME.is_dir() else None,  # one package here has the name of a peer's
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if ran.returncode:
        raise RuntimeError(ran.stderr.strip().rpartition("\n")[2])
    provider.wait_idle()
    if scenario == OVERHEAD:
        added, own = json.loads(ran.stdout.strip().rpartition("\n")[2])
        return {"added": added, "% of the SDK's own": 100 * added / own}
    return {scenario: float(provider.ledger.total_usd) / limit}


def measure(name: str, provider: LocalProvider) -> dict[str, float]:
    """All figures of one peer; those it fails at are left out."""
    figures: dict[str, float] = {}
    python = interpreter(name)
    for scenario in (*SCENARIOS, OVERHEAD):
        provider.reset()
        paced = scenario == "one stream of 20x"
        tokens = LIMIT // 10 if paced else LIMIT
        limit = float(tokens * provider.prices[MODEL].rates["output"]) / 1e6
        # As in `enforcement`: a token an event, and not faster than it can be read, where a stream may be cut.
        pace = {"between_events": 0.0005} if paced else {"tokens_per_event": HUGE}
        provider.default = Reply(
            output_tokens=int(tokens * (HUGE if scenario.startswith("one ") else SHARE)),
            delivery=Delivery(first_byte=0.02, **pace),
        )
        try:
            figures |= run(python, name, scenario, NO_LIMIT if scenario == OVERHEAD else limit, provider)
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            print(f"{name}, {scenario}: {error}", flush=True)
    return figures


def table(figures: dict[str, dict[str, float]], columns: tuple[str, ...], form: str) -> str:
    rows = [("", *columns)]
    for name, found in figures.items():
        shown = f"{name} {VERSIONS[name]}" if name in VERSIONS else name
        rows.append((shown, *(format(found[column], form) if column in found else "-" for column in columns)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def main(names: list[str] | None = None) -> None:
    figures: dict[str, dict[str, float]] = {}
    with LocalProvider() as provider:
        for name in names or PEERS:
            try:
                figures[name] = measure(name, provider)
            except subprocess.CalledProcessError as error:
                print(f"{name} is left out, it does not install: {(error.stderr or '').strip()[-300:]}", flush=True)
    print("dollars billed / limit\n" + table(figures, tuple(SCENARIOS), ".2f"))
    print("\nmicroseconds of CPU added to one create\n" + table(figures, ("added", "% of the SDK's own"), ".1f"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("names", nargs="*", choices=(*PEERS, []), metavar="peer", help=", ".join(PEERS))
    main(parser.parse_args().names)
