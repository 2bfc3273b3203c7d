"""Recorded traffic: what we read from every reply equals what an independent, naive reading of its raw JSON says.

The naive reading is in `tests/recorded.py`. genai-prices' extractors are a second opinion, and its prices a third; each
place where they say something else is in a table, with the reason.
"""

import json
import random
import re
from typing import Any

from genai_prices import data_snapshot

from actguard.budget.usage import Usage
from tests.recorded import (
    AT,
    BILLED,
    BOOK,
    MALFORMED,
    METERED,
    NOTHING_SAID,
    OTHER_PRICE,
    STREAMS,
    Exchange,
    bill_of,
    each,
    follow,
    last,
    naive,
    naive_events,
    their_cost,
)

# ---- the tests -------------------------------------------------------------------------------------------------------


@each(METERED)
def test_every_kind_of_usage_is_what_the_raw_reply_says(exchange: Exchange) -> None:
    expected = None if exchange.is_one_of(MALFORMED) else naive(exchange)
    bill = bill_of(exchange)
    if expected is None:
        assert bill is None
        return
    assert bill is not None
    said = [(line.model, line.usage.by_kind(), dict(line.context)) for line in bill.lines]
    assert said == [(model, {k: v for k, v in counts.items() if v}, context) for model, counts, context in expected]
    assert bill.final is bool(expected)


@each(BILLED)
def test_a_billed_reply_says_what_it_bills_or_stands_in_a_table_with_the_reason(exchange: Exchange) -> None:
    unsaid = exchange.is_one_of(NOTHING_SAID) or exchange.is_one_of(MALFORMED)
    assert (bill_of(exchange) is None) is (unsaid is not None), unsaid


@each(BILLED)
def test_what_a_provider_says_it_costs_is_taken_to_the_last_digit(exchange: Exchange) -> None:
    bill = bill_of(exchange)
    text = exchange.body.decode("utf-8", "replace")
    said = re.findall(r'"cost": ?([0-9.e-]+)[,}]', text)
    if bill is not None and bill.lines:
        assert bill.reported_cost == (round(float(said[-1]) * 10**12) if said else None)


@each(BILLED)
def test_the_id_of_a_reply_is_the_providers(exchange: Exchange) -> None:
    bill = bill_of(exchange)
    if bill is not None and bill.response_id is not None:
        assert bill.response_id in json.dumps(list(naive_events(exchange)))


@each(STREAMS)
def test_a_stream_says_the_same_however_it_was_cut(exchange: Exchange) -> None:
    dice = random.Random(exchange.file)
    body = exchange.body
    whole = follow(exchange, [body])
    said = whole.bill()
    cuts = sorted(dice.sample(range(1, len(body)), min(40, len(body) - 1)))
    pieces = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    ways = {"byte by byte": [body[i : i + 1] for i in range(len(body))], "at random": pieces}
    if exchange.wire != "bedrock":
        windows = body.replace(b"\n", b"\r\n")
        ways |= {
            "with CRLF": [windows],
            "with CRLF, in threes": [windows[i : i + 3] for i in range(0, len(windows), 3)],
            "with CR": [body.replace(b"\n", b"\r")],
        }
    for way, chunks in ways.items():
        reader = follow(exchange, chunks)
        assert reader.bill() == said, way
        for fact in ("terminal", "error", "delta_bytes", "delta_events", "malformed"):
            assert getattr(reader, fact) == getattr(whole, fact), (way, fact)


@each(STREAMS)
def test_a_stream_that_was_read_to_its_end_and_said_what_it_used_is_complete(exchange: Exchange) -> None:
    reader = follow(exchange, [exchange.body])
    bill = reader.bill()
    # One recording was made by hand: its last choice never finishes.
    expected = bill is not None and not exchange.file.endswith("test_tools_streaming_variant_b__0__stream.json")
    assert reader.terminal is expected
    assert not reader.error


@each(STREAMS)
def test_the_events_of_a_stream_are_a_lower_bound_of_the_output(exchange: Exchange) -> None:
    reader = follow(exchange, [exchange.body])
    bill = reader.bill()
    if bill is not None and bill.lines:
        assert reader.delta_events <= sum(line.usage.output_tokens for line in bill.lines)
        assert reader.delta_events <= reader.delta_bytes


