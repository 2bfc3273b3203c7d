"""Calls through the anthropic SDK that are answered in one piece: what they bill, and what the caller gets."""

import contextlib
import copy
import inspect
import pickle
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import anthropic
import pydantic
import pytest

from actguard import BudgetExceededError, BudgetGuard
from actguard.testing import Iteration, LocalProvider, Reply, ToolCall

MODEL = "claude-sonnet-5"
MESSAGES: Any = [{"role": "user", "content": "Hello!"}]
ASK: Any = {"model": MODEL, "max_tokens": 1000, "messages": MESSAGES}


class Capital(pydantic.BaseModel):
    city: str


@pytest.fixture
def client(llm_provider: LocalProvider) -> anthropic.Anthropic:
    return llm_provider.anthropic(max_retries=0)


@pytest.fixture
def aclient(llm_provider: LocalProvider) -> anthropic.AsyncAnthropic:
    return llm_provider.async_anthropic(max_retries=0)


# ---- every way of calling --------------------------------------------------------------------------------------------


def test_a_message_is_charged_what_the_provider_bills(client, agrees):
    with BudgetGuard(user_id="alice", usd_limit=1) as guard:
        reply = client.messages.create(**ASK)

    assert type(reply) is anthropic.types.Message
    assert guard.usage == {"input_tokens": reply.usage.input_tokens, "output_tokens": reply.usage.output_tokens}
    assert guard.by_model[MODEL]["calls"] == guard.calls == 1
    agrees(guard)


async def test_an_awaited_message_is_charged_the_same(aclient, agrees):
    async with BudgetGuard(usd_limit=1) as guard:
        reply = await aclient.messages.create(**ASK)

    assert type(reply) is anthropic.types.Message
    assert guard.calls == 1
    agrees(guard)


KINDS = {
    "cache reads": (MODEL, Reply(input_tokens=5000, cached_tokens=4096)),
    "cache writes for five minutes": (MODEL, Reply(input_tokens=5000, cache_write_tokens=4096)),
    "cache writes for an hour": (MODEL, Reply(input_tokens=5000, cache_write_1h_tokens=4096)),
    "all of the cache": (
        MODEL,
        Reply(input_tokens=9000, cached_tokens=4000, cache_write_tokens=2000, cache_write_1h_tokens=1000),
    ),
    "thinking": (MODEL, Reply(output_tokens=30, reasoning_tokens=700)),
    "tool calls": (MODEL, Reply(tool_calls=[ToolCall("weather", {"city": "Paris"})])),
    "web searches": (MODEL, Reply(web_searches=3)),
    "compaction": (
        MODEL,
        Reply(iterations=[Iteration(type="compaction", input_tokens=55_196, output_tokens=3000)]),
    ),
    "an advisor": (
        MODEL,
        Reply(
            iterations=[
                Iteration(type="advisor_message", input_tokens=2000, output_tokens=518, model="claude-opus-4-8")
            ]
        ),
    ),
    "a geography": ("claude-opus-4-8", Reply(geo="us")),
    "speed": ("claude-opus-4-8", Reply(speed="fast")),
    "the batch tier": (MODEL, Reply(service_tier="batch")),
    "all of that at once": (
        "claude-opus-4-8",
        Reply(
            speed="fast",
            geo="us",
            input_tokens=9000,
            cached_tokens=4000,
            cache_write_1h_tokens=1000,
            reasoning_tokens=70,
            web_searches=2,
            iterations=[
                Iteration(type="compaction", input_tokens=5000, output_tokens=300),
                Iteration(type="advisor_message", input_tokens=2000, output_tokens=518, model="claude-opus-5"),
            ],
        ),
    ),
    "a compaction in the batch tier": (
        MODEL,
        Reply(service_tier="batch", iterations=[Iteration(type="compaction", input_tokens=500, output_tokens=30)]),
    ),
    "long context": ("claude-sonnet-4-5", Reply(input_tokens=250_000, cached_tokens=100_000)),
    "a dated snapshot": ("claude-haiku-4-5", Reply(model="claude-haiku-4-5-20251001")),
}


