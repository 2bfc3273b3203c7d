"""Streams through the openai SDK: nothing in them is changed, and they are charged however they end."""

import asyncio
import contextlib
import contextvars
import gc
import inspect
import itertools
import re
import subprocess
import sys
import textwrap
import threading
from typing import Any

import anyio
import openai
import pytest

from actguard import BudgetExceededError, BudgetGuard
from actguard.testing import Cut, Delivery, ErrorEvent, HttpError, LocalProvider, NotJSON, Reply, Reset, ToolCall
from actguard.testing.tokens import words

MODEL = "gpt-4o"
MESSAGES: Any = [{"role": "user", "content": "Hello!"}]


@pytest.fixture
def client(llm_provider: LocalProvider) -> openai.OpenAI:
    return llm_provider.openai(max_retries=0)


@pytest.fixture
def aclient(llm_provider: LocalProvider) -> openai.AsyncOpenAI:
    return llm_provider.async_openai(max_retries=0)


def chat(client: Any, **options: Any) -> Any:
    return client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True, **options)


def text_of(chunks: Any) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


def helper(client: Any) -> Any:
    """Where `.stream` is: older releases keep it in beta."""
    chats = client.chat.completions
    return chats if hasattr(chats, "stream") else client.beta.chat.completions


def is_charged_for_what_arrived(guard: BudgetGuard, provider: LocalProvider, *, at_least: int = 1) -> None:
    """By estimate, flagged, never nothing; and nothing is left in flight."""
    provider.wait_idle()
    assert guard.estimated
    assert guard.calls == 1
    assert guard.usage["input_tokens"] >= 1
    assert guard.usage.get("output_tokens", 0) >= at_least
    account = guard.account
    assert (account.held_pico, account.held_tokens, account.in_flight) == (0, 0, 0)


async def freed() -> None:
    """What nobody refers to any more is: the event loop closes what the collector found."""
    gc.collect()
    for _ in range(5):
        await asyncio.sleep(0)


# ---- the stream object -----------------------------------------------------------------------------------------------


def test_a_stream_is_the_sdks_own_and_is_charged_to_the_token(client, llm_provider, agrees):
    with BudgetGuard(usd_limit=1) as guard:
        stream = chat(client)
        assert type(stream) is openai.Stream
        assert stream.response.status_code == 200
        chunks = list(stream)

    assert text_of(chunks) == "".join(words(20))
    assert guard.calls == 1
    agrees(guard)


async def test_an_async_stream_is_the_sdks_own_and_is_charged_to_the_token(aclient, agrees):
    async with BudgetGuard(usd_limit=1) as guard:
        stream = await chat(aclient)
        assert type(stream) is openai.AsyncStream
        chunks = [chunk async for chunk in stream]

    assert text_of(chunks)
    assert guard.calls == 1
    agrees(guard)


def test_a_stream_is_a_context_manager(client, agrees):
    with BudgetGuard(usd_limit=1) as guard:
        with chat(client) as stream:
            assert text_of(stream)

    assert stream.response.is_closed
    agrees(guard)


async def test_an_async_stream_is_a_context_manager(aclient, agrees):
    async with BudgetGuard(usd_limit=1) as guard:
        async with await chat(aclient) as stream:
            assert [chunk async for chunk in stream]

    agrees(guard)


def test_a_stream_is_an_iterator(client, agrees):
    with BudgetGuard(usd_limit=1) as guard:
        stream = chat(client)
        first = next(stream)
        assert first.choices[0].delta.role == "assistant"
        assert text_of(stream)

    agrees(guard)


async def test_an_async_stream_is_an_iterator(aclient, agrees):
    async with BudgetGuard(usd_limit=1) as guard:
        stream = await chat(aclient)
        assert (await anext(stream)).choices
        assert [chunk async for chunk in stream]

    agrees(guard)


def reading_ahead(kind: Any) -> Any:
    """An HTTP client that reads every body before the SDK sees it, as hooks that log, or keep what was said, do."""
    if "Async" in kind.__name__:

        async def aread(response: Any) -> None:
            await response.aread()

        return kind(event_hooks={"response": [aread]})
    return kind(event_hooks={"response": [lambda response: response.read()]})


def test_a_stream_that_a_hook_has_read_in_advance_is_charged_to_the_token(llm_provider, agrees):
    client = llm_provider.openai(http_client=reading_ahead(openai.DefaultHttpxClient))

    with BudgetGuard(usd_limit=1) as guard:
        chunks = list(chat(client))

    assert text_of(chunks) == "".join(words(20))
    assert guard.calls == 1
    agrees(guard)


