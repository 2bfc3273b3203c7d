"""Replies that say nothing of what they billed, or nonsense; and faults of our own. The caller has his reply always."""

import logging
from typing import Any

import openai
import pytest

from actguard import BudgetExceededError, BudgetGuard
from actguard.providers import call as calls
from actguard.providers import faults
from actguard.testing import Cut, Delivery, LocalProvider, NotJSON, Reply

MESSAGES: Any = [{"role": "user", "content": "Hello!"}]
OPENAI, ANTHROPIC = "gpt-4o", "claude-sonnet-5"


@pytest.fixture(autouse=True)
def _nothing_was_logged_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "_logged", set())


def chat(provider: LocalProvider, **options: Any) -> Any:
    return provider.openai(max_retries=0).chat.completions.create(model=OPENAI, messages=MESSAGES, **options)


def message(provider: LocalProvider, **options: Any) -> Any:
    client = provider.anthropic(max_retries=0)
    return client.messages.create(model=ANTHROPIC, max_tokens=1000, messages=MESSAGES, **options)


def response(provider: LocalProvider, **options: Any) -> Any:
    return provider.openai(max_retries=0).responses.create(model=OPENAI, input="Hello!", **options)


CALLS = {"chat": chat, "message": message, "response": response}


@pytest.fixture(params=CALLS)
def call(request: pytest.FixtureRequest) -> Any:
    return CALLS[request.param]


def is_estimated(guard: BudgetGuard, calls: int = 1) -> None:
    assert guard.estimated
    assert guard.calls == calls
    assert guard.usage["input_tokens"] > 0
    assert guard.usd_used > 0
    assert guard.account.in_flight == 0


# ---- usage -----------------------------------------------------------------------------------------------------------


def test_a_reply_without_usage_is_estimated_and_shown(call, llm_provider):
    llm_provider.reply(Reply(usage="omitted"))

    with BudgetGuard(usd_limit=1) as guard:
        assert call(llm_provider) is not None

    is_estimated(guard)
    assert guard.unmetered_calls == 1


WRONG = {
    "chat": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
    "message": {"input_tokens": 10, "output_tokens": 5},
    "response": {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15},
}
NONSENSE: Any = {
    "negative": lambda usage: {key: -value for key, value in usage.items()},
    "fractions": lambda usage: {key: value + 0.5 for key, value in usage.items()},
    "text": lambda usage: {key: str(value) for key, value in usage.items()},
    "booleans": lambda usage: dict.fromkeys(usage, True),
    "one count an empty text": lambda usage: dict(zip(usage, (10, ""), strict=False)),
    "one count missing": lambda usage: dict(list(usage.items())[:1]),
    "empty": lambda usage: {},
}


@pytest.mark.parametrize("nonsense", NONSENSE)
@pytest.mark.parametrize("kind", CALLS)
def test_usage_that_cannot_be_is_estimated_and_told_of(kind, nonsense, llm_provider):
    llm_provider.reply(Reply(usage=NONSENSE[nonsense](WRONG[kind])))

    with BudgetGuard(usd_limit=1) as guard:
        raw = {
            "chat": lambda: llm_provider.openai().chat.completions.with_raw_response.create(
                model=OPENAI, messages=MESSAGES
            ),
            "message": lambda: llm_provider.anthropic().messages.with_raw_response.create(
                model=ANTHROPIC, max_tokens=1000, messages=MESSAGES
            ),
            "response": lambda: llm_provider.openai().responses.with_raw_response.create(model=OPENAI, input="Hello!"),
        }[kind]()
        assert raw.status_code == 200

    is_estimated(guard)
    assert guard.unmetered_calls == 1


CONTRADICTIONS: Any = {
    "more cached than read": ("chat", {**WRONG["chat"], "prompt_tokens_details": {"cached_tokens": 11}}),
    "more reasoning than written": ("chat", {**WRONG["chat"], "completion_tokens_details": {"reasoning_tokens": 6}}),
    "more by lifetime than in all": (
        "message",
        {**WRONG["message"], "cache_creation_input_tokens": 1, "cache_creation": {"ephemeral_1h_input_tokens": 9}},
    ),
    "more cached than read, in a response": (
        "response",
        {**WRONG["response"], "input_tokens_details": {"cached_tokens": 11}},
    ),
}


