"""What the errors of common clients say about the service behind them (fault C6: most of them said nothing)."""

import asyncio
import importlib
import socket
import ssl
import types
import urllib.error
from email.utils import format_datetime

import pytest

from actguard import FAIL_ON_STRICT, CircuitOpenError, FailureKind, circuit_breaker, circuits, tool
from actguard.tools.failures import classify, retry_after

T, LATE, X = FailureKind.TRANSPORT, FailureKind.TIMEOUT, FailureKind.OVERLOADED


def named(module: str, *bases: str) -> BaseException:
    """An exception with the names of one, for libraries that are not installed here."""
    kind: type = Exception
    for base in reversed(bases):
        kind = type(base, (kind,), {"__module__": module})
    return kind("it said something")


BY_NAME = [
    *[
        (named(library, *names), kind)
        for library in ("httpx", "httpx2")
        for names, kind in [
            (("ConnectError", "NetworkError", "TransportError"), T),
            (("ReadTimeout", "TimeoutException", "TransportError"), LATE),
            (("RemoteProtocolError", "ProtocolError", "TransportError"), T),
            (("PoolTimeout", "TimeoutException", "TransportError"), LATE),
        ]
    ],
    (named("requests.exceptions", "ConnectionError", "RequestException"), T),
    (named("requests.exceptions", "ReadTimeout", "Timeout", "RequestException"), LATE),
    (named("urllib3.exceptions", "NewConnectionError", "HTTPError"), T),
    (named("aiohttp.client_exceptions", "ServerDisconnectedError", "ClientConnectionError"), T),
    (named("aiohttp.client_exceptions", "ServerTimeoutError", "ClientConnectionError"), LATE),
    (named("botocore.exceptions", "ReadTimeoutError", "HTTPClientError"), LATE),
    (named("botocore.exceptions", "EndpointConnectionError", "ConnectionError"), T),
    (named("redis.exceptions", "ConnectionError", "RedisError"), T),
    (named("redis.exceptions", "TimeoutError", "RedisError"), LATE),
    (named("redis.exceptions", "BusyLoadingError", "ConnectionError"), X),
    (named("psycopg", "OperationalError", "DatabaseError"), T),
    (named("psycopg.errors", "QueryCanceled", "OperationalError"), LATE),
    (named("psycopg.errors", "UniqueViolation", "IntegrityError"), FailureKind.CONFLICT),
    *[
        (named(library, *names), kind)
        for library in ("openai", "anthropic")
        for names, kind in [
            (("APIConnectionError", "APIError"), T),
            (("APITimeoutError", "APIConnectionError"), LATE),
            (("RateLimitError", "APIStatusError"), FailureKind.THROTTLED),
            (("AuthenticationError", "APIStatusError"), FailureKind.AUTH),
        ]
    ],
    (named("google.api_core.exceptions", "DeadlineExceeded", "GatewayTimeout"), LATE),
    (named("google.api_core.exceptions", "ServiceUnavailable", "ServerError"), X),
    (named("google.auth.exceptions", "TransportError", "GoogleAuthError"), T),
    (urllib.error.URLError(TimeoutError()), LATE),
    (urllib.error.URLError("unknown host"), T),
    (urllib.error.HTTPError("u", 503, "m", None, None), X),
    (socket.gaierror(socket.EAI_AGAIN, "again"), T),
    (ssl.SSLError("handshake"), T),
    (ConnectionResetError(), T),
    (BrokenPipeError(), T),
    (TimeoutError(), LATE),
    (OSError(113, "no route to host"), T),
    (ValueError("400"), FailureKind.UNKNOWN),
    (FileNotFoundError(), FailureKind.NOT_FOUND),
]


@pytest.mark.parametrize(("error", "kind"), BY_NAME, ids=lambda value: type(value).__module__ + type(value).__name__)
def test_an_error_is_known_by_its_class(error, kind):
    assert classify(error) is kind


@pytest.mark.parametrize(
    ("module", "name", "kind"),
    [
        ("httpx2", "ConnectError", T),
        ("httpx2", "ReadTimeout", LATE),
        ("requests", "ConnectionError", T),
        ("requests", "ReadTimeout", LATE),
        ("requests.exceptions", "ChunkedEncodingError", T),
        ("aiohttp", "ServerDisconnectedError", T),
        ("aiohttp", "ServerTimeoutError", LATE),
        ("redis.exceptions", "ConnectionError", T),
        ("redis.exceptions", "TimeoutError", LATE),
        ("botocore.exceptions", "ReadTimeoutError", LATE),
        ("botocore.exceptions", "EndpointConnectionError", T),
        ("openai", "APIConnectionError", T),
        ("openai", "APITimeoutError", LATE),
        ("anthropic", "APIConnectionError", T),
        ("anthropic", "APITimeoutError", LATE),
        ("google.auth.exceptions", "TransportError", T),
    ],
)
def test_the_real_class_of_the_library_is_known(module, name, kind):
    real = getattr(pytest.importorskip(module), name)

    assert classify(real.__new__(real)) is kind


