"""Calls through the openai SDK that are answered in one piece: what they bill, and what the caller gets."""

import asyncio
import contextvars
import copy
import inspect
import pickle
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import openai
import pydantic
import pytest

from actguard import BudgetExceededError, BudgetGuard, PriceBook
from actguard.testing import LocalProvider, Reply, ToolCall

MODEL = "gpt-4o"
MESSAGES: Any = [{"role": "user", "content": "Hello!"}]


class Capital(pydantic.BaseModel):
    city: str


@pytest.fixture
def client(llm_provider: LocalProvider) -> openai.OpenAI:
    return llm_provider.openai(max_retries=0)


@pytest.fixture
def aclient(llm_provider: LocalProvider) -> openai.AsyncOpenAI:
    return llm_provider.async_openai(max_retries=0)


def parser(client: Any) -> Any:
    """Where `.parse` is: older releases keep it in beta."""
    chat = client.chat.completions
    return chat if hasattr(chat, "parse") else client.beta.chat.completions


# ---- every way of calling --------------------------------------------------------------------------------------------


def test_a_chat_completion_is_charged_what_the_provider_bills(client, llm_provider, agrees):
    with BudgetGuard(user_id="alice", usd_limit=1) as guard:
        reply = client.chat.completions.create(model=MODEL, messages=MESSAGES)

    assert type(reply) is openai.types.chat.ChatCompletion
    assert guard.usage == {"input_tokens": reply.usage.prompt_tokens, "output_tokens": reply.usage.completion_tokens}
    assert guard.by_model[MODEL]["calls"] == guard.calls == 1
    agrees(guard)


async def test_an_awaited_chat_completion_is_charged_the_same(aclient, agrees):
    async with BudgetGuard(usd_limit=1) as guard:
        reply = await aclient.chat.completions.create(model=MODEL, messages=MESSAGES)

    assert type(reply) is openai.types.chat.ChatCompletion
    assert guard.calls == 1
    agrees(guard)


