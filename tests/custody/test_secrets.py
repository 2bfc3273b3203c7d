"""Secrets in base64 and in letters that are more or fewer than they look: found to the last letter, and no further."""

import base64
from typing import Any

import pytest

from actguard import NoSecret
from actguard.custody.session import session
from tests.custody.calls import refusal, tool

SECRETS = ["secret-Value-42", "secret-Value-421", "secret-Value-4212", "??>>~~secret??>>", "grüße-aus-Köln"]
"""Of every length that base64 tells apart; the fourth is all `+` and `/` there, or `-` and `_`."""


def write(here: session, *secrets: str) -> Any:
    for secret in secrets:
        here.add_fact("key", secret)
    return tool(NoSecret("value", "key"))


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("before", ["", "a", "ab", "abc"])
@pytest.mark.parametrize("after", ["", "x", "xy", "xyz"])
def test_wherever_a_secret_stands_in_base64_it_is_found(
    here: session, secret: str, encode: Any, before: str, after: str
) -> None:
    coded = encode((before + secret + after).encode()).decode()
    assert refusal(write(here, secret), coded).code == "SECRET_LEAK"
    assert refusal(write(here, secret), f"see {coded[:9]}\n{coded[9:]}").code == "SECRET_LEAK"


@pytest.mark.parametrize(
    ("before", "secret", "other"),
    [
        ("", "secret-Value-42", "secret-Value-43"),
        ("a", "secret-Value-42xy", "secret-Value-42xi"),
        ("ab", "secret-Value-42x", "secret-Value-42@"),
        ("", "secret-Value-42", "recret-Value-42"),
        ("a", "secret-Value-42", "recret-Value-42"),
        ("ab", "secret-Value-42", "recret-Value-42"),
    ],
)
def test_what_only_begins_or_ends_like_it_in_base64_may_leave(
    here: session, before: str, secret: str, other: str
) -> None:
    act = write(here, secret)
    assert act(base64.b64encode((before + other).encode()).decode()) == "done"


def test_a_letter_that_reads_as_many_is_short_in_base64(here: session) -> None:
    unit = "\u3316"  # one letter, which reads as the six of "kilometre" in Japanese
    act = write(here, unit)
    coded = base64.b64encode(unit.encode()).decode()
    assert len(coded) == 4
    assert act(f"x{coded}x") == "done"
    assert refusal(act, "5 " + unit).code == "SECRET_LEAK"
    assert refusal(write(here, unit + "ab"), base64.b64encode((unit + "ab").encode()).decode()).code == "SECRET_LEAK"


def test_what_cannot_be_written_in_utf8_is_found_all_the_same(here: session) -> None:
    secret = "secret-\ud800-Value"
    act = write(here, secret)
    assert refusal(act, f"it is {secret}").code == "SECRET_LEAK"
    assert refusal(act, "secret--Value").code == "SECRET_LEAK"
    assert refusal(act, secret.encode("utf-8", "replace").hex()).code == "SECRET_LEAK"
    assert act("secret") == "done"


def test_a_secret_of_nothing_that_is_seen_is_in_no_text(here: session) -> None:
    act = write(here, "\x00\x01")
    for text in ("", " ", "-", "a b", "\x00"):
        assert act(text) == "done"


def test_a_secret_is_found_at_both_ends_of_a_text_and_behind_one_that_is_longer(here: session) -> None:
    act = write(here, "4711")
    for text in ("4711", "4711 x", "x 4711", "47111 4711", "14711-4711", "(4711)"):
        assert refusal(act, text).code == "SECRET_LEAK", text
    for text in ("x4711", "4711x", "47111", "14711", "47 11"):
        assert act(text) == "done", text


def test_a_call_without_the_argument_carries_no_secret_unless_it_must_be_there(here: session) -> None:
    here.add_fact("key", "secret-Value-42")
    assert tool(NoSecret("value", "key"))(None) == "done"
    refused = refusal(tool(NoSecret("value", "key", optional=False)), None)
    assert (refused.code, refused.details["argument"]) == ("MISSING_ARGUMENT", "value")
