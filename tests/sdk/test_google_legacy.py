"""The legacy SDK, google.generativeai 0.8: calls over HTTP against the local provider, streams over gRPC."""

import gc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import actguard
from actguard import BudgetExceededError, BudgetGuard, UnmeteredCallError
from actguard.testing import HttpError, LocalProvider, Lost, Reply, ToolCall
from tests.ended import ended

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")

genai = pytest.importorskip("google.generativeai", reason="google-generativeai is not installed")

MODEL = "gemini-2.5-flash"


@pytest.fixture
def model(llm_provider: LocalProvider) -> Any:
    genai.configure(api_key="key", transport="rest", client_options={"api_endpoint": llm_provider.url})
    return genai.GenerativeModel(MODEL)


def is_charged_by_estimate(guard: BudgetGuard) -> None:
    assert guard.estimated
    assert guard.calls == 1
    assert guard.usage["input_tokens"] >= 1
    account: Any = guard.account
    assert (account.held_pico, account.held_tokens, account.in_flight) == (0, 0, 0)


# ---- in one piece ----------------------------------------------------------------------------------------------------


def test_content_is_charged_what_the_provider_bills(model, agrees):
    with BudgetGuard(usd_limit=1) as guard:
        reply = model.generate_content("Hello!")

    assert type(reply) is genai.types.GenerateContentResponse
    assert guard.usage["output_tokens"] == reply.usage_metadata.candidates_token_count
    assert guard.by_model[MODEL]["calls"] == guard.calls == 1
    agrees(guard)


def test_contents_that_can_be_read_only_once_are_sent_as_they_would_be(model, llm_provider):
    def contents() -> Iterator[Any]:
        yield {"role": "user", "parts": ["Hello!"]}
        yield {"role": "user", "parts": ["Are you there?"]}

    model.generate_content(contents())
    with BudgetGuard(usd_limit=1):
        model.generate_content(contents())

    without, within = llm_provider.requests[-2:]
    assert without.json == within.json
    assert len(within.json["contents"]) == 2


def test_thoughts_that_this_sdk_does_not_know_are_charged_all_the_same(model, llm_provider, agrees):
    llm_provider.reply(Reply(output_tokens=30, reasoning_tokens=700))

    with BudgetGuard(usd_limit=1) as guard:
        model.generate_content("Hello!")

    agrees(guard)


def test_a_chat_with_functions_is_charged_round_by_round(model, llm_provider, agrees):
    def weather(city: str) -> str:
        """The weather in a city."""
        return f"fine in {city}"

    llm_provider.reply(Reply(tool_calls=[ToolCall("weather", {"city": "Paris"})]), "It is fine.")
    with BudgetGuard(usd_limit=1) as guard:
        chat = genai.GenerativeModel(MODEL, tools=[weather]).start_chat(enable_automatic_function_calling=True)
        assert chat.send_message("How is it in Paris?").text == "It is fine."

    assert guard.calls == 2
    agrees(guard)


def test_counting_tokens_is_free(model, agrees):
    with BudgetGuard(usd_limit=1) as guard:
        assert model.count_tokens("Hello!").total_tokens

    assert guard.calls == 0
    agrees(guard)


def test_embeddings_cannot_be_metered_and_are_refused_under_a_limit(model, llm_provider):
    with BudgetGuard(usd_limit=1), pytest.raises(UnmeteredCallError, match="embed_content"):
        genai.embed_content(model="models/gemini-embedding-001", content="Hello!")
    assert llm_provider.ledger.calls == 0

    with BudgetGuard(usd_limit=1, unmetered="allow") as guard:
        genai.embed_content(model="models/gemini-embedding-001", content="Hello!")
    assert guard.unmetered_calls == llm_provider.ledger.calls == 1


