"""The book of prices: what a program says goes before every list, and what nobody says is never zero."""

import logging
import math
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest

from actguard.budget.pricing import PriceBook
from actguard.budget.usage import Usage
from actguard.exceptions import ActGuardUsageError, UnknownPriceError

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
M = 10**6
THOUSAND_IN = Usage(input_tokens=1000)


@pytest.fixture
def book() -> PriceBook:
    return PriceBook(clock=NOW.timestamp)


def cost_in(book: PriceBook, model: str, provider: str = "openai", **more) -> int | None:
    """What a thousand tokens of input cost, in dollars for a million of them."""
    price = book.price(provider, model, **more)
    return None if price is None else price.cost(THOUSAND_IN) // 1000 / M


# ---- setting --------------------------------------------------------------------------------------------------------


def test_a_price_that_was_set_goes_before_the_list(book: PriceBook):
    assert cost_in(book, "gpt-4o") == 2.5
    book.set("gpt-4o", input=1, output=2)
    price = book.price("openai", "gpt-4o")
    assert price is not None
    assert price.source == "override"
    assert price.cost(Usage(1000, 1000)) == 3000 * M


def test_cached_tokens_cost_as_much_as_others_unless_it_is_said(book: PriceBook):
    book.set("mine", input=2, output=4)
    book.set("yours", input=2, output=4, cache_read=0.5, cache_write=2.5, cache_write_1h=4)
    usage = Usage(input_tokens=1000, cache_read_tokens=600, cache_write_tokens=300, cache_write_1h_tokens=100)
    mine, yours = book.price("openai", "mine"), book.price("openai", "yours")
    assert mine is not None
    assert yours is not None
    assert mine.cost(usage) == 2000 * M
    assert yours.cost(usage) == (100 * 2 + 600 * 0.5 + 200 * 2.5 + 100 * 4) * M


def test_prices_may_be_for_one_token_or_for_a_thousand(book: PriceBook):
    book.set("a", input=2.5e-6, output=1e-5, per="1")
    book.set("b", input=0.0025, output=0.01, per="1K")
    book.set("c", input=Decimal("2.5"), output=Fraction(10), per=1_000_000)
    assert [cost_in(book, name) for name in "abc"] == [2.5, 2.5, 2.5]


def test_a_float_is_taken_at_its_shortest_reading(book: PriceBook):
    book.set("mine", input=0.1, output=0.3)
    price = book.price("openai", "mine")
    assert price is not None
    assert price.cost(Usage(10**6, 10**6)) == 4 * 10**11


def test_searches_pictures_and_seconds_are_priced_by_the_piece(book: PriceBook):
    book.set("mine", input=1, output=1, web_search=0.01, image=0.04, output_video_second=0.1, request=0.002)
    price = book.price("openai", "mine")
    assert price is not None
    usage = Usage(web_searches=2, output_images=3, output_video_milliseconds=1500)
    assert price.cost(usage) == (20 + 120 + 150 + 2) * 10**9


def test_long_prompts_may_cost_more(book: PriceBook):
    book.set("mine", input=1, output=5, above={200_000: {"input": 2, "output": 7.5}})
    price = book.price("openai", "mine")
    assert price is not None
    assert price.cost(Usage(200_000, 10)) == 200_000 * M + 50 * M
    assert price.cost(Usage(200_001, 10)) == 200_001 * 2 * M + 75 * M


def test_cached_audio_without_a_price_of_its_own_costs_the_dearer_of_its_two(book: PriceBook):
    book.set("mine", input=1, output=1, cache_read=0.1, input_audio=10)
    price = book.price("openai", "mine")
    assert price is not None
    usage = Usage(input_tokens=100, cache_read_tokens=100, input_audio_tokens=100, cache_audio_read_tokens=100)
    assert price.cost(usage) == 100 * 10 * M


def test_an_exact_name_goes_before_a_pattern_and_the_latest_pattern_before_others(book: PriceBook):
    book.set("gpt-*", input=1, output=1)
    book.set("gpt-4*", input=2, output=2)
    book.set("gpt-4o", input=3, output=3)
    assert cost_in(book, "gpt-4o") == 3
    assert cost_in(book, "gpt-4.1") == 2
    assert cost_in(book, "gpt-5") == 1
    assert cost_in(book, "o3") == 2  # the list's


