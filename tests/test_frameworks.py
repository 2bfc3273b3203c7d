"""Inside agent frameworks: what they do with errors, threads and streams, and why a budget holds all the same.

No framework is needed here: each habit that was seen in one is a few lines of a stand-in.
"""

import ast
import asyncio
import contextvars
import gc
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anthropic
import hypothesis.strategies as st
import openai
import pytest
from hypothesis import given

import actguard
from actguard import (
    BudgetExceededError,
    BudgetGuard,
    BudgetWaitTimeoutError,
    BudgetWarning,
    UnknownPriceError,
    UnmeteredCallError,
    Usage,
)
from actguard.budget.account import Account, describe
from actguard.budget.policy import Policy
from actguard.budget.pricing import PriceBook
from actguard.budget.scope import Refusal
from actguard.context import OUTSIDE, current_frame
from actguard.exceptions import ActGuardError
from actguard.testing import LocalProvider, Reply

MODEL = "gpt-4o"
ASK: Any = {"model": MODEL, "messages": [{"role": "user", "content": "Hello!"}]}
ONE_CALL = 30  # tokens: the default reply of the local provider, and its question


@pytest.fixture
def client(llm_provider: LocalProvider) -> openai.OpenAI:
    return llm_provider.openai()


@pytest.fixture
def aclient(llm_provider: LocalProvider) -> openai.AsyncOpenAI:
    return llm_provider.async_openai()


@pytest.fixture(params=["openai", "anthropic", "google"])
def ask(request: pytest.FixtureRequest, llm_provider: LocalProvider) -> Callable[[], Any]:
    """One call through each of the SDKs."""
    match request.param:
        case "openai":
            one = llm_provider.openai()
            return lambda: one.chat.completions.create(**ASK)
        case "anthropic":
            other = llm_provider.anthropic()
            return lambda: other.messages.create(model="claude-sonnet-5", messages=ASK["messages"], max_tokens=100)
        case _:
            third = llm_provider.google()
            return lambda: third.models.generate_content(model="gemini-2.5-flash", contents="Hello!")


class AgentError(Exception):
    """A framework's own."""


# ---- catches and retries ---------------------------------------------------------------------------------------------


def test_a_framework_that_swallows_every_error_cannot_go_on_spending(
    ask: Callable[[], Any], llm_provider: LocalProvider
) -> None:
    def agent() -> list[str]:
        seen = []
        for _ in range(10):
            try:
                ask()
            except Exception as error:
                seen.append(str(error))
        return seen

    with BudgetGuard(token_limit=ONE_CALL) as guard:
        observations = agent()

    assert llm_provider.ledger.calls == len(llm_provider.requests) == 2  # one within the limit, one that passed it
    assert len(observations) == 9
    assert guard.exceeded


def test_a_framework_that_retries_gets_the_same_refusal_at_once(
    ask: Callable[[], Any], llm_provider: LocalProvider
) -> None:
    errors: list[BudgetExceededError] = []
    with BudgetGuard(token_limit=1):
        for _ in range(4):
            try:
                ask()
            except BudgetExceededError as error:
                errors.append(error)

    assert [error.phase for error in errors] == ["after", "before", "before", "before"]
    assert len(llm_provider.requests) == 1


def test_after_extend_calls_go_through_again(client: openai.OpenAI, llm_provider: LocalProvider) -> None:
    with BudgetGuard(token_limit=1) as guard:
        for _ in range(2):
            with pytest.raises(BudgetExceededError):
                client.chat.completions.create(**ASK)
        assert guard.exceeded

        guard.extend(tokens=1_000)

        assert not guard.exceeded
        client.chat.completions.create(**ASK)
    assert llm_provider.ledger.calls == 2


def test_what_one_agent_may_not_spend_another_beside_it_may(client: openai.OpenAI, llm_provider: LocalProvider) -> None:
    with BudgetGuard(token_limit=10_000) as team:
        with BudgetGuard(token_limit=1):
            for _ in range(3):
                with pytest.raises(BudgetExceededError):
                    client.chat.completions.create(**ASK)
        with BudgetGuard(token_limit=1_000):
            client.chat.completions.create(**ASK)

    assert llm_provider.ledger.calls == 2
    assert not team.exceeded


