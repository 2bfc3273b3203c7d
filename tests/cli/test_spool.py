"""`actguard spool`: look at what waits, and deliver it."""

import json
from pathlib import Path

import pytest

click = pytest.importorskip("click")

from click.testing import CliRunner, Result  # noqa: E402 - without click there is no command line

from actguard.cli.spool import command  # noqa: E402
from actguard.transport.spool import Spool  # noqa: E402
from tests.fake_gateway import KEY, Answer, fake_gateway  # noqa: E402


def spool(*arguments: str, **environment: str) -> Result:
    empty = {"ACTGUARD_CONFIG": None, "ACTGUARD_GATEWAY_URL": None, "ACTGUARD_API_KEY": None}
    return CliRunner().invoke(command, arguments, env={**empty, **environment})


def left_behind(folder: Path, url: str, count: int = 2) -> None:
    left = Spool(folder, url, KEY.partition(".")[0])
    for number in range(count):
        body = {"reserve_id": f"r{number}", "run_id": f"run-{number}", "usage_breakdown": [{"usd_micros": 220}]}
        left.keep(f"r{number}:final", "/api/v1/settle", body)
    left.close()


def test_nothing_waits(tmp_path: Path) -> None:
    assert "Nothing waits" in spool("show", "--spool-dir", str(tmp_path)).output


def test_what_waits_is_shown(tmp_path: Path) -> None:
    left_behind(tmp_path, "http://gateway:8085")
    said = spool("show", "--spool-dir", str(tmp_path)).output

    assert "http://gateway:8085 (ag_live_k1): 2 to deliver" in said
    assert "run run-0  $0.000220" in said
    assert KEY.partition(".")[2] not in said
    as_json = json.loads(spool("show", "--json", "--spool-dir", str(tmp_path)).output)
    assert [entry["keep"] for entry in as_json[0]["waiting"]] == ["r0:final", "r1:final"]


def test_it_is_delivered_once_and_gone(tmp_path: Path) -> None:
    with fake_gateway() as gateway:
        left_behind(tmp_path, gateway.url)
        environment = {"ACTGUARD_GATEWAY_URL": gateway.url, "ACTGUARD_API_KEY": KEY}
        first = spool("deliver", "--spool-dir", str(tmp_path), **environment)
        second = spool("deliver", "--spool-dir", str(tmp_path), **environment)

        assert (first.exit_code, first.output) == (0, "2 delivered, 0 left.\n")
        assert second.output == "0 delivered, 0 left.\n"
        assert [asked.key for asked in gateway.to("settle")] == ["r0:final", "r1:final"]


def test_what_cannot_be_delivered_stays_and_is_an_error(tmp_path: Path) -> None:
    with fake_gateway() as gateway:
        left_behind(tmp_path, gateway.url)
        gateway.say("settle", Answer(200, {}), Answer(503, {"error": "down"}))
        environment = {"ACTGUARD_GATEWAY_URL": gateway.url, "ACTGUARD_API_KEY": KEY}
        done = spool("deliver", "--spool-dir", str(tmp_path), **environment)

        assert done.exit_code == 1
        assert "1 delivered, 1 left." in done.output


def test_what_the_gateway_refuses_is_shown_as_refused(tmp_path: Path) -> None:
    with fake_gateway() as gateway:
        left_behind(tmp_path, gateway.url, 1)
        gateway.say("settle", Answer(422, {"error": "impossible"}))
        spool("deliver", "--spool-dir", str(tmp_path), ACTGUARD_GATEWAY_URL=gateway.url, ACTGUARD_API_KEY=KEY)

        said = spool("show", "--spool-dir", str(tmp_path)).output
        assert "refused: run run-0" in said
        assert "impossible" in said


def test_without_a_gateway_it_says_what_is_missing(tmp_path: Path) -> None:
    done = spool("deliver", "--spool-dir", str(tmp_path))

    assert done.exit_code == 1
    assert "ACTGUARD_GATEWAY_URL" in done.output
