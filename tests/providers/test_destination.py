"""Where calls that are alike go: what is kept of it, and for how long."""

from typing import Any

from actguard import PriceBook
from actguard.budget import pricing
from actguard.providers.destination import Destinations, find
from actguard.providers.endpoint import Endpoint, Kind
from actguard.providers.openai.sdk import WIRE

CHAT = Endpoint("chat.completions", Kind.PRICED)
OPENAI = "https://api.openai.com/v1"


def found(known: Destinations, book: PriceBook, model: str = "gpt-4o", address: str = OPENAI, key: int = 0) -> Any:
    return find(known, key, book, WIRE, CHAT, address, model)


def test_a_destination_with_a_lasting_price_is_kept():
    known: Destinations = {}
    book = PriceBook()

    destination = found(known, book)

    assert known == {0: destination}
    assert destination.provider == "openai"
    assert destination.price is book.price("openai", "gpt-4o")
    assert destination.edition is pricing.edition


def test_a_price_that_ends_is_not_kept():
    known: Destinations = {}
    book = PriceBook(clock=lambda: 1_735_000_000.0)
    price = book.price("openai", "o3")
    assert price is not None
    assert price.valid_until is not None

    assert found(known, book, "o3").price is price
    assert known == {}


def test_that_the_host_has_no_price_is_kept_until_it_is_given_one():
    known: Destinations = {}
    book = PriceBook()
    proxy = "https://llm.example.com/v1"

    destination = found(known, book, address=proxy)
    assert destination.price is None
    assert known == {0: destination}

    book.host("llm.example.com", input=1, output=2)
    assert destination.edition is not pricing.edition
    assert found(known, book, address=proxy).price is not None


def test_what_has_no_name_is_not_kept():
    known: Destinations = {}

    assert found(known, PriceBook(), "").price is None
    assert known == {}


def test_whatever_is_said_in_any_book_begins_another_edition():
    known: Destinations = {}
    book, other = PriceBook(), PriceBook()
    kept = found(known, book)

    other.set("some-model", input=1, output=1)
    assert kept.edition is not pricing.edition
    kept = found(known, book)
    other.host("llm.example.com", free=True)
    assert kept.edition is not pricing.edition
    kept = found(known, book)
    other.remove("some-model")
    assert kept.edition is not pricing.edition
    kept = found(known, book)
    other.resolver(lambda provider, model, context: None)
    assert kept.edition is not pricing.edition


def test_what_is_said_while_it_is_looked_up_is_seen():
    known: Destinations = {}
    book = PriceBook()

    def resolve(provider: str, model: str, context: object) -> None:
        PriceBook().set("another", input=1, output=1)

    book.resolver(resolve)

    assert found(known, book).edition is not pricing.edition


def test_only_so_many_are_kept():
    known: Destinations = {}
    book = PriceBook()
    for number in range(1000):
        found(known, book, key=number)

    assert 0 < len(known) <= 256
    assert 999 in known