async def test_an_async_stream_that_a_hook_has_read_in_advance_is_charged_to_the_token(llm_provider, agrees):
    client = llm_provider.async_openai(http_client=reading_ahead(openai.DefaultAsyncHttpxClient))

    async with BudgetGuard(usd_limit=1) as guard:
        chunks = [chunk async for chunk in await chat(client)]

    assert text_of(chunks) == "".join(words(20))
    assert guard.calls == 1
    agrees(guard)


def test_a_stream_that_was_read_in_advance_and_passes_a_limit_is_given_whole_and_told_then(llm_provider):
    llm_provider.reply(Reply(output_tokens=300))
    client = llm_provider.openai(http_client=reading_ahead(openai.DefaultHttpxClient))
    chunks: list[Any] = []

    with pytest.raises(BudgetExceededError) as refused, BudgetGuard(token_limit=100):
        for chunk in chat(client):
            chunks.append(chunk)

    assert refused.value.phase == "after"
    assert text_of(chunks) == "".join(words(300))


def test_a_stream_iterated_twice_ends_the_second_time_at_once(client, agrees):
    with BudgetGuard(usd_limit=1) as guard:
        stream = chat(client)
        assert list(stream)
        assert list(stream) == []

    agrees(guard)


def test_a_stream_can_be_teed(client, agrees):
    with BudgetGuard(usd_limit=1) as guard:
        one, other = itertools.tee(chat(client))
        assert text_of(one) == text_of(other) != ""

    agrees(guard)


def test_a_stream_can_be_read_in_another_thread(client, agrees):
    with BudgetGuard(usd_limit=1) as guard:
        stream = chat(client)
        read: list[Any] = []
        thread = threading.Thread(target=lambda: read.extend(stream))
        thread.start()
        thread.join()

    assert text_of(read)
    agrees(guard)


async def test_a_stream_can_be_read_in_another_task_and_context(aclient, agrees):
    async with BudgetGuard(usd_limit=1) as guard:
        stream = await chat(aclient)

    async def read() -> list[Any]:
        return [chunk async for chunk in stream]

    assert text_of(await asyncio.create_task(read(), context=contextvars.Context()))
    agrees(guard)


def test_a_stream_that_is_read_after_its_guard_is_counted_in_it(client, agrees):
    with BudgetGuard(usd_limit=1) as guard:
        stream = chat(client)
    assert guard.estimated  # until it ends
    list(stream)

    assert guard.calls == 1
    agrees(guard)


# ---- raw responses ---------------------------------------------------------------------------------------------------


def test_a_raw_stream_is_parsed_into_the_same_stream(client, agrees):
    with BudgetGuard(usd_limit=1) as guard:
        raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=MESSAGES, stream=True)
        assert raw.headers["x-request-id"]
        stream = raw.parse()
        assert isinstance(stream, openai.Stream)
        assert text_of(stream)

    agrees(guard)


async def test_an_async_raw_stream_is_parsed_into_the_same_stream(aclient, agrees):
    async with BudgetGuard(usd_limit=1) as guard:
        raw = await aclient.chat.completions.with_raw_response.create(model=MODEL, messages=MESSAGES, stream=True)
        stream = raw.parse()
        assert isinstance(stream, openai.AsyncStream)
        assert [chunk async for chunk in stream]

    agrees(guard)


READINGS = {
    "iter_lines": lambda response: "\n".join(response.iter_lines()),
    "iter_bytes": lambda response: b"".join(response.iter_bytes()).decode(),
    "iter_text": lambda response: "".join(response.iter_text()),
    "read": lambda response: response.read().decode(),
}


@pytest.mark.parametrize("how", READINGS)
def test_a_streamed_response_shows_every_line_but_the_one_nobody_asked_for(client, agrees, how):
    with BudgetGuard(usd_limit=1) as guard:
        with client.chat.completions.with_streaming_response.create(
            model=MODEL, messages=MESSAGES, stream=True
        ) as response:
            seen = READINGS[how](response)

    assert seen.count("data: {") == 22
    assert '"choices":[]' not in seen.replace(" ", "")
    assert seen.rstrip().endswith("data: [DONE]")
    agrees(guard)


def test_a_streamed_response_can_be_parsed_into_a_stream(client, agrees):
    with BudgetGuard(usd_limit=1) as guard:
        with client.chat.completions.with_streaming_response.create(
            model=MODEL, messages=MESSAGES, stream=True
        ) as response:
            assert text_of(response.parse())

    agrees(guard)


