"""The OpenAI SDK against the local provider: what it parses, and what the ledger says."""

import io
import json
from decimal import Decimal
from typing import Any

import pytest

from actguard.testing import LocalProvider, Reply, ToolCall

openai = pytest.importorskip("openai")

HI = [{"role": "user", "content": "Hi"}]
HI_TOKENS = 1 + 4 + 3  # a quarter of two bytes, a message, a request


def test_a_chat_completion_says_what_it_used_and_the_ledger_agrees(llm_provider: LocalProvider) -> None:
    reply = llm_provider.openai().chat.completions.create(model="gpt-4o", messages=HI)
    assert reply.usage.prompt_tokens == HI_TOKENS
    assert reply.usage.completion_tokens == 20
    assert reply.choices[0].finish_reason == "stop"
    assert len(reply.choices[0].message.content.split()) == 20
    entry = llm_provider.ledger.last
    assert (entry.provider, entry.endpoint, entry.model) == ("openai", "chat.completions", "gpt-4o")
    assert entry.response_id == reply.id
    assert entry.usd == (HI_TOKENS * Decimal("2.5") + 20 * Decimal(10)) / 1_000_000


def test_a_stream_has_one_token_an_event_and_no_usage_unless_asked(llm_provider: LocalProvider) -> None:
    chunks = list(llm_provider.openai().chat.completions.create(model="gpt-4o", messages=HI, stream=True))
    assert sum(bool(chunk.choices[0].delta.content) for chunk in chunks) == 20
    assert all(chunk.usage is None for chunk in chunks)
    assert llm_provider.ledger.tokens == HI_TOKENS + 20


def test_a_stream_with_include_usage_ends_with_a_chunk_without_choices(llm_provider: LocalProvider) -> None:
    create = llm_provider.openai().chat.completions.create
    *_, last = create(model="gpt-4o", messages=HI, stream=True, stream_options={"include_usage": True})
    assert last.choices == []
    assert last.usage.total_tokens == llm_provider.ledger.tokens


async def test_the_async_client_gets_the_same(llm_provider: LocalProvider) -> None:
    async with llm_provider.async_openai() as client:
        reply = await client.chat.completions.create(model="gpt-4o", messages=HI)
        stream = await client.chat.completions.create(model="gpt-4o", messages=HI, stream=True)
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    assert text == reply.choices[0].message.content
    assert llm_provider.ledger.calls == 2


@pytest.mark.parametrize("cap", [{"max_tokens": 5}, {"max_completion_tokens": 5}])
def test_an_output_cap_is_honoured(llm_provider: LocalProvider, cap: dict[str, int]) -> None:
    reply = llm_provider.openai().chat.completions.create(model="gpt-4o", messages=HI, **cap)
    assert reply.choices[0].finish_reason == "length"
    assert reply.usage.completion_tokens == llm_provider.ledger.output_tokens == 5


def test_reasoning_is_inside_the_output_and_counts_against_the_cap(llm_provider: LocalProvider) -> None:
    llm_provider.reply(Reply(output_tokens=10, reasoning_tokens=30))
    reply = llm_provider.openai().chat.completions.create(model="gpt-5", messages=HI, max_completion_tokens=35)
    assert reply.usage.completion_tokens == 35
    assert reply.usage.completion_tokens_details.reasoning_tokens == 30
    assert llm_provider.ledger.last.charges[0].counts.output == 5


def test_every_choice_is_billed(llm_provider: LocalProvider) -> None:
    reply = llm_provider.openai().chat.completions.create(model="gpt-4o", messages=HI, n=3, max_tokens=4)
    assert len(reply.choices) == 3
    assert reply.usage.completion_tokens == llm_provider.ledger.output_tokens == 12


