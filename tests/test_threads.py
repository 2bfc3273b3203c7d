"""Threads: work goes where its budget goes, and leaves nothing behind."""

import asyncio
import gc
import inspect
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import nullcontext
from contextvars import Context, copy_context
from functools import partial
from multiprocessing.pool import Pool, ThreadPool
from types import SimpleNamespace
from typing import Any

import openai
import pytest

import actguard
from actguard import BudgetExceededError, BudgetGuard, propagation
from actguard.budget import admission
from actguard.budget.scope import BudgetScope
from actguard.context import OUTSIDE, current_frame
from actguard.testing import LocalProvider

SECONDS = 10  # a test that waits this long has failed


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """A pool that was there before any guard, and whose thread runs already."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(int).result(SECONDS)
        yield pool


@pytest.fixture
def seen() -> list[BudgetScope | None]:
    return []


@pytest.fixture
def look(seen: list[BudgetScope | None]) -> Callable[..., None]:
    """A piece of work that notes which scope it runs in."""
    return lambda *_: seen.append(current_frame().scope)


HELLO: Any = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 100}


def say_hello(client: openai.OpenAI) -> None:
    client.chat.completions.create(**HELLO)


def test_threads_that_enter_a_guard_at_once_share_one_budget() -> None:
    often = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(50):
            guard, together = BudgetGuard(usd_limit=1), threading.Barrier(4)

            def work(_: int, guard: BudgetGuard = guard, together: threading.Barrier = together) -> Any:
                together.wait(SECONDS)
                with guard:
                    inside = current_frame().scope
                    together.wait(SECONDS)
                return inside, current_frame()

            with ThreadPoolExecutor(4) as pool:
                assert list(pool.map(work, range(4))) == [(guard.account, OUTSIDE)] * 4
    finally:
        sys.setswitchinterval(often)


def test_threads_that_reach_the_share_to_warn_of_at_once_are_warned_once() -> None:
    together, met = threading.Barrier(2), set[int]()

    class Share(float):
        """Compared by both threads before either of them goes on."""

        def __mul__(self, limit: float) -> float:
            if threading.get_ident() not in met:
                met.add(threading.get_ident())
                together.wait(SECONDS)
            return float(self) * limit

    told: list[BudgetGuard] = []
    with BudgetGuard(token_limit=100, warn_at=Share(0.1), on_warning=told.append) as guard:
        threads = [
            threading.Thread(target=guard.add_usage, args=("gpt-4o", actguard.Usage(10, 1)), kwargs={"usd": 0})
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(SECONDS)

    assert told == [guard]


# ---- helpers of a stream ---------------------------------------------------------------------------------------------


def in_a_thread(work: Callable[[], None]) -> None:
    done: list[None] = []
    thread = threading.Thread(target=lambda: done.append(work()))
    thread.start()
    thread.join(2 * SECONDS)
    assert done


def in_a_pool(work: Callable[[], None]) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(work).result(2 * SECONDS)


@pytest.mark.parametrize("run", [in_a_thread, in_a_pool])
def test_a_call_in_a_thread_does_not_wait_for_a_stream_whose_reader_waits_for_the_thread(
    run: Callable[[Callable[[], None]], None], llm_provider: LocalProvider
) -> None:
    client = llm_provider.openai()

    with BudgetGuard(token_limit=150, wait_timeout=SECONDS) as guard:
        with client.chat.completions.create(**HELLO, stream=True) as stream:
            next(stream)
            run(partial(say_hello, client))
            assert list(stream)

    assert (guard.calls, guard.estimated) == (2, False)


async def test_a_call_in_a_task_does_not_wait_for_a_stream_whose_reader_waits_for_the_task(
    llm_provider: LocalProvider,
) -> None:
    client = llm_provider.async_openai()

    async with BudgetGuard(token_limit=200, wait_timeout=SECONDS) as guard:
        async with await client.chat.completions.create(**HELLO, stream=True) as stream:
            await anext(stream)
            await asyncio.gather(*(client.chat.completions.create(**HELLO) for _ in range(2)))
            await asyncio.to_thread(say_hello, llm_provider.openai())
            assert [chunk async for chunk in stream]

    assert (guard.calls, guard.estimated) == (4, False)


@pytest.fixture
def uncollected(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The collector is not called by itself; who waits for a while calls it."""
    monkeypatch.setattr(admission, "_FIRST_TURN", 0.01)
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def drop_a_stream(client: openai.OpenAI) -> None:
    next(client.chat.completions.create(**HELLO, stream=True))


