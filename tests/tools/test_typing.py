"""A guarded function keeps its type, for both checkers in their strict mode."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SURFACE = Path(__file__).with_name("typing_surface.py")


def check(*command: str, root: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "MYPYPATH": str(root / "src")}
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=root, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.timeout(300)
def test_mypy_sees_the_types_of_guarded_functions(root: Path, tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    done = check("mypy", "--strict", "--warn-unused-ignores", f"--cache-dir={tmp_path}", str(SURFACE), root=root)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.timeout(300)
def test_pyright_sees_the_types_of_guarded_functions(root: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyright")
    config = tmp_path / "pyrightconfig.json"
    config.write_text(
        f'{{"include": ["{SURFACE}"], "extraPaths": ["{root / "src"}"], "typeCheckingMode": "strict",'
        ' "pythonVersion": "3.11", "reportUnnecessaryTypeIgnoreComment": true, "enableTypeIgnoreComments": false}'
    )
    done = check("pyright", "-p", str(config), root=root)
    assert done.returncode == 0, done.stdout + done.stderr