def carrying(**attributes):
    error = RuntimeError("something")
    vars(error).update(attributes)
    return error


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, FailureKind.INVALID),
        (401, FailureKind.AUTH),
        (403, FailureKind.AUTH),
        (404, FailureKind.NOT_FOUND),
        (408, LATE),
        (409, FailureKind.CONFLICT),
        (422, FailureKind.INVALID),
        (429, FailureKind.THROTTLED),
        (500, X),
        (502, X),
        (503, X),
        (504, LATE),
        (529, X),
        (200, FailureKind.UNKNOWN),
        (True, FailureKind.UNKNOWN),
    ],
)
def test_a_status_is_read_wherever_libraries_keep_it(status, kind):
    response = types.SimpleNamespace(status_code=status)
    for error in (carrying(status_code=status), carrying(response=response), carrying(status=status)):
        assert classify(error) is kind


def test_grpc_and_google_say_it_by_name():
    code = types.SimpleNamespace(name="UNAVAILABLE")
    assert classify(carrying(code=lambda: code)) is X
    assert classify(carrying(status="RESOURCE_EXHAUSTED", code=400)) is FailureKind.THROTTLED


def test_the_cause_speaks_for_an_error_that_says_nothing():
    wrapped = RuntimeError("wrapped")
    wrapped.__cause__ = ConnectionError()
    assert classify(wrapped) is T
    assert classify(ExceptionGroup("one", [TimeoutError()])) is LATE
    loop = RuntimeError()
    loop.__cause__ = loop
    assert classify(loop) is FailureKind.UNKNOWN


def test_the_service_says_when_to_come_back():
    from datetime import UTC, datetime, timedelta

    later = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    response = types.SimpleNamespace(headers={"retry-after": "7"})
    assert retry_after(carrying(response=response)) == 7
    assert retry_after(carrying(headers={"Retry-After": later})) == pytest.approx(90, abs=5)
    assert retry_after(carrying(headers={"Retry-After": "soon"})) is None
    assert retry_after(carrying()) is None


def test_throttling_that_counts_opens_for_as_long_as_the_service_says(clock):
    @circuit_breaker(name="throttled", max_fails=9, fail_on=[FailureKind.THROTTLED])
    def call():
        raise carrying(status_code=429, headers={"retry-after": "40"})

    with pytest.raises(RuntimeError):
        call()
    with pytest.raises(CircuitOpenError) as caught:
        call()
    assert caught.value.retry_after == 40


@pytest.mark.parametrize("where", ["failures", "failure_kinds"])
def test_no_library_is_imported_for_it(where):
    module = importlib.import_module(f"actguard.tools.{where}")
    for name in ("httpx", "requests", "botocore", "grpc", "redis"):
        assert not hasattr(module, name)


# ---- errors that fight back, and several at once ----


def raising(*args, **kwargs):
    raise RuntimeError


class Hostile(ConnectionError):
    __cause__ = property(raising)
    __context__ = property(raising)
    __suppress_context__ = property(raising)
    __str__ = raising
    errno = property(raising)
    response = property(raising)
    headers = property(raising)
    code = raising


class HostileMapping(dict):
    get = raising


class Answered(TimeoutError):
    response = HostileMapping(Error={})
    headers = HostileMapping()


class Unplaced(Exception):
    __module__ = None


class Misplaced(ConnectionError):
    __module__ = 5


@pytest.mark.parametrize(
    ("error", "kind"), [(Hostile(), T), (Answered(), LATE), (Unplaced(), FailureKind.UNKNOWN), (Misplaced(), T)]
)
def test_an_error_that_fights_back_is_told_all_the_same_and_reaches_the_caller(run, error, kind):
    assert classify(error) is kind
    assert retry_after(error) is None

    @tool(
        circuit_breaker={"name": type(error).__name__, "fail_on": FAIL_ON_STRICT | {FailureKind.UNKNOWN}},
        idempotent={"key": "derived"},
        max_attempts=5,
        no_repeat=5,
        concurrency=1,
    )
    def call():
        raise error

    with pytest.raises(type(error)) as raised:
        call()
    assert raised.value is error
    assert circuits.state(type(error).__name__).fails == 1


def test_a_group_counts_as_the_worst_of_its_members():
    inner = ExceptionGroup("inner", [ValueError(), TimeoutError()])
    assert classify(ExceptionGroup("two", [ConnectionError(), ConnectionError()])) is T
    assert classify(ExceptionGroup("mixed", [ValueError(), inner, KeyError()])) is LATE
    assert classify(ExceptionGroup("both", [inner, ConnectionError()])) is T
    assert classify(ExceptionGroup("neither", [ValueError(), KeyError()])) is FailureKind.UNKNOWN
    deep = ExceptionGroup("deep", [ConnectionError(), ValueError()])
    for _ in range(20_000):
        deep = ExceptionGroup("deeper", [deep, ValueError()])
    assert classify(deep) in (T, FailureKind.UNKNOWN)


def test_a_connection_that_ended_in_the_middle_was_broken():
    assert classify(asyncio.IncompleteReadError(b"", 5)) is T
