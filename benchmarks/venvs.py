"""Environments for programs that cannot share ours: other versions, other packages of the same name."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
HOME = ROOT / ".venvs"


def environment(folder: Path, *packages: str) -> Path:
    """The interpreter of a virtual environment with *packages*; made anew when they have changed.

    uv does the installing, because it takes seconds; where it cannot be had, pip does the same.

    Raises:
        subprocess.CalledProcessError: one of them does not install; `stderr` says why.
    """
    python, ready, wanted = folder / "bin" / "python", folder / "ready", "\n".join(packages)
    if ready.is_file() and ready.read_text(encoding="utf-8") == wanted:
        return python
    _run(sys.executable, "-m", "venv", "--clear", folder)
    pip = (python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
    try:
        _run(*pip, "uv")
        _run(python, "-m", "uv", "pip", "install", "--quiet", "--python", python, *packages)
    except (OSError, subprocess.CalledProcessError):
        _run(*pip, *packages)
    ready.write_text(wanted, encoding="utf-8")
    return python


def _run(*command: object) -> None:
    subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True)