@pytest.mark.parametrize("what", CONTRADICTIONS)
def test_usage_that_contradicts_itself_is_estimated_and_told_of_once(what, llm_provider, caplog):
    kind, usage = CONTRADICTIONS[what]
    llm_provider.reply(Reply(usage=usage), Reply(usage=usage))

    with caplog.at_level(logging.ERROR, "actguard"), BudgetGuard(usd_limit=1) as guard:
        CALLS[kind](llm_provider)
        CALLS[kind](llm_provider)

    is_estimated(guard, calls=2)
    assert sum("cannot be right" in record.getMessage() for record in caplog.records) == 1


@pytest.mark.parametrize("bad", [1, 3])
def test_results_of_a_batch_that_do_not_say_what_they_used_are_visible(bad, llm_provider, caplog):
    client = llm_provider.anthropic()
    llm_provider.reply(*[Reply(usage={"input_tokens": "many"})] * bad)
    params: Any = {"model": ANTHROPIC, "max_tokens": 50, "messages": MESSAGES}

    with caplog.at_level(logging.ERROR, "actguard"), BudgetGuard(usd_limit=1) as guard:
        made = client.messages.batches.create(requests=[{"custom_id": name, "params": params} for name in "abc"])
        client.messages.batches.retrieve(made.id)
        assert len(list(client.messages.batches.results(made.id))) == 3

    is_estimated(guard)
    assert guard.unmetered_calls == 1
    assert "cannot be right" in caplog.text


@pytest.mark.parametrize("kind", CALLS)
def test_a_stream_whose_usage_cannot_be_is_charged_for_what_arrived(kind, llm_provider, caplog):
    llm_provider.reply(Reply(usage=NONSENSE["negative"](WRONG[kind]), output_tokens=30))

    with caplog.at_level(logging.ERROR, "actguard"), BudgetGuard(usd_limit=1) as guard:
        assert list(CALLS[kind](llm_provider, stream=True))

    is_estimated(guard)
    assert "cannot be right" in caplog.text
    assert guard.usage["output_tokens"] >= 30


@pytest.mark.parametrize("kind", CALLS)
def test_a_stream_without_usage_is_charged_for_what_arrived_and_shown(kind, llm_provider):
    llm_provider.reply(Reply(usage="omitted", output_tokens=30))

    with BudgetGuard(usd_limit=1) as guard:
        assert list(CALLS[kind](llm_provider, stream=True))

    is_estimated(guard)
    assert guard.usage["output_tokens"] >= 30
    assert guard.unmetered_calls == 1


def test_an_estimate_is_at_least_the_cap_of_a_strict_hold(llm_provider):
    llm_provider.reply(Reply(usage="omitted", output_tokens=50))

    with BudgetGuard(usd_limit=1, strict=True) as guard:
        message(llm_provider)

    assert guard.usage["output_tokens"] >= 1000
    assert guard.usd_used >= float(llm_provider.ledger.total_usd)


# ---- bodies ----------------------------------------------------------------------------------------------------------


def outcome(make: Any) -> Any:
    """What a caller sees: the type of the error, or the reply."""
    try:
        return make()
    except Exception as error:
        return type(error)


def test_a_reply_that_is_not_json_looks_as_ever_and_is_estimated(call, llm_provider):
    llm_provider.reply(NotJSON(), NotJSON())
    expected = outcome(lambda: call(llm_provider))

    with BudgetGuard(usd_limit=1) as guard:
        assert outcome(lambda: call(llm_provider)) == expected

    is_estimated(guard)
    assert guard.unmetered_calls == 1


def test_a_stream_that_is_not_json_looks_as_ever_and_is_estimated(call, llm_provider):
    llm_provider.reply(*[NotJSON(b"data: {not json\n\n")] * 2)
    expected = outcome(lambda: list(call(llm_provider, stream=True)))

    with BudgetGuard(usd_limit=1) as guard:
        assert outcome(lambda: list(call(llm_provider, stream=True))) == expected

    assert guard.estimated
    assert guard.account.in_flight == 0


@pytest.mark.parametrize("body", [b"null", b"[]", b'"text"', b"{}", b"3"])
def test_json_that_is_no_reply_is_estimated(call, llm_provider, body):
    llm_provider.reply(*[NotJSON(body)] * 2)
    expected = outcome(lambda: type(call(llm_provider)))

    with BudgetGuard(usd_limit=1) as guard:
        assert outcome(lambda: type(call(llm_provider))) == expected

    is_estimated(guard)


