"""What happens at a limit, call by call: check, call, count, check. Both SDKs, nothing strict (see test_strict.py)."""

import asyncio
import logging
from typing import Any

import anthropic
import openai
import pytest

import actguard
from actguard import (
    ActGuardUsageError,
    BudgetExceededError,
    BudgetGuard,
    BudgetWarning,
    PriceBook,
    UnknownPriceError,
)
from actguard.budget.ratios import InputRatios
from actguard.providers import quote
from actguard.testing import HttpError, LocalProvider, Reply

MESSAGES: Any = [{"role": "user", "content": "Hello!"}]
OPENAI, ANTHROPIC = "gpt-4o", "claude-sonnet-5"


class Sdk:
    """One way of making the same small call through either SDK."""

    def __init__(self, name: str, provider: LocalProvider) -> None:
        self.name = name
        self.model = OPENAI if name == "openai" else ANTHROPIC
        self.client: Any = provider.openai(max_retries=2) if name == "openai" else provider.anthropic(max_retries=2)
        self.create = self.client.chat.completions if name == "openai" else self.client.messages

    def call(self, model: str = "", **options: Any) -> Any:
        if self.name == "anthropic":
            options.setdefault("max_tokens", 1000)
        return self.create.create(model=model or self.model, messages=MESSAGES, **options)

    def raw(self) -> Any:
        options = {"max_tokens": 1000} if self.name == "anthropic" else {}
        return self.create.with_raw_response.create(model=self.model, messages=MESSAGES, **options)


@pytest.fixture(params=["openai", "anthropic"])
def sdk(request: pytest.FixtureRequest, llm_provider: LocalProvider) -> Sdk:
    return Sdk(request.param, llm_provider)


# ---- what is learned -------------------------------------------------------------------------------------------------


def test_a_new_guard_knows_what_the_process_has_learned(sdk, monkeypatch):
    measured: list[int] = []

    class Ratios(InputRatios):
        def observe(self, *args: Any, **kwargs: Any) -> None:
            measured.append(1)
            super().observe(*args, **kwargs)

    monkeypatch.setattr(quote, "ratios", Ratios())
    for _ in range(8):
        with BudgetGuard(usd_limit=1):
            for _ in range(8):
                sdk.call()

    assert len(measured) == 31 + 5  # each of the first, then every eighth


# ---- the order -------------------------------------------------------------------------------------------------------


def test_the_call_that_passes_a_limit_is_completed_and_told_of_with_its_reply(sdk, agrees):
    with BudgetGuard("alice", token_limit=50) as guard:
        sdk.call()
        with pytest.raises(BudgetExceededError) as raised:
            sdk.call()

    error = raised.value
    assert (error.phase, error.limit_type, error.origin) == ("after", "token", "local")
    assert (error.user_id, error.token_limit, error.tokens_used) == ("alice", 50, guard.tokens_used)
    assert (error.scope_kind, error.scope_id, error.root_scope_id) == ("root", guard.scope_id, guard.scope_id)
    assert error.response.model == sdk.model
    assert error.response.usage.output_tokens if sdk.name == "anthropic" else error.response.choices
    agrees(guard)


def test_the_next_call_is_refused_before_it_is_sent(sdk, llm_provider):
    with BudgetGuard(token_limit=20) as guard:
        with pytest.raises(BudgetExceededError):
            sdk.call()
        sent = len(llm_provider.requests)
        for _ in range(3):
            with pytest.raises(BudgetExceededError) as raised:
                sdk.call()

    assert raised.value.phase == "before"
    assert raised.value.response is None
    assert len(llm_provider.requests) == sent == 1
    assert guard.exceeded


def test_a_limit_that_is_reached_exactly_is_not_exceeded(sdk, llm_provider, agrees):
    llm_provider.default = Reply(input_tokens=10, output_tokens=15)

    with BudgetGuard(token_limit=50) as guard:
        sdk.call()
        assert sdk.call() is not None
        assert (guard.tokens_used, guard.tokens_remaining, guard.exceeded) == (50, 0, False)
        with pytest.raises(BudgetExceededError) as raised:
            sdk.call()

    assert raised.value.phase == "before"
    agrees(guard)


