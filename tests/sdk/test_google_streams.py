"""Streams through google-genai: nothing in them is changed, and they are charged however they end."""

import asyncio
import base64
import contextlib
import contextvars
import gc
import inspect
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

import actguard
from actguard import BudgetExceededError, BudgetGuard
from actguard.testing import Cut, Delivery, ErrorEvent, HttpError, LocalProvider, Reply, Reset, ToolCall
from tests.ended import ended

genai = pytest.importorskip("google.genai")

from google.genai import _api_client, errors, types  # noqa: E402

MODEL = "gemini-2.5-flash"


@pytest.fixture
def client(llm_provider: LocalProvider) -> Any:
    return llm_provider.google()


@pytest.fixture(params=["aiohttp", "without aiohttp"])
def aclient(request: pytest.FixtureRequest, llm_provider: LocalProvider, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The asynchronous client, over each of the HTTP libraries it may find."""
    if not hasattr(_api_client, "has_aiohttp") and request.param == "aiohttp":
        pytest.skip("this version knows no aiohttp")
    if request.param == "without aiohttp":
        monkeypatch.setattr(_api_client, "has_aiohttp", False, raising=False)
    return llm_provider.google().aio


@pytest.fixture
def vertex(llm_provider: LocalProvider) -> Any:
    credentials = pytest.importorskip("google.oauth2.credentials").Credentials("token")
    options: Any = {"base_url": llm_provider.url, "api_version": "v1"}
    return genai.Client(
        vertexai=True, project="p", location="us-central1", credentials=credentials, http_options=options
    )


def stream(client: Any, **config: Any) -> Any:
    return client.models.generate_content_stream(model=MODEL, contents="Hello!", config=config or None)


def text_of(chunks: Any) -> str:
    return "".join(chunk.text or "" for chunk in chunks)


def received_from(chunks: Any, received: list[Any]) -> None:
    """Keep what comes, also if the stream ends in an error."""
    for chunk in chunks:
        received.append(chunk)


async def areceived_from(client: Any, received: list[Any]) -> None:
    async for chunk in await stream(client):
        received.append(chunk)


@contextlib.contextmanager
def as_the_sdk_likes() -> Iterator[None]:
    """Whether a broken stream is an error differs between versions; it is none of ours."""
    try:
        yield
    except actguard.ActGuardError:
        raise
    except Exception:
        return


def is_charged_for_what_arrived(guard: BudgetGuard, provider: LocalProvider, *, at_least: int = 1) -> None:
    """By estimate, flagged, never nothing; and nothing is left in flight."""
    provider.wait_idle()
    assert guard.estimated
    assert guard.calls == 1
    assert guard.usage["input_tokens"] >= 1
    assert guard.usage.get("output_tokens", 0) >= at_least
    account: Any = guard.account
    assert (account.held_pico, account.held_tokens, account.in_flight) == (0, 0, 0)


# ---- to the end ------------------------------------------------------------------------------------------------------


def test_a_stream_is_charged_to_the_token(client, llm_provider, agrees):
    with BudgetGuard(usd_limit=1) as guard:
        chunks = stream(client)
        assert inspect.isgenerator(chunks)
        chunks = list(chunks)

    assert {type(chunk) for chunk in chunks} == {types.GenerateContentResponse}
    assert text_of(chunks).startswith("one two three")
    assert len(chunks) == 20
    assert guard.calls == 1
    agrees(guard)


async def test_an_async_stream_is_charged_to_the_token_over_any_http_library(aclient, agrees):
    async with BudgetGuard(usd_limit=1) as guard:
        chunks = await stream(aclient)
        assert inspect.isasyncgen(chunks)
        chunks = [chunk async for chunk in chunks]

    assert {type(chunk) for chunk in chunks} == {types.GenerateContentResponse}
    assert len(chunks) == 20
    agrees(guard)


KINDS = {
    "thoughts": Reply(output_tokens=30, reasoning_tokens=700),
    "cached input": Reply(input_tokens=5000, cached_tokens=4096),
    "prompts of tools": Reply(tool_prompt_tokens=250),
    "grounding": Reply(web_searches=2),
    "a tier": Reply(service_tier="flex"),
    "tool calls": Reply(tool_calls=[ToolCall("weather", {"city": "Paris"})]),
    "one chunk": Reply(output_tokens=1),
    "no output": Reply(output_tokens=0, finish="SAFETY"),
    "many tokens in a chunk": Reply(output_tokens=400, delivery=Delivery(tokens_per_event=50)),
    "bytes one by one": Reply(output_tokens=5, delivery=Delivery(chunk_bytes=1)),
    "gzip": Reply(output_tokens=50, delivery=Delivery(gzip=True)),
}


@pytest.mark.parametrize("limit", [None, 1])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_stream_is_charged_to_the_token(client, llm_provider, agrees, kind, limit):
    llm_provider.reply(KINDS[kind])

    with BudgetGuard(usd_limit=limit) as guard:
        assert list(stream(client))

    assert guard.calls == 1
    agrees(guard)


def test_vertex_says_what_was_used_in_the_last_chunk_only(vertex, agrees):
    with BudgetGuard(usd_limit=1) as guard:
        assert list(stream(vertex))

    agrees(guard)


async def test_functions_that_the_sdk_calls_are_charged_round_by_round(client, llm_provider, agrees):
    def weather(city: str) -> str:
        """The weather in a city."""
        return f"fine in {city}"

    if "for chunk in self._generate_content_stream" in inspect.getsource(client.models.generate_content_stream):
        pytest.skip("this version calls no functions in streams")
    for _ in range(2):
        llm_provider.reply(Reply(tool_calls=[ToolCall("weather", {"city": "Paris"})]), "It is fine.")

    async with BudgetGuard(usd_limit=1) as guard:
        text_of_it = text_of(stream(client, tools=[weather]))
        text_of_that = text_of([chunk async for chunk in await stream(client.aio, tools=[weather])])

    assert (text_of_it, text_of_that) == ("It is fine.", "It is fine.")
    assert guard.calls == 4
    agrees(guard)


# ---- from wherever it is read ----------------------------------------------------------------------------------------


def test_each_step_may_come_from_another_context_and_thread(client, agrees):
    with BudgetGuard(usd_limit=1) as guard:
        chunks = stream(client)
        contextvars.copy_context().run(next, chunks)
        contextvars.Context().run(next, chunks)
        thread = threading.Thread(target=list, args=(chunks,))
        thread.start()
        thread.join()

    agrees(guard)


def test_a_stream_that_outlives_its_guard_is_charged_for_now_and_settled_at_its_end(client, agrees):
    with BudgetGuard(usd_limit=1) as guard:
        chunks = stream(client)
        next(chunks)
    assert guard.estimated
    assert guard.tokens_used > 0

    assert list(chunks)
    agrees(guard)


async def test_an_async_stream_may_end_in_another_task_and_after_its_guard(client, agrees):
    async with BudgetGuard(usd_limit=1) as guard:
        chunks = await stream(client.aio)
        await anext(chunks)

    async def rest() -> int:
        return len([chunk async for chunk in chunks])

    assert await asyncio.create_task(rest()) == 19
    agrees(guard)


# ---- not to the end --------------------------------------------------------------------------------------------------


def test_a_stream_that_is_left_is_charged_for_what_arrived_at_once(client, llm_provider):
    with BudgetGuard(usd_limit=1) as guard:
        for number, _ in enumerate(stream(client)):
            if number == 4:
                break

    is_charged_for_what_arrived(guard, llm_provider, at_least=5)
    assert guard.usage["output_tokens"] == 5  # as the last chunk that arrived says


def test_a_stream_that_is_left_with_its_last_chunk_is_charged_at_its_own_price(client, llm_provider, agrees):
    llm_provider.reply(Reply(service_tier="priority"))
    with BudgetGuard(usd_limit=1) as guard:
        for chunk in stream(client):
            if chunk.candidates[0].finish_reason:
                break

    agrees(guard)


def test_a_stream_that_is_left_earlier_is_charged_at_its_own_price_too(client, llm_provider):
    llm_provider.reply(Reply(service_tier="priority"))
    with BudgetGuard(usd_limit=1) as guard:
        next(stream(client))

    price = actguard.prices.price("google", MODEL, (("service_tier", "priority"),))
    assert guard.estimated
    assert guard.usd_used == pytest.approx(price.cost(actguard.Usage(**guard.usage)) / 1e12)


def test_no_function_is_asked_for_a_price_when_a_stream_is_left(client, llm_provider):
    llm_provider.reply(Reply(service_tier="priority"))
    book = actguard.PriceBook(parent=actguard.prices)
    asked = []

    @book.resolver
    def price(provider: str, model: str, context: Any) -> None:
        asked.append(context)

    with BudgetGuard(usd_limit=1, prices=book) as guard:  # it may be the garbage collector who leaves it
        for chunk in stream(client):
            if chunk.candidates[0].finish_reason:
                break

    assert set(asked) == {()}  # before it was sent
    assert guard.estimated  # at the price for which the call was begun


def test_a_stream_that_is_closed_is_charged_for_what_arrived(client, llm_provider):
    with BudgetGuard(usd_limit=1) as guard:
        chunks = stream(client)
        next(chunks)
        chunks.close()
        chunks.close()
        assert list(chunks) == []

    is_charged_for_what_arrived(guard, llm_provider)


async def test_an_async_stream_that_is_closed_is_charged_for_what_arrived(aclient, llm_provider):
    async with BudgetGuard(usd_limit=1) as guard:
        chunks = await stream(aclient)
        await anext(chunks)
        await chunks.aclose()

    await ended(guard)
    is_charged_for_what_arrived(guard, llm_provider)


async def test_an_async_stream_that_is_left_is_charged_for_what_arrived(aclient, llm_provider):
    async with BudgetGuard(usd_limit=1) as guard:
        async for _ in await stream(aclient):
            break
        gc.collect()

    await ended(guard)
    await asyncio.to_thread(is_charged_for_what_arrived, guard, llm_provider)


async def test_an_async_stream_that_was_never_begun_is_charged_when_it_is_dropped(aclient, llm_provider):
    body: Any = {"contents": [{"parts": [{"text": "Hello!"}], "role": "user"}]}
    path = f"models/{MODEL}:streamGenerateContent?alt=sse"

    async with BudgetGuard(usd_limit=1) as guard:
        chunks = await aclient.models._api_client.async_request_streamed("post", path, body)
        assert guard.account.in_flight == 1
        del chunks
        gc.collect()

    await asyncio.to_thread(is_charged_for_what_arrived, guard, llm_provider, at_least=0)


def test_a_stream_that_was_never_begun_was_never_sent(client, llm_provider, agrees):
    with BudgetGuard(usd_limit=1) as guard:
        stream(client)

    assert llm_provider.requests == []
    assert guard.calls == 0
    agrees(guard)


async def test_a_stream_whose_task_is_cancelled_is_charged_for_what_arrived(aclient, llm_provider):
    llm_provider.reply(Reply(delivery=Delivery(pause_after=3)))

    async with BudgetGuard(usd_limit=1) as guard:
        task = asyncio.create_task(areceived_from(aclient, []))
        await llm_provider.paused.wait_for_async(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    await asyncio.to_thread(is_charged_for_what_arrived, guard, llm_provider, at_least=0)


def test_an_error_of_the_caller_comes_through_and_the_stream_is_charged(client, llm_provider):
    def careless(chunks: Any) -> None:
        for _ in chunks:
            raise KeyError

    with BudgetGuard(usd_limit=1) as guard, pytest.raises(KeyError):
        careless(stream(client))

    is_charged_for_what_arrived(guard, llm_provider)


@pytest.mark.parametrize(
    "fault", [Cut(after=5), Cut(after=5, clean=True), ErrorEvent(after=5)], ids=["reset", "cut", "error event"]
)
def test_a_stream_that_breaks_off_is_charged_for_what_arrived(client, llm_provider, fault):
    llm_provider.reply(Reply(fault=fault))

    with BudgetGuard(usd_limit=1) as guard, as_the_sdk_likes():
        received_from(stream(client), [])

    is_charged_for_what_arrived(guard, llm_provider, at_least=1)


@pytest.mark.parametrize(
    "fault", [Cut(after=5), Cut(after=5, clean=True), ErrorEvent(after=5)], ids=["reset", "cut", "error event"]
)
async def test_an_async_stream_that_breaks_off_is_charged_for_what_arrived(aclient, llm_provider, fault):
    llm_provider.reply(Reply(fault=fault))

    async with BudgetGuard(usd_limit=1) as guard:
        with as_the_sdk_likes():
            await areceived_from(aclient, [])

    await asyncio.to_thread(is_charged_for_what_arrived, guard, llm_provider, at_least=1)


@pytest.mark.parametrize("status", [400, 429, 500])
async def test_a_stream_that_is_answered_with_an_error_is_not_charged(client, llm_provider, agrees, status):
    llm_provider.reply(HttpError(status=status), HttpError(status=status))

    async with BudgetGuard(usd_limit=1) as guard:
        with pytest.raises(errors.APIError) as failed:
            list(stream(client))
        assert failed.value.code == status
        with pytest.raises(errors.APIError):
            await areceived_from(client.aio, [])

    assert guard.calls == 0
    agrees(guard)


def test_a_stream_whose_answer_was_lost_is_charged_by_estimate(client, llm_provider):
    llm_provider.reply(Reset())

    with BudgetGuard(usd_limit=1) as guard, pytest.raises(Exception) as failed:
        list(stream(client))

    assert not isinstance(failed.value, actguard.ActGuardError)
    assert guard.estimated
    assert guard.tokens_used > 0
    assert guard.account.in_flight == 0


def test_a_stream_without_usage_is_charged_by_estimate_and_visible(client, llm_provider):
    llm_provider.reply(Reply(usage="omitted"))

    with BudgetGuard(usd_limit=1) as guard:
        assert list(stream(client))

    assert guard.unmetered_calls == 1
    is_charged_for_what_arrived(guard, llm_provider, at_least=20)


@pytest.mark.parametrize("usage", [{"promptTokenCount": -1}, {"promptTokenCount": "many"}, {"totalTokenCount": True}])
def test_usage_that_cannot_be_never_breaks_a_stream(client, llm_provider, usage):
    llm_provider.reply(Reply(usage=usage))

    with BudgetGuard(token_limit=1000) as guard, as_the_sdk_likes():
        assert list(stream(client))

    is_charged_for_what_arrived(guard, llm_provider)


# ---- limits ----------------------------------------------------------------------------------------------------------


def test_a_stream_that_passes_the_limit_at_its_end_is_given_whole_and_told_then(client, llm_provider, agrees):
    received: list[Any] = []

    with BudgetGuard(token_limit=28) as guard, pytest.raises(BudgetExceededError) as passed:
        received_from(stream(client), received)

    assert len(received) == 20
    assert passed.value.phase == "after"
    assert llm_provider.ledger.calls == 1
    agrees(guard)


async def test_an_async_stream_that_passes_the_limit_at_its_end_is_told_then(aclient, agrees):
    received: list[Any] = []

    async with BudgetGuard(token_limit=28) as guard:
        with pytest.raises(BudgetExceededError) as passed:
            await areceived_from(aclient, received)

    assert len(received) == 20
    assert passed.value.phase == "after"
    agrees(guard)


def test_a_stream_is_cut_as_soon_as_it_is_certain_to_pass_the_limit(client, llm_provider):
    llm_provider.reply(Reply(output_tokens=5000, delivery=Delivery(pause_after=200)))
    received: list[Any] = []

    with BudgetGuard(token_limit=100) as guard, pytest.raises(BudgetExceededError) as cut:
        received_from(stream(client), received)

    assert cut.value.phase == "during"
    assert len(received) == 91  # 9 tokens were read; the 92nd passes the limit
    llm_provider.wait_idle()
    assert guard.tokens_used == 101
    assert llm_provider.ledger.tokens < 250
    assert guard.account.in_flight == 0


async def test_an_async_stream_is_cut_as_soon_as_it_is_certain_to_pass_the_limit(aclient, llm_provider):
    llm_provider.reply(Reply(output_tokens=5000, delivery=Delivery(pause_after=200)))
    received: list[Any] = []

    async with BudgetGuard(token_limit=100) as guard:
        with pytest.raises(BudgetExceededError) as cut:
            await areceived_from(aclient, received)

    assert cut.value.phase == "during"
    assert len(received) == 91
    assert guard.tokens_used == 101


def test_thoughts_that_nobody_sees_cut_a_stream_too(client, llm_provider):
    llm_provider.reply(Reply(output_tokens=20, reasoning_tokens=3000))

    with BudgetGuard(usd_limit=0.001) as guard, pytest.raises(BudgetExceededError) as cut:
        list(stream(client))

    assert cut.value.phase == "during"
    assert guard.usage["output_reasoning_tokens"] == 3000


def test_a_strict_guard_caps_a_stream(client, llm_provider, agrees):
    llm_provider.default = Reply(output_tokens=3000)

    with BudgetGuard(token_limit=1000, strict=True) as guard:
        chunks = list(stream(client))

    assert llm_provider.requests[-1].json["generationConfig"]["maxOutputTokens"] < 1000
    assert chunks[-1].candidates[0].finish_reason.value == "MAX_TOKENS"
    assert 500 < guard.tokens_used <= 1000
    agrees(guard)


def test_a_used_up_budget_refuses_a_stream_before_it_is_sent(client, llm_provider):
    with BudgetGuard(token_limit=1) as guard:
        with pytest.raises(BudgetExceededError):
            client.models.generate_content(model=MODEL, contents="Hello!")
        with pytest.raises(BudgetExceededError) as refused:
            list(stream(client))

    assert refused.value.phase == "before"
    assert llm_provider.ledger.calls == 1
    assert guard.calls == 1


# ---- chunks as they may come -----------------------------------------------------------------------------------------

Chunks = Callable[..., None]


@pytest.fixture
def saying(monkeypatch: pytest.MonkeyPatch) -> Iterator[Chunks]:
    """`saying(chunks, ...)`: what each of the next streams consists of."""
    actguard.uninstall()
    streams: list[Any] = []

    def shaped(chunk: Any) -> Any:
        response = getattr(_api_client, "SdkHttpResponse", None)
        return chunk if response is None else response(headers={}, body=json.dumps(chunk))

    def request_streamed(client: Any, *_: Any, **__: Any) -> Iterator[Any]:
        yield from map(shaped, streams.pop(0))

    async def async_request_streamed(client: Any, *_: Any, **__: Any) -> AsyncIterator[Any]:
        async def chunks() -> AsyncIterator[Any]:
            for chunk in streams.pop(0):
                yield shaped(chunk)

        return chunks()

    monkeypatch.setattr(_api_client.BaseApiClient, "request_streamed", request_streamed)
    monkeypatch.setattr(_api_client.BaseApiClient, "async_request_streamed", async_request_streamed)
    yield lambda *more: streams.extend(more)
    actguard.uninstall()


def chunk(
    text: str = "", *, index: int = 0, finish: str | None = None, grounding: Any = None, **usage: int
) -> dict[str, Any]:
    candidate: dict[str, Any] = {"index": index, "content": {"parts": [{"text": text}], "role": "model"}}
    if finish:
        candidate["finishReason"] = finish
    if grounding:
        candidate["groundingMetadata"] = grounding
    said: dict[str, Any] = {"candidates": [candidate], "modelVersion": MODEL}
    return said | ({"usageMetadata": usage} if usage else {})


LAST_WORDS: Any = {
    "a prompt that shrinks": (
        [
            chunk("a", promptTokenCount=50, candidatesTokenCount=1, totalTokenCount=51),
            chunk("b", finish="STOP", promptTokenCount=40, candidatesTokenCount=2, totalTokenCount=42),
        ],
        {"input_tokens": 40, "output_tokens": 2},
    ),
    "a count that the last chunk leaves out": (
        [
            chunk("a", promptTokenCount=50, candidatesTokenCount=7, totalTokenCount=57),
            chunk("", finish="STOP", promptTokenCount=50, totalTokenCount=57),
        ],
        {"input_tokens": 50, "output_tokens": 7},
    ),
    "cached tokens that only the first chunk tells of": (
        [
            chunk("a", promptTokenCount=50, cachedContentTokenCount=30, candidatesTokenCount=1, totalTokenCount=51),
            chunk("b", promptTokenCount=50, candidatesTokenCount=2, totalTokenCount=52),
            chunk("c", finish="STOP", promptTokenCount=50, candidatesTokenCount=3, totalTokenCount=53),
        ],
        {"input_tokens": 50, "output_tokens": 3, "cache_read_tokens": 30},
    ),
    "searches that an earlier chunk tells of": (
        [
            chunk("a", grounding={"webSearchQueries": ["x"]}, promptTokenCount=5, candidatesTokenCount=1),
            chunk("b", finish="STOP", promptTokenCount=5, candidatesTokenCount=2),
        ],
        {"input_tokens": 5, "output_tokens": 2, "web_searches": 1},
    ),
    "several candidates, which end one after the other": (
        [
            chunk("a", promptTokenCount=5, candidatesTokenCount=1),
            chunk("b", index=1, promptTokenCount=5, candidatesTokenCount=2),
            chunk("c", finish="STOP", promptTokenCount=5, candidatesTokenCount=3),
            chunk("d", index=1, finish="STOP", promptTokenCount=5, candidatesTokenCount=4),
        ],
        {"input_tokens": 5, "output_tokens": 4},
    ),
    "a text that looks like usage": (
        [
            chunk('"thoughtsTokenCount": 900', promptTokenCount=5, candidatesTokenCount=1),
            chunk("b", finish="STOP", promptTokenCount=5, candidatesTokenCount=2),
        ],
        {"input_tokens": 5, "output_tokens": 2},
    ),
}


@pytest.mark.parametrize("limit", [None, 1])
@pytest.mark.parametrize("case", LAST_WORDS)
async def test_of_each_count_the_last_one_said_holds(client, saying, case, limit):
    chunks, usage = LAST_WORDS[case]
    saying(chunks, chunks)

    async with BudgetGuard(usd_limit=limit) as guard:
        assert len(list(stream(client))) == len(chunks)
        assert dict(guard.usage) == usage
    async with BudgetGuard(usd_limit=limit) as another:
        assert len([chunk async for chunk in await stream(client.aio)]) == len(chunks)

    assert dict(another.usage) == usage
    assert not guard.estimated
    assert not another.estimated


# ---- continuation ----------------------------------------------------------------------------------------------------


def stopped(text: str) -> dict[str, Any]:
    """A reply that stopped where the decoder did, with the token to go on from."""
    if "continuation_token" not in types.Candidate.model_fields:
        pytest.skip("this version does not continue by itself")
    said = chunk(text, finish="CONTINUATION", promptTokenCount=10, candidatesTokenCount=10)
    said["candidates"][0]["continuationToken"] = base64.b64encode(text.encode()).decode()
    return said


DONE = chunk("done", finish="STOP", promptTokenCount=20, candidatesTokenCount=5)


async def test_every_hop_of_a_continued_stream_is_charged(client, saying):
    saying([stopped("one ")], [stopped("two ")], [DONE], [stopped("one ")], [DONE])

    async with BudgetGuard(usd_limit=1) as guard:
        assert text_of(stream(client)) == "one two done"
        assert text_of([chunk async for chunk in await stream(client.aio)]) == "one done"

    assert guard.calls == 5
    assert guard.tokens_used == 3 * 20 + 2 * 25


async def test_a_refusal_between_two_hops_of_a_stream_reaches_the_caller_at_once(client, saying):
    saying([stopped("one ")], [stopped("one ")])
    received: list[Any] = []

    async with BudgetGuard(token_limit=20) as guard:
        with pytest.raises(BudgetExceededError) as refused:
            received_from(stream(client), received)
    async with BudgetGuard(token_limit=20) as another:
        with pytest.raises(BudgetExceededError):
            await areceived_from(client.aio, received)

    assert refused.value.phase == "before"
    assert text_of(received) == "one one "
    assert guard.calls == another.calls == 1
