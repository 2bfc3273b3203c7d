"""What kind of failure an exception is: `FailureKind`, and how it is told.

In this order, and never by importing a library, reading a message, or raising an error of its own:

    1. the code that a cloud service gave (botocore, google, grpc): it is sharper than the status beside it
    2. the HTTP status that the exception carries
    3. its class, or a class above it, by library and name
    4. of several in a group, the one that says most about the connection
    5. the exception that caused it, if it says nothing itself
"""

import errno
import math
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any

from actguard.exceptions import ToolTimeoutError


class FailureKind(StrEnum):
    """What an exception says about the dependency."""

    TRANSPORT = "transport"
    """It was not reached, or the connection broke."""
    TIMEOUT = "timeout"
    OVERLOADED = "overloaded"
    """It answered that it cannot, now: 5xx."""
    THROTTLED = "throttled"
    """It answered that we ask too often: 429."""
    AUTH = "auth"
    INVALID = "invalid"
    """It understood, and says that the request is wrong."""
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    UNKNOWN = "unknown"


FAIL_ON_DEFAULT = frozenset({FailureKind.TRANSPORT, FailureKind.TIMEOUT, FailureKind.OVERLOADED})
IGNORE_ON_DEFAULT = frozenset({FailureKind.INVALID, FailureKind.NOT_FOUND, FailureKind.CONFLICT})
FAIL_ON_STRICT = FAIL_ON_DEFAULT | {FailureKind.AUTH, FailureKind.THROTTLED}
FAIL_ON_INFRA_ONLY = frozenset({FailureKind.TRANSPORT, FailureKind.TIMEOUT})

_DEEPEST = 8
_MOST_MEMBERS = 64


def classify(error: BaseException) -> FailureKind:
    """The kind of *error*; UNKNOWN when nothing about it says so."""
    return _first(error, (_by_code, _by_status, _by_class, _by_errno, _by_group))


def _alone(error: BaseException) -> FailureKind:
    """The same of one in a group; groups that caused it say nothing."""
    return _first(error, (_by_code, _by_status, _by_class, _by_errno))


def _first(error: BaseException, ways: tuple[Callable[[BaseException], FailureKind | None], ...]) -> FailureKind:
    for link in _chain(error):
        for look in ways:
            try:
                kind = look(link)
            except Exception:  # noqa: BLE001 - an exception that fights back says nothing in this way
                continue
            if kind is not None:
                return kind
    return FailureKind.UNKNOWN


def retry_after(error: BaseException) -> float | None:
    """Seconds after which the service said to come back; None: it did not say."""
    for link in _chain(error):
        try:
            seconds = _said_when(link)
        except Exception:  # noqa: BLE001 - an exception that fights back says nothing
            continue
        if seconds is not None:
            return seconds
    return None


def _said_when(error: BaseException) -> float | None:
    headers: Any = _get(error, "headers") or _get(_get(error, "response"), "headers")
    if headers is None:
        headers = _mapping(_mapping(_get(error, "response")).get("ResponseMetadata")).get("HTTPHeaders")
    return _seconds(_header(headers, "retry-after") if headers is not None else _get(error, "retry_after"))


# ---- by what it carries -------------------------------------------------------------------------------------------

_STATUS = {
    400: FailureKind.INVALID,
    401: FailureKind.AUTH,
    403: FailureKind.AUTH,
    404: FailureKind.NOT_FOUND,
    408: FailureKind.TIMEOUT,
    409: FailureKind.CONFLICT,
    410: FailureKind.NOT_FOUND,
    412: FailureKind.CONFLICT,
    425: FailureKind.OVERLOADED,
    429: FailureKind.THROTTLED,
    504: FailureKind.TIMEOUT,
    529: FailureKind.OVERLOADED,
}