KINDS = {
    "cached input": (MODEL, Reply(input_tokens=5000, cached_tokens=4096)),
    "cache writes": ("gpt-5.6-sol", Reply(input_tokens=5000, cached_tokens=1024, cache_write_tokens=2048)),
    "reasoning": ("gpt-5", Reply(output_tokens=30, reasoning_tokens=700)),
    "audio": ("gpt-audio", Reply(input_tokens=300, audio_input_tokens=200, audio_output_tokens=120, output_tokens=8)),
    "long context": ("gpt-5.6-sol", Reply(input_tokens=300_000, cached_tokens=100_000, output_tokens=50)),
    "tool calls": (MODEL, Reply(tool_calls=[ToolCall("weather", {"city": "Paris"})])),
    "several choices": (MODEL, Reply("Hello there")),
    "refusal by a filter": (MODEL, Reply(output_tokens=0, finish="content_filter")),
    "a dated snapshot": (MODEL, Reply(model="gpt-4o-2024-08-06")),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_token_is_charged_once_at_its_own_price(client, llm_provider, agrees, kind):
    model, reply = KINDS[kind]
    llm_provider.reply(reply)

    with BudgetGuard(usd_limit=10) as guard:
        client.chat.completions.create(model=model, messages=MESSAGES, n=3 if kind == "several choices" else 1)

    assert guard.calls == 1
    agrees(guard)


@pytest.mark.parametrize("tier", ["flex", "priority"])
def test_the_service_tier_of_the_reply_decides_not_that_of_the_request(client, llm_provider, agrees, tier):
    llm_provider.reply(Reply(service_tier=tier), Reply(service_tier="default"))

    with BudgetGuard(usd_limit=1) as guard:
        client.chat.completions.create(model="gpt-5", messages=MESSAGES)
        client.chat.completions.create(model="gpt-5", messages=MESSAGES, service_tier=tier)

    assert llm_provider.ledger.entries[0].usd != llm_provider.ledger.entries[1].usd
    agrees(guard)


def test_structured_output_helpers_are_charged_once(client, agrees):
    with BudgetGuard(usd_limit=1) as guard:
        chat = parser(client).parse(model=MODEL, messages=MESSAGES, response_format=Capital)
        response = client.responses.parse(model=MODEL, input="Hi", text_format=Capital)

    assert isinstance(chat.choices[0].message.parsed, Capital)
    assert isinstance(response.output_parsed, Capital)
    assert guard.calls == 2
    agrees(guard)


async def test_structured_output_helpers_are_charged_once_when_awaited(aclient, agrees):
    async with BudgetGuard(usd_limit=1) as guard:
        chat = await parser(aclient).parse(model=MODEL, messages=MESSAGES, response_format=Capital)
        response = await aclient.responses.parse(model=MODEL, input="Hi", text_format=Capital)

    assert isinstance(chat.choices[0].message.parsed, Capital)
    assert isinstance(response.output_parsed, Capital)
    assert guard.calls == 2
    agrees(guard)


def test_responses_are_charged_with_their_searches_and_reasoning(client, llm_provider, agrees):
    llm_provider.reply(Reply(reasoning_tokens=90, cached_tokens=1024, input_tokens=2000, web_searches=3), "Done")

    with BudgetGuard(usd_limit=1) as guard:
        first = client.responses.create(model="gpt-5", input="Hi")
        client.responses.create(model="gpt-5", input="And?", previous_response_id=first.id)

    assert type(first) is openai.types.responses.Response
    assert guard.usage["web_searches"] == 3
    assert guard.usage["output_reasoning_tokens"] == 90
    agrees(guard)


def test_a_picture_by_a_model_that_nobody_names_is_charged_by_estimate(client, llm_provider):
    drawn = {"input_tokens": 50, "output_tokens": 200, "total_tokens": 250}
    llm_provider.reply(Reply(fields={"tool_usage": {"image_gen": drawn}}))
    with BudgetGuard(usd_limit=1) as guard:
        client.responses.create(model="gpt-5", input="Draw a cat.", tools=[{"type": "image_generation"}])

    assert guard.by_model["image_generation"]["usd"] > 0
    assert guard.estimated


def test_a_response_that_ends_incomplete_or_failed_is_charged(client, llm_provider, agrees):
    llm_provider.reply(Reply(output_tokens=500), Reply(failed="failed"))

    with BudgetGuard(usd_limit=1) as guard:
        cut = client.responses.create(model=MODEL, input="Hi", max_output_tokens=40)
        failed = client.responses.create(model=MODEL, input="Hi")

    assert (cut.status, failed.status) == ("incomplete", "failed")
    assert guard.calls == 2
    agrees(guard)


def test_legacy_completions_are_charged_for_every_prompt_and_choice(client, agrees):
    with BudgetGuard(usd_limit=1) as guard:
        client.completions.create(model="gpt-3.5-turbo-instruct", prompt=["One", "Two"], n=2, max_tokens=5)

    assert guard.usage["output_tokens"] == 2 * 2 * 5
    agrees(guard)


def test_embeddings_are_charged_for_their_input(client, agrees):
    with BudgetGuard(usd_limit=1) as guard:
        vectors = client.embeddings.create(model="text-embedding-3-small", input=["one", "two"])

    assert len(vectors.data) == 2
    assert guard.usage.keys() == {"input_tokens"}
    agrees(guard)


def test_compacting_a_conversation_is_charged(client, agrees):
    if not hasattr(client.responses, "compact"):
        pytest.skip("this release has no responses.compact")
    with BudgetGuard(usd_limit=1) as guard:
        client.responses.compact(model=MODEL, input="Hi")

    assert guard.calls == 1
    agrees(guard)


def test_images_and_transcriptions_are_charged_by_tokens_or_by_duration(client, llm_provider, agrees):
    with BudgetGuard(usd_limit=1) as guard:
        client.images.generate(model="gpt-image-1", prompt="A hat")
        client.audio.transcriptions.create(model="gpt-4o-transcribe", file=("a.wav", b"." * 32_000))
        client.audio.transcriptions.create(model="whisper-1", file=("a.wav", b"." * 160_000))

    assert guard.calls == 3
    assert guard.usage["input_audio_milliseconds"] > 0
    agrees(guard)


def test_a_request_through_the_bare_client_is_charged(client, agrees):
    with BudgetGuard(usd_limit=1) as guard:
        reply = client.post("/chat/completions", cast_to=dict[str, Any], body={"model": MODEL, "messages": MESSAGES})

    assert reply["choices"]
    assert guard.calls == 1
    agrees(guard)


def test_a_tool_loop_is_charged_for_every_round(client, llm_provider, agrees):
    llm_provider.reply(Reply(tool_calls=[ToolCall("weather", {"city": "Paris"})]), "Sunny")
    tools: Any = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
    messages = list(MESSAGES)

    with BudgetGuard(usd_limit=1) as guard:
        asked = client.chat.completions.create(model=MODEL, messages=messages, tools=tools).choices[0].message
        messages += [asked, {"role": "tool", "tool_call_id": asked.tool_calls[0].id, "content": "22 degrees"}]
        client.chat.completions.create(model=MODEL, messages=messages, tools=tools)

    assert guard.calls == 2
    agrees(guard)


def test_openrouter_is_charged_what_it_says_a_call_cost(llm_provider):
    llm_provider.reply(Reply(cost=Decimal("0.0123"), model="some/new-model"))
    client = openai.OpenAI(**llm_provider.openrouter_kwargs())

    with BudgetGuard(usd_limit=1, unknown_price="warn") as guard:
        client.chat.completions.create(model="some/new-model", messages=MESSAGES)

    assert guard.usd_used == 0.0123
    assert guard.tokens_used == llm_provider.ledger.tokens


STATEMENTS: Any = {
    "a price": lambda book, url: book.set("some/model", input=2.5, output=10),
    "a pattern": lambda book, url: book.set("some/*", input=2.5, output=10),
    "another model's": lambda book, url: book.set("some/model", same_as="gpt-4o"),
    "a resolver": lambda book, url: book.resolver(lambda *call: {"input": 2.5, "output": 10}),
    "a resolver that looks it up": lambda book, url: book.resolver(lambda *call: PriceBook().get("gpt-4o")),
    "a host": lambda book, url: book.host(url, input=2.5, output=10),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("statement", STATEMENTS)
def test_a_price_that_the_program_states_goes_before_the_cost_that_a_host_reports(llm_provider, statement, stream):
    book = PriceBook()
    STATEMENTS[statement](book, llm_provider.url)
    llm_provider.reply(Reply(cost=Decimal("0.0123"), input_tokens=1_000, output_tokens=100))
    client = openai.OpenAI(**llm_provider.openrouter_kwargs())

    with BudgetGuard(usd_limit=1, prices=book) as guard:
        reply = client.chat.completions.create(model="some/model", messages=MESSAGES, stream=stream)
        list(reply)

    assert guard.usd_used == 0.0035
    assert not guard.estimated


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("strict", [False, True])
def test_a_router_that_nobody_knows_may_name_the_maker_of_a_model(llm_provider, agrees, stream, strict):
    client = openai.OpenAI(**llm_provider.openrouter_kwargs())

    with BudgetGuard(usd_limit=1, strict=strict) as guard:
        reply = client.chat.completions.create(model="openai/gpt-4o", messages=MESSAGES, stream=stream)
        list(reply)

    assert guard.usd_used > 0
    agrees(guard)


# ---- raw and streamed responses --------------------------------------------------------------------------------------


def test_a_raw_response_is_charged_once_however_often_it_is_parsed(client, agrees):
    with BudgetGuard(usd_limit=1) as guard:
        raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=MESSAGES)
        first, second = raw.parse(), raw.parse()

    assert first.id == second.id
    assert raw.headers["x-request-id"]
    assert guard.calls == 1
    agrees(guard)


async def test_an_awaited_raw_response_is_charged_once(aclient, agrees):
    async with BudgetGuard(usd_limit=1) as guard:
        raw = await aclient.chat.completions.with_raw_response.create(model=MODEL, messages=MESSAGES)
        parsed = raw.parse()
        parsed = await parsed if inspect.isawaitable(parsed) else parsed

    assert type(parsed) is openai.types.chat.ChatCompletion
    assert guard.calls == 1
    agrees(guard)


READINGS = {
    "parse": lambda response: response.parse(),
    "read": lambda response: response.read(),
    "text": lambda response: response.text(),
    "json": lambda response: response.json(),
    "iter_bytes": lambda response: b"".join(response.iter_bytes()),
    "iter_text": lambda response: "".join(response.iter_text()),
    "iter_lines": lambda response: list(response.iter_lines()),
    "twice": lambda response: (response.read(), response.parse()),
}


@pytest.mark.parametrize("how", READINGS)
def test_a_streamed_response_is_charged_however_it_is_read(client, agrees, how):
    with BudgetGuard(usd_limit=1) as guard:
        with client.chat.completions.with_streaming_response.create(model=MODEL, messages=MESSAGES) as response:
            assert READINGS[how](response)

    assert guard.calls == 1
    agrees(guard)


AREADINGS = {
    "parse": lambda response: response.parse(),
    "read": lambda response: response.read(),
    "text": lambda response: response.text(),
    "json": lambda response: response.json(),
    "iter_bytes": lambda response: _all(response.iter_bytes()),
    "iter_text": lambda response: _all(response.iter_text()),
    "iter_lines": lambda response: _all(response.iter_lines()),
}


async def _all(items: Any) -> list[Any]:
    return [item async for item in items]


@pytest.mark.parametrize("how", AREADINGS)
async def test_an_awaited_streamed_response_is_charged_however_it_is_read(aclient, agrees, how):
    async with BudgetGuard(usd_limit=1) as guard:
        async with aclient.chat.completions.with_streaming_response.create(model=MODEL, messages=MESSAGES) as response:
            assert await AREADINGS[how](response)

    assert guard.calls == 1
    agrees(guard)


@pytest.mark.parametrize("how", READINGS)
def test_a_streamed_response_that_passed_the_limit_can_still_be_read(client, how):
    with pytest.raises(BudgetExceededError) as passed, BudgetGuard(token_limit=1):
        with client.chat.completions.with_streaming_response.create(model=MODEL, messages=MESSAGES) as response:
            READINGS[how](response)

    assert passed.value.phase == "after"
    assert passed.value.response is response.http_response
    assert passed.value.response.json()["usage"] == response.parse().usage.model_dump(exclude_unset=True)


@pytest.mark.parametrize("how", AREADINGS)
async def test_an_awaited_streamed_response_that_passed_the_limit_can_still_be_read(aclient, how):
    with pytest.raises(BudgetExceededError) as passed:
        async with (
            BudgetGuard(token_limit=1),
            aclient.chat.completions.with_streaming_response.create(model=MODEL, messages=MESSAGES) as response,
        ):
            await AREADINGS[how](response)

    assert passed.value.response is response.http_response
    assert (await response.parse()).choices


def test_no_key_of_an_api_travels_with_a_refusal(client):
    with pytest.raises(BudgetExceededError) as passed, BudgetGuard(token_limit=1):
        with client.chat.completions.with_streaming_response.create(model=MODEL, messages=MESSAGES) as response:
            response.read()

    assert client.api_key.encode() not in pickle.dumps(passed.value)


def test_a_streamed_response_that_nobody_reads_is_charged_by_estimate(client, llm_provider):
    with BudgetGuard(usd_limit=1) as guard:
        with client.chat.completions.with_streaming_response.create(model=MODEL, messages=MESSAGES) as response:
            assert response.status_code == 200

    llm_provider.wait_idle()
    assert guard.estimated
    assert guard.tokens_used > 0
    assert guard.account.in_flight == 0


def test_a_raw_response_can_be_pickled_and_copied_as_without_a_guard(client):
    with BudgetGuard(usd_limit=1):
        reply = client.chat.completions.create(model=MODEL, messages=MESSAGES)
        raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=MESSAGES).http_response
        with client.chat.completions.with_streaming_response.create(model=MODEL, messages=MESSAGES) as streamed:
            streamed.read()

    assert pickle.loads(pickle.dumps(reply)) == copy.deepcopy(reply) == reply
    for response in (raw, streamed.http_response):
        assert pickle.loads(pickle.dumps(response)).content == response.content
        assert not {"iter_bytes", "aiter_bytes", "close", "aclose"} & vars(response).keys()


