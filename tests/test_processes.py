"""Processes: a budget ends at the edge of its own, and whoever is beyond it is told."""

import inspect
import json
import multiprocessing
import multiprocessing.pool
import multiprocessing.process
import os
import pickle
import subprocess
import sys
import textwrap
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest

import actguard
from actguard import BudgetExceededError, BudgetGuard, UnmeteredCallError
from actguard.budget.account import Account
from actguard.context import current_frame
from actguard.providers import processes
from actguard.testing import LocalProvider

SECONDS = 60  # a test that waits this long has failed

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
METHODS = [method for method in multiprocessing.get_all_start_methods() if method != "fork"]


def say_hello(client: openai.OpenAI) -> str | None:
    reply = client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "Hello!"}])
    return reply.choices[0].message.content


# ---- fork -----------------------------------------------------------------------------------------------------------


def in_a_fork(work: Callable[[], Any]) -> Any:
    """What *work* returns in a forked child, or how it failed; with the warnings that it caused."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads: that is what is tested
        child = os.fork()
    if child == 0:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            try:
                result = work()
            except BaseException as error:
                result = (type(error).__name__, str(error))
        os.write(writing, json.dumps([result, [str(warning.message) for warning in told]]).encode())
        os._exit(0)
    os.close(writing)
    killer = threading.Timer(SECONDS, os.kill, (child, 9))
    killer.start()
    with open(reading) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    killer.cancel()
    assert text, "the child hung"
    return json.loads(text)


@forks
@pytest.mark.parametrize("sdk", ["openai", "anthropic"])
def test_a_call_in_a_forked_child_is_refused_before_it_is_sent(llm_provider: LocalProvider, sdk: str) -> None:
    def call() -> None:
        messages: Any = [{"role": "user", "content": "Hello!"}]
        if sdk == "openai":
            llm_provider.openai().chat.completions.create(model="gpt-4o", messages=messages)
        else:
            llm_provider.anthropic().messages.create(model="claude-opus-4-8", max_tokens=9, messages=messages)

    with BudgetGuard(name="parent", usd_limit=1):
        call()
        [error, message], _ = in_a_fork(call)
        call()

    assert error == "UnmeteredCallError"
    assert "'parent'" in message
    assert "another process" in message
    assert "Open a BudgetGuard in this process" in message
    assert llm_provider.ledger.calls == 2


@forks
def test_a_child_of_a_child_is_told_too(llm_provider: LocalProvider) -> None:
    client = llm_provider.openai()

    with BudgetGuard(usd_limit=1):
        [[error, _], _], _ = in_a_fork(lambda: in_a_fork(lambda: say_hello(client)))

    assert error == "UnmeteredCallError"


@forks
def test_policy_warn_lets_calls_pass_and_says_so_once(llm_provider: LocalProvider) -> None:
    client = llm_provider.openai()

    with BudgetGuard(usd_limit=1, unmetered="warn") as guard:
        replies, told = in_a_fork(lambda: [say_hello(client), say_hello(client)])

    assert len(replies) == 2
    assert len([text for text in told if "another process" in text]) == 1
    assert (guard.calls, llm_provider.ledger.calls) == (0, 2)


@forks
def test_policy_allow_lets_calls_pass_in_silence(llm_provider: LocalProvider) -> None:
    client = llm_provider.openai()

    with BudgetGuard(usd_limit=1, unmetered="allow"):
        reply, told = in_a_fork(lambda: say_hello(client))

    assert isinstance(reply, str)
    assert not [text for text in told if "process" in text]


@forks
def test_without_a_limit_the_default_is_to_warn(llm_provider: LocalProvider) -> None:
    client = llm_provider.openai()

    with BudgetGuard():
        reply, told = in_a_fork(lambda: say_hello(client))

    assert isinstance(reply, str)
    assert [text for text in told if "another process" in text]


@forks
def test_a_call_that_costs_nothing_is_no_concern_of_anybody(llm_provider: LocalProvider) -> None:
    client = llm_provider.openai()

    with BudgetGuard(usd_limit=1):
        count, told = in_a_fork(lambda: len(client.models.list().data))

    assert count > 0
    assert not told


@forks
def test_a_guard_of_the_childs_own_covers_it_as_ever(llm_provider: LocalProvider) -> None:
    client = llm_provider.openai()

    def work() -> Any:
        with BudgetGuard(name="child", token_limit=10) as guard:
            say_hello(client)
            try:
                say_hello(client)
            except BudgetExceededError as error:
                return guard.calls, error.scope_name, error.scope_kind
        return None

    llm_provider.when("A reply with more tokens than there are in the whole of the budget of the child. " * 9)
    with BudgetGuard(name="parent", usd_limit=1) as guard:
        [error, message], _ = in_a_fork(work)

    assert error == "BudgetExceededError"
    assert "'child'" in message
    assert (guard.calls, llm_provider.ledger.calls) == (0, 1)


@forks
def test_a_guard_of_the_childs_own_is_outermost_there(llm_provider: LocalProvider) -> None:
    client = llm_provider.openai()

    def work() -> Any:
        with BudgetGuard(name="child", usd_limit=0.5) as guard:
            say_hello(client)
        assert guard.account is not None
        return guard.calls, guard.root_usd_used == guard.usd_used, guard.account.parent

    with BudgetGuard(usd_limit=1):
        result, told = in_a_fork(work)

    assert result == [1, True, None]
    assert not told


@forks
def test_the_lock_of_a_budget_that_was_held_at_the_fork_does_not_hang_the_child(llm_provider: LocalProvider) -> None:
    client = llm_provider.openai()
    locked, unlock = threading.Event(), threading.Event()

    def hold_the_lock(account: Account) -> None:
        def wait() -> None:
            locked.set()
            unlock.wait(SECONDS)

        account.admission.locked(wait)

    def work(stack: Any) -> Any:
        try:
            say_hello(client)
        except UnmeteredCallError:
            refused = True
        with BudgetGuard(usd_limit=1) as own:
            say_hello(client)
        read = (guard.usd_used, guard.calls)
        stack.__exit__(None, None, None)  # the child leaves the parent's guard, as code after a fork may
        return [refused, own.calls, read, current_frame().scope]

    guard = BudgetGuard(usd_limit=1)
    with guard:
        assert guard.account is not None
        holder = threading.Thread(target=hold_the_lock, args=(guard.account,))
        holder.start()
        locked.wait(SECONDS)
        result, _ = in_a_fork(lambda: work(guard))
        unlock.set()
        holder.join(SECONDS)

    assert result == [True, 1, [0.0, 0], None]


@forks
def test_a_fork_outside_of_any_guard_changes_nothing(llm_provider: LocalProvider) -> None:
    client = llm_provider.openai()

    def work() -> int:
        with BudgetGuard(usd_limit=1) as guard:
            say_hello(client)
        return guard.calls

    assert in_a_fork(work) == [1, []]


# ---- spawn ----------------------------------------------------------------------------------------------------------

WORK = """
    import warnings
    from concurrent.futures import ThreadPoolExecutor

    def say_hello():
        import openai
        client = openai.OpenAI(max_retries=0)
        client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "Hello!"}])

    def told(call=say_hello):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                call()
            except Exception as error:
                return [type(error).__name__, error.reason]
        return [str(warning.message) for warning in caught]

    def on_a_thread():
        with ThreadPoolExecutor() as pool:
            return pool.submit(told).result()

    def in_a_guard():
        from actguard import BudgetGuard
        with BudgetGuard(usd_limit=1) as guard:
            say_hello()
        return [guard.calls, guard.account.parent is None]

    def everything():
        return [told(), on_a_thread(), in_a_guard()]

    def report(queue, work):
        queue.put(work())