def test_cached_audio_and_written_input_are_parts_of_the_prompt(llm_provider: LocalProvider) -> None:
    llm_provider.reply(
        Reply(input_tokens=1000, cached_tokens=600, audio_input_tokens=100, cache_write_tokens=200, output_tokens=1)
    )
    usage = llm_provider.openai().chat.completions.create(model="gpt-4o", messages=HI).usage
    assert usage.prompt_tokens == 1000
    assert usage.prompt_tokens_details.cached_tokens == 600
    assert usage.prompt_tokens_details.audio_tokens == 100
    assert llm_provider.ledger.last.charges[0].counts.input == 100
    assert llm_provider.ledger.total_usd == (400 * Decimal("2.5") + 600 * Decimal("1.25") + 10) / 1_000_000


@pytest.mark.parametrize("stream", [False, True])
def test_a_scripted_tool_call_arrives(llm_provider: LocalProvider, stream: bool) -> None:
    llm_provider.reply(Reply(tool_calls=[ToolCall("search", {"q": "cats"}), ToolCall("stop")]))
    reply = llm_provider.openai().chat.completions.create(model="gpt-4o", messages=HI, stream=stream)
    if stream:
        deltas = [c for chunk in reply for c in chunk.choices[0].delta.tool_calls or ()]
        arguments = "".join(d.function.arguments for d in deltas if d.index == 0)
        names = [d.function.name for d in deltas if d.function.name]
    else:
        calls = reply.choices[0].message.tool_calls
        arguments, names = calls[0].function.arguments, [call.function.name for call in calls]
        assert reply.choices[0].finish_reason == "tool_calls"
    assert json.loads(arguments) == {"q": "cats"}
    assert names == ["search", "stop"]
    assert llm_provider.ledger.output_tokens == 3 + 1  # a quarter of {"q":"cats"} and of {}


def test_a_json_schema_gets_an_instance_of_it(llm_provider: LocalProvider) -> None:
    pydantic = pytest.importorskip("pydantic")
    answer = pydantic.create_model("Answer", name=(str, ...), count=(int, ...), tags=(list[str], ...))
    chat = llm_provider.openai().chat.completions
    parse = chat.parse if hasattr(chat, "parse") else llm_provider.openai().beta.chat.completions.parse
    parsed = parse(model="gpt-4o", messages=HI, response_format=answer).choices[0].message.parsed
    assert parsed == answer(name="text", count=1, tags=[])


def test_a_required_tool_is_called(llm_provider: LocalProvider) -> None:
    schema = {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]}
    tools = [{"type": "function", "function": {"name": "search", "parameters": schema}}]
    reply = llm_provider.openai().chat.completions.create(
        model="gpt-4o", messages=HI, tools=tools, tool_choice="required"
    )
    assert reply.choices[0].message.tool_calls[0].function.arguments == '{"q":"text"}'


def test_usage_can_be_left_out_or_be_nonsense_and_the_ledger_keeps_the_truth(llm_provider: LocalProvider) -> None:
    llm_provider.reply(Reply(usage="omitted"), Reply(usage={"prompt_tokens": -1}))
    client = llm_provider.openai()
    assert client.chat.completions.create(model="gpt-4o", messages=HI).usage is None
    assert client.chat.completions.create(model="gpt-4o", messages=HI).usage.prompt_tokens == -1
    assert llm_provider.ledger.tokens == 2 * (HI_TOKENS + 20)


def test_the_reply_may_name_another_model_and_a_tier_and_that_is_what_is_billed(llm_provider: LocalProvider) -> None:
    llm_provider.reply(Reply(model="gpt-4o-2024-08-06", service_tier="priority", input_tokens=1000, output_tokens=100))
    reply = llm_provider.openai().chat.completions.create(model="gpt-4o-latest", messages=HI)
    assert (reply.model, reply.service_tier) == ("gpt-4o-2024-08-06", "priority")
    assert llm_provider.ledger.total_usd == (1000 * Decimal("4.25") + 100 * Decimal(17)) / 1_000_000