_CODES = {
    # botocore
    **dict.fromkeys(
        (
            "Throttling",
            "ThrottlingException",
            "ThrottledException",
            "RequestThrottled",
            "RequestThrottledException",
            "RequestLimitExceeded",
            "TooManyRequestsException",
            "ProvisionedThroughputExceededException",
            "LimitExceededException",
            "ServiceQuotaExceededException",
            "TransactionInProgressException",
            "BandwidthLimitExceeded",
            "PriorRequestNotComplete",
            "EC2ThrottledException",
            "RESOURCE_EXHAUSTED",
        ),
        FailureKind.THROTTLED,
    ),
    **dict.fromkeys(
        (
            "SlowDown",
            "ServiceUnavailable",
            "ServiceUnavailableException",
            "InternalError",
            "InternalFailure",
            "InternalServerError",
            "InternalServerException",
            "ModelNotReadyException",
            "ModelErrorException",
            "UNAVAILABLE",
            "INTERNAL",
            "DATA_LOSS",
        ),
        FailureKind.OVERLOADED,
    ),
    **dict.fromkeys(
        ("RequestTimeout", "RequestTimeoutException", "ModelTimeoutException", "DEADLINE_EXCEEDED"), FailureKind.TIMEOUT
    ),
    **dict.fromkeys(
        (
            "AccessDenied",
            "AccessDeniedException",
            "UnauthorizedException",
            "ExpiredToken",
            "ExpiredTokenException",
            "InvalidClientTokenId",
            "UnrecognizedClientException",
            "SignatureDoesNotMatch",
            "InvalidSignatureException",
            "UNAUTHENTICATED",
            "PERMISSION_DENIED",
        ),
        FailureKind.AUTH,
    ),
    **dict.fromkeys(
        ("ResourceNotFoundException", "NoSuchKey", "NoSuchBucket", "NotFoundException", "NOT_FOUND"),
        FailureKind.NOT_FOUND,
    ),
    **dict.fromkeys(
        (
            "ConditionalCheckFailedException",
            "ConflictException",
            "ResourceInUseException",
            "ALREADY_EXISTS",
            "ABORTED",
        ),
        FailureKind.CONFLICT,
    ),
    **dict.fromkeys(
        (
            "ValidationException",
            "ValidationError",
            "InvalidParameterValue",
            "INVALID_ARGUMENT",
            "OUT_OF_RANGE",
            "FAILED_PRECONDITION",
            "UNIMPLEMENTED",
        ),
        FailureKind.INVALID,
    ),
}


def _by_code(error: BaseException) -> FailureKind | None:
    """What botocore keeps in `.response`, grpc behind `.code()`, google-api-core and google-genai in `.status`."""
    aws = _mapping(_mapping(_get(error, "response")).get("Error")).get("Code")
    if isinstance(aws, str):
        return _CODES.get(aws)
    code = _get(error, "code")
    if callable(code):
        try:
            code = code()
        except Exception:  # noqa: BLE001 - somebody else's method: it says nothing, then
            return None
    for named in (_get(code, "name"), code, _get(error, "status"), _get(error, "grpc_status_code")):
        name = named if isinstance(named, str) else _get(named, "name")
        if isinstance(name, str) and name in _CODES:
            return _CODES[name]
    return None


def _by_status(error: BaseException) -> FailureKind | None:
    response = _get(error, "response")
    candidates = (
        _get(error, "status_code"),
        _get(response, "status_code"),
        _get(response, "status"),
        _mapping(_mapping(response).get("ResponseMetadata")).get("HTTPStatusCode"),
        _get(error, "status"),
        _get(error, "http_status"),
        _get(error, "code"),
    )
    for status in candidates:
        if isinstance(status, int) and not isinstance(status, bool) and 400 <= status <= 599:
            return _STATUS.get(status, FailureKind.OVERLOADED if status >= 500 else FailureKind.INVALID)
    return None


# ---- by what it is ------------------------------------------------------------------------------------------------

_T, _O, _X = FailureKind.TRANSPORT, FailureKind.TIMEOUT, FailureKind.OVERLOADED

_HTTPX = {
    "TimeoutException": _O,
    "NetworkError": _T,
    "ProtocolError": _T,
    "ProxyError": _T,
    "TransportError": _T,
    "InvalidURL": FailureKind.INVALID,
    "UnsupportedProtocol": FailureKind.INVALID,
    "LocalProtocolError": FailureKind.INVALID,
}
_LLM_SDK = {
    "APITimeoutError": _O,
    "APIConnectionError": _T,
    "APIResponseValidationError": FailureKind.UNKNOWN,
    "RateLimitError": FailureKind.THROTTLED,
    "OverloadedError": _X,
    "ServiceUnavailableError": _X,
    "InternalServerError": _X,
    "DeadlineExceededError": _O,
    "AuthenticationError": FailureKind.AUTH,
    "PermissionDeniedError": FailureKind.AUTH,
    "NotFoundError": FailureKind.NOT_FOUND,
    "ConflictError": FailureKind.CONFLICT,
    "BadRequestError": FailureKind.INVALID,
    "UnprocessableEntityError": FailureKind.INVALID,
}