def test_the_methods_of_a_client_keep_their_signatures(client):
    before = inspect.signature(openai.OpenAI(api_key="x").request)
    with BudgetGuard():
        assert inspect.signature(client.request) == before
        assert client.request.__name__ == "request"
        assert client.request.__doc__ == openai.OpenAI(api_key="x").request.__doc__


# ---- what a request may hold -----------------------------------------------------------------------------------------


def test_extra_body_names_the_model_that_is_charged(client, agrees):
    with BudgetGuard(usd_limit=1) as guard:
        client.chat.completions.create(model="placeholder", messages=MESSAGES, extra_body={"model": MODEL})

    assert list(guard.by_model) == [MODEL]
    agrees(guard)


def test_arguments_that_were_not_given_are_not_sent(client, llm_provider, agrees):
    not_given = getattr(openai, "omit", openai.NOT_GIVEN)

    with BudgetGuard(usd_limit=1, strict=True) as guard:
        client.chat.completions.create(
            model=MODEL,
            messages=MESSAGES,
            max_tokens=not_given,
            tools=openai.NOT_GIVEN,
            stream_options=not_given,
            temperature=openai.NOT_GIVEN,
        )

    assert not llm_provider.requests[-1].json.keys() & {"max_tokens", "tools", "stream_options", "temperature"}
    agrees(guard)


