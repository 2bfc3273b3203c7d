"""What OpenAI's replies bill, and those of the hosts that speak its wire; shapes that no recording has, above all."""

from typing import Any

import pytest

from actguard.budget.usage import Bill, Line, MalformedUsage, Usage
from actguard.providers.endpoint import Endpoint
from actguard.providers.openai.endpoints import classify
from actguard.providers.openai.reply import StreamReader, read, usage_chunk_only

CHAT = classify("POST", "/chat/completions")
RESPONSES = classify("POST", "/responses")


def at(path: str, method: str = "POST") -> Endpoint:
    return classify(method, path)


def chat(usage: Any, **more: Any) -> dict[str, Any]:
    return {"id": "chatcmpl-0123456789abcdef", "model": "gpt-4o-2024-08-06", "choices": [], "usage": usage, **more}


def response(usage: Any, **more: Any) -> dict[str, Any]:
    return {"id": "resp_1", "object": "response", "model": "gpt-5", "status": "completed", "usage": usage, **more}


def usage_of(bill: Bill | None) -> Usage:
    assert bill is not None
    assert len(bill.lines) == 1
    return bill.lines[0].usage


PLAIN = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
TWO = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}


# ---- chat


def test_a_plain_reply_is_one_line() -> None:
    assert read(CHAT, chat(PLAIN), "gpt-4o") == Bill(
        "chatcmpl-0123456789abcdef", (Line("gpt-4o-2024-08-06", Usage(10, 5)),)
    )


def test_details_are_parts_of_the_counts_not_additions() -> None:
    details = {
        "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 3, "audio_tokens": 2, "image_tokens": 1},
        "completion_tokens_details": {
            "reasoning_tokens": 1,
            "audio_tokens": 1,
            "accepted_prediction_tokens": 1,
            "rejected_prediction_tokens": 2,
            "text_tokens": 1,
        },
    }
    assert usage_of(read(CHAT, chat(PLAIN | details), "m")) == Usage(
        input_tokens=10,
        output_tokens=5,
        cache_read_tokens=4,
        cache_write_tokens=3,
        input_audio_tokens=2,
        input_image_tokens=1,
        output_reasoning_tokens=1,
        output_audio_tokens=1,
        accepted_prediction_tokens=1,
        rejected_prediction_tokens=2,
    )


def test_cached_and_reasoning_tokens_alone_are_read_on_the_short_way() -> None:
    details = {
        "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 3, "audio_tokens": 0},
    }
    expected = Usage(10, 5, cache_read_tokens=4, output_reasoning_tokens=3)
    assert usage_of(read(CHAT, chat(PLAIN | details), "m")) == expected
    assert usage_of(read(at("/completions"), chat(PLAIN | details), "m")) == expected  # this one has no short way


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": None, "completion_tokens": None}])
def test_a_reply_without_usage_says_nothing(usage: Any) -> None:
    assert read(CHAT, chat(usage), "m") is None
    assert read(CHAT, {"choices": []}, "m") is None


def test_counts_that_are_all_zero_say_nothing_because_no_reply_is_made_of_nothing() -> None:
    assert read(CHAT, chat({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}), "m") is None


def test_the_requested_model_stands_in_for_one_that_the_reply_does_not_name() -> None:
    for named in (None, "", 5):
        bill = read(CHAT, chat(PLAIN, model=named), "my-deployment")
        assert bill is not None
        assert bill.lines[0].model == "my-deployment"


@pytest.mark.parametrize(
    ("tier", "context"),
    [
        *((ordinary, ()) for ordinary in (None, "default", "auto", "standard", "on_demand", "")),
        ("flex", (("service_tier", "flex"),)),
        ("priority", (("service_tier", "priority"),)),
        ("PRIORITY", (("service_tier", "priority"),)),
        ("ultrafast", (("service_tier", "ultrafast"),)),
        ("brand_new", (("service_tier", "brand_new"),)),
        (["flex"], ()),
    ],
)
def test_the_service_tier_of_the_reply_selects_the_price(tier: Any, context: Any) -> None:
    for endpoint, body in ((CHAT, chat(PLAIN, service_tier=tier)), (RESPONSES, response(TWO, service_tier=tier))):
        bill = read(endpoint, body, "m")
        assert bill is not None
        assert bill.lines[0].context == context


