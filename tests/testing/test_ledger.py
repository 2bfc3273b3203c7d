"""The ledger's arithmetic, against figures worked out by hand."""

from decimal import Decimal

import pytest

from actguard.testing import Counts, Ledger, LocalProvider, Price, PriceList, price

MILLION = Decimal(1_000_000)


def usd(model: str, *, variant: str | None = None, geo: str | None = None, **counts: int) -> Decimal:
    return PriceList()[model].usd(Counts(**counts), variant=variant, geo=geo)


@pytest.mark.parametrize(
    ("model", "counts", "dollars"),
    [
        ("gpt-4o", {"input": 1_000_000}, "2.5"),
        ("gpt-4o", {"cached": 1_000_000}, "1.25"),
        ("gpt-4o", {"reasoning": 1_000_000}, "10"),
        ("gpt-4o-mini", {"input": 1}, "0.00000015"),
        ("claude-sonnet-4-5", {"cache_write": 100_000, "cache_write_1h": 100_000}, "0.975"),
        ("claude-opus-4-5", {"output": 1000, "web_search": 2}, "0.045"),
        ("gemini-2.5-flash", {"audio_input": 1000, "cached_audio": 1000}, "0.0011"),
        ("gemini-2.5-flash", {"tool_prompt": 1000, "reasoning": 1000}, "0.0028"),
        ("gemini-2.5-flash", {"web_search": 5}, "0.035"),
        ("gemini-3-flash-preview", {"web_search": 5}, "0.07"),
        ("gpt-audio", {"audio_output": 1000}, "0.064"),
        ("whisper-1", {"audio_second": 3600}, "0.36"),
    ],
)
def test_each_kind_has_its_price(model: str, counts: dict[str, int], dollars: str) -> None:
    assert usd(model, **counts) == Decimal(dollars)


def test_a_long_context_changes_every_rate_of_the_whole_call() -> None:
    assert usd("gemini-2.5-pro", input=200_000, output=1000) == Decimal("0.25") + Decimal("0.01")
    assert usd("gemini-2.5-pro", input=150_001, cached=50_000, output=1000) == (
        (150_001 * Decimal("2.5") + 50_000 * Decimal("0.25") + 1000 * 15) / MILLION
    )


def test_a_tier_changes_the_tokens_and_leaves_the_units() -> None:
    assert usd("gpt-5", variant="flex", input=1_000_000, web_search=1) == Decimal("0.635")
    assert usd("claude-haiku-4-5", variant="batch", input=1_000_000, output=1_000_000) == 3
    assert usd("gpt-4o", variant="never heard of", input=1_000_000) == Decimal("2.5")


def test_a_region_multiplies_the_tokens() -> None:
    assert usd("claude-opus-4-8", geo="us", input=1_000_000, web_search=1) == Decimal("5.51")


@pytest.mark.parametrize(
    ("name", "same_as"),
    [
        ("gpt-4o-2024-08-06", "gpt-4o"),
        ("gpt-4o-mini-2024-07-18", "gpt-4o-mini"),
        ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
        ("claude-haiku-4-5@20251001", "claude-haiku-4-5"),
        ("global.anthropic.claude-haiku-4-5-20251001-v1:0", "claude-haiku-4-5"),
        ("openai/gpt-4o", "gpt-4o"),
        ("models/gemini-2.5-flash", "gemini-2.5-flash"),
    ],
)
def test_a_revision_or_a_vendor_prefix_does_not_change_the_price(name: str, same_as: str) -> None:
    assert PriceList()[name] == PriceList()[same_as]


def test_another_model_is_not_a_revision() -> None:
    assert PriceList().find("gpt-4o-nano") is None
    assert "gpt-4o" in PriceList()
    with pytest.raises(KeyError):
        PriceList()["gpt-4"]


def test_a_region_of_bedrock_costs_a_tenth_more() -> None:
    assert usd("us.anthropic.claude-haiku-4-5-20251001-v1:0", input=1_000_000) == Decimal("1.1")


def test_prices_can_be_given_and_changed() -> None:
    with LocalProvider(prices={"mine": price("1", "2", cached="0.1")}) as provider:
        assert provider.prices["mine"].usd(Counts(input=1_000_000, cached=1_000_000)) == Decimal("1.1")
        provider.prices.set("mine-too", price("3"))
        assert provider.prices["mine-too"].usd(Counts(input=1_000_000, output=5)) == 3


@pytest.mark.parametrize("wrong", [{"input": "nan"}, {"input": "-1"}, {"input": "1", "cache": "1"}])
def test_a_price_that_is_none_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="rate"):
        price(**wrong)


def test_a_broken_off_reply_has_reasoning_first() -> None:
    whole = Counts(input=100, reasoning=10, output=20, audio_output=5)
    assert whole.after(15).by_kind() == {"input": 100, "reasoning": 10, "output": 5}
    assert whole.after(0).tokens == 100
    assert whole.after(99) == whole


def test_old_entries_are_forgotten_and_the_totals_stay() -> None:
    openai = pytest.importorskip("openai")
    with LocalProvider(keep=2) as provider:
        client = openai.OpenAI(**provider.openai_kwargs())
        for _ in range(5):
            client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "Hi"}])
        assert (len(provider.ledger.entries), len(provider.requests)) == (2, 2)
        assert (provider.ledger.calls, provider.ledger.tokens) == (5, 5 * 28)
        assert provider.ledger.total_usd == provider.ledger.by_model["gpt-4o"].usd == 5 * provider.ledger.last.usd


def test_the_table_is_for_people() -> None:
    ledger = Ledger(PriceList({"m": Price({"input": Decimal(1)})}))
    assert ledger.table().splitlines()[-1].split() == ["total", "0", "0", "0", "0.000000"]
