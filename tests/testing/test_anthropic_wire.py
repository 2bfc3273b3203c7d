"""The Anthropic SDK against the local provider."""

import base64
import json
import struct
import urllib.request
import zlib
from decimal import Decimal

import pytest

from actguard.testing import ErrorEvent, Iteration, LocalProvider, Reply, ToolCall

anthropic = pytest.importorskip("anthropic")

MODEL = "claude-haiku-4-5"
HI = {"model": MODEL, "max_tokens": 100, "messages": [{"role": "user", "content": "Hi"}]}
HI_TOKENS = 1 + 4 + 3


def test_a_message_says_what_it_used_and_the_ledger_agrees(llm_provider: LocalProvider) -> None:
    message = llm_provider.anthropic().messages.create(**HI)
    assert (message.usage.input_tokens, message.usage.output_tokens) == (HI_TOKENS, 20)
    assert message.stop_reason == "end_turn"
    assert llm_provider.ledger.last.response_id == message.id
    assert llm_provider.ledger.total_usd == (HI_TOKENS + 20 * Decimal(5)) / 1_000_000


def test_a_stream_adds_up_to_the_same_message(llm_provider: LocalProvider) -> None:
    with llm_provider.anthropic().messages.stream(**HI) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert final.content[0].text == text
    assert (final.usage.input_tokens, final.usage.output_tokens) == (HI_TOKENS, 20)
    raw = list(llm_provider.anthropic().messages.create(**HI, stream=True))
    assert [raw[0].type, raw[-2].type, raw[-1].type] == ["message_start", "message_delta", "message_stop"]


async def test_the_async_client_gets_the_same(llm_provider: LocalProvider) -> None:
    async with llm_provider.async_anthropic() as client:
        await client.messages.create(**HI)
        async with client.messages.stream(**HI) as stream:
            final = await stream.get_final_message()
    assert llm_provider.ledger.tokens == 2 * (final.usage.input_tokens + final.usage.output_tokens)


def test_cached_and_written_input_is_beside_input_tokens(llm_provider: LocalProvider) -> None:
    script = Reply(
        input_tokens=1000, cached_tokens=500, cache_write_tokens=300, cache_write_1h_tokens=150, output_tokens=10
    )
    llm_provider.reply(script, script)
    usage = llm_provider.anthropic().messages.create(**HI).usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (50, 500, 450)
    assert usage.cache_creation.ephemeral_5m_input_tokens == 300
    assert usage.cache_creation.ephemeral_1h_input_tokens == 150
    dollars = 50 * 1 + 500 * Decimal("0.1") + 300 * Decimal("1.25") + 150 * 2 + 10 * 5
    assert llm_provider.ledger.total_usd == dollars / 1_000_000
    events = list(llm_provider.anthropic().messages.create(**HI, stream=True))
    assert events[0].message.usage.cache_creation.ephemeral_1h_input_tokens == 150
    assert events[-2].usage.cache_read_input_tokens == 500


def test_the_cap_is_honoured_thinking_included(llm_provider: LocalProvider) -> None:
    llm_provider.reply(Reply(reasoning_tokens=80, output_tokens=50), Reply(reasoning_tokens=80, output_tokens=50))
    message = llm_provider.anthropic().messages.create(**HI)
    assert (message.stop_reason, message.usage.output_tokens) == ("max_tokens", 100)
    assert [block.type for block in message.content] == ["thinking", "text"]
    events = list(llm_provider.anthropic().messages.create(**HI, stream=True))
    kinds = [event.delta.type for event in events if event.type == "content_block_delta"]
    assert (kinds.count("thinking_delta"), kinds.count("text_delta")) == (80, 20)


def test_tool_calls_arrive_and_a_forced_tool_is_called(llm_provider: LocalProvider) -> None:
    llm_provider.reply(Reply(tool_calls=[ToolCall("search", {"q": "cats"}, id="toolu_1")]))
    message = llm_provider.anthropic().messages.create(**HI)
    assert message.stop_reason == "tool_use"
    assert (message.content[0].id, message.content[0].input) == ("toolu_1", {"q": "cats"})
    schema = {"type": "object", "properties": {"q": {"type": "string"}}}
    tools = [{"name": "search", "input_schema": schema}]
    with llm_provider.anthropic().messages.stream(**HI, tools=tools, tool_choice={"type": "any"}) as stream:
        assert stream.get_final_message().content[0].input == {"q": "text"}


def test_an_advisor_and_a_compaction_are_billed_beside_the_message(llm_provider: LocalProvider) -> None:
    steps = [
        Iteration(type="compaction", input_tokens=50_000, cache_write_tokens=40_000, output_tokens=100),
        Iteration(type="advisor_message", model="claude-opus-4-5", input_tokens=1000, output_tokens=10),
    ]
    llm_provider.reply(Reply(iterations=steps, input_tokens=200, output_tokens=5))
    usage = llm_provider.anthropic().beta.messages.create(**HI).usage
    assert (usage.input_tokens, usage.output_tokens) == (200, 5)
    assert [step.type for step in usage.iterations] == ["compaction", "advisor_message", "message"]
    message, compaction, advisor = llm_provider.ledger.last.charges
    assert message.usd == (200 + 5 * Decimal(5)) / 1_000_000
    assert compaction.usd == (10_000 + 40_000 * Decimal("1.25") + 100 * 5) / 1_000_000
    assert advisor.usd == (1000 * Decimal(5) + 10 * 25) / 1_000_000
    assert set(llm_provider.ledger.by_model) == {MODEL, "claude-opus-4-5"}


