"""Generators that are run step by step, each step in a context of its own: as a web server's thread pool does."""

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager, nullcontext
from contextvars import copy_context
from itertools import zip_longest
from multiprocessing.pool import ThreadPool
from typing import Any

import httpx2
import pytest
from starlette.concurrency import iterate_in_threadpool

import actguard
from actguard import (
    BudgetExceededError,
    BudgetGuard,
    BudgetWarning,
    GuardError,
    RequireFact,
    UnmeteredCallError,
    enforce,
    max_attempts,
    prove,
    session,
)
from actguard.context import OUTSIDE, current_frame
from actguard.steps import frame_here, generators
from actguard.testing import LocalProvider

pytestmark = pytest.mark.filterwarnings("error::actguard.BudgetWarning")

SECONDS = 10
HELLO: Any = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 100}


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    yield
    gc.collect()
    assert (generators, current_frame()) == ({}, OUTSIDE)


@pytest.fixture(params=["openai", "openai stream", "anthropic", "google", "google stream"])
def ask(request: pytest.FixtureRequest, llm_provider: LocalProvider) -> Callable[[], object]:
    openai, anthropic, google = llm_provider.openai(), llm_provider.anthropic(), llm_provider.google()
    gemini: Any = {"model": "gemini-2.5-flash", "contents": "Hello!"}
    claude: Any = {"model": "claude-sonnet-5", "messages": HELLO["messages"], "max_tokens": 100}
    return {
        "openai": lambda: openai.chat.completions.create(**HELLO),
        "openai stream": lambda: list(openai.chat.completions.create(**HELLO, stream=True)),
        "anthropic": lambda: anthropic.messages.create(**claude),
        "google": lambda: google.models.generate_content(**gemini),
        "google stream": lambda: list(google.models.generate_content_stream(**gemini)),
    }[request.param]


@pytest.fixture
def say_hello(llm_provider: LocalProvider) -> Callable[[], None]:
    client = llm_provider.openai()
    return lambda: (client.chat.completions.create(**HELLO), None)[1]


def apart(steps: Iterator[Any]) -> Iterator[Any]:
    """Each step in a context that knows nothing of the one before."""
    end = object()
    while (item := copy_context().run(next, steps, end)) is not end:
        yield item


def test_every_step_counts_in_the_guard_around_it(ask: Callable[[], object], llm_provider: LocalProvider) -> None:
    guard = BudgetGuard(usd_limit=1)

    def agent() -> Iterator[int]:
        with guard:
            for number in range(4):
                ask()
                yield number
        assert current_frame() is OUTSIDE

    for _ in apart(agent()):
        assert current_frame() is OUTSIDE

    assert guard.calls == llm_provider.ledger.calls == 4
    assert guard.usd_used == pytest.approx(float(llm_provider.ledger.total_usd), abs=1e-12)


def test_a_limit_ends_a_later_step(say_hello: Callable[[], None], llm_provider: LocalProvider) -> None:
    def agent() -> Iterator[int]:
        with BudgetGuard(token_limit=60):
            while True:
                say_hello()
                yield 1

    with pytest.raises(BudgetExceededError):
        list(apart(agent()))
    assert llm_provider.ledger.calls < 5


async def test_the_body_of_a_streaming_response_is_in_its_guard(
    say_hello: Callable[[], None], llm_provider: LocalProvider
) -> None:
    guard = BudgetGuard(usd_limit=1)

    def body() -> Iterator[str]:
        with guard:
            for _ in range(3):
                say_hello()
                yield "..."

    assert [piece async for piece in iterate_in_threadpool(body())] == ["..."] * 3
    assert guard.calls == llm_provider.ledger.calls == 3


async def test_the_steps_of_an_asynchronous_generator_may_be_tasks_of_their_own(llm_provider: LocalProvider) -> None:
    openai, google = llm_provider.async_openai(), llm_provider.google().aio
    guard = BudgetGuard(usd_limit=1)

    async def agent() -> AsyncIterator[int]:
        async with guard:
            await openai.chat.completions.create(**HELLO)
            yield 1
            await openai.chat.completions.create(**HELLO)
            yield 2
            await google.models.generate_content(model="gemini-2.5-flash", contents="Hello!")
            stream = await google.models.generate_content_stream(model="gemini-2.5-flash", contents="Hello!")
            assert [chunk async for chunk in stream]
            yield 3

    steps = agent()
    for number in (1, 2, 3):
        assert await asyncio.create_task(anext(steps)) == number
        assert current_frame() is OUTSIDE
    with pytest.raises(StopAsyncIteration):
        await asyncio.create_task(anext(steps))

    assert guard.calls == llm_provider.ledger.calls == 4


