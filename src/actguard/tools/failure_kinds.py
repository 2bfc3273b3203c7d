"""The kinds of failure, and what says which: statuses, codes, classes by library and name, and system errors.

Names only: no library is imported for them.
"""

import errno
from collections.abc import Mapping
from enum import StrEnum


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


STATUS = {
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
}
"""Any other from 400 on is INVALID, and from 500 on OVERLOADED."""

CODES = {
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


_T, _O, _X = FailureKind.TRANSPORT, FailureKind.TIMEOUT, FailureKind.OVERLOADED

SQLSTATES = {
    "08": _T,
    "HV00N": _T,
    **dict.fromkeys(("57014", "55P03", "25P03", "25P04", "57P05"), _O),
    **dict.fromkeys(("53", "57", "58000", "58030"), _X),
    **dict.fromkeys(("28", "42501"), FailureKind.AUTH),
    **dict.fromkeys(("23", "40"), FailureKind.CONFLICT),
    **dict.fromkeys(("0A", "22", "42", "54", "P0"), FailureKind.INVALID),
}
"""What a SQL database answers (psycopg, psycopg2, asyncpg), by its whole code, or by its class of codes."""

_HTTPX = {
    "TimeoutException": _O,
    "ConnectTimeout": _O,
    "ReadTimeout": _O,
    "WriteTimeout": _O,
    "PoolTimeout": _O,
    "NetworkError": _T,
    "ConnectError": _T,
    "ReadError": _T,
    "WriteError": _T,
    "CloseError": _T,
    "ProtocolError": _T,
    "RemoteProtocolError": _T,
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
CLASSES: dict[str, Mapping[str, FailureKind]] = {
    "httpx": _HTTPX,
    "httpx2": _HTTPX,
    "httpcore": _HTTPX,
    "httpcore2": _HTTPX,
    "requests": {
        "Timeout": _O,
        "ConnectTimeout": _O,
        "ReadTimeout": _O,
        "ConnectionError": _T,
        "SSLError": _T,
        "ProxyError": _T,
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
        "ClientConnectorError": _T,
        "ClientOSError": _T,
        "ServerConnectionError": _T,
        "ServerDisconnectedError": _T,
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
        "OutOfMemoryError": _X,
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
        "CancellationTimeout": _O,
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
        "TimeoutError": _O,
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


ERRNOS = {
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
