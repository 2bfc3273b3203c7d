"""What a strict guard sets aside holds whatever is asked for: dearer tiers and caches, uncapped output, batches."""

from decimal import Decimal
from typing import Any

import pytest
from google.genai.types import HttpOptions

from actguard import BudgetExceededError, BudgetGuard, PriceBook, UnmeteredCallError
from actguard.testing import Reply

MESSAGES: Any = [{"role": "user", "content": "Hello!"}]


# ---- dearer than usual -----------------------------------------------------------------------------------------------


@pytest.mark.skipif("extra_body" not in HttpOptions.model_fields, reason="this version knows no extra_body")
@pytest.mark.parametrize("spelling", ["serviceTier", "service_tier"])
def test_a_dearer_tier_of_google_is_held_for(llm_provider, agrees, spelling):
    llm_provider.default = Reply(output_tokens=60_000)
    config: Any = {"http_options": {"extra_body": {spelling: "priority"}}}

    with BudgetGuard(usd_limit=0.05, strict=True) as guard:
        llm_provider.google().models.generate_content(model="gemini-2.5-flash", contents="Hello!", config=config)

    assert Decimal("0.045") < llm_provider.ledger.total_usd <= Decimal("0.05")
    agrees(guard)


def test_a_prompt_cache_of_twelve_hours_is_held_for(llm_provider):
    for_long: Any = {"prompt_cache_options": {"ttl": "12h"}}
    client = llm_provider.openai()

    with BudgetGuard(usd_limit=0.06, strict=True) as guard:  # 10,000 tokens cost $0.05 to keep for half an hour
        with pytest.raises(BudgetExceededError) as raised:
            client.responses.create(model="gpt-5.6-sol", input="x" * 10_000, max_output_tokens=16, extra_body=for_long)
        assert raised.value.phase == "before"
        assert llm_provider.requests == []
        guard.extend(usd=0.06)
        client.responses.create(model="gpt-5.6-sol", input="x" * 10_000, max_output_tokens=16, extra_body=for_long)


KEPT: Any = {"prompt_cache_breakpoint": {"mode": "explicit", "ttl": "12h"}}
LONG = "x" * 10_000
FOR_LONG: Any = {
    "chat": lambda client: client.chat.completions.create(
        model="gpt-5.6-sol",
        messages=[{"role": "system", "content": [{"type": "text", "text": LONG, **KEPT}]}],
        max_completion_tokens=16,
    ),
    "responses": lambda client: client.responses.create(
        model="gpt-5.6-sol",
        input=[{"role": "user", "content": [{"type": "input_text", "text": LONG, **KEPT}]}],
        max_output_tokens=16,
    ),
    "a tool's output": lambda client: client.responses.create(
        model="gpt-5.6-sol",
        input=[
            {"type": "function_call_output", "call_id": "1", "output": [{"type": "input_text", "text": LONG, **KEPT}]}
        ],
        max_output_tokens=16,
    ),
}


@pytest.mark.parametrize("ask", FOR_LONG.values(), ids=FOR_LONG)
def test_a_part_that_is_kept_for_twelve_hours_is_held_for(llm_provider, ask):
    with BudgetGuard(usd_limit=0.06, strict=True) as guard:
        with pytest.raises(BudgetExceededError):
            ask(llm_provider.openai())
        assert llm_provider.requests == []
        guard.extend(usd=0.06)
        ask(llm_provider.openai())


# ---- models of which no maximum is known -----------------------------------------------------------------------------

ASKED: Any = {
    "chat": lambda provider: provider.openai().chat.completions.create(model="brand-new", messages=MESSAGES),
    "chat on Azure": lambda provider: provider.azure().chat.completions.create(model="brand-new", messages=MESSAGES),
    "responses": lambda provider: provider.openai().responses.create(model="brand-new", input="Hello!"),
    "google": lambda provider: provider.google().models.generate_content(model="brand-new", contents="Hello!"),
    "google, interactions": lambda provider: interactions(provider).create(model="brand-new", input="Hello!"),
}


