"""The google-genai SDK against the local provider."""

import json
import urllib.request
from decimal import Decimal
from typing import Any

import pytest

from actguard.testing import LocalProvider, Reply, ToolCall

genai = pytest.importorskip("google.genai")

FLASH = "gemini-2.5-flash"
HI_TOKENS = 1 + 4 + 3


def post(llm_provider: LocalProvider, path: str, body: dict[str, Any]) -> Any:
    data = json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(f"{llm_provider.url}{path}", data, method="POST")) as reply:
        return json.load(reply)


def test_content_says_what_it_used_and_the_ledger_agrees(llm_provider: LocalProvider) -> None:
    reply = llm_provider.google().models.generate_content(model=FLASH, contents="Hi")
    usage = reply.usage_metadata
    assert (usage.prompt_token_count, usage.candidates_token_count, usage.total_token_count) == (
        HI_TOKENS,
        20,
        HI_TOKENS + 20,
    )
    assert reply.model_version == FLASH
    assert llm_provider.ledger.last.provider == "google"
    assert llm_provider.ledger.total_usd == (HI_TOKENS * Decimal("0.3") + 20 * Decimal("2.5")) / 1_000_000


def test_every_chunk_of_a_stream_has_the_usage_so_far(llm_provider: LocalProvider) -> None:
    chunks = list(llm_provider.google().models.generate_content_stream(model=FLASH, contents="Hi"))
    assert [chunk.usage_metadata.candidates_token_count for chunk in chunks] == list(range(1, 21))
    assert chunks[-1].candidates[0].finish_reason.value == "STOP"
    assert llm_provider.ledger.tokens == chunks[-1].usage_metadata.total_token_count


async def test_the_async_client_gets_the_same(llm_provider: LocalProvider) -> None:
    models = llm_provider.google().aio.models
    whole = await models.generate_content(model=FLASH, contents="Hi")
    stream = await models.generate_content_stream(model=FLASH, contents="Hi")
    text = "".join([chunk.text async for chunk in stream])
    assert text == whole.text
    assert llm_provider.ledger.calls == 2


def test_thoughts_and_tool_prompts_are_beside_the_other_counts(llm_provider: LocalProvider) -> None:
    llm_provider.reply(
        Reply(
            input_tokens=1000,
            cached_tokens=400,
            audio_input_tokens=100,
            tool_prompt_tokens=50,
            reasoning_tokens=30,
            output_tokens=10,
        )
    )
    usage = llm_provider.google().models.generate_content(model=FLASH, contents="Hi").usage_metadata
    assert (usage.prompt_token_count, usage.cached_content_token_count) == (1000, 400)
    assert usage.candidates_token_count == 10
    assert getattr(usage, "thoughts_token_count", 30) == 30  # not in the oldest SDK
    assert getattr(usage, "tool_use_prompt_token_count", 50) == 50
    assert usage.total_token_count == 1000 + 50 + 10 + 30 == llm_provider.ledger.tokens
    dollars = 550 * Decimal("0.3") + 400 * Decimal("0.03") + 100 * 1 + 40 * Decimal("2.5")
    assert llm_provider.ledger.total_usd == dollars / 1_000_000


def test_the_cap_covers_thoughts(llm_provider: LocalProvider) -> None:
    llm_provider.reply(Reply(reasoning_tokens=30, output_tokens=10))
    config = {"max_output_tokens": 32}
    reply = llm_provider.google().models.generate_content(model=FLASH, contents="Hi", config=config)
    assert reply.candidates[0].finish_reason.value == "MAX_TOKENS"
    assert reply.usage_metadata.candidates_token_count == 2


def test_function_calls_arrive(llm_provider: LocalProvider) -> None:
    llm_provider.reply(Reply(tool_calls=[ToolCall("search", {"q": "cats"})]))
    reply = llm_provider.google().models.generate_content(model=FLASH, contents="Hi")
    assert (reply.function_calls[0].name, reply.function_calls[0].args) == ("search", {"q": "cats"})