@pytest.mark.parametrize(
    "retried", [(openai.APIError, anthropic.APIError), (ConnectionError,), (TimeoutError,), (OSError,)]
)
def test_no_refusal_is_of_a_class_that_is_retried(retried: tuple[type[Exception], ...]) -> None:
    refusals = (BudgetExceededError, BudgetWaitTimeoutError, UnknownPriceError, UnmeteredCallError)

    assert not any(issubclass(refusal, retried) for refusal in refusals)
    assert not any(hasattr(refusal(), "status_code") for refusal in refusals)


# ---- wraps -----------------------------------------------------------------------------------------------------------


def wraps(call: Callable[[], Any]) -> None:
    try:
        call()
    except Exception as error:
        raise AgentError("the agent failed") from error


def hides(call: Callable[[], Any]) -> None:
    try:
        call()
    except Exception:
        raise AgentError("the agent failed") from None


def groups(call: Callable[[], Any]) -> None:
    errors: list[Exception] = []
    for _ in range(2):
        try:
            call()
        except Exception as error:
            errors.append(error)
    raise ExceptionGroup("the agents failed", errors)


def goes_on(call: Callable[[], Any]) -> None:
    try:
        call()
    except Exception:
        answer: dict[str, Any] = {}
    answer["text"].strip()  # which is not there


@pytest.mark.parametrize("framework", [wraps, hides, groups, goes_on])
def test_whatever_a_framework_makes_of_it_the_user_catches_the_refusal(
    framework: Callable[[Callable[[], Any]], None], ask: Callable[[], Any]
) -> None:
    with pytest.raises(BudgetExceededError) as raised, BudgetGuard(token_limit=1) as guard:
        framework(ask)

    error = raised.value
    assert (error.scope_id, error.phase) == (guard.scope_id, "after")
    assert error.response is not None
    assert isinstance(error.__cause__, AgentError | ExceptionGroup | KeyError)


async def test_out_of_a_task_group_comes_the_refusal(aclient: openai.AsyncOpenAI) -> None:
    with pytest.raises(BudgetExceededError) as raised:
        async with BudgetGuard(token_limit=1):
            async with asyncio.TaskGroup() as group:
                for _ in range(5):
                    group.create_task(aclient.chat.completions.create(**ASK))

    assert isinstance(raised.value.__cause__, ExceptionGroup)


def test_the_refusal_of_an_outer_guard_comes_unwrapped_out_of_every_guard_on_the_way(ask: Callable[[], Any]) -> None:
    with pytest.raises(BudgetExceededError) as raised, BudgetGuard(token_limit=1, name="outer") as outer:
        try:
            with BudgetGuard(token_limit=10_000, name="inner"):
                wraps(ask)
        except AgentError:
            pytest.fail("the inner guard let it out wrapped")

    assert raised.value.scope_id == outer.scope_id


def test_what_an_inner_guard_refused_and_somebody_handled_is_over(client: openai.OpenAI) -> None:
    with pytest.raises(AgentError), BudgetGuard(token_limit=10_000) as outer:
        with pytest.raises(BudgetExceededError), BudgetGuard(token_limit=1):
            client.chat.completions.create(**ASK)
        raise AgentError("something else")

    assert not outer.exceeded


def test_a_refusal_that_is_swallowed_for_good_is_seen_on_the_guard(ask: Callable[[], Any]) -> None:
    with BudgetGuard(token_limit=1) as guard:
        try:
            ask()
        except Exception:
            print("that tool did not work; trying another way")

    assert guard.exceeded


@pytest.mark.parametrize("flow", [KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError])
def test_what_is_no_error_leaves_a_guard_as_it_is(flow: type[BaseException], client: openai.OpenAI) -> None:
    with pytest.raises(flow), BudgetGuard(token_limit=1):
        with pytest.raises(BudgetExceededError):
            client.chat.completions.create(**ASK)
        raise flow