async def test_an_async_streamed_response_is_charged_line_by_line(aclient, agrees):
    async with BudgetGuard(usd_limit=1) as guard:
        async with aclient.chat.completions.with_streaming_response.create(
            model=MODEL, messages=MESSAGES, stream=True
        ) as response:
            lines = [line async for line in response.iter_lines()]

    assert sum(line.startswith("data: {") for line in lines) == 22
    agrees(guard)


# ---- helpers ---------------------------------------------------------------------------------------------------------


def test_the_chat_helper_yields_its_events_and_its_final_completion(client, agrees):
    with BudgetGuard(usd_limit=1) as guard:
        with helper(client).stream(model=MODEL, messages=MESSAGES) as stream:
            kinds = {event.type for event in stream}
            final = stream.get_final_completion()

    assert {"chunk", "content.delta", "content.done"} <= kinds
    assert final.choices[0].message.content
    agrees(guard)


def test_the_chat_helper_left_early_is_charged_for_what_arrived(client, llm_provider):
    llm_provider.reply(Reply(delivery=Delivery(pause_after=3)))
    with BudgetGuard(usd_limit=1) as guard:
        with helper(client).stream(model=MODEL, messages=MESSAGES) as stream:
            for event in stream:
                if event.type == "content.delta" and event.delta:
                    break

    is_charged_for_what_arrived(guard, llm_provider)


async def test_the_async_chat_helper_is_charged(aclient, agrees):
    async with BudgetGuard(usd_limit=1) as guard:
        async with helper(aclient).stream(model=MODEL, messages=MESSAGES) as stream:
            final = await stream.get_final_completion()

    assert final.choices[0].message.content
    agrees(guard)


def test_the_responses_helper_yields_its_final_response(client, agrees):
    with BudgetGuard(usd_limit=1) as guard:
        with client.responses.stream(model=MODEL, input="Hi") as stream:
            stream.until_done()
            final = stream.get_final_response()

    assert final.output_text
    agrees(guard)


async def test_the_async_responses_helper_is_charged(aclient, agrees):
    async with BudgetGuard(usd_limit=1) as guard:
        async with aclient.responses.stream(model=MODEL, input="Hi") as stream:
            assert [event async for event in stream]

    agrees(guard)


# ---- the usage chunk -------------------------------------------------------------------------------------------------


def test_the_usage_chunk_that_we_asked_for_is_hidden(client, llm_provider, agrees):
    with BudgetGuard(usd_limit=1) as guard:
        chunks = list(chat(client))

    assert llm_provider.requests[-1].json["stream_options"] == {"include_usage": True}
    assert all(chunk.choices for chunk in chunks)
    assert all(chunk.usage is None for chunk in chunks)
    agrees(guard)


def test_the_usage_chunk_that_the_caller_asked_for_is_his(client, agrees):
    with BudgetGuard(usd_limit=1) as guard:
        chunks = list(chat(client, stream_options={"include_usage": True}))

    assert chunks[-1].choices == []
    assert chunks[-1].usage.total_tokens == guard.tokens_used
    agrees(guard)


def test_a_caller_who_wants_no_usage_gets_none_and_is_charged_by_estimate(client, llm_provider):
    with BudgetGuard(usd_limit=1) as guard:
        chunks = list(chat(client, stream_options={"include_usage": False}))

    assert llm_provider.requests[-1].json["stream_options"] == {"include_usage": False}
    assert len(chunks) == 22
    is_charged_for_what_arrived(guard, llm_provider, at_least=20)


def test_other_stream_options_of_the_caller_are_kept(client, llm_provider, agrees):
    with BudgetGuard(usd_limit=1) as guard:
        list(chat(client, stream_options={"include_obfuscation": False}))

    assert llm_provider.requests[-1].json["stream_options"] == {"include_obfuscation": False, "include_usage": True}
    agrees(guard)


def test_a_policy_decides_whether_to_ask_for_usage(client, llm_provider):
    with BudgetGuard(usd_limit=1, include_usage="never") as guard:
        assert len(list(chat(client))) == 22

    assert "stream_options" not in llm_provider.requests[-1].json
    is_charged_for_what_arrived(guard, llm_provider, at_least=20)


UNTOLD: Any = {"by policy": ({"include_usage": "never"}, {}), "by wish": ({}, {"include_usage": False})}