def test_a_price_may_hold_at_one_provider_only(book: PriceBook):
    book.set("gpt-4o", input=9, output=9, provider="azure")
    assert cost_in(book, "gpt-4o", "azure") == 9
    assert cost_in(book, "gpt-4o", "openai") == 2.5


def test_the_name_that_was_asked_for_and_the_name_that_answered_both_find_the_price(book: PriceBook):
    book.set("gpt-4o", input=9, output=9)
    assert cost_in(book, "gpt-4o-2024-08-06") == 2.5
    assert cost_in(book, "gpt-4o-2024-08-06", requested="gpt-4o") == 9


def test_the_model_that_answered_is_listed_before_the_one_that_was_asked_for(book: PriceBook):
    assert cost_in(book, "gpt-4o-2024-08-06", "azure", requested="my-deployment") == 2.5
    assert cost_in(book, "nobody-knows", "azure", requested="gpt-4o") == 2.5


@pytest.mark.parametrize(("region", "dollars"), [("global", 3), ("us", 3.3)])
def test_on_bedrock_the_region_is_the_requests_as_the_reply_does_not_name_it(book, region, dollars):
    asked = f"{region}.anthropic.claude-sonnet-4-5-20250929-v1:0"
    assert cost_in(book, "claude-sonnet-4-5-20250929", "aws", requested=asked) == dollars
    assert cost_in(book, "claude-haiku-4-5-20251001", "aws", requested=asked) == 1.1  # another model has answered


def test_upper_case_and_paths_do_not_hide_a_price(book: PriceBook):
    book.set("Gemini-Mine", input=9, output=9)
    assert cost_in(book, "models/gemini-MINE", "google") == 9


def test_a_deployment_may_cost_as_much_as_a_listed_model(book: PriceBook):
    book.set("my-deployment", same_as="gpt-4o")
    assert cost_in(book, "my-deployment", "azure") == 2.5
    assert cost_in(book, "my-deployment", "host:llm.example.com") == 2.5


def test_what_a_model_equals_follows_its_context(book: PriceBook):
    book.set("my-deployment", same_as="gpt-5.6-sol")
    assert cost_in(book, "my-deployment", "openai", context=(("service_tier", "flex"),)) == 2


def test_a_function_is_asked_where_no_name_matches(book: PriceBook):
    asked = []

    @book.resolver
    def by_rule(provider, model, context):
        asked.append((provider, model, context))
        return {"input": 7, "output": 8} if model.startswith("corp-") else None

    assert cost_in(book, "corp-large") == 7
    assert cost_in(book, "corp-large") == 7
    assert cost_in(book, "gpt-4o") == 2.5
    assert asked == [("openai", "corp-large", ()), ("openai", "gpt-4o", ())]


def test_a_price_can_be_taken_back(book: PriceBook):
    book.set("gpt-4o", input=9, output=9)
    assert cost_in(book, "gpt-4o") == 9
    assert book.remove("gpt-4o") is True
    assert cost_in(book, "gpt-4o") == 2.5
    assert book.remove("gpt-4o") is False


def test_zero_is_a_price_when_it_is_said(book: PriceBook):
    book.set("llama3", input=0, output=0)
    price = book.price("host:localhost:11434", "llama3")
    assert price is not None
    assert price.free


# ---- mistakes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1, -0.01, True, "2.5", Decimal("NaN"), 1j, [1]])
def test_a_price_must_be_a_finite_number_of_dollars(book: PriceBook, value):
    with pytest.raises(ActGuardUsageError, match="input: ") as caught:
        book.set("mine", input=value, output=1)
    assert caught.value.argument == "input"
    assert cost_in(book, "mine") is None