def test_extra_body_may_take_a_field_away(client, llm_provider):
    if not hasattr(openai, "Omit"):
        pytest.skip("this release has no Omit")
    with BudgetGuard(usd_limit=1, strict=True):
        client.chat.completions.create(
            model=MODEL, messages=MESSAGES, temperature=1, extra_body={"temperature": openai.Omit(), "seed": 7}
        )

    sent = llm_provider.requests[-1].json
    assert "temperature" not in sent
    assert sent["seed"] == 7


def test_pydantic_objects_in_a_request_are_measured_and_sent_as_ever(client, llm_provider, agrees):
    message = openai.types.chat.ChatCompletionMessage(role="assistant", content="Before", tool_calls=None)

    with BudgetGuard(usd_limit=1, strict=True) as guard:
        client.chat.completions.create(model=MODEL, messages=[*MESSAGES, message])

    assert llm_provider.requests[-1].json["messages"][1]["content"] == "Before"
    agrees(guard)


def test_a_generator_in_a_request_is_consumed_once_and_by_the_sdk(client, llm_provider, agrees):
    def parts() -> Iterator[Any]:
        yield {"type": "text", "text": "Hello "}
        yield {"type": "text", "text": "there"}

    with BudgetGuard(usd_limit=1) as guard:
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": parts()}])

    assert [part["text"] for part in llm_provider.requests[-1].json["messages"][0]["content"]] == ["Hello ", "there"]
    agrees(guard)


