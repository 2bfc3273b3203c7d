"""A client: its options, wherever they are written, and what wrong ones are told."""

import asyncio
import base64
import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

from actguard import ActGuardUsageError, Client
from tests.fake_gateway import KEY

URL = "http://127.0.0.1:8085"


def test_a_client_with_nothing_set_is_local() -> None:
    client = Client()

    assert client.remote is None
    assert repr(client) == "<Client: local>"


def test_defaults_are_those_of_the_manual() -> None:
    config = Client().config

    assert config.budget == (3.0, 1)
    assert config.events == (5.0, 8)
    assert (config.event_mode, config.flush_interval_ms, config.max_batch_events) == ("verbose", 1000, 100)
    assert (config.max_batch_bytes, config.max_queue_events) == (256_000, 10_000)
    assert (config.backoff_base_ms, config.backoff_max_ms, config.on_gateway_error) == (200, 10_000, "open")


def test_one_timeout_sets_both_and_each_has_the_last_word() -> None:
    config = Client(timeout_s=2, max_retries=3, event_timeout_s=9, budget_max_retries=0).config

    assert config.budget == (2, 0)
    assert config.events == (9, 3)


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        ({"gateway_url": "127.0.0.1:8085", "api_key": KEY}, "gateway_url"),
        ({"gateway_url": "ftp://127.0.0.1", "api_key": KEY}, "gateway_url"),
        ({"backoff_base_ms": 500, "backoff_max_ms": 100}, "backoff_max_ms"),
        ({"gateway_url": "http://", "api_key": KEY}, "gateway_url"),
        ({"gateway_url": "http://user:pass@host", "api_key": KEY}, "gateway_url"),
        ({"gateway_url": "http://host:port", "api_key": KEY}, "gateway_url"),
        ({"gateway_url": 8085, "api_key": KEY}, "gateway_url"),
        ({"gateway_url": "http://gate way", "api_key": KEY}, "gateway_url"),
        ({"gateway_url": "http://gate\nway", "api_key": KEY}, "gateway_url"),
        ({"gateway_url": "http://gateway..example", "api_key": KEY}, "gateway_url"),
        ({"gateway_url": f"https://{'a' * 64}.example", "api_key": KEY}, "gateway_url"),
        ({"gateway_url": f"{URL}/?", "api_key": KEY}, "gateway_url"),
        ({"gateway_url": f"{URL}/#", "api_key": KEY}, "gateway_url"),
        ({"gateway_url": URL}, "api_key"),
        ({"api_key": KEY}, "gateway_url"),
        ({"gateway_url": URL, "api_key": "sk-secret"}, "api_key"),
        ({"gateway_url": URL, "api_key": "ag_live_only-an-id"}, "api_key"),
        ({"gateway_url": URL, "api_key": 5}, "api_key"),
        ({"event_mode": "loud"}, "event_mode"),
        ({"event_mode": None}, "event_mode"),
        ({"on_gateway_error": "local"}, "on_gateway_error"),
        ({"flush_interval_ms": 0}, "flush_interval_ms"),
        ({"flush_interval_ms": 1.5}, "flush_interval_ms"),
        ({"max_batch_events": True}, "max_batch_events"),
        ({"max_queue_events": -1}, "max_queue_events"),
        ({"max_retries": -1}, "max_retries"),
        ({"budget_timeout_s": 0}, "budget_timeout_s"),
        ({"event_timeout_s": float("nan")}, "event_timeout_s"),
        ({"timeout_s": "3"}, "timeout_s"),
        ({"timeout_s": float("inf")}, "timeout_s"),
        ({"debug": 1}, "debug"),
        ({"spool_dir": 5}, "spool_dir"),
        ({"spool_dir": "spool\0"}, "spool_dir"),
        ({"events_file": ""}, "events_file"),
        ({"event_sinks": print}, "event_sinks"),
        ({"event_sinks": [5]}, "event_sinks"),
        ({"event_sinks": [asyncio.sleep]}, "event_sinks"),
        ({"agent_id": ""}, "agent_id"),
        ({"api_kye": KEY}, "api_kye"),
    ],
)
def test_a_wrong_option_is_named_where_it_is_written(options: dict[str, Any], argument: str) -> None:
    with pytest.raises(ActGuardUsageError) as caught:
        Client(**options)

    assert caught.value.argument == argument
    assert argument in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert "sk-secret" not in str(caught.value)


def test_a_misspelt_option_is_told_which_one_may_be_meant() -> None:
    with pytest.raises(ActGuardUsageError, match="Did you mean 'gateway_url'"):
        Client(gatewayurl=URL)


@pytest.mark.parametrize("url", ["http://8.8.8.8:8085", "http://gateway.example.com"])
def test_a_key_that_would_travel_in_the_clear_to_a_public_host_is_warned_about(url: str) -> None:
    with pytest.warns(UserWarning, match="not encrypted"):
        Client(gateway_url=url, api_key=KEY).close()


