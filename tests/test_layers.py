"""The rules in .importlinter mean what they say: each is shown a small package that breaks it."""

import subprocess
import sys
from pathlib import Path

import pytest

PARTS = (
    *("cli", "gateway", "integrations", "runtime", "providers", "tools", "custody", "pipeline", "budget", "events"),
    *("stores", "transport", "propagation", "steps", "context", "money", "exceptions", "testing"),
)
LINT = "import sys; sys.path.insert(0, ''); from importlinter.cli import lint_imports_command; lint_imports_command()"


def lint(config: Path, source: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", LINT, "--config", str(config), "--no-cache"],
        cwd=source,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """An `actguard` of empty modules, one for each part of the design."""
    for part in ("", *PARTS):
        folder = tmp_path / "actguard" / part
        folder.mkdir(exist_ok=True)
        (folder / "__init__.py").touch()
    return tmp_path


def test_the_code_keeps_its_layers(root: Path) -> None:
    done = lint(root / ".importlinter", root / "src")

    assert done.returncode == 0, done.stdout


def test_empty_parts_break_nothing(package: Path, root: Path) -> None:
    assert lint(root / ".importlinter", package).returncode == 0


@pytest.mark.parametrize(
    ("part", "statement", "rule"),
    [
        ("budget", "from actguard.providers import seam", "Arrows point down only"),
        ("budget", "from actguard import events", "Arrows point down only"),
        ("money", "from actguard import exceptions", "Arrows point down only"),
        ("testing", "from actguard import money", "Arrows point down only"),
        ("gateway", "from actguard import runtime", "The server and the client-side runtime"),
        ("providers", "from actguard import testing", "Nothing but the command line"),
        ("providers", "import actguard", "nothing inside imports from it"),
        ("budget", "import openai", "budget/ knows no SDK"),
        ("budget", "import socket", "budget/ knows no SDK"),
        ("transport", "import httpx", "httpx may be absent"),
    ],
)
def test_an_import_against_the_design_is_found(package: Path, root: Path, part: str, statement: str, rule: str) -> None:
    (package / "actguard" / "providers" / "seam.py").touch()
    (package / "actguard" / part / "wrong.py").write_text(statement + "\n")

    done = lint(root / ".importlinter", package)

    broken = [line for line in done.stdout.splitlines() if line.endswith("BROKEN")]
    assert [line for line in broken if rule in line], done.stdout


def test_a_part_that_the_rules_do_not_name_is_found(package: Path, root: Path) -> None:
    (package / "actguard" / "misc.py").touch()

    assert lint(root / ".importlinter", package).returncode != 0