@pytest.mark.parametrize("why", UNTOLD)
def test_a_stream_without_usage_that_passes_a_limit_by_estimate_is_told_of_at_its_end(client, llm_provider, why):
    policy, options = UNTOLD[why]
    options = {"stream_options": options} if options else {}
    long: Any = [{"role": "user", "content": "Hello! " * 1000}]
    llm_provider.reply(Reply(output_tokens=3))
    chunks: list[Any] = []

    with BudgetGuard(token_limit=100, **policy) as guard, pytest.raises(BudgetExceededError) as raised:
        for chunk in client.chat.completions.create(model=MODEL, messages=long, stream=True, **options):
            chunks.append(chunk)

    assert raised.value.phase == "after"
    assert len(chunks) == 5
    assert guard.estimated


@pytest.mark.parametrize("where", ["with_choices", "every_chunk"])
def test_usage_in_a_chunk_with_choices_is_never_hidden(client, llm_provider, agrees, where):
    llm_provider.reply(Reply(delivery=Delivery(usage_chunk=where)))

    with BudgetGuard(usd_limit=1) as guard:
        chunks = list(chat(client))

    assert len(chunks) == 22
    assert chunks[-1].usage is not None
    agrees(guard)


def test_azures_chunks_without_choices_are_not_taken_for_usage(llm_provider):
    client = llm_provider.azure()

    with BudgetGuard(usd_limit=1) as guard:
        chunks = list(chat(client))

    assert chunks[0].choices == []  # what the content filter found in the prompt
    assert len(chunks) == 23
    assert guard.tokens_used == llm_provider.ledger.tokens
    assert not guard.estimated


def test_azures_content_filter_chunk_after_the_usage_reaches_the_caller(client, raw_stream, llm_provider):
    chunk = '{"id":"chatcmpl-1234567890","object":"chat.completion.chunk","created":1,"model":"gpt-4o",%s}'
    raw_stream(
        chunk % '"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":"stop"}],"usage":null',
        chunk % '"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":1,"total_tokens":10}',
        chunk % '"choices":[],"usage":null',
    )

    with BudgetGuard(usd_limit=1) as guard:
        chunks = list(chat(client))

    assert [len(chunk.choices) for chunk in chunks] == [1, 0]
    assert guard.tokens_used == 10
    assert not guard.estimated


def test_usage_reported_in_several_chunks_is_set_not_added(client, raw_stream):
    chunk = '{"id":"chatcmpl-1234567890","object":"chat.completion.chunk","created":1,"model":"gpt-4o",%s}'
    usage = '"usage":{"prompt_tokens":9,"completion_tokens":%d,"total_tokens":%d}'
    raw_stream(
        chunk % ('"choices":[{"index":0,"delta":{"content":"Hi"}}],' + usage % (1, 10)),
        chunk % ('"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],' + usage % (2, 11)),
        chunk % ('"choices":[],' + usage % (3, 12)),
    )

    with BudgetGuard(usd_limit=1) as guard:
        assert len(list(chat(client))) == 2

    assert guard.tokens_used == 12


def test_an_empty_stream_is_charged_its_input(client, raw_stream, llm_provider):
    raw_stream()

    with BudgetGuard(usd_limit=1) as guard:
        assert list(chat(client)) == []

    is_charged_for_what_arrived(guard, llm_provider, at_least=0)


@pytest.fixture
def raw_stream(llm_provider: LocalProvider) -> Any:
    """`raw_stream(*events)`: the next stream consists of exactly these events."""

    def script(*events: str, done: bool = True) -> None:
        lines = [*events, *(["[DONE]"] if done else [])]
        llm_provider.reply(Reply(fault=NotJSON("".join(f"data: {line}\n\n" for line in lines).encode())))

    return script


# ---- other APIs ------------------------------------------------------------------------------------------------------


def test_a_responses_stream_is_charged_at_its_final_event(client, llm_provider, agrees):
    llm_provider.reply(Reply(reasoning_tokens=40, web_searches=1))
    with BudgetGuard(usd_limit=1) as guard:
        events = list(client.responses.create(model="gpt-5", input="Hi", stream=True))

    assert events[-1].type == "response.completed"
    agrees(guard)


def test_a_responses_stream_that_ends_incomplete_or_failed_is_charged(client, llm_provider, agrees):
    llm_provider.reply(Reply(output_tokens=400), Reply(failed="failed"))
    with BudgetGuard(usd_limit=1) as guard:
        cut = list(client.responses.create(model=MODEL, input="Hi", stream=True, max_output_tokens=30))
        failed = list(client.responses.create(model=MODEL, input="Hi", stream=True))

    assert (cut[-1].type, failed[-1].type) == ("response.incomplete", "response.failed")
    agrees(guard)