@pytest.mark.parametrize(
    "url", [URL, "http://localhost:1", "http://[::1]:1", "http://10.0.0.8", "http://gateway:8085", "https://8.8.8.8"]
)
def test_hosts_of_our_own_and_encrypted_ones_are_not_warned_about(url: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Client(gateway_url=f"{url}/", api_key=KEY).close()


# ---- from the environment, from a file ----


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("ACTGUARD_CONFIG", "ACTGUARD_GATEWAY_URL", "ACTGUARD_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_an_empty_environment_makes_a_local_client(environment: pytest.MonkeyPatch) -> None:
    assert Client.from_env().remote is None


def test_the_environment_may_name_a_gateway_and_a_key(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("ACTGUARD_GATEWAY_URL", URL)
    environment.setenv("ACTGUARD_API_KEY", KEY)

    assert Client.from_env().config.gateway_url == URL


def test_the_configuration_may_be_base64_of_json(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("ACTGUARD_CONFIG", base64.b64encode(b'{"event_mode": "significant"}').decode())

    assert Client.from_env().config.event_mode == "significant"


@pytest.mark.parametrize(
    "written",
    [
        base64.encodebytes(b'{"agent_id": "' + b"x" * 80 + b'?>", "event_mode": "significant"}').decode(),
        base64.urlsafe_b64encode(b'{"agent_id": "???>>>", "event_mode": "significant"}').decode().rstrip("="),
    ],
    ids=["in lines", "url-safe, without padding"],
)
def test_base64_is_taken_as_tools_print_it(environment: pytest.MonkeyPatch, written: str) -> None:
    environment.setenv("ACTGUARD_CONFIG", written)

    assert Client.from_env().config.event_mode == "significant"


def test_half_of_what_a_gateway_needs_is_said_to_be_in_the_environment(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("ACTGUARD_GATEWAY_URL", URL)

    with pytest.raises(ActGuardUsageError, match=r"^The environment: gateway_url is given and api_key is not"):
        Client.from_env()


def test_a_key_is_not_shown_where_options_are() -> None:
    client = Client(gateway_url=URL, api_key=KEY)

    assert KEY.partition(".")[2] not in repr(client.config) + repr(client) + repr(client.remote)


def test_the_configuration_may_be_a_file_and_variables_win_over_it(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "actguard.json"
    file.write_text(json.dumps({"gateway_url": "http://other:1", "api_key": KEY, "max_retries": 2}))
    environment.setenv("ACTGUARD_CONFIG", str(file))
    environment.setenv("ACTGUARD_GATEWAY_URL", URL)

    config = Client.from_env().config

    assert (config.gateway_url, config.max_retries) == (URL, 2)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ("/no/such/file.json", "neither"),
        ("/etc/no/such/config", "neither"),
        (base64.b64encode(b'{"self": 1}').decode(), "no option 'self'"),
        ("{not json}", "neither"),
        ("x" * 5000 + "!", "neither"),
        (base64.b64encode(b"not json").decode(), "not JSON"),
        (base64.b64encode(b"[1]").decode(), "JSON object"),
        (base64.b64encode(b'{"nope": 1}').decode(), "no option 'nope'"),
        (base64.b64encode(b'{"timeout_s": "x"}').decode(), "timeout_s must be"),
    ],
)
def test_a_wrong_configuration_in_the_environment_is_explained(
    environment: pytest.MonkeyPatch, raw: str, said: str
) -> None:
    environment.setenv("ACTGUARD_CONFIG", raw)

    with pytest.raises(ActGuardUsageError, match="ACTGUARD_CONFIG") as caught:
        Client.from_env()

    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read"),
        ("{", "not JSON (line 1"),
        ("[]", "JSON object"),
        ('{"event_mod": "off"}', "Did you mean 'event_mode'"),
        ('{"max_retries": "2"}', "max_retries must be a whole number"),
        ('{"api_key": null, "gateway_url": "nowhere"}', "gateway_url must be an address"),
    ],
)
def test_a_wrong_configuration_file_is_named_and_explained(tmp_path: Path, content: str | None, said: str) -> None:
    file = tmp_path / "actguard.json"
    if content is not None:
        file.write_text(content)

    with pytest.raises(ActGuardUsageError) as caught:
        Client.from_file(file)

    assert said in str(caught.value)
    assert str(file) in str(caught.value)


def test_relative_paths_mean_the_same_files_wherever_the_program_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "ca.pem").touch()
    with Client(events_file="events.jsonl", spool_dir="spool", ca_file="ca.pem") as client:
        monkeypatch.chdir(tmp_path / "elsewhere")
        with client.run():
            pass
    assert len((tmp_path / "events.jsonl").read_text().splitlines()) == 2
    assert client.config.spool_dir == str(tmp_path / "spool")
    assert client.config.ca_file == str(tmp_path / "ca.pem")


def test_a_folder_is_no_file_for_events(tmp_path: Path) -> None:
    with pytest.raises(ActGuardUsageError, match="is a folder") as caught:
        Client(events_file=tmp_path)

    assert caught.value.argument == "events_file"


@pytest.mark.parametrize(("options", "loaded"), [({}, False), ({"gateway_url": URL, "api_key": KEY}, True)])
def test_what_requests_need_is_loaded_before_a_deadline_runs_and_only_with_a_gateway(
    options: dict[str, Any], loaded: bool
) -> None:
    """On a busy machine it takes longer than a reserve may."""
    program = f"import sys, actguard; actguard.Client(**{options!r}); print('httpx2' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == str(loaded)


def test_a_ca_file_with_no_certificate_in_it_is_a_mistake_at_construction(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("this is none")

    with pytest.raises(ActGuardUsageError, match=r"ca_file .*ca\.pem holds no certificate") as caught:
        Client(gateway_url="https://gateway.example.com", api_key=KEY, ca_file=tmp_path / "ca.pem")
    assert caught.value.argument == "ca_file"


def test_a_closed_client_starts_no_run_and_closes_again() -> None:
    with Client(event_sinks=[lambda event: None]) as client:
        pass
    client.close()

    with pytest.raises(ActGuardUsageError, match="closed"):
        client.run().__enter__()