def test_an_interrupt_of_a_framework_passes_a_guard_that_refused_nothing(client: openai.OpenAI) -> None:
    class Interrupt(AgentError):
        """A node asks a person, and the graph is entered again later."""

    guard = BudgetGuard(token_limit=10_000)
    with pytest.raises(Interrupt), guard:
        client.chat.completions.create(**ASK)
        raise Interrupt
    with guard:
        client.chat.completions.create(**ASK)

    assert guard.calls == 2
    assert not guard.exceeded


# ---- reads messages --------------------------------------------------------------------------------------------------

SIGNALS = ("429", "rate limit", "too many requests", "maximum context length", "input is too long")
names = st.text(min_size=1, max_size=20) | st.sampled_from(
    ["429", "team-429", "Rate Limit", "Too many requests!", "4429"]
)
figures = st.integers(0, 10**15) | st.integers(0, 10**6).map(lambda n: int(f"{n}429")) | st.just(429 * 10**12)


def reads_as_throttled(error: Exception) -> bool:
    return any(signal in f"{error}{error!r}{error.args}".lower() for signal in SIGNALS)


@given(
    name=names,
    user=names,
    used=figures,
    limit=figures,
    usd=st.booleans(),
    phase=st.sampled_from(["before", "during", "after"]),
)
def test_no_message_reads_as_a_throttled_or_overlong_request_whatever_names_and_figures_are_in_it(
    name: str, user: str, used: int, limit: int, usd: bool, phase: Any
) -> None:
    account = Account(
        "scp_429",
        user_id=user,
        run_id="run_429",
        policy=Policy(wait_timeout=429),
        book=PriceBook(),
        name=name,
        limit_pico=limit + 1,
        limit_tokens=limit + 1,
    )
    account.used_pico = account.used_tokens = used
    refusal = Refusal(account, "usd" if usd else "token", phase)

    assert not reads_as_throttled(account.error(refusal))
    assert not reads_as_throttled(account.timeout_error(account))
    assert not any(signal in account.error(refusal).to_prompt().lower() for signal in SIGNALS)
    assert describe(account, refusal).startswith("Budget ")


@given(name=names, amount=st.integers(0, 10**9))
def test_no_other_error_does_either(name: str, amount: int) -> None:
    for error in (
        UnknownPriceError(model=f"model-{name}", provider=name),
        UnmeteredCallError(f"POST /429/{name} is billed but cannot be metered"),
        ActGuardError(f"{name}: {amount}429"),
    ):
        assert not reads_as_throttled(error)
        assert not any(signal in error.to_prompt().lower() for signal in SIGNALS)


def test_a_framework_that_retries_what_looks_throttled_sends_nothing_again(
    client: openai.OpenAI, llm_provider: LocalProvider
) -> None:
    def by_message() -> None:
        for _ in range(5):
            try:
                client.chat.completions.create(**ASK)
            except Exception as error:
                if any(signal in str(error).lower() for signal in SIGNALS) or getattr(error, "status_code", 0) == 429:
                    continue
                raise

    with pytest.raises(BudgetExceededError), BudgetGuard(user_id="429", name="Rate limit 429", usd_limit=0.000429):
        while True:
            by_message()

    assert llm_provider.ledger.calls == 2


# ---- runs tools in threads -------------------------------------------------------------------------------------------


def test_tools_in_threads_and_pools_spend_what_their_agent_may(
    client: openai.OpenAI, llm_provider: LocalProvider
) -> None:
    def tool() -> None:
        client.chat.completions.create(**ASK)

    with ThreadPoolExecutor(3) as kept, BudgetGuard(token_limit=10_000) as guard:
        thread = threading.Thread(target=tool)
        thread.start()
        list(kept.map(lambda _: tool(), range(3)))
        asyncio.run(asyncio.to_thread(tool))
        contextvars.copy_context().run(tool)
        thread.join()

    assert guard.calls == llm_provider.ledger.calls == 6