"""


by_each_method = pytest.mark.parametrize("method", [*multiprocessing.get_all_start_methods()][:2])
Run = Callable[[str], Any]


@pytest.fixture
def run(tmp_path: Path, llm_provider: LocalProvider) -> Run:
    def run(main: str) -> Any:
        """What the program *main* appends to `results`, in an interpreter of its own."""
        (tmp_path / "work.py").write_text(textwrap.dedent(WORK))
        program = tmp_path / "main.py"
        program.write_text(
            "import json, multiprocessing, sys\n"
            "import work\n"
            "from actguard import BudgetGuard\n"
            "if __name__ == '__main__':\n"
            "    results = []\n"
            "    def start(context, target):\n"
            "        queue = context.Queue()\n"
            "        process = context.Process(target=work.report, args=(queue, target))\n"
            "        process.start()\n"
            "        results.append(queue.get(timeout=50))\n"
            "        process.join()\n"
            "        return process\n"
            f"{textwrap.indent(textwrap.dedent(main), '    ')}\n"
            "    print(json.dumps(results))\n"
        )
        done = subprocess.run(
            [sys.executable, str(program)],
            env={**os.environ, **llm_provider.env()},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


@by_each_method
def test_a_process_started_inside_a_guard_is_told_wherever_it_calls(
    run: Run, llm_provider: LocalProvider, method: str
) -> None:
    results = run(
        f"""
        context = multiprocessing.get_context({method!r})
        with BudgetGuard(usd_limit=1) as guard:
            process = start(context, work.everything)
            work.say_hello()
        results.append(guard.calls)
        results.append([name for name in vars(process) if "actguard" in name])
        """
    )

    refused = ["UnmeteredCallError", "process"]
    assert results == [[refused, refused, [1, True]], 1, []]
    assert llm_provider.ledger.calls == 2


@by_each_method
def test_a_process_that_a_later_step_of_a_generator_starts_is_told(run: Run, method: str) -> None:
    results = run(
        f"""
        from contextvars import copy_context
        context = multiprocessing.get_context({method!r})
        def agent():
            with BudgetGuard(usd_limit=1):
                work.say_hello()
                yield
                start(context, work.told)
                yield
        steps = agent()
        for _ in range(2):
            copy_context().run(next, steps)
        """
    )

    assert results == [["UnmeteredCallError", "process"]]


def test_a_process_started_outside_is_free(run: Run, llm_provider: LocalProvider) -> None:
    results = run(
        """
        context = multiprocessing.get_context("spawn")
        with BudgetGuard(usd_limit=1):
            pass
        start(context, work.told)
        """
    )

    assert results == [[]]
    assert llm_provider.ledger.calls == 1


def test_the_guards_own_policy_travels(run: Run, llm_provider: LocalProvider) -> None:
    [told] = run(
        """
        with BudgetGuard(name="parent", usd_limit=1, unmetered="warn"):
            start(multiprocessing.get_context("spawn"), work.told)
        """
    )

    assert len(told) == 1
    assert "'parent'" in told[0]
    assert llm_provider.ledger.calls == 1


@by_each_method
def test_work_for_a_pool_of_processes_is_told_and_its_workers_are_not(run: Run, method: str) -> None:
    results = run(
        f"""
        from concurrent.futures import ProcessPoolExecutor
        with BudgetGuard(usd_limit=1):
            pool = ProcessPoolExecutor(1, multiprocessing.get_context({method!r}))
            results.append(pool.submit(work.told).result())
            results.append(list(pool.map(divmod, [7], [2])))
            results.append(pool.submit(work.in_a_guard).result())
        results.append(pool.submit(work.told).result())
        pool.shutdown()
        """
    )

    assert results == [["UnmeteredCallError", "process"], [[3, 1]], [1, True], []]


@by_each_method
def test_work_for_a_pool_of_multiprocessing_is_told_whenever_that_was_made(run: Run, method: str) -> None:
    results = run(
        f"""
        context = multiprocessing.get_context({method!r})
        with context.Pool(1) as before:
            with BudgetGuard(usd_limit=1), context.Pool(1) as pool:
                results.append(before.apply(work.told))
                results.append(pool.apply_async(func=work.told).get())
                results.append(list(pool.imap(work.told, iter([work.say_hello]))))
                results.append(pool.starmap(divmod, [(7, 2)]))
            results.append(before.map(work.told, [work.say_hello]))
        """
    )

    told = ["UnmeteredCallError", "process"]
    assert results == [told, told, [told], [[3, 1]], [[]]]


def test_work_that_joblib_sends_to_processes_is_told_whenever_they_were_started(run: Run) -> None:
    results = run(
        """
        from joblib import Parallel, delayed
        def in_parallel():
            results.extend(Parallel(n_jobs=2)([delayed(work.told)()]))
        in_parallel()
        with BudgetGuard(usd_limit=1):
            in_parallel()
        in_parallel()
        """
    )

    assert results == [[], ["UnmeteredCallError", "process"], []]


def test_a_process_that_has_no_actguard_starts_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    arrival = processes._Arrival(processes.Notice("scp_1", None, None, "run_1", "block"))
    sent = pickle.dumps(arrival)

    monkeypatch.setitem(sys.modules, "actguard.providers.processes", None)

    assert pickle.loads(sent) is None
    assert current_frame().scope is None


def test_work_that_cannot_be_pickled_fails_as_ever() -> None:
    with BudgetGuard(usd_limit=1), ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        error = pool.submit(lambda: None).exception(SECONDS)

    assert isinstance(error, (pickle.PicklingError, AttributeError))
    assert "lambda" in str(error)


def test_a_process_that_cannot_start_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    process = multiprocessing.get_context("spawn").Process(target=lambda: None)

    with BudgetGuard(usd_limit=1), pytest.raises((pickle.PicklingError, AttributeError)):
        process.start()

    assert not [name for name in vars(process) if "actguard" in name]


# ---- patches --------------------------------------------------------------------------------------------------------


def test_uninstall_leaves_no_trace() -> None:
    actguard.uninstall()
    start, submit = multiprocessing.process.BaseProcess.start, ProcessPoolExecutor.submit
    pools = dict(vars(multiprocessing.pool.Pool))
    actguard.install()
    assert vars(multiprocessing.pool.Pool) != pools
    assert inspect.signature(ProcessPoolExecutor.submit) == inspect.signature(submit)
    assert multiprocessing.process.BaseProcess.start is not start

    actguard.uninstall()

    assert multiprocessing.process.BaseProcess.start is start
    assert vars(multiprocessing.pool.Pool) == pools
    assert ProcessPoolExecutor.submit is submit
