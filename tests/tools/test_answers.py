"""Tools that return an HTTP client's answer, whatever its status, instead of raising: the status is looked at."""

import http.client
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import pytest

from actguard import FAIL_ON_STRICT, CircuitOpenError, FailureKind, Threshold, circuit_breaker, circuits, session, tool
from actguard.tools.failures import kind_of_answer


class Answer:
    def __init__(self, status_code: Any) -> None:
        self.status_code = status_code


def answers(*statuses: int, **headers: str) -> httpx2.Client:
    left = [*statuses]
    return httpx2.Client(
        transport=httpx2.MockTransport(lambda request: httpx2.Response(left.pop(0), headers=headers)),
        base_url="http://a",
    )


def raw_answer(status: int) -> http.client.HTTPResponse:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"HTTP/1.1 %d Said\r\ncontent-length: 0\r\n\r\n" % status)
        answer = http.client.HTTPResponse(ours)
        answer.begin()
        return answer


def fails(name: str) -> int:
    return circuits.state(name).fails


def test_an_answer_that_failed_counts_as_a_failure() -> None:
    client = answers(503, 200, 503, 503)

    @circuit_breaker(name="answers", max_fails=2)
    def fetch() -> httpx2.Response:
        return client.get("/")

    assert fetch().status_code == 503
    assert fails("answers") == 1
    assert fetch().status_code == 200
    assert fails("answers") == 0
    fetch()
    fetch()
    with pytest.raises(CircuitOpenError):
        fetch()


async def test_so_it_does_where_it_is_awaited() -> None:
    @circuit_breaker(name="awaited", max_fails=1)
    async def fetch() -> Answer:
        return Answer(500)

    await fetch()
    with pytest.raises(CircuitOpenError):
        await fetch()


async def test_and_where_what_is_returned_is_to_be_awaited() -> None:
    async def later() -> Answer:
        return Answer(500)

    @circuit_breaker(name="returned", max_fails=1)
    def fetch() -> Awaitable[Answer]:
        return later()

    await fetch()
    with pytest.raises(CircuitOpenError):
        fetch()


def test_and_beside_other_guards() -> None:
    others: dict[str, dict[str, Any]] = {
        "one step more": {"rate_limit": {"max_calls": 9}},
        "a body that is wrapped": {"timeout": 5},
        "custody": {"policy": [Threshold("amount", 9)], "rate_limit": {"max_calls": 9}},
    }
    for name, beside in others.items():

        @tool(circuit_breaker={"name": name, "max_fails": 1}, **beside)
        def fetch(amount: int) -> Answer:
            return Answer(502)

        with session():
            fetch(1)
            with pytest.raises(CircuitOpenError):
                fetch(1)


def test_an_answer_that_is_nobody_s_failure_is_neutral() -> None:
    statuses = [503, 404, 401, 429]

    @circuit_breaker(name="neutral", max_fails=2)
    def fetch() -> Answer:
        return Answer(statuses.pop(0))

    for _ in range(4):
        fetch()
    assert fails("neutral") == 1


def test_a_probe_that_is_answered_with_a_failure_opens_the_circuit_again(clock: Any) -> None:
    @circuit_breaker(name="probed", max_fails=1, reset_timeout=10)
    def fetch() -> Answer:
        return Answer(503)

    fetch()
    clock.pass_(10)
    fetch()
    assert circuits.state("probed").state == "open"


def test_a_throttled_answer_opens_for_as_long_as_it_says(clock: Any) -> None:
    client = answers(429, **{"retry-after": "90"})

    @circuit_breaker(name="throttled", max_fails=1, reset_timeout=10, fail_on=FAIL_ON_STRICT)
    def fetch() -> httpx2.Response:
        return client.get("/")

    fetch()
    with pytest.raises(CircuitOpenError) as refused:
        fetch()
    assert refused.value.retry_after == 90


class Lazy:
    """What is only worked out when it is asked for anything, and is asked for nothing."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"asked for {name}")


class Broken:
    @property
    def status_code(self) -> int:
        raise RuntimeError


class Page:
    status = 503  # of whatever this is


@pytest.mark.parametrize(
    ("result", "kind"),
    [
        (Answer(503), FailureKind.OVERLOADED),
        (Answer(404), FailureKind.NOT_FOUND),
        (raw_answer(503), FailureKind.OVERLOADED),
        (raw_answer(200), None),
        (Answer(200), None),
        (Answer(302), None),
        (Answer(True), None),
        (Answer("503"), None),
        (Answer(None), None),
        (Lazy(), None),
        (Broken(), None),
        (Page(), None),
        ({"status_code": 503}, None),
        (object(), None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_answer_is_known_by_its_status(result: Any, kind: FailureKind | None) -> None:
    assert kind_of_answer(result) is kind


def returned(result: Any) -> Callable[[], Any]:
    return circuit_breaker(name="results")(lambda: result)


@pytest.mark.parametrize(
    "result", [Lazy(), Broken(), Page(), {"status_code": 503}], ids=lambda value: type(value).__name__
)
def test_a_result_comes_out_as_it_went_in(result: Any) -> None:
    assert returned(result)() is result