def test_a_dollar_limit_that_is_reached_exactly_is_not_exceeded(llm_provider, agrees):
    llm_provider.default = Reply(input_tokens=10, output_tokens=15)
    sdk = Sdk("openai", llm_provider)

    with BudgetGuard(usd_limit=0.00035) as guard:  # 2 * (10 * $2.5 + 15 * $10) per million
        sdk.call()
        sdk.call()
        assert guard.usd_remaining == 0
        with pytest.raises(BudgetExceededError) as raised:
            sdk.call()

    assert (raised.value.phase, raised.value.limit_type) == ("before", "usd")
    agrees(guard)


def test_a_raw_response_that_was_paid_for_is_handed_over(sdk):
    with BudgetGuard(token_limit=20):
        with pytest.raises(BudgetExceededError) as raised:
            sdk.raw()

    raw = raised.value.response
    assert raw.headers["x-request-id"]
    assert raw.parse().model == sdk.model


def test_a_parsed_reply_that_was_paid_for_is_handed_over_or_kept_in_the_error(llm_provider):
    client = llm_provider.openai()

    with BudgetGuard(token_limit=5):
        with pytest.raises(BudgetExceededError) as raised:
            client.responses.create(model=OPENAI, input="Hi")

    assert raised.value.response.output_text


async def test_an_awaited_reply_that_was_paid_for_is_handed_over(llm_provider):
    client = llm_provider.async_anthropic()

    async with BudgetGuard(token_limit=20):
        with pytest.raises(BudgetExceededError) as raised:
            await client.messages.create(model=ANTHROPIC, max_tokens=100, messages=MESSAGES)

    assert raised.value.response.content[0].text


def test_the_guard_that_stopped_a_call_is_named(sdk):
    with BudgetGuard(name="outer", token_limit=20) as outer, BudgetGuard(name="inner", token_limit=1000):
        with pytest.raises(BudgetExceededError) as raised:
            sdk.call()

    assert (raised.value.scope_name, raised.value.scope_kind) == ("outer", "root")
    with BudgetGuard(name="outer", token_limit=1000) as outer, BudgetGuard(name="inner", token_limit=20):
        with pytest.raises(BudgetExceededError) as raised:
            sdk.call()
    assert (raised.value.scope_name, raised.value.scope_kind) == ("inner", "nested")
    assert raised.value.parent_scope_id == outer.scope_id


def test_an_extended_guard_lets_calls_through_again(sdk):
    with BudgetGuard(token_limit=20) as guard:
        with pytest.raises(BudgetExceededError):
            sdk.call()
        guard.extend(tokens=1000)
        assert sdk.call() is not None
        assert not guard.exceeded


# ---- budget errors surface unchanged, at once ------------------------------------------------------------------------


def test_a_refusal_is_not_retried_or_wrapped_by_the_sdk(sdk, llm_provider):
    with BudgetGuard(token_limit=20):
        with pytest.raises(BudgetExceededError):
            sdk.call()
        with pytest.raises(BudgetExceededError) as raised:
            sdk.call()

    assert type(raised.value) is BudgetExceededError
    assert raised.value.__cause__ is None
    assert len(llm_provider.requests) == 1
    assert not isinstance(raised.value, (openai.OpenAIError, anthropic.AnthropicError, ConnectionError, TimeoutError))


async def test_a_refusal_is_not_retried_or_wrapped_by_async_sdks(llm_provider):
    client = llm_provider.async_openai(max_retries=5)

    async with BudgetGuard(token_limit=20):
        for _ in range(2):
            with pytest.raises(BudgetExceededError) as raised:
                await client.chat.completions.create(model=OPENAI, messages=MESSAGES)

    assert type(raised.value) is BudgetExceededError
    assert len(llm_provider.requests) == 1


