"""What Google's replies bill; shapes that no recording has, above all."""

from typing import Any

import pytest

from actguard.budget.usage import Bill, Line, MalformedUsage, Usage
from actguard.providers.endpoint import Endpoint
from actguard.providers.google.endpoints import classify
from actguard.providers.google.reply import StreamReader, read

GENERATE = classify("POST", "models/gemini-3-pro:generateContent")
STREAM = classify("POST", "models/gemini-3-pro:streamGenerateContent?alt=sse")
INTERACTIONS = classify("POST", "/v1beta/interactions")
BATCHES = classify("GET", "batches/b1")

PLAIN = {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15}
SPENT = {
    "total_input_tokens": 10,
    "total_output_tokens": 5,
    "total_cached_tokens": 0,
    "total_thought_tokens": 0,
    "total_tool_use_tokens": 0,
    "total_tokens": 15,
}


def content(usage: Any, **more: Any) -> dict[str, Any]:
    return {"responseId": "r1", "modelVersion": "gemini-3-pro", "candidates": [], "usageMetadata": usage} | more


def bill_of(usage: Any, **more: Any) -> Bill:
    bill = read(GENERATE, content(usage, **more), "gemini-requested")
    assert bill is not None
    return bill


def usage_of(bill: Bill | None) -> Usage:
    assert bill is not None
    assert len(bill.lines) == 1
    return bill.lines[0].usage


def details(**counts: int) -> list[dict[str, Any]]:
    return [{"modality": kind, "tokenCount": count} for kind, count in counts.items()]


# ---- generateContent


def test_a_plain_reply_is_one_line() -> None:
    assert bill_of(PLAIN) == Bill("r1", (Line("gemini-3-pro", Usage(10, 5)),))


def test_thoughts_are_output_tool_prompts_are_input_and_cached_tokens_are_in_the_prompt() -> None:
    usage = {
        "promptTokenCount": 100,
        "cachedContentTokenCount": 60,
        "toolUsePromptTokenCount": 20,
        "candidatesTokenCount": 5,
        "thoughtsTokenCount": 7,
        "totalTokenCount": 132,
    }
    assert usage_of(bill_of(usage)) == Usage(
        input_tokens=120, output_tokens=12, cache_read_tokens=60, input_tool_tokens=20, output_reasoning_tokens=7
    )


def test_details_tell_the_modalities_and_the_rest_is_text() -> None:
    usage = {
        "promptTokenCount": 100,
        "promptTokensDetails": details(TEXT=10, AUDIO=30, VIDEO=20, IMAGE=5, DOCUMENT=6, HOLOGRAM=9),
        "cachedContentTokenCount": 40,
        "cacheTokensDetails": details(AUDIO=25, VIDEO=5, IMAGE=2, DOCUMENT=1, TEXT=7),
        "toolUsePromptTokenCount": 8,
        "toolUsePromptTokensDetails": details(IMAGE=8),
        "candidatesTokenCount": 50,
        "candidatesTokensDetails": details(IMAGE=40, AUDIO=3, TEXT=7),
        "totalTokenCount": 158,
    }
    assert usage_of(bill_of(usage)) == Usage(
        input_tokens=108,
        output_tokens=50,
        cache_read_tokens=40,
        input_audio_tokens=30,
        input_image_tokens=19,
        input_video_tokens=20,
        cache_audio_read_tokens=25,
        cache_image_read_tokens=3,
        cache_video_read_tokens=5,
        input_tool_tokens=8,
        output_audio_tokens=3,
        output_image_tokens=40,
    )


def test_modalities_and_traffic_may_be_numbers() -> None:
    usage = PLAIN | {"promptTokensDetails": [{"modality": 1, "tokenCount": 3}, {"modality": 4, "tokenCount": 7}]}
    assert usage_of(bill_of(usage)) == Usage(10, 5, input_audio_tokens=7)
    tiers = [bill_of(PLAIN | {"trafficType": number}).lines[0].context for number in range(6)]
    assert tiers == [
        (),
        (),
        (("service_tier", "provisioned_throughput"),),
        (("service_tier", "priority"),),
        (("service_tier", "flex"),),
        (),
    ]


