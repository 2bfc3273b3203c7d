"""An SDK's own retries are one call to a budget. Answers that were lost: tests/providers/test_senders.py."""

from typing import Any

import anthropic
import openai
import pytest

from actguard import BudgetExceededError, BudgetGuard
from actguard.testing import HttpError, LocalProvider, Reply

MESSAGES: Any = [{"role": "user", "content": "Hello!"}]
CHAT: Any = {"model": "gpt-4o", "messages": MESSAGES}
MESSAGE: Any = {"model": "claude-haiku-4-5", "max_tokens": 100, "messages": MESSAGES}


def test_an_sdks_own_retries_are_one_call_under_one_hold(llm_provider, agrees):
    for client, make in (
        (llm_provider.openai(max_retries=3), lambda client: client.chat.completions.create(**CHAT)),
        (llm_provider.anthropic(max_retries=3), lambda client: client.messages.create(**MESSAGE)),
    ):
        failing = [HttpError(status=status, retry_after=0.001) for status in (500, 429, 503)]
        llm_provider.reply(*failing, "Hello")
        with BudgetGuard(token_limit=1000) as guard:
            make(client)
        assert guard.calls == 1
        assert guard.account.in_flight == 0
        agrees(guard)
        llm_provider.ledger.reset()


def test_without_retries_the_first_failure_is_the_callers_and_costs_nothing(llm_provider):
    llm_provider.reply(HttpError(status=500), HttpError(status=502))

    with BudgetGuard(usd_limit=1) as guard:
        with pytest.raises(openai.InternalServerError):
            llm_provider.openai(max_retries=0).chat.completions.create(**CHAT)
        with pytest.raises(anthropic.APIStatusError):
            llm_provider.anthropic().with_options(max_retries=0).messages.create(**MESSAGE)

    assert (guard.calls, guard.usd_used, guard.account.in_flight) == (0, 0, 0)


def test_retries_that_all_fail_cost_nothing(llm_provider):
    llm_provider.default = Reply(fault=HttpError(status=503, retry_after=0.001))

    with BudgetGuard(usd_limit=1) as guard:
        with pytest.raises(openai.InternalServerError):
            llm_provider.openai(max_retries=2).chat.completions.create(**CHAT)

    assert len(llm_provider.requests) == 3
    assert (guard.calls, guard.usd_used, guard.account.in_flight) == (0, 0, 0)


async def test_retries_of_streams_are_one_call_under_one_hold(llm_provider, agrees):
    llm_provider.reply(HttpError(status=429, retry_after=0.001), "Hello")
    client = llm_provider.async_openai(max_retries=2)

    async with BudgetGuard(token_limit=1000, strict=True) as guard:
        assert [chunk async for chunk in await client.chat.completions.create(**CHAT, stream=True)]

    assert guard.calls == 1
    agrees(guard)


def test_a_budget_used_up_by_another_call_does_not_stop_a_retry_that_was_admitted(llm_provider: LocalProvider):
    llm_provider.reply(HttpError(status=503, retry_after=0.001), "Hello")
    spent = False

    def spend(request: Any) -> bool:
        nonlocal spent
        if not spent:
            spent = True
            with pytest.raises(BudgetExceededError):
                guard.add_cost(name="search", usd=2)
        return False

    llm_provider.when("never", match=spend)
    with BudgetGuard(usd_limit=1) as guard:
        with pytest.raises(BudgetExceededError) as raised:
            llm_provider.openai(max_retries=2).chat.completions.create(**CHAT)

    assert raised.value.phase == "after"
    assert raised.value.response.choices[0].message.content == "Hello"
