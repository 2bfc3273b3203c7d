"""Streams through the anthropic SDK: nothing in them is changed, and they are charged however they end."""

import asyncio
import gc
from typing import Any

import anthropic
import pytest

from actguard import BudgetExceededError, BudgetGuard
from actguard.testing import Cut, Delivery, ErrorEvent, Iteration, LocalProvider, Reply, ToolCall
from actguard.testing.tokens import words

MODEL = "claude-sonnet-5"
ASK: Any = {"model": MODEL, "max_tokens": 6000, "messages": [{"role": "user", "content": "Hello!"}]}


@pytest.fixture
def client(llm_provider: LocalProvider) -> anthropic.Anthropic:
    return llm_provider.anthropic(max_retries=0)


@pytest.fixture
def aclient(llm_provider: LocalProvider) -> anthropic.AsyncAnthropic:
    return llm_provider.async_anthropic(max_retries=0)


@pytest.fixture
def paused(llm_provider: LocalProvider) -> LocalProvider:
    """The next stream stops after five tokens, until its reader leaves."""
    llm_provider.reply(Reply(delivery=Delivery(pause_after=5)))
    return llm_provider


def text_of(events: Any) -> str:
    return "".join(
        event.delta.text for event in events if event.type == "content_block_delta" and event.delta.type == "text_delta"
    )


def is_charged_for_what_arrived(guard: BudgetGuard, provider: LocalProvider, *, at_least: int = 1) -> None:
    """By estimate, flagged, never nothing; and nothing is left in flight."""
    provider.wait_idle()
    guard.account.admission.settle_pending()
    assert guard.estimated
    assert guard.calls == 1
    assert guard.usage["input_tokens"] == provider.ledger.input_tokens  # the stream begins by telling it
    assert guard.usage.get("output_tokens", 0) >= at_least
    account = guard.account
    assert (account.held_pico, account.held_tokens, account.in_flight) == (0, 0, 0)


# ---- the stream object -----------------------------------------------------------------------------------------------


def test_a_stream_is_the_sdks_own_and_is_charged_to_the_token(client, agrees):
    with BudgetGuard(usd_limit=1) as guard:
        stream = client.messages.create(**ASK, stream=True)
        assert type(stream) is anthropic.Stream
        assert stream.response.status_code == 200
        events = list(stream)

    assert text_of(events) == "".join(words(20))
    assert events[-1].type == "message_stop"
    assert guard.calls == 1
    agrees(guard)


async def test_an_async_stream_is_the_sdks_own_and_is_charged_to_the_token(aclient, agrees):
    async with BudgetGuard(usd_limit=1) as guard:
        stream = await aclient.messages.create(**ASK, stream=True)
        assert type(stream) is anthropic.AsyncStream
        events = [event async for event in stream]

    assert text_of(events) == "".join(words(20))
    agrees(guard)


def test_a_stream_that_a_hook_has_read_in_advance_is_charged_to_the_token(llm_provider, agrees):
    http = anthropic.DefaultHttpxClient(event_hooks={"response": [lambda response: response.read()]})
    client = llm_provider.anthropic(http_client=http)

    with BudgetGuard(usd_limit=1) as guard:
        assert text_of(client.messages.create(**ASK, stream=True)) == "".join(words(20))

    assert guard.calls == 1
    agrees(guard)


def test_a_stream_is_a_context_manager_and_an_iterator(client, agrees):
    with BudgetGuard(usd_limit=1) as guard:
        with client.messages.create(**ASK, stream=True) as stream:
            assert next(stream).type == "message_start"
            assert list(stream)

    agrees(guard)


async def test_an_async_stream_is_a_context_manager_and_an_iterator(aclient, agrees):
    async with BudgetGuard(usd_limit=1) as guard:
        async with await aclient.messages.create(**ASK, stream=True) as stream:
            assert (await anext(stream)).type == "message_start"
            assert [event async for event in stream]

    agrees(guard)


def test_a_raw_stream_is_parsed_into_the_same_stream(client, agrees):
    with BudgetGuard(usd_limit=1) as guard:
        raw = client.messages.with_raw_response.create(**ASK, stream=True)
        stream = raw.parse()
        assert isinstance(stream, anthropic.Stream)
        assert list(stream)

    agrees(guard)


@pytest.mark.parametrize("how", ["iter_lines", "iter_bytes", "read", "parse"])
def test_a_streamed_response_is_charged_however_it_is_read(client, agrees, how):
    with BudgetGuard(usd_limit=1) as guard:
        with client.messages.with_streaming_response.create(**ASK, stream=True) as response:
            assert list(getattr(response, how)())

    agrees(guard)


async def test_an_async_streamed_response_is_charged_line_by_line(aclient, agrees):
    async with BudgetGuard(usd_limit=1) as guard:
        async with aclient.messages.with_streaming_response.create(**ASK, stream=True) as response:
            lines = [line async for line in response.iter_lines()]

    assert any("message_stop" in line for line in lines)
    agrees(guard)


