"""Calls and streams that outlive what they were begun in: their guard, or the task or thread that opened them."""

import asyncio
import contextvars
import gc
import inspect
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import anthropic
import openai
import pytest
from google import genai

from actguard import BudgetExceededError, BudgetGuard, Usage
from actguard.budget import admission
from actguard.context import current_frame
from actguard.testing import LocalProvider

SECONDS = 10
HELLO: Any = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello!"}]}


def by_openai(client: openai.OpenAI) -> Iterator[Any]:
    return iter(client.chat.completions.create(**HELLO, stream=True))


def by_anthropic(client: anthropic.Anthropic) -> Iterator[Any]:
    return iter(client.messages.create(**HELLO | {"model": "claude-sonnet-5"}, max_tokens=1000, stream=True))


def by_google(client: genai.Client) -> Iterator[Any]:
    return client.models.generate_content_stream(model="gemini-2.5-flash", contents="Hello!")


SDKS: dict[str, Callable[[Any], Iterator[Any]]] = {"openai": by_openai, "anthropic": by_anthropic, "google": by_google}


@pytest.fixture(params=SDKS)
def stream(request: pytest.FixtureRequest, llm_provider: LocalProvider) -> Callable[[], Iterator[Any]]:
    client = getattr(llm_provider, request.param)()
    return lambda: SDKS[request.param](client)


# ---- their guard -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [{"token_limit": 60}, {"usd_limit": 0.0008}])
def test_a_stream_that_outlives_its_guard_is_not_cut_for_what_it_was_thought_to_come_to(stream, agrees, limit):
    with BudgetGuard(**limit) as guard:
        chunks = stream()
        next(chunks)
    assert guard.estimated
    assert guard.tokens_used > 60

    assert list(chunks)
    assert not guard.exceeded
    agrees(guard)


def test_an_estimate_of_what_runs_on_refuses_nobody_in_the_guards_around(stream, agrees):
    with BudgetGuard(token_limit=100) as task:
        with BudgetGuard() as search:
            first = stream()
            next(first)
        assert (task.calls, task.estimated, task.exceeded) == (1, True, False)
        assert task.tokens_used == search.tokens_used == task.root_tokens_used > 100
        assert (task.tokens_remaining, task.local_tokens_used) == (0, 0)
        assert list(search.by_model) == list(task.by_model)
        assert sum(task.usage.values()) == task.tokens_used

        list(stream())
        list(first)

    assert (task.calls, task.estimated) == (2, False)
    agrees(task)


@pytest.mark.parametrize("strict", [False, True])
def test_calls_that_wait_when_their_guard_is_left_go_on_waiting_and_are_let_in(llm_provider, agrees, strict):
    client = llm_provider.openai()

    def ask() -> None:
        client.chat.completions.create(**HELLO, max_tokens=100)

    with llm_provider.hold() as gate, ThreadPoolExecutor() as pool:
        with BudgetGuard(token_limit=170, strict=strict, wait_timeout=SECONDS) as guard:
            asking = [pool.submit(ask) for _ in range(3)]
            gate.wait_for(1)
            while guard.account.admission.waiting < 2:
                pass
        gate.release()
        for asked in asking:
            asked.result(SECONDS)

    assert guard.calls == 3
    agrees(guard)


def test_what_a_call_holds_under_a_strict_limit_is_held_when_its_guard_is_left(llm_provider):
    client = llm_provider.openai()

    with BudgetGuard(token_limit=200, strict=True) as task:
        with BudgetGuard():
            chunks = client.chat.completions.create(**HELLO, max_tokens=100, stream=True)
        with pytest.raises(BudgetExceededError):
            client.chat.completions.create(**HELLO, max_tokens=150, extra_body={"messages": HELLO["messages"] * 10})
        assert list(chunks)

    assert task.tokens_used == llm_provider.ledger.tokens <= 200


def test_a_stream_that_is_begun_after_its_guard_counts_in_it(stream, agrees):
    with BudgetGuard(usd_limit=1) as guard:
        chunks = stream()
    with BudgetGuard() as other:
        assert list(chunks)

    assert (guard.calls, other.calls) == (1, 0)
    agrees(guard)


GOOGLE: Any = {"model": "gemini-2.5-flash"}


@pytest.mark.parametrize("chat", [False, True])
def test_a_stream_of_google_counts_where_it_was_asked_for(llm_provider, agrees, chat):
    client = llm_provider.google()
    with BudgetGuard(usd_limit=1) as guard:
        if chat:
            chunks = client.chats.create(**GOOGLE).send_message_stream("Hello!")
        else:
            chunks = client.models.generate_content_stream(**GOOGLE, contents="Hello!")
    assert inspect.isgenerator(chunks)
    with BudgetGuard() as other:
        for _ in chunks:
            assert current_frame().scope is other.account

    assert (guard.calls, other.calls) == (1, 0)
    agrees(guard)