@pytest.mark.usefixtures("uncollected")
def test_a_call_does_not_wait_for_ever_for_a_stream_that_a_thread_has_dropped(
    llm_provider: LocalProvider,
) -> None:
    client = llm_provider.openai()

    with BudgetGuard(token_limit=150, wait_timeout=SECONDS) as guard:
        dropping = threading.Thread(target=drop_a_stream, args=(client,))
        dropping.start()
        dropping.join()
        say_hello(client)

    assert guard.calls == 2


@pytest.mark.usefixtures("uncollected")
async def test_a_task_does_not_wait_for_ever_for_a_stream_that_a_thread_has_dropped(
    llm_provider: LocalProvider,
) -> None:
    async with BudgetGuard(token_limit=150, wait_timeout=SECONDS) as guard:
        await asyncio.to_thread(drop_a_stream, llm_provider.openai())
        await llm_provider.async_openai().chat.completions.create(**HELLO)

    assert guard.calls == 2


# ---- threads --------------------------------------------------------------------------------------------------------


def test_a_call_on_a_thread_counts_in_the_guard_the_thread_was_started_in(llm_provider: LocalProvider) -> None:
    client = llm_provider.openai()

    with BudgetGuard(usd_limit=1) as guard:
        threads = [threading.Thread(target=say_hello, args=(client,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(SECONDS)

    assert guard.calls == llm_provider.ledger.calls == 4
    assert guard.usd_used == pytest.approx(float(llm_provider.ledger.total_usd), abs=1e-12)


def test_a_subclass_with_a_run_of_its_own_is_carried_too(
    look: Callable[..., None], seen: list[BudgetScope | None]
) -> None:
    class Worker(threading.Thread):
        def run(self) -> None:
            look()

    with BudgetGuard() as guard:
        worker = Worker()
        worker.start()
    worker.join(SECONDS)

    assert seen == [guard.account]


def test_a_subclass_with_a_start_of_its_own_is_carried_too(
    look: Callable[..., None], seen: list[BudgetScope | None]
) -> None:
    class Worker(threading.Thread):
        def start(self) -> None:
            self.name = "mine"
            super().start()

    with BudgetGuard() as guard:
        worker = Worker(target=look)
        worker.start()
    worker.join(SECONDS)

    assert (seen, worker.name) == ([guard.account], "mine")


def test_a_run_that_was_put_on_the_thread_itself_is_carried_and_stays_there(
    look: Callable[..., None], seen: list[BudgetScope | None]
) -> None:
    thread = threading.Thread()
    thread.run = look  # type: ignore[method-assign]

    with BudgetGuard() as guard:
        thread.start()
    thread.join(SECONDS)

    assert seen == [guard.account]
    assert vars(thread)["run"] is look


def test_a_timer_is_carried(look: Callable[..., None], seen: list[BudgetScope | None]) -> None:
    with BudgetGuard() as guard:
        timer = threading.Timer(0, look)
        timer.start()
    timer.join(SECONDS)

    assert seen == [guard.account]


def test_nothing_stays_on_a_thread_that_was_carried() -> None:
    plain = threading.Thread(target=int)
    plain.start()
    with BudgetGuard():
        carried = threading.Thread(target=int)
        carried.start()
    plain.join(SECONDS)
    carried.join(SECONDS)

    assert vars(carried).keys() == vars(plain).keys()
    assert carried.run.__func__ is threading.Thread.run  # type: ignore[attr-defined]


def test_while_it_runs_a_thread_has_its_own_run_again(seen: list[Any]) -> None:
    with BudgetGuard():
        thread = threading.Thread(target=lambda: seen.append("run" in vars(threading.current_thread())))
        thread.start()
    thread.join(SECONDS)

    assert seen == [False]


def test_a_thread_that_cannot_start_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError("can't start new thread")

    name = "_start_joinable_thread" if sys.version_info >= (3, 13) else "_start_new_thread"
    monkeypatch.setattr(threading, name, refuse)
    thread = threading.Thread(target=int)

    with BudgetGuard(), pytest.raises(RuntimeError, match="can't start"):
        thread.start()

    assert "run" not in vars(thread)


def test_a_second_start_fails_as_ever() -> None:
    with BudgetGuard():
        thread = threading.Thread(target=int)
        thread.start()
        with pytest.raises(RuntimeError, match="once"):
            thread.start()
    thread.join(SECONDS)

    assert "run" not in vars(thread)


def test_an_exception_in_a_thread_reaches_the_hook_as_ever(monkeypatch: pytest.MonkeyPatch, seen: list[Any]) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda hooked: seen.append(hooked.exc_value))
    error = ValueError("mine")

    def fail() -> None:
        raise error

    with BudgetGuard():
        thread = threading.Thread(target=fail)
        thread.start()
    thread.join(SECONDS)

    assert seen == [error]


@pytest.mark.skipif(
    getattr(sys.flags, "thread_inherit_context", 0),
    reason="two of its kind fail on each other, with no guard at all",
)
def test_an_instrumentation_that_wraps_run_as_a_method_works_below_and_above(
    monkeypatch: pytest.MonkeyPatch, look: Callable[..., None], seen: list[BudgetScope | None]
) -> None:
    def instrumented(start: Callable[..., None]) -> Callable[..., None]:
        def wrapper(thread: threading.Thread) -> None:
            run = thread.run.__func__  # type: ignore[attr-defined]
            thread.run = lambda: run(threading.current_thread())  # type: ignore[method-assign]
            start(thread)

        return wrapper

    actguard.uninstall()
    monkeypatch.setattr(threading.Thread, "start", instrumented(threading.Thread.start))
    actguard.install()
    monkeypatch.setattr(threading.Thread, "start", instrumented(threading.Thread.start))

    with BudgetGuard() as guard:
        thread = threading.Thread(target=look)
        thread.start()
    thread.join(SECONDS)
    monkeypatch.undo()
    actguard.uninstall()

    assert seen == [guard.account]


def test_a_thread_that_is_given_a_context_keeps_to_it(
    look: Callable[..., None], seen: list[BudgetScope | None]
) -> None:
    with BudgetGuard():
        thread = threading.Thread(target=look)
        thread._context = Context()  # type: ignore[attr-defined] # as Thread(context=Context()) does from 3.14 on
        thread.start()
    thread.join(SECONDS)

    assert seen == [None]


def test_an_interpreter_that_hands_the_context_on_is_left_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[bool] = []
    actguard.uninstall()
    monkeypatch.setattr(threading.Thread, "start", lambda thread: started.append("run" in vars(thread)))

    with BudgetGuard():
        for flag in (0, 1):
            monkeypatch.setattr(propagation, "sys", SimpleNamespace(flags=SimpleNamespace(thread_inherit_context=flag)))
            threading.Thread().start()
    actguard.uninstall()

    assert started == [True, False]


def test_a_call_on_a_thread_that_outlives_the_guard_still_counts_in_it(llm_provider: LocalProvider) -> None:
    client = llm_provider.openai()

    with llm_provider.hold() as gate:
        with BudgetGuard(usd_limit=1) as guard:
            thread = threading.Thread(target=say_hello, args=(client,))
            thread.start()
            gate.wait_for(1)
        gate.release()
        thread.join(SECONDS)

    assert guard.usd_used == pytest.approx(float(llm_provider.ledger.total_usd), abs=1e-12)
    assert not guard.estimated


def test_a_thread_from_outside_never_sees_a_guard(look: Callable[..., None], seen: list[BudgetScope | None]) -> None:
    entered, done = threading.Event(), threading.Event()

    def wait_and_look() -> None:
        entered.wait(SECONDS)
        look()
        done.set()

    thread = threading.Thread(target=wait_and_look)
    thread.start()
    with BudgetGuard():
        entered.set()
        done.wait(SECONDS)
    thread.join(SECONDS)

    assert seen == [None]


def test_guards_on_threads_side_by_side_never_see_each_other(llm_provider: LocalProvider) -> None:
    guards = [BudgetGuard(name=f"{i} calls", usd_limit=1) for i in range(4)]
    together = threading.Barrier(len(guards))

    def calls(guard: BudgetGuard, count: int) -> None:
        client = llm_provider.openai()
        with guard:
            together.wait(SECONDS)
            with ThreadPoolExecutor() as pool:
                for work in [pool.submit(say_hello, client) for _ in range(count)]:
                    work.result(SECONDS)

    threads = [threading.Thread(target=calls, args=(guard, i)) for i, guard in enumerate(guards)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)

    assert [guard.calls for guard in guards] == [0, 1, 2, 3]


# ---- pools ----------------------------------------------------------------------------------------------------------


def test_a_call_in_a_pool_counts_in_the_guard_it_was_submitted_in(llm_provider: LocalProvider) -> None:
    client = llm_provider.openai()

    with BudgetGuard(usd_limit=1) as guard, ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: say_hello(client), range(8)))

    assert guard.calls == llm_provider.ledger.calls == 8
    assert guard.usd_used == pytest.approx(float(llm_provider.ledger.total_usd), abs=1e-12)


