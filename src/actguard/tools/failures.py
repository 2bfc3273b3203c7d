"""What kind of failure an exception is: `FailureKind`, and how it is told.

In this order, and never by importing a library, reading a message, or raising an error of its own:

    1. the code that a database or a cloud service gave (psycopg; botocore, google, grpc): it is sharper than the class
       or the status beside it
    2. the HTTP status that the exception carries
    3. its class, or a class above it, by library and name
    4. of several in a group, the one that says most about the connection
    5. the exception that caused it, if it says nothing itself
"""

import math
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from actguard.exceptions import ToolTimeoutError
from actguard.tools.failure_kinds import CLASSES, CODES, ERRNOS, SQLSTATES, STATUS, FailureKind

_DEEPEST = 8
_MOST_MEMBERS = 64
_HTTP = frozenset({"aiohttp", "http", "urllib3"})


def classify(error: BaseException) -> FailureKind:
    """The kind of *error*; UNKNOWN when nothing about it says so."""
    return _first(error, (_by_sqlstate, _by_code, _by_status, _by_class, _by_errno, _by_group))


def _alone(error: BaseException) -> FailureKind:
    """The same of one in a group; groups that caused it say nothing."""
    return _first(error, (_by_sqlstate, _by_code, _by_status, _by_class, _by_errno))


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


def kind_of_answer(result: object) -> FailureKind | None:
    """The kind of failure that *result* tells of, if it is the answer of an HTTP client that does not raise.

    That is anything with a `status_code`; and with a `status`, what the standard library, urllib3 and aiohttp return.
    No `__getattr__` is asked: it may do anything.
    """
    kind = type(result)
    for name in ("status_code", "status") if _root(kind) in _HTTP else ("status_code",):
        try:
            if name in getattr(result, "__dict__", ()) or hasattr(kind, name):
                return _of_status(getattr(result, name))
        except Exception:  # noqa: BLE001 - a result that fights back says nothing
            return None
    return None


def retry_after(source: Any) -> float | None:
    """Seconds after which a service said to come back, in an error or an answer; None: it did not say."""
    for link in _chain(source):
        try:
            seconds = _said_when(link)
        except Exception:  # noqa: BLE001 - an exception that fights back says nothing
            continue
        if seconds is not None:
            return seconds
    return None


def _said_when(error: Any) -> float | None:
    headers: Any = _get(error, "headers") or _get(_get(error, "response"), "headers")
    if headers is None:
        headers = _mapping(_mapping(_get(error, "response")).get("ResponseMetadata")).get("HTTPHeaders")
    return _seconds(_header(headers, "retry-after") if headers is not None else _get(error, "retry_after"))


# ---- by what it carries -------------------------------------------------------------------------------------------


def _by_sqlstate(error: BaseException) -> FailureKind | None:
    """By its class, much that a database answers could be a connection that was lost."""
    for code in (_get(error, "sqlstate"), _get(error, "pgcode")):
        if isinstance(code, str) and len(code) == 5:
            return SQLSTATES.get(code) or SQLSTATES.get(code[:2], FailureKind.UNKNOWN)
    return None


def _by_code(error: BaseException) -> FailureKind | None:
    """What botocore keeps in `.response`, grpc behind `.code()`, google-api-core and google-genai in `.status`."""
    aws = _mapping(_mapping(_get(error, "response")).get("Error")).get("Code")
    if isinstance(aws, str):
        return CODES.get(aws)
    code = _get(error, "code")
    if callable(code):
        try:
            code = code()
        except Exception:  # noqa: BLE001 - somebody else's method: it says nothing, then
            return None
    for named in (_get(code, "name"), code, _get(error, "status"), _get(error, "grpc_status_code")):
        name = named if isinstance(named, str) else _get(named, "name")
        if isinstance(name, str) and name in CODES:
            return CODES[name]
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
    return next((kind for kind in map(_of_status, candidates) if kind is not None), None)


def _of_status(status: Any) -> FailureKind | None:
    if not isinstance(status, int) or isinstance(status, bool) or not 400 <= status <= 599:
        return None
    return STATUS.get(status, FailureKind.OVERLOADED if status >= 500 else FailureKind.INVALID)


# ---- by what it is ------------------------------------------------------------------------------------------------


def _by_class(error: BaseException) -> FailureKind | None:
    if isinstance(error, ToolTimeoutError):
        return FailureKind.TIMEOUT
    for base in type(error).__mro__:
        kind = CLASSES.get(_root(base), {}).get(base.__name__)
        if kind is not None and not _is_wrapping(error, base):
            return kind
    return None


def _root(kind: type) -> str:
    return str(kind.__module__).partition(".")[0]


def _is_wrapping(error: BaseException, base: type) -> bool:
    """urllib's URLError carries what happened as `.reason`, if it is an exception; that decides then."""
    return base.__module__ == "urllib.error" and isinstance(_get(error, "reason"), BaseException)


def _by_errno(error: BaseException) -> FailureKind | None:
    return ERRNOS.get(error.errno) if isinstance(error, OSError) and error.errno is not None else None


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


def _chain(error: Any) -> Iterator[Any]:
    seen: set[int] = set()
    link: Any = error
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
