"""When to try again, and what an answer means: pure, with the clock in the test's hands."""

from datetime import UTC, datetime
from typing import Any

import pytest

from actguard import ActGuardPaymentRequired, BudgetExceededError
from actguard.exceptions import BudgetTransportError
from actguard.transport.answers import Unanswered, read
from actguard.transport.attempts import Attempts, asked_pause


def attempts(**options: Any) -> Attempts:
    return Attempts(100.0, **{"timeout_s": 60, "max_retries": 8, "base_s": 0.2, "most_s": 10, **options})


def test_pauses_double_up_to_the_longest_and_are_jittered_in_their_upper_half() -> None:
    longest = attempts(timeout_s=1e6, max_retries=10, jitter=lambda: 1.0)
    shortest = attempts(timeout_s=1e6, max_retries=10, jitter=lambda: 0.0)

    assert [longest.pause(100) for _ in range(8)] == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10]
    assert [shortest.pause(100) for _ in range(3)] == [0.1, 0.2, 0.4]


def test_so_many_retries_and_no_more() -> None:
    none, one = attempts(max_retries=0), attempts(max_retries=1)

    assert none.pause(100) is None
    assert one.pause(100) is not None
    assert one.pause(100) is None


def test_no_pause_passes_the_deadline() -> None:
    tries = attempts(timeout_s=3)

    assert tries.pause(102.9) is None
    assert tries.left(101) == 2
    assert tries.left(200) > 0


def test_what_the_server_asks_for_is_kept_or_nothing_is_tried() -> None:
    assert attempts(jitter=lambda: 0).pause(100, 2.0) == 2.0
    assert attempts(jitter=lambda: 1).pause(100, 0.01) == 0.2
    assert attempts(timeout_s=3).pause(100, 30.0) is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("2", 2),
        ("0.5", 0.5),
        ("-1", 0),
        ("Thu, 01 Jan 2026 00:00:10 GMT", 10),
        ("soon", None),
        ("nan", None),
        ("Fri, 31 Dec 9999 23:59:59 -0500", None),
        ("Mon, 01 Jan 99999999999 00:00:00 GMT", None),
    ],
)
def test_retry_after_in_both_forms(value: str, seconds: float | None) -> None:
    assert asked_pause({"retry-after": value}, datetime(2026, 1, 1, tzinfo=UTC)) == seconds


def test_no_retry_after() -> None:
    assert asked_pause({}) is None


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599, 302, 100])
def test_worth_another_try(status: int) -> None:
    with pytest.raises(Unanswered) as caught:
        read("/p", status, b'{"error": "x"}')
    assert caught.value.again
    assert caught.value.retryable


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 413, 422])
def test_refused_for_good(status: int) -> None:
    with pytest.raises(BudgetTransportError, match="said so") as caught:
        read("/p", status, b'{"error": "said so", "code": "x"}')
    assert not isinstance(caught.value, Unanswered)
    assert not caught.value.retryable


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"<html>", b"{", b"\xff\xfe", b"[" * 100_000])
def test_nonsense(body: bytes) -> None:
    for status in (200, 400, 404):
        with pytest.raises(Unanswered) as caught:
            read("/p", status, body)
        assert caught.value.reason == "garbage"
    with pytest.raises(BudgetExceededError):
        read("/p", 409, body)
    with pytest.raises(ActGuardPaymentRequired):
        read("/p", 402, body)


@pytest.mark.parametrize("wrong", ["x", True, None, [], 1e400, -(10**400)])
def test_nonsense_in_a_decision_is_left_out(wrong: Any) -> None:
    import json

    body = json.dumps({"usd_used_micros": wrong, "usd_limit_micros": wrong, "tokens_used": wrong, "scope": 5}).encode()
    with pytest.raises(BudgetExceededError) as caught:
        read("/p", 409, body)
    assert (caught.value.usd_used, caught.value.usd_limit, caught.value.tokens_used) == (0.0, float("inf"), 0)


def test_a_token_budget_that_is_used_up() -> None:
    with pytest.raises(BudgetExceededError) as caught:
        read("/p", 409, b'{"error": "x", "tokens_used": 1000, "token_limit": 1000}')
    assert (caught.value.limit_type, caught.value.token_limit) == ("token", 1000)


def test_older_units() -> None:
    with pytest.raises(BudgetExceededError) as caught:
        read("/p", 409, b'{"error": "x", "cost_used": 5000, "cost_limit": 5000}')
    assert (caught.value.usd_used, caught.value.usd_limit) == (5.0, 5.0)


def test_no_message_reads_like_a_throttled_request() -> None:
    with pytest.raises(Unanswered) as caught:
        read("/p", 429, b'{"error": "Too Many Requests: rate limit 429"}')
    assert "429" not in str(caught.value)
    assert "rate limit" not in str(caught.value).lower()
