"""What a wrong use is answered with: one line that names what was written, and where to read on."""

import sys
from pathlib import Path

import pytest

click = pytest.importorskip("click")

from actguard.cli import main  # noqa: E402 - without click there is no command line


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("nope", "Error: No such command 'nope'. See actguard --help."),
        ("run", "Error: Name a script, or a module with -m. See actguard run --help."),
        ("run absent.py", "Error: There is no file 'absent.py' to run. See actguard run --help."),
        ("run -m absent.module", "Error: There is no module 'absent.module' to run. See actguard run --help."),
        (
            "run --usd 0 -m json",
            "Error: --usd: usd_limit must be positive and finite (dollars, such as 0.05), not 0.0.",
        ),
        (
            "run --tokens -1 -m json",
            "Error: --tokens: token_limit must be positive and finite (a whole number",
        ),
        ("run --plan Pro -m json", "Error: --plan: plan_key must be lower-case letters"),
        ("run --usd many -m json", "Error: Invalid value for '--usd': 'many' is not a valid float."),
        ("budgets set workspace --usd -5", "Error: Invalid value for '--usd': '-5' is no amount of dollars: write 25"),
        ("budgets set workspace", "Error: Name a limit: --usd, --tokens, or both. See actguard budgets set --help."),
        ("budgets credit much", "Error: Invalid value for 'USD': 'much' is no amount of dollars: write 25 or 0.50"),
        ("budgets credit 0", "Error: Invalid value for 'USD': nothing would be paid in, and every run would need it."),
        ("gateway --default-hold x", "Error: Invalid value for '--default-hold': 'x' is no amount of dollars"),
        ("gateway --host=", "Error: Invalid value for '--host': name an address; 0.0.0.0 is every one"),
        ("spend --days 0", "Error: Invalid value for '--days': 0 is not in the range 1<=x<=3650."),
    ],
)
def test_a_wrong_use_is_one_line_that_names_the_option(
    arguments: str, line: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", ["", *sys.path])
    for name in ("ACTGUARD_CONFIG", "ACTGUARD_GATEWAY_URL", "ACTGUARD_API_KEY", "ACTGUARD_DATABASE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SystemExit) as ended:
        main(arguments.split())

    assert ended.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(line)
    assert said.err.count("\n") == 1


def test_a_group_alone_shows_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["budgets"])

    said = capsys.readouterr()
    assert "Usage: actguard budgets" in said.out + said.err
    assert "credit" in said.out + said.err


@pytest.mark.parametrize("command", ["gateway", "keys create", "budgets list", "spend"])
def test_the_help_names_the_variable_that_says_which_database(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    main([*command.split(), "--help"])

    assert "ACTGUARD_DATABASE" in capsys.readouterr().out