@pytest.mark.parametrize("said", ["chatcmpl-7", "chatcmpl-123", "chatcmpl-999", "", None, 7])
def test_an_id_that_does_not_tell_replies_apart_is_none(said: Any) -> None:
    """Ollama draws from a thousand; what came with the same id twice is billed twice."""
    bill = read(CHAT, chat(PLAIN, id=said), "m")
    assert bill is not None
    assert bill.response_id is None


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_cache_hit_tokens": 4, "prompt_cache_miss_tokens": 6}, Usage(10, 5, cache_read_tokens=4)),  # DeepSeek
        ({"cached_tokens": 4}, Usage(10, 5, cache_read_tokens=4)),  # Together, Moonshot
        ({"num_cached_tokens": 4}, Usage(10, 5, cache_read_tokens=4)),  # Mistral
        ({"num_cached_tokens": 4, "prompt_tokens_details": {"cached_tokens": 4}}, Usage(10, 5, cache_read_tokens=4)),
        ({"cache_read_input_tokens": 4, "cache_creation_input_tokens": 2}, Usage(10, 5, 4, 2)),  # LiteLLM
        ({"queue_time": 0.01, "total_time": 1.5}, Usage(10, 5)),  # Groq
        ({"num_search_queries": 2, "citation_tokens": 7}, Usage(10, 5, web_searches=2)),  # Perplexity
        ({"server_tool_use_details": {"web_search_requests": 1}}, Usage(10, 5, web_searches=1)),  # OpenRouter
        ({"prompt_tokens_details": None, "completion_tokens_details": None}, Usage(10, 5)),  # Novita
        ({"prompt_token_details": {"cached_tokens": 4}}, Usage(10, 5, cache_read_tokens=4)),  # runs
    ],
)
def test_other_hosts_say_the_same_in_their_own_words(usage: dict[str, Any], expected: Usage) -> None:
    assert usage_of(read(CHAT, chat(PLAIN | usage), "m")) == expected


def test_groq_may_say_it_in_x_groq() -> None:
    body = {"id": "chatcmpl-0123456789", "model": "llama", "x_groq": {"id": "req_1", "usage": PLAIN}}
    assert usage_of(read(CHAT, body, "m")) == Usage(10, 5)


def test_reasoning_that_is_in_the_total_alone_is_output() -> None:
    assert usage_of(read(CHAT, chat(PLAIN | {"total_tokens": 43}), "m")) == Usage(10, 33, output_reasoning_tokens=28)
    xai = PLAIN | {"total_tokens": 22, "completion_tokens_details": {"reasoning_tokens": 7}}
    assert usage_of(read(CHAT, chat(xai), "m")) == Usage(10, 12, output_reasoning_tokens=7)


@pytest.mark.parametrize(
    ("cost", "expected"),
    [
        ({"cost": 0.0133176}, 13_317_600_000),
        ({"cost": 7.159e-05, "is_byok": False}, 71_590_000),
        ({"cost": 0}, 0),
        ({"cost": 0.05, "is_byok": True, "cost_details": {"upstream_inference_cost": 1}}, 1_050_000_000_000),
        ({"cost": 0.05, "is_byok": True, "cost_details": {"upstream_inference_cost": None}}, None),
        ({"cost": 0.05, "is_byok": True}, None),
        ({"cost": {"total_cost": 0.25, "request_cost": 0.2}}, 250_000_000_000),
        ({"cost_in_usd_ticks": 37_756_000}, 3_775_600_000),
        ({"cost": -1}, None),
        ({"cost": "free"}, None),
        ({"cost": True}, None),
        ({"cost": float("nan")}, None),
        ({"cost": float("inf")}, None),
        ({"cost": None}, None),
    ],
)
def test_a_cost_that_the_host_states_in_full_is_reported(cost: dict[str, Any], expected: int | None) -> None:
    bill = read(CHAT, chat(PLAIN | cost), "m")
    assert bill is not None
    assert bill.reported_cost == expected


