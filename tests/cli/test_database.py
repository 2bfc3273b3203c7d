"""Commands on the gateway's database: what is not there is said, and made only where it is asked for."""

import json
from pathlib import Path

import pytest

click = pytest.importorskip("click")

from click.testing import CliRunner, Result  # noqa: E402 - without click there is no command line

from actguard.cli import budgets, keys, spend  # noqa: E402

COMMANDS = {"budgets": budgets.command, "keys": keys.command, "spend": spend.command}


def actguard(command: str, *arguments: str) -> Result:
    return CliRunner().invoke(COMMANDS[command], arguments)


@pytest.fixture
def database(tmp_path: Path) -> str:
    """A new one, with a workspace and a key."""
    made = actguard("keys", "create", "bot", "--database", str(tmp_path / "gateway.db"))
    assert made.exit_code == 0, made.output
    return str(tmp_path / "gateway.db")


@pytest.mark.parametrize(
    "command",
    [
        ("spend",),
        ("budgets", "list"),
        ("budgets", "set", "workspace", "--usd", "5"),
        ("budgets", "credit", "5"),
        ("budgets", "remove", "workspace"),
        ("keys", "list"),
        ("keys", "revoke", "x"),
    ],
)
def test_a_mistyped_path_is_said_and_makes_no_database(command: tuple[str, ...], tmp_path: Path) -> None:
    said = actguard(*command, "--database", str(tmp_path / "gatway.db"))

    assert said.exit_code == 1
    assert "There is no database" in said.output
    assert "gatway.db" in said.output
    assert list(tmp_path.iterdir()) == []


def test_the_first_key_makes_one(database: str) -> None:
    assert Path(database).exists()
    assert "bot" in actguard("keys", "list", "--database", database).output


@pytest.mark.parametrize("plan", ["Pro", "two words", "-x", "x" * 101])
def test_a_plan_that_no_client_can_name_has_no_budget(plan: str, database: str) -> None:
    said = actguard("budgets", "set", "--usd", "5", "--database", database, "plan", "--", plan)

    assert said.exit_code == 1, said.output
    assert "lower-case letters, digits, - and _" in said.output
    assert json.loads(actguard("budgets", "list", "--json", "--database", database).output) == []


@pytest.mark.parametrize("name", ["al\tice", "x" * 201])
def test_what_no_request_can_name_has_no_budget_and_is_no_workspace(name: str, database: str) -> None:
    for command in (
        ("budgets", "set", "user", name, "--usd", "5"),
        ("keys", "create", "bot", "--new-workspace", "--workspace", name),
    ):
        said = actguard(*command, "--database", database)
        assert said.exit_code == 1, said.output
        assert "control character" in said.output
    assert (
        actguard("keys", "create", "bot", "--new-workspace", "--workspace", "", "--database", database).exit_code == 1
    )


def test_every_dimension_of_spend_may_be_asked_for(database: str) -> None:
    from actguard.gateway.reports import BY

    for by in BY:
        said = actguard("spend", "--by", by, "--json", "--database", database)
        assert json.loads(said.output)["by"] == by


@pytest.mark.parametrize(
    "terminal",
    [{"FORCE_COLOR": "1", "COLUMNS": "40"}, {"COLUMNS": "40"}, {"FORCE_COLOR": "1", "TERM": "dumb", "LINES": None}],
    ids=["colours", "narrow", "dumb"],
)
def test_no_figure_of_a_table_is_cut(terminal: dict[str, str | None], database: str) -> None:
    name = "agent-" + "x" * 194
    CliRunner().invoke(
        budgets.command, ["set", "agent", name, "--usd", "1234567.89", "--per", "month", "--database", database]
    )
    said = CliRunner().invoke(budgets.command, ["list", "--database", database], env=terminal)

    assert name in said.output
    assert said.output.count("$1,234,567.89") == 2  # the limit, and what is left
    assert "month" in said.output
    assert "…" not in said.output