def test_what_a_step_starts_and_tells_counts_too(say_hello: Callable[[], None]) -> None:
    guard, inner = BudgetGuard(usd_limit=1), BudgetGuard(name="inner")

    def agent() -> Iterator[None]:
        with guard, ThreadPoolExecutor(1) as pool:
            yield
            thread = threading.Thread(target=say_hello)
            thread.start()
            thread.join(SECONDS)
            yield
            pool.submit(say_hello).result(SECONDS)
            yield
            with inner:
                say_hello()
                yield
                say_hello()
            yield
            actguard.add_cost(name="search", usd=0.01)

    for _ in apart(agent()):
        assert current_frame() is OUTSIDE

    assert (guard.calls, inner.calls) == (5, 2)
    assert guard.usd_used > 0.01


def test_runs_and_sessions_stay_in_force_too() -> None:
    seen: list[Any] = []
    client = actguard.Client(event_sinks=[seen.append])

    @max_attempts(calls=3)
    @enforce([RequireFact("mail_id", "mail")])
    def delete(mail_id: str) -> str:
        return mail_id

    @prove("mail", "[].id")
    def search() -> list[dict[str, str]]:
        return [{"id": "m1"}]

    def agent() -> Iterator[Any]:
        with client.run(run_id="run_1"):
            yield
            with session():
                yield search()
                yield delete("m1")
                with pytest.raises(GuardError):
                    delete("m2")
                yield
            with pytest.raises(GuardError, match="session"):
                search()
            yield

    for _ in apart(agent()):
        assert current_frame() is OUTSIDE
    client.close()

    assert {event["run_id"] for event in seen} == {"run_1"}


async def test_a_session_stays_in_force_in_asynchronous_steps() -> None:
    @enforce([RequireFact("mail_id", "mail")])
    async def delete(mail_id: str) -> str:
        return mail_id

    async def agent() -> AsyncIterator[str]:
        async with session() as facts:
            yield ""
            facts.add_fact("mail", "m1")
            yield await delete("m1")

    steps = agent()
    await asyncio.create_task(anext(steps))
    assert await asyncio.create_task(anext(steps)) == "m1"
    await asyncio.create_task(steps.aclose())


def test_threads_of_a_pool_that_a_step_has_started_serve_everybody(say_hello: Callable[[], None]) -> None:
    pool, guard = ThreadPoolExecutor(1), BudgetGuard()

    def agent() -> Iterator[None]:
        with guard:
            yield
            pool.submit(say_hello).result(SECONDS)
            yield

    steps = apart(agent())
    next(steps)
    next(steps)
    with pool:
        pool.submit(say_hello).result(SECONDS)
    assert list(steps) == []

    assert guard.calls == 1


@pytest.mark.parametrize("make", [ThreadPoolExecutor, ThreadPool])
def test_a_thread_that_has_made_a_step_is_free_for_others(
    make: Callable[[int], Any], say_hello: Callable[[], None]
) -> None:
    """As `run_in_executor(None, next, steps)` makes it: in the context of the thread."""
    guard = BudgetGuard()

    def agent() -> Iterator[None]:
        with guard:
            for _ in range(3):
                say_hello()
                yield

    steps = agent()
    with make(1) as first, make(1) as second:
        for pool in (first, second, first, second):
            run_on(pool, next, steps, None)
            run_on(first, say_hello)
            run_on(second, say_hello)

    assert guard.calls == 3


@pytest.mark.parametrize("make", [ThreadPoolExecutor, ThreadPool])
def test_a_thread_that_has_made_a_later_step_is_free_for_others_too(
    make: Callable[[int], Any], say_hello: Callable[[], None]
) -> None:
    """The step enters a guard inside another one, which is not in force in the context of the thread."""
    outer, inner = BudgetGuard(), BudgetGuard()

    def agent() -> Iterator[None]:
        with outer:
            yield
            with inner:
                say_hello()
                yield

    steps = agent()
    copy_context().run(next, steps)
    with make(1) as pool:
        run_on(pool, next, steps)
        run_on(pool, say_hello)
        run_on(pool, next, steps, None)

    assert (outer.calls, inner.calls) == (1, 1)


def run_on(pool: Any, work: Callable[..., object], *given: object) -> None:
    if isinstance(pool, ThreadPoolExecutor):
        pool.submit(work, *given).result(SECONDS)
    else:
        pool.apply(work, given)