@pytest.mark.parametrize("per", ["1B", "million", 0, -1, True, 1.5, None])
def test_per_is_a_number_of_tokens(book: PriceBook, per):
    with pytest.raises(ActGuardUsageError, match='"1M"') as caught:
        book.set("mine", input=1, output=1, per=per)
    assert caught.value.argument == "per"


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("cache_reads", "cache_read"),
        ("inputs", "input"),
        ("ouput_audio", "output_audio"),
        ("web_searches", "web_search"),
    ],
)
def test_an_unknown_kind_is_told_what_was_meant(book: PriceBook, word, meant):
    with pytest.raises(ActGuardUsageError, match=f"Did you mean '{meant}'") as caught:
        book.set("mine", input=1, output=1, **{word: 1})
    assert caught.value.argument == word


@pytest.mark.parametrize(
    ("prices", "argument"),
    [
        ({}, "input"),
        ({"output": 1}, "input"),
        ({"cache_read": 1}, "input"),
        ({"input": 1, "output_audio": 1}, "output"),
        ({"input": 1, "output": 1, "cache_write_1h": 1}, "cache_write"),
        ({"input": 1, "output": 1, "above": {0: {"input": 1}}}, "above"),
        ({"input": 1, "output": 1, "above": {1000: {"cache_read": 1}}}, "cache_read"),
        ({"input": 1, "output": 1, "same_as": "gpt-4o"}, "same_as"),
        ({"same_as": ""}, "same_as"),
        ({"input": 1, "output": 1, "web_search": 10}, "web_search"),
    ],
)
def test_half_a_price_is_refused(book: PriceBook, prices, argument):
    with pytest.raises(ActGuardUsageError) as caught:
        book.set("mine", **prices)
    assert caught.value.argument == argument


def test_a_price_for_one_token_given_as_one_for_a_million_is_noticed(book: PriceBook):
    with pytest.raises(ActGuardUsageError, match="say per='1'"):
        book.set("mine", input=2.5e-6, output=1e-5)
    with pytest.raises(ActGuardUsageError, match="say per='1M'"):
        book.set("mine", input=2.5, output=10, per="1")


@pytest.mark.parametrize("model", ["", "  ", None, 3])
def test_a_model_is_a_name(book: PriceBook, model):
    with pytest.raises(ActGuardUsageError, match="model: a name"):
        book.set(model, input=1, output=1)


@pytest.mark.parametrize(
    ("provider", "meant"), [("opnai", "openai"), ("api.openai.com", "openai"), ("antropic", "anthropic")]
)
def test_an_unknown_provider_is_told_who_was_meant(book: PriceBook, provider, meant):
    with pytest.raises(ActGuardUsageError, match=f"Did you mean '{meant}'"):
        book.set("mine", input=1, output=1, provider=provider)


def test_providers_may_be_called_by_their_common_names(book: PriceBook):
    book.set("mine", input=1, output=1, provider="bedrock")
    assert cost_in(book, "mine", "aws") == 1
    assert cost_in(book, "gemini-2.5-flash", "vertex") == 0.3


# ---- models without a price -----------------------------------------------------------------------------------------


def test_an_unknown_model_has_no_price_and_never_the_price_zero(book: PriceBook):
    assert book.price("openai", "gpt-99") is None
    assert book.price("host:llm.example.com", "gpt-4o") is None
    assert book.price("nobody", "gpt-4o") is None


def test_under_a_dollar_limit_an_unknown_model_is_refused_with_the_ways_out(book: PriceBook):
    with pytest.raises(UnknownPriceError, match=r"actguard\.prices\.set\('gpt-4p'") as caught:
        book.resolve_unknown("openai", "gpt-4p")
    assert (caught.value.model, caught.value.provider) == ("gpt-4p", "openai")
    assert "gpt-4o" in str(caught.value)


def test_an_unknown_host_is_refused_with_its_own_ways_out(book: PriceBook):
    with pytest.raises(UnknownPriceError, match=r"actguard\.prices\.host\('localhost:11434', free=True\)"):
        book.resolve_unknown("host:localhost:11434", "llama3")


def test_without_a_dollar_limit_an_unknown_model_is_mentioned_once(book: PriceBook, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING, "actguard.prices"):
        for _ in range(3):
            assert book.resolve_unknown("openai", "gpt-99", limited=False) is None
    assert len(caplog.records) == 1
    assert "gpt-99" in caplog.text