# library -> class -> kind. The most derived class that is listed decides.
_CLASSES: dict[str, Mapping[str, FailureKind]] = {
    "httpx": _HTTPX,
    "httpx2": _HTTPX,
    "httpcore": _HTTPX,
    "httpcore2": _HTTPX,
    "requests": {
        "Timeout": _O,
        "ConnectTimeout": _O,
        "ConnectionError": _T,
        "ChunkedEncodingError": _T,
        "ContentDecodingError": _T,
        "RetryError": _X,
        "MissingSchema": FailureKind.INVALID,
        "InvalidSchema": FailureKind.INVALID,
        "InvalidURL": FailureKind.INVALID,
    },
    "urllib3": {
        "TimeoutError": _O,
        "ReadTimeoutError": _O,
        "ConnectTimeoutError": _O,
        "NewConnectionError": _T,
        "NameResolutionError": _T,
        "ProtocolError": _T,
        "SSLError": _T,
        "ProxyError": _T,
        "IncompleteRead": _T,
        "LocationValueError": FailureKind.INVALID,
    },
    "aiohttp": {
        "ServerTimeoutError": _O,
        "ConnectionTimeoutError": _O,
        "SocketTimeoutError": _O,
        "ClientConnectionError": _T,
        "ClientPayloadError": _T,
        "InvalidURL": FailureKind.INVALID,
    },
    "botocore": {
        "ConnectTimeoutError": _O,
        "ReadTimeoutError": _O,
        "EndpointConnectionError": _T,
        "ConnectionClosedError": _T,
        "ProxyConnectionError": _T,
        "SSLError": _T,
        "HTTPClientError": _T,
        "ConnectionError": _T,
        "IncompleteReadError": _T,
        "ResponseStreamingError": _T,
        "NoCredentialsError": FailureKind.AUTH,
        "PartialCredentialsError": FailureKind.AUTH,
        "ParamValidationError": FailureKind.INVALID,
    },
    "redis": {
        "TimeoutError": _O,
        "BusyLoadingError": _X,
        "AuthenticationError": FailureKind.AUTH,
        "NoPermissionError": FailureKind.AUTH,
        "ConnectionError": _T,
        "ClusterDownError": _X,
        "TryAgainError": _X,
        "ReadOnlyError": _X,
        "MaxConnectionsError": _X,
        "DataError": FailureKind.INVALID,
    },
    "psycopg": {
        "ConnectionTimeout": _O,
        "QueryCanceled": _O,
        "LockNotAvailable": _O,
        "TooManyConnections": _X,
        "CannotConnectNow": _X,
        "InvalidPassword": FailureKind.AUTH,
        "InvalidAuthorizationSpecification": FailureKind.AUTH,
        "SerializationFailure": FailureKind.CONFLICT,
        "DeadlockDetected": FailureKind.CONFLICT,
        "IntegrityError": FailureKind.CONFLICT,
        "DataError": FailureKind.INVALID,
        "ProgrammingError": FailureKind.INVALID,
        "OperationalError": _T,
        "InterfaceError": _T,
    },
    "psycopg_pool": {"PoolTimeout": _O, "TooManyRequests": _X, "PoolClosed": FailureKind.UNKNOWN},
    "openai": _LLM_SDK,
    "anthropic": _LLM_SDK,
    "google": {
        "DeadlineExceeded": _O,
        "RetryError": _O,
        "ServiceUnavailable": _X,
        "ResourceExhausted": FailureKind.THROTTLED,
        "TooManyRequests": FailureKind.THROTTLED,
        "InternalServerError": _X,
        "TransportError": _T,
        "RefreshError": FailureKind.AUTH,
        "DefaultCredentialsError": FailureKind.AUTH,
        "Unauthenticated": FailureKind.AUTH,
        "PermissionDenied": FailureKind.AUTH,
        "NotFound": FailureKind.NOT_FOUND,
        "InvalidArgument": FailureKind.INVALID,
        "ServerError": _X,
    },
    "grpc": {"FutureTimeoutError": _O},
    "websockets": {"ConnectionClosedError": _T, "InvalidHandshake": _T, "InvalidURI": FailureKind.INVALID},
    "anyio": {"BrokenResourceError": _T, "ClosedResourceError": _T, "EndOfStream": _T},
    "asyncpg": {"PostgresConnectionError": _T, "TooManyConnectionsError": _X, "QueryCanceledError": _O},
    "http": {"HTTPException": _T, "InvalidURL": FailureKind.INVALID},
    "urllib": {"URLError": _T},
    "ssl": {"SSLCertVerificationError": _T, "SSLError": _T},
    "socket": {"gaierror": _T, "herror": _T},
    "concurrent": {"BrokenExecutor": _X},
    "asyncio": {"IncompleteReadError": _T},
    "builtins": {
        "TimeoutError": _O,
        "ConnectionError": _T,
        "EOFError": FailureKind.UNKNOWN,
        "PermissionError": FailureKind.AUTH,
        "FileNotFoundError": FailureKind.NOT_FOUND,
        "FileExistsError": FailureKind.CONFLICT,
    },
}


