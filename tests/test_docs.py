"""The README and the manual are programs: every Python block runs, in order, against the local provider.

A block marked `output` states what the Python block before it prints; `...` in it stands for anything. What a page
needs, but a reader need not see, is in an `invisible-code-block` comment; `provider` is the local provider there.
"""

import contextlib
import dataclasses
import doctest
import inspect
import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sybil import Example, Sybil
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown import CodeBlockParser

from actguard import BudgetGuard, Policy
from actguard.budget.policy import OPTIONS
from actguard.testing import LocalProvider

ROOT = Path(__file__).parent.parent
PAGES = ["README.md", "CONTRIBUTING.md", *sorted(str(page.relative_to(ROOT)) for page in (ROOT / "docs").rglob("*.md"))]
TEST_FILE = re.compile(r"```python\n(# tests/(\w+\.py)\n.*?)```", re.DOTALL)

pytestmark = pytest.mark.filterwarnings("always::actguard.BudgetWarning")


def run(example: Example) -> None:
    """Run a block, and keep what it prints for the `output` block behind it."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            PythonEvaluator()(example)
    finally:
        example.namespace["_printed"] = printed.getvalue()


def compare(example: Example) -> str | None:
    printed = str(example.namespace.pop("_printed", "nothing was run before"))
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    if doctest.OutputChecker().check_output(str(example.parsed), printed, flags):
        return None
    return f"the page says\n{example.parsed}\nand the block printed\n{printed}"


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalProvider]:
    with LocalProvider() as running:
        for name, value in running.env().items():
            monkeypatch.setenv(name, value)
        yield running


@pytest.mark.parametrize("page", PAGES)
def test_a_page_runs_as_printed(
    page: str, provider: LocalProvider, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ACTGUARD_CONFIG", "")  # a page sets it, and it is to be gone after that page
    document = Sybil(
        parsers=[
            CodeBlockParser(language="python", evaluator=run),
            CodeBlockParser(language="output", evaluator=compare),
        ],
        document_types={},
    ).parse(ROOT / page)
    document.namespace["provider"] = provider

    for example in document.examples():
        example.evaluate()


def test_the_test_file_of_the_manual_passes(root: Path, tmp_path: Path) -> None:
    found = TEST_FILE.findall((root / "docs" / "testing.md").read_text())
    assert found
    for text, name in found:
        (tmp_path / name).write_text(text)

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_manual_has_every_option_of_a_guard_with_its_default(root: Path) -> None:
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| (.*?) \|", (root / "docs" / "budgets.md").read_text(), re.MULTILINE)
    told = {name: default for names, default in rows for name in re.findall(r"\w+", names)}
    signature = inspect.signature(BudgetGuard)
    parameters = [
        name for name, parameter in signature.parameters.items() if parameter.kind is not parameter.VAR_KEYWORD
    ]

    missing = {*parameters, *OPTIONS} - told.keys() - {"run_id"}
    wrong = {
        name: told[name]
        for name, default in ((field.name, field.default) for field in dataclasses.fields(Policy))
        if name in told and default is not None and told[name] != f"`{json.dumps(default)}`"
    }

    assert (missing, wrong) == (set(), {})
