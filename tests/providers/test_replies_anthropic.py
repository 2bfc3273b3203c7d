"""What Anthropic's replies bill; shapes that no recording has, above all."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actguard.budget.usage import Bill, Line, MalformedUsage, Usage
from actguard.providers.anthropic import reply
from actguard.providers.anthropic.endpoints import classify
from actguard.providers.anthropic.reply import StreamReader, read

MESSAGES = classify("POST", "/v1/messages")
BATCH = classify("GET", "/v1/messages/batches/msgbatch_1")
RESULTS = classify("GET", "/v1/messages/batches/msgbatch_1/results")

TWO = {"input_tokens": 10, "output_tokens": 5}


def message(usage: Any, **more: Any) -> dict[str, Any]:
    return {"id": "msg_1", "type": "message", "model": "claude-opus-5", "content": [], "usage": usage} | more


def bill_of(usage: Any, **more: Any) -> Bill:
    bill = read(MESSAGES, message(usage, **more), "claude-requested")
    assert bill is not None
    return bill


def usage_of(bill: Bill | None) -> Usage:
    assert bill is not None
    assert len(bill.lines) == 1
    return bill.lines[0].usage


# ---- messages


def test_a_plain_reply_is_one_line() -> None:
    assert bill_of(TWO) == Bill("msg_1", (Line("claude-opus-5", Usage(10, 5)),))


def test_cached_tokens_stand_beside_the_input_and_are_added_to_it() -> None:
    usage = TWO | {
        "cache_read_input_tokens": 100,
        "cache_creation_input_tokens": 50,
        "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 30},
        "output_tokens_details": {"thinking_tokens": 4},
    }
    assert usage_of(bill_of(usage)) == Usage(
        input_tokens=160,
        output_tokens=5,
        cache_read_tokens=100,
        cache_write_tokens=50,
        cache_write_1h_tokens=30,
        output_reasoning_tokens=4,
    )


def test_nulls_are_nothing() -> None:
    usage = TWO | {"cache_read_input_tokens": None, "cache_creation": None, "server_tool_use": None, "iterations": None}
    assert usage_of(bill_of(usage)) == Usage(10, 5)


def test_lifetimes_alone_say_what_was_stored() -> None:
    usage = TWO | {"cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 30}}
    assert usage_of(bill_of(usage)) == Usage(60, 5, cache_write_tokens=50, cache_write_1h_tokens=30)


def test_searches_are_billed_and_fetches_are_not() -> None:
    usage = TWO | {"server_tool_use": {"web_search_requests": 3, "web_fetch_requests": 7}}
    assert usage_of(bill_of(usage)) == Usage(10, 5, web_searches=3)


@pytest.mark.parametrize("usage", [None, {}, {"service_tier": "standard"}])
def test_a_reply_without_usage_says_nothing(usage: Any) -> None:
    assert read(MESSAGES, message(usage), "m") is None


def test_counts_that_are_all_zero_say_nothing() -> None:
    assert read(MESSAGES, message({"input_tokens": 0, "output_tokens": 0}), "m") is None


def test_the_requested_model_stands_in_for_one_that_the_reply_does_not_name() -> None:
    assert bill_of(TWO, model=None).lines[0].model == "claude-requested"


@pytest.mark.parametrize(
    ("said", "context"),
    [
        ({"service_tier": "standard", "inference_geo": "global", "speed": "standard"}, ()),
        ({"inference_geo": "not_available"}, ()),
        ({"service_tier": "batch"}, (("processing", "batch"),)),
        ({"service_tier": "priority"}, (("service_tier", "priority"),)),
        ({"speed": "fast"}, (("speed", "fast"),)),
        ({"inference_geo": "us"}, (("geo", "us"),)),
        ({"speed": "fast", "inference_geo": "US"}, (("geo", "us"), ("speed", "fast"))),
        (
            {"service_tier": "batch", "inference_geo": "us", "speed": "fast"},
            (("geo", "us"), ("processing", "batch"), ("speed", "fast")),
        ),
        ({"service_tier": ["batch"], "speed": 1, "inference_geo": {}}, ()),
    ],
)
def test_tier_speed_and_region_of_the_reply_select_the_price(said: dict[str, Any], context: Any) -> None:
    assert bill_of(TWO | said).lines[0].context == context


def test_a_request_declined_before_anything_was_generated_is_not_billed() -> None:
    usage = {"input_tokens": 106, "output_tokens": 0, "server_tool_use": {"web_search_requests": 1}}
    assert usage_of(bill_of(usage, stop_reason="refusal")) == Usage(web_searches=1)


def test_one_declined_after_it_had_begun_is() -> None:
    assert usage_of(bill_of(TWO, stop_reason="refusal")) == Usage(10, 5)


# ---- iterations


def iteration(kind: str, read_in: int, written: int, **more: Any) -> dict[str, Any]:
    return {"type": kind, "input_tokens": read_in, "output_tokens": written} | more


def test_a_compaction_is_a_line_of_its_own_beside_the_top_level() -> None:
    usage = TWO | {
        "speed": "fast",
        "iterations": [
            iteration("compaction", 100, 83, cache_read_input_tokens=55_000),
            iteration("message", 10, 5),
        ],
    }
    fast = (("speed", "fast"),)
    assert bill_of(usage).lines == (
        Line("claude-opus-5", Usage(10, 5), fast),
        Line("claude-opus-5", Usage(55_100, 83, cache_read_tokens=55_000), fast),
    )


def test_an_advisor_is_billed_as_the_model_it_is_at_its_own_speed() -> None:
    usage = TWO | {
        "speed": "fast",
        "inference_geo": "us",
        "iterations": [
            iteration("message", 4, 2),
            iteration("advisor_message", 2_518, 22, model="claude-opus-4-8"),
            iteration("message", 6, 3),
        ],
    }
    assert bill_of(usage).lines == (
        Line("claude-opus-5", Usage(10, 5), (("geo", "us"), ("speed", "fast"))),
        Line("claude-opus-4-8", Usage(2_518, 22), (("geo", "us"),)),
    )


def test_a_fallback_is_billed_as_the_model_that_served_and_an_attempt_without_output_is_not() -> None:
    usage = {
        "input_tokens": 412,
        "output_tokens": 264,
        "iterations": [
            iteration("message", 408, 0, model="claude-fable-5"),
            iteration("fallback_message", 412, 264, model="claude-opus-4-8"),
        ],
    }
    assert bill_of(usage, model="claude-opus-4-8").lines == (Line("claude-opus-4-8", Usage(412, 264)),)


def test_an_attempt_that_declined_after_it_had_begun_is_billed_at_its_own_model() -> None:
    usage = {
        "input_tokens": 440,
        "output_tokens": 264,
        "server_tool_use": {"web_search_requests": 1},
        "iterations": [
            iteration("message", 408, 30, model="claude-fable-5"),
            iteration("fallback_message", 440, 264, model="claude-opus-4-8"),
        ],
    }
    assert bill_of(usage, model="claude-opus-4-8").lines == (
        Line("claude-fable-5", Usage(408, 30)),
        Line("claude-opus-4-8", Usage(440, 264)),
        Line("claude-opus-4-8", Usage(web_searches=1)),
    )


def test_iterations_of_one_model_are_what_the_top_level_says() -> None:
    usage = TWO | {"iterations": [iteration("message", 4, 2, model="claude-opus-5"), iteration("message", 6, 3)]}
    assert bill_of(usage).lines == (Line("claude-opus-5", Usage(10, 5)),)


@pytest.mark.parametrize(
    "iterations", ["two", {"a": 1}, [iteration("compaction", 1, -1)], [{"type": "advisor_message", "input_tokens": 1}]]
)
def test_iterations_that_cannot_be_are_malformed(iterations: Any) -> None:
    with pytest.raises(MalformedUsage):
        bill_of(TWO | {"iterations": iterations})


# ---- batches


def test_a_batch_never_says_what_it_used() -> None:
    running = {"id": "msgbatch_1", "processing_status": "in_progress", "request_counts": {"processing": 2}}
    assert read(classify("POST", "/v1/messages/batches"), running, "m") == Bill("msgbatch_1", (), final=False)
    ended = running | {"processing_status": "ended", "request_counts": {"succeeded": 2}}
    assert read(BATCH, ended, "m") == Bill("msgbatch_1", (), final=False)


def test_a_batch_in_which_nothing_succeeded_costs_nothing() -> None:
    counts = {"succeeded": 0, "errored": 1, "canceled": 1, "expired": 0, "processing": 0}
    ended = {"id": "msgbatch_1", "processing_status": "ended", "request_counts": counts}
    assert read(BATCH, ended, "m") == Bill("msgbatch_1", ())


def test_the_results_of_a_batch_add_up_at_the_batch_price() -> None:
    def result(kind: str, **more: Any) -> dict[str, Any]:
        return {"custom_id": "x", "result": {"type": kind} | more}

    reader = StreamReader(RESULTS, "m")
    reader.feed(result("succeeded", message=message(TWO | {"service_tier": "batch"})))
    reader.feed(result("errored", error={"type": "invalid_request"}))
    reader.feed(result("expired"))
    reader.feed(result("succeeded", message=message(TWO | {"inference_geo": "us"}, model="claude-haiku-5-5")))
    assert reader.bill() == Bill(
        None,
        (
            Line("claude-opus-5", Usage(10, 5), (("processing", "batch"),)),
            Line("claude-haiku-5-5", Usage(10, 5), (("geo", "us"), ("processing", "batch"))),
        ),
    )
    assert read(RESULTS, result("canceled"), "m") is None


@pytest.mark.parametrize("usage", [{"input_tokens": "10", "output_tokens": 5}, {}, None])
def test_a_result_that_does_not_say_what_it_used_hides_no_other(usage: Any) -> None:
    reader = StreamReader(RESULTS, "m")
    for said in (TWO, usage, TWO):
        reader.feed({"custom_id": "x", "result": {"type": "succeeded", "message": message(said)}})

    bill = reader.bill()
    assert bill is not None
    assert [line.usage for line in bill.lines] == [Usage(10, 5)] * 2
    assert reader.malformed


# ---- streams


def start(usage: Any, **more: Any) -> dict[str, Any]:
    return {"type": "message_start", "message": message(usage, **more)}


def end(usage: Any, stop: str | None = "end_turn") -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": stop}, "usage": usage}


def delta(**said: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": 0, "delta": said}


def follow(*events: dict[str, Any]) -> StreamReader:
    reader = StreamReader(MESSAGES, "claude-requested")
    for event in events:
        reader.feed(event)
    return reader


def test_a_stream_reports_cumulatively_and_the_last_report_holds() -> None:
    reader = follow(
        start({"input_tokens": 2_479, "output_tokens": 1, "service_tier": "priority"}),
        {"type": "ping"},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        delta(type="text_delta", text="Hi"),
    )
    assert not reader.terminal
    assert usage_of(reader.bill()) == Usage(2_479, 1)
    reader.feed(end({"input_tokens": 404_500, "output_tokens": 943, "server_tool_use": {"web_search_requests": 10}}))
    assert reader.terminal
    assert reader.bill() == Bill(
        "msg_1",
        (Line("claude-opus-5", Usage(404_500, 943, web_searches=10), (("service_tier", "priority"),)),),
    )
    reader.feed({"type": "message_stop"})
    assert reader.terminal


def test_lifetimes_of_the_cache_are_told_at_the_start_alone() -> None:
    lifetimes = {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 40}
    began = {"input_tokens": 10, "output_tokens": 1, "cache_creation_input_tokens": 40, "cache_creation": lifetimes}
    same = follow(start(began), end({"output_tokens": 5, "cache_creation_input_tokens": 40}))
    assert usage_of(same.bill()) == Usage(50, 5, cache_write_tokens=40, cache_write_1h_tokens=40)
    more = follow(start(began), end({"output_tokens": 5, "cache_creation_input_tokens": 60}))
    assert usage_of(more.bill()) == Usage(70, 5, cache_write_tokens=60, cache_write_1h_tokens=40)
    fewer = follow(start(began), end({"output_tokens": 5, "cache_creation_input_tokens": 30}))
    assert usage_of(fewer.bill()) == Usage(40, 5, cache_write_tokens=30, cache_write_1h_tokens=30)


@pytest.mark.parametrize(
    ("began", "ended"),
    [
        # Qwen: all of the prompt at the start, corrected at the end.
        ({"input_tokens": 8_834}, {"input_tokens": 3, "cache_read_input_tokens": 8_831}),
        # The same, with zeros.
        ({"input_tokens": 8_834, "cache_read_input_tokens": 0}, {"input_tokens": 3, "cache_read_input_tokens": 8_831}),
        # Kimi: not corrected, or repeated as it was.
        ({"input_tokens": 8_834}, {"cache_read_input_tokens": 8_831}),
        ({"input_tokens": 8_834}, {"input_tokens": 8_834, "cache_read_input_tokens": 8_831}),
        # Anthropic: the same all along.
        ({"input_tokens": 3, "cache_read_input_tokens": 8_831}, {"input_tokens": 3, "cache_read_input_tokens": 8_831}),
        ({"input_tokens": 3, "cache_read_input_tokens": 8_831}, {}),
    ],
)
def test_vendors_that_begin_with_all_of_the_prompt_are_not_counted_twice(
    began: dict[str, int], ended: dict[str, int]
) -> None:
    reader = follow(start(began | {"output_tokens": 0}), end(ended | {"output_tokens": 7}))
    assert usage_of(reader.bill()) == Usage(8_834, 7, cache_read_tokens=8_831)


def test_nulls_at_the_end_do_not_undo_what_was_said() -> None:
    reader = follow(start(TWO), end({"input_tokens": None, "output_tokens": 9}))
    assert usage_of(reader.bill()) == Usage(10, 9)


def test_text_arguments_and_thinking_are_counted() -> None:
    reader = follow(
        start(TWO),
        delta(type="text_delta", text="é"),
        delta(type="input_json_delta", partial_json='{"a'),
        delta(type="input_json_delta", partial_json=""),
        delta(type="thinking_delta", thinking="hmm"),
        delta(type="signature_delta", signature="AAAA"),
        delta(type="citations_delta", citation={"cited_text": "not written by the model"}),
        {"type": "content_block_delta", "delta": None},
    )
    assert (reader.delta_bytes, reader.delta_events) == (8, 2)


def test_a_stream_that_declines_before_anything_was_generated_is_not_billed() -> None:
    reader = follow(start({"input_tokens": 106, "output_tokens": 1}), end({"output_tokens": 0}, "refusal"))
    assert usage_of(reader.bill()) == Usage()
    assert reader.terminal


def test_a_stream_that_breaks_off_is_not_complete() -> None:
    assert not follow(start(TWO), delta(type="text_delta", text="Hi")).terminal
    assert not follow(start(TWO), end(None)).terminal
    assert not follow(start(TWO), end({"output_tokens": 3}, stop=None)).terminal


def test_an_error_within_the_stream_is_noticed() -> None:
    reader = follow(start(TWO), {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})
    assert reader.error
    assert not reader.terminal
    assert usage_of(reader.bill()) == Usage(10, 5)


def test_nothing_yet_is_nothing() -> None:
    assert follow().bill() is None
    assert follow({"type": "ping"}).bill() is None


def test_a_stream_whose_last_word_cannot_be_is_not_called_complete() -> None:
    reader = follow(start(TWO), end({"output_tokens": -1}))
    assert reader.bill() is None
    assert not reader.terminal
    assert reader.malformed


COUNTS: Any = st.sampled_from((0, 1, 7, 9, None, True, -1, 1.5, "", "7", {}, []))
USAGES: Any = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("input_tokens", "output_tokens"), st.sampled_from((0, 1, 7, 9, 7, 9, None, True, -1, "7"))),
        **dict.fromkeys(("cache_read_input_tokens", "cache_creation_input_tokens"), COUNTS),
        "cache_creation": st.one_of(
            COUNTS,
            st.fixed_dictionaries(
                {}, optional=dict.fromkeys(("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens"), COUNTS)
            ),
        ),
        "output_tokens_details": st.one_of(COUNTS, st.fixed_dictionaries({}, optional={"thinking_tokens": COUNTS})),
        "server_tool_use": st.one_of(COUNTS, st.fixed_dictionaries({}, optional={"web_search_requests": COUNTS})),
        **dict.fromkeys(("service_tier", "speed"), st.sampled_from(("standard", "", None, "fast", "batch", 1))),
        "inference_geo": st.sampled_from(("us", "global", "not_available", None)),
        "iterations": st.sampled_from((None, [], [{"type": "compaction", "input_tokens": 7, "output_tokens": 1}], 1)),
        "something_new": COUNTS,
    },
)


@given(
    usage=USAGES, identity=st.sampled_from(("msg_1", "", None, 1)), model=st.sampled_from(("claude-opus-5", "", None))
)
def test_the_everyday_reply_is_read_the_same_the_short_way(usage: Any, identity: Any, model: Any) -> None:
    for body in (
        {"id": identity, "model": model, "usage": usage},
        {"id": identity, "model": model, "usage": usage, "stop_reason": "refusal"},
    ):
        short = reply._plain_message(body)
        assert short is None or short == reply._message(body, "asked")