# ---- responses


def test_cache_writes_are_told_by_lifetime() -> None:
    details = {
        "cached_tokens": 1,
        "cache_write_tokens": 8,
        "cache_write_tokens_details": {"ttl_30m_tokens": 5, "ttl_12h_tokens": 3},
    }
    usage = TWO | {"input_tokens_details": details, "output_tokens_details": {"reasoning_tokens": 2}}
    assert usage_of(read(RESPONSES, response(usage), "m")) == Usage(
        10, 5, 1, 8, cache_write_12h_tokens=3, output_reasoning_tokens=2
    )


def test_what_the_image_tool_used_is_a_line_of_its_own_with_its_own_model() -> None:
    drawn = {
        "input_tokens": 50,
        "input_tokens_details": {"text_tokens": 50, "image_tokens": 0},
        "output_tokens": 200,
        "output_tokens_details": {"image_tokens": 200, "text_tokens": 0},
        "total_tokens": 250,
    }
    tools = {"image_gen": drawn, "web_search": {"num_requests": 0}}
    declared = [{"type": "web_search"}, {"type": "image_generation", "model": "gpt-image-2"}]
    bill = read(RESPONSES, response(TWO, tool_usage=tools, tools=declared), "m")
    assert bill is not None
    assert bill.lines == (
        Line("gpt-5", Usage(10, 5)),
        Line("gpt-image-2", Usage(50, 200, output_image_tokens=200)),
    )
    unnamed = read(RESPONSES, response(TWO, tool_usage=tools), "m")
    assert unnamed is not None
    assert unnamed.lines[1].model == "image_generation"  # a name nobody has a price for: it will be asked about


def test_the_output_of_the_image_tool_is_pictures_unless_it_says_otherwise() -> None:
    drawn = {
        "input_tokens": 50,
        "input_tokens_details": {"text_tokens": 20, "image_tokens": 30},
        "cached_tokens": 15,
        "cached_tokens_details": {"cached_text_tokens": 5, "cached_image_tokens": 10},
        "output_tokens": 200,
        "output_tokens_details": None,
        "total_tokens": 250,
    }
    bill = read(RESPONSES, response(TWO, tool_usage={"image_gen": drawn}), "m")
    assert bill is not None
    assert bill.lines[1].usage == Usage(
        *(50, 200),
        cache_read_tokens=15,
        cache_image_read_tokens=10,
        input_image_tokens=30,
        output_image_tokens=200,
    )


def test_tools_that_were_not_used_bill_nothing() -> None:
    unused = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
    tools = {"image_gen": unused, "web_search": {"num_requests": 0}}
    assert usage_of(read(RESPONSES, response(TWO, tool_usage=tools), "m")) == Usage(10, 5)


def test_searches_are_those_of_tool_usage_or_else_the_search_calls_among_the_output() -> None:
    calls = [
        {"type": "web_search_call", "action": {"type": "search", "query": "q"}},
        {"type": "web_search_call", "action": {"type": "open_page"}},
        {"type": "web_search_call", "action": {"type": "find_in_page"}},
        {"type": "web_search_call", "action": {"type": "search", "query": "r"}},
        {"type": "web_search_call"},
        {"type": "file_search_call"},
        {"type": "message"},
    ]
    old = usage_of(read(RESPONSES, response(TWO, output=calls), "m"))
    assert (old.web_searches, old.storage_searches) == (3, 1)
    new = usage_of(read(RESPONSES, response(TWO, output=calls, tool_usage={"web_search": {"num_requests": 1}}), "m"))
    assert (new.web_searches, new.storage_searches) == (1, 1)


def test_pictures_drawn_before_there_was_tool_usage_are_counted() -> None:
    calls = [{"type": "image_generation_call"}, {"type": "image_generation_call"}]
    bill = read(RESPONSES, response(TWO, output=calls), "m")
    assert bill is not None
    assert bill.lines[1] == Line("image_generation", Usage(output_images=2))


