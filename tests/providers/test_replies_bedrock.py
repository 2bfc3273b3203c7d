"""What Bedrock's replies bill: AWS's own shape, and those of the models behind Invoke."""

from typing import Any

import pytest

from actguard.budget.usage import Bill, Line, MalformedUsage, Usage
from actguard.providers.bedrock_reply import StreamReader, read
from actguard.providers.endpoint import Endpoint, Kind

CONVERSE = Endpoint("converse", Kind.PRICED)
INVOKE = Endpoint("messages", Kind.PRICED)
MODEL = "us.anthropic.claude-sonnet-4-5"


def usage_of(body: dict[str, Any]) -> Usage:
    bill = read(CONVERSE, body, MODEL)
    assert bill is not None
    assert [line.model for line in bill.lines] == [MODEL]
    return bill.lines[0].usage


def test_converse_tells_cached_tokens_beside_the_input() -> None:
    usage = {
        "inputTokens": 3,
        "outputTokens": 227,
        "cacheReadInputTokens": 100,
        "cacheReadInputTokenCount": 100,
        "cacheWriteInputTokens": 1712,
        "cacheWriteInputTokenCount": 1712,
        "cacheDetails": [{"inputTokens": 712, "ttl": "5m"}, {"inputTokens": 1000, "ttl": "1h"}],
        "totalTokens": 2042,
    }
    assert usage_of({"usage": usage}) == Usage(1815, 227, 100, 1712, 1000)


@pytest.mark.parametrize(
    ("more", "context"),
    [
        ({}, ()),
        ({"serviceTier": {"type": "default"}, "performanceConfig": {"latency": "standard"}}, ()),
        ({"serviceTier": {"type": "flex"}}, (("service_tier", "flex"),)),
        (
            {"serviceTier": {"type": "priority"}, "performanceConfig": {"latency": "optimized"}},
            (("service_tier", "priority"), ("speed", "optimized")),
        ),
    ],
)
def test_tier_and_latency_of_the_reply_select_the_price(more: dict[str, Any], context: Any) -> None:
    body = {"usage": {"inputTokens": 1, "outputTokens": 2, "totalTokens": 3}} | more
    assert read(CONVERSE, body, MODEL) == Bill(None, (Line(MODEL, Usage(1, 2), context),))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"id": "msg_1", "model": "claude", "usage": {"input_tokens": 21, "output_tokens": 22}}, Usage(21, 22)),
        ({"usage": {"prompt_tokens": 8, "completion_tokens": 4, "total_tokens": 12}}, Usage(8, 4)),
        ({"usage": {"inputTokens": 7, "outputTokens": 53, "cacheReadInputTokenCount": 0}}, Usage(7, 53)),
        ({"inputTextTokenCount": 18, "results": [{"tokenCount": 50}, {"tokenCount": 1}]}, Usage(18, 51)),
        ({"embedding": [0.1], "inputTextTokenCount": 6}, Usage(6)),
        ({"generation": "x", "prompt_token_count": 10, "generation_token_count": 60}, Usage(10, 60)),
        ({"prompt": {"tokens": [{}, {}]}, "completions": [{"data": {"tokens": [{}]}}]}, Usage(2, 1)),
    ],
)
def test_a_model_behind_invoke_is_read_in_its_own_shape(body: dict[str, Any], expected: Usage) -> None:
    """And billed under the name that the request used: the same model costs more in some regions."""
    assert usage_of(body) == expected


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"completion": "x", "stop_reason": "stop_sequence"},
        {"usage": {}},
        {"usage": {"inputTokens": 0, "outputTokens": 0}},
        {"results": [{"relevance_score": 0.1}]},
    ],
)
def test_a_reply_without_counts_says_nothing(body: dict[str, Any]) -> None:
    assert read(CONVERSE, body, MODEL) is None