def test_to_warn_is_to_go_on_without_dollars(book: PriceBook, caplog: pytest.LogCaptureFixture):
    book.unknown = "warn"
    with caplog.at_level(logging.WARNING, "actguard.prices"):
        assert book.resolve_unknown("openai", "gpt-99") is None
    assert len(caplog.records) == 1


def test_the_most_expensive_is_dearer_than_anything_of_the_provider(book: PriceBook):
    book.unknown = "most_expensive"
    dearest = book.resolve_unknown("anthropic", "claude-99")
    assert dearest is not None
    usage = Usage(input_tokens=1000, output_tokens=1000, cache_write_tokens=100, cache_write_1h_tokens=100)
    for model in ("claude-opus-5", "claude-fable-5-1", "claude-haiku-4-5"):
        price = book.price("anthropic", model)
        assert price is not None
        assert dearest.cost(usage) >= price.cost(usage)
    assert book.resolve_unknown("anthropic", "claude-99") is dearest


def test_for_an_unknown_host_the_most_expensive_is_that_of_the_large_providers(book: PriceBook):
    dearest = book.resolve_unknown("host:llm.example.com", "x", "most_expensive")
    opus = book.price("anthropic", "claude-opus-5")
    assert dearest is not None
    assert opus is not None
    assert dearest.cost(Usage(1000, 1000)) >= opus.cost(Usage(1000, 1000))


def test_unknown_models_may_be_given_one_price(book: PriceBook):
    book.unknown = {"input": 5, "output": 25}
    price = book.resolve_unknown("openai", "gpt-99")
    assert price is not None
    assert price.cost(Usage(1000, 1000)) == 30_000 * M
    assert book.price("openai", "gpt-99") is None


def test_zero_is_only_ever_said(book: PriceBook):
    price = book.resolve_unknown("openai", "gpt-99", "zero")
    assert price is not None
    assert price.free
    assert price.source == "unknown"


def test_the_policy_of_a_call_goes_before_that_of_the_book(book: PriceBook):
    book.unknown = "most_expensive"
    with pytest.raises(UnknownPriceError):
        book.resolve_unknown("openai", "gpt-99", "refuse")


@pytest.mark.parametrize("policy", ["ignore", "", 0, True, {"inptu": 1}, {"input": -1, "output": 1}])
def test_a_policy_is_checked_where_it_is_set(book: PriceBook, policy):
    with pytest.raises(ActGuardUsageError):
        book.unknown = policy
    assert book.unknown == "refuse"


# ---- hosts ----------------------------------------------------------------------------------------------------------


def test_a_host_may_charge_a_providers_prices(book: PriceBook):
    assert not book.host_of("https://llm.example.com/v1").known
    book.host("llm.example.com", provider="openai")
    assert book.host_of("https://llm.example.com/v1").provider == "openai"
    assert book.host_of("https://llm.example.com:8443/v1").provider == "openai"
    assert not book.host_of("https://other.example.com/v1").known


def test_a_host_of_ones_own_may_be_free_down_to_the_last_search(book: PriceBook):
    book.host("localhost:11434", free=True)
    here, elsewhere = book.host_of("http://localhost:11434/v1"), book.host_of("http://localhost:4000/v1")
    price = book.price(here.provider, "llama3")
    assert price is not None
    assert price.free
    assert price.unpriced(Usage(1, 1, web_searches=1)) == ()
    assert book.price(elsewhere.provider, "llama3") is None


def test_a_host_may_have_one_price_for_all_its_models(book: PriceBook):
    book.host("*.gpu.internal", input=0.2, output=0.4)
    host = book.host_of("https://a1.gpu.internal:8000/v1")
    assert cost_in(book, "anything", host.provider) == 0.2
    book.set("special", input=1, output=1)
    assert cost_in(book, "special", host.provider) == 1


def test_a_proxy_may_charge_each_sdk_its_own_prices(book: PriceBook):
    book.host("127.0.0.1", provider="native")
    assert book.host_of("http://127.0.0.1:8000", "openai").provider == "openai"
    assert book.host_of("http://127.0.0.1:8000", "anthropic").provider == "anthropic"
    assert not book.host_of("http://127.0.0.1:8000").known