def test_automatic_function_calling_makes_a_second_call(llm_provider: LocalProvider) -> None:
    def weather(city: str) -> str:
        """The weather in a city."""
        return f"sunny in {city}"

    llm_provider.reply(Reply(tool_calls=[ToolCall("weather", {"city": "Rome"})]), "It is sunny.")
    reply = llm_provider.google().models.generate_content(model=FLASH, contents="Hi", config={"tools": [weather]})
    assert reply.text == "It is sunny."
    assert llm_provider.ledger.calls == 2
    assert "sunny in Rome" in llm_provider.requests[-1].text


def test_a_long_context_and_searches_have_their_price(llm_provider: LocalProvider) -> None:
    llm_provider.reply(Reply(input_tokens=200_001, output_tokens=100, web_searches=3))
    reply = llm_provider.google().models.generate_content(model="gemini-2.5-pro", contents="Hi")
    assert len(reply.candidates[0].grounding_metadata.web_search_queries) == 3
    tokens = (200_001 * Decimal("2.5") + 100 * 15) / 1_000_000
    assert llm_provider.ledger.total_usd == tokens + Decimal("0.035")  # by grounded prompt, not by query


def test_embeddings_and_counting(llm_provider: LocalProvider) -> None:
    models = llm_provider.google().models
    reply = models.embed_content(model="gemini-embedding-001", contents=["12345678", "1234"])
    assert len(reply.embeddings) == 2
    assert llm_provider.ledger.tokens == 3
    assert models.count_tokens(model=FLASH, contents="Hi").total_tokens == HI_TOKENS
    assert llm_provider.ledger.calls == 1


def test_models_are_listed_and_read(llm_provider: LocalProvider) -> None:
    models = llm_provider.google().models
    assert f"models/{FLASH}" in [model.name for model in models.list()]
    assert models.get(model=FLASH).name == f"models/{FLASH}"
    assert llm_provider.ledger.calls == 0


def test_a_response_schema_gets_an_instance_of_it_and_a_forced_function_is_called(llm_provider: LocalProvider) -> None:
    models = llm_provider.google().models
    schema = {"type": "OBJECT", "properties": {"n": {"type": "INTEGER"}, "ok": {"type": "BOOLEAN"}}}
    config: dict[str, Any] = {"response_mime_type": "application/json", "response_schema": schema}
    assert json.loads(models.generate_content(model=FLASH, contents="Hi", config=config).text) == {"n": 1, "ok": True}
    config = {
        "tools": [{"function_declarations": [{"name": "search", "parameters": schema}]}],
        "tool_config": {"function_calling_config": {"mode": "ANY"}},
        "automatic_function_calling": {"disable": True},
    }
    called = models.generate_content(model=FLASH, contents="Hi", config=config).function_calls
    assert [(call.name, call.args) for call in called] == [("search", {"n": 1, "ok": True})]


def test_vertex_paths_state_a_traffic_type_and_usage_only_at_the_end(llm_provider: LocalProvider) -> None:
    base = f"/v1beta1/projects/p/locations/us-central1/publishers/google/models/{FLASH}"
    body = {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}
    llm_provider.reply(Reply(service_tier="flex", input_tokens=1000, output_tokens=0))
    assert post(llm_provider, f"{base}:generateContent", body)["usageMetadata"]["trafficType"] == "ON_DEMAND_FLEX"
    assert llm_provider.ledger.last.provider == "vertex"
    assert llm_provider.ledger.total_usd == 1000 * Decimal("0.15") / 1_000_000
    data = json.dumps(body).encode()
    url = f"{llm_provider.url}{base}:streamGenerateContent?alt=sse"
    with urllib.request.urlopen(urllib.request.Request(url, data, method="POST")) as reply:
        events = [json.loads(line[6:]) for line in reply.read().splitlines() if line]
    assert events[0]["usageMetadata"] == {"trafficType": "ON_DEMAND"}
    assert events[-1]["usageMetadata"]["candidatesTokenCount"] == 20


