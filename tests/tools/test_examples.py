"""Every example of a guard runs, and prints what it is there to show."""

import subprocess
import sys
from pathlib import Path

import pytest

SHOWN = {
    "rate_limit": ["alice: results for query 2", "alice: search was not run", "bob: results for query"],
    "circuit_breaker": ["failed\nfailed\nleft alone", "sent to bob", "the circuit is closed"],
    "max_attempts": ["deployed 1.1\ndeploy was not run"],
    "no_repeat": ["not found\nA-17: not found\nlook_up was not run", "A-18: not found\nstopped: look_up was called"],
    "timeout": ["fetch did not end within 0.1 seconds.", "query did not end within 0.1 seconds, and is still running."],
    "idempotent": ["{'to': 'bob', 'amount': 10}\n{'to': 'bob', 'amount': 10}\n", "payments made: 1"],
    "tool": ["idempotent", "-> order()", "ordered 1 shoes\nordered 1 shoes"],
}


@pytest.mark.parametrize("name", SHOWN)
def test_an_example_shows_what_it_is_there_for(name: str, root: Path) -> None:
    program = [sys.executable, str(root / "examples" / f"{name}.py")]
    done = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stderr
    for text in SHOWN[name]:
        assert text in done.stdout