def test_a_host_with_a_port_goes_before_one_without_and_a_name_before_a_pattern(book: PriceBook):
    book.host("*", free=True)
    book.host("proxy", provider="azure")
    book.host("proxy:9000", provider="openai")
    assert book.host_of("http://proxy:9000/").provider == "openai"
    assert book.host_of("http://proxy:9001/").provider == "azure"
    assert book.host_of("http://elsewhere/").provider == "host:elsewhere"
    assert book.price("host:elsewhere", "x") is not None


def test_what_was_said_of_a_host_can_be_taken_back(book: PriceBook):
    book.host("https://llm.example.com/v1", provider="openai")
    assert book.host_of("llm.example.com").known
    assert book.remove_host("llm.example.com") is True
    assert not book.host_of("llm.example.com").known


@pytest.mark.parametrize(
    "said",
    [{}, {"free": False}, {"free": True, "provider": "openai"}, {"provider": "openai", "input": 1}, {"free": "yes"}],
)
def test_of_a_host_exactly_one_thing_is_said(book: PriceBook, said):
    with pytest.raises(ActGuardUsageError):
        book.host("llm.example.com", **said)


# ---- books under books ----------------------------------------------------------------------------------------------


def test_a_book_of_its_own_asks_its_parent_and_sees_its_changes(book: PriceBook):
    own = PriceBook(parent=book)
    own.set("mine", input=1, output=1)
    assert cost_in(own, "mine") == 1
    assert cost_in(book, "mine") is None
    assert cost_in(own, "gpt-4o") == 2.5
    book.set("gpt-4o", input=9, output=9)
    assert cost_in(own, "gpt-4o") == 9
    own.set("gpt-4o", input=8, output=8)
    assert (cost_in(own, "gpt-4o"), cost_in(book, "gpt-4o")) == (8, 9)


def test_policy_and_hosts_come_from_the_parent_unless_said(book: PriceBook):
    own = PriceBook(parent=book)
    book.unknown = "warn"
    book.host("llm.example.com", provider="openai")
    assert own.unknown == "warn"
    assert own.host_of("llm.example.com").provider == "openai"
    own.unknown = "refuse"
    own.host("llm.example.com", provider="azure")
    assert (own.unknown, book.unknown) == ("refuse", "warn")
    assert own.host_of("llm.example.com").provider == "azure"


# ---- time -----------------------------------------------------------------------------------------------------------


def test_a_price_changes_on_its_date():
    now = [datetime(2026, 12, 31, 23, 59, tzinfo=UTC)]
    book = PriceBook(clock=lambda: now[0].timestamp())
    price = book.price("google", "gemini-3.6-flash")
    assert price is not None
    assert price.valid_until == datetime(2027, 1, 1, tzinfo=UTC)
    assert cost_in(book, "gemini-3.6-flash", "google") == 0.75
    now[0] += timedelta(minutes=1)
    assert cost_in(book, "gemini-3.6-flash", "google") == 1.5


def test_a_call_is_priced_at_the_time_it_was_made():
    book = PriceBook(clock=datetime(2027, 3, 1, tzinfo=UTC).timestamp)
    made = datetime(2026, 12, 1, tzinfo=UTC)
    assert cost_in(book, "gemini-3.6-flash", "google", at=made) == 0.75
    assert cost_in(book, "gemini-3.6-flash", "google") == 1.5
    assert cost_in(book, "gemini-3.6-flash", "google", at=made.replace(tzinfo=None)) == 0.75


def test_a_question_about_another_time_does_not_change_the_answer_for_now():
    book = PriceBook(clock=datetime(2026, 12, 1, tzinfo=UTC).timestamp)
    assert cost_in(book, "gemini-3.6-flash", "google", at=datetime(2027, 3, 1, tzinfo=UTC)) == 1.5
    assert cost_in(book, "gemini-3.6-flash", "google") == 0.75
    assert cost_in(book, "gemini-3.6-flash", "google", at=datetime(2027, 3, 1, tzinfo=UTC)) == 1.5
    assert cost_in(book, "gemini-3.6-flash", "google") == 0.75