@pytest.mark.parametrize("status", ["queued", "in_progress"])
def test_a_background_response_is_not_settled_before_it_is_finished(status: str) -> None:
    assert read(RESPONSES, response(None, status=status, background=True), "m") == Bill("resp_1", (), final=False)


@pytest.mark.parametrize("status", ["completed", "incomplete", "failed", "cancelled"])
def test_the_read_that_finds_it_finished_settles_it(status: str) -> None:
    bill = read(at("/responses/resp_1", "GET"), response(TWO, status=status), "m")
    assert bill is not None
    assert bill.final
    assert bill.response_id == "resp_1"
    assert usage_of(bill) == Usage(10, 5)


def test_a_finished_response_that_does_not_say_is_left_to_an_estimate() -> None:
    assert read(RESPONSES, response(None, status="failed"), "m") is None


# ---- the others


def test_an_embedding_has_no_output() -> None:
    body = {"model": "text-embedding-3-small", "usage": {"prompt_tokens": 8, "total_tokens": 8}}
    assert read(at("/embeddings"), body, "m") == Bill(None, (Line("text-embedding-3-small", Usage(8)),))
    assert usage_of(read(at("/embeddings"), {"usage": {"prompt_tokens": 8}}, "m")) == Usage(8)


def test_a_legacy_completion_may_leave_out_the_output() -> None:
    assert usage_of(read(at("/completions"), {"usage": {"prompt_tokens": 8, "total_tokens": 8}}, "m")) == Usage(8)
    assert usage_of(read(at("/completions"), {"usage": {"prompt_tokens": 8, "total_tokens": 9}}, "m")) == Usage(8, 1)


def test_a_picture_is_billed_in_image_tokens_and_a_drawing_beside_it_under_its_own_model() -> None:
    usage = {
        "input_tokens": 50,
        "input_tokens_details": {"image_tokens": 40, "text_tokens": 10},
        "output_tokens": 300,
        "total_tokens": 350,
    }
    svg = {"model": "gpt-5.6", "input_tokens": 5, "output_tokens": 9, "reasoning_tokens": 4, "total_tokens": 14}
    bill = read(at("/images/generations"), {"created": 1, "usage": usage, "svg_usage": svg}, "gpt-image-2")
    assert bill is not None
    assert bill.lines == (
        Line("gpt-image-2", Usage(50, 300, input_image_tokens=40, output_image_tokens=300)),
        Line("gpt-5.6", Usage(5, 9, output_reasoning_tokens=4)),
    )


def test_the_output_of_a_picture_may_be_told_by_kind() -> None:
    usage = TWO | {"output_tokens_details": {"image_tokens": 3, "text_tokens": 2}}
    assert usage_of(read(at("/images/edits"), {"usage": usage}, "m")) == Usage(10, 5, output_image_tokens=3)


def test_a_cost_may_be_all_that_is_said() -> None:
    xai = {"data": [{"url": "https://x"}], "usage": {"cost_in_usd_ticks": 200_000_000}}
    assert read(at("/images/generations"), xai, "grok-imagine") == Bill(
        None, (Line("grok-imagine", Usage()),), 20_000_000_000
    )
    assert read(CHAT, chat({"prompt_tokens": 0, "completion_tokens": 0, "cost": 0}), "m") is None


def test_dall_e_says_nothing() -> None:
    assert read(at("/images/generations"), {"created": 1, "data": [{"url": "https://x"}]}, "dall-e-3") is None


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"usage": {"type": "duration", "seconds": 9}}, Usage(input_audio_milliseconds=9000)),
        ({"usage": {"type": "duration", "seconds": 1.1}}, Usage(input_audio_milliseconds=1100)),
        ({"duration": 8.4699}, Usage(input_audio_milliseconds=8470)),
        ({"duration": "8.47"}, Usage(input_audio_milliseconds=8470)),
        (
            {"usage": TWO | {"type": "tokens", "input_token_details": {"audio_tokens": 9, "text_tokens": 1}}},
            Usage(10, 5, input_audio_tokens=9),
        ),
    ],
)
def test_a_transcription_is_billed_by_tokens_or_by_time(body: dict[str, Any], expected: Usage) -> None:
    assert usage_of(read(at("/audio/transcriptions"), body, "whisper-1")) == expected
    assert usage_of(read(at("/audio/translations"), body, "whisper-1")) == expected


