"""google-genai's `client.interactions`, on each of the two stacks it was built on."""

import asyncio
import contextlib
import gc
import sys
from collections.abc import Iterator
from typing import Any

import pytest

import actguard
from actguard import BudgetExceededError, BudgetGuard, UnmeteredCallError, UnsupportedSDKError
from actguard.testing import Cut, Delivery, HttpError, LocalProvider, Lost, NotJSON, Reply, ToolCall
from tests.ended import ended

genai = pytest.importorskip("google.genai")

MODEL = "gemini-2.5-flash"

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture
def client(llm_provider: LocalProvider) -> Any:
    if not hasattr(genai.Client, "interactions"):
        pytest.skip("this version has no interactions")
    return without_retries(llm_provider)


def without_retries(provider: LocalProvider, attempts: int = 1) -> Any:
    retry = {"attempts": attempts, "initial_delay": 0.001, "max_delay": 0.002}
    return genai.Client(api_key="key", http_options={"base_url": provider.url, "retry_options": retry})


def create(client: Any, **options: Any) -> Any:
    return client.interactions.create(model=MODEL, input="Hello!", **options)


def is_charged_by_estimate(guard: BudgetGuard, provider: LocalProvider) -> None:
    provider.wait_idle()
    assert guard.estimated
    assert guard.calls == 1
    assert guard.usage["input_tokens"] >= 1
    account: Any = guard.account
    assert (account.held_pico, account.held_tokens, account.in_flight) == (0, 0, 0)


# ---- every way of calling --------------------------------------------------------------------------------------------


def test_an_interaction_is_charged_what_the_provider_bills(client, agrees):
    with BudgetGuard(usd_limit=1) as guard:
        interaction = create(client)

    assert interaction.status == "completed"
    assert guard.usage["output_tokens"] == interaction.usage.total_output_tokens
    assert guard.calls == 1
    agrees(guard)


async def test_an_awaited_interaction_is_charged_the_same(client, agrees):
    async with BudgetGuard(usd_limit=1) as guard:
        interaction = await create(client.aio)

    assert interaction.status == "completed"
    assert guard.calls == 1
    agrees(guard)


KINDS = {
    "cached input": Reply(input_tokens=5000, cached_tokens=4096),
    "thoughts": Reply(output_tokens=30, reasoning_tokens=700),
    "prompts of tools": Reply(tool_prompt_tokens=250),
    "audio": Reply(input_tokens=900, audio_input_tokens=600),
    "grounding": Reply(web_searches=3),
    "a tier": Reply(service_tier="flex"),
    "tool calls": Reply(tool_calls=[ToolCall("weather", {"city": "Paris"})]),
}