@pytest.mark.parametrize("chat", [False, True])
async def test_an_async_stream_of_google_counts_where_it_was_asked_for(llm_provider, agrees, chat):
    client = llm_provider.google().aio
    async with BudgetGuard(usd_limit=1) as guard:
        if chat:
            chunks = await client.chats.create(**GOOGLE).send_message_stream("Hello!")
        else:
            chunks = await client.models.generate_content_stream(**GOOGLE, contents="Hello!")
    assert inspect.isasyncgen(chunks)
    async with BudgetGuard() as other:
        async for _ in chunks:
            assert current_frame().scope is other.account

    assert (guard.calls, other.calls) == (1, 0)
    agrees(guard)


def test_a_budget_that_is_used_up_refuses_a_stream_of_google_that_was_asked_for_in_it(llm_provider):
    client = llm_provider.google()
    with BudgetGuard(token_limit=1) as guard:
        guard.add_usage("gemini-2.5-flash", Usage(input_tokens=1), usd=0)
        chunks = client.models.generate_content_stream(**GOOGLE, contents="Hello!")
    with pytest.raises(BudgetExceededError):
        next(chunks)

    assert llm_provider.requests == []


@pytest.mark.parametrize("late", [False, True])
def test_a_refusal_keeps_no_stream_open_that_the_program_had_in_hand(stream, late):
    def ask_twice() -> None:
        unread = stream()
        next(unread)
        list(stream())

    with BudgetGuard() as task:
        with BudgetGuard(token_limit=25) as search:
            inside = contextvars.copy_context()
            with suppress(BudgetExceededError):
                _ = late or ask_twice()
        with suppress(BudgetExceededError):
            _ = late and inside.run(ask_twice)
        gc.collect()
        assert search.exceeded
        assert (task.calls, task.account.in_flight) == (2, 0)


# ---- who opened them -------------------------------------------------------------------------------------------------


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits looks at once whether what he waits for can end without him."""
    monkeypatch.setattr(admission, "_FIRST_TURN", 0.01)


@pytest.mark.usefixtures("soon")
def test_a_call_does_not_wait_for_a_stream_that_a_thread_has_opened_for_it(stream, agrees):
    with BudgetGuard(token_limit=100, wait_timeout=SECONDS) as guard:
        opened: list[Iterator[Any]] = []
        helper = threading.Thread(target=lambda: opened.append(stream()))
        helper.start()
        helper.join()
        assert list(stream())
        assert list(opened[0])

    assert guard.calls == 2
    agrees(guard)


@pytest.mark.usefixtures("soon")
def test_a_call_does_not_wait_for_a_stream_that_a_pool_has_opened_for_it(stream, agrees):
    with BudgetGuard(token_limit=100, wait_timeout=SECONDS) as guard, ThreadPoolExecutor(1) as pool:
        first = pool.submit(stream).result(SECONDS)
        assert list(stream())
        assert list(first)

    assert guard.calls == 2
    agrees(guard)


@pytest.mark.usefixtures("soon")
async def test_a_call_does_not_wait_for_a_stream_that_a_loops_pool_has_opened_for_it(stream, agrees):
    async with BudgetGuard(token_limit=100, wait_timeout=SECONDS) as guard:
        first = await asyncio.to_thread(stream)
        assert await asyncio.to_thread(lambda: list(stream()))
        assert await asyncio.to_thread(list, first)

    assert guard.calls == 2
    agrees(guard)


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("begun", [False, True])
async def test_a_call_does_not_wait_for_a_stream_that_another_task_has_opened_for_it(llm_provider, agrees, begun):
    client = llm_provider.async_openai()

    async def opened() -> Any:
        chunks = await client.chat.completions.create(**HELLO, stream=True)
        if begun:
            await anext(chunks)
        return chunks

    async with BudgetGuard(token_limit=100, wait_timeout=SECONDS) as guard:
        chunks = await asyncio.create_task(opened())
        await client.chat.completions.create(**HELLO)
        assert [chunk async for chunk in chunks]

    assert guard.calls == 2
    agrees(guard)


@pytest.mark.usefixtures("soon")
async def test_a_call_waits_for_a_stream_that_somebody_else_reads_whoever_has_opened_it(llm_provider):
    client = llm_provider.async_openai()
    read = asyncio.Event()
    end = asyncio.Event()

    async def reads() -> None:
        chunks = await asyncio.create_task(client.chat.completions.create(**HELLO, stream=True))
        await anext(chunks)
        read.set()
        await end.wait()
        assert [chunk async for chunk in chunks]

    async with BudgetGuard(token_limit=100, wait_timeout=SECONDS) as guard:
        reading = asyncio.create_task(reads())
        await read.wait()
        asking = asyncio.create_task(client.chat.completions.create(**HELLO))
        while not guard.account.admission.waiting:  # noqa: ASYNC110 - the queue has no event of its own
            await asyncio.sleep(0)
        guard.account.admission.look_for_streams(guard.account)
        assert guard.account.admission.waiting == 1
        end.set()
        await asyncio.gather(reading, asking)

    assert guard.calls == 2
