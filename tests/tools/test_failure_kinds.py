"""Every code, status and class by which a failure is known, and where it is looked for."""

import email.utils
import errno
import itertools
import types
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from actguard import FailureKind, ToolTimeoutError, circuit_breaker
from actguard.exceptions import ActGuardUsageError
from actguard.tools.failure_kinds import FAIL_ON_DEFAULT, FAIL_ON_INFRA_ONLY, FAIL_ON_STRICT, IGNORE_ON_DEFAULT
from actguard.tools.failures import classify, retry_after

K = FailureKind

CODES = {
    K.THROTTLED: "Throttling ThrottlingException ThrottledException RequestThrottled RequestThrottledException "
    "RequestLimitExceeded TooManyRequestsException ProvisionedThroughputExceededException LimitExceededException "
    "ServiceQuotaExceededException TransactionInProgressException BandwidthLimitExceeded PriorRequestNotComplete "
    "EC2ThrottledException RESOURCE_EXHAUSTED",
    K.OVERLOADED: "SlowDown ServiceUnavailable ServiceUnavailableException InternalError InternalFailure "
    "InternalServerError InternalServerException ModelNotReadyException ModelErrorException UNAVAILABLE INTERNAL "
    "DATA_LOSS",
    K.TIMEOUT: "RequestTimeout RequestTimeoutException ModelTimeoutException DEADLINE_EXCEEDED",
    K.AUTH: "AccessDenied AccessDeniedException UnauthorizedException ExpiredToken ExpiredTokenException "
    "InvalidClientTokenId UnrecognizedClientException SignatureDoesNotMatch InvalidSignatureException UNAUTHENTICATED "
    "PERMISSION_DENIED",
    K.NOT_FOUND: "ResourceNotFoundException NoSuchKey NoSuchBucket NotFoundException NOT_FOUND",
    K.CONFLICT: "ConditionalCheckFailedException ConflictException ResourceInUseException ALREADY_EXISTS ABORTED",
    K.INVALID: "ValidationException ValidationError InvalidParameterValue INVALID_ARGUMENT OUT_OF_RANGE "
    "FAILED_PRECONDITION UNIMPLEMENTED",
    K.UNKNOWN: "OK CANCELLED SomethingElse",
}

