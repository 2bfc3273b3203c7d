"""`actguard run`: any program, unchanged, under a budget."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from actguard.testing import LocalProvider
from tests.fake_gateway import KEY, fake_gateway

pytest.importorskip("click")

CALLS = """
import sys, openai
client = openai.OpenAI(max_retries=0)
for number in range(int(sys.argv[1])):
    client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "Hi"}])
    print("call", number, flush=True)
"""

INDENTED = CALLS.replace("\n", "\n    ")

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def provider() -> Iterator[LocalProvider]:
    with LocalProvider() as running:
        yield running


@pytest.fixture
def environment(provider: LocalProvider) -> dict[str, str]:
    known = {name: value for name, value in os.environ.items() if not name.startswith("ACTGUARD_")}
    return {**known, **provider.env()}


@pytest.fixture
def run(tmp_path: Path, environment: dict[str, str]) -> Run:
    def actguard(*arguments: str, program: str = "", env: dict[str, str] | None = None) -> Any:
        (tmp_path / "program.py").write_text(program)
        return subprocess.run(
            [sys.executable, "-m", "actguard.cli", "run", *arguments],
            cwd=tmp_path,
            env={**environment, **(env or {})},
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )

    return actguard


def test_a_program_is_stopped_at_its_limit_and_the_end_is_summed_up(run: Run, provider: LocalProvider) -> None:
    provider.ledger.reset()
    done = run("--usd", "0.0005", "program.py", "10", program=CALLS)

    assert done.returncode == 1
    assert done.stdout.splitlines() == ["call 0", "call 1"]
    error, summary = done.stderr.strip().splitlines()
    assert error.startswith("actguard: Budget 'program.py' is used up")
    assert summary == "actguard: 'program.py': $0.0007 of $0.0005, 84 tokens, 3 calls, exceeded"
    assert provider.ledger.calls == 3


def test_a_program_that_fits_ends_as_ever(run: Run) -> None:
    done = run("--tokens", "1000", "--user", "alice", "program.py", "1", program=CALLS)

    assert (done.returncode, done.stdout) == (0, "call 0\n")
    assert done.stderr == "actguard: 'program.py' for 'alice': $0.0002, 28 of 1,000 tokens, 1 call\n"


def test_strict_never_passes_the_limit(run: Run, provider: LocalProvider) -> None:
    provider.ledger.reset()
    done = run("--usd", "0.0005", "--strict", "-q", "program.py", "10", program=CALLS)

    assert done.returncode == 1
    assert float(provider.ledger.total_usd) <= 0.0005
    assert "tokens," not in done.stderr


@pytest.mark.parametrize(
    ("program", "status", "said"),
    [
        ("raise SystemExit", 0, ""),
        ("raise SystemExit(7)", 7, ""),
        ("import sys; sys.exit('no luck')", 1, "no luck"),
        ("x = 1\nraise ValueError('mine')", 1, "ValueError: mine"),
        ("def f(:", 1, "SyntaxError"),
        ("raise KeyboardInterrupt", 130, "KeyboardInterrupt"),
        ("import asyncio; raise asyncio.CancelledError('mine')", 1, "CancelledError: mine"),
        ("import os; os._exit(9)", 9, ""),
        ("import sys; sys.stderr.close()", 0, ""),
    ],
)
def test_the_exit_status_and_the_traceback_are_the_programs(
    run: Run, tmp_path: Path, program: str, status: int, said: str
) -> None:
    done = run("-q", "program.py", program=program)

    assert done.returncode == status
    assert said in done.stderr
    assert "actguard" not in done.stderr.replace("program.py", "")
    if "ValueError" in program:
        assert f'File "{tmp_path / "program.py"}", line 2' in done.stderr


WHO = """
import os, sys, __main__
from beside import NAME
assert __name__ == "__main__" and __main__.NAME == "beside" and sys.argv[0] == "program.py"
assert __file__ == os.path.abspath("program.py"), __file__
print(sys.argv[1:])
"""


def test_a_script_finds_its_arguments_its_neighbours_and_itself(run: Run, tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("NAME = 'beside'")
    done = run("program.py", "--usd", "5", "-m", "--help", program=WHO)

    assert done.stdout == "['--usd', '5', '-m', '--help']\n", done.stderr


def test_a_module_is_run_as_python_m_runs_it(run: Run, tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").touch()
    (tmp_path / "package" / "tool.py").write_text("import sys; print(__name__, __package__, sys.argv[1:])")
    done = run("--usd", "1", "-m", "package.tool", "-q", "--usd", "2")

    assert done.stdout == "__main__ package ['-q', '--usd', '2']\n", done.stderr
    assert "$1.0000" in done.stderr


def test_a_module_finds_its_neighbours_also_from_another_folder(run: Run, tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("NAME = 'beside'")
    (tmp_path / "tool.py").write_text("import os; os.chdir('/'); from beside import NAME; print(NAME)")

    assert run("-m", "tool").stdout == "beside\n"


@pytest.mark.parametrize("asked", [("-m", "tool"), ("-mtool",), ("-qm", "tool"), ("-qmtool",)])
def test_a_module_is_named_as_python_takes_it(run: Run, tmp_path: Path, asked: tuple[str, ...]) -> None:
    (tmp_path / "tool.py").write_text("import sys; print(sys.argv[1:])")

    assert run(*asked, "--usd", "2", "-mx").stdout == "['--usd', '2', '-mx']\n"


def test_a_program_that_closes_its_standard_error_ends_as_ever(run: Run) -> None:
    assert run("program.py", program="import sys; sys.stderr.close()").returncode == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_the_end_is_summed_up_once_where_a_program_forks(run: Run) -> None:
    done = run("program.py", program="import os\nif os.fork(): os.wait()")

    assert (done.returncode, done.stderr.count("$0.0000")) == (0, 1), done.stderr


PARALLEL = """
import multiprocessing, threading, openai, time
def call():
    openai.OpenAI(max_retries=0).chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "Hi"}])