def test_a_pool_from_before_the_guard_is_carried_and_forgets(
    pool: ThreadPoolExecutor, look: Callable[..., None], seen: list[BudgetScope | None]
) -> None:
    with BudgetGuard() as guard:
        pool.submit(look).result(SECONDS)
    pool.submit(look).result(SECONDS)

    assert seen == [guard.account, None]


def test_a_pool_whose_thread_was_started_inside_a_guard_forgets_it_too(
    look: Callable[..., None], seen: list[BudgetScope | None]
) -> None:
    with ThreadPoolExecutor(1) as pool:
        with BudgetGuard() as guard:
            pool.submit(look).result(SECONDS)
        pool.submit(look).result(SECONDS)
        copy_context().run(lambda: pool.submit(look).result(SECONDS))

    assert seen == [guard.account, None, None]


def test_an_initializer_runs_outside_because_the_thread_serves_everybody(
    look: Callable[..., None], seen: list[BudgetScope | None]
) -> None:
    with BudgetGuard(), ThreadPoolExecutor(1, initializer=look) as pool:
        pool.submit(int).result(SECONDS)

    assert seen == [None]


def test_work_that_submits_work_hands_the_guard_on(
    pool: ThreadPoolExecutor, look: Callable[..., None], seen: list[BudgetScope | None]
) -> None:
    with BudgetGuard() as guard:
        pool.submit(lambda: pool.submit(look)).result(SECONDS).result(SECONDS)

    assert seen == [guard.account]


