"""Threads that timed functions run on: one for each call at a time, used again, and gone when they have no work."""

import contextvars
import gc
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from actguard.tools import workers as module
from actguard.tools.workers import Job, Workers

SECONDS = 10.0
"""What should come at once may take so long on a busy machine."""


@pytest.fixture
def workers() -> Iterator[Workers]:
    threads = Workers()
    yield threads
    threads.stop()


def job(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Job:
    return Job(function, args, kwargs)


def until(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.001)


def on(workers: Workers, function: Callable[..., Any], *args: Any) -> Any:
    """What *function* returns on a thread, when that thread is free again."""
    asked = job(function, *args)
    workers.start(asked)
    assert asked.wait(SECONDS)
    until(lambda: workers.busy == 0)
    return asked.outcome()


# ---- threads ----


def test_a_thread_that_comes_back_is_used_again(workers: Workers) -> None:
    first = on(workers, threading.current_thread)
    assert on(workers, threading.current_thread) is first
    assert first is not threading.current_thread()
    assert (first.name, first.daemon) == ("actguard-timeout", True)


def test_calls_at_once_have_a_thread_each(workers: Workers) -> None:
    gate = threading.Event()
    threads: list[threading.Thread] = []

    def hang() -> None:
        threads.append(threading.current_thread())
        gate.wait(SECONDS)

    jobs = [job(hang) for _ in range(3)]
    for each in jobs:
        workers.start(each)
    until(lambda: len(threads) == 3)
    assert len(set(threads)) == workers.busy == 3
    gate.set()
    assert all(each.wait(SECONDS) for each in jobs)
    until(lambda: workers.busy == 0)
    assert on(workers, threading.current_thread) in threads


def test_a_thread_without_work_ends_after_a_while(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE_S", 0.01)
    first = on(workers, threading.current_thread)
    first.join(SECONDS)
    assert not first.is_alive()
    second = on(workers, threading.current_thread)
    assert second is not first
    second.join(SECONDS)
    assert not second.is_alive()


def test_a_thread_that_was_given_a_job_meanwhile_may_not_end() -> None:
    class Watched(Workers):
        worker: Any = None

        def back(self, worker: Any) -> None:
            self.worker = worker
            super().back(worker)

    workers, gate = Watched(), threading.Event()
    thread = on(workers, threading.current_thread)
    worker = workers.worker
    hanging = job(gate.wait, SECONDS)
    workers.start(hanging)
    assert not workers.retire(worker)
    gate.set()
    until(lambda: workers.busy == 0)
    assert workers.retire(worker)
    assert not workers.retire(worker)
    assert on(workers, threading.current_thread) is not thread
    worker.give(None)
    workers.stop()


def test_to_stop_ends_the_threads_that_have_nothing_to_do_and_no_others(workers: Workers) -> None:
    gate = threading.Event()
    idle = on(workers, threading.current_thread)
    hanging = [job(gate.wait, SECONDS), job(threading.current_thread)]
    workers.start(hanging[0])
    workers.start(hanging[1])
    assert hanging[1].wait(SECONDS)
    until(lambda: workers.busy == 1)
    other = hanging[1].outcome()
    assert other is not idle

    workers.stop()
    other.join(SECONDS)
    assert not other.is_alive()
    assert idle.is_alive()
    gate.set()
    assert hanging[0].wait(SECONDS)
    assert hanging[0].outcome() is True
    until(lambda: workers.busy == 0)
    assert on(workers, threading.current_thread) is idle


def test_a_thread_that_cannot_be_started_is_not_counted(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", none_left)
        with pytest.raises(RuntimeError, match="new thread"):
            workers.start(job(print))
    assert workers.busy == 0
    assert on(workers, lambda: "done") == "done"


def test_what_fails_where_it_is_told_that_a_call_ended_is_logged_and_harms_nobody(
    workers: Workers, caplog: pytest.LogCaptureFixture
) -> None:
    gate = threading.Event()

    def fail(ended: Job) -> None:
        raise LookupError

    left = job(lambda: gate.wait(SECONDS) and threading.current_thread())
    workers.start(left)
    until(lambda: left.started)
    assert left.leave(fail)
    with caplog.at_level(logging.ERROR, "actguard.tools"):
        gate.set()
        until(lambda: workers.busy == 0)
    assert [record.exc_info and record.exc_info[0] for record in caplog.records] == [LookupError]
    assert on(workers, threading.current_thread) is left.outcome()


# ---- one call ----


def test_a_call_has_its_arguments_and_gives_its_result() -> None:
    asked = job(lambda *args, **kwargs: (args, kwargs), 1, 2, three=3)
    assert not asked.wait(0)
    asked.run()
    assert asked.wait(0)
    assert asked.outcome() == ((1, 2), {"three": 3})


@pytest.mark.parametrize("error", [LookupError("no"), KeyboardInterrupt(), SystemExit(3)])
def test_a_call_raises_its_error_where_it_is_awaited(error: BaseException) -> None:
    def fail() -> None:
        raise error

    asked = job(fail)
    asked.run()
    assert asked.wait(0)
    with pytest.raises(type(error)) as raised:
        asked.outcome()
    assert raised.value is error
    assert asked.error is None, "its traceback would hold everything that was on the stack"


@pytest.mark.parametrize("by_name", [False, True])
def test_what_a_call_was_given_is_let_go_when_it_is_over(by_name: bool) -> None:
    class Large:
        pass

    held = Large()
    seen = weakref.ref(held)
    asked = job(dict, held=held) if by_name else job(id, held)
    del held
    asked.run()
    asked.result = None
    gc.collect()
    assert seen() is None


def test_the_function_of_a_call_is_let_go_too() -> None:
    def function() -> None:
        pass

    seen = weakref.ref(function)
    asked = job(function)
    del function
    asked.run()
    gc.collect()
    assert seen() is None


def test_a_call_that_nobody_waits_for_any_more_is_not_begun() -> None:
    ran: list[int] = []
    asked = job(ran.append, 1)
    assert asked.leave(lambda ended: ran.append(2))
    asked.run()
    assert ran == []
    assert not asked.started
    assert not asked.wait(0)


def test_who_leaves_while_it_runs_is_told_when_it_is_over() -> None:
    told: list[Job] = []
    asked = job(lambda: asked.leave(told.append))
    asked.run()
    assert told == [asked]
    assert asked.started
    assert told[0].result is True


def test_who_leaves_in_the_moment_in_which_it_ended_has_its_result() -> None:
    told: list[Job] = []
    asked = job(lambda: "done")
    asked.run()
    assert not asked.leave(told.append)
    assert asked.outcome() == "done"
    assert told == []


def test_what_a_call_set_in_its_context_is_set_for_its_caller_too() -> None:
    found = contextvars.ContextVar("found", default="nothing")
    changed = contextvars.ContextVar("changed", default="nothing")
    kept = contextvars.ContextVar("kept", default="nothing")
    to_none: contextvars.ContextVar[Any] = contextvars.ContextVar("to_none", default="nothing")
    changed.set("before")
    kept.set("before")

    def body() -> str:
        found.set("by the call")
        changed.set("by the call")
        to_none.set(None)
        return kept.get()

    asked = job(body)
    kept.set("by the caller, meanwhile")
    asked.run()
    assert asked.outcome() == "before"
    assert found.get() == "nothing"
    asked.carry_context()
    assert (found.get(), changed.get(), to_none.get()) == ("by the call", "by the call", None)
    assert kept.get() == "by the caller, meanwhile"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_has_workers_of_its_own(workers):
    before = Job(lambda: "parent", (), {})
    workers.start(before)
    assert before.wait(SECONDS)
    while not workers._idle:  # its thread is about to say so
        time.sleep(0.001)

    child = os.fork()
    if child == 0:
        asked = Job(lambda: "child", (), {})
        workers.start(asked)
        os._exit(0 if asked.wait(SECONDS) and asked.outcome() == "child" else 1)
    assert os.waitpid(child, 0)[1] == 0
    again = Job(lambda: "parent", (), {})
    workers.start(again)
    assert again.wait(SECONDS)
