"""What the command line says where an extra is not installed."""

import subprocess
import sys

import pytest


def without(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`actguard ARGUMENTS` in a process that cannot import *module*."""
    program = f"import sys; sys.modules[{module!r}] = None; from actguard.__main__ import main; main()"
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def test_without_its_extra_the_command_line_says_how_to_get_it() -> None:
    said = without("click", "prices", "gpt-4o")
    assert said.returncode == 1
    assert said.stderr == "Error: the command line is an extra: pip install 'actguard[cli]', or 'actguard[gateway]'.\n"


@pytest.mark.parametrize("command", ["gateway", "keys", "budgets", "spend"])
def test_without_the_gateways_extra_its_commands_say_how_to_get_it(command: str) -> None:
    said = without("msgspec", command)
    assert said.returncode == 1
    needed = f"actguard {command} needs msgspec, which is not installed"
    assert said.stderr == f"Error: {needed}: pip install 'actguard[gateway]'\n"


def test_the_help_of_all_commands_is_there_without_the_gateways_extra() -> None:
    said = without("msgspec", "--help")
    assert said.returncode == 0
    assert "gateway  Start the gateway" in said.stdout


def test_the_package_runs_as_the_script_does() -> None:
    said = subprocess.run(
        [sys.executable, "-m", "actguard", "--version"], capture_output=True, text=True, timeout=60, check=True
    )
    assert said.stdout.startswith("actguard, version ")