def test_the_call_that_passes_the_limit_hands_over_its_reply_and_none_is_sent_any_more(model, llm_provider, agrees):
    with BudgetGuard(token_limit=5) as guard:
        with pytest.raises(BudgetExceededError) as passed:
            model.generate_content("Hello!")
        with pytest.raises(BudgetExceededError) as refused:
            model.generate_content("Hello!")

    assert (passed.value.phase, refused.value.phase) == ("after", "before")
    assert passed.value.response.text.startswith("one two")
    assert llm_provider.ledger.calls == 1
    agrees(guard)


@pytest.mark.parametrize("config", [None, {"temperature": 0.5}, genai.GenerationConfig(max_output_tokens=5000)])
def test_a_strict_guard_sets_the_output_cap_and_leaves_the_callers_config_alone(model, llm_provider, agrees, config):
    llm_provider.default = Reply(output_tokens=6000)
    before = repr(config)

    with BudgetGuard(token_limit=1000, strict=True) as guard:
        model.generate_content("Hello!", generation_config=config)

    assert 500 < llm_provider.requests[-1].json["generationConfig"]["maxOutputTokens"] < 1000
    assert repr(config) == before
    assert 500 < guard.tokens_used <= 1000
    agrees(guard)


def test_an_error_status_is_not_charged(model, llm_provider, agrees):
    llm_provider.reply(HttpError(status=400))

    with BudgetGuard(usd_limit=1) as guard, pytest.raises(Exception, match="scripted error"):
        model.generate_content("Hello!")

    assert guard.calls == 0
    agrees(guard)


def test_an_answer_that_was_lost_is_charged_by_estimate(model, llm_provider):
    llm_provider.reply(Lost())

    with BudgetGuard(usd_limit=1) as guard, pytest.raises(Exception) as failed:
        model.generate_content("Hello!", request_options={"retry": None})

    assert not isinstance(failed.value, actguard.ActGuardError)
    is_charged_by_estimate(guard)


def test_uninstalling_leaves_no_trace(model):
    actguard.uninstall()
    before = dict(vars(genai.GenerativeModel))
    with BudgetGuard(usd_limit=1):
        assert dict(vars(genai.GenerativeModel)) != before
    actguard.uninstall()

    assert dict(vars(genai.GenerativeModel)) == before


# ---- over gRPC -------------------------------------------------------------------------------------------------------

INPUT, CHUNKS = 8, 20


class Service:
    """`GenerateContent` and `StreamGenerateContent`, one token a chunk."""

    def __init__(self) -> None:
        import grpc
        from google.ai import generativelanguage as messages

        self.messages: Any = messages
        self.length = CHUNKS
        handlers = {
            "GenerateContent": grpc.unary_unary_rpc_method_handler(
                self.generate, messages.GenerateContentRequest.deserialize, messages.GenerateContentResponse.serialize
            ),
            "StreamGenerateContent": grpc.unary_stream_rpc_method_handler(
                self.stream, messages.GenerateContentRequest.deserialize, messages.GenerateContentResponse.serialize
            ),
        }
        name = "google.ai.generativelanguage.v1beta.GenerativeService"
        self.server = grpc.server(ThreadPoolExecutor(4))
        self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, handlers),))
        self.address = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"
        self.server.start()

    def said(self, tokens: int, text: str, last: bool) -> Any:
        return self.messages.GenerateContentResponse(
            candidates=[{"content": {"parts": [{"text": text}]}, "finish_reason": "STOP" if last else None}],
            usage_metadata={
                "prompt_token_count": INPUT,
                "candidates_token_count": tokens,
                "total_token_count": INPUT + tokens,
            },
        )

    def generate(self, request: Any, context: Any) -> Any:
        return self.said(self.length, "one " * self.length, True)

    def stream(self, request: Any, context: Any) -> Iterator[Any]:
        for tokens in range(1, self.length + 1):
            yield self.said(tokens, "one ", tokens == self.length)


@pytest.fixture
def service() -> Iterator[Service]:
    pytest.importorskip("grpc")
    service = Service()
    yield service
    service.server.stop(None)


@pytest.fixture
def grpc_model(service: Service) -> Any:
    import grpc

    client = service.messages.GenerativeServiceClient
    transport = client.get_transport_class("grpc")
    model = genai.GenerativeModel(MODEL)
    model._client = client(transport=transport(channel=grpc.insecure_channel(service.address)))
    return model


