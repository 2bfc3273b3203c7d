"""A program that PyInstaller has bundled: in one folder, with a Python of its own, and nothing installed beside it."""

import subprocess
import sys
from pathlib import Path

import pytest

from actguard.testing import LocalProvider

PROGRAM = """
import sys

from openai import OpenAI

from actguard import BudgetGuard, RedisStore, tool


@tool(rate_limit={"max_calls": 1, "period": 60}, timeout=5)
def look(key):
    return key.upper()


RedisStore("redis://localhost/0")  # reads its scripts, and connects when it is asked something
client = OpenAI(base_url=sys.argv[1], api_key="none")
with BudgetGuard(usd_limit=1, strict=True) as guard:
    client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": look("hello")}])
print(guard.usd_used)
"""

# Installed here, and looked through for a long time: other libraries would import them, if they were needed.
LEFT_OUT = (
    *("aiohttp", "anthropic", "boto3", "botocore", "cryptography", "docutils", "google.genai", "hypothesis", "mypy"),
    *("opentelemetry", "pytest", "setuptools", "sphinx", "uvloop", "websockets"),
)


@pytest.mark.timeout(600)
def test_guards_hold_in_a_bundled_program(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    left_out = [f"--exclude-module={name}" for name in LEFT_OUT]
    bundled = subprocess.run(
        [sys.executable, "-m", "PyInstaller", "--log-level=ERROR", *left_out, program.name],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert bundled.returncode == 0, bundled.stderr

    with LocalProvider() as provider:
        done = subprocess.run(
            [tmp_path / "dist" / "program" / "program", str(provider.openai().base_url)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert float(done.stdout) == float(provider.ledger.total_usd) > 0
