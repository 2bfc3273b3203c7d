"""The example of shared limits, run as it is printed."""

import os
import re
import subprocess
import sys
from pathlib import Path


def test_four_processes_share_a_limit_and_send_one_invoice(root: Path, redis_url: str) -> None:
    done = subprocess.run(
        [sys.executable, str(root / "examples" / "shared_limits.py")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(root / "src"), "REDIS_URL": redis_url},
    )

    assert done.returncode == 0, done.stderr
    sent, most, holds = re.findall(r"sent: (\d+), which is at most (\d+): (\w+)", done.stdout)[0]
    assert (holds, int(sent) >= 5, int(most) >= int(sent)) == ("True", True, True)
    assert f"refused: {80 - int(sent)}" in done.stdout
    assert "invoices: 1" in done.stdout
