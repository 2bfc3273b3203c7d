"""Runs: one per context, wherever it is, and the guards inside."""

import asyncio
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from actguard import BudgetGuard, Client
from actguard.context import OUTSIDE, current_frame
from actguard.exceptions import (
    ActGuardUsageError,
    BudgetClientMismatchError,
    BudgetConfigurationError,
    MissingRuntimeContextError,
    NestedRunContextError,
    NestedRuntimeContextError,
    ScopeValidationError,
)


def test_a_run_has_an_id_of_its_own_or_the_one_it_is_given() -> None:
    client = Client()

    assert client.run(run_id="req-42").run_id == "req-42"
    assert client.run().run_id != client.run().run_id


def test_guards_inside_inherit_the_run_and_its_user() -> None:
    client = Client()

    with client.run(user_id="alice", run_id="req-42"), client.budget_guard(usd_limit=1) as guard:
        with BudgetGuard(name="inner") as inner:
            assert (inner.run_id, inner.user_id) == ("req-42", "alice")
        assert (guard.run_id, guard.user_id) == ("req-42", "alice")
    assert current_frame() is OUTSIDE


def test_a_run_inside_a_run_is_refused_and_the_outer_one_goes_on() -> None:
    client = Client()
    with client.run(run_id="outer"):
        with pytest.raises(NestedRuntimeContextError, match="outer"):
            client.run().__enter__()
        with pytest.raises(NestedRunContextError):
            Client().run().__enter__()
        assert current_frame().run is not None
        assert current_frame().run.run_id == "outer"


def test_a_run_inside_a_guard_is_told_what_to_do() -> None:
    with BudgetGuard(), pytest.raises(NestedRuntimeContextError, match=r"enter client.run\(\) first"):
        Client().run().__enter__()


def test_a_run_may_be_entered_again_when_it_was_left() -> None:
    run = Client().run()
    for _ in range(2):
        with run:
            assert current_frame().run is not None
    assert current_frame().run is None


def test_a_run_that_was_left_cannot_be_left_again() -> None:
    run = Client().run(run_id="r1")
    with run:
        pass

    with pytest.raises(MissingRuntimeContextError, match="'r1' is not entered"):
        run.__exit__(None, None, None)


def test_a_guard_outside_a_run_is_refused() -> None:
    with pytest.raises(MissingRuntimeContextError, match=r"client.run\(\)"):
        Client().budget_guard(usd_limit=1).__enter__()


def test_a_guard_inside_a_plain_guards_own_run_is_refused() -> None:
    with BudgetGuard(), pytest.raises(MissingRuntimeContextError):
        Client().budget_guard().__enter__()


def test_a_guard_of_another_client_is_refused() -> None:
    with Client().run(), pytest.raises(BudgetClientMismatchError):
        Client().budget_guard().__enter__()


def test_a_guard_for_another_run_is_refused() -> None:
    client = Client()
    with client.run(run_id="a"):
        with pytest.raises(BudgetConfigurationError, match=r"'b'.*'a'"):
            client.budget_guard(run_id="b").__enter__()
        with client.budget_guard(run_id="a"):
            pass


def test_a_plain_guard_for_another_run_than_the_one_it_is_entered_in_is_refused_too() -> None:
    for around in (Client().run(run_id="a"), BudgetGuard(run_id="a")):
        with around:
            with pytest.raises(BudgetConfigurationError, match="for run 'b', and the active run is 'a'"):
                BudgetGuard(run_id="b").__enter__()
            with BudgetGuard(run_id="a") as guard:
                assert guard.run_id == "a"


@pytest.mark.parametrize("plan_key", ["", "Pro", "-x", "a b", "x" + "é", 5])
def test_a_plan_key_of_the_wrong_form_is_refused(plan_key: Any) -> None:
    with pytest.raises(ActGuardUsageError) as caught:
        Client().budget_guard(plan_key=plan_key)

    assert caught.value.argument == "plan_key"