HTTPX = {
    K.TIMEOUT: "TimeoutException ConnectTimeout ReadTimeout WriteTimeout PoolTimeout",
    K.TRANSPORT: "NetworkError ConnectError ReadError WriteError CloseError ProtocolError RemoteProtocolError "
    "ProxyError TransportError",
    K.INVALID: "InvalidURL UnsupportedProtocol LocalProtocolError",
    K.UNKNOWN: "HTTPError",
}
LLM = {
    K.TIMEOUT: "APITimeoutError DeadlineExceededError",
    K.TRANSPORT: "APIConnectionError",
    K.THROTTLED: "RateLimitError",
    K.OVERLOADED: "OverloadedError ServiceUnavailableError InternalServerError",
    K.AUTH: "AuthenticationError PermissionDeniedError",
    K.NOT_FOUND: "NotFoundError",
    K.CONFLICT: "ConflictError",
    K.INVALID: "BadRequestError UnprocessableEntityError",
    K.UNKNOWN: "APIResponseValidationError APIError",
}
CLASSES: dict[str, dict[FailureKind, str]] = {
    "httpx._exceptions": HTTPX,
    "httpx2": HTTPX,
    "httpcore": HTTPX,
    "httpcore2._exceptions": HTTPX,
    "openai": LLM,
    "anthropic._exceptions": LLM,
    "requests.exceptions": {
        K.TIMEOUT: "Timeout ConnectTimeout ReadTimeout",
        K.TRANSPORT: "ConnectionError SSLError ProxyError ChunkedEncodingError ContentDecodingError",
        K.OVERLOADED: "RetryError",
        K.INVALID: "MissingSchema InvalidSchema InvalidURL",
    },
    "urllib3.exceptions": {
        K.TIMEOUT: "TimeoutError ReadTimeoutError ConnectTimeoutError",
        K.TRANSPORT: "NewConnectionError NameResolutionError ProtocolError SSLError ProxyError IncompleteRead",
        K.INVALID: "LocationValueError",
    },
    "aiohttp.client_exceptions": {
        K.TIMEOUT: "ServerTimeoutError ConnectionTimeoutError SocketTimeoutError",
        K.TRANSPORT: "ClientConnectionError ClientConnectorError ClientOSError ServerConnectionError "
        "ServerDisconnectedError ClientPayloadError",
        K.INVALID: "InvalidURL",
    },
    "botocore.exceptions": {
        K.TIMEOUT: "ConnectTimeoutError ReadTimeoutError",
        K.TRANSPORT: "EndpointConnectionError ConnectionClosedError ProxyConnectionError SSLError HTTPClientError "
        "ConnectionError IncompleteReadError ResponseStreamingError",
        K.AUTH: "NoCredentialsError PartialCredentialsError",
        K.INVALID: "ParamValidationError",
    },
    "redis.exceptions": {
        K.TIMEOUT: "TimeoutError",
        K.TRANSPORT: "ConnectionError",
        K.OVERLOADED: "BusyLoadingError OutOfMemoryError ClusterDownError TryAgainError ReadOnlyError "
        "MaxConnectionsError",
        K.AUTH: "AuthenticationError NoPermissionError",
        K.INVALID: "DataError",
    },
    "psycopg.errors": {
        K.TIMEOUT: "ConnectionTimeout CancellationTimeout QueryCanceled LockNotAvailable",
        K.TRANSPORT: "OperationalError InterfaceError",
        K.OVERLOADED: "TooManyConnections CannotConnectNow",
        K.AUTH: "InvalidPassword InvalidAuthorizationSpecification",
        K.CONFLICT: "SerializationFailure DeadlockDetected IntegrityError",
        K.INVALID: "DataError ProgrammingError",
    },
    "psycopg_pool": {K.TIMEOUT: "PoolTimeout", K.OVERLOADED: "TooManyRequests", K.UNKNOWN: "PoolClosed"},
    "google.api_core.exceptions": {
        K.TIMEOUT: "DeadlineExceeded RetryError TimeoutError",
        K.TRANSPORT: "TransportError",
        K.OVERLOADED: "ServiceUnavailable InternalServerError ServerError",
        K.THROTTLED: "ResourceExhausted TooManyRequests",
        K.AUTH: "RefreshError DefaultCredentialsError Unauthenticated PermissionDenied",
        K.NOT_FOUND: "NotFound",
        K.INVALID: "InvalidArgument",
    },
    "grpc": {K.TIMEOUT: "FutureTimeoutError"},
    "websockets.exceptions": {K.TRANSPORT: "ConnectionClosedError InvalidHandshake", K.INVALID: "InvalidURI"},
    "anyio": {K.TRANSPORT: "BrokenResourceError ClosedResourceError EndOfStream"},
    "asyncpg.exceptions": {
        K.TIMEOUT: "QueryCanceledError",
        K.TRANSPORT: "PostgresConnectionError",
        K.OVERLOADED: "TooManyConnectionsError",
    },
    "http.client": {K.TRANSPORT: "HTTPException", K.INVALID: "InvalidURL"},
    "urllib.error": {K.TRANSPORT: "URLError"},
    "ssl": {K.TRANSPORT: "SSLCertVerificationError SSLError"},
    "socket": {K.TRANSPORT: "gaierror herror"},
    "concurrent.futures": {K.OVERLOADED: "BrokenExecutor"},
    "builtins": {
        K.TIMEOUT: "TimeoutError",
        K.TRANSPORT: "ConnectionError",
        K.AUTH: "PermissionError",
        K.NOT_FOUND: "FileNotFoundError",
        K.CONFLICT: "FileExistsError",
        K.UNKNOWN: "EOFError ValueError",
    },
    "unheard.of": {K.UNKNOWN: "TimeoutError ConnectionError"},
}


def named(module: str, *names: str) -> BaseException:
    """An exception whose class is called so, and whose bases are called as the names behind it."""
    kind: type = Exception
    for name in reversed(names):
        kind = type(name, (kind,), {"__module__": module})
    return kind("it said something")


def carrying(**attributes: Any) -> BaseException:
    error = RuntimeError("something")
    vars(error).update(attributes)
    return error


LISTED = [
    (module, name, kind) for module, kinds in CLASSES.items() for kind, names in kinds.items() for name in names.split()
]


@pytest.mark.parametrize("module", CLASSES)
def test_classes_are_known_by_library_and_name(module):
    for listed, name, kind in LISTED:
        if listed == module:
            assert classify(named(module, name)) is kind, name
            assert classify(named(module, "Special", name, "Base")) is kind, name


def test_the_most_derived_class_decides():
    assert classify(named("redis.exceptions", "BusyLoadingError", "ConnectionError")) is K.OVERLOADED
    assert classify(named("redis.exceptions", "ConnectionError", "BusyLoadingError")) is K.TRANSPORT


# What Postgres says is known by its code, since psycopg calls most of it an OperationalError, as a lost connection is.
SQLSTATES = {
    K.TRANSPORT: "08006 08001 08P01 HV00N",
    K.TIMEOUT: "57014 55P03 25P03 25P04 57P05",
    K.OVERLOADED: "53100 53200 53300 53400 57P01 57P02 57P03 58030",
    K.AUTH: "28P01 28000 42501",
    K.CONFLICT: "23505 40001 40P01",
    K.INVALID: "22012 42601 42P01 54001 0A000 P0001",
    K.UNKNOWN: "3B001 38000 39000 55006 58P01 2F002 XX000",
}