def test_a_body_that_breaks_off_is_estimated(call, llm_provider):
    llm_provider.reply(Cut(), Cut())
    expected = outcome(lambda: call(llm_provider))

    with BudgetGuard(usd_limit=1) as guard:
        assert outcome(lambda: call(llm_provider)) is expected

    is_estimated(guard)


def test_a_gzipped_reply_in_pieces_is_exact(call, llm_provider, agrees):
    llm_provider.reply(Reply(delivery=Delivery(gzip=True, chunk_bytes=3)))

    with BudgetGuard(usd_limit=1) as guard:
        call(llm_provider)

    agrees(guard)


# ---- our own faults --------------------------------------------------------------------------------------------------


class Fault(Exception):
    """A mistake in our code."""


def broken(*args: Any, **kwargs: Any) -> Any:
    raise Fault


@pytest.fixture
def broken_wires(monkeypatch: pytest.MonkeyPatch) -> Any:
    """`broken_wires(**parts)`: replace parts of what reads both providers' wires."""
    from actguard.providers.anthropic import sdk as anthropic_sdk
    from actguard.providers.openai import sdk as openai_sdk
    from actguard.providers.stainless import StainlessSeam

    def break_them(**parts: Any) -> None:
        original = StainlessSeam.__init__

        def init(self: Any, wire: Any, *args: Any) -> None:
            original(self, wire._replace(**parts), *args)

        import actguard

        monkeypatch.setattr(StainlessSeam, "__init__", init)
        actguard.uninstall()

    yield break_them
    import actguard

    actguard.uninstall()
    assert openai_sdk.WIRE.name != anthropic_sdk.WIRE.name


def test_a_fault_while_reading_a_reply_is_logged_once_and_costs_nobody_his_reply(
    call, llm_provider, broken_wires, caplog
):
    broken_wires(read=broken)

    with caplog.at_level(logging.ERROR, "actguard"), BudgetGuard(usd_limit=1) as guard:
        assert call(llm_provider) is not None
        assert call(llm_provider) is not None

    is_estimated(guard, calls=2)
    [record] = [record for record in caplog.records if record.name == "actguard"]
    assert record.exc_info[0] is Fault


class BrokenReader:
    terminal = error = False
    delta_bytes = delta_events = 0
    response_id = None

    def __init__(self, *args: Any) -> None:
        if self.at == "start":
            raise Fault

    at = ""

    def feed(self, event: Any) -> None:
        if self.at == "feed":
            raise Fault

    def bill(self) -> None:
        if self.at == "bill":
            raise Fault


@pytest.mark.parametrize("at", ["start", "feed", "bill"])
def test_a_fault_while_reading_a_stream_is_logged_and_costs_nobody_his_stream(
    call, llm_provider, broken_wires, caplog, at
):
    broken_wires(reader=type("Reader", (BrokenReader,), {"at": at}))

    with caplog.at_level(logging.ERROR, "actguard"), BudgetGuard(usd_limit=1) as guard:
        events = list(call(llm_provider, stream=True))

    assert len(events) >= 22
    is_estimated(guard)
    assert any(record.exc_info and record.exc_info[0] is Fault for record in caplog.records)


async def test_a_fault_while_reading_an_async_stream_costs_nobody_his_stream(llm_provider, broken_wires):
    broken_wires(reader=type("Reader", (BrokenReader,), {"at": "feed"}))
    client = llm_provider.async_openai()

    async with BudgetGuard(usd_limit=1) as guard:
        stream = await client.chat.completions.create(model=OPENAI, messages=MESSAGES, stream=True)
        assert len([chunk async for chunk in stream]) >= 22

    is_estimated(guard)


def test_a_fault_while_pricing_a_reply_costs_nobody_his_reply(call, llm_provider, monkeypatch):
    monkeypatch.setattr(calls.Call, "_price_of", broken)

    with BudgetGuard(usd_limit=1) as guard:
        assert call(llm_provider) is not None
        list(call(llm_provider, stream=True))

    is_estimated(guard, calls=2)


def test_a_fault_while_measuring_a_request_does_not_stop_it(call, llm_provider, broken_wires, agrees):
    broken_wires(facts=broken)

    with BudgetGuard(usd_limit=1) as guard:
        assert call(llm_provider) is not None

    agrees(guard)


def test_a_budget_error_is_never_taken_for_a_fault(llm_provider):
    client = llm_provider.openai()

    with BudgetGuard(token_limit=10):
        with pytest.raises(BudgetExceededError):
            list(client.chat.completions.create(model=OPENAI, messages=MESSAGES, stream=True))
    assert openai.__version__
