"""Calls through google-genai that are answered in one piece: what they bill, and what the caller gets."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

import actguard
from actguard import BudgetExceededError, BudgetGuard, UnmeteredCallError, UnsupportedSDKError
from actguard.testing import HttpError, LocalProvider, Lost, NotJSON, Reply, Reset, ToolCall

genai = pytest.importorskip("google.genai")

from google.genai import _api_client, errors, types  # noqa: E402

MODEL = "gemini-2.5-flash"


@pytest.fixture
def client(llm_provider: LocalProvider) -> Any:
    return llm_provider.google()


def google_auth() -> Any:
    return pytest.importorskip("google.oauth2.credentials").Credentials("token")


@pytest.fixture
def vertex(llm_provider: LocalProvider) -> Any:
    options: Any = {"base_url": llm_provider.url, "api_version": "v1"}
    return genai.Client(
        vertexai=True, project="p", location="us-central1", credentials=google_auth(), http_options=options
    )


@pytest.fixture(params=["aiohttp", "without aiohttp"])
def aclient(request: pytest.FixtureRequest, llm_provider: LocalProvider, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The asynchronous client, over each of the HTTP libraries it may find."""
    if not hasattr(_api_client, "has_aiohttp") and request.param == "aiohttp":
        pytest.skip("this version knows no aiohttp")
    if request.param == "without aiohttp":
        monkeypatch.setattr(_api_client, "has_aiohttp", False, raising=False)
    return llm_provider.google().aio


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """`answering(body, ...)`: what the API says next, to whatever request. For endpoints the local provider lacks."""
    actguard.uninstall()
    bodies: list[Any] = []

    def request(client: Any, *_: Any, **__: Any) -> Any:
        body = bodies.pop(0)
        if hasattr(types, "HttpResponse") and _speaks_text():
            return types.HttpResponse(headers={}, body=json.dumps(body))
        return body

    monkeypatch.setattr(_api_client.BaseApiClient, "request", request)
    yield lambda *more: bodies.extend(more)
    actguard.uninstall()


def _speaks_text() -> bool:
    """Whether the SDK's own request method gives the text of a reply, or (until 1.19) what it parsed."""
    return "SdkHttpResponse" in vars(_api_client)


def is_charged_by_estimate(guard: BudgetGuard, provider: LocalProvider) -> None:
    provider.wait_idle()
    assert guard.estimated
    assert guard.tokens_used > 0
    account: Any = guard.account
    assert (account.held_pico, account.held_tokens, account.in_flight) == (0, 0, 0)


# ---- every way of calling --------------------------------------------------------------------------------------------


def test_content_is_charged_what_the_provider_bills(client, agrees):
    with BudgetGuard(user_id="alice", usd_limit=1) as guard:
        reply = client.models.generate_content(model=MODEL, contents="Hello!")

    assert type(reply) is types.GenerateContentResponse
    usage = reply.usage_metadata
    assert guard.usage == {"input_tokens": usage.prompt_token_count, "output_tokens": usage.candidates_token_count}
    assert guard.by_model[MODEL]["calls"] == guard.calls == 1
    agrees(guard)


async def test_awaited_content_is_charged_the_same_over_any_http_library(aclient, agrees):
    async with BudgetGuard(usd_limit=1) as guard:
        reply = await aclient.models.generate_content(model=MODEL, contents="Hello!")

    assert type(reply) is types.GenerateContentResponse
    assert guard.calls == 1
    agrees(guard)


@pytest.mark.parametrize("library", ["httpx", "httpx2"])
async def test_content_is_charged_the_same_over_whatever_library_was_chosen(llm_provider, agrees, monkeypatch, library):
    if not hasattr(_api_client, "_get_http_client_backend"):
        pytest.skip("this version gives no choice")
    pytest.importorskip(library)
    monkeypatch.setenv("GOOGLE_GENAI_HTTP_CLIENT", library)
    client = llm_provider.google()

    async with BudgetGuard(usd_limit=1) as guard:
        client.models.generate_content(model=MODEL, contents="Hello!")
        assert list(client.models.generate_content_stream(model=MODEL, contents="Hello!"))
        await client.aio.models.generate_content(model=MODEL, contents="Hello!")

    assert guard.calls == 3
    agrees(guard)