def test_the_callers_own_objects_are_not_changed(client):
    messages, extra = copy.deepcopy(MESSAGES), {"metadata": {"a": "b"}}
    before = copy.deepcopy((messages, extra))

    with BudgetGuard(usd_limit=0.01, strict=True):
        client.chat.completions.create(model=MODEL, messages=messages, extra_body=extra)
        list(client.chat.completions.create(model=MODEL, messages=messages, extra_body=extra, stream=True))

    assert (messages, extra) == before


# ---- what costs nothing ----------------------------------------------------------------------------------------------


def test_what_is_only_read_is_never_charged(client, llm_provider):
    with BudgetGuard(usd_limit=1, token_limit=100_000) as guard:
        response = client.responses.create(model=MODEL, input="Hi")
        paid = guard.usd_used
        for _ in range(3):
            client.responses.retrieve(response.id)
        list(client.models.list())
        client.models.retrieve(MODEL)
        client.moderations.create(input="Hi")
        client.responses.delete(response.id)
        client.post("/responses/input_tokens", cast_to=dict[str, Any], body={"model": MODEL, "input": "Hi"})

    assert (guard.calls, guard.usd_used) == (1, paid)
    assert guard.unmetered_calls == 0


async def test_what_is_only_read_is_never_charged_when_awaited(aclient):
    async with BudgetGuard(usd_limit=1) as guard:
        response = await aclient.responses.create(model=MODEL, input="Hi")
        paid = guard.usd_used
        await aclient.responses.retrieve(response.id)
        assert [model async for model in aclient.models.list()]

    assert (guard.calls, guard.usd_used) == (1, paid)


