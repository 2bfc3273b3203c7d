"""`actguard prices`: look up, and check a file."""

import json
from pathlib import Path

import pytest

click = pytest.importorskip("click")

from click.testing import CliRunner, Result  # noqa: E402 - without click there is no command line

from actguard import PriceBook  # noqa: E402
from actguard.cli.prices import command, load  # noqa: E402


def prices(*arguments: str) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def test_a_model_is_looked_up() -> None:
    done = prices("gpt-4o")

    assert done.exit_code == 0
    assert done.output.startswith("gpt-4o (openai, genai-prices): input $2.5, cache_read $1.25, output $10 per 1M")


def test_as_json() -> None:
    said = json.loads(prices("gpt-4o", "--json").output)

    assert (said["model"], said["provider"]) == ("gpt-4o", "openai")
    assert said["bands"][0]["usd"]["input_tokens"] == 2.5


def test_a_model_that_nobody_knows_is_an_error() -> None:
    done = prices("no-such-model", "--provider", "openai")

    assert done.exit_code == 1
    assert "No price is known for 'no-such-model' at openai" in done.output


def test_a_file_that_is_right_is_shown(tmp_path: Path) -> None:
    file = tmp_path / "prices.json"
    long = {"input": 1, "output": 2, "above": {"200000": {"input": 2}}}
    models = {"our-*": {"input": 3, "output": 12}, "long": long}
    file.write_text(json.dumps({"models": models, "hosts": {"localhost:11434": {"free": True}}, "unknown": "warn"}))
    done = prices("check", str(file))

    assert done.exit_code == 0, done.output
    assert "our-*" in done.output
    book = PriceBook()
    assert load(file, book) == []
    price = book.get("our-model")
    assert price is not None
    assert price.input_rate == 3_000_000


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is not JSON"),
        ("[]", "must hold an object"),
        ('{"model": {}}', "'model' is not a section"),
        ('{"models": []}', "models must be a mapping"),
        ('{"models": {"x": 5}}', "models, x: must be a mapping"),
        ('{"models": {"x": {"input": -1, "output": 1}}}', "models, x: "),
        ('{"models": {"x": {"inptu": 1, "output": 1}}}', "inptu"),
        ('{"hosts": {"x": {}}}', "hosts, x: "),
        ('{"unknown": "perhaps"}', "unknown: "),
    ],
)
def test_every_mistake_in_a_file_is_named(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "prices.json"
    file.write_text(content)
    done = prices("check", str(file))

    assert done.exit_code == 1
    assert said in done.output


def test_all_mistakes_are_named_at_once(tmp_path: Path) -> None:
    file = tmp_path / "prices.toml"
    file.write_text('unknown = "perhaps"\n[models.a]\ninput = -1\n[models.b]\noutput = "x"\n')

    assert "3 mistakes" in prices("check", str(file)).output


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    assert "cannot be read" in prices("check", str(tmp_path / "none.json")).output