# ---- the helper ------------------------------------------------------------------------------------------------------

WAYS = {
    "text_stream": lambda stream: "".join(stream.text_stream),
    "get_final_text": lambda stream: stream.get_final_text(),
    "get_final_message": lambda stream: stream.get_final_message().content[0].text,
    "until_done": lambda stream: (stream.until_done(), stream.current_message_snapshot.content[0].text)[1],
    "events": lambda stream: [event for event in stream if event.type == "text"][-1].snapshot,
}


@pytest.mark.parametrize("where", ["messages", "beta"])
@pytest.mark.parametrize("way", WAYS)
def test_the_helper_gives_the_text_in_all_its_ways(client, agrees, way, where):
    messages = client.messages if where == "messages" else client.beta.messages

    with BudgetGuard(usd_limit=1) as guard:
        with messages.stream(**ASK) as stream:
            assert WAYS[way](stream) == "".join(words(20))

    agrees(guard)


async def test_the_async_helper_gives_text_and_message(aclient, agrees):
    async with BudgetGuard(usd_limit=1) as guard:
        async with aclient.messages.stream(**ASK) as stream:
            text = "".join([piece async for piece in stream.text_stream])
            message = await stream.get_final_message()

    assert text == message.content[0].text == "".join(words(20))
    agrees(guard)


def test_the_helper_left_early_is_charged_for_what_arrived(client, paused):
    with BudgetGuard(usd_limit=1) as guard:
        with client.messages.stream(**ASK) as stream:
            for _ in stream.text_stream:
                break

    is_charged_for_what_arrived(guard, paused)


def test_a_helper_made_outside_a_guard_and_entered_inside_counts_in_it(client, agrees):
    manager = client.messages.stream(**ASK)

    with BudgetGuard(usd_limit=1) as guard:
        with manager as stream:
            stream.until_done()

    assert guard.calls == 1
    agrees(guard)


# ---- usage -----------------------------------------------------------------------------------------------------------