@each(STREAMS)
def test_a_stream_that_breaks_off_never_says_more_input_than_one_that_ends(exchange: Exchange) -> None:
    """At any point, what has been said so far can be asked for, and is not called complete too early."""
    body = exchange.body
    final = follow(exchange, [body])
    for part in (1, 2, 3):
        reader = follow_part(exchange, body[: len(body) * part // 4])
        bill = reader.bill()
        if reader.terminal:
            assert bill == final.bill()
        elif bill is not None:
            assert all(line.usage.output_tokens >= 0 for line in bill.lines)


def follow_part(exchange: Exchange, part: bytes) -> Any:
    if exchange.wire == "bedrock":
        return follow(exchange, [part])
    end = part.rfind(b"\n\n")
    return follow(exchange, [part[: end + 2]] if end >= 0 else [b""])


# ---- a second and a third opinion ------------------------------------------------------------------------------------

# Where genai-prices' extractor says something else, and why ours is right.
OTHER_USAGE = {
    "a compaction or an advisor is billed beside the top-level counts": (
        "test_anthropic_compaction_usage_with_cache__0",
        "test_anthropic_advisor_tool__0",
    ),
    "thinking is in the total alone": ("test_compatible_api_with_tool_calls_without_id__1",),
    "output without input is not taken for a prompt of no tokens": (
        "test_generate_content_with_file_uri_image_False__0",
    ),
    "queries of Google's search are billed": (
        "test_google_native_tool_only_web_search_completes__0",
        "test_auto_output_mode_with_builtin_tools_falls_back__0",
        "test_google_model_web_search_tool__0",
        "test_thinking_with_native_tool_wire_contract_google__0",
        "test_native_output_with_builtin_tools__0",
    ),
    "`num_cached_tokens` is Mistral's word for cached tokens": (
        "test_tool_choice_matrix_required_mistral__0",
        "test_multimodal_tool_return_matrix_tool_return_content_binar__1",
        "test_multimodal_tool_return_matrix_tool_return_content_url_i__1",
    ),
    "calls of OpenAI's web search are billed": (
        "test_responses_websearch_input__0",
        "test_openai_responses_model_web_search_tool__0",
        "test_durability_web_search_in_workflow__0",
        "test_openai_responses_model_web_search_tool_without_external__0",
        "test_openai_responses_model_web_search_tool_stream__0__stream",
        "test_openai_include_raw_annotations_streaming__1__stream",
    ),
    "calls of OpenAI's file search are billed": (
        "test_openai_responses_model_file_search_tool__3",
        "test_openai_responses_model_file_search_tool_stream__3__stream",
    ),
    "counts that are all zero, beside text, are not taken for a free reply": ("response_stream_incomplete__0__stream",),
    "searches of OpenRouter's server tool": ("test_openrouter_web_search_tool_usage__0",),
}
# Where it has no answer, by what it raises. (An extractor that does not fit, and kinds of reply that have none.)
NO_OPINION = {
    "numbers instead of names for modalities and traffic, as protocol buffers have them": (AttributeError, "lower"),
    "OpenAI's wire at Bedrock": (ValueError, r"usage\.inputTokens"),
    "Amazon's Nova behind Invoke": (ValueError, r"usage\.input_tokens"),
    "transcriptions": (ValueError, r"usage\.prompt_tokens"),
    "interactions": (ValueError, "usageMetadata"),
    "a reply without a usage object: Titan, Llama, Jurassic; or not finished": (ValueError, "`usage`"),
}
FLAVOURS = {
    "chat.completions": ("chat", "default"),
    "completions": ("chat", "default"),
    "runs": ("chat",),
    "audio.transcriptions": ("chat",),
    "responses": ("responses", "default"),
    "responses.compact": ("responses",),
    "embeddings": ("embeddings", "default"),
    "messages": ("anthropic", "default"),
}


def their_usage(exchange: Exchange) -> dict[str, int] | None:
    """What genai-prices' extractor finds, in the kinds that we have too; None if it has none for this."""
    documents = list(naive_events(exchange))
    if exchange.stream:  # an extractor reads one document; on this wire the last one has it all
        documents = [d.get("response", d) for d in documents if last([d], "usage", "response.usage")]
        if exchange.wire != "openai":
            return None
    providers = {one.id: one for one in data_snapshot.get_snapshot().providers}
    provider = providers.get(BOOK.host_of(exchange.url).provider)
    if provider is None or not documents:
        return None
    wanted = FLAVOURS.get(exchange.endpoint.name, ("default",))
    if exchange.wire == "anthropic":
        wanted = ("default",)
    extractors = {one.api_flavor: one for one in provider.extractors or []}
    fitting = [extractors[flavour] for flavour in wanted if flavour in extractors]
    if not fitting:
        return None
    try:
        _, usage = fitting[0].extract(documents[-1])
    except (ValueError, AttributeError) as no_opinion:
        if any(isinstance(no_opinion, kind) and re.search(text, str(no_opinion)) for kind, text in NO_OPINION.values()):
            return None
        raise
    said = {field: usage.reported_value(field) for field in Usage._fields}
    return {field: int(count) for field, count in said.items() if count}


@each(BILLED)
def test_the_usage_is_what_genai_prices_extracts(exchange: Exchange) -> None:
    reason = exchange.is_one_of(OTHER_USAGE)
    bill = bill_of(exchange)
    theirs = their_usage(exchange)
    if theirs is None:
        return
    ours = [line.usage.by_kind() for line in bill.lines] if bill is not None else []
    assert (ours == [theirs]) is (reason is None), (reason, ours, theirs)


@each(BILLED)
def test_the_cost_is_what_genai_prices_calculates(exchange: Exchange) -> None:
    bill = bill_of(exchange)
    host = BOOK.host_of(exchange.url)
    if bill is None or not host.known:
        return
    for line in bill.lines:
        theirs = their_cost(host.provider, line)
        if theirs is None:  # it knows no price of this model by this name
            continue
        price = BOOK.price(host.provider, line.model, line.context, AT)
        assert price is not None
        assert (price.cost(line.usage) == theirs) is (exchange.is_one_of(OTHER_PRICE) is None)