def test_a_tool_in_a_thread_is_refused_like_its_agent(client: openai.OpenAI, llm_provider: LocalProvider) -> None:
    with pytest.raises(BudgetExceededError), BudgetGuard(token_limit=1):
        with pytest.raises(BudgetExceededError):
            client.chat.completions.create(**ASK)
        with ThreadPoolExecutor(1) as pool:
            pool.submit(client.chat.completions.create, **ASK).result()

    assert len(llm_provider.requests) == 1


async def test_agents_side_by_side_spend_from_their_own_budgets(
    aclient: openai.AsyncOpenAI, llm_provider: LocalProvider
) -> None:
    async def agent(calls: int) -> BudgetGuard:
        async with BudgetGuard(token_limit=10_000) as guard:
            for _ in range(calls):
                await aclient.chat.completions.create(**ASK)
        return guard

    guards = await asyncio.gather(*(agent(calls) for calls in (1, 2, 3)))

    assert [guard.calls for guard in guards] == [1, 2, 3]
    assert llm_provider.ledger.calls == 6


# ---- ends a stream elsewhere -----------------------------------------------------------------------------------------


async def test_a_stream_that_another_task_reads_to_its_end_counts_where_it_was_opened(
    aclient: openai.AsyncOpenAI, llm_provider: LocalProvider
) -> None:
    async def read(stream: Any) -> int:
        return len([chunk async for chunk in stream])

    async with BudgetGuard(token_limit=10_000) as guard:
        stream = await aclient.chat.completions.create(**ASK, stream=True)
        async with BudgetGuard(token_limit=10_000) as other:
            assert await asyncio.create_task(read(stream))

    assert guard.tokens_used == llm_provider.ledger.tokens
    assert other.calls == 0
    assert not guard.estimated


async def test_an_async_generator_that_is_finalised_elsewhere_settles_and_leaves_no_context_behind(
    aclient: openai.AsyncOpenAI, llm_provider: LocalProvider
) -> None:
    guard = BudgetGuard(token_limit=10_000)

    async def agent() -> AsyncIterator[str]:
        async with guard:
            async for chunk in await aclient.chat.completions.create(**ASK, stream=True):
                yield chunk.choices[0].delta.content or ""

    async def start(steps: AsyncIterator[str]) -> str:
        return await anext(steps)

    steps = agent()
    await asyncio.create_task(start(steps))  # a task of its own for each step, as servers do
    assert current_frame() is OUTSIDE
    await asyncio.create_task(steps.aclose())  # type: ignore[attr-defined]

    assert current_frame() is OUTSIDE
    llm_provider.wait_idle()
    assert guard.calls == 1
    assert guard.estimated
    gc.collect()
    for _ in range(10):  # the loop closes what was dropped, one generator within another
        await asyncio.sleep(0)
    assert_nothing_is_held(guard)


def test_a_generator_that_is_closed_in_another_context_settles(client: openai.OpenAI) -> None:
    guard = BudgetGuard(token_limit=10_000)

    def agent() -> Iterator[str]:
        with guard:
            for chunk in client.chat.completions.create(**ASK, stream=True):
                yield chunk.choices[0].delta.content or ""

    steps = agent()
    contextvars.copy_context().run(next, steps)
    contextvars.copy_context().run(steps.close)  # type: ignore[attr-defined]

    assert current_frame() is OUTSIDE
    assert guard.calls == 1
    assert_nothing_is_held(guard)


def test_a_refusal_passes_through_a_generator_and_a_thread(client: openai.OpenAI) -> None:
    def agent() -> Iterator[str]:
        with BudgetGuard(token_limit=1):
            yield client.chat.completions.create(**ASK).id

    def first() -> Any:
        return next(agent())

    with ThreadPoolExecutor(1) as pool, pytest.raises(BudgetExceededError):
        pool.submit(first).result()


# ---- reports usage beside the seam -----------------------------------------------------------------------------------

TEN = Usage(input_tokens=4, output_tokens=6)