def test_legacy_completions_stream(client, agrees):
    with BudgetGuard(usd_limit=1) as guard:
        chunks = list(client.completions.create(model="gpt-3.5-turbo-instruct", prompt="Hi", max_tokens=9, stream=True))

    assert len(chunks) == 10
    assert all(chunk.choices for chunk in chunks)
    agrees(guard)


def test_a_transcription_stream_is_charged_at_its_final_event(client, agrees):
    with BudgetGuard(usd_limit=1) as guard:
        events = list(
            client.audio.transcriptions.create(model="gpt-4o-transcribe", file=("a.wav", b"." * 99), stream=True)
        )

    assert events[-1].type == "transcript.text.done"
    agrees(guard)


def test_an_image_stream_is_charged_at_its_final_event(client, agrees):
    if "stream" not in inspect.signature(client.images.generate).parameters:
        pytest.skip("this release does not stream images")
    with BudgetGuard(usd_limit=1) as guard:
        events = list(client.images.generate(model="gpt-image-1", prompt="A hat", stream=True, partial_images=1))

    assert events[-1].type == "image_generation.completed"
    agrees(guard)


def test_streamed_tool_arguments_and_several_choices_are_charged(client, llm_provider, agrees):
    llm_provider.reply(Reply(tool_calls=[ToolCall("f", {"city": "Paris"}), ToolCall("g", {"n": 1})]))
    with BudgetGuard(usd_limit=1) as guard:
        list(chat(client))
        list(chat(client, n=3))

    agrees(guard)


# ---- left early ------------------------------------------------------------------------------------------------------


@pytest.fixture
def paused(llm_provider: LocalProvider) -> LocalProvider:
    """The next stream stops after five tokens, until its reader leaves."""
    llm_provider.reply(Reply(delivery=Delivery(pause_after=5)))
    return llm_provider


def test_a_stream_left_by_break_is_charged_for_what_arrived(client, paused):
    with BudgetGuard(usd_limit=1) as guard:
        for chunk in chat(client):
            if chunk.choices[0].delta.content:
                break
        gc.collect()  # an SDK's stream is freed no sooner, with or without us

        is_charged_for_what_arrived(guard, paused)


def test_a_stream_that_is_closed_is_charged_for_what_arrived(client, paused):
    with BudgetGuard(usd_limit=1) as guard:
        stream = chat(client)
        received = text_of(itertools.islice(stream, 6))
        stream.close()
        stream.close()

        assert received == "".join(words(20)[:5])
        is_charged_for_what_arrived(guard, paused, at_least=5)
        assert guard.usage["output_tokens"] <= 10


def test_a_stream_left_through_its_context_manager_is_charged_for_what_arrived(client, paused):
    with BudgetGuard(usd_limit=1) as guard:
        with chat(client) as stream:
            next(stream)

        is_charged_for_what_arrived(guard, paused, at_least=0)


def test_a_stream_that_is_closed_before_it_is_read_is_charged_its_input(client, paused):
    with BudgetGuard(usd_limit=1) as guard:
        chat(client).close()

        is_charged_for_what_arrived(guard, paused, at_least=0)


def test_a_stream_that_is_dropped_unread_is_charged_when_it_is_freed(client, paused):
    with BudgetGuard(usd_limit=1) as guard:
        stream = chat(client)
        assert guard.tokens_used == 0
        del stream
        gc.collect()
        paused.release()  # its connection is closed by nobody

        is_charged_for_what_arrived(guard, paused, at_least=0)


def test_a_stream_that_is_kept_unread_is_charged_when_its_guard_ends(client, paused):
    with BudgetGuard(usd_limit=1) as guard:
        stream = chat(client)
    assert guard.tokens_used > 0
    assert guard.estimated
    stream.close()

    is_charged_for_what_arrived(guard, paused, at_least=0)


async def test_an_async_stream_left_by_break_is_charged_for_what_arrived(aclient, paused):
    async with BudgetGuard(usd_limit=1) as guard:
        async for chunk in await chat(aclient):
            if chunk.choices[0].delta.content:
                break
        await freed()

    guard.account.admission.settle_pending()
    assert guard.estimated
    assert guard.calls == 1


async def test_an_async_stream_that_is_closed_is_charged_for_what_arrived(aclient, paused):
    async with BudgetGuard(usd_limit=1) as guard:
        stream = await chat(aclient)
        for _ in range(6):
            await anext(stream)
        await stream.close()
        await stream.close()

        is_charged_for_what_arrived(guard, paused, at_least=5)