def _by_class(error: BaseException) -> FailureKind | None:
    if isinstance(error, ToolTimeoutError):
        return FailureKind.TIMEOUT
    for base in type(error).__mro__:
        kind = _CLASSES.get(str(base.__module__).partition(".")[0], {}).get(base.__name__)
        if kind is not None and not _is_wrapping(error, base):
            return kind
    return None


def _is_wrapping(error: BaseException, base: type) -> bool:
    """urllib's URLError carries what happened as `.reason`, if it is an exception; that decides then."""
    return base.__module__ == "urllib.error" and isinstance(_get(error, "reason"), BaseException)


_ERRNOS = {
    errno.ETIMEDOUT: _O,
    **dict.fromkeys(
        (
            errno.ECONNREFUSED,
            errno.ECONNRESET,
            errno.ECONNABORTED,
            errno.EPIPE,
            errno.EHOSTUNREACH,
            errno.EHOSTDOWN,
            errno.ENETUNREACH,
            errno.ENETDOWN,
            errno.ENOTCONN,
        ),
        _T,
    ),
}


def _by_errno(error: BaseException) -> FailureKind | None:
    return _ERRNOS.get(error.errno) if isinstance(error, OSError) and error.errno is not None else None


def _by_group(error: BaseException) -> FailureKind | None:
    """What the members say; of several kinds, the first in the order of `FailureKind`."""
    if not isinstance(error, BaseExceptionGroup):
        return None
    said = {_alone(member) for member in _members(error)}  # pyright: ignore[reportUnknownArgumentType]
    return next((kind for kind in FailureKind if kind in said and kind is not FailureKind.UNKNOWN), None)


def _members(group: BaseExceptionGroup[Any]) -> Iterator[BaseException]:
    """Those in *group*, and in the groups in it: so many that time is not the sender's to waste."""
    waiting: list[BaseException] = [group]
    for _ in range(_MOST_MEMBERS):
        if not waiting:
            return
        error = waiting.pop(0)
        if isinstance(error, BaseExceptionGroup):
            waiting += error.exceptions[:_MOST_MEMBERS]  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
        else:
            yield error


# ---- reading other people's objects -------------------------------------------------------------------------------


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen and len(seen) < _DEEPEST:
        seen.add(id(link))
        yield link
        reason = _get(link, "reason")
        group: Any = _get(link, "exceptions") if isinstance(link, BaseExceptionGroup) else ()
        inner: Any = group[0] if len(group) == 1 else None
        implicit = None if _get(link, "__suppress_context__") else _get(link, "__context__")
        causes: tuple[Any, ...] = (reason, inner, _get(link, "__cause__"), implicit)
        link = next((cause for cause in causes if isinstance(cause, BaseException)), None)


def _get(thing: Any, name: str) -> Any:
    """An attribute, or None: a property may raise anything."""
    try:
        return getattr(thing, name, None)
    except Exception:  # noqa: BLE001 - the error being classified must not be replaced by one of its properties
        return None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}  # pyright: ignore[reportUnknownVariableType]


def _header(headers: Any, name: str) -> Any:
    try:
        return headers.get(name) or headers.get(name.title())
    except Exception:  # noqa: BLE001 - whatever this is, it has no headers
        return None


def _seconds(value: Any) -> float | None:
    if isinstance(value, bool) or value is None:
        return None
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        try:
            seconds = (parsedate_to_datetime(str(value)) - datetime.now(UTC)).total_seconds()
        except (TypeError, ValueError):
            return None
    return seconds if seconds > 0 and math.isfinite(seconds) else None