def test_vertex_predicts(llm_provider: LocalProvider) -> None:
    base = "/v1/projects/p/locations/us-central1/publishers/google/models"
    drawn = post(
        llm_provider,
        f"{base}/imagen-4.0-generate-001:predict",
        {"instances": [{"prompt": "a cat"}], "parameters": {"sampleCount": 2}},
    )
    assert len(drawn["predictions"]) == 2
    assert llm_provider.ledger.total_usd == Decimal("0.08")
    embedded = post(llm_provider, f"{base}/gemini-embedding-001:predict", {"instances": [{"content": "12345678"}]})
    assert embedded["predictions"][0]["embeddings"]["statistics"]["token_count"] == 2
    assert llm_provider.ledger.last.tokens == 2


# -- interactions ----------------------------------------------------------------------------------------------------


def interactions(llm_provider: LocalProvider) -> Any:
    client = llm_provider.google()
    if not hasattr(client, "interactions"):
        pytest.skip("this google-genai has no interactions")
    return client.interactions


def test_an_interaction_says_what_it_used(llm_provider: LocalProvider) -> None:
    llm_provider.reply(Reply("Hello", reasoning_tokens=5))
    usage = interactions(llm_provider).create(model=FLASH, input="Hi").usage
    assert (usage.total_input_tokens, usage.total_output_tokens, usage.total_thought_tokens) == (4, 2, 5)
    assert usage.total_tokens == llm_provider.ledger.tokens == 11


def test_an_interaction_streams(llm_provider: LocalProvider) -> None:
    events = list(interactions(llm_provider).create(model=FLASH, input="Hi", stream=True))
    kinds = [event.event_type for event in events]
    assert kinds[0] == "interaction.created"
    assert kinds.count("step.delta") == 20
    completed = next(event for event in events if event.event_type == "interaction.completed")
    assert completed.interaction.usage.total_tokens == llm_provider.ledger.tokens


async def test_an_interaction_reaches_the_async_client(llm_provider: LocalProvider) -> None:
    interactions(llm_provider)
    client = llm_provider.google().aio
    whole = await client.interactions.create(model=FLASH, input="Hi", generation_config={"max_output_tokens": 3})
    assert whole.status == "incomplete"
    async for event in await client.interactions.create(model=FLASH, input="Hi", stream=True):
        last = event
    assert last.event_type == "interaction.completed"
    assert llm_provider.ledger.output_tokens == 23


def test_a_background_interaction_is_billed_once(llm_provider: LocalProvider) -> None:
    llm_provider.reply(Reply(polls=1))
    client = interactions(llm_provider)
    begun = client.create(model=FLASH, input="Hi", background=True)
    assert begun.status == "in_progress"
    assert [client.get(begun.id).status for _ in range(3)] == ["in_progress", "completed", "completed"]
    assert llm_provider.ledger.calls == 1


@pytest.mark.parametrize("stream", [False, True])
def test_an_interaction_calls_functions(llm_provider: LocalProvider, stream: bool) -> None:
    llm_provider.reply(Reply(tool_calls=[ToolCall("search", {"q": "cats"})], reasoning_tokens=2))
    reply = interactions(llm_provider).create(model=FLASH, input="Hi", stream=stream)
    if stream:
        events = list(reply)
        pieces = [
            e.delta.arguments for e in events if e.event_type == "step.delta" and e.delta.type == "arguments_delta"
        ]
        assert json.loads("".join(pieces)) == {"q": "cats"}
        reply = next(event.interaction for event in events if event.event_type == "interaction.completed")
    else:
        assert (reply.steps[-1].name, reply.steps[-1].arguments) == ("search", {"q": "cats"})
    assert reply.status == "requires_action"
    assert llm_provider.ledger.output_tokens == 3 + 2


def test_an_interaction_can_be_read_again_and_deleted(llm_provider: LocalProvider) -> None:
    client = interactions(llm_provider)
    id = client.create(model=FLASH, input="Hi").id
    assert next(event.event_type for event in client.get(id, stream=True)) == "interaction.created"
    client.delete(id)
    with pytest.raises(Exception, match="no interaction"):
        client.get(id)
    assert llm_provider.ledger.calls == 1


def test_an_interaction_builds_on_the_one_before(llm_provider: LocalProvider) -> None:
    client = interactions(llm_provider)
    first = client.create(model=FLASH, input="Hi")
    second = client.create(model=FLASH, input="Hi", previous_interaction_id=first.id)
    assert second.usage.total_input_tokens == 4 + first.usage.total_tokens