async def test_an_async_generator_around_a_stream_may_be_closed_in_another_context(aclient, paused):
    async def answer() -> Any:
        async with BudgetGuard(usd_limit=1) as guard:
            guards.append(guard)
            async for chunk in await chat(aclient):
                yield chunk

    guards: list[BudgetGuard] = []
    chunks = answer()
    await anext(chunks)
    await asyncio.create_task(chunks.aclose(), context=contextvars.Context())

    assert guards[0].estimated
    assert guards[0].calls == 1


async def test_a_cancelled_task_pays_for_what_its_stream_received(aclient, paused):
    started = asyncio.Event()
    guard = BudgetGuard(usd_limit=1)

    async def read() -> None:
        async with guard:
            async with await chat(aclient) as stream:
                async for chunk in stream:
                    if chunk.choices[0].delta.content:
                        started.set()

    task = asyncio.create_task(read())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    is_charged_for_what_arrived(guard, paused)


async def test_a_stream_under_asyncio_timeout_is_charged_for_what_it_received(aclient, paused):
    async with BudgetGuard(usd_limit=1) as guard:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(None) as limit:
                async with await chat(aclient) as stream:
                    async for chunk in stream:
                        if chunk.choices[0].delta.content:
                            limit.reschedule(0)

        is_charged_for_what_arrived(guard, paused)


async def test_a_stream_in_a_cancelled_anyio_scope_is_charged_for_what_it_received(aclient, paused):
    async with BudgetGuard(usd_limit=1) as guard:
        with anyio.CancelScope() as scope:
            async with await chat(aclient) as stream:
                async for chunk in stream:
                    if chunk.choices[0].delta.content:
                        scope.cancel()

        assert scope.cancelled_caught
        is_charged_for_what_arrived(guard, paused)