def test_a_stream_may_learn_of_more_input_on_its_way(llm_provider: LocalProvider) -> None:
    llm_provider.reply(Reply(input_tokens=400_000, first_input_tokens=2_500, web_searches=3))
    events = list(llm_provider.anthropic().messages.create(**HI, stream=True))
    assert events[0].message.usage.input_tokens == 2_500
    assert events[-2].usage.input_tokens == 400_000
    assert events[-2].usage.server_tool_use.web_search_requests == 3
    assert llm_provider.ledger.last.usd == (400_000 + 20 * 5) / Decimal(1_000_000) + Decimal("0.03")


def test_speed_and_region_have_their_price_and_are_as_asked(llm_provider: LocalProvider) -> None:
    llm_provider.reply(Reply(speed="fast", input_tokens=1000, output_tokens=100))
    request = {**HI, "model": "claude-opus-4-8", "extra_body": {"inference_geo": "us"}}
    usage = llm_provider.anthropic().messages.create(**request).usage
    assert usage.model_dump()["inference_geo"] == "us"
    assert llm_provider.ledger.total_usd == (1000 * Decimal(10) + 100 * 50) * Decimal("1.1") / 1_000_000


def test_models_and_counting_tokens_are_free(llm_provider: LocalProvider) -> None:
    models = llm_provider.anthropic().models
    assert MODEL in [model.id for model in models.list()]
    assert models.retrieve(MODEL).id == MODEL
    count = llm_provider.anthropic().messages.count_tokens(model=MODEL, messages=HI["messages"])
    assert count.input_tokens == HI_TOKENS
    assert llm_provider.ledger.calls == 0


def test_a_batch_is_billed_at_half_price(llm_provider: LocalProvider) -> None:
    client = llm_provider.anthropic()
    batch = client.messages.batches.create(
        requests=[{"custom_id": "a", "params": HI}, {"custom_id": "b", "params": HI}]
    )
    assert batch.processing_status == "in_progress"
    assert client.messages.batches.retrieve(batch.id).processing_status == "ended"
    results = list(client.messages.batches.results(batch.id))
    assert [result.result.message.usage.service_tier for result in results] == ["batch", "batch"]
    assert llm_provider.ledger.total_usd == 2 * (HI_TOKENS * Decimal("0.5") + 20 * Decimal("2.5")) / 1_000_000


# -- Bedrock and Vertex ----------------------------------------------------------------------------------------------


def test_bedrock_invokes_by_model_id_and_streams_aws_events(llm_provider: LocalProvider) -> None:
    pytest.importorskip("boto3")
    client = anthropic.AnthropicBedrock(**llm_provider.bedrock_kwargs())
    request = {**HI, "model": "us.anthropic.claude-haiku-4-5-20251001-v1:0"}
    message = client.messages.create(**request)
    assert message.usage.input_tokens == HI_TOKENS
    assert llm_provider.ledger.last.provider == "aws"
    assert llm_provider.ledger.total_usd == (HI_TOKENS * Decimal("1.1") + 20 * Decimal("5.5")) / 1_000_000
    with client.messages.stream(**request) as stream:
        assert stream.get_final_message().usage.output_tokens == 20
    assert llm_provider.ledger.calls == 2


def test_an_aws_event_is_framed_with_checksums(llm_provider: LocalProvider) -> None:
    url = f"{llm_provider.url}/model/anthropic.claude-haiku-4-5-20251001-v1%3A0/invoke-with-response-stream"
    body = json.dumps({"messages": HI["messages"], "max_tokens": 5}).encode()
    with urllib.request.urlopen(urllib.request.Request(url, body, method="POST")) as reply:
        stream = reply.read()
    events = []
    while stream:
        total, headers, check = struct.unpack(">III", stream[:12])
        assert zlib.crc32(stream[:8]) == check
        assert zlib.crc32(stream[: total - 4]) == struct.unpack(">I", stream[total - 4 : total])[0]
        payload = json.loads(stream[12 + headers : total - 4])
        events.append(json.loads(base64.b64decode(payload["bytes"])))
        stream = stream[total:]
    assert events[0]["type"] == "message_start"
    assert events[-2]["usage"]["output_tokens"] == 5


def test_an_error_in_an_aws_stream_is_an_exception_message(llm_provider: LocalProvider) -> None:
    llm_provider.reply(ErrorEvent(after=1, message="the model fell over"))
    url = f"{llm_provider.url}/model/anthropic.claude-haiku-4-5-20251001-v1%3A0/invoke-with-response-stream"
    with urllib.request.urlopen(urllib.request.Request(url, b'{"messages": []}', method="POST")) as reply:
        last = reply.read().rpartition(b":exception-type")[2]
    assert b"internalServerException" in last
    assert b'{"message":"the model fell over"}' in last


def test_vertex_predicts_raw(llm_provider: LocalProvider) -> None:
    pytest.importorskip("google.auth")
    client = anthropic.AnthropicVertex(**llm_provider.vertex_kwargs())
    request = {**HI, "model": "claude-haiku-4-5@20251001"}
    assert client.messages.create(**request).usage.output_tokens == 20
    with client.messages.stream(**request) as stream:
        stream.until_done()
    assert client.messages.count_tokens(model=request["model"], messages=HI["messages"]).input_tokens == HI_TOKENS
    assert (llm_provider.ledger.last.provider, llm_provider.ledger.calls) == ("vertex", 2)
    assert llm_provider.ledger.unpriced == frozenset()