@pytest.mark.parametrize(("kind", "code"), [(kind, code) for kind in SQLSTATES for code in SQLSTATES[kind].split()])
def test_what_a_database_answers_is_known_by_its_code(kind, code):
    for attribute in ("sqlstate", "pgcode"):
        error = named("psycopg.errors", "Named", "OperationalError")
        setattr(error, attribute, code)
        assert classify(error) is kind


@pytest.mark.parametrize("code", [None, "", "0800", "080060", 8006])
def test_a_database_error_without_a_code_is_known_by_its_class(code):
    error = named("psycopg", "OperationalError")
    error.sqlstate = code
    assert classify(error) is K.TRANSPORT


@pytest.mark.parametrize("kind", CODES)
def test_codes_of_cloud_services_are_known_wherever_they_stand(kind):
    for code in CODES[kind].split():
        named_code = types.SimpleNamespace(name=code)
        places: list[dict[str, Any]] = [
            {"code": code},
            {"code": lambda code=code: code},
            {"code": named_code},
            {"code": lambda named_code=named_code: named_code},
            {"status": code},
            {"status": named_code},
            {"grpc_status_code": code},
            {"grpc_status_code": named_code},
            {"response": {"Error": {"Code": code}}},
        ]
        for place in places:
            assert classify(carrying(**place)) is kind, (code, place)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, K.INVALID),
        (401, K.AUTH),
        (403, K.AUTH),
        (404, K.NOT_FOUND),
        (408, K.TIMEOUT),
        (409, K.CONFLICT),
        (410, K.NOT_FOUND),
        (412, K.CONFLICT),
        (418, K.INVALID),
        (425, K.OVERLOADED),
        (429, K.THROTTLED),
        (499, K.INVALID),
        (500, K.OVERLOADED),
        (504, K.TIMEOUT),
        (529, K.OVERLOADED),
        (599, K.OVERLOADED),
        (399, K.UNKNOWN),
        (600, K.UNKNOWN),
        ("503", K.UNKNOWN),
    ],
)
def test_a_status_is_read_wherever_libraries_keep_it(status, kind):
    places: list[dict[str, Any]] = [
        {"status_code": status},
        {"response": types.SimpleNamespace(status_code=status)},
        {"response": types.SimpleNamespace(status=status)},
        {"response": {"ResponseMetadata": {"HTTPStatusCode": status}}},
        {"status": status},
        {"http_status": status},
        {"code": status},
    ]
    for place in places:
        assert classify(carrying(**place)) is kind, place


def test_a_code_is_sharper_than_the_status_beside_it_and_a_status_than_the_class():
    both = {"Error": {"Code": "ThrottlingException"}, "ResponseMetadata": {"HTTPStatusCode": 400}}
    assert classify(carrying(response=both)) is K.THROTTLED
    unheard = {"Error": {"Code": "Unheard"}, "ResponseMetadata": {"HTTPStatusCode": 404}}
    assert classify(carrying(response=unheard)) is K.NOT_FOUND
    assert classify(carrying(status_code=404, status="UNAVAILABLE")) is K.OVERLOADED
    error = ConnectionError()
    error.status_code = 401  # type: ignore[attr-defined]
    assert classify(error) is K.AUTH


def test_what_breaks_when_it_is_looked_at_says_nothing():
    class Broken(ConnectionError):
        @property
        def response(self) -> Any:
            raise RuntimeError

        def code(self) -> Any:
            raise RuntimeError

    assert classify(Broken()) is K.TRANSPORT
    assert classify(carrying(code=True, status_code=True)) is K.UNKNOWN


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("ETIMEDOUT", K.TIMEOUT),
        *[
            (name, K.TRANSPORT)
            for name in (
                "ECONNREFUSED",
                "ECONNRESET",
                "ECONNABORTED",
                "EPIPE",
                "EHOSTUNREACH",
                "EHOSTDOWN",
                "ENETUNREACH",
                "ENETDOWN",
                "ENOTCONN",
            )
        ],
        ("ENOSPC", K.UNKNOWN),
    ],
)
def test_the_systems_number_is_read(name, kind):
    error = OSError("failed")
    error.errno = getattr(errno, name)
    assert classify(error) is kind
    assert classify(OSError("failed")) is K.UNKNOWN


# ---- causes ----


def chained(*links: BaseException, by: str = "__cause__") -> BaseException:
    for link, inner in itertools.pairwise(links):
        setattr(link, by, inner)
    return links[0]


