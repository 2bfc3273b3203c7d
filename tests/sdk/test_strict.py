"""`strict=True` through the openai and anthropic SDKs: spend never passes the limit, and nearly reaches it."""

import asyncio
import contextlib
import copy
import threading
from decimal import Decimal
from typing import Any

import pytest

from actguard import BudgetExceededError, BudgetGuard, UnmeteredCallError
from actguard.budget.ratios import InputRatios
from actguard.testing import Delivery, LocalProvider, Reply

MESSAGES: Any = [{"role": "user", "content": "Hello!"}]
OPENAI, ANTHROPIC = "gpt-4o", "claude-sonnet-5"


def dollars(guard: BudgetGuard) -> Decimal:
    return Decimal(guard.account.used_pico).scaleb(-12)


class Api:
    """One API: how it is called, and how its requests cap the output."""

    def __init__(self, name: str, provider: LocalProvider, *, asynchronous: bool = False) -> None:
        self.name = name
        if name == "messages":
            client: Any = provider.async_anthropic() if asynchronous else provider.anthropic()
        else:
            client = provider.async_openai() if asynchronous else provider.openai()
        self.rate = 2 if name == "completions" else 10
        """Dollars per million tokens of output."""
        self.field = {"chat": "max_completion_tokens", "responses": "max_output_tokens"}.get(name, "max_tokens")
        self._create, self._fixed = {
            "chat": lambda: (client.chat.completions.create, {"model": OPENAI, "messages": MESSAGES}),
            "responses": lambda: (client.responses.create, {"model": OPENAI, "input": "Hello!"}),
            "completions": lambda: (
                client.completions.create, {"model": "gpt-3.5-turbo-instruct", "prompt": "Hello!", "max_tokens": 4000}
            ),
            "messages": lambda: (
                client.messages.create, {"model": ANTHROPIC, "max_tokens": 8000, "messages": MESSAGES}
            ),
        }[name]()  # fmt: skip

    def __call__(self, **options: Any) -> Any:
        return self._create(**{**self._fixed, **options})


APIS = ("chat", "responses", "completions", "messages")


@pytest.fixture(params=APIS)
def api(request: pytest.FixtureRequest, llm_provider: LocalProvider) -> Api:
    return Api(request.param, llm_provider)


@pytest.fixture(params=["chat", "messages"])
def aapi(request: pytest.FixtureRequest, llm_provider: LocalProvider) -> Api:
    return Api(request.param, llm_provider, asynchronous=True)


# ---- the cap ---------------------------------------------------------------------------------------------------------


def test_the_output_cap_is_set_to_what_the_limit_buys(api, llm_provider, agrees):
    llm_provider.default = Reply(output_tokens=3000)

    with BudgetGuard(token_limit=1000, strict=True) as guard:
        reply = api()

    sent = llm_provider.requests[-1].json
    assert 500 < sent[api.field] < 1000
    assert guard.usage["output_tokens"] == sent[api.field]
    assert guard.tokens_used <= 1000
    assert reply is not None
    agrees(guard)


def test_a_cap_that_fits_is_left_alone(api, llm_provider, agrees):
    with BudgetGuard(token_limit=5000, strict=True) as guard:
        api(**{api.field: 40})

    assert llm_provider.requests[-1].json[api.field] == 40
    agrees(guard)


def test_a_cap_that_does_not_fit_is_lowered(api, llm_provider, agrees):
    llm_provider.default = Reply(output_tokens=4000)

    with BudgetGuard(token_limit=600, strict=True) as guard:
        api(**{api.field: 3500})

    assert 16 <= llm_provider.requests[-1].json[api.field] < 600
    agrees(guard)


def test_where_everything_fits_the_request_is_sent_as_it_was(api, llm_provider, agrees):
    with BudgetGuard(usd_limit=100, strict=True) as guard:
        api()
    guarded = llm_provider.requests[-1].json
    agrees(guard)
    api()

    assert guarded == llm_provider.requests[-1].json


def test_a_chat_cap_stays_in_the_field_that_the_caller_uses(llm_provider):
    api = Api("chat", llm_provider)

    with BudgetGuard(token_limit=600, strict=True):
        api(max_tokens=5000)

    sent = llm_provider.requests[-1].json
    assert sent["max_tokens"] < 600
    assert "max_completion_tokens" not in sent