def test_an_sdk_error_is_the_sdks_own_and_costs_nothing(sdk, llm_provider):
    llm_provider.reply(HttpError(status=400), HttpError(status=401), HttpError(status=404), HttpError(status=422))
    errors = openai if sdk.name == "openai" else anthropic

    with BudgetGuard(usd_limit=1) as guard:
        for kind in ("BadRequestError", "AuthenticationError", "NotFoundError", "UnprocessableEntityError"):
            with pytest.raises(getattr(errors, kind), match="scripted error"):
                sdk.call()

    assert (guard.calls, guard.usd_used, guard.account.in_flight) == (0, 0, 0)


# ---- many at once ----------------------------------------------------------------------------------------------------


async def test_fifty_calls_at_once_stay_near_the_limit_and_lose_no_reply(llm_provider, agrees):
    client = llm_provider.async_openai()
    limit = 30 * 0.0002225  # thirty calls' worth

    async def one() -> str:
        try:
            reply = await client.chat.completions.create(model=OPENAI, messages=MESSAGES, max_tokens=30)
        except BudgetExceededError as error:
            return "paid" if error.response is not None else "refused"
        return "paid" if reply.choices else ""

    async with BudgetGuard(usd_limit=limit) as guard:
        outcomes = await asyncio.gather(*(one() for _ in range(50)))

    assert outcomes.count("paid") == llm_provider.ledger.calls == guard.calls
    assert float(llm_provider.ledger.total_usd) <= 1.25 * limit
    assert float(llm_provider.ledger.total_usd) >= 0.9 * limit
    agrees(guard)


# ---- prices ----------------------------------------------------------------------------------------------------------


def test_an_unknown_model_is_refused_before_it_is_sent_under_a_dollar_limit(sdk, llm_provider):
    with BudgetGuard(usd_limit=1) as guard:
        with pytest.raises(UnknownPriceError, match="nobody-knows-this") as raised:
            sdk.call("nobody-knows-this")

    assert raised.value.model == "nobody-knows-this"
    assert llm_provider.requests == []
    assert guard.account.in_flight == 0


def test_a_request_without_a_model_is_told_to_name_one(llm_provider):
    client = llm_provider.openai()

    with BudgetGuard(usd_limit=1), pytest.raises(UnknownPriceError, match="names no model") as refused:
        client.chat.completions.create(model="", messages=MESSAGES)

    assert "prices.set(" not in str(refused.value)
    assert llm_provider.requests == []


def test_an_unknown_model_without_a_dollar_limit_is_counted_in_tokens_and_told_of_once(sdk, llm_provider, caplog):
    model = f"mystery-{sdk.name}"
    with caplog.at_level(logging.WARNING), BudgetGuard(token_limit=10_000) as guard:
        for _ in range(3):
            sdk.call(model)

    assert guard.tokens_used == llm_provider.ledger.tokens
    assert guard.usd_used == 0
    assert sum(model in record.getMessage() for record in caplog.records) == 1


def test_a_price_of_ones_own_is_charged(sdk, llm_provider):
    book = PriceBook()
    book.set("our-model", input=1, output=2)

    with BudgetGuard(usd_limit=1, prices=book) as guard:
        sdk.call("our-model")

    entry = llm_provider.ledger.last
    assert guard.account.used_pico == (entry.input_tokens + 2 * entry.output_tokens) * 10**6


def test_the_dearest_price_may_stand_in_for_an_unknown_one(sdk, llm_provider):
    with BudgetGuard(usd_limit=10, unknown_price="most_expensive") as guard:
        sdk.call("nobody-knows-this")

    assert guard.tokens_used == llm_provider.ledger.tokens
    assert guard.usd_used > 0.0001