def test_a_price_may_change_with_the_hour():
    now = [datetime(2026, 11, 22, 0, 30, tzinfo=UTC)]
    book = PriceBook(clock=lambda: now[0].timestamp())
    seen = []
    for _ in range(24):
        seen.append(cost_in(book, "deepseek-v4-flash", "deepseek"))
        now[0] += timedelta(hours=1)
    low, high = min(seen), max(seen)
    assert [hour for hour, price in enumerate(seen) if price == high] == [1, 2, 3, 6, 7, 8, 9]
    assert low < high


# ---- living with it -------------------------------------------------------------------------------------------------


def test_a_model_is_known_by_name_alone(book: PriceBook):
    for model, provider in (("gpt-4o", "openai"), ("claude-opus-5", "anthropic"), ("gemini-2.5-pro", "google")):
        price = book.get(model)
        assert price is not None
        assert price.provider == provider
    assert book.get("nobody-knows") is None


def test_prices_can_be_read_by_people(book: PriceBook):
    assert book.describe("gpt-4o").startswith("gpt-4o (openai, genai-prices): input $2.5, ")
    assert book.describe("nobody-knows") == "nobody-knows: no price is known"
    book.set("mine", input=1, output=2.5)
    book.set("my-deployment", same_as="gpt-4o", provider="azure")
    book.host("localhost", free=True)
    book.host("llm.example.com", provider="openai")
    told = book.describe()
    assert "unknown: refuse" in told
    assert "mine: input $1, output $2.5 per 1M tokens" in told
    assert "my-deployment at azure: as gpt-4o" in told
    assert "llm.example.com: the prices of openai" in told


def test_models_named_from_outside_do_not_fill_memory(book: PriceBook, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("actguard.budget.memo._SIZE", 8)
    book.set("m*", input=1, output=1)
    for number in range(50):
        assert cost_in(book, f"m{number}") == 1
        book.host_of(f"https://h{number}.example.com")
    assert len(book._memo) <= 8
    assert len(book._hosts) <= 8


def test_a_price_that_was_set_is_seen_at_once_in_every_thread(book: PriceBook):
    book.set("mine", input=0.01, output=1)
    stop, wrong = threading.Event(), []

    def read():
        last = 0.0
        while not stop.is_set():
            seen = cost_in(book, "mine") or 0.0
            if seen < last:
                wrong.append((last, seen))
            last = seen

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for cents in range(2, 200):
        book.set("mine", input=cents / 100, output=1)
        assert cost_in(book, "mine") == cents / 100
    stop.set()
    for reader in readers:
        reader.join()
    assert wrong == []


def test_the_lists_are_refreshed_only_when_asked(book: PriceBook, monkeypatch: pytest.MonkeyPatch):
    import genai_prices
    from genai_prices.data_snapshot import DataSnapshot
    from genai_prices.types import ClauseEquals, ModelInfo, ModelPrice, Provider

    fresh = ModelInfo(
        "gpt-99", ClauseEquals("gpt-99"), prices=ModelPrice(input_mtok=Decimal(3), output_mtok=Decimal(4))
    )
    snapshot = DataSnapshot([Provider("openai", "OpenAI", "https://api.openai.com", models=[fresh])], True)
    monkeypatch.setattr(genai_prices.UpdatePrices, "fetch", lambda self: snapshot)
    own = PriceBook(parent=book)
    assert cost_in(own, "gpt-99") is None
    assert own.refresh() == 1
    assert cost_in(own, "gpt-99") == cost_in(book, "gpt-99") == 3


def test_a_refresh_that_brings_nothing_leaves_the_prices_in_use(book: PriceBook, monkeypatch: pytest.MonkeyPatch):
    import genai_prices

    monkeypatch.setattr(genai_prices.UpdatePrices, "fetch", lambda self: None)
    with pytest.raises(ValueError, match="no prices"):
        book.refresh()
    assert cost_in(book, "gpt-4o") == 2.5


def test_the_lists_are_loaded_by_the_first_question_and_not_by_import():
    program = """
import sys
from actguard.budget.pricing import prices
prices.set("mine", input=1, output=1)
prices.host("localhost", free=True)
assert prices.price("openai", "mine") and prices.price(prices.host_of("http://localhost").provider, "x")
assert "genai_prices" not in sys.modules and "pydantic" not in sys.modules
assert prices.price("openai", "gpt-4o") and "genai_prices" in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)