@pytest.mark.parametrize("streamed", [False, True], ids=["in one piece", "streamed"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_token_is_charged_once_at_its_own_price(client, llm_provider, agrees, kind, streamed):
    llm_provider.reply(KINDS[kind])

    with BudgetGuard(usd_limit=1) as guard:
        interaction = create(client, stream=streamed)
        assert not streamed or list(interaction)

    assert guard.calls == 1
    agrees(guard)


def test_an_interaction_that_builds_on_another_is_charged_for_both_texts(client, agrees):
    with BudgetGuard(usd_limit=1) as guard:
        first = create(client)
        create(client, previous_interaction_id=first.id)

    assert guard.calls == 2
    agrees(guard)


def test_reading_an_interaction_again_is_free(client, agrees):
    with BudgetGuard(usd_limit=1) as guard:
        interaction = create(client)
        for _ in range(3):
            assert client.interactions.get(interaction.id).usage

    assert guard.calls == 1
    agrees(guard)


async def test_raw_and_streaming_responses_are_charged(client, agrees):
    with BudgetGuard(usd_limit=1) as guard:
        assert client.interactions.with_raw_response.create(model=MODEL, input="Hello!").parse().status == "completed"
        with client.interactions.with_streaming_response.create(model=MODEL, input="Hello!") as response:
            assert response.parse().status == "completed"
        raw = await client.aio.interactions.with_raw_response.create(model=MODEL, input="Hello!")
        assert raw.status_code == 200

    assert guard.calls == 3
    agrees(guard)


def test_interactions_are_watched_whenever_they_are_first_used(client, llm_provider, agrees):
    create(client)
    llm_provider.wait_idle()
    llm_provider.ledger.reset()
    with BudgetGuard(usd_limit=1) as guard:
        create(client)
        actguard.uninstall()
        actguard.install()
        create(client)

    assert guard.calls == 2
    agrees(guard)


# ---- streams ---------------------------------------------------------------------------------------------------------


def test_a_stream_is_the_sdks_own_and_is_charged_to_the_token(client, agrees):
    without = type(create(client, stream=True))
    with BudgetGuard(usd_limit=1) as guard:
        events = create(client, stream=True)
        assert type(events) is without
        kinds = [event.event_type for event in events]

    assert kinds[0] == "interaction.created"
    assert kinds[-1] == "interaction.completed"
    assert guard.calls == 1


def test_a_stream_that_a_hook_has_read_in_advance_is_charged_to_the_token(client, agrees):
    http = getattr(client._api_client, "_httpx_client", None)
    if http is None:
        pytest.skip("this version keeps its HTTP client elsewhere")
    http.event_hooks = {"response": [lambda response: response.read()]}

    with BudgetGuard(usd_limit=1) as guard:
        assert list(create(client, stream=True))

    assert guard.calls == 1
    agrees(guard)


async def test_an_async_stream_is_charged_to_the_token(client, agrees):
    async with BudgetGuard(usd_limit=1) as guard, await create(client.aio, stream=True) as events:
        assert [event async for event in events]

    assert guard.calls == 1
    agrees(guard)


def test_a_stream_that_is_left_is_charged_for_what_arrived(client, llm_provider):
    with BudgetGuard(usd_limit=1) as guard, create(client, stream=True) as events:
        for event in events:
            if event.event_type == "step.delta":
                break

    is_charged_by_estimate(guard, llm_provider)


async def test_an_async_stream_that_is_dropped_is_charged_for_what_arrived(client, llm_provider):
    async with BudgetGuard(usd_limit=1) as guard:
        events = await create(client.aio, stream=True)
        await anext(events)
        del events
        gc.collect()

    await ended(guard)
    await asyncio.to_thread(is_charged_by_estimate, guard, llm_provider)


async def test_a_stream_whose_task_is_cancelled_is_charged_for_what_arrived(client, llm_provider):
    llm_provider.reply(Reply(delivery=Delivery(pause_after=3)))

    async def read() -> None:
        async for _ in await create(client.aio, stream=True):
            pass

    async with BudgetGuard(usd_limit=1) as guard:
        task = asyncio.create_task(read())
        await llm_provider.paused.wait_for_async(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    await asyncio.to_thread(is_charged_by_estimate, guard, llm_provider)


@contextlib.contextmanager
def as_the_sdk_likes() -> Iterator[None]:
    """Whether a broken stream is an error differs between versions; it is none of ours."""
    try:
        yield
    except actguard.ActGuardError:
        raise
    except Exception:
        return


@pytest.mark.parametrize("fault", [Cut(after=5), Cut(after=5, clean=True)], ids=["reset", "cut"])
def test_a_stream_that_breaks_off_is_charged_for_what_arrived(client, llm_provider, fault):
    llm_provider.reply(Reply(fault=fault))

    with BudgetGuard(usd_limit=1) as guard, as_the_sdk_likes():
        list(create(client, stream=True))

    is_charged_by_estimate(guard, llm_provider)


def test_a_stream_that_passes_the_limit_at_its_end_is_given_whole_and_told_then(client, llm_provider, agrees):
    kinds: list[str] = []

    def read() -> None:
        for event in create(client, stream=True):
            kinds.append(event.event_type)

    with BudgetGuard(token_limit=5) as guard, pytest.raises(BudgetExceededError) as passed:
        read()

    assert passed.value.phase in ("during", "after")
    assert guard.exceeded


# ---- in the background -----------------------------------------------------------------------------------------------


def test_what_runs_in_the_background_is_charged_once_by_the_read_that_finds_it_finished(client, llm_provider, agrees):
    llm_provider.reply(Reply(polls=2))

    with BudgetGuard(usd_limit=1) as guard:
        interaction = create(client, background=True)
        assert interaction.status == "in_progress"
        assert guard.calls == 0
        while interaction.status == "in_progress":
            interaction = client.interactions.get(interaction.id)
        client.interactions.get(interaction.id)

    assert guard.calls == 1
    agrees(guard)


async def test_it_is_charged_to_its_guard_also_when_that_is_over(client, llm_provider, agrees):
    llm_provider.reply(Reply(polls=1))

    async with BudgetGuard(usd_limit=1) as guard:
        interaction = await create(client.aio, background=True)
    assert guard.estimated
    for _ in range(3):
        interaction = await client.aio.interactions.get(interaction.id)

    assert interaction.status == "completed"
    assert guard.calls == 1
    agrees(guard)


def test_it_is_charged_by_the_stream_that_resumes_it(client, agrees):
    with BudgetGuard(usd_limit=1) as guard:
        interaction = create(client, background=True)
        assert list(client.interactions.get(interaction.id, stream=True))

    assert guard.calls == 1
    agrees(guard)


# ---- limits ----------------------------------------------------------------------------------------------------------


def test_the_call_that_passes_the_limit_hands_over_its_interaction_and_none_is_sent_any_more(client, llm_provider):
    with BudgetGuard(token_limit=5) as guard:
        with pytest.raises(BudgetExceededError) as passed:
            create(client)
        with pytest.raises(BudgetExceededError) as refused:
            create(client)

    assert (passed.value.phase, refused.value.phase) == ("after", "before")
    assert passed.value.response.status == "completed"
    assert llm_provider.ledger.calls == guard.calls == 1


async def test_the_same_holds_when_awaited(client, llm_provider):
    async with BudgetGuard(token_limit=5) as guard:
        with pytest.raises(BudgetExceededError) as passed:
            await create(client.aio)
        with pytest.raises(BudgetExceededError) as refused:
            await create(client.aio)

    assert (passed.value.phase, refused.value.phase) == ("after", "before")
    assert passed.value.response.status == "completed"
    assert llm_provider.ledger.calls == guard.calls == 1


@pytest.mark.parametrize("streamed", [False, True], ids=["in one piece", "streamed"])
def test_a_strict_guard_sets_the_output_cap_and_leaves_the_callers_config_alone(client, llm_provider, agrees, streamed):
    llm_provider.default = Reply(output_tokens=6000)
    config = {"temperature": 0.5, "max_output_tokens": 5000}

    with BudgetGuard(token_limit=1000, strict=True) as guard:
        interaction = create(client, generation_config=config, stream=streamed)
        assert not streamed or list(interaction)

    request = llm_provider.requests[-1]
    sent = request.json["generation_config"]
    assert sent["temperature"] == 0.5
    assert 500 < sent["max_output_tokens"] < 1000
    assert int(request.headers["content-length"]) == len(request.body)
    assert config == {"temperature": 0.5, "max_output_tokens": 5000}
    assert guard.tokens_used <= 1000
    agrees(guard)


async def test_a_strict_guard_caps_awaited_calls_too(client, llm_provider, agrees):
    llm_provider.default = Reply(output_tokens=6000)

    async with BudgetGuard(token_limit=1000, strict=True) as guard:
        await create(client.aio)

    assert 500 < llm_provider.requests[-1].json["generation_config"]["max_output_tokens"] < 1000
    assert 500 < guard.tokens_used <= 1000
    agrees(guard)


def test_what_has_no_bound_is_refused_by_a_strict_guard(client, llm_provider):
    with BudgetGuard(usd_limit=1, strict=True), pytest.raises(UnmeteredCallError, match="google_search"):
        create(client, tools=[{"type": "google_search"}])

    assert llm_provider.ledger.calls == 0


# ---- continuation ----------------------------------------------------------------------------------------------------

STOPPED: Any = Reply(fields={"status": "requires_continuation", "continuation_token": "more"})


def continuing(client: Any) -> Any:
    pytest.importorskip("google.genai._interactions_continuation", reason="this version does not continue by itself")
    return client


@pytest.mark.parametrize("streamed", [False, True], ids=["in one piece", "streamed"])
def test_every_hop_of_a_continued_interaction_is_charged(client, llm_provider, agrees, streamed):
    llm_provider.reply(STOPPED, STOPPED, Reply())

    with BudgetGuard(usd_limit=1) as guard:
        interaction = create(continuing(client), stream=streamed)
        assert not streamed or list(interaction)

    assert guard.calls >= 2
    agrees(guard)


@pytest.mark.parametrize("streamed", [False, True], ids=["in one piece", "streamed"])
def test_a_refusal_between_two_hops_reaches_the_caller_as_itself(client, llm_provider, agrees, streamed):
    llm_provider.reply(STOPPED, Reply(), Reply())

    def run() -> None:
        interaction = create(continuing(client), stream=streamed)
        assert not streamed or list(interaction)

    with BudgetGuard(token_limit=25) as guard, pytest.raises(BudgetExceededError) as refused:
        run()

    assert refused.value.phase == "before"
    assert llm_provider.ledger.calls == 1
    if not streamed:
        assert refused.value.response.usage
    agrees(guard)


async def test_a_refusal_between_two_hops_reaches_who_awaits_as_itself(client, llm_provider, agrees):
    llm_provider.reply(STOPPED, Reply())

    async with BudgetGuard(token_limit=25) as guard:
        with pytest.raises(BudgetExceededError):
            await create(continuing(client).aio)

    assert llm_provider.ledger.calls == 1
    agrees(guard)


# ---- answers that fail, or are lost ----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 429, 500])
async def test_an_error_status_is_not_charged(client, llm_provider, agrees, status):
    llm_provider.when(HttpError(status=status, retry_after=0))

    async with BudgetGuard(usd_limit=1) as guard:
        with pytest.raises(Exception) as failed:
            create(client)
        assert not isinstance(failed.value, actguard.ActGuardError)
        with pytest.raises(Exception):  # noqa: B017
            await create(client.aio)

    assert guard.calls == 0
    agrees(guard)


def test_retries_are_one_call(client, llm_provider, agrees):
    llm_provider.reply(HttpError(status=503, retry_after=0), HttpError(status=503, retry_after=0), "Hello!")

    with BudgetGuard(usd_limit=1) as guard:
        create(without_retries(llm_provider, attempts=3))

    assert guard.calls == 1
    agrees(guard)


def test_an_answer_that_was_lost_is_charged_by_estimate(client, llm_provider):
    llm_provider.when(Lost())

    with BudgetGuard(usd_limit=1) as guard, pytest.raises(Exception) as failed:
        create(client)

    assert not isinstance(failed.value, actguard.ActGuardError)
    assert guard.estimated
    assert guard.calls == llm_provider.ledger.calls >= 1  # some versions try again
    assert guard.account.in_flight == 0


def test_a_lost_attempt_and_the_one_that_was_answered_are_both_charged(client, llm_provider):
    if "google.genai._interactions._base_client" not in sys.modules:
        pytest.skip("this version does not try again when an answer was lost")
    llm_provider.reply(Lost(), Reply())

    with BudgetGuard(usd_limit=1) as guard:
        create(without_retries(llm_provider, attempts=3))

    llm_provider.wait_idle()
    assert guard.estimated
    assert guard.calls == llm_provider.ledger.calls == 2


def test_an_answer_that_is_no_json_is_charged_by_estimate(client, llm_provider):
    llm_provider.reply(NotJSON())

    with BudgetGuard(usd_limit=1) as guard, as_the_sdk_likes():
        create(client)

    is_charged_by_estimate(guard, llm_provider)


def test_a_release_whose_interactions_are_built_on_something_else_is_refused_aloud(client, monkeypatch):
    from actguard.providers.google import interactions as watcher

    actguard.uninstall()
    for name in (watcher._STAINLESS, watcher._SPEAKEASY):
        monkeypatch.delitem(sys.modules, name, raising=False)
    for name in ("_STAINLESS", "_SPEAKEASY"):
        monkeypatch.setattr(watcher, name, "google.genai._none")

    with pytest.raises(UnsupportedSDKError, match="interactions"), BudgetGuard(usd_limit=1):
        pass

    monkeypatch.undo()
    actguard.install()