@pytest.mark.filterwarnings("ignore:The model:DeprecationWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_token_is_charged_once_at_its_own_price(client, llm_provider, agrees, kind):
    model, reply = KINDS[kind]
    llm_provider.reply(reply)

    with BudgetGuard(usd_limit=10) as guard:
        client.messages.create(**{**ASK, "model": model})

    assert guard.calls == 1
    agrees(guard)


def test_beta_messages_are_charged(client, agrees):
    with BudgetGuard(usd_limit=1) as guard:
        reply = client.beta.messages.create(**ASK)

    assert type(reply) is anthropic.types.beta.BetaMessage
    assert guard.calls == 1
    agrees(guard)


@pytest.mark.parametrize("where", ["messages", "beta.messages"])
def test_structured_output_helpers_are_charged_once(client, llm_provider, agrees, where):
    messages: Any = client
    for name in where.split("."):
        messages = getattr(messages, name)
    if not hasattr(messages, "parse"):
        pytest.skip(f"this release has no {where}.parse")
    llm_provider.reply('{"city":"Paris"}')

    with BudgetGuard(usd_limit=1) as guard:
        reply = messages.parse(**ASK, output_format=Capital)

    assert reply.parsed_output == Capital(city="Paris")
    assert guard.calls == 1
    agrees(guard)


@pytest.mark.parametrize("strict", [False, True])
def test_the_tool_runner_is_charged_for_every_round(client, llm_provider, agrees, strict):
    if not hasattr(client.beta.messages, "tool_runner"):
        pytest.skip("this release has no tool runner")

    @anthropic.beta_tool
    def weather(city: str) -> str:
        """The weather in a city."""
        return f"sunny in {city}"

    llm_provider.reply(Reply(tool_calls=[ToolCall("weather", {"city": "Paris"})]), "It is sunny.")

    with BudgetGuard(usd_limit=1, strict=strict) as guard:
        final = client.beta.messages.tool_runner(**ASK, tools=[weather]).until_done()

    assert final.content[0].text == "It is sunny."
    assert guard.calls == 2
    agrees(guard)


def test_the_tool_runner_stops_between_rounds_when_the_budget_is_used_up(client, llm_provider):
    if not hasattr(client.beta.messages, "tool_runner"):
        pytest.skip("this release has no tool runner")

    @anthropic.beta_tool
    def again() -> str:
        """Do it again."""
        return "and again"

    llm_provider.default = Reply(tool_calls=[ToolCall("again")], output_tokens=40)

    with BudgetGuard(token_limit=300) as guard:
        with pytest.raises(BudgetExceededError):
            client.beta.messages.tool_runner(**ASK, tools=[again]).until_done()

    assert guard.calls == llm_provider.ledger.calls
    assert guard.tokens_used == llm_provider.ledger.tokens


# ---- raw and streamed responses --------------------------------------------------------------------------------------


def test_a_raw_response_is_charged_once_however_often_it_is_parsed(client, agrees):
    with BudgetGuard(usd_limit=1) as guard:
        raw = client.messages.with_raw_response.create(**ASK)
        first, second = raw.parse(), raw.parse()

    assert first.id == second.id
    assert raw.headers["x-request-id"]
    assert guard.calls == 1
    agrees(guard)


async def test_an_awaited_raw_response_is_charged_once(aclient, agrees):
    async with BudgetGuard(usd_limit=1) as guard:
        raw = await aclient.messages.with_raw_response.create(**ASK)
        parsed = raw.parse()
        parsed = await parsed if inspect.isawaitable(parsed) else parsed

    assert type(parsed) is anthropic.types.Message
    assert guard.calls == 1
    agrees(guard)


READINGS = {
    "parse": lambda response: response.parse(),
    "read": lambda response: response.read(),
    "json": lambda response: response.json(),
    "iter_bytes": lambda response: b"".join(response.iter_bytes()),
    "iter_lines": lambda response: list(response.iter_lines()),
}


@pytest.mark.parametrize("how", READINGS)
def test_a_streamed_response_is_charged_however_it_is_read(client, agrees, how):
    with BudgetGuard(usd_limit=1) as guard:
        with client.messages.with_streaming_response.create(**ASK) as response:
            assert READINGS[how](response)

    assert guard.calls == 1
    agrees(guard)


async def test_an_awaited_streamed_response_is_charged(aclient, agrees):
    async with BudgetGuard(usd_limit=1) as guard:
        async with aclient.messages.with_streaming_response.create(**ASK) as response:
            assert type(await response.parse()) is anthropic.types.Message
        async with aclient.messages.with_streaming_response.create(**ASK) as response:
            assert [line async for line in response.iter_lines()]

    assert guard.calls == 2
    agrees(guard)


def test_responses_can_be_pickled_and_copied_as_without_a_guard(client):
    with BudgetGuard(usd_limit=1):
        reply = client.messages.create(**ASK)
        raw = client.messages.with_raw_response.create(**ASK).http_response
        with client.messages.with_streaming_response.create(**ASK) as streamed:
            streamed.read()

    assert pickle.loads(pickle.dumps(reply)) == copy.deepcopy(reply) == reply
    for response in (raw, streamed.http_response):
        assert pickle.loads(pickle.dumps(response)).content == response.content
        assert not {"iter_bytes", "aiter_bytes", "close", "aclose"} & vars(response).keys()


# ---- what a request may hold -----------------------------------------------------------------------------------------


def test_extra_body_names_the_model_that_is_charged(client, agrees):
    with BudgetGuard(usd_limit=1) as guard:
        client.messages.create(**{**ASK, "model": "placeholder"}, extra_body={"model": MODEL})

    assert list(guard.by_model) == [MODEL]
    agrees(guard)


def test_arguments_that_were_not_given_are_not_sent(client, llm_provider, agrees):
    not_given = getattr(anthropic, "omit", anthropic.NOT_GIVEN)

    with BudgetGuard(usd_limit=1, strict=True) as guard:
        client.messages.create(**ASK, system=not_given, tools=anthropic.NOT_GIVEN, stop_sequences=not_given)

    assert not llm_provider.requests[-1].json.keys() & {"system", "tools", "stop_sequences"}
    agrees(guard)


def test_pydantic_objects_in_a_request_are_measured_and_sent_as_ever(client, llm_provider, agrees):
    with BudgetGuard(usd_limit=1, strict=True) as guard:
        reply = client.messages.create(**ASK)
        client.messages.create(
            **{**ASK, "messages": [*MESSAGES, {"role": "assistant", "content": reply.content}, *MESSAGES]}
        )

    assert llm_provider.requests[-1].json["messages"][1]["content"][0]["text"] == reply.content[0].text
    agrees(guard)


def test_a_generator_in_a_request_is_consumed_once_and_by_the_sdk(client, llm_provider, agrees):
    def parts() -> Iterator[Any]:
        yield {"type": "text", "text": "Hello "}
        yield {"type": "text", "text": "there"}

    with BudgetGuard(usd_limit=1) as guard:
        client.messages.create(**{**ASK, "messages": [{"role": "user", "content": parts()}]})

    assert [part["text"] for part in llm_provider.requests[-1].json["messages"][0]["content"]] == ["Hello ", "there"]
    agrees(guard)


def test_the_callers_own_objects_are_not_changed(client):
    ask, extra = copy.deepcopy(ASK), {"metadata": {"user_id": "b"}}
    before = copy.deepcopy((ask, extra))

    with BudgetGuard(usd_limit=0.01, strict=True):
        client.messages.create(**ask, extra_body=extra)
        list(client.messages.create(**ask, extra_body=extra, stream=True))

    assert (ask, extra) == before


# ---- what costs nothing ----------------------------------------------------------------------------------------------


def test_what_is_only_counted_or_read_is_never_charged(client):
    with BudgetGuard(usd_limit=1, token_limit=100_000) as guard:
        assert client.messages.count_tokens(model=MODEL, messages=MESSAGES).input_tokens
        assert client.beta.messages.count_tokens(model=MODEL, messages=MESSAGES).input_tokens
        assert list(client.models.list())
        client.models.retrieve(MODEL)

    assert (guard.calls, guard.usd_used, guard.unmetered_calls) == (0, 0, 0)


# ---- a middleware ----------------------------------------------------------------------------------------------------


@pytest.fixture
def with_middleware(llm_provider: LocalProvider) -> Any:
    def build(middleware: Any, **options: Any) -> anthropic.Anthropic:
        if "middleware" not in inspect.signature(anthropic.Anthropic).parameters:
            pytest.skip("this release has no middleware")
        return llm_provider.anthropic(middleware=[middleware], max_retries=0, **options)

    return build


def test_a_middleware_that_answers_from_its_cache_costs_nothing(with_middleware, client):
    kept: list[Any] = []

    def cache(request: Any, call_next: Any) -> Any:
        if not kept:
            kept.append(call_next(request))
        return kept[0]

    cached = with_middleware(cache)
    with BudgetGuard(usd_limit=1) as guard:
        first = cached.messages.create(**ASK)
        paid = guard.usd_used
        second = cached.messages.create(**ASK)

    assert first.id == second.id
    assert paid > 0
    assert (guard.calls, guard.usd_used) == (1, paid)
    assert guard.account.in_flight == 0


def test_a_middleware_that_sends_twice_is_charged_twice(with_middleware, agrees):
    def twice(request: Any, call_next: Any) -> Any:
        call_next(request)
        return call_next(request)

    with BudgetGuard(usd_limit=1) as guard:
        with_middleware(twice).messages.create(**ASK)

    assert guard.calls == 2
    agrees(guard)


def test_what_a_middleware_sends_again_never_passes_a_strict_limit(with_middleware, llm_provider, agrees):
    def twice(request: Any, call_next: Any) -> Any:
        call_next(request)
        return call_next(request)

    llm_provider.default = Reply(output_tokens=5000)
    with BudgetGuard(usd_limit=0.04, strict=True) as guard:
        with_middleware(twice).messages.create(**{**ASK, "max_tokens": 3000})

    first, second = (request.json["max_tokens"] for request in llm_provider.requests)
    assert first == 3000 > second > 500
    assert guard.usd_used <= 0.04
    agrees(guard)


def test_a_middleware_sees_error_statuses_and_they_cost_nothing(with_middleware, llm_provider, agrees):
    from actguard.testing import HttpError

    statuses: list[int] = []

    def insist(request: Any, call_next: Any) -> Any:
        response = call_next(request)
        statuses.append(response.status_code)
        if response.status_code >= 400:
            response = call_next(request)
            statuses.append(response.status_code)
        return response

    llm_provider.reply(HttpError(status=529), "Hello")
    with BudgetGuard(usd_limit=1) as guard:
        try:
            with_middleware(insist).messages.create(**ASK)
        except anthropic.APIStatusError:
            pytest.skip("in this release a middleware sees no error statuses")

    assert statuses == [529, 200]
    assert guard.calls == 1
    agrees(guard)


def test_the_sdks_refusal_fallback_is_charged_for_every_model_it_asked(llm_provider, agrees):
    lib = pytest.importorskip("anthropic.lib.middleware", reason="this release has no middleware")
    llm_provider.reply(Reply(finish="refusal", output_tokens=3), "Gladly")
    fallback = lib.BetaRefusalFallbackMiddleware([{"model": "claude-haiku-4-5"}])
    client = llm_provider.anthropic(middleware=[fallback], max_retries=0)

    with BudgetGuard(usd_limit=1) as guard:
        client.beta.messages.create(**ASK)

    assert len(llm_provider.ledger.entries) == 2
    assert guard.by_model.keys() == {MODEL, "claude-haiku-4-5"}
    agrees(guard)


async def test_an_async_middleware_that_sends_twice_is_charged_twice(llm_provider, agrees):
    if "middleware" not in inspect.signature(anthropic.AsyncAnthropic).parameters:
        pytest.skip("this release has no middleware")

    async def twice(request: Any, call_next: Any) -> Any:
        await call_next(request)
        return await call_next(request)

    client = llm_provider.async_anthropic(middleware=[twice], max_retries=0)
    async with BudgetGuard(usd_limit=1) as guard:
        await client.messages.create(**ASK)

    assert guard.calls == 2
    agrees(guard)


def test_a_middleware_may_call_another_client_inside_a_call(with_middleware, client, agrees):
    def consult(request: Any, call_next: Any) -> Any:
        client.messages.create(**ASK)
        return call_next(request)

    with BudgetGuard(usd_limit=1) as guard:
        with_middleware(consult).messages.create(**ASK)

    assert guard.calls == 2
    agrees(guard)


def test_a_middleware_may_call_its_own_client_inside_a_call(with_middleware, agrees):
    nested: list[bool] = []

    def consult(request: Any, call_next: Any) -> Any:
        if not nested:
            nested.append(True)
            made.messages.create(**{**ASK, "model": "claude-haiku-4-5"})
        return call_next(request)

    made = with_middleware(consult)
    with BudgetGuard(usd_limit=1) as guard:
        made.messages.create(**ASK)

    assert guard.by_model.keys() == {MODEL, "claude-haiku-4-5"}
    agrees(guard)


def test_a_call_that_a_middleware_makes_of_its_own_client_keeps_a_strict_limit(with_middleware, llm_provider):
    nested: list[bool] = []

    def consult(request: Any, call_next: Any) -> Any:
        if not nested:
            nested.append(True)
            made.messages.create(**{**ASK, "max_tokens": 6000})
        return call_next(request)

    llm_provider.when(Reply(output_tokens=5000))
    made = with_middleware(consult)
    with BudgetGuard(usd_limit=0.02, strict=True), contextlib.suppress(BudgetExceededError):
        made.messages.create(**{**ASK, "max_tokens": 100})

    assert llm_provider.ledger.total_usd <= Decimal("0.02")


def test_a_paid_call_inside_a_free_one_of_the_same_client_is_charged(with_middleware, agrees):
    nested: list[bool] = []

    def consult(request: Any, call_next: Any) -> Any:
        if not nested:
            nested.append(True)
            made.messages.create(**ASK)
        return call_next(request)

    made = with_middleware(consult)
    with BudgetGuard(usd_limit=1) as guard:
        made.messages.count_tokens(model=MODEL, messages=ASK["messages"])

    assert guard.calls == 1
    agrees(guard)