def test_a_guard_that_work_opens_is_nested_in_the_submitters(
    pool: ThreadPoolExecutor, llm_provider: LocalProvider
) -> None:
    client = llm_provider.openai()
    inner = BudgetGuard(name="inner")

    def work() -> None:
        with inner:
            say_hello(client)

    with BudgetGuard(usd_limit=1) as outer:
        pool.submit(work).result(SECONDS)

    assert (inner.calls, outer.calls, outer.local_usd_used) == (1, 1, 0)
    assert inner.account is not None
    assert inner.account.parent is outer.account


def test_arguments_results_and_exceptions_pass_through(pool: ThreadPoolExecutor) -> None:
    error = KeyError("mine")

    def fail() -> None:
        raise error

    def keywords(fn: int, executor: int = 0) -> int:  # names that a careless wrapper would take for its own
        return fn + executor

    with BudgetGuard():
        assert pool.submit(divmod, 7, 2).result(SECONDS) == (3, 1)
        assert pool.submit(keywords, fn=1, executor=2).result(SECONDS) == 3
        assert pool.submit(fail).exception(SECONDS) is error
        with pytest.raises(TypeError, match="not callable"):
            pool.submit(3).result(SECONDS)  # type: ignore[call-overload]


def test_queued_work_can_be_cancelled(pool: ThreadPoolExecutor, seen: list[Any]) -> None:
    go = threading.Event()

    with BudgetGuard():
        pool.submit(go.wait, SECONDS)
        queued: Future[None] = pool.submit(seen.append, 1)
        assert queued.cancel()
        go.set()
        with pytest.raises(CancelledError):
            queued.result(SECONDS)

    assert seen == []