KINDS = {
    "cached input": (MODEL, Reply(input_tokens=5000, cached_tokens=4096)),
    "thoughts": (MODEL, Reply(output_tokens=30, reasoning_tokens=700)),
    "prompts of tools": (MODEL, Reply(tool_prompt_tokens=250)),
    "audio": (MODEL, Reply(input_tokens=900, audio_input_tokens=600, cached_audio_tokens=100, cached_tokens=50)),
    "long context": ("gemini-2.5-pro", Reply(input_tokens=300_000, cached_tokens=100_000, output_tokens=50)),
    "grounding, by the prompt": (MODEL, Reply(web_searches=3)),
    "grounding, by the query": ("gemini-3-flash-preview", Reply(web_searches=3)),
    "flex": (MODEL, Reply(service_tier="flex")),
    "priority": (MODEL, Reply(service_tier="priority")),
    "flex with a cache": (MODEL, Reply(service_tier="flex", cached_tokens=40)),
    "several candidates": (MODEL, Reply("Hello there")),
    "several candidates after searches": ("gemini-3-flash-preview", Reply("Hello there", web_searches=3)),
    "a filter": (MODEL, Reply(output_tokens=0, finish="SAFETY")),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_token_is_charged_once_at_its_own_price(client, llm_provider, agrees, kind):
    model, reply = KINDS[kind]
    llm_provider.reply(reply)

    with BudgetGuard(usd_limit=10) as guard:
        config = types.GenerateContentConfig(candidate_count=3 if kind.startswith("several candidates") else None)
        client.models.generate_content(model=model, contents="Hello!", config=config)

    assert guard.calls == 1
    agrees(guard)


def test_vertex_is_charged_the_same(vertex, llm_provider, agrees):
    with BudgetGuard(usd_limit=1) as guard:
        vertex.models.generate_content(model=MODEL, contents="Hello!")

    assert llm_provider.ledger.last.provider == "vertex"
    agrees(guard)


async def test_vertex_is_charged_the_same_when_awaited(vertex, llm_provider, agrees):
    async with BudgetGuard(usd_limit=1) as guard:
        await vertex.aio.models.generate_content(model=MODEL, contents="Hello!")

    assert llm_provider.ledger.last.provider == "vertex"
    agrees(guard)


def test_a_chat_is_charged_message_by_message(client, agrees):
    with BudgetGuard(usd_limit=1) as guard:
        chat = client.chats.create(model=MODEL)
        chat.send_message("Hello!")
        assert [chunk.text for chunk in chat.send_message_stream("And then?")]

    assert guard.calls == 2
    agrees(guard)


def test_one_embedding_and_many_are_charged(client, agrees):
    with BudgetGuard(usd_limit=1) as guard:
        client.models.embed_content(model="gemini-embedding-001", contents="Hello!")
        client.models.embed_content(model="gemini-embedding-001", contents=["one", "two", "three"])

    assert guard.calls == 2
    agrees(guard)


async def test_awaited_embeddings_are_charged(client, agrees):
    async with BudgetGuard(usd_limit=1) as guard:
        await client.aio.models.embed_content(model="gemini-embedding-001", contents=["one", "two"])

    assert guard.calls == 1
    agrees(guard)


def test_counting_tokens_is_free_even_when_the_budget_is_used_up(client, agrees):
    with BudgetGuard(token_limit=1) as guard:
        with pytest.raises(BudgetExceededError):
            client.models.generate_content(model=MODEL, contents="Hello!")
        assert client.models.count_tokens(model=MODEL, contents="Hello!").total_tokens

    assert guard.calls == 1
    agrees(guard)


def test_outside_a_guard_nothing_is_counted(client, llm_provider):
    with BudgetGuard(usd_limit=1) as guard:
        pass
    client.models.generate_content(model=MODEL, contents="Hello!")
    assert list(client.models.generate_content_stream(model=MODEL, contents="Hello!"))

    assert llm_provider.ledger.calls == 2
    assert guard.calls == 0


# ---- functions that the SDK calls by itself --------------------------------------------------------------------------


def weather(city: str) -> str:
    """The weather in a city."""
    return f"fine in {city}"


ASKS: Any = Reply(tool_calls=[ToolCall("weather", {"city": "Paris"})])


def test_every_round_of_function_calling_is_charged(client, llm_provider, agrees):
    llm_provider.reply(ASKS, ASKS, "It is fine.")

    with BudgetGuard(usd_limit=1) as guard:
        config = types.GenerateContentConfig(tools=[weather])
        reply = client.models.generate_content(model=MODEL, contents="How is it in Paris?", config=config)

    assert reply.text == "It is fine."
    assert guard.calls == 3
    agrees(guard)


async def test_every_round_of_function_calling_is_charged_when_awaited(client, llm_provider, agrees):
    llm_provider.reply(ASKS, "It is fine.")

    async with BudgetGuard(usd_limit=1) as guard:
        config = types.GenerateContentConfig(tools=[weather])
        reply = await client.aio.models.generate_content(model=MODEL, contents="How is it in Paris?", config=config)

    assert reply.text == "It is fine."
    assert guard.calls == 2
    agrees(guard)


def test_function_calling_stops_between_rounds_and_hands_over_the_reply_that_was_paid(client, llm_provider, agrees):
    llm_provider.reply(ASKS, "It is fine.")
    called: list[str] = []

    def weather(city: str) -> str:
        """The weather in a city."""
        called.append(city)
        return "fine"

    config = types.GenerateContentConfig(tools=[weather])
    with BudgetGuard(token_limit=1) as guard, pytest.raises(BudgetExceededError) as refused:
        client.models.generate_content(model=MODEL, contents="How is it in Paris?", config=config)

    assert refused.value.phase == "after"
    assert type(refused.value.response) is types.GenerateContentResponse
    assert refused.value.response.function_calls[0].args == {"city": "Paris"}
    assert called == []
    assert llm_provider.ledger.calls == 1
    agrees(guard)


def stopped() -> Any:
    """A reply that stopped where the decoder did, with the token to go on from."""
    if "continuation_token" not in types.Candidate.model_fields:
        pytest.skip("this version does not continue by itself")
    content = {"parts": [{"text": "one "}], "role": "model"}
    candidate = {"content": content, "finishReason": "CONTINUATION", "continuationToken": "bW9yZQ=="}
    return {"candidates": [candidate], "modelVersion": MODEL, "usageMetadata": USED}


async def test_a_refusal_between_two_hops_of_a_continued_call_hands_over_what_was_paid(client, answering):
    answering(stopped(), stopped(), stopped())

    with BudgetGuard(token_limit=60) as guard, pytest.raises(BudgetExceededError) as refused:
        client.models.generate_content(model=MODEL, contents="Hello!")

    assert refused.value.phase == "before"
    assert refused.value.response.text == "one one "
    assert guard.calls == 2

    with BudgetGuard(token_limit=59), pytest.raises(BudgetExceededError) as passed:
        answering(stopped())
        client.models.generate_content(model=MODEL, contents="Hello!")

    assert passed.value.phase == "after"
    assert passed.value.response.text == "one one "


# ---- limits ----------------------------------------------------------------------------------------------------------


def test_the_call_that_passes_the_limit_is_told_after_it_and_none_is_sent_any_more(client, llm_provider, agrees):
    with BudgetGuard(token_limit=5) as guard:
        with pytest.raises(BudgetExceededError) as passed:
            client.models.generate_content(model=MODEL, contents="Hello!")
        with pytest.raises(BudgetExceededError) as refused:
            client.models.generate_content(model=MODEL, contents="Hello!")

    assert (passed.value.phase, refused.value.phase) == ("after", "before")
    assert passed.value.response.text.startswith("one two")
    assert refused.value.response is None
    assert llm_provider.ledger.calls == 1
    agrees(guard)


async def test_the_same_holds_when_awaited(client, llm_provider, agrees):
    async with BudgetGuard(token_limit=5) as guard:
        with pytest.raises(BudgetExceededError) as passed:
            await client.aio.models.generate_content(model=MODEL, contents="Hello!")
        with pytest.raises(BudgetExceededError) as refused:
            await client.aio.models.generate_content(model=MODEL, contents="Hello!")

    assert (passed.value.phase, refused.value.phase) == ("after", "before")
    assert passed.value.response.text.startswith("one two")
    assert llm_provider.ledger.calls == 1
    agrees(guard)


def test_embeddings_that_pass_the_limit_are_handed_over(client):
    with BudgetGuard(token_limit=1), pytest.raises(BudgetExceededError) as passed:
        client.models.embed_content(model="gemini-embedding-001", contents=["one one one", "two two two"])

    assert len(passed.value.response.embeddings) == 2


def test_a_strict_guard_sets_the_output_cap_and_leaves_the_callers_config_alone(client, llm_provider, agrees):
    config = types.GenerateContentConfig(temperature=0.5, max_output_tokens=5000)
    llm_provider.default = Reply(output_tokens=6000)

    with BudgetGuard(token_limit=1000, strict=True) as guard:
        reply = client.models.generate_content(model=MODEL, contents="Hello!", config=config)

    sent = llm_provider.requests[-1].json["generationConfig"]
    assert sent["temperature"] == 0.5
    assert 500 < sent["maxOutputTokens"] < 1000
    assert config.max_output_tokens == 5000
    assert reply.candidates[0].finish_reason.value == "MAX_TOKENS"
    assert guard.tokens_used <= 1000
    agrees(guard)


def test_a_strict_guard_leaves_a_cap_alone_that_is_low_enough(client, llm_provider, agrees):
    with BudgetGuard(token_limit=10_000, strict=True) as guard:
        config = types.GenerateContentConfig(max_output_tokens=7)
        client.models.generate_content(model=MODEL, contents="Hello!", config=config)

    assert llm_provider.requests[-1].json["generationConfig"] == {"maxOutputTokens": 7}
    agrees(guard)


def test_a_strict_guard_shares_the_cap_among_candidates(client, llm_provider, agrees):
    llm_provider.default = Reply(output_tokens=6000)

    with BudgetGuard(token_limit=1000, strict=True) as guard:
        config = types.GenerateContentConfig(candidate_count=4)
        client.models.generate_content(model=MODEL, contents="Hello!", config=config)

    assert llm_provider.requests[-1].json["generationConfig"]["maxOutputTokens"] < 250
    assert guard.tokens_used <= 1000
    agrees(guard)


async def test_strict_calls_at_once_never_pass_the_limit(client, llm_provider, agrees):
    llm_provider.default = Reply(output_tokens=300)

    async def ask() -> bool:
        try:
            await client.aio.models.generate_content(model=MODEL, contents="Hello!")
        except BudgetExceededError:
            return False
        return True

    async with BudgetGuard(token_limit=2000, strict=True) as guard:
        answered = await asyncio.gather(*(ask() for _ in range(20)))

    assert 1800 <= guard.tokens_used <= 2000
    assert sum(answered) == llm_provider.ledger.calls
    agrees(guard)


@pytest.mark.skipif("extra_body" not in types.HttpOptions.model_fields, reason="this version knows no extra_body")
@pytest.mark.parametrize("spelling", ["generationConfig", "generation_config"])
@pytest.mark.parametrize("whose", ["client", "request"])
def test_extra_body_raises_no_cap_that_was_granted(llm_provider, agrees, spelling, whose):
    inner = "maxOutputTokens" if spelling == "generationConfig" else "max_output_tokens"
    extra = {spelling: {inner: 5000, "seed": 7}, "labels": {"a": "b"}}
    options: Any = {"base_url": llm_provider.url, "extra_body": extra if whose == "client" else None}
    client = genai.Client(api_key="key", http_options=options)
    llm_provider.default = Reply(output_tokens=6000)

    with BudgetGuard(token_limit=1000, strict=True) as guard:
        per_request = types.HttpOptions(extra_body=extra) if whose == "request" else None
        config = types.GenerateContentConfig(temperature=0.5, http_options=per_request)
        client.models.generate_content(model=MODEL, contents="Hello!", config=config)

    sent = llm_provider.requests[-1].json
    assert sent["labels"] == {"a": "b"}
    assert sent["generationConfig"].pop(inner) < 1000
    assert sent["generationConfig"] == {"temperature": 0.5, "seed": 7}
    assert extra == {spelling: {inner: 5000, "seed": 7}, "labels": {"a": "b"}}
    assert guard.tokens_used <= 1000
    agrees(guard)


# ---- what cannot be metered, and what is billed later ----------------------------------------------------------------


def test_images_are_refused_under_a_limit_and_pass_where_that_is_allowed(vertex, llm_provider):
    def draw() -> Any:
        return vertex.models.generate_images(model="imagen-4.0-generate-001", prompt="A cat")

    with BudgetGuard(usd_limit=1), pytest.raises(UnmeteredCallError, match="predict"):
        draw()
    assert llm_provider.ledger.calls == 0

    with BudgetGuard(usd_limit=1, unmetered="allow") as guard:
        draw()
    assert guard.unmetered_calls == llm_provider.ledger.calls == 1


async def test_a_live_session_is_refused_under_a_limit_before_it_is_connected(client):
    with BudgetGuard(usd_limit=1) as guard, pytest.raises(UnmeteredCallError, match="live"):
        async with client.aio.live.connect(model="gemini-2.0-flash-live-001", config={}):
            pass

    assert guard.calls == 0


OPERATION = {"name": "batches/b1", "metadata": {"state": "BATCH_STATE_RUNNING", "model": f"models/{MODEL}"}}
USED = {"promptTokenCount": 10, "candidatesTokenCount": 20, "totalTokenCount": 30}
FINISHED = {
    "name": "batches/b1",
    "done": True,
    "metadata": {"state": "BATCH_STATE_SUCCEEDED", "model": f"models/{MODEL}"},
    "response": {"inlinedResponses": {"inlinedResponses": [{"response": {"usageMetadata": USED}}] * 2}},
}


def batch_api() -> Any:
    if "inlined_requests" not in getattr(types, "BatchJobSource", types.HttpOptions).model_fields:
        pytest.skip("this version has no batches on the Gemini API")


@pytest.mark.parametrize("where", ["in the guard", "after the guard"])
def test_a_batch_is_charged_once_when_it_is_found_finished(client, answering, where):
    batch_api()
    answering(OPERATION, OPERATION, FINISHED, FINISHED)

    with BudgetGuard(usd_limit=1) as guard:
        client.batches.create(model=MODEL, src=[{"contents": [{"parts": [{"text": "Hello!"}]}]}] * 2)
        client.batches.get(name="batches/b1")
        assert guard.calls == 0
        if where == "in the guard":
            client.batches.get(name="batches/b1")
            client.batches.get(name="batches/b1")
    if where == "after the guard":
        client.batches.get(name="batches/b1")
        client.batches.get(name="batches/b1")

    assert guard.calls == 1
    assert guard.tokens_used == 60
    assert guard.usd_used == pytest.approx((20 * 0.15 + 40 * 1.25) / 1e6)  # half the price
    assert not guard.estimated


def test_what_is_put_into_a_cache_is_charged(client, answering):
    answering({"name": "cachedContents/c1", "model": f"models/{MODEL}", "usageMetadata": {"totalTokenCount": 5000}})

    with BudgetGuard(usd_limit=1) as guard:
        client.caches.create(model=MODEL, config=types.CreateCachedContentConfig(contents="A long text"))

    assert guard.tokens_used == 5000
    assert guard.usd_used > 0


# ---- replies that say little, or are lost ----------------------------------------------------------------------------


def test_a_reply_without_usage_is_charged_by_estimate_and_visible(client, llm_provider):
    llm_provider.reply(Reply(usage="omitted"))

    with BudgetGuard(usd_limit=1) as guard:
        assert client.models.generate_content(model=MODEL, contents="Hello!").text

    assert guard.unmetered_calls == 1
    is_charged_by_estimate(guard, llm_provider)


@pytest.mark.parametrize(
    "usage", [{"promptTokenCount": -5}, {"promptTokenCount": 5, "totalTokenCount": 2}, {"promptTokenCount": 0}]
)
def test_usage_that_cannot_be_is_charged_by_estimate(client, llm_provider, usage):
    llm_provider.reply(Reply(usage=usage))

    with BudgetGuard(usd_limit=1) as guard:
        assert client.models.generate_content(model=MODEL, contents="Hello!").text

    is_charged_by_estimate(guard, llm_provider)


def test_a_reply_that_is_no_json_is_charged_by_estimate_and_fails_as_it_would(client, llm_provider):
    llm_provider.reply(NotJSON())

    with BudgetGuard(usd_limit=1) as guard, pytest.raises(ValueError):
        client.models.generate_content(model=MODEL, contents="Hello!")

    is_charged_by_estimate(guard, llm_provider)


@pytest.mark.parametrize("status", [400, 429, 500, 503])
def test_an_error_status_is_not_charged_and_reaches_the_caller_unchanged(client, llm_provider, agrees, status):
    llm_provider.reply(HttpError(status=status))

    with BudgetGuard(usd_limit=1) as guard, pytest.raises(errors.APIError) as failed:
        client.models.generate_content(model=MODEL, contents="Hello!")

    assert failed.value.code == status
    assert guard.calls == 0
    agrees(guard)


@pytest.mark.skipif(not hasattr(types, "HttpRetryOptions"), reason="this version does not retry")
async def test_retries_are_one_call(llm_provider, agrees):
    retry = {"attempts": 3, "initial_delay": 0.001, "max_delay": 0.002}
    options: Any = {"base_url": llm_provider.url, "retry_options": retry}
    client = genai.Client(api_key="key", http_options=options)
    llm_provider.reply(HttpError(status=503), HttpError(status=503), "Hello!")
    llm_provider.reply(HttpError(status=503), "Hello again!")

    with BudgetGuard(usd_limit=1) as guard:
        assert client.models.generate_content(model=MODEL, contents="Hello!").text == "Hello!"
        assert (await client.aio.models.generate_content(model=MODEL, contents="Hello!")).text == "Hello again!"

    assert guard.calls == 2
    agrees(guard)


@pytest.mark.parametrize("fault", [Lost(), Reset()], ids=["lost", "reset"])
def test_an_answer_that_was_lost_may_have_been_billed_and_is_charged_by_estimate(client, llm_provider, fault):
    llm_provider.reply(fault)

    with BudgetGuard(usd_limit=1) as guard, pytest.raises(Exception) as failed:
        client.models.generate_content(model=MODEL, contents="Hello!")

    assert not isinstance(failed.value, actguard.ActGuardError)
    is_charged_by_estimate(guard, llm_provider)


def test_a_lost_answer_is_not_charged_where_the_policy_says_so(client, llm_provider):
    llm_provider.reply(Reset())

    with BudgetGuard(usd_limit=1, lost_attempts="ignore") as guard, pytest.raises(Exception):  # noqa: B017
        client.models.generate_content(model=MODEL, contents="Hello!")

    assert (guard.tokens_used, guard.calls, guard.estimated) == (0, 0, False)


def test_a_call_that_was_never_sent_is_not_charged():
    options: Any = {"base_url": "http://127.0.0.1:9"}
    client = genai.Client(api_key="key", http_options=options)

    with BudgetGuard(usd_limit=1) as guard, pytest.raises(Exception):  # noqa: B017
        client.models.generate_content(model=MODEL, contents="Hello!")

    assert (guard.tokens_used, guard.calls, guard.estimated) == (0, 0, False)
    assert guard.account.in_flight == 0


async def test_an_attempt_that_was_lost_and_the_one_that_was_answered_are_both_charged(
    client, llm_provider, monkeypatch
):
    if not getattr(_api_client, "has_aiohttp", False):
        pytest.skip("only over aiohttp does the SDK try again by itself")
    llm_provider.reply(Lost(), Reply())
    sleep = asyncio.sleep
    monkeypatch.setattr(asyncio, "sleep", lambda _: sleep(0))

    async with BudgetGuard(usd_limit=1) as guard:
        assert (await client.aio.models.generate_content(model=MODEL, contents="Hello!")).text

    assert guard.estimated
    assert guard.calls == llm_provider.ledger.calls == 2
    assert guard.account.in_flight == 0


async def test_a_call_that_is_cancelled_after_it_was_sent_is_charged_by_estimate(aclient, llm_provider):
    async with BudgetGuard(usd_limit=1) as guard:
        with llm_provider.hold() as gate:
            call = asyncio.create_task(aclient.models.generate_content(model=MODEL, contents="Hello!"))
            await gate.wait_for_async(1)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call

    is_charged_by_estimate(guard, llm_provider)


# ---- watching, and not -----------------------------------------------------------------------------------------------


def patched() -> dict[str, Any]:
    from google.genai import _extra_utils, live

    places: list[Any] = [_api_client.BaseApiClient, live.AsyncLive, _extra_utils]
    return {f"{place.__name__}.{name}": value for place in places for name, value in vars(place).items()}


def test_uninstalling_leaves_no_trace(client, llm_provider):
    actguard.uninstall()
    before = patched()
    with BudgetGuard(usd_limit=1) as guard:
        client.models.generate_content(model=MODEL, contents="Hello!")
        assert patched() != before
        actguard.uninstall()
        client.models.generate_content(model=MODEL, contents="Hello!")

    assert patched() == before
    assert guard.calls == 1
    assert llm_provider.ledger.calls == 2


@pytest.mark.parametrize("name", ["request", "async_request", "request_streamed", "async_request_streamed"])
def test_a_release_that_lacks_what_is_watched_is_refused_aloud(monkeypatch, name):
    actguard.uninstall()
    before = patched()
    monkeypatch.delattr(_api_client.BaseApiClient, name)

    with pytest.raises(UnsupportedSDKError, match=name), BudgetGuard(usd_limit=1):
        pass

    monkeypatch.undo()
    assert patched() == before


def test_an_instrumentation_that_came_first_keeps_working(client, llm_provider, monkeypatch, agrees):
    actguard.uninstall()
    seen: list[str] = []
    request = _api_client.BaseApiClient.request

    def watched(api_client: Any, http_method: str, path: str, *args: Any, **kwargs: Any) -> Any:
        seen.append(path)
        return request(api_client, http_method, path, *args, **kwargs)

    monkeypatch.setattr(_api_client.BaseApiClient, "request", watched)
    with BudgetGuard(usd_limit=1) as guard:
        client.models.generate_content(model=MODEL, contents="Hello!")
    actguard.uninstall()

    assert seen == [f"models/{MODEL}:generateContent"]
    agrees(guard)