def test_a_count_of_zero_is_left_out() -> None:
    assert usage_of(bill_of({"promptTokenCount": 14, "totalTokenCount": 14})) == Usage(14)
    assert usage_of(bill_of({"promptTokenCount": 15, "thoughtsTokenCount": 2, "totalTokenCount": 17})) == Usage(
        15, 2, output_reasoning_tokens=2
    )


def test_what_the_total_has_more_than_its_parts_is_the_part_that_is_missing() -> None:
    assert usage_of(bill_of({"promptTokenCount": 10, "totalTokenCount": 17})) == Usage(10, 7)
    assert usage_of(bill_of({"candidatesTokenCount": 5, "totalTokenCount": 17})) == Usage(12, 5)


@pytest.mark.parametrize("usage", [None, {}, {"trafficType": "ON_DEMAND"}, {"promptTokenCount": 0}])
def test_a_reply_without_counts_says_nothing(usage: Any) -> None:
    assert read(GENERATE, content(usage), "m") is None


@pytest.mark.parametrize(
    "usage",
    [
        {"candidatesTokenCount": 18, "thoughtsTokenCount": 58},
        PLAIN | {"totalTokenCount": 14},
        PLAIN | {"cachedContentTokenCount": 11},
        PLAIN | {"promptTokensDetails": details(AUDIO=11)},
        PLAIN | {"cachedContentTokenCount": 4, "cacheTokensDetails": details(AUDIO=3)},
        PLAIN | {"promptTokensDetails": {"modality": "AUDIO"}},
        PLAIN | {"promptTokensDetails": details(AUDIO=-1)},
        PLAIN | {"promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 1.5}]},
        PLAIN | {"promptTokenCount": "10"},
        PLAIN | {"thoughtsTokenCount": True},
        [],
        "ten",
    ],
)
def test_usage_that_cannot_be_is_malformed(usage: Any) -> None:
    with pytest.raises(MalformedUsage):
        read(GENERATE, content(usage), "m")


@pytest.mark.parametrize(
    ("said", "context"),
    [
        ({}, ()),
        ({"serviceTier": "standard"}, ()),
        ({"serviceTier": "flex"}, (("service_tier", "flex"),)),
        ({"serviceTier": "PRIORITY"}, (("service_tier", "priority"),)),
        ({"trafficType": "ON_DEMAND"}, ()),
        ({"trafficType": "ON_DEMAND_FLEX"}, (("service_tier", "flex"),)),
        ({"trafficType": "ON_DEMAND_PRIORITY"}, (("service_tier", "priority"),)),
        ({"trafficType": "ON_DEMAND_OFFPEAK"}, (("service_tier", "offpeak"),)),
        ({"trafficType": "PROVISIONED_THROUGHPUT"}, (("service_tier", "provisioned_throughput"),)),
        ({"trafficType": "TRAFFIC_TYPE_UNSPECIFIED"}, ()),
        ({"trafficType": ["x"]}, ()),
    ],
)
def test_the_tier_of_the_reply_selects_the_price(said: dict[str, Any], context: Any) -> None:
    assert bill_of(PLAIN | said).lines[0].context == context


def grounded(*queries: str, **more: Any) -> dict[str, Any]:
    return {"groundingMetadata": {"webSearchQueries": list(queries)} | more}


@pytest.mark.parametrize(
    ("model", "queries", "billed"),
    [
        ("gemini-2.5-pro", ("a", "b", "c"), 1),
        ("gemini-2.5-pro", (), 0),
        ("gemini-3-pro-preview", ("a", "b", "c"), 3),
        ("gemini-3-pro-preview", ("", "b"), 1),
        ("gemini-3-pro-preview", ("a", "b", "a"), 2),
        ("models/gemini-2.0-flash", ("a", "b"), 1),
        ("gemini-flash-latest", ("a", "b"), 2),
    ],
)
def test_searches_are_billed_by_the_prompt_before_gemini_3_and_by_the_query_since(
    model: str, queries: tuple[str, ...], billed: int
) -> None:
    bill = bill_of(PLAIN, modelVersion=model, candidates=[grounded(*queries)])
    assert usage_of(bill).web_searches == billed


def test_a_prompt_is_one_prompt_however_many_candidates_were_grounded() -> None:
    both = [grounded("a", groundingChunks=[{"maps": {}}]), grounded("b", groundingChunks=[{"maps": {}}])]
    usage = usage_of(bill_of(PLAIN, modelVersion="gemini-2.5-pro", candidates=both))
    assert (usage.web_searches, usage.map_searches) == (1, 1)
    assert usage_of(bill_of(PLAIN, candidates=both)).web_searches == 2


def test_a_search_for_pictures_is_a_query_too() -> None:
    found = grounded("a", imageSearchQueries=["a", "b"])
    assert usage_of(bill_of(PLAIN, modelVersion="gemini-3.1-flash-image", candidates=[found])).web_searches == 3


def test_a_prompt_grounded_by_maps_is_counted() -> None:
    chunks = [{"maps": {"placeId": "1"}}, {"maps": {"placeId": "2"}}, {"web": {}}]
    bill = bill_of(PLAIN, candidates=[grounded(groundingChunks=chunks)])
    assert (usage_of(bill).map_searches, usage_of(bill).web_searches) == (1, 0)


def test_replies_of_the_older_sdks_are_in_snake_case() -> None:
    body = {
        "candidates": [{"grounding_metadata": {"web_search_queries": ["a"]}}],
        "usage_metadata": {
            "prompt_token_count": 10,
            "candidates_token_count": 5,
            "total_token_count": 15,
            "prompt_tokens_details": [{"modality": 4, "token_count": 7}],
        },
        "model_version": "gemini-2.0-flash",
    }
    assert read(GENERATE, body, "m") == Bill(
        None, (Line("gemini-2.0-flash", Usage(10, 5, input_audio_tokens=7, web_searches=1)),)
    )


def test_the_requested_model_stands_in_for_one_that_the_reply_does_not_name() -> None:
    assert bill_of(PLAIN, modelVersion=None).lines[0].model == "gemini-requested"


# ---- the others


@pytest.mark.parametrize("verb", ["embedContent", "batchEmbedContents"])
def test_an_embedding_says_what_it_read(verb: str) -> None:
    endpoint = classify("POST", f"models/gemini-embedding-2:{verb}")
    usage = {"promptTokenCount": 9, "promptTokenDetails": details(TEXT=4, IMAGE=5)}
    assert read(endpoint, {"embedding": {}, "usageMetadata": usage}, "gemini-embedding-2") == Bill(
        None, (Line("gemini-embedding-2", Usage(9, input_image_tokens=5)),)
    )
    assert read(endpoint, {"embedding": {"values": []}}, "m") is None


def test_embeddings_on_vertex_say_it_each_for_itself() -> None:
    predictions = [{"embeddings": {"statistics": {"token_count": count}}} for count in (4, 5.0)]
    body = {"predictions": predictions, "metadata": {"billableCharacterCount": 30}}
    endpoint = classify("POST", "models/text-embedding-005:predict")
    assert usage_of(read(endpoint, body, "m")) == Usage(9, input_characters=30)
    assert read(endpoint, {"predictions": [{"bytesBase64Encoded": "AAAA"}]}, "imagen") is None
    with pytest.raises(MalformedUsage):
        read(endpoint, {"predictions": [{"embeddings": {"statistics": {"token_count": -4}}}]}, "m")


def test_what_is_put_into_the_cache_is_read_once() -> None:
    body = {"name": "cachedContents/1", "model": "models/gemini-3-pro", "usageMetadata": {"totalTokenCount": 500}}
    assert read(classify("POST", "cachedContents"), body, "m") == Bill(
        "cachedContents/1", (Line("models/gemini-3-pro", Usage(500, cache_write_tokens=500)),)
    )


def test_a_batch_is_settled_by_the_replies_in_it() -> None:
    running = {"name": "batches/b1", "metadata": {"state": "BATCH_STATE_RUNNING", "model": "models/gemini-3-pro"}}
    assert read(classify("POST", "models/m:batchGenerateContent"), running, "m") == Bill("batches/b1", (), final=False)
    replies = [{"response": content(PLAIN | {"serviceTier": "flex"})}, {"error": {"code": 3}}]
    done = running | {"done": True, "response": {"inlinedResponses": {"inlinedResponses": replies}}}
    assert read(BATCHES, done, "m") == Bill(
        "batches/b1", (Line("gemini-3-pro", Usage(10, 5), (("processing", "batch"),)),)
    )
    in_a_file = running | {"done": True, "response": {"responsesFile": "files/1"}}
    assert read(BATCHES, in_a_file, "m") is None


@pytest.mark.parametrize(
    "path", ["models/gemini:countTokens", "models/veo:predictLongRunning", "cachedContents/1", "x:unknown"]
)
def test_endpoints_that_say_nothing_bill_nothing(path: str) -> None:
    assert read(classify("POST", path), {"totalTokens": 10, "usageMetadata": PLAIN}, "m") is None


# ---- interactions


def interaction(usage: Any, **more: Any) -> dict[str, Any]:
    return {"id": "v1_1", "status": "completed", "model": "gemini-3-pro", "usage": usage} | more


@pytest.mark.parametrize("thoughts", ["total_thought_tokens", "total_reasoning_tokens"])
def test_an_interaction_adds_up_like_a_reply(thoughts: str) -> None:
    usage = {
        "total_input_tokens": 100,
        "total_cached_tokens": 60,
        "total_tool_use_tokens": 20,
        "total_output_tokens": 5,
        thoughts: 7,
        "total_tokens": 132,
        "input_tokens_by_modality": [{"modality": "text", "tokens": 60}, {"modality": "image", "tokens": 40}],
        "cached_tokens_by_modality": [{"modality": "image", "tokens": 30}],
        "output_tokens_by_modality": [{"modality": "audio", "tokens": 3}],
        "grounding_tool_count": [
            {"type": "google_search", "count": 2},
            {"type": "google_maps", "count": 1},
            {"type": "retrieval", "count": 4},
        ],
    }
    bill = read(INTERACTIONS, interaction(usage, service_tier="flex"), "m")
    expected = Usage(
        input_tokens=120,
        output_tokens=12,
        cache_read_tokens=60,
        input_image_tokens=40,
        cache_image_read_tokens=30,
        input_tool_tokens=20,
        output_reasoning_tokens=7,
        output_audio_tokens=3,
        web_searches=2,
        storage_searches=4,
        map_searches=1,
    )
    assert bill == Bill("v1_1", (Line("gemini-3-pro", expected, (("service_tier", "flex"),)),))


def test_searches_of_an_older_interaction_stand_among_its_steps() -> None:
    steps = [{"type": "google_search_call", "arguments": {"queries": ["a", "b"]}}, {"type": "google_search_call"}]
    for name in ("steps", "outputs"):
        assert usage_of(read(INTERACTIONS, interaction(SPENT, **{name: steps}), "m")).web_searches == 3


@pytest.mark.parametrize("status", ["in_progress", "queued"])
def test_an_interaction_in_the_background_is_not_settled_before_it_is_over(status: str) -> None:
    body = {"id": "v1_1", "status": status, "agent": "deep-research"}
    assert read(INTERACTIONS, body, "m") == Bill("v1_1", (), final=False)
    done = read(classify("GET", "interactions/v1_1"), body | {"status": "completed", "usage": SPENT}, "m")
    assert done == Bill("v1_1", (Line("deep-research", Usage(10, 5)),))


@pytest.mark.parametrize("status", ["requires_action", "requires_continuation", "incomplete", "failed"])
def test_an_interaction_that_stopped_is_billed_for_what_it_used(status: str) -> None:
    assert usage_of(read(INTERACTIONS, interaction(SPENT, status=status), "m")) == Usage(10, 5)
    assert read(INTERACTIONS, interaction(None, status=status), "m") is None


@pytest.mark.parametrize(
    "usage",
    [
        {"total_output_tokens": 5},
        SPENT | {"total_tokens": 3},
        SPENT | {"grounding_tool_count": [{"type": "google_search", "count": -1}]},
        SPENT | {"total_cached_tokens": 11},
    ],
)
def test_usage_of_an_interaction_that_cannot_be_is_malformed(usage: Any) -> None:
    with pytest.raises(MalformedUsage):
        read(INTERACTIONS, interaction(usage), "m")


def test_a_decision_is_billed_like_an_interaction() -> None:
    assert usage_of(read(classify("POST", "/v1beta/decisions"), {"answers": [], "usage": SPENT}, "m")) == Usage(10, 5)


# ---- streams


def chunk(usage: Any = None, *parts: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": list(parts)}} | more
    if finish:
        candidate["finishReason"] = finish
    return {"candidates": [candidate], "modelVersion": "gemini-3-pro", "responseId": "r1", "usageMetadata": usage}


def follow(endpoint: Endpoint, *events: dict[str, Any]) -> StreamReader:
    reader = StreamReader(endpoint, "requested")
    for event in events:
        reader.feed(event)
    return reader


def test_of_each_count_the_last_one_said_holds() -> None:
    reader = follow(
        STREAM,
        chunk({"promptTokenCount": 12, "candidatesTokenCount": 1, "totalTokenCount": 13}, {"text": "a"}),
        chunk({"promptTokenCount": 10, "candidatesTokenCount": 5, "thoughtsTokenCount": 2}, {"text": "b"}),
    )
    assert not reader.terminal
    reader.feed(chunk({"promptTokenCount": 10, "totalTokenCount": 17}, finish="STOP"))
    assert reader.terminal
    assert reader.bill() == Bill("r1", (Line("gemini-3-pro", Usage(10, 7, output_reasoning_tokens=2)),))


def test_a_stream_of_several_candidates_is_over_with_the_last_of_them() -> None:
    reader = follow(STREAM, chunk(PLAIN, {"text": "a"}, index=0), chunk(PLAIN, {"text": "b"}, index=1))
    reader.feed(chunk(PLAIN, index=0, finish="STOP"))
    assert not reader.terminal
    reader.feed(chunk(PLAIN, index=1, finish="STOP"))
    assert reader.terminal


def test_a_blocked_prompt_ends_the_stream() -> None:
    reader = follow(STREAM, {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 8}})
    assert usage_of(reader.bill()) == Usage(8)
    assert reader.terminal


def test_grounding_is_counted_once_though_it_may_be_repeated() -> None:
    searched = grounded("a", "b")
    reader = follow(
        STREAM, chunk(PLAIN, {"text": "x"}, **searched), chunk(PLAIN, **searched), chunk(PLAIN, finish="STOP")
    )
    assert usage_of(reader.bill()).web_searches == 2


def test_grounding_may_come_in_pieces() -> None:
    pieces = grounded("a", "b"), {"groundingMetadata": {"webSearchQueries": [], "searchEntryPoint": {}}}
    reader = follow(STREAM, *(chunk(PLAIN, **piece) for piece in pieces), chunk(PLAIN, finish="STOP"))
    assert usage_of(reader.bill()).web_searches == 2


def test_streams_of_the_older_sdks_are_in_snake_case() -> None:
    usage = {"prompt_token_count": 10, "candidates_token_count": 5, "total_token_count": 15}
    part = {"content": {"parts": [{"text": "Hi"}]}, "finish_reason": 1}
    reader = follow(STREAM, {"candidates": [part], "usage_metadata": usage, "model_version": "gemini-1.5-pro"})
    assert reader.terminal
    assert reader.delta_bytes == 2
    assert reader.bill() == Bill(None, (Line("gemini-1.5-pro", Usage(10, 5)),))


def test_text_thoughts_and_arguments_are_counted() -> None:
    reader = follow(
        STREAM,
        chunk(None, {"text": "é"}, {"text": "hm", "thought": True}),
        chunk(None, {"functionCall": {"name": "add", "args": {"x": "12", "y": [3]}}}),
        chunk(None, {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}),
        chunk(None, {"executableCode": {"code": "1+1"}}),
        chunk(None, {"text": ""}),
    )
    assert reader.delta_events == 3
    assert reader.delta_bytes == 4 + len("nameaddargsx12y") + 1 + len("code1+1")


def test_an_error_within_the_stream_is_noticed() -> None:
    reader = follow(STREAM, chunk(PLAIN, {"text": "a"}), {"error": {"code": 503, "status": "UNAVAILABLE"}})
    assert reader.error
    assert not reader.terminal


def test_a_stream_whose_counts_cannot_be_is_not_called_complete() -> None:
    reader = follow(STREAM, chunk(PLAIN | {"totalTokenCount": 1}, finish="STOP"))
    assert reader.terminal
    assert reader.bill() is None
    assert not reader.terminal
    assert reader.malformed


@pytest.mark.parametrize(
    ("created", "delta", "completed"),
    [
        ("interaction.created", "step.delta", "interaction.completed"),
        ("interaction.start", "content.delta", "interaction.complete"),
    ],
)
def test_an_interaction_stream_bills_what_its_last_event_says(created: str, delta: str, completed: str) -> None:
    begun = {"id": "v1_1", "status": "in_progress", "model": "gemini-3-pro"}
    reader = follow(
        INTERACTIONS,
        {"event_type": created, "interaction": begun},
        {"event_type": delta, "delta": {"type": "thought_signature", "signature": "AAAA"}},
        {"event_type": delta, "delta": {"type": "thought_summary", "content": {"type": "text", "text": "hm"}}},
        {"event_type": delta, "delta": {"type": "text", "text": "Hi"}},
        {"event_type": delta, "delta": {"type": "arguments_delta", "arguments": "{}"}},
    )
    assert not reader.terminal
    assert (reader.delta_bytes, reader.delta_events) == (len("texthmHi{}"), 2)
    reader.feed({"event_type": completed, "interaction": begun | {"status": "completed", "usage": SPENT}})
    assert reader.terminal
    assert reader.bill() == Bill("v1_1", (Line("gemini-3-pro", Usage(10, 5)),))


def test_an_interaction_stream_may_tell_its_usage_underway() -> None:
    underway = {"event_type": "step.delta", "delta": {}, "metadata": {"total_usage": SPENT}}
    reader = follow(INTERACTIONS, {"event_type": "interaction.created", "interaction": {"id": "v1_1"}}, underway)
    assert usage_of(reader.bill()) == Usage(10, 5)
    assert not reader.terminal


def test_an_interaction_stream_that_was_left_is_settled_but_an_agent_goes_on() -> None:
    begun = {"id": "v1_1", "status": "in_progress", "model": "gemini-3-pro"}
    left = follow(INTERACTIONS, {"event_type": "interaction.created", "interaction": begun})
    assert left.bill() is None
    agent = {"id": "v1_1", "status": "in_progress", "agent": "deep-research"}
    running = follow(INTERACTIONS, {"event_type": "interaction.created", "interaction": agent})
    assert running.bill() == Bill("v1_1", (), final=False)


def test_an_error_event_of_an_interaction_is_noticed() -> None:
    assert follow(INTERACTIONS, {"event_type": "error", "error": {"code": "x"}}).error