async def test_what_a_later_step_sends_to_a_thread_counts(say_hello: Callable[[], None]) -> None:
    guard = BudgetGuard()

    async def agent() -> AsyncIterator[None]:
        async with guard:
            yield
            await asyncio.to_thread(say_hello)
            yield

    steps = agent()
    for _ in range(2):
        await asyncio.create_task(anext(steps))
    await asyncio.to_thread(say_hello)
    await asyncio.create_task(steps.aclose())

    assert guard.calls == 1


def test_a_step_of_a_step_is_in_the_guard_around_both(say_hello: Callable[[], None]) -> None:
    guard = BudgetGuard()

    def tool() -> Iterator[None]:
        say_hello()
        yield
        say_hello()

    def agent() -> Iterator[None]:
        with guard:
            yield from tool()
            yield from tool()

    assert len(list(apart(agent()))) == 2
    assert guard.calls == 4


def test_steps_in_steps_are_in_all_guards_around_them(say_hello: Callable[[], None]) -> None:
    outer, guard, inner = BudgetGuard(), BudgetGuard(), BudgetGuard()

    def tool() -> Iterator[None]:
        with inner:
            for _ in range(3):
                say_hello()
                yield

    def agent() -> Iterator[None]:
        with guard:
            steps = apart(tool())
            next(steps)
            yield
            yield from steps
            say_hello()

    with outer:
        assert len(list(apart(agent()))) == 3

    assert (outer.calls, guard.calls, inner.calls) == (4, 4, 3)


def test_what_runs_between_two_steps_is_outside(say_hello: Callable[[], None]) -> None:
    guards = [BudgetGuard(), BudgetGuard()]

    def agent(guard: BudgetGuard) -> Iterator[None]:
        with guard:
            for _ in range(2):
                say_hello()
                yield

    for _ in zip(apart(agent(guards[0])), apart(agent(guards[1])), strict=True):
        say_hello()

    assert [guard.calls for guard in guards] == [2, 2]


def test_generators_that_share_a_guard_a_session_and_a_run_leave_their_own_entries(
    say_hello: Callable[[], None],
) -> None:
    client, guard, facts = actguard.Client(), BudgetGuard(), session()
    run = client.run()

    def agent(steps: int) -> Iterator[None]:
        with run, facts, guard:
            for _ in range(steps):
                say_hello()
                yield
        assert frame_here() is OUTSIDE
        say_hello()

    for _ in zip_longest(*(apart(agent(steps)) for steps in (1, 3, 2))):
        say_hello()
    client.close()

    assert guard.calls == 6


def test_a_guard_entered_around_the_steps_stays_in_force(say_hello: Callable[[], None]) -> None:
    outer, guard = BudgetGuard(), BudgetGuard()

    def agent() -> Iterator[None]:
        with guard:
            for _ in range(3):
                say_hello()
                yield

    with outer:
        assert len(list(agent())) == 3

    assert (outer.calls, guard.calls) == (3, 3)


def test_a_limit_of_a_step_holds_inside_a_guard_around_all_steps(ask: Callable[[], object]) -> None:
    """As of a middleware, of which every step's context is a copy."""
    outer, guard, inner = BudgetGuard(), BudgetGuard(usd_limit=1), BudgetGuard()

    def agent() -> Iterator[None]:
        with guard:
            for _ in range(2):
                ask()
                yield
            with inner:
                ask()
                yield
                ask()

    with outer:
        assert len(list(apart(agent()))) == 3

    assert (outer.calls, guard.calls, inner.calls) == (4, 4, 2)


def test_a_session_of_a_step_holds_inside_a_run_around_all_steps() -> None:
    @enforce([RequireFact("mail_id", "mail")])
    def delete(mail_id: str) -> str:
        return mail_id

    def agent() -> Iterator[str]:
        with session() as facts:
            facts.add_fact("mail", "m1")
            yield ""
            yield delete("m1")

    with actguard.Client() as client, client.run():
        assert list(apart(agent())) == ["", "m1"]


def test_a_stream_from_before_the_steps_counts_where_it_was_asked_for(
    say_hello: Callable[[], None], llm_provider: LocalProvider
) -> None:
    google, outer, guard = llm_provider.google(), BudgetGuard(), BudgetGuard()

    def agent(stream: Iterator[Any]) -> Iterator[Any]:
        with guard:
            yield from stream
            say_hello()

    with outer:
        stream = google.models.generate_content_stream(model="gemini-2.5-flash", contents="Hello!")
        assert list(apart(agent(stream)))

    assert (outer.calls, guard.calls) == (2, 1)