def test_free_calls_go_through_when_the_budget_is_used_up(client):
    with BudgetGuard(token_limit=1) as guard:
        with pytest.raises(Exception, match="used up"):
            client.chat.completions.create(model=MODEL, messages=MESSAGES)
        assert guard.exceeded
        assert list(client.models.list())


# ---- where a call is made --------------------------------------------------------------------------------------------


async def test_a_call_in_a_thread_counts_in_the_guard_it_was_sent_from(client, agrees):
    async with BudgetGuard(usd_limit=1) as guard:
        await asyncio.to_thread(client.chat.completions.create, model=MODEL, messages=MESSAGES)
        context = contextvars.copy_context()
        with ThreadPoolExecutor() as pool:
            pool.submit(context.run, client.chat.completions.create, model=MODEL, messages=MESSAGES).result()

    assert guard.calls == 2
    agrees(guard)


async def test_a_call_that_ends_after_its_guard_is_still_counted_in_it(aclient, llm_provider, agrees):
    with llm_provider.hold() as gate:
        with BudgetGuard(usd_limit=1) as guard:
            late = asyncio.create_task(aclient.chat.completions.create(model=MODEL, messages=MESSAGES))
            await gate.wait_for_async(1)
        assert guard.estimated  # while it runs, its likely cost stands in
        assert guard.tokens_used > 0
        gate.release()
        await late

    assert guard.calls == 1
    agrees(guard)


async def test_guards_side_by_side_count_only_their_own_calls(aclient, llm_provider):
    async def session(calls: int) -> BudgetGuard:
        async with BudgetGuard(usd_limit=1) as guard:
            for _ in range(calls):
                await aclient.chat.completions.create(model=MODEL, messages=MESSAGES)
        return guard

    guards = await asyncio.gather(*(session(calls) for calls in (1, 2, 3)))

    assert [guard.calls for guard in guards] == [1, 2, 3]
    assert sum(guard.tokens_used for guard in guards) == llm_provider.ledger.tokens


def test_nested_guards_count_in_all_that_surround_them(client, agrees):
    with BudgetGuard(usd_limit=1) as outer:
        client.chat.completions.create(model=MODEL, messages=MESSAGES)
        with BudgetGuard(token_limit=1000) as inner:
            client.chat.completions.create(model=MODEL, messages=MESSAGES)

    assert (outer.calls, inner.calls) == (2, 1)
    assert outer.local_tokens_used + inner.tokens_used == outer.tokens_used
    agrees(outer)