KINDS = {
    "cache": Reply(input_tokens=9000, cached_tokens=4000, cache_write_tokens=2000, cache_write_1h_tokens=1000),
    "thinking": Reply(reasoning_tokens=60),
    "tool calls": Reply(tool_calls=[ToolCall("f", {"city": "Paris"}), ToolCall("g", {})]),
    "web searches": Reply(web_searches=4, input_tokens=404_500, first_input_tokens=2479),
    "compaction": Reply(iterations=[Iteration(type="compaction", input_tokens=55_196, output_tokens=3000)]),
    "an advisor": Reply(
        iterations=[Iteration(type="advisor_message", input_tokens=2000, output_tokens=518, model="claude-opus-4-8")]
    ),
    "the batch tier": Reply(service_tier="batch"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_cumulative_usage_is_set_not_added_and_the_end_wins(client, llm_provider, agrees, kind):
    llm_provider.reply(KINDS[kind])

    with BudgetGuard(usd_limit=10) as guard:
        list(client.messages.create(**ASK, stream=True))

    assert guard.calls == 1
    agrees(guard)


# ---- left early ------------------------------------------------------------------------------------------------------


def test_a_stream_left_by_break_is_charged_for_what_arrived(client, paused):
    with BudgetGuard(usd_limit=1) as guard:
        for event in client.messages.create(**ASK, stream=True):
            if event.type == "content_block_delta":
                break
        gc.collect()  # an SDK's stream is freed no sooner, with or without us

        is_charged_for_what_arrived(guard, paused)


def test_a_stream_that_is_closed_is_charged_for_what_arrived(client, paused):
    with BudgetGuard(usd_limit=1) as guard:
        stream = client.messages.create(**ASK, stream=True)
        while next(stream).type != "content_block_delta":
            pass
        stream.close()

        is_charged_for_what_arrived(guard, paused)


def test_a_stream_that_is_dropped_unread_is_charged_when_it_is_freed(client, paused):
    with BudgetGuard(usd_limit=1) as guard:
        client.messages.create(**ASK, stream=True)
        gc.collect()

        guard.account.admission.settle_pending()
        assert guard.estimated
        assert guard.usage["input_tokens"] > 0


async def test_an_async_stream_that_is_closed_is_charged_for_what_arrived(aclient, paused):
    async with BudgetGuard(usd_limit=1) as guard:
        async with await aclient.messages.create(**ASK, stream=True) as stream:
            async for event in stream:
                if event.type == "content_block_delta":
                    break

        is_charged_for_what_arrived(guard, paused)


async def test_a_cancelled_task_pays_for_what_its_stream_received(aclient, paused):
    async with BudgetGuard(usd_limit=1) as guard:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(None) as limit:
                async with aclient.messages.stream(**ASK) as stream:
                    async for _ in stream.text_stream:
                        limit.reschedule(0)

        is_charged_for_what_arrived(guard, paused)


def test_a_stream_closed_after_its_last_count_is_charged_exactly(client, agrees):
    with BudgetGuard(usd_limit=1) as guard:
        stream = client.messages.create(**ASK, stream=True)
        for event in stream:
            if event.type == "message_delta":
                break
        stream.close()

    agrees(guard)


# ---- broken off ------------------------------------------------------------------------------------------------------


def test_an_error_event_in_a_stream_is_raised_by_the_sdk_and_charged_for(client, llm_provider):
    llm_provider.reply(ErrorEvent(after=4))

    with BudgetGuard(usd_limit=1) as guard:
        with pytest.raises(anthropic.APIStatusError, match="scripted error"):
            list(client.messages.create(**ASK, stream=True))

        is_charged_for_what_arrived(guard, llm_provider, at_least=4)


@pytest.mark.parametrize("clean", [False, True], ids=["reset", "short"])
def test_a_stream_that_breaks_off_looks_as_ever_and_is_charged_for(client, llm_provider, clean):
    llm_provider.reply(Cut(after=4, clean=clean), Cut(after=4, clean=clean))

    def read() -> type[BaseException] | None:
        try:
            list(client.messages.create(**ASK, stream=True))
        except Exception as error:
            return type(error)
        return None

    expected = read()
    llm_provider.wait_idle()
    llm_provider.ledger.reset()

    with BudgetGuard(usd_limit=1) as guard:
        assert read() is expected

        is_charged_for_what_arrived(guard, llm_provider, at_least=4)


# ---- framing ---------------------------------------------------------------------------------------------------------

FRAMINGS = {
    "one byte at a time": Delivery(chunk_bytes=1),
    "CRLF, in sevens": Delivery(crlf=True, chunk_bytes=7),
    "no space after the colon": Delivery(space=False),
    "pings in between": Delivery(ping_every=1),
    "gzip in pieces": Delivery(gzip=True, chunk_bytes=5),
    "everything at once": Delivery(events_per_chunk=1000),
}


@pytest.mark.parametrize("framing", FRAMINGS)
def test_a_stream_is_charged_however_it_is_framed(client, llm_provider, agrees, framing):
    llm_provider.reply(Reply(cached_tokens=64, input_tokens=100, delivery=FRAMINGS[framing]))

    with BudgetGuard(usd_limit=1) as guard:
        assert text_of(client.messages.create(**ASK, stream=True)) == "".join(words(20))

    agrees(guard)


# ---- the limit -------------------------------------------------------------------------------------------------------


def test_a_stream_that_passes_a_limit_raises_when_everything_was_delivered(client, llm_provider, agrees):
    llm_provider.reply(Reply(input_tokens=90, output_tokens=20, delivery=Delivery(tokens_per_event=20)))

    with BudgetGuard(token_limit=100) as guard:
        received = []
        with pytest.raises(BudgetExceededError) as raised:
            for event in client.messages.create(**ASK, stream=True):
                received.append(event)

    assert raised.value.phase == "after"
    assert received[-1].type == "message_stop"
    agrees(guard)


def test_the_helper_keeps_the_whole_message_when_a_limit_is_passed(client, llm_provider, agrees):
    llm_provider.reply(Reply(input_tokens=90, output_tokens=20, delivery=Delivery(tokens_per_event=20)))

    with BudgetGuard(token_limit=100) as guard:
        with client.messages.stream(**ASK) as stream:
            with pytest.raises(BudgetExceededError):
                stream.get_final_message()
            assert stream.current_message_snapshot.content[0].text == "".join(words(20))

    agrees(guard)


def test_a_stream_whose_input_passes_the_limit_is_cut_at_once(client, llm_provider):
    llm_provider.reply(Reply(input_tokens=500, output_tokens=300, delivery=Delivery(pause_after=5)))

    with BudgetGuard(token_limit=100) as guard:
        with pytest.raises(BudgetExceededError) as raised:
            list(client.messages.create(**ASK, stream=True))

    assert raised.value.phase == "during"
    assert guard.exceeded


async def test_an_async_stream_that_certainly_passes_the_limit_is_cut(aclient, llm_provider):
    llm_provider.reply(Reply(output_tokens=5000, delivery=Delivery(pause_after=300)))

    async with BudgetGuard(usd_limit=0.002) as guard:  # two hundred tokens of output
        with pytest.raises(BudgetExceededError) as raised:
            async for _ in await aclient.messages.create(**ASK, stream=True):
                pass

    assert raised.value.phase == "during"
    llm_provider.wait_idle()
    assert llm_provider.ledger.aborted == 1
    assert float(llm_provider.ledger.total_usd) < 2 * 0.002
    assert guard.exceeded