@pytest.mark.parametrize("seconds", [None, True, "long", -1, [], float("nan"), float("inf")])
def test_a_duration_that_is_none_is_malformed(seconds: Any) -> None:
    with pytest.raises(MalformedUsage):
        read(at("/audio/transcriptions"), {"usage": {"type": "duration", "seconds": seconds}}, "whisper-1")


def test_a_transcription_as_bare_text_says_nothing() -> None:
    assert read(at("/audio/transcriptions"), {"text": "hello"}, "whisper-1") is None


def test_a_decision_is_billed_like_a_response() -> None:
    usage = TWO | {"input_tokens_details": {"cache_write_tokens": 2, "cached_tokens": 3}}
    bill = read(at("/decisions"), {"model": "gpt-decide", "answers": [], "usage": usage}, "m")
    assert bill == Bill(None, (Line("gpt-decide", Usage(10, 5, 3, 2)),))


@pytest.mark.parametrize("status", ["validating", "in_progress", "finalizing", "cancelling"])
def test_a_batch_is_not_settled_before_it_is_over(status: str) -> None:
    assert read(at("/batches"), {"id": "batch_1", "status": status}, "m") == Bill("batch_1", (), final=False)


@pytest.mark.parametrize("status", ["completed", "expired", "cancelled"])
def test_a_batch_that_is_over_bills_its_sum_at_the_batch_price(status: str) -> None:
    body = {"id": "batch_1", "status": status, "model": "gpt-5", "usage": TWO}
    assert read(at("/batches/batch_1", "GET"), body, "") == Bill(
        "batch_1", (Line("gpt-5", Usage(10, 5), (("processing", "batch"),)),)
    )


def test_a_batch_of_which_nothing_was_done_costs_nothing_and_one_that_does_not_say_is_estimated() -> None:
    get = at("/batches/batch_1", "GET")
    nothing = {"id": "batch_1", "status": "failed", "request_counts": {"completed": 0, "failed": 0, "total": 0}}
    assert read(get, nothing, "") == Bill("batch_1", ())
    assert read(get, {"id": "batch_1", "status": "completed", "request_counts": {"completed": 4}}, "") is None
    assert read(get, {"id": "batch_1", "status": "completed"}, "") is None


def test_a_run_is_settled_when_it_is_over() -> None:
    run = {"id": "run_1", "object": "thread.run", "model": "gpt-4o", "status": "in_progress", "usage": None}
    assert read(at("/threads/t/runs"), run, "m") == Bill("run_1", (), final=False)
    waiting = run | {"status": "requires_action"}
    assert read(at("/threads/t/runs/r", "GET"), waiting, "m") == Bill("run_1", (), final=False)
    done = run | {"status": "completed", "usage": PLAIN}
    assert read(at("/threads/t/runs/r", "GET"), done, "m") == Bill("run_1", (Line("gpt-4o", Usage(10, 5)),))


def test_free_endpoints_bill_nothing() -> None:
    assert read(at("/moderations"), {"id": "modr_1", "usage": TWO}, "m") is None
    assert read(at("/chat/completions/chatcmpl-1", "GET"), {}, "m") is None


# ---- streams


def chunk(text: str | None = None, finish: str | None = None, index: int = 0, **more: Any) -> dict[str, Any]:
    delta = {} if text is None else {"content": text}
    choices = [{"index": index, "delta": delta, "finish_reason": finish}]
    return {
        "id": "chatcmpl-0123456789abcdef",
        "model": "gpt-4o",
        "object": "chat.completion.chunk",
        "choices": choices,
    } | more