def test_a_tier_that_is_asked_for_is_what_is_billed(llm_provider: LocalProvider) -> None:
    client = llm_provider.openai()
    reply = client.chat.completions.create(model="gpt-5", messages=HI, service_tier="flex")
    assert reply.service_tier == "flex"
    assert llm_provider.ledger.total_usd == (HI_TOKENS * Decimal("0.625") + 20 * 5) / 1_000_000
    response = client.responses.create(model="gpt-5", input="Hi", extra_body={"service_tier": "fast"})
    assert response.service_tier == "priority"


def test_a_legacy_completion_without_a_cap_has_sixteen_tokens(llm_provider: LocalProvider) -> None:
    llm_provider.reply(Reply(output_tokens=300))
    reply = llm_provider.openai().completions.create(model="gpt-3.5-turbo-instruct", prompt="a")

    assert reply.usage is not None
    assert reply.usage.completion_tokens == llm_provider.ledger.output_tokens == 16


def test_legacy_completions_bill_each_prompt_and_choice(llm_provider: LocalProvider) -> None:
    client = llm_provider.openai()
    reply = client.completions.create(model="gpt-3.5-turbo-instruct", prompt=["a", "b"], n=2, max_tokens=3)
    assert len(reply.choices) == 4
    assert reply.usage.completion_tokens == llm_provider.ledger.output_tokens == 12
    chunks = list(
        client.completions.create(
            model="gpt-3.5-turbo-instruct",
            prompt="a",
            max_tokens=20,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert chunks[-1].usage.completion_tokens == 20


# -- responses -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
def test_a_response_says_what_it_used(llm_provider: LocalProvider, stream: bool) -> None:
    llm_provider.reply(Reply("Hello, world", reasoning_tokens=7, cached_tokens=100))
    reply = llm_provider.openai().responses.create(model="gpt-5", input="Hi", stream=stream)
    if stream:
        events = list(reply)
        assert [e.delta for e in events if e.type == "response.output_text.delta"] == ["Hell", "o, w", "orld"]
        reply = events[-1].response
    assert reply.status == "completed"
    assert reply.output_text == "Hello, world"
    assert reply.usage.input_tokens == 100 + 1 + 3
    assert reply.usage.input_tokens_details.cached_tokens == 100
    assert reply.usage.output_tokens == 3 + 7
    assert reply.usage.output_tokens_details.reasoning_tokens == 7
    assert llm_provider.ledger.last.response_id == reply.id


async def test_a_response_streams_to_the_async_client(llm_provider: LocalProvider) -> None:
    async with llm_provider.async_openai() as client, client.responses.stream(model="gpt-5", input="Hi") as stream:
        final = await stream.get_final_response()
    assert final.usage.total_tokens == llm_provider.ledger.tokens


def test_a_response_cut_by_its_cap_is_incomplete(llm_provider: LocalProvider) -> None:
    reply = llm_provider.openai().responses.create(model="gpt-5", input="Hi", max_output_tokens=3)
    assert (reply.status, reply.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    *_, last = llm_provider.openai().responses.create(model="gpt-5", input="Hi", max_output_tokens=3, stream=True)
    assert last.type == "response.incomplete"
    assert llm_provider.ledger.output_tokens == 6


def test_a_response_builds_on_the_one_before(llm_provider: LocalProvider) -> None:
    client = llm_provider.openai()
    first = client.responses.create(model="gpt-5", input="Hi")
    second = client.responses.create(model="gpt-5", input="Hi", previous_response_id=first.id)
    assert second.usage.input_tokens == first.usage.input_tokens + first.usage.total_tokens


def test_a_background_response_is_billed_once_however_often_it_is_read(llm_provider: LocalProvider) -> None:
    llm_provider.reply(Reply("done", polls=2))
    client = llm_provider.openai()
    begun = client.responses.create(model="gpt-5", input="Hi", extra_body={"background": True})
    assert (begun.status, begun.usage) == ("queued", None)
    states = [client.responses.retrieve(begun.id) for _ in range(4)]
    assert [state.status for state in states] == ["in_progress", "in_progress", "completed", "completed"]
    assert states[-1].output_text == "done"
    assert llm_provider.ledger.calls == 1
    assert llm_provider.ledger.tokens == states[-1].usage.total_tokens


def test_a_response_calls_tools_and_searches(llm_provider: LocalProvider) -> None:
    llm_provider.reply(Reply("Found it", tool_calls=[ToolCall("save", {"x": 1}, id="call_7")], web_searches=2))
    reply = llm_provider.openai().responses.create(model="gpt-4o", input="Hi")
    assert [item.type for item in reply.output] == ["web_search_call", "web_search_call", "message", "function_call"]
    assert (reply.output[-1].call_id, reply.output[-1].arguments) == ("call_7", '{"x":1}')
    assert llm_provider.ledger.last.charges[0].counts.web_search == 2
    tokens = (reply.usage.input_tokens * Decimal("2.5") + reply.usage.output_tokens * 10) / 1_000_000
    assert llm_provider.ledger.total_usd == tokens + Decimal("0.02")


def test_a_stream_of_a_response_has_reasoning_searches_and_tool_calls_in_order(llm_provider: LocalProvider) -> None:
    llm_provider.reply(Reply(tool_calls=[ToolCall("save", {"x": 1})], web_searches=1, reasoning_tokens=4))
    events = list(llm_provider.openai().responses.create(model="gpt-5", input="Hi", stream=True))
    added = [event.item.type for event in events if event.type == "response.output_item.added"]
    assert added == ["reasoning", "web_search_call", "function_call"]
    deltas = [event.delta for event in events if event.type == "response.function_call_arguments.delta"]
    assert json.loads("".join(deltas)) == {"x": 1}
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[-1].response.model_dump()["tool_usage"]["web_search"] == {"num_requests": 1}


def test_a_forced_function_of_a_response_is_called(llm_provider: LocalProvider) -> None:
    schema = {"type": "object", "properties": {"q": {"enum": ["a", "b"]}, "r": {"$ref": "#/$defs/R"}}}
    schema["$defs"] = {"R": {"anyOf": [{"type": "null"}, {"type": "string"}]}}
    tool = {"type": "function", "name": "search", "parameters": schema, "strict": False}
    response = llm_provider.openai().responses.create(
        model="gpt-5", input="Hi", tools=[tool], tool_choice={"type": "function", "name": "search"}
    )
    assert response.output[0].arguments == '{"q":"a","r":null}'


def test_a_stored_response_can_be_streamed_again_cancelled_and_deleted(llm_provider: LocalProvider) -> None:
    llm_provider.reply(Reply("done", polls=5))
    responses = llm_provider.openai().responses
    begun = responses.create(model="gpt-5", input="Hi", extra_body={"background": True})
    post = llm_provider.openai().post
    assert post(f"/responses/{begun.id}/cancel", cast_to=object)["status"] == "cancelled"
    assert responses.retrieve(begun.id).status == "cancelled"
    whole = responses.create(model="gpt-5", input="Hi")
    assert post(f"/responses/{whole.id}/cancel", cast_to=object)["status"] == "completed"
    again = llm_provider.openai().get(
        f"/responses/{whole.id}?stream=true&starting_after=1",
        cast_to=openai.types.responses.Response,
        stream=True,
        stream_cls=openai.Stream[openai.types.responses.ResponseStreamEvent],
    )
    assert next(event.sequence_number for event in again) == 2
    responses.delete(whole.id)
    with pytest.raises(openai.NotFoundError, match="no response"):
        responses.retrieve(whole.id)
    assert llm_provider.ledger.calls == 2


def test_a_conversation_grows(llm_provider: LocalProvider) -> None:
    create = llm_provider.openai().responses.create
    first = create(model="gpt-5", input="Hi", extra_body={"conversation": {"id": "conv_1"}})
    second = create(model="gpt-5", input="Hi", extra_body={"conversation": "conv_1"})
    assert second.usage.input_tokens == first.usage.total_tokens + 4


def test_a_compaction_is_billed(llm_provider: LocalProvider) -> None:
    reply = llm_provider.openai().post("/responses/compact", body={"model": "gpt-5", "input": "Hi"}, cast_to=object)
    assert reply["object"] == "response.compaction"
    assert reply["usage"]["total_tokens"] == llm_provider.ledger.tokens == 24


def test_a_response_that_failed_says_so(llm_provider: LocalProvider) -> None:
    llm_provider.reply(Reply(failed="failed"))
    assert llm_provider.openai().responses.create(model="gpt-5", input="Hi").status == "failed"


# -- the rest --------------------------------------------------------------------------------------------------------


def test_embeddings_bill_their_input(llm_provider: LocalProvider) -> None:
    client = llm_provider.openai()
    reply = client.embeddings.create(model="text-embedding-3-small", input=["12345678", "1234"], dimensions=4)
    assert [item.embedding for item in reply.data] == [[1.0, 0.0, 0.0, 0.0]] * 2
    assert reply.usage.prompt_tokens == llm_provider.ledger.tokens == 3
    assert llm_provider.ledger.total_usd == 3 * Decimal("0.02") / 1_000_000


def test_images_bill_tokens_or_pictures(llm_provider: LocalProvider) -> None:
    client = llm_provider.openai()
    llm_provider.reply(Reply(input_tokens=50, image_input_tokens=40, image_output_tokens=1000))
    usage = client.images.generate(model="gpt-image-1", prompt="a cat").usage
    assert (usage.input_tokens, usage.input_tokens_details.image_tokens, usage.output_tokens) == (50, 40, 1000)
    assert llm_provider.ledger.total_usd == (10 * 5 + 40 * 10 + 1000 * 40) / Decimal(1_000_000)
    assert client.images.generate(model="dall-e-3", prompt="a cat", n=2).usage is None
    assert llm_provider.ledger.last.usd == Decimal("0.08")


def test_an_image_streams(llm_provider: LocalProvider, raw: Any) -> None:
    raw.post("/v1/images/generations", {"model": "gpt-image-1", "prompt": "a cat", "stream": True})
    *_, last = raw.chunks()
    assert last.startswith(b"event: image_generation.completed\n")
    usage = json.loads(last.partition(b"data: ")[2])["usage"]
    assert usage["output_tokens"] == llm_provider.ledger.output_tokens == 1056


def test_transcriptions_bill_tokens_or_seconds(llm_provider: LocalProvider) -> None:
    client = llm_provider.openai()
    llm_provider.reply(Reply("Hello there", audio_seconds=9), Reply("Hello there", audio_input_tokens=90))
    sound = ("a.wav", io.BytesIO(b"RIFF" + bytes(100)), "audio/wav")
    by_time = client.audio.transcriptions.create(model="whisper-1", file=sound)
    assert by_time.text == "Hello there"
    assert by_time.model_dump()["usage"]["seconds"] == 9
    assert llm_provider.ledger.last.usd == Decimal("0.0009")
    by_tokens = client.audio.transcriptions.create(model="gpt-4o-transcribe", file=sound)
    usage = by_tokens.model_dump()["usage"]
    assert (usage["type"], usage["input_token_details"]["audio_tokens"], usage["output_tokens"]) == ("tokens", 90, 3)
    stream = client.audio.transcriptions.create(model="gpt-4o-transcribe", file=sound, stream=True)
    assert [event.type for event in stream][-1] == "transcript.text.done"
    plain = client.audio.transcriptions.create(model="whisper-1", file=sound, response_format="text")
    assert "one two three" in str(plain)


def test_speech_bills_characters_or_tokens_and_says_nothing(llm_provider: LocalProvider) -> None:
    client = llm_provider.openai()
    client.audio.speech.create(model="tts-1", voice="alloy", input="x" * 1000).read()
    assert llm_provider.ledger.last.usd == Decimal("0.015")
    client.audio.speech.create(model="gpt-4o-mini-tts", voice="alloy", input="x" * 12).read()
    assert llm_provider.ledger.last.charges[0].counts.by_kind() == {"input": 3, "audio_output": 20}


def test_what_is_free_bills_nothing(llm_provider: LocalProvider) -> None:
    client = llm_provider.openai()
    assert "gpt-4o" in [model.id for model in client.models.list()]
    assert client.models.retrieve("gpt-4o").id == "gpt-4o"
    assert not client.moderations.create(input="Hi").results[0].flagged
    assert client.post("/responses/input_tokens", body={"input": "Hi"}, cast_to=object)["input_tokens"] == 4
    assert llm_provider.ledger.calls == 0
    assert len(llm_provider.requests) == 4


def test_a_batch_is_billed_once_at_half_price(llm_provider: LocalProvider) -> None:
    client = llm_provider.openai()
    body = {"model": "gpt-5", "messages": HI}
    lines = [{"custom_id": str(i), "method": "POST", "url": "/v1/chat/completions", "body": body} for i in range(3)]
    jsonl = "\n".join(map(json.dumps, lines)).encode()
    uploaded = client.files.create(file=("batch.jsonl", jsonl), purpose="batch")
    llm_provider.reply(Reply(polls=1))
    batch = client.batches.create(input_file_id=uploaded.id, endpoint="/v1/chat/completions", completion_window="24h")
    assert client.batches.retrieve(batch.id).status == "in_progress"
    batch = client.batches.retrieve(batch.id)
    assert batch.status == "completed"
    assert batch.model_dump()["usage"]["total_tokens"] == 3 * (HI_TOKENS + 20) == llm_provider.ledger.tokens
    assert llm_provider.ledger.total_usd == 3 * (HI_TOKENS * Decimal("0.625") + 20 * 5) / 1_000_000
    output = client.files.content(batch.output_file_id).read().splitlines()
    assert [json.loads(line)["custom_id"] for line in output] == ["0", "1", "2"]


# -- other hosts of the same wire ------------------------------------------------------------------------------------


def test_azure_asks_by_deployment_and_its_streams_begin_without_choices(llm_provider: LocalProvider) -> None:
    llm_provider.default = Reply(model="gpt-4o-2024-08-06")
    client = llm_provider.azure()
    reply = client.chat.completions.create(model="my-deployment", messages=HI)
    assert (reply.model, llm_provider.ledger.last.provider) == ("gpt-4o-2024-08-06", "azure")
    first, *_ = client.chat.completions.create(model="my-deployment", messages=HI, stream=True)
    assert (first.choices, first.model) == ([], "")
    client.embeddings.create(model="text-embedding-3-small", input="Hi")
    assert llm_provider.ledger.calls == 3


def test_openrouter_states_its_cost(llm_provider: LocalProvider) -> None:
    client = openai.OpenAI(**llm_provider.openrouter_kwargs())
    listed = client.chat.completions.create(model="openai/gpt-4o", messages=HI)
    assert Decimal(str(listed.usage.model_dump()["cost"])) == llm_provider.ledger.total_usd > 0
    llm_provider.reply(Reply(cost=Decimal("0.5")))
    *_, last = client.chat.completions.create(model="some/model", messages=HI, stream=True)
    assert last.usage.model_dump()["cost"] == 0.5
    assert llm_provider.ledger.last.usd == Decimal("0.5")


def test_an_unknown_model_is_answered_and_listed_as_unpriced(llm_provider: LocalProvider) -> None:
    llm_provider.openai().chat.completions.create(model="gpt-4o-nonesuch", messages=HI)
    assert llm_provider.ledger.unpriced == {"gpt-4o-nonesuch"}
    assert llm_provider.ledger.last.charges[0].usd is None
    assert llm_provider.ledger.total_usd == 0


def test_an_unknown_path_is_a_404(llm_provider: LocalProvider) -> None:
    with pytest.raises(openai.NotFoundError, match="no such path"):
        llm_provider.openai().post("/nonesuch", cast_to=object)