def test_both_caps_of_a_chat_are_lowered_whichever_the_host_obeys(llm_provider, agrees):
    llm_provider.default = Reply(output_tokens=5000)
    api = Api("chat", llm_provider)

    with BudgetGuard(token_limit=600, strict=True) as guard:
        api(max_tokens=50, max_completion_tokens=4000)

    sent = llm_provider.requests[-1].json
    assert sent["max_tokens"] == 50
    assert sent["max_completion_tokens"] < 600
    assert guard.tokens_used <= 600
    agrees(guard)


def test_a_cap_in_extra_body_is_the_one_that_counts_and_is_lowered(api, llm_provider, agrees):
    llm_provider.default = Reply(output_tokens=3000)
    extra = {api.field: 2000}

    with BudgetGuard(token_limit=600, strict=True) as guard:
        api(extra_body=extra)

    assert llm_provider.requests[-1].json[api.field] < 600
    assert extra == {api.field: 2000}
    agrees(guard)


def test_several_choices_share_what_the_limit_buys(llm_provider, agrees):
    llm_provider.default = Reply(output_tokens=3000)

    with BudgetGuard(token_limit=1000, strict=True) as guard:
        Api("chat", llm_provider)(n=4)

    assert llm_provider.requests[-1].json["max_completion_tokens"] <= 250
    assert guard.tokens_used <= 1000
    agrees(guard)


def test_azure_gets_the_field_that_its_older_api_versions_know(llm_provider):
    with BudgetGuard(token_limit=600, strict=True):
        llm_provider.azure().chat.completions.create(model=OPENAI, messages=MESSAGES)

    sent = llm_provider.requests[-1].json
    assert sent.get("max_tokens", sent.get("max_completion_tokens")) < 600


def test_the_callers_own_objects_are_not_changed(llm_provider):
    ask: Any = {"messages": copy.deepcopy(MESSAGES), "max_tokens": 9000, "extra_body": {"metadata": {"user_id": "a"}}}
    before = copy.deepcopy(ask)

    with BudgetGuard(token_limit=600, strict=True):
        Api("messages", llm_provider)(**ask)

    assert ask == before


def test_thinking_that_does_not_fit_under_the_cap_is_refused_before_it_is_sent(llm_provider):
    with BudgetGuard(token_limit=1000, strict=True):
        with pytest.raises(BudgetExceededError) as raised:
            Api("messages", llm_provider)(thinking={"type": "enabled", "budget_tokens": 4000})

    assert raised.value.phase == "before"
    assert llm_provider.requests == []


# ---- never above the limit -------------------------------------------------------------------------------------------


def until_refused(call: Any) -> int:
    made = 0
    while True:
        try:
            call()
        except BudgetExceededError:
            return made
        made += 1


def limit_of(api: Api) -> float:
    """What 5,000 tokens of output cost."""
    return 5000 * api.rate / 10**6


def is_spent(provider: LocalProvider, limit: float, *, at_least: float = 0.9) -> None:
    assert at_least * limit <= provider.ledger.total_usd <= Decimal(str(limit))


def test_calls_one_after_the_other_spend_the_limit_and_no_more(api, llm_provider, agrees):
    llm_provider.default = Reply(output_tokens=300)

    with BudgetGuard(usd_limit=limit_of(api), strict=True) as guard:
        assert until_refused(api) > 5

    is_spent(llm_provider, limit_of(api))
    agrees(guard)


async def test_fifty_tasks_spend_the_limit_and_no_more(aapi, llm_provider, agrees):
    llm_provider.default = Reply(output_tokens=300)

    async def one() -> bool:
        try:
            await aapi()
        except BudgetExceededError:
            return False
        return True

    async with BudgetGuard(usd_limit=limit_of(aapi), strict=True) as guard:
        done = await asyncio.gather(*(one() for _ in range(50)))

    assert sum(done) == llm_provider.ledger.calls
    is_spent(llm_provider, limit_of(aapi))
    agrees(guard)