def follow(endpoint: Endpoint, *events: dict[str, Any]) -> StreamReader:
    reader = StreamReader(endpoint, "requested")
    for event in events:
        reader.feed(event)
    return reader


def test_the_chunk_that_include_usage_adds_is_told_from_others() -> None:
    assert usage_chunk_only({"choices": [], "usage": PLAIN})
    assert not usage_chunk_only({"choices": [], "prompt_filter_results": []})  # Azure's first
    assert not usage_chunk_only({"choices": [], "usage": None})
    assert not usage_chunk_only(chunk("x", usage=PLAIN))
    assert not usage_chunk_only({"usage": PLAIN})


def test_a_chat_stream_ends_with_its_usage() -> None:
    azure = {"choices": [], "model": "", "id": "", "prompt_filter_results": []}
    last = {"id": "chatcmpl-0123456789abcdef", "choices": [], "usage": PLAIN, "service_tier": "flex"}
    reader = follow(CHAT, azure, chunk(""), chunk("Hel"), chunk("lo"), chunk(finish="stop"))
    assert (reader.terminal, reader.bill()) == (False, None)
    reader.feed(last)
    assert reader.terminal
    assert reader.bill() == Bill(
        "chatcmpl-0123456789abcdef", (Line("gpt-4o", Usage(10, 5), (("service_tier", "flex"),)),)
    )
    assert (reader.delta_bytes, reader.delta_events) == (5, 2)


def test_usage_in_every_chunk_is_cumulative_and_final_with_the_last_choice() -> None:
    def so_far(written: int) -> dict[str, Any]:
        return {"prompt_tokens": 10, "completion_tokens": written, "total_tokens": 10 + written}

    reader = follow(CHAT, chunk("a", usage=so_far(1)), chunk("b", index=1, usage=so_far(2)))
    assert usage_of(reader.bill()) == Usage(10, 2)
    reader.feed(chunk(finish="stop", usage=so_far(2)))
    assert not reader.terminal  # the second choice goes on
    reader.feed(chunk("c", index=1, usage=so_far(3)))
    reader.feed(chunk(finish="stop", index=1, usage=so_far(3)))
    assert reader.terminal
    assert usage_of(reader.bill()) == Usage(10, 3)


def test_usage_may_stand_in_the_last_chunk_beside_its_choice() -> None:
    reader = follow(CHAT, chunk("a"), chunk(finish="stop", usage=PLAIN))
    assert reader.terminal
    assert usage_of(reader.bill()) == Usage(10, 5)


def test_groqs_last_chunk_is_read() -> None:
    reader = follow(CHAT, chunk("a"), chunk(finish="stop", x_groq={"id": "req_1", "usage": PLAIN}))
    assert reader.terminal
    assert usage_of(reader.bill()) == Usage(10, 5)


def test_text_reasoning_refusals_and_arguments_are_counted_in_bytes_but_not_names_of_roles() -> None:
    reader = follow(
        CHAT,
        chunk(choices=[{"index": 0, "delta": {"role": "assistant", "content": ""}}]),
        chunk("é"),
        chunk(choices=[{"index": 0, "delta": {"reasoning_content": "abc"}}]),
        chunk(choices=[{"index": 0, "delta": {"refusal": "no"}}]),
        chunk(
            choices=[
                {"delta": {"tool_calls": [{"id": "call_1", "type": "function", "function": {"arguments": '{"a'}}]}}
            ]
        ),
        chunk(choices=[{"index": 0, "delta": {"audio": {"id": "audio_1", "data": "AAAA", "transcript": "hi"}}}]),
        chunk(choices=[{"index": 0, "text": "legacy"}]),
        chunk(choices=[{"index": 0, "delta": {"content": [{"type": "text", "text": "parts"}]}}]),
        chunk("\ud800"),
    )
    assert reader.delta_bytes == 2 + 3 + 2 + 3 + 2 + 6 + 5 + 3
    assert reader.delta_events == 8


