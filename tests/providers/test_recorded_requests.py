"""The bounds against what providers really billed. Needs recorded traffic: `ACTGUARD_RECORDED` names its folder."""

import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest

from actguard.budget.estimate import input_bound, output_bound
from actguard.budget.families import profile_of
from actguard.budget.media_tokens import media_tokens
from actguard.budget.ratios import InputRatios
from actguard.budget.request import RequestFacts
from actguard.providers.anthropic import request as anthropic
from actguard.providers.endpoint import Endpoint, Kind
from actguard.providers.google import request as google
from actguard.providers.openai import request as openai

EDITED_BY_HAND = frozenset(
    (  # a prompt of 68 kB was replaced by "very very long system prompt"; the usage is of the original
        "openllmetry/bedrock/model_m_invoke/test_prompt_cache_with_events_with_no_content__0.json",
        "openllmetry/bedrock/model_m_invoke/test_prompt_cache_with_events_with_no_content__1.json",
    )
)
PROVIDERS = {"vertex": "google", "bedrock": "aws"}
WIRES: tuple[tuple[str, str, Any], ...] = (
    ("/chat/completions", "chat.completions", openai),
    ("/completions", "completions", openai),
    ("/embeddings", "embeddings", openai),
    ("/responses/compact", "responses.compact", openai),
    ("/responses", "responses", openai),
    ("/messages", "messages", anthropic),
    ("/invoke", "messages", anthropic),
    ("/invoke-with-response-stream", "messages", anthropic),
    ("/converse", "converse", anthropic),
    ("/converse-stream", "converse", anthropic),
    (":generateContent", "generate_content", google),
    (":streamGenerateContent", "stream_generate_content", google),
    ("/interactions", "interactions", google),
)


class Exchange(NamedTuple):
    file: str
    provider: str
    body: dict[str, Any]
    facts: RequestFacts
    input_tokens: int
    output_tokens: int | None


def total(usage: dict[str, Any], *keys: str) -> int:
    return sum(usage.get(key) or 0 for key in keys)


def billed_input(usage: dict[str, Any]) -> int:
    steps = [step for step in usage.get("iterations") or () if step.get("type") in ("compaction", "advisor_message")]
    return total(
        usage,
        *(
            "prompt_tokens",
            "promptTokenCount",
            "toolUsePromptTokenCount",
            "total_input_tokens",
            "total_tool_use_tokens",
        ),
        *("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"),
        *("inputTokens", "cacheReadInputTokens", "cacheWriteInputTokens"),
    ) + sum(total(step, "input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens") for step in steps)


def billed_output(usage: dict[str, Any]) -> int:
    return total(
        usage,
        *("completion_tokens", "output_tokens", "candidatesTokenCount", "thoughtsTokenCount", "outputTokens"),
        *("total_output_tokens", "total_thought_tokens"),
    )


@pytest.fixture(scope="module")
def exchanges(recorded: Path) -> list[Exchange]:
    return list(read(recorded))


def read(recorded: Path) -> Iterator[Exchange]:
    for row in json.loads((recorded / "index.json").read_text()):
        if row["status"] != 200 or row["method"] != "POST" or row["file"] in EDITED_BY_HAND:
            continue
        exchange = json.loads((recorded / row["file"]).read_text())
        body, path = exchange["request"].get("json"), urlsplit(exchange["request"]["url"]).path
        wire = next((wire for wire in WIRES if path.rstrip("/").endswith(wire[0])), None)
        if wire is None or not isinstance(body, dict) or not exchange["usage"]:
            continue
        if "/invoke" in wire[0] and "anthropic_version" not in body:
            continue
        usage: dict[str, Any] = {}
        for seen in exchange["usage"]:
            usage.update({key: value for key, value in (seen["value"] or {}).items() if value is not None})
        if not billed_input(usage):
            continue
        facts = wire[2].facts(Endpoint(wire[1], Kind.PRICED), path, body)
        provider = PROVIDERS.get(row["provider"], row["provider"])
        yield Exchange(row["file"], provider, body, facts, billed_input(usage), billed_output(usage))


def by_window(exchange: Exchange) -> bool:
    """Whether only the context window bounds it."""
    facts, profile = exchange.facts, profile_of(exchange.provider, exchange.facts.model)
    return bool(facts.state or facts.unsized) or any(media_tokens(profile, item).bound is None for item in facts.media)


def test_no_request_is_billed_more_input_than_its_strict_bound(exchanges: list[Exchange]) -> None:
    bounds = [(input_bound(each.provider, each.facts, strict=True), each) for each in exchanges]
    bounded = [(bound, each) for bound, each in bounds if bound is not None]
    print(f"\n{len(exchanges)} requests, {len(bounded)} bounded")

    assert [(each.file, bound, each.input_tokens) for bound, each in bounded if each.input_tokens > bound] == []
    assert len(bounded) > 250


def test_what_has_no_bound_says_why(exchanges: list[Exchange]) -> None:
    for each in exchanges:
        if input_bound(each.provider, each.facts, strict=True) is None:
            assert each.facts.unbounded or by_window(each), each.file


def test_no_reply_is_billed_more_output_than_its_bound(exchanges: list[Exchange]) -> None:
    bounds = [(output_bound(each.facts), each) for each in exchanges]

    assert [
        (each.file, bound, each.output_tokens)
        for bound, each in bounds
        if bound is not None and each.output_tokens is not None and each.output_tokens > bound
    ] == []


def test_bodies_are_sized_to_a_few_bytes(exchanges: list[Exchange]) -> None:
    for each in exchanges:
        size = len(json.dumps(each.body, ensure_ascii=False, separators=(",", ":")).encode())
        assert each.facts.sized, each.file
        if not each.facts.media:
            assert size <= each.facts.body_bytes <= size * 1.02 + 24, each.file


@pytest.mark.parametrize("strict", [False, True])
def test_the_bound_is_near_enough_to_be_useful(exchanges: list[Exchange], strict: bool) -> None:
    over = []
    for each in exchanges:
        bound = input_bound(each.provider, each.facts, strict=strict)
        if bound is not None and each.input_tokens > 500 and not by_window(each):
            over.append(bound / each.input_tokens)
    print(f"\nbound / billed over 500 tokens, strict={strict}: median {statistics.median(over):.2f} of {len(over)}")

    assert statistics.median(over) < 8


def test_the_estimate_is_seldom_too_low(exchanges: list[Exchange]) -> None:
    ratios = InputRatios()
    low: dict[str, list[bool]] = {}
    for each in exchanges:
        facts = each.facts
        kind = "server" if facts.unbounded or facts.state or facts.media else "tools" if facts.tools else "plain"
        low.setdefault(kind, []).append(ratios.estimate(each.provider, facts) < each.input_tokens)
        ratios.observe(each.provider, facts, each.input_tokens)
    for kind, flags in low.items():
        print(f"\nestimate below what was billed, {kind}: {sum(flags)} of {len(flags)}")

    assert sum(low["plain"]) <= 0.05 * len(low["plain"])
    assert sum(low["tools"]) <= 0.05 * len(low["tools"])