async def test_a_call_cancelled_before_its_answer_leaves_nothing_held(aclient, llm_provider):
    async with BudgetGuard(usd_limit=1) as guard:
        with llm_provider.hold() as gate:
            task = asyncio.create_task(chat(aclient))
            await gate.wait_for_async(1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        assert guard.account.in_flight == 0
        assert guard.account.held_pico == 0


def test_a_stream_closed_by_one_thread_while_another_reads_is_charged_once(client, paused):
    with BudgetGuard(usd_limit=1) as guard:
        stream = chat(client)
        reading = threading.Event()

        def read() -> None:
            with contextlib.suppress(Exception):  # what the HTTP library says when its connection is closed under it
                for chunk in stream:
                    if chunk.choices[0].delta.content:
                        reading.set()

        thread = threading.Thread(target=read)
        thread.start()
        assert reading.wait(5)
        stream.close()
        paused.release()
        thread.join(5)

        assert not thread.is_alive()
        is_charged_for_what_arrived(guard, paused)


def test_an_error_in_the_callers_loop_is_the_one_he_sees(client, paused):
    with BudgetGuard(usd_limit=1) as guard:
        with pytest.raises(ZeroDivisionError):
            with chat(client) as stream:
                for chunk in stream:
                    if chunk.choices[0].delta.content:
                        raise ZeroDivisionError

        is_charged_for_what_arrived(guard, paused)


def test_a_program_may_end_with_an_open_stream(llm_provider):
    program = f"""
        import sys, openai, actguard
        client = openai.OpenAI(base_url={llm_provider.openai_kwargs()["base_url"]!r}, api_key="x")
        if "guarded" in sys.argv:
            guard = actguard.BudgetGuard(usd_limit=1)
            guard.__enter__()
        messages = [{{"role": "user", "content": "Hi"}}]
        stream = client.chat.completions.create(model="gpt-4o", messages=messages, stream=True)
        next(stream)
        print("end")
    """

    def ended(*arguments):
        llm_provider.reply(Reply(delivery=Delivery(pause_after=2)))
        command = [sys.executable, "-c", textwrap.dedent(program), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stdout.strip(), done.stderr.splitlines()[-1:]

    guarded = ended("guarded")

    assert guarded[1] == "end"
    assert guarded == ended()  # Python 3.13.0 crashes there, and httpx2 fails to close on 3.14, guard or no guard


# ---- broken off ------------------------------------------------------------------------------------------------------


def test_an_error_event_in_a_stream_is_raised_by_the_sdk_and_charged_for(client, llm_provider):
    llm_provider.reply(ErrorEvent(after=4))

    with BudgetGuard(usd_limit=1) as guard:
        with pytest.raises(openai.APIError, match="scripted error"):
            list(chat(client))

        is_charged_for_what_arrived(guard, llm_provider, at_least=4)


async def test_an_error_event_in_an_async_stream_is_charged_for(aclient, llm_provider):
    llm_provider.reply(ErrorEvent(after=4))

    async with BudgetGuard(usd_limit=1) as guard:
        with pytest.raises(openai.APIError, match="scripted error"):
            stream = await chat(aclient)
            [chunk async for chunk in stream]
        await stream.close()  # older versions leave an asynchronous stream open that ended in an error

    is_charged_for_what_arrived(guard, llm_provider, at_least=4)


def without_guard(read: Any) -> type[BaseException]:
    with pytest.raises(Exception) as raised:
        read()
    return raised.type


def test_a_connection_reset_in_a_stream_looks_as_ever_and_is_charged_for(client, llm_provider):
    llm_provider.reply(Cut(after=4), Cut(after=4))
    expected = without_guard(lambda: list(chat(client)))

    with BudgetGuard(usd_limit=1) as guard:
        with pytest.raises(expected):
            list(chat(client))

        is_charged_for_what_arrived(guard, llm_provider, at_least=4)


def test_a_stream_that_stops_short_is_charged_for_what_arrived(client, llm_provider):
    llm_provider.reply(Cut(after=4, clean=True))

    with BudgetGuard(usd_limit=1) as guard:
        assert len(list(chat(client))) >= 4

        is_charged_for_what_arrived(guard, llm_provider, at_least=4)


def test_a_connection_reset_before_any_answer_costs_nothing(client, llm_provider):
    llm_provider.reply(Reset())

    with BudgetGuard(usd_limit=1, lost_attempts="ignore") as guard:
        with pytest.raises(openai.APIConnectionError):
            chat(client)

    assert (guard.calls, guard.usd_used) == (0, 0)


def test_a_refused_stream_costs_nothing(client, llm_provider):
    llm_provider.reply(HttpError(status=400))

    with BudgetGuard(usd_limit=1) as guard:
        with pytest.raises(openai.BadRequestError):
            chat(client)

    assert (guard.calls, guard.usd_used) == (0, 0)


# ---- framing ---------------------------------------------------------------------------------------------------------

FRAMINGS = {
    "one byte at a time": Delivery(chunk_bytes=1),
    "seven bytes at a time": Delivery(chunk_bytes=7),
    "lines that end in CRLF": Delivery(crlf=True),
    "CRLF, byte by byte": Delivery(crlf=True, chunk_bytes=1),
    "no space after the colon": Delivery(space=False),
    "comments in between": Delivery(ping_every=1),
    "gzip": Delivery(gzip=True),
    "gzip in pieces": Delivery(gzip=True, chunk_bytes=5),
    "everything at once": Delivery(events_per_chunk=1000),
    "no [DONE]": Delivery(done=False),
    "three tokens an event": Delivery(tokens_per_event=3),
}


@pytest.mark.parametrize("framing", FRAMINGS)
def test_a_stream_is_charged_however_it_is_framed(client, llm_provider, agrees, framing):
    llm_provider.default = Reply(
        "Nel mezzo del cammin di nostra vita, cio\u2028e perch\u00e9 \U0001f600 \u2029!", delivery=FRAMINGS[framing]
    )
    expected = text_of(chat(client))
    llm_provider.wait_idle()
    llm_provider.ledger.reset()

    with BudgetGuard(usd_limit=1) as guard:
        chunks = list(chat(client))

    assert text_of(chunks) == expected
    assert "\u2028" in expected
    agrees(guard)


@pytest.mark.parametrize("framing", FRAMINGS)
async def test_an_async_stream_is_charged_however_it_is_framed(aclient, llm_provider, agrees, framing):
    llm_provider.default = Reply(delivery=FRAMINGS[framing])

    async with BudgetGuard(usd_limit=1) as guard:
        chunks = [chunk async for chunk in await chat(aclient)]

    assert all(chunk.choices for chunk in chunks)
    agrees(guard)


@pytest.mark.parametrize("framing", FRAMINGS)
def test_every_byte_but_the_hidden_event_reaches_the_caller(client, llm_provider, framing):
    llm_provider.default = Reply(delivery=FRAMINGS[framing])
    create = client.chat.completions.with_streaming_response.create
    asked = {"stream_options": {"include_usage": True}}

    with BudgetGuard(usd_limit=1):
        with create(model=MODEL, messages=MESSAGES, stream=True, **asked) as response:
            whole = anonymous(response.read())
        with create(model=MODEL, messages=MESSAGES, stream=True) as response:
            seen = anonymous(response.read())

    end = b"\r\n\r\n" if FRAMINGS[framing].crlf else b"\n\n"
    events = whole.split(end)
    hidden = [event for event in events if b'"choices":[]' in event.replace(b" ", b"")]
    assert len(hidden) == 1
    assert seen == end.join(event for event in events if event not in hidden)


def anonymous(body: bytes) -> bytes:
    return re.sub(rb'"id": ?"[^"]*"|"created": ?\d+', b"", body)


# ---- the limit -------------------------------------------------------------------------------------------------------


def test_a_stream_that_passes_a_limit_raises_at_its_end_with_all_content_delivered(client, llm_provider):
    llm_provider.reply(Reply(output_tokens=20, delivery=Delivery(events_per_chunk=100)))

    with BudgetGuard(token_limit=15) as guard:
        received = []
        with pytest.raises(BudgetExceededError) as raised:
            for chunk in chat(client):
                received.append(chunk)

    assert raised.value.phase in ("after", "during")
    assert guard.tokens_used > 15


def test_a_stream_whose_input_alone_passes_raises_when_everything_was_delivered(client, llm_provider, agrees):
    llm_provider.reply(Reply(input_tokens=500, output_tokens=6))

    with BudgetGuard(token_limit=100) as guard:
        received = []
        with pytest.raises(BudgetExceededError) as raised:
            for chunk in chat(client):
                received.append(chunk)

    assert raised.value.phase == "after"
    assert text_of(received) == "".join(words(6))
    assert received[-1].choices[0].finish_reason == "stop"
    agrees(guard)


async def test_an_async_stream_raises_when_everything_was_delivered(aclient, llm_provider, agrees):
    llm_provider.reply(Reply(input_tokens=500, output_tokens=6))

    async with BudgetGuard(token_limit=100) as guard:
        received = []
        with pytest.raises(BudgetExceededError) as raised:
            async for chunk in await chat(aclient):
                received.append(chunk)

    assert raised.value.phase == "after"
    assert text_of(received) == "".join(words(6))
    agrees(guard)


def test_a_responses_stream_that_passes_raises_when_everything_was_delivered(client, llm_provider, agrees):
    llm_provider.reply(Reply(input_tokens=500, output_tokens=6))

    with BudgetGuard(token_limit=100) as guard:
        received = []
        with pytest.raises(BudgetExceededError):
            for event in client.responses.create(model=MODEL, input="Hi", stream=True):
                received.append(event)

    assert received[-1].type == "response.completed"
    agrees(guard)


def test_a_stream_that_certainly_passes_the_limit_is_cut(client, llm_provider):
    llm_provider.reply(Reply(output_tokens=5000))

    with BudgetGuard(token_limit=200) as guard:
        received = []
        with pytest.raises(BudgetExceededError) as raised:
            for chunk in chat(client):
                received.append(chunk)

    assert raised.value.phase == "during"
    assert 150 < len(received) < 400
    llm_provider.wait_idle()
    assert llm_provider.ledger.aborted == 1
    assert guard.estimated
    assert guard.exceeded


async def test_an_async_stream_that_certainly_passes_the_limit_is_cut(aclient, llm_provider):
    llm_provider.reply(Reply(output_tokens=5000))

    async with BudgetGuard(token_limit=200):
        received = []
        with pytest.raises(BudgetExceededError) as raised:
            async for chunk in await chat(aclient):
                received.append(chunk)

    assert raised.value.phase == "during"
    assert 150 < len(received) < 400


def test_a_stream_under_a_dollar_limit_is_cut_when_that_is_certain(client, llm_provider):
    llm_provider.reply(Reply(output_tokens=5000, delivery=Delivery(pause_after=300)))

    with BudgetGuard(usd_limit=0.002) as guard:  # two hundred tokens of output
        with pytest.raises(BudgetExceededError) as raised:
            list(chat(client))

    assert raised.value.phase == "during"
    assert raised.value.limit_type == "usd"
    llm_provider.wait_idle()
    assert float(llm_provider.ledger.total_usd) < 2 * 0.002
    assert guard.exceeded


def test_after_a_stream_that_passed_the_next_call_is_refused_before_it_is_sent(client, llm_provider):
    llm_provider.reply(Reply(input_tokens=500))

    with BudgetGuard(token_limit=100):
        with pytest.raises(BudgetExceededError):
            list(chat(client))
        asked = len(llm_provider.requests)
        with pytest.raises(BudgetExceededError) as raised:
            chat(client)

    assert raised.value.phase == "before"
    assert len(llm_provider.requests) == asked