def test_fifty_threads_spend_the_limit_and_no_more(api, llm_provider, agrees):
    llm_provider.default = Reply(output_tokens=300)
    done: list[bool] = []

    def one() -> None:
        try:
            api()
        except BudgetExceededError:
            return
        done.append(True)

    with BudgetGuard(usd_limit=limit_of(api), strict=True) as guard:
        threads = [threading.Thread(target=one) for _ in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert len(done) == llm_provider.ledger.calls
    is_spent(llm_provider, limit_of(api))
    agrees(guard)


def test_one_call_of_twenty_times_the_limit_ends_at_the_limit(api, llm_provider, agrees):
    tokens, usable = (4000, 0.5) if api.name == "completions" else (60_000, 0.9)  # the first takes no more
    llm_provider.default = Reply(output_tokens=tokens, delivery=Delivery(tokens_per_event=50))
    limit = tokens * api.rate / 10**6 / 20

    with BudgetGuard(usd_limit=limit, strict=True) as guard:
        api(**{api.field: tokens}, timeout=60)

    is_spent(llm_provider, limit, at_least=usable)
    agrees(guard)


def test_one_stream_of_twenty_times_the_limit_ends_at_the_limit(api, llm_provider, agrees):
    tokens, usable = (4000, 0.5) if api.name == "completions" else (60_000, 0.9)  # the first takes no more
    llm_provider.default = Reply(output_tokens=tokens, delivery=Delivery(tokens_per_event=50))
    limit = tokens * api.rate / 10**6 / 20

    with BudgetGuard(usd_limit=limit, strict=True) as guard:
        assert list(api(**{api.field: tokens}, stream=True))

    is_spent(llm_provider, limit, at_least=usable)
    agrees(guard)


def test_a_stream_left_early_is_charged_all_that_was_held_for_it(api, llm_provider):
    llm_provider.default = Reply(output_tokens=3000, delivery=Delivery(pause_after=5))

    with BudgetGuard(token_limit=1000, strict=True) as guard:
        stream = api(stream=True)
        next(iter(stream))
        stream.close()
        llm_provider.wait_idle()

        assert guard.estimated
        assert llm_provider.ledger.tokens <= guard.tokens_used <= 1000


def test_by_default_too_a_stream_left_early_may_be_charged_all_that_a_call_is_held_at(api, llm_provider, monkeypatch):
    monkeypatch.setattr("actguard.providers.quote.ratios", InputRatios())  # which has learned from no other test
    llm_provider.default = Reply(output_tokens=3000, delivery=Delivery(pause_after=5))

    with BudgetGuard(token_limit=10_000, on_abort="reserve") as guard:
        stream = api(stream=True, **{api.field: 500})
        next(iter(stream))
        stream.close()
        llm_provider.wait_idle()

        assert guard.estimated
        assert 500 < guard.tokens_used < 700


def test_what_came_in_early_streams_may_be_all_that_is_charged(api, llm_provider):
    llm_provider.default = Reply(output_tokens=3000, delivery=Delivery(pause_after=5))

    with BudgetGuard(token_limit=1000, strict=True, on_abort="received") as guard:
        stream = api(stream=True)
        next(iter(stream))
        stream.close()

        assert guard.estimated
        assert guard.tokens_used < 500


def test_every_kind_of_token_is_held_for(llm_provider, agrees):
    llm_provider.default = Reply(output_tokens=3000, cache_write_1h_tokens=5)

    with BudgetGuard(usd_limit=0.01, strict=True) as guard:
        until_refused(Api("messages", llm_provider))

    assert llm_provider.ledger.total_usd <= Decimal("0.01")
    agrees(guard)


def test_a_dearer_tier_is_held_for(llm_provider, agrees):
    llm_provider.default = Reply(output_tokens=3000, service_tier="priority")

    with BudgetGuard(usd_limit=0.01, strict=True) as guard:
        until_refused(lambda: Api("chat", llm_provider)(service_tier="priority"))

    assert llm_provider.ledger.total_usd <= Decimal("0.01")
    agrees(guard)


# ---- refused before it is sent ---------------------------------------------------------------------------------------


def test_a_call_that_cannot_fit_is_refused_before_it_is_sent(api, llm_provider):
    with BudgetGuard(usd_limit=0.0000001, strict=True) as guard:
        with pytest.raises(BudgetExceededError, match="not sent") as raised:
            api()

    assert raised.value.phase == "before"
    assert llm_provider.requests == []
    assert dollars(guard) == 0


UNBOUNDED: Any = {
    "a server tool of OpenAI": ("responses", {"tools": [{"type": "web_search"}]}),
    "a server tool of Anthropic": ("messages", {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}),
    "a remote document": (
        "messages",
        {
            "messages": [
                {
                    "role": "user",
                    "content": [{"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}}],
                }
            ]
        },
    ),
}


def test_a_budget_too_small_for_a_call_is_not_said_to_be_used_up(llm_provider):
    with BudgetGuard(token_limit=20, strict=True, name="tiny"), pytest.raises(BudgetExceededError) as refused:
        Api("chat", llm_provider)()

    assert str(refused.value).startswith("Budget 'tiny' has too little left: 0 of 20 tokens spent")


@pytest.mark.parametrize("what", UNBOUNDED)
def test_what_nothing_bounds_is_refused_by_default(what, llm_provider):
    name, options = UNBOUNDED[what]

    with BudgetGuard(usd_limit=1, strict=True):
        with pytest.raises(UnmeteredCallError, match="unbounded="):
            Api(name, llm_provider)(**options)

    assert llm_provider.requests == []


def test_what_has_no_bound_is_named_once(llm_provider):
    with BudgetGuard(usd_limit=1, strict=True), pytest.raises(UnmeteredCallError) as refused:
        Api("responses", llm_provider)(tools=[{"type": "web_search"}])

    assert str(refused.value).count("web_search") == 1


@pytest.mark.parametrize("unbounded", ["estimate", 20_000])
@pytest.mark.parametrize("what", UNBOUNDED)
def test_what_nothing_bounds_may_go_through_at_an_estimate(what, unbounded, llm_provider, agrees):
    name, options = UNBOUNDED[what]

    with BudgetGuard(usd_limit=1, strict=True, unbounded=unbounded) as guard:
        Api(name, llm_provider)(**options)

    agrees(guard)


def test_what_a_previous_response_brings_along_is_held_for(llm_provider, agrees):
    llm_provider.default = Reply(output_tokens=3000)
    api = Api("responses", llm_provider)

    with BudgetGuard(usd_limit=2.8, strict=True) as guard:
        first = api(max_output_tokens=100)
        api(previous_response_id=first.id, max_output_tokens=100)

    assert llm_provider.ledger.total_usd <= Decimal("2.8")
    agrees(guard)


def test_of_a_reply_that_the_guard_has_seen_only_its_own_length_is_held_for(llm_provider, agrees):
    api = Api("responses", llm_provider)

    with BudgetGuard(usd_limit=0.02, strict=True) as guard:
        last = api(max_output_tokens=100).id
        for _ in range(5):
            last = api(previous_response_id=last, max_output_tokens=100).id

    assert guard.calls == 6
    agrees(guard)


def test_a_conversation_that_the_provider_keeps_never_passes_the_limit(llm_provider):
    llm_provider.default = Reply(output_tokens=100)
    api = Api("responses", llm_provider)
    last: Any = None

    with BudgetGuard(usd_limit=0.02, strict=True) as guard, contextlib.suppress(BudgetExceededError):
        while True:
            last = api(previous_response_id=last, max_output_tokens=100).id

    assert Decimal("0.015") <= llm_provider.ledger.total_usd <= Decimal("0.02")
    assert guard.exceeded


def test_a_body_that_turns_out_larger_than_it_looked_is_stopped_before_it_leaves(llm_provider):
    def parts() -> Any:
        yield {"type": "text", "text": "long " * 5000}

    messages: Any = [{"role": "user", "content": parts()}]

    with BudgetGuard(token_limit=2000, strict=True) as guard:
        with pytest.raises(BudgetExceededError):
            Api("chat", llm_provider)(messages=messages)

    assert llm_provider.requests == []
    assert guard.account.in_flight == 0


# ---- waiting ---------------------------------------------------------------------------------------------------------


async def test_a_call_that_does_not_fit_beside_others_waits_for_them(aapi, llm_provider, agrees):
    llm_provider.default = Reply(output_tokens=30)

    async with BudgetGuard(token_limit=10_000, strict=True) as guard:
        with llm_provider.hold() as gate:
            first = asyncio.create_task(aapi(**{aapi.field: 6000}))
            await gate.wait_for_async(1)
            second = asyncio.create_task(aapi(**{aapi.field: 6000}))
            await asyncio.sleep(0)
            assert gate.arrived == 1
            gate.release()
            await asyncio.gather(first, second)

    assert guard.calls == 2
    agrees(guard)


def test_a_caller_never_waits_for_his_own_open_stream(llm_provider):
    llm_provider.default = Reply(output_tokens=50)
    api = Api("chat", llm_provider)

    with BudgetGuard(token_limit=1000, strict=True) as guard:
        stream = api(stream=True, max_completion_tokens=400)
        next(stream)
        api()
        assert list(stream)

    assert guard.tokens_used <= 1000