@pytest.mark.parametrize("where", ["outside", "in a guard", "in a step in a guard"])
def test_a_pool_of_interpreters_works_as_ever(where: str) -> None:
    """No SDK can be imported there, and work with a frame could not be sent there."""
    pools = pytest.importorskip("concurrent.futures.interpreter")

    def double() -> Iterator[list[int]]:
        with BudgetGuard() if where == "in a step in a guard" else nullcontext():
            with pools.InterpreterPoolExecutor(1) as pool:
                yield [pool.submit(pow, 2, 5).result(SECONDS), *pool.map(abs, [-1, -2])]

    with BudgetGuard() if where == "in a guard" else nullcontext():
        assert next(double()) == [32, 1, 2]


def test_submitting_after_shutdown_fails_as_ever_and_leaves_the_guard_in_place() -> None:
    pool = ThreadPoolExecutor(1)
    pool.shutdown()

    with BudgetGuard() as guard:
        with pytest.raises(RuntimeError, match="after shutdown"):
            pool.submit(int)
        assert current_frame().scope is guard.account


async def test_run_in_executor_carries_whoever_called_it(
    pool: ThreadPoolExecutor, look: Callable[..., None], seen: list[BudgetScope | None]
) -> None:
    loop = asyncio.get_running_loop()
    with BudgetGuard() as guard:
        await loop.run_in_executor(pool, look)
        await loop.run_in_executor(None, look)
    await loop.run_in_executor(None, look)

    assert seen == [guard.account, guard.account, None]


async def test_to_thread_brings_its_context_and_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, look: Callable[..., None], seen: list[BudgetScope | None]
) -> None:
    submitted: list[Any] = []
    actguard.uninstall()
    submit = ThreadPoolExecutor.submit
    monkeypatch.setattr(
        ThreadPoolExecutor, "submit", lambda pool, work: (submitted.append(work), submit(pool, work))[1]
    )

    with BudgetGuard() as guard:
        await asyncio.to_thread(look)
    await asyncio.to_thread(look)
    actguard.uninstall()

    assert seen == [guard.account, None]
    assert all(type(work) is partial for work in submitted)


async def test_tasks_and_threads_of_tasks_count_in_the_guard_of_their_task(llm_provider: LocalProvider) -> None:
    client = llm_provider.openai()
    guards = [BudgetGuard(usd_limit=1) for _ in range(3)]

    async def agent(guard: BudgetGuard, calls: int) -> None:
        async with guard:
            await asyncio.gather(*(asyncio.to_thread(say_hello, client) for _ in range(calls)))

    await asyncio.gather(*(agent(guard, i) for i, guard in enumerate(guards)))

    assert [guard.calls for guard in guards] == [0, 1, 2]


# ---- the pool of multiprocessing that has threads --------------------------------------------------------------------

