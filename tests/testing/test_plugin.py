"""The pytest plugin and the command line."""

import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request

import pytest

from actguard.testing import LocalProvider, Reply


def test_a_bare_client_talks_to_the_provider(llm_provider_env: LocalProvider) -> None:
    openai, anthropic = pytest.importorskip("openai"), pytest.importorskip("anthropic")
    llm_provider_env.default = Reply("Hello")
    messages = [{"role": "user", "content": "Hi"}]
    chat = openai.OpenAI().chat.completions.create(model="gpt-4o", messages=messages)
    message = anthropic.Anthropic().messages.create(model="claude-opus-5", max_tokens=9, messages=messages)
    assert chat.choices[0].message.content == message.content[0].text == "Hello"
    assert os.environ["GOOGLE_GEMINI_BASE_URL"] == llm_provider_env.url


def test_each_test_has_a_provider_of_its_own(llm_provider: LocalProvider) -> None:
    with LocalProvider() as another:
        assert another.port != llm_provider.port
    assert llm_provider.requests == []


async def test_a_provider_is_an_async_context_manager_too() -> None:
    async with LocalProvider() as provider:
        assert provider.url.startswith("http://127.0.0.1:")


def test_a_port_that_is_taken_is_said_and_leaves_nothing_running(llm_provider: LocalProvider) -> None:
    before = threading.active_count()
    with pytest.raises(OSError, match=str(llm_provider.port)):
        LocalProvider(port=llm_provider.port).start()
    assert threading.active_count() == before


def test_a_provider_starts_once(llm_provider: LocalProvider) -> None:
    with pytest.raises(RuntimeError, match="starts once"):
        llm_provider.start()


def test_the_plugin_imports_nothing_before_a_fixture_is_used() -> None:
    program = (
        "import sys, pytest; before = set(sys.modules); import actguard.testing.plugin\n"
        "print([m for m in set(sys.modules) - before if not m.startswith('actguard')])\n"
        "print([m for m in sys.modules if m.startswith('actguard.testing.')])"
    )
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert output.splitlines()[1] == "['actguard.testing.plugin']"


def test_it_runs_in_the_foreground_and_ends_with_its_ledger() -> None:
    command = [sys.executable, "-m", "actguard.testing", "--model-price", "mine=1/2/0.5", "--output-tokens", "3"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        environment = {}
        while line := process.stdout.readline().strip():
            name, _, value = line.removeprefix("export ").partition("=")
            environment[name] = value
        body = json.dumps({"model": "mine", "messages": [{"role": "user", "content": "Hi"}]}).encode()
        url = f"{environment['OPENAI_BASE_URL']}/chat/completions"
        with urllib.request.urlopen(urllib.request.Request(url, body, method="POST")) as reply:
            assert json.load(reply)["usage"]["total_tokens"] == 8 + 3
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=10)
    assert process.returncode == 0
    assert "POST /v1/chat/completions mine" in output
    assert "mine: 8 in, 3 out, $0.000014" in output
    assert output.splitlines()[-1].split() == ["total", "1", "8", "3", "0.000014"]


@pytest.mark.parametrize("wrong", ["mine", "mine=x/y", "mine=-1/2"])
def test_a_wrong_price_is_explained(wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    from actguard.testing.__main__ import main

    with pytest.raises(SystemExit):
        main(["--model-price", wrong])
    assert "MODEL=INPUT/OUTPUT" in capsys.readouterr().err