@pytest.mark.parametrize("event", [{"error": {"message": "overloaded"}}, {"type": "error", "code": "server_error"}])
def test_an_error_within_the_stream_is_noticed(event: dict[str, Any]) -> None:
    reader = follow(CHAT, chunk("a"), event)
    assert reader.error
    assert not reader.terminal


@pytest.mark.parametrize("end", ["completed", "incomplete", "failed"])
def test_a_response_stream_bills_what_its_last_event_says(end: str) -> None:
    begun = response(None, status="in_progress", background=False)
    reader = follow(
        RESPONSES,
        {"type": "response.created", "response": begun},
        {"type": "response.output_text.delta", "delta": "Hi", "obfuscation": "xxxx"},
        {"type": "response.function_call_arguments.delta", "delta": "{}"},
        {"type": "response.reasoning_summary_text.delta", "delta": "thinking"},
        {"type": "response.image_generation_call.partial_image", "partial_image_b64": "AAAA"},
        {"type": "response.audio.delta", "delta": "AAAA"},
        {"type": "response.output_text.done", "text": "Hi"},
    )
    assert (reader.terminal, reader.bill()) == (False, None)
    assert (reader.delta_bytes, reader.delta_events) == (12, 2)
    reader.feed({"type": f"response.{end}", "response": response(TWO, status=end)})
    assert reader.terminal
    assert usage_of(reader.bill()) == Usage(10, 5)


def test_a_background_stream_that_was_left_is_not_settled_yet() -> None:
    begun = response(None, status="queued", background=True)
    reader = follow(RESPONSES, {"type": "response.queued", "response": begun})
    assert reader.bill() == Bill("resp_1", (), final=False)


def test_a_stream_whose_last_word_cannot_be_is_not_called_complete() -> None:
    broken = response(TWO | {"total_tokens": 3})
    reader = follow(RESPONSES, {"type": "response.completed", "response": broken})
    assert reader.bill() is None
    assert not reader.terminal
    assert reader.malformed


def test_a_stream_that_ends_without_usage_is_not_called_complete() -> None:
    reader = follow(RESPONSES, {"type": "response.failed", "response": response(None, error={"code": "x"})})
    assert reader.bill() is None
    assert not reader.terminal
    assert reader.error


def test_pictures_of_a_stream_add_up() -> None:
    done = {"type": "image_generation.completed", "b64_json": "AAAA", "usage": TWO}
    partial = {"type": "image_generation.partial_image", "b64_json": "AAAA"}
    reader = follow(at("/images/generations"), partial, done, done)
    assert reader.terminal
    assert reader.bill() == Bill(None, (Line("requested", Usage(10, 5, output_image_tokens=5)),) * 2)


@pytest.mark.parametrize(
    ("path", "delta", "done"),
    [
        ("/audio/transcriptions", "transcript.text.delta", "transcript.text.done"),
        ("/audio/speech", "speech.audio.delta", "speech.audio.done"),
    ],
)
def test_streams_of_speech_and_transcripts_end_with_their_usage(path: str, delta: str, done: str) -> None:
    reader = follow(at(path), {"type": delta, "delta": "hello"}, {"type": done, "usage": TWO})
    assert reader.terminal
    assert usage_of(reader.bill()) == Usage(10, 5)
    assert reader.delta_bytes == (5 if path.endswith("transcriptions") else 0)


def test_a_run_stream_is_settled_when_the_run_is_over() -> None:
    run = {"id": "run_1", "object": "thread.run", "model": "gpt-4o", "status": "queued", "usage": None}
    text = {"object": "thread.message.delta", "delta": {"content": [{"type": "text", "text": {"value": "Hi"}}]}}
    reader = follow(at("/threads/t/runs"), {"object": "thread", "id": "t"}, run, text)
    assert reader.bill() == Bill("run_1", (), final=False)
    assert (reader.delta_bytes, reader.delta_events) == (2, 1)
    reader.feed(run | {"status": "completed", "usage": PLAIN})
    assert reader.terminal
    assert reader.bill() == Bill("run_1", (Line("gpt-4o", Usage(10, 5)),))
