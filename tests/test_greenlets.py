"""gevent: greenlets go where their budget goes, as threads do."""

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextvars import copy_context
from decimal import Decimal

import gevent
import gevent.pool
import gevent.threadpool
import pytest

import actguard
from actguard import BudgetGuard
from actguard.budget.scope import BudgetScope
from actguard.context import current_frame
from actguard.testing import LocalProvider


@pytest.fixture(autouse=True)
def hub() -> Iterator[None]:
    """The event loop of gevent in this thread is gone when the test is."""
    yield
    gevent.get_hub().destroy()


def look() -> BudgetScope | None:
    return current_frame().scope


def test_a_greenlet_runs_in_the_guard_that_it_was_spawned_in() -> None:
    with BudgetGuard() as guard:
        spawned = [
            gevent.spawn(look),
            gevent.spawn_later(0, look),
            gevent.pool.Pool(2).spawn(look),
            gevent.pool.Group().apply_async(look),
            gevent.spawn(lambda: gevent.spawn(look).get()),
        ]

    assert [greenlet.get() for greenlet in spawned] == [guard.account] * 5


def test_work_on_the_native_threads_of_gevent_is_carried_and_forgotten() -> None:
    threads = gevent.get_hub().threadpool
    with BudgetGuard() as guard, gevent.threadpool.ThreadPoolExecutor(1) as executor:
        seen = [threads.spawn(look).get(), threads.apply(look), executor.submit(look).result()]

    assert seen == [guard.account] * 3
    assert threads.spawn(look).get() is None


def test_a_greenlet_from_outside_never_sees_a_guard() -> None:
    outside = gevent.spawn(look)
    with BudgetGuard():
        assert outside.get() is None

    assert gevent.spawn(look).get() is None


def test_a_greenlet_that_is_given_a_context_keeps_to_it() -> None:
    context = copy_context()
    with BudgetGuard():
        greenlet = gevent.Greenlet(look)
        greenlet.gr_context = context
        greenlet.start()

    assert greenlet.get() is None


def test_guards_in_greenlets_side_by_side_never_see_each_other() -> None:
    def work() -> bool:
        with BudgetGuard() as guard:
            gevent.sleep(0)
            return look() is guard.account and gevent.spawn(look).get() is guard.account

    assert all(greenlet.get() for greenlet in [gevent.spawn(work) for _ in range(4)])


def test_uninstall_leaves_greenlets_alone() -> None:
    with BudgetGuard():
        actguard.uninstall()
        assert gevent.spawn(look).get() is None


@pytest.mark.parametrize("strict", [False, True])
def test_fifty_greenlets_are_held_to_one_limit(strict: bool, llm_provider: LocalProvider) -> None:
    program = """
        from gevent import monkey
        monkey.patch_all()
        import gevent, openai, sys
        from actguard import BudgetExceededError, BudgetGuard

        client = openai.OpenAI(max_retries=0)
        messages = [{"role": "user", "content": "Hello!"}]

        def call():
            try:
                client.chat.completions.create(model="gpt-4o", messages=messages, max_tokens=100)
            except BudgetExceededError:
                pass

        with BudgetGuard(usd_limit=0.005, strict="strict" in sys.argv) as guard:
            gevent.joinall([gevent.spawn(call) for _ in range(50)], raise_error=True)
        print(guard.usd_used)
    """

    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), *["strict"] * strict],
        env={**os.environ, **llm_provider.env()},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert Decimal(done.stdout.strip()) == llm_provider.ledger.total_usd
    assert Decimal("0.0045") < llm_provider.ledger.total_usd <= Decimal("0.005" if strict else "0.00625")
