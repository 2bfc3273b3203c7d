"""What the user named, and what he did not."""

from typing import Any

import pytest

from actguard import RequireFact, enforce, session
from actguard.custody.prompts import Prompt
from actguard.exceptions import ActGuardUsageError, GuardError, SessionUsageError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("o-7", "o-7"),
        ("Refund o-7", "o-7"),
        ("o-7 is it", "o-7"),
        ("Refund o-7.", "o-7"),
        ("Refund o-7, o-8 and o-9!", "o-8"),
        ("(o-7)", "o-7"),
        ('"o-7"', "o-7"),
        ("order: o-7/", "o-7"),
        ("pay 4711 now", 4711),
        ("pay -500 now", -500),
        ("to ann@ours.example", "ann@ours.example"),
        ("to Ann@Ours.example", "ann@ours.EXAMPLE"),
        ("see HTTPS://ours.example/A", "https://ours.example/a"),
        ("a\n long\t name", "long name"),
        ("a long name", " long\n\nname "),
        ("malice@x.example alice@x.example", "alice@x.example"),
        ("alice@x.example.org alice@x.example", "alice@x.example"),
        ("x1234 1234x 1234", "1234"),
        ("aaaa aaa", "aaa"),
        ("abc", "abc"),
    ],
)
def test_a_value_that_stands_there_as_a_whole_is_named(text: str, value: Any) -> None:
    assert Prompt(text).names("id", value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("malice@x.example", "alice@x.example"),
        ("alice@x.example.org", "alice@x.example"),
        ("alice@x.example-shop", "alice@x.example"),
        ("in 2012", "12"),
        ("o-77", "o-7"),
        ("no-7", "o-7"),
        ("o-7-1", "o-7"),
        ("x-o-7", "o-7"),
        ("1.500", "500"),
        ("500.50", "500"),
        ("a+500", "500"),
        ("Smith", "smith"),
        ("x1234 1234x", "1234"),
        ("ab", "ab"),
        ("1", 1),
        ("", ""),
        (" ", " "),
        ("True", True),
        ("1.5", 1.5),
        ("None", None),
        ("1" * 31, int("1" * 31)),
    ],
)
def test_anything_else_is_not(text: str, value: Any) -> None:
    assert not Prompt(text).names("id", value)


def test_numbers_of_thirty_digits_are_looked_for() -> None:
    assert Prompt("1" * 30).names("id", int("1" * 30))
    assert Prompt("pay " + "1" * 31).names("id", "1" * 31)


def test_kinds_say_what_may_be_named() -> None:
    for kinds in ("amount", ["amount"], {"amount"}, ("amount", "iban")):
        prompt = Prompt("pay 7 to ann", kinds)
        assert prompt.names("amount", 7)
        assert not prompt.names("order", 7)
    assert not Prompt("pay 7 to ann", []).names("amount", "ann")


def test_a_pattern_says_what_the_whole_value_looks_like() -> None:
    prompt = Prompt("pay 1234567 or 123 to a12", {"amount": r"\d{1,6}"})
    assert prompt.names("amount", 123)
    assert not prompt.names("amount", 1234567)
    assert not prompt.names("amount", "a12")
    assert not prompt.names("iban", 123)


def test_the_answer_is_the_same_when_it_is_asked_for_again() -> None:
    prompt = Prompt(" ".join(f"o-{number}" for number in range(3_000)), ["order", "iban"])
    for _ in range(2):
        assert all(prompt.names("order", f"o-{number}") for number in range(1_500))
        assert not any(prompt.names("order", f"o-{number}x") for number in range(1_500))
        assert prompt.names("iban", "o-1")
        assert not prompt.names("other", "o-1")


def test_a_text_in_which_a_value_stands_in_a_thousand_words_does_not_name_it() -> None:
    assert Prompt("abcd " * 999 + "abc").names("id", "abc")
    assert not Prompt("abcd " * 1_000 + "abc").names("id", "abc")


@pytest.mark.parametrize("text", [None, 7, b"text", "x" * 200_001])
def test_a_prompt_is_a_text_of_bounded_length(text: Any) -> None:
    with pytest.raises(SessionUsageError) as caught:
        Prompt(text)

    assert caught.value.argument == "prompt"
    assert Prompt("x" * 200_000).names("id", "x" * 200_000)


@pytest.mark.parametrize("kinds", [[7], [""], {"": "x"}, {7: "x"}, [None]])
def test_kinds_are_names(kinds: Any) -> None:
    with pytest.raises(SessionUsageError) as caught:
        Prompt("x", kinds)

    assert caught.value.argument == "kinds"


def test_a_pattern_of_a_kind_is_checked(here: session) -> None:
    with pytest.raises(ActGuardUsageError) as caught:
        here.trust_prompt("x", {"amount": "("})

    assert caught.value.argument == "pattern"


def test_what_the_user_named_needs_no_read_of_any_trust(store: Any) -> None:
    @enforce([RequireFact("order", "order", min_trust="user")])
    def cancel(order: str) -> str:
        return "done"

    with session(prompt="Cancel o-7.", store=store) as chat:
        assert cancel("o-7") == "done"
        with pytest.raises(GuardError):
            cancel("o-8")
        chat.trust_prompt("And o-8, too.", ["order"])
        assert cancel("o-8") == cancel("o-7") == "done"
        assert chat.facts() == []