def test_a_nested_guard_may_not_name_another_plan() -> None:
    client = Client(event_sinks=[lambda event: None])
    with client.run(), client.budget_guard(plan_key="pro"):
        with client.budget_guard(plan_key="pro"):
            pass
        with pytest.raises(BudgetConfigurationError, match="'pro'"):
            client.budget_guard(plan_key="free").__enter__()
    client.close()


def test_a_name_that_is_too_long_is_refused() -> None:
    with pytest.raises(ScopeValidationError):
        Client().budget_guard(name="x" * 201)


def test_options_of_a_guard_are_those_of_budget_guard() -> None:
    with pytest.raises(ActGuardUsageError, match="usd_limitt"):
        Client().budget_guard(usd_limitt=1)


def test_threads_with_their_own_runs_do_not_meet() -> None:
    client, together, seen = Client(), threading.Barrier(8), []

    def work(number: int) -> None:
        with client.run(run_id=f"run-{number}"), client.budget_guard(usd_limit=1) as guard:
            together.wait(10)
            seen.append((f"run-{number}", guard.run_id, guard.account.parent if guard.account else 0))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(seen) == 8
    assert all(mine == its and parent is None for mine, its, parent in seen)


INHERITED = """
import threading
import warnings
from actguard import Client
client, seen = Client(), []
def work():
    with client.budget_guard() as guard:
        seen.append(guard.run_id)
with client.run(run_id="outer"):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
assert seen == ["outer"], seen
"""


def test_a_thread_inherits_the_run_it_was_started_in_before_any_guard_was_entered() -> None:
    subprocess.run([sys.executable, "-c", INHERITED], check=True, timeout=60)


async def test_tasks_with_their_own_runs_do_not_meet() -> None:
    client, seen = Client(), []

    async def work(number: int) -> None:
        async with client.run(run_id=f"run-{number}"), client.budget_guard(usd_limit=1) as guard:
            await asyncio.sleep(0)
            seen.append((f"run-{number}", guard.run_id))
            with pytest.raises(NestedRuntimeContextError):
                client.run().__enter__()

    await asyncio.gather(*(work(number) for number in range(50)))

    assert len(seen) == 50
    assert all(mine == its for mine, its in seen)


async def test_a_task_inherits_the_run_it_was_started_in() -> None:
    client = Client()

    async def work() -> str | None:
        with client.budget_guard() as guard:
            return guard.run_id

    async with client.run(run_id="outer"):
        assert await asyncio.create_task(work()) == "outer"


@pytest.mark.skipif(sys.platform == "win32", reason="forks")
@pytest.mark.filterwarnings("ignore:This process")
def test_a_forked_child_has_runs_of_its_own(make: Callable[..., Client]) -> None:
    client = make()
    with client.run():
        child = os.fork()
        if not child:
            try:
                with client.run(run_id="child"), client.budget_guard() as guard:
                    os._exit(0 if guard.run_id == "child" else 1)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.skipif(sys.platform == "win32", reason="forks")
@pytest.mark.filterwarnings("ignore:This process")
def test_a_plain_guard_in_a_forked_child_of_a_guard_may_name_a_run_of_its_own() -> None:
    with BudgetGuard(run_id="parent"):
        child = os.fork()
        if not child:
            try:
                with BudgetGuard(run_id="child") as guard:
                    os._exit(0 if guard.run_id == "child" else 1)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_cost_in_a_forked_child_of_a_guard_is_said_to_be_told_to_nobody(make: Callable[..., Client]) -> None:
    told: list[Any] = []
    client = make(event_sinks=[told.append])
    read, write = os.pipe()
    with client.run(), client.budget_guard(usd_limit=1) as guard:
        child = os.fork()
        if child == 0:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                for _ in range(2):
                    guard.add_cost(name="tool", usd=0.1)
            os.write(write, "\n".join(str(warning.message) for warning in caught).encode())
            os._exit(0)
        os.waitpid(child, 0)
        assert guard.usd_used == 0
    os.close(write)
    said = os.read(read, 10_000).decode().splitlines()
    os.close(read)

    assert len(said) == 1
    assert "entered before this process was forked" in said[0]