async def agrpc_model(service: Service) -> Any:
    import grpc.aio

    client = service.messages.GenerativeServiceAsyncClient
    transport = client.get_transport_class("grpc_asyncio")
    model = genai.GenerativeModel(MODEL)
    model._async_client = client(transport=transport(channel=grpc.aio.insecure_channel(service.address)))
    return model


WHOLE = {"input_tokens": INPUT, "output_tokens": CHUNKS}


def test_a_stream_is_charged_to_the_token(grpc_model):
    with BudgetGuard(usd_limit=1) as guard:
        reply = grpc_model.generate_content("Hello!", stream=True)
        assert type(reply) is genai.types.GenerateContentResponse
        assert "".join(chunk.text for chunk in reply) == "one " * CHUNKS
        assert reply.text == "one " * CHUNKS

    assert guard.usage == WHOLE
    assert not guard.estimated


def test_a_resolved_stream_in_a_chat_is_charged_to_the_token(grpc_model):
    with BudgetGuard(usd_limit=1) as guard:
        chat = grpc_model.start_chat()
        chat.send_message("Hello!", stream=True).resolve()
        chat.send_message("Hello!", stream=True).resolve()

    assert guard.usage == {kind: 2 * count for kind, count in WHOLE.items()}
    assert not guard.estimated


def test_a_stream_that_is_left_is_charged_for_what_arrived(grpc_model):
    with BudgetGuard(usd_limit=1) as guard:
        for _ in grpc_model.generate_content("Hello!", stream=True):
            break
        gc.collect()

    is_charged_by_estimate(guard)
    assert 0 < guard.usage["output_tokens"] < CHUNKS


def test_a_stream_is_cut_as_soon_as_it_is_certain_to_pass_the_limit(grpc_model, service):
    service.length = 500

    with BudgetGuard(token_limit=100) as guard, pytest.raises(BudgetExceededError) as cut:
        list(grpc_model.generate_content("Hello!", stream=True))

    assert cut.value.phase == "during"
    assert guard.tokens_used == 101


def test_a_stream_that_passes_the_limit_at_its_end_is_told_then(grpc_model):
    received: list[Any] = []

    def read() -> None:
        for chunk in grpc_model.generate_content("Hello!", stream=True):
            received.append(chunk)

    with BudgetGuard(token_limit=INPUT + CHUNKS - 1) as guard, pytest.raises(BudgetExceededError) as passed:
        read()

    assert passed.value.phase == "after"
    assert len(received) == CHUNKS
    assert guard.usage == WHOLE


async def test_awaited_content_and_its_streams_are_charged_to_the_token(service):
    model = await agrpc_model(service)
    async with BudgetGuard(usd_limit=1) as guard:
        whole = await model.generate_content_async("Hello!")
        reply = await model.generate_content_async("Hello!", stream=True)
        assert "".join([chunk.text async for chunk in reply]) == whole.text

    assert guard.usage == {kind: 2 * count for kind, count in WHOLE.items()}
    assert not guard.estimated


async def test_an_async_stream_that_is_left_is_charged_for_what_arrived(service):
    model = await agrpc_model(service)
    async with BudgetGuard(usd_limit=1) as guard:
        reply = await model.generate_content_async("Hello!", stream=True)
        async for _ in reply:
            break
        del reply
        gc.collect()

    await ended(guard)
    is_charged_by_estimate(guard)


async def test_awaited_calls_are_refused_when_the_budget_is_used_up(service):
    model = await agrpc_model(service)
    async with BudgetGuard(token_limit=5):
        with pytest.raises(BudgetExceededError) as passed:
            await model.generate_content_async("Hello!")
        with pytest.raises(BudgetExceededError) as refused:
            await model.generate_content_async("Hello!")

    assert (passed.value.phase, refused.value.phase) == ("after", "before")
    assert passed.value.response.text.startswith("one one")