def test_prices_may_be_given_for_whatever_is_unknown_in_one_guard(sdk, llm_provider):
    with BudgetGuard(usd_limit=10, unknown_price={"input": 5, "output": 25}) as guard:
        sdk.call("nobody-knows-this")

    entry = llm_provider.ledger.last
    assert guard.account.used_pico == (5 * entry.input_tokens + 25 * entry.output_tokens) * 10**6


def test_output_that_a_price_says_nothing_of_is_flagged(sdk, llm_provider):
    book = PriceBook()
    book.set("embeds-only", input=1)

    with BudgetGuard(usd_limit=1, prices=book) as guard:
        sdk.call("embeds-only")

    assert guard.account.used_pico == llm_provider.ledger.last.input_tokens * 10**6
    assert guard.estimated


@pytest.mark.parametrize("price", [float("nan"), float("inf"), -1, True, "cheap"])
def test_a_price_that_is_none_is_refused_where_it_is_written(price):
    with pytest.raises(ActGuardUsageError, match="input"):
        actguard.prices.set("our-model", input=price, output=1)


# ---- warnings --------------------------------------------------------------------------------------------------------


def test_a_share_of_the_limit_is_warned_about_once(sdk):
    seen: list[int] = []

    with BudgetGuard(token_limit=100, warn_at=0.5, on_warning=lambda guard: seen.append(guard.tokens_used)):
        for _ in range(3):
            sdk.call()

    assert len(seen) == 1
    assert seen[0] >= 50


def test_a_share_of_the_limit_is_warned_about_by_a_warning_too(sdk):
    with BudgetGuard(token_limit=100, warn_at=0.2):
        with pytest.warns(BudgetWarning, match="20%"):
            sdk.call()


def test_a_mistake_in_a_callback_costs_nobody_his_reply(sdk):
    with BudgetGuard(token_limit=100, warn_at=0.1, on_warning=lambda guard: 1 / 0):
        assert sdk.call() is not None


def test_a_callback_alone_is_called_when_most_of_the_limit_is_used(sdk):
    seen: list[float] = []

    with BudgetGuard(token_limit=100, on_warning=lambda guard: seen.append(guard.tokens_used / guard.token_limit)):
        with pytest.raises(BudgetExceededError):
            for _ in range(10):
                sdk.call()

    assert len(seen) == 1
    assert seen[0] >= 0.8


def test_a_callback_may_extend_a_budget_that_the_call_has_passed(sdk):
    with BudgetGuard(token_limit=10, on_warning=lambda guard: guard.extend(tokens=1000)) as guard:
        assert sdk.call() is not None
        assert sdk.call() is not None

    assert not guard.exceeded


@pytest.mark.filterwarnings("error")
def test_a_warning_made_an_error_costs_nobody_his_reply(sdk, caplog):
    with BudgetGuard(token_limit=100, warn_at=0.1) as guard:
        assert sdk.call() is not None

    assert not guard.estimated
    assert [record.getMessage().split(";")[-1] for record in caplog.records] == [" telling so failed"]


@pytest.mark.filterwarnings("error")
def test_a_warning_made_an_error_hides_no_refusal():
    with BudgetGuard(usd_limit=1, warn_at=0.5, name="search") as guard:
        with pytest.raises(BudgetExceededError, match="what was reported last is counted") as refused:
            guard.add_cost(name="web-search", usd=2)

    assert refused.value.phase == "after"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"name": "loop", "user_id": "alice"}, "Budget 'loop' of user 'alice' is used up: "),
        ({"name": "loop"}, "Budget 'loop' is used up: "),
        ({"user_id": "alice"}, "The budget of user 'alice' is used up: "),
        ({}, "The budget is used up: "),
    ],
)
def test_a_message_names_a_budget_by_what_it_was_given(options: dict[str, str], said: str) -> None:
    with pytest.raises(BudgetExceededError) as refused, BudgetGuard(usd_limit=0.01, **options) as guard:
        guard.add_cost(name="search", usd=0.02)

    assert str(refused.value).startswith(said)
    assert refused.value.scope_id == guard.scope_id