def late():
    time.sleep(0.3)
    call()
if __name__ == "__main__":
    threading.Thread(target=late).start()
"""


@pytest.mark.parametrize("status", [0, 3])
def test_threads_that_outlive_the_main_one_are_waited_for_and_counted(run: Run, status: int) -> None:
    end = f"    raise SystemExit({status})\n" if status else ""
    done = run("--usd", "1", "program.py", program=PARALLEL + end)

    assert done.returncode == status
    assert "1 call" in done.stderr


POOLS = """
import concurrent.futures, multiprocessing, openai, sys, time
def call():
    time.sleep(0.3)
    openai.OpenAI(max_retries=0).chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "Hi"}])
if __name__ == "__main__":
    threads = concurrent.futures.ThreadPoolExecutor(2)
    threads.submit(call)
    processes = concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
    print(processes.submit(pow, 2, 3).result())
"""


def test_pools_that_nobody_shuts_down_finish_their_work_and_are_counted(run: Run) -> None:
    done = run("--usd", "1", "program.py", program=POOLS)

    assert (done.returncode, done.stdout) == (0, "8\n"), done.stderr
    assert "1 call" in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_reaches_the_program(tmp_path: Path, environment: dict[str, str]) -> None:
    program = "import time\ntry:\n    print('ready', flush=True); time.sleep(60)\nfinally:\n    print('cleaned up')\n"
    (tmp_path / "program.py").write_text(program)
    process = subprocess.Popen(
        [sys.executable, "-m", "actguard.cli", "run", "--usd", "1", "program.py"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background is born deaf to it
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    out, err = process.communicate(timeout=60)

    assert process.returncode == 130
    assert out == "cleaned up\n"
    assert "KeyboardInterrupt" in err
    assert "$0.0000 of $1.0000" in err
    assert time.monotonic() - began < 20


def test_events_go_to_a_file(run: Run, tmp_path: Path) -> None:
    run("--events", "events.jsonl", "program.py", "1", program=CALLS)

    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [f"{event['category']}.{event['name']}" for event in events] == ["run.start", "llm.usage", "run.end"]


def test_prices_come_from_a_file(run: Run, tmp_path: Path) -> None:
    (tmp_path / "prices.toml").write_text('[models."gpt-4o"]\ninput = 1000\noutput = 1000\n')
    done = run("--prices", "prices.toml", "--usd", "1", "program.py", "1", program=CALLS)

    assert "$0.0280 of $1.0000" in done.stderr


def test_a_gateway_of_the_environment_is_asked(run: Run, tmp_path: Path) -> None:
    (tmp_path / "patient.json").write_text('{"budget_timeout_s": 30}')
    with fake_gateway() as gateway:
        gateway.granted_micros = 300
        env = {
            "ACTGUARD_CONFIG": str(tmp_path / "patient.json"),
            "ACTGUARD_GATEWAY_URL": gateway.url,
            "ACTGUARD_API_KEY": KEY,
            "XDG_STATE_HOME": str(tmp_path),
        }
        done = run("--usd", "1", "--plan", "pro", "--user", "alice", "program.py", "5", program=CALLS, env=env)

        assert done.returncode == 1
        assert gateway.to("reserve")[0].body["plan_key"] == "pro"
        assert gateway.to("settle")[0].body["output_tokens"] == 40
        assert "of $0.0003" in done.stderr


def test_a_gateway_that_is_away_is_said_in_one_line(run: Run, tmp_path: Path) -> None:
    env = {"ACTGUARD_GATEWAY_URL": "http://127.0.0.1:1", "ACTGUARD_API_KEY": KEY, "XDG_STATE_HOME": str(tmp_path)}
    program = "import warnings; warnings.warn('of the program')"
    done = run("--usd", "1", "program.py", program=program, env=env)

    assert done.returncode == 0
    (line,) = [line for line in done.stderr.splitlines() if "go on under their local limits" in line]
    assert line.startswith("actguard: The gateway at http://127.0.0.1:1 could not be reached")
    assert "program.py:1: UserWarning: of the program" in done.stderr
    assert "click" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "Name a script"),
        (("nowhere.py",), "no file 'nowhere.py'"),
        (("--usd", "-1", "program.py"), "usd_limit must be positive"),
        (("--usd", "much", "program.py"), "not a valid float"),
        (("--tokens", "0", "program.py"), "token_limit must be positive"),
        (("--plan", "A B", "program.py"), "plan_key must be"),
        (("--prices", "none.json", "program.py"), "cannot be read"),
    ],
)
def test_mistakes_are_one_line(run: Run, arguments: tuple[str, ...], said: str) -> None:
    done = run(*arguments, program="print('ran')")

    assert done.returncode in (1, 2)
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_program_with_a_run_of_its_own_is_told_what_to_do(run: Run) -> None:
    ended = run("program.py", program="import actguard\nwith actguard.Client().run():\n    pass\n")

    assert ended.returncode == 1
    assert "the program enters a run of its own" in ended.stderr
    assert "start it with python" in ended.stderr


def test_a_guard_in_the_program_counts_in_the_one_around_it(run: Run) -> None:
    ended = run(
        "--usd", "0.0001", "program.py", "1", program=f"import actguard\nwith actguard.BudgetGuard():{INDENTED}"
    )

    assert ended.returncode == 1
    assert "is used up" in ended.stderr