def interactions(provider: Any) -> Any:
    client = provider.google()
    if not hasattr(client, "interactions"):
        pytest.skip("this release has no interactions")
    return client.interactions


@pytest.mark.parametrize("ask", ASKED.values(), ids=ASKED)
def test_where_nobody_knows_how_long_a_reply_may_be_the_assumed_length_is_asked_for(llm_provider, ask):
    llm_provider.default = Reply(output_tokens=9_000)
    book = PriceBook()
    book.set("brand-new", input=1, output=1)

    with BudgetGuard(usd_limit=0.005, strict=True, default_max_output=4_000, prices=book) as guard:
        ask(llm_provider)

    assert guard.usage["output_tokens"] == 4_000
    assert guard.usd_used <= 0.005


def test_a_length_that_is_known_is_not_asked_for(llm_provider):
    with BudgetGuard(usd_limit=1, strict=True, default_max_output=4_000):
        llm_provider.openai().chat.completions.create(model="gpt-4o", messages=MESSAGES)

    assert llm_provider.requests[-1].json.keys() == {"model", "messages"}


# ---- output without a cap --------------------------------------------------------------------------------------------


def test_a_compaction_whose_output_takes_no_cap_is_refused(llm_provider):
    client = llm_provider.openai()
    if not hasattr(client.responses, "compact"):
        pytest.skip("this release has no responses.compact")

    with BudgetGuard(usd_limit=0.01, strict=True):
        with pytest.raises(UnmeteredCallError, match="output"):
            client.responses.compact(model="gpt-4o", input="Hello!")

    assert llm_provider.requests == []


def test_the_output_of_a_conversation_with_bedrock_is_capped(llm_provider):
    anthropic = pytest.importorskip("anthropic")
    client = anthropic.AnthropicBedrock(**llm_provider.bedrock_kwargs(), max_retries=0)
    body = {"messages": [{"role": "user", "content": [{"text": "Hello!"}]}], "inferenceConfig": {"maxTokens": 90_000}}

    with BudgetGuard(usd_limit=0.02, strict=True):
        with pytest.raises(anthropic.NotFoundError):  # the local provider does not speak it
            client.post("/model/us.anthropic.claude-sonnet-5-v1:0/converse", cast_to=object, body=body)

    assert llm_provider.requests[-1].json["inferenceConfig"]["maxTokens"] < 2_000


# ---- batches ---------------------------------------------------------------------------------------------------------


def batch(llm_provider: Any, *models: str, max_tokens: int) -> Any:
    requests: Any = [
        {"custom_id": str(i), "params": {"model": model, "max_tokens": max_tokens, "messages": MESSAGES}}
        for i, model in enumerate(models)
    ]
    return llm_provider.anthropic().messages.batches.create(requests=requests)


def test_a_batch_is_held_for_with_all_that_its_requests_may_answer(llm_provider, agrees):
    llm_provider.default = Reply(output_tokens=500)
    model = "claude-sonnet-5"

    with BudgetGuard(usd_limit=0.04, strict=True) as guard:
        with pytest.raises(BudgetExceededError) as raised:
            batch(llm_provider, model, model, max_tokens=2_000)
        assert raised.value.phase == "before"
        assert llm_provider.requests == []

        guard.extend(usd=0.02)
        made = batch(llm_provider, model, model, max_tokens=2_000)
        client = llm_provider.anthropic()
        assert client.messages.batches.retrieve(made.id).processing_status == "ended"
        list(client.messages.batches.results(made.id))

    agrees(guard)


def test_a_batch_for_several_models_is_refused(llm_provider):
    with BudgetGuard(usd_limit=1, strict=True):
        with pytest.raises(UnmeteredCallError, match="several models"):
            batch(llm_provider, "claude-haiku-4-5", "claude-opus-4-8", max_tokens=100)

    assert llm_provider.requests == []