@pytest.mark.parametrize(
    "body",
    [
        {"usage": {"inputTokens": 1, "outputTokens": 2, "totalTokens": 4}},
        {"usage": {"outputTokens": 2}},
        {"usage": {"inputTokens": -1, "outputTokens": 2}},
        {"usage": {"inputTokens": 1, "cacheWriteInputTokens": 1, "cacheDetails": [{"ttl": "1h", "inputTokens": 2}]}},
        {"inputTextTokenCount": 6.0},
        {"prompt_token_count": True},
    ],
)
def test_usage_that_cannot_be_is_malformed(body: dict[str, Any]) -> None:
    with pytest.raises(MalformedUsage):
        read(CONVERSE, body, MODEL)


def follow(endpoint: Endpoint, *events: dict[str, Any]) -> StreamReader:
    reader = StreamReader(endpoint, MODEL)
    for event in events:
        reader.feed(event)
    return reader


def test_a_converse_stream_ends_with_its_metadata() -> None:
    reader = follow(
        CONVERSE,
        {"messageStart": {"role": "assistant"}},
        {"contentBlockDelta": {"delta": {"text": "Hi"}, "contentBlockIndex": 0}},
        {"contentBlockDelta": {"delta": {"toolUse": {"input": "{}"}}}},
        {"contentBlockDelta": {"delta": {"reasoningContent": {"text": "hm", "signature": "AAAA"}}}},
        {"messageStop": {"stopReason": "end_turn"}},
    )
    assert (reader.terminal, reader.bill()) == (False, None)
    assert (reader.delta_bytes, reader.delta_events) == (6, 3)
    usage = {"inputTokens": 12, "outputTokens": 5, "cacheReadInputTokens": 100, "totalTokens": 117}
    reader.feed({"metadata": {"usage": usage, "serviceTier": {"type": "flex"}}})
    assert reader.terminal
    assert reader.bill() == Bill(None, (Line(MODEL, Usage(112, 5, 100), (("service_tier", "flex"),)),))


def test_a_claude_stream_is_read_by_its_own_usage() -> None:
    began = {"id": "msg_1", "model": "claude-sonnet-4-5", "usage": {"input_tokens": 702, "output_tokens": 1}}
    metrics = {"inputTokenCount": 702, "outputTokenCount": 98}
    reader = follow(
        INVOKE,
        {"type": "message_start", "message": began},
        {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "Hi"}},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 130}},
        {"type": "message_stop", "amazon-bedrock-invocationMetrics": metrics},
    )
    assert reader.terminal
    assert reader.bill() == Bill("msg_1", (Line(MODEL, Usage(702, 130)),))
    assert (reader.delta_bytes, reader.delta_events) == (2, 1)


def test_other_streams_are_read_by_the_metrics_of_aws() -> None:
    metrics = {"inputTokenCount": 10, "outputTokenCount": 60, "invocationLatency": 5, "cacheReadInputTokenCount": 4}
    reader = follow(
        INVOKE,
        {"generation": "Hi", "prompt_token_count": 10, "generation_token_count": 1},
        {"outputText": " you"},
        {"generation": "", "stop_reason": "length", "amazon-bedrock-invocationMetrics": metrics},
    )
    assert reader.terminal
    assert reader.bill() == Bill(None, (Line(MODEL, Usage(14, 60, 4)),))
    assert (reader.delta_bytes, reader.delta_events) == (6, 2)


@pytest.mark.parametrize("event", [{"type": "error", "error": {}}, {"throttlingException": {"message": "slow"}}])
def test_an_error_within_the_stream_is_noticed(event: dict[str, Any]) -> None:
    assert follow(CONVERSE, event).error


def test_a_stream_whose_counts_cannot_be_is_not_called_complete() -> None:
    reader = follow(CONVERSE, {"metadata": {"usage": {"inputTokens": 1, "outputTokens": -1}}})
    assert reader.bill() is None
    assert (reader.terminal, bool(reader.malformed)) == (False, True)