def test_a_callback_that_reports_a_call_after_it_was_seen_adds_nothing(
    client: openai.OpenAI, llm_provider: LocalProvider
) -> None:
    with BudgetGuard(usd_limit=1) as guard:
        reply = client.chat.completions.create(**ASK)
        for _ in range(3):
            guard.add_usage(MODEL, TEN, provider="openai", response_id=reply.id)

    assert guard.calls == 1
    assert guard.tokens_used == llm_provider.ledger.tokens


@pytest.mark.parametrize("stream", [False, True])
def test_a_callback_that_reports_a_call_before_it_is_seen_is_what_counts(
    stream: bool, client: openai.OpenAI, llm_provider: LocalProvider
) -> None:
    llm_provider.reply(Reply(fields={"id": "chatcmpl-known"}))

    with BudgetGuard(usd_limit=1) as guard:
        guard.add_usage(MODEL, TEN, provider="openai", response_id="chatcmpl-known")
        reply = client.chat.completions.create(**ASK, stream=stream)
        if stream:
            assert {chunk.id for chunk in reply} == {"chatcmpl-known"}  # type: ignore[union-attr]

    assert guard.calls == 1
    assert guard.usage == TEN.by_kind()
    assert_nothing_is_held(guard)


def test_a_stream_left_early_and_reported_by_a_callback_counts_once(client: openai.OpenAI) -> None:
    with BudgetGuard(usd_limit=1) as guard:
        with client.chat.completions.create(**ASK, stream=True) as stream:
            first = next(stream)
        before = guard.tokens_used
        guard.add_usage(MODEL, TEN, provider="openai", response_id=first.id)

    assert guard.calls == 1
    assert guard.tokens_used == before > 0


def test_reports_without_an_id_and_of_other_calls_are_counted(client: openai.OpenAI) -> None:
    with BudgetGuard(usd_limit=1) as guard:
        guard.add_usage(MODEL, TEN, provider="openai")
        guard.add_usage(MODEL, TEN, provider="openai")
        guard.add_usage(MODEL, TEN, provider="openai", response_id="one")
        guard.add_usage(MODEL, TEN, provider="openai", response_id="two")

    assert (guard.calls, guard.tokens_used) == (4, 40)


def test_a_report_in_a_nested_guard_of_what_the_outer_saw_adds_nothing_to_either(client: openai.OpenAI) -> None:
    with BudgetGuard(usd_limit=1) as outer:
        reply = client.chat.completions.create(**ASK)
        with BudgetGuard(usd_limit=1) as inner:
            inner.add_usage(MODEL, TEN, provider="openai", response_id=reply.id)

    assert (outer.calls, inner.calls) == (1, 0)


# ---- late and missing usage ------------------------------------------------------------------------------------------


def test_a_stream_that_ends_after_its_guard_is_charged_by_estimate_then_as_it_was_billed(
    client: openai.OpenAI, llm_provider: LocalProvider
) -> None:
    with BudgetGuard(usd_limit=1) as guard:
        stream = client.chat.completions.create(**ASK, stream=True)
    assert guard.estimated
    assert guard.tokens_used > 0

    assert list(stream)

    assert not guard.estimated
    assert_nothing_is_held(guard)
    assert guard.tokens_used == llm_provider.ledger.tokens
    assert {model: figures["calls"] for model, figures in guard.by_model.items()} == {MODEL: 1}


def test_the_estimate_of_a_late_call_is_gone_from_the_breakdown_when_its_bill_names_another_model(
    client: openai.OpenAI, llm_provider: LocalProvider
) -> None:
    llm_provider.reply(Reply(model="gpt-4o-2024-08-06"))
    with BudgetGuard(usd_limit=1) as guard:
        stream = client.chat.completions.create(**ASK, stream=True)

    assert list(stream)

    assert {model: figures["calls"] for model, figures in guard.by_model.items()} == {"gpt-4o-2024-08-06": 1}
    assert guard.calls == 1


async def test_a_background_task_that_ends_after_its_guard_is_attributed_to_it(
    aclient: openai.AsyncOpenAI, llm_provider: LocalProvider
) -> None:
    with llm_provider.hold() as gate:
        async with BudgetGuard(usd_limit=1) as outer:
            async with BudgetGuard(usd_limit=1) as guard:
                task = asyncio.create_task(aclient.chat.completions.create(**ASK))
                await gate.wait_for_async(1)
            assert guard.estimated
    await task

    assert guard.tokens_used == outer.tokens_used == llm_provider.ledger.tokens
    assert not outer.estimated
    assert_nothing_is_held(guard)