@contextmanager
def budget(guard: BudgetGuard) -> Iterator[None]:
    with guard:
        yield


@asynccontextmanager
async def abudget(guard: BudgetGuard) -> AsyncIterator[None]:
    async with guard:
        yield


@pytest.mark.parametrize("manager", [budget, lambda guard: guard], ids=["helper", "guard"])
@pytest.mark.parametrize("stacked", [False, True])
def test_who_enters_by_means_of_contextlib_has_entered_it(
    manager: Callable[[BudgetGuard], Any], stacked: bool, say_hello: Callable[[], None]
) -> None:
    guard = BudgetGuard()

    def agent() -> Iterator[None]:
        with ExitStack() as stack:
            if stacked:
                stack.enter_context(manager(guard))
            with nullcontext() if stacked else manager(guard):
                for _ in range(3):
                    say_hello()
                    yield

    assert len(list(apart(agent()))) == 3
    assert guard.calls == 3


@pytest.mark.parametrize("manager", [abudget, lambda guard: guard], ids=["helper", "guard"])
@pytest.mark.parametrize("stacked", [False, True])
async def test_who_enters_by_means_of_contextlib_in_a_task_has_entered_it(
    manager: Callable[[BudgetGuard], Any], stacked: bool, llm_provider: LocalProvider
) -> None:
    openai, guard = llm_provider.async_openai(), BudgetGuard()

    async def agent() -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            if stacked:
                await stack.enter_async_context(manager(guard))
            async with nullcontext() if stacked else manager(guard):
                for _ in range(3):
                    await openai.chat.completions.create(**HELLO)
                    yield

    steps = agent()
    for _ in range(3):
        await asyncio.create_task(anext(steps))
    with pytest.raises(StopAsyncIteration):
        await asyncio.create_task(anext(steps))

    assert guard.calls == 3


def test_events_tools_that_yield_and_uncounted_ways_out_meet_what_a_step_has_entered(
    say_hello: Callable[[], None],
) -> None:
    seen: list[Any] = []
    client = actguard.Client(event_sinks=[seen.append])

    @max_attempts(calls=3)
    def search() -> Iterator[str]:
        yield "found"

    def agent() -> Iterator[None]:
        with client.run(), BudgetGuard(usd_limit=1, bypass="block"):
            yield
            actguard.emit_event("order", "placed")
            assert list(search()) == ["found"]
            with pytest.raises(UnmeteredCallError):
                httpx2.post("https://api.openai.com/v1/chat/completions", json=HELLO)
            say_hello()
            yield

    assert len(list(apart(agent()))) == 2
    client.close()

    assert "order.placed" in [f"{event['category']}.{event['name']}" for event in seen]


def test_the_collector_may_close_a_generator_while_its_guard_and_session_are_entered_and_left() -> None:
    guard, facts = BudgetGuard(), session()

    def agent() -> Iterator[None]:
        itself = [(yield)]
        with facts, guard:
            yield
        assert itself

    threshold = gc.get_threshold()
    try:
        for often in range(1, 120):
            steps: Any = agent()
            next(steps)
            gc.set_threshold(10_000)
            copy_context().run(steps.send, steps)
            del steps
            gc.set_threshold(often, 1, 1)
            with facts, guard:
                pass
    finally:
        gc.set_threshold(*threshold)
    gc.collect()
    with guard, facts:
        pass


def test_a_generator_that_is_dropped_in_the_middle_is_forgotten(say_hello: Callable[[], None]) -> None:
    guard = BudgetGuard()

    def agent() -> Iterator[None]:
        with guard:
            yield
            yield

    steps = apart(agent())
    next(steps)
    del steps
    gc.collect()
    say_hello()

    assert guard.calls == 0


def test_a_dependency_whose_guard_covers_nothing_says_so(say_hello: Callable[[], None]) -> None:
    """A dependency that yields is no caller of the endpoint: nothing tells that it is its guard."""

    def dependency() -> Iterator[BudgetGuard]:
        with BudgetGuard(name="request", usd_limit=1) as guard:
            yield guard

    steps = dependency()
    guard = copy_context().run(next, steps)
    copy_context().run(say_hello)
    with pytest.warns(BudgetWarning, match="Budget 'request' was entered in one context and left in another"):
        copy_context().run(next, steps, None)

    assert guard.calls == 0