def test_what_caused_an_error_speaks_for_it():
    assert classify(chained(ValueError(), ConnectionError())) is K.TRANSPORT
    assert classify(chained(ValueError(), ConnectionError(), by="__context__")) is K.TRANSPORT
    assert classify(chained(TimeoutError(), ConnectionError())) is K.TIMEOUT
    hidden = chained(ValueError(), ConnectionError(), by="__context__")
    hidden.__suppress_context__ = True
    assert classify(hidden) is K.UNKNOWN
    assert classify(carrying(reason=TimeoutError())) is K.TIMEOUT
    assert classify(carrying(reason="timeout")) is K.UNKNOWN
    both = ValueError()
    both.__cause__, both.__context__ = ConnectionError(), TimeoutError()
    assert classify(both) is K.TRANSPORT


def test_a_group_speaks_as_those_in_it_and_nothing_else_does():
    assert classify(ExceptionGroup("one", [TimeoutError()])) is K.TIMEOUT
    assert classify(ExceptionGroup("two", [ValueError(), TimeoutError()])) is K.TIMEOUT
    assert classify(ExceptionGroup("two", [ValueError(), ValueError()])) is classify(ValueError())
    assert classify(carrying(exceptions=[TimeoutError()])) is K.UNKNOWN


def nested(*beside: Exception) -> BaseException:
    error: BaseException = TimeoutError()
    for _ in range(2000):
        error = ExceptionGroup("deeper", [error, *beside])
        error.__cause__ = ExceptionGroup("why", [ValueError()])
    return error


def test_a_group_of_groups_takes_no_longer_for_its_depth():
    shallow = ExceptionGroup("one", [ExceptionGroup("two", [TimeoutError()])])
    assert classify(shallow) is K.TIMEOUT
    assert classify(nested()) is K.UNKNOWN
    assert classify(nested(ValueError())) is K.UNKNOWN


def test_eight_links_are_looked_at_and_no_circle_is_run_in():
    assert classify(chained(*[ValueError() for _ in range(7)], TimeoutError())) is K.TIMEOUT
    assert classify(chained(*[ValueError() for _ in range(8)], TimeoutError())) is K.UNKNOWN
    one, two = ValueError(), KeyError()
    assert classify(chained(one, two, one)) is K.UNKNOWN


def test_a_timeout_of_ours_is_a_timeout():
    assert classify(ToolTimeoutError("late")) is K.TIMEOUT


# ---- when to come back ----


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("7", 7.0), ("0.5", 0.5), (7, 7.0), ("0", None), ("-1", None), ("nan", None), ("inf", None), ("soon", None)],
)
def test_the_service_says_when_to_come_back(value, seconds):
    for headers in ({"retry-after": value}, {"Retry-After": value}):
        places: list[dict[str, Any]] = [
            {"headers": headers},
            {"response": types.SimpleNamespace(headers=headers)},
            {"response": {"ResponseMetadata": {"HTTPHeaders": headers}}},
        ]
        for place in places:
            assert retry_after(carrying(**place)) == seconds
    assert retry_after(carrying(retry_after=value)) == seconds
    assert retry_after(chained(ValueError(), carrying(retry_after=value))) == seconds


@pytest.mark.parametrize("odd", [None, True, [], object()])
def test_what_is_no_time_says_nothing(odd):
    assert retry_after(carrying(retry_after=odd)) is None
    assert retry_after(carrying(headers=odd)) is None


def test_a_date_is_a_time_too():
    later = datetime.now(UTC) + timedelta(seconds=90)
    assert retry_after(carrying(headers={"Retry-After": email.utils.format_datetime(later)})) == pytest.approx(
        90, abs=5
    )
    past = datetime.now(UTC) - timedelta(seconds=90)
    assert retry_after(carrying(headers={"Retry-After": email.utils.format_datetime(past)})) is None


# ---- what counts ----


def test_the_sets_are_those_of_the_manual():
    assert {K.TRANSPORT, K.TIMEOUT, K.OVERLOADED} == FAIL_ON_DEFAULT
    assert {K.INVALID, K.NOT_FOUND, K.CONFLICT} == IGNORE_ON_DEFAULT
    assert {K.TRANSPORT, K.TIMEOUT, K.OVERLOADED, K.AUTH, K.THROTTLED} == FAIL_ON_STRICT
    assert {K.TRANSPORT, K.TIMEOUT} == FAIL_ON_INFRA_ONLY


def test_kinds_read_as_their_names():
    assert [kind.value for kind in K] == [kind.name.lower() for kind in K]
    with pytest.raises(ActGuardUsageError):
        circuit_breaker(name="odd kinds", fail_on=["transport"])  # type: ignore[list-item]