WAYS: dict[str, Callable[[ThreadPool, Callable[..., None]], object]] = {
    "apply": lambda pool, look: pool.apply(look),
    "apply_async": lambda pool, look: pool.apply_async(func=look, args=(1,)).get(SECONDS),
    "map": lambda pool, look: pool.map(look, [1]),
    "map_async": lambda pool, look: pool.map_async(func=look, iterable=[1]).get(SECONDS),
    "starmap": lambda pool, look: pool.starmap(look, [(1, 2)]),
    "imap": lambda pool, look: list(pool.imap(look, [1])),
    "imap_unordered": lambda pool, look: list(pool.imap_unordered(func=look, iterable=[1])),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_thread_pool_from_before_the_guard_is_carried_and_forgets(
    way: Callable[[ThreadPool, Callable[..., None]], object],
    look: Callable[..., None],
    seen: list[BudgetScope | None],
) -> None:
    with ThreadPool(1) as pool:
        with BudgetGuard() as guard:
            way(pool, look)
        way(pool, look)

    assert seen == [guard.account, None]


def test_the_threads_of_a_thread_pool_serve_everybody_and_start_outside(
    look: Callable[..., None], seen: list[BudgetScope | None]
) -> None:
    with BudgetGuard() as guard:
        pool = ThreadPool(1, initializer=look)
        pool.apply(look)
    with pool:
        pool.apply(look)

    assert seen == [None, guard.account, None]


def test_items_that_a_thread_pool_takes_when_it_needs_them_are_made_in_the_guard(
    look: Callable[..., None], seen: list[BudgetScope | None]
) -> None:
    with ThreadPool(1) as pool, BudgetGuard() as guard:
        assert list(pool.imap(str, (look(item) or item for item in range(3)), chunksize=2)) == ["0", "1", "2"]

    assert seen == [guard.account] * 3


def test_items_of_any_iterable_are_made_in_the_guard(look: Callable[..., None], seen: list[BudgetScope | None]) -> None:
    class Items:
        def __iter__(self) -> Iterator[int]:
            look()
            yield 1
            look()

    with ThreadPool(1) as pool, BudgetGuard() as guard:
        assert list(pool.imap(str, Items())) == list(pool.imap_unordered(str, Items(), 2)) == ["1"]
        with pytest.raises(TypeError, match="not iterable"):
            next(pool.imap(str, 5))

    assert seen == [guard.account] * 4


def test_what_work_on_a_thread_pool_returns_and_raises_passes_through() -> None:
    def fail(item: int) -> None:
        raise KeyError(item)

    def run_out() -> Iterator[int]:
        yield 1
        raise LookupError("no more")

    with BudgetGuard(), ThreadPool(2) as pool:
        assert pool.starmap(divmod, [(7, 2), (9, 4)]) == [(3, 1), (2, 1)]
        with pytest.raises(KeyError, match="5"):
            pool.map(fail, [5])
        items = pool.imap(str, run_out())
        assert next(items) == "1"
        with pytest.raises(LookupError, match="no more"):
            next(items)


def test_calls_on_a_thread_pool_are_held_to_the_limit(llm_provider: LocalProvider) -> None:
    client = llm_provider.openai()

    with ThreadPool(8) as pool, BudgetGuard(usd_limit=0.005, strict=True) as guard:
        with pytest.raises(BudgetExceededError):
            pool.map(lambda _: say_hello(client), range(64))

    assert 0.004 < guard.usd_used <= 0.005
    assert guard.usd_used == pytest.approx(float(llm_provider.ledger.total_usd), abs=1e-12)


# ---- patches --------------------------------------------------------------------------------------------------------


WATCHED = (
    (threading.Thread, "start"),
    (ThreadPoolExecutor, "submit"),
    (Pool, "__init__"),
    (ThreadPool, "apply_async"),
    (ThreadPool, "imap"),
)


def test_signatures_and_names_stay() -> None:
    def shown() -> list[Any]:
        found = [getattr(owner, name) for owner, name in WATCHED]
        return [(inspect.signature(one), one.__name__, one.__doc__) for one in found]

    actguard.uninstall()
    before = shown()
    actguard.install()

    assert shown() == before


def test_uninstall_leaves_no_trace() -> None:
    def patched() -> list[Any]:
        return [getattr(owner, name) for owner, name in WATCHED]

    actguard.uninstall()
    before = patched()
    with BudgetGuard():
        assert not any(now is then for now, then in zip(patched(), before, strict=True))

    actguard.uninstall()

    assert patched() == before


def test_outside_of_everything_the_work_itself_is_submitted(monkeypatch: pytest.MonkeyPatch) -> None:
    submitted: list[Any] = []
    monkeypatch.setattr(propagation, "stained", ())
    actguard.uninstall()
    monkeypatch.setattr(ThreadPoolExecutor, "submit", lambda pool, work: submitted.append(work))
    actguard.install()

    assert current_frame() is OUTSIDE
    ThreadPoolExecutor().submit(int)
    actguard.uninstall()

    assert submitted == [int]
