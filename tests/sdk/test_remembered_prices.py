"""What is remembered of calls that are alike holds until something is said of prices or hosts, in whatever book."""

from typing import Any

import openai
import pytest

from actguard import BudgetGuard, PriceBook, UnknownPriceError, prices
from actguard.testing import LocalProvider

MESSAGES: Any = [{"role": "user", "content": "Hello!"}]
CONTENTS = "Hello!"


def chat(client: openai.OpenAI, model: str = "gpt-4o") -> Any:
    return client.chat.completions.create(model=model, messages=MESSAGES)


@pytest.fixture
def client(llm_provider: LocalProvider) -> openai.OpenAI:
    return llm_provider.openai()


@pytest.fixture
def book(llm_provider: LocalProvider) -> PriceBook:
    """Prices of a guard's own, by which calls to the local provider cost what OpenAI's do."""
    own = PriceBook(parent=prices)
    own.host(llm_provider.url, provider="openai")
    return own


def cost(guard: BudgetGuard, make: Any) -> int:
    account = guard.account
    assert account is not None
    before = account.used_pico
    make()
    return account.used_pico - before


def test_a_price_that_is_set_between_two_calls_holds_for_the_second(client, book):
    with BudgetGuard(usd_limit=1, prices=book) as guard:
        listed = cost(guard, lambda: chat(client))
        assert cost(guard, lambda: chat(client)) == listed > 0
        book.set("gpt-4o", input=1_000, output=1_000)
        assert cost(guard, lambda: chat(client)) > 10 * listed
        book.remove("gpt-4o")
        assert cost(guard, lambda: chat(client)) == listed


def test_a_strict_bound_follows_the_price(client, book):
    with BudgetGuard(usd_limit=1, strict=True, prices=book) as guard:
        chat(client)
        chat(client)
        book.set("gpt-4o", input=1_000_000, output=1_000_000)
        with pytest.raises(Exception, match="too little left"):
            chat(client)
    assert guard.calls == 2


def test_a_price_that_the_parent_is_given_is_seen(client, book):
    parent = PriceBook()
    own = PriceBook(parent=parent)
    own.host(str(client.base_url), provider="openai")
    with BudgetGuard(usd_limit=1, prices=own) as guard:
        listed = cost(guard, lambda: chat(client))
        chat(client)
        parent.set("gpt-4o", input=1_000, output=1_000)
        assert cost(guard, lambda: chat(client)) > 10 * listed


def test_a_host_that_is_declared_between_two_calls_is_seen(client, llm_provider, book):
    with BudgetGuard(usd_limit=1, prices=book) as guard:
        chat(client)
        assert cost(guard, lambda: chat(client)) > 0
        book.host(llm_provider.url, free=True)
        assert cost(guard, lambda: chat(client)) == 0


def test_a_host_that_nobody_knew_is_seen_when_it_is_declared(client, llm_provider):
    """Until then its calls cost what they do at the SDK's own provider."""
    book = PriceBook(parent=prices)
    with BudgetGuard(usd_limit=1, prices=book) as guard:
        listed = cost(guard, lambda: chat(client))
        assert cost(guard, lambda: chat(client)) == listed > 0
        book.host(llm_provider.url, input=1_000, output=1_000)
        assert cost(guard, lambda: chat(client)) > 10 * listed
        book.remove_host(llm_provider.url)
        assert cost(guard, lambda: chat(client)) == listed


def test_what_happens_to_a_model_without_a_price_may_change_between_two_calls(client, book):
    with BudgetGuard(usd_limit=1, prices=book) as guard:
        for _ in range(2):
            with pytest.raises(UnknownPriceError):
                chat(client, "no-such-model")
        book.unknown = {"input": 1, "output": 1}
        assert cost(guard, lambda: chat(client, "no-such-model")) > 0
        book.unknown = "refuse"
        with pytest.raises(UnknownPriceError):
            chat(client, "no-such-model")


def test_guards_with_prices_of_their_own_do_not_see_each_others(client, llm_provider, book):
    dear = PriceBook(parent=book)
    dear.set("gpt-4o", input=1_000, output=1_000)
    dear.host(llm_provider.url, provider="openai")
    with BudgetGuard(prices=book) as cheap_guard:
        listed = cost(cheap_guard, lambda: chat(client))
        for _ in range(3):
            assert cost(cheap_guard, lambda: chat(client)) == listed
            with BudgetGuard(prices=dear) as dear_guard:
                assert cost(dear_guard, lambda: chat(client)) > 10 * listed


def test_models_are_told_apart(client, book):
    with BudgetGuard(prices=book) as guard:
        for _ in range(2):
            large, small = cost(guard, lambda: chat(client)), cost(guard, lambda: chat(client, "gpt-4o-mini"))
            assert large > 5 * small > 0
    assert set(guard.by_model) == {"gpt-4o", "gpt-4o-mini"}


def test_a_client_that_is_pointed_elsewhere_is_another(client, llm_provider, book):
    with BudgetGuard(usd_limit=1, prices=book, unknown_host="refuse") as guard:
        chat(client)
        chat(client)
        client.base_url = str(client.base_url).replace("127.0.0.1", "localhost")
        with pytest.raises(UnknownPriceError):
            chat(client)
    assert guard.calls == 2


def test_a_price_that_is_set_between_two_calls_of_google_holds_for_the_second(llm_provider):
    client = llm_provider.google()
    own = PriceBook(parent=prices)
    own.host(llm_provider.url, provider="google")

    def generate() -> Any:
        return client.models.generate_content(model="gemini-2.5-flash", contents=CONTENTS)

    with BudgetGuard(usd_limit=10, prices=own) as guard:
        listed = cost(guard, generate)
        assert cost(guard, generate) == listed > 0
        own.set("gemini-2.5-flash", input=1_000, output=1_000)
        assert cost(guard, generate) > 10 * listed