async def test_what_a_background_task_spends_too_late_is_refused_there(
    aclient: openai.AsyncOpenAI, llm_provider: LocalProvider
) -> None:
    left = asyncio.Event()

    async def work() -> None:
        await left.wait()
        while True:
            await aclient.chat.completions.create(**ASK)

    async with BudgetGuard(token_limit=ONE_CALL) as guard:
        task = asyncio.create_task(work())
        await asyncio.sleep(0)
    left.set()

    with pytest.raises(BudgetExceededError):
        await task
    assert guard.calls == llm_provider.ledger.calls == 2
    assert guard.exceeded


def test_a_reply_without_usage_is_visible_and_never_zero(client: openai.OpenAI, llm_provider: LocalProvider) -> None:
    llm_provider.reply(Reply(usage="omitted"))

    with BudgetGuard(usd_limit=1) as guard:
        client.chat.completions.create(**ASK)

    assert guard.unmetered_calls == 1
    assert guard.estimated
    assert guard.usd_used > 0


# ---- enters and leaves wherever it likes -----------------------------------------------------------------------------


async def test_a_guard_is_entered_on_one_task_and_left_on_another(
    aclient: openai.AsyncOpenAI, llm_provider: LocalProvider
) -> None:
    guard = BudgetGuard(usd_limit=1)

    async def on_start() -> None:
        await guard.__aenter__()
        await aclient.chat.completions.create(**ASK)

    async def on_end() -> None:
        await guard.__aexit__(None, None, None)

    await asyncio.create_task(on_start())
    with pytest.warns(BudgetWarning, match="left in another"):  # what a third task does is not in the guard
        await asyncio.create_task(on_end())
    await aclient.chat.completions.create(**ASK)  # nobody's

    assert current_frame() is OUTSIDE
    assert (guard.calls, llm_provider.ledger.calls) == (1, 2)


def test_a_guard_is_entered_many_times_one_after_the_other_and_in_several_threads_at_once(
    client: openai.OpenAI, llm_provider: LocalProvider
) -> None:
    guard = BudgetGuard(usd_limit=1)

    def step() -> None:
        with guard:
            client.chat.completions.create(**ASK)

    step()
    step()
    threads = [threading.Thread(target=step) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert guard.calls == llm_provider.ledger.calls == 6
    assert guard.tokens_used == llm_provider.ledger.tokens
    assert current_frame() is OUTSIDE


def test_guards_left_in_the_wrong_order_leave_nothing_behind(
    client: openai.OpenAI, llm_provider: LocalProvider
) -> None:
    def callbacks() -> tuple[BudgetGuard, BudgetGuard]:
        run, step = BudgetGuard(name="run"), BudgetGuard(name="step")
        run.__enter__()
        step.__enter__()
        run.__exit__(None, None, None)
        step.__exit__(None, None, None)
        client.chat.completions.create(**ASK)
        return run, step

    run, step = contextvars.copy_context().run(callbacks)

    assert current_frame() is OUTSIDE
    assert (run.calls, step.calls, llm_provider.ledger.calls) == (0, 0, 1)


# ---- and imports nothing ---------------------------------------------------------------------------------------------


def test_httpx_is_never_imported() -> None:
    """It may be absent. What observes it asks for it by name, once somebody else has imported it."""
    found = [
        path.name
        for path in Path(actguard.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.Import) and any(name.name.split(".")[0] == "httpx" for name in node.names))
        or (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "httpx")
    ]

    assert found == []


def assert_nothing_is_held(guard: BudgetGuard) -> None:
    gc.collect()  # a stream that was dropped is a cycle of the SDK's
    account = guard.account
    assert account is not None
    account.admission.settle_pending()
    assert (account.held_pico, account.held_tokens, account.in_flight) == (0, 0, 0)
