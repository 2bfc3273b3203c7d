"""The story of the hijacked mail agent, run as it is printed."""

import os
import subprocess
import sys
from pathlib import Path


def test_a_hijacked_mail_agent_does_its_task_and_nothing_else(root: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(root / "examples" / "hijacked_mail_agent.py")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(root / "src")},
    )

    assert done.returncode == 0, done.stderr
    task, hijack, rest = done.stdout.partition("The hijack:")[0], done.stdout.partition("The hijack:")[2], ""
    hijack, _, rest = hijack.partition("The task, again:")
    assert "BLOCKED" not in task
    assert "  done" not in hijack
    assert hijack.count("BLOCKED") == 8
    codes = {line.split()[1] for line in hijack.splitlines() if line.startswith("  BLOCKED")}
    assert codes == {"MISSING_FACT", "SECRET_LEAK", "RECORD_MISMATCH", "HOST_NOT_ALLOWED"}
    assert "done    delete_mail('m2')" in rest
    assert "BLOCKED NO_SESSION" in rest
