"""HTTP senders, observed only: httpx, httpx2, aiohttp, requests and botocore behave as they would without us.

Two things can be seen nowhere else:

    attempts   whether a call's request left, and was answered: an answer that was lost may have been billed
    bypasses   a request to a provider that came through no watched SDK: told by the guard's `bypass` policy

Of senders within senders (httpx over aiohttp) the outermost is observed. Outside any guard, one ContextVar read is all
there is to it. Not seen: what sends through none of them, such as gRPC; WebSockets are `sockets.py`'s.
"""

import functools
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from urllib.parse import urljoin, urlsplit

from actguard.budget.account import Account, label
from actguard.budget.hosts import is_local, is_model_host
from actguard.context import current_frame
from actguard.exceptions import UnmeteredCallError
from actguard.propagation import Patching
from actguard.providers import processes
from actguard.providers.anthropic.endpoints import classify as anthropic_endpoint
from actguard.providers.call import Call, current_call
from actguard.providers.endpoint import Endpoint, Kind
from actguard.providers.google.endpoints import classify as google_endpoint
from actguard.providers.openai.endpoints import classify as openai_endpoint
from actguard.providers.routes import UNKNOWN_WRITE
from actguard.steps import frame_here, generators

_CALL = "actguard.call"  # where the seam keeps the call in the extensions of a request (stainless.py)

sending: ContextVar[bool] = ContextVar("actguard.sending", default=False)
"""Within a sender that is observed, or where an SDK opens what its seam has seen."""

_BILLED = frozenset({Kind.PRICED, Kind.DEFERRED, Kind.UNMETERED})

# What HTTP libraries raise before a request has left in full. A provider runs no half request.
_NEVER_SENT = frozenset(
    {
        # httpx, httpx2
        *("ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError", "WriteError", "WriteTimeout"),
        *("UnsupportedProtocol", "InvalidURL", "LocalProtocolError", "TooManyRedirects"),
        # aiohttp
        *("ClientConnectorError", "ConnectionTimeoutError", "ClientHttpProxyError", "ClientProxyConnectionError"),
        # requests, and urllib3 inside its errors
        *("MissingSchema", "InvalidSchema", "InvalidHeader", "NewConnectionError", "ConnectTimeoutError"),
        *("LocationParseError", "SSLCertVerificationError"),
        # from a transport of the caller's own
        *("ConnectionRefusedError", "gaierror"),
    }
)
_LIBRARIES = frozenset({"httpx", "httpx2", "httpcore", "httpcore2", "aiohttp", "requests", "urllib3"})


def observe(package: str, patches: Patching) -> None:
    """Observe the senders of *package*, which is imported."""
    library = sys.modules[package]
    if package == "aiohttp":
        patches.wrap(library.ClientSession, "_request", _around_aiohttp)
    elif package == "requests":
        patches.wrap(library.Session, "send", _around_send)
    elif package == "botocore.httpsession":
        patches.wrap(library.URLLib3Session, "send", _around_send)
    else:
        patches.wrap(library.Client, "send", _around_send)
        patches.wrap(library.AsyncClient, "send", _around_asend)


def never_sent(error: BaseException) -> bool:
    """Whether *error*, from a sender, shows that the request did not leave. In doubt it did."""
    error = _nearest_to_the_wire(error)
    for _ in range(5):  # requests: ConnectionError(MaxRetryError(reason=NewConnectionError(...)))
        if any(kind.__name__ in _NEVER_SENT for kind in type(error).__mro__):
            return True
        inner = getattr(error, "reason", None)
        if not isinstance(inner, BaseException):
            inner = error.args[0] if error.args else None
        if not isinstance(inner, BaseException):
            return False
        error = inner
    return False


def _nearest_to_the_wire(error: BaseException) -> BaseException:
    """What a library on another one has translated, before it was: httpx over aiohttp reports any lost connection as a
    failure to connect."""
    cause = error.__cause__
    while cause is not None and type(cause).__module__.partition(".")[0] in _LIBRARIES:
        error, cause = cause, cause.__cause__
    return error


# ---- around the senders ---------------------------------------------------------------------------------------------


def _around_send(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def send(client: Any, request: Any, **kwargs: Any) -> Any:
        account = (frame_here() if generators else current_frame()).scope
        if account is None or sending.get():
            return original(client, request, **kwargs)
        call = _leaving(account, request)
        try:
            sending.set(True)
            response = original(client, request, **kwargs)
        except BaseException as error:
            if call is not None:
                _failed(call, error, client)
            raise
        finally:
            sending.set(False)
        if call is not None and not 200 <= response.status_code < 300:
            call.sent = False  # a failure is not billed; what succeeded is, and the seam reads the rest of it
        return response

    return send


def _around_asend(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    async def send(client: Any, request: Any, **kwargs: Any) -> Any:
        account = (frame_here() if generators else current_frame()).scope
        if account is None or sending.get():
            return await original(client, request, **kwargs)
        call = _leaving(account, request)
        try:
            sending.set(True)
            response = await original(client, request, **kwargs)
        except BaseException as error:
            if call is not None:
                _failed(call, error, client)
            raise
        finally:
            sending.set(False)
        if call is not None and not 200 <= response.status_code < 300:
            call.sent = False  # a failure is not billed; what succeeded is, and the seam reads the rest of it
        return response

    return send


def _around_aiohttp(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    async def _request(session: Any, method: str, str_or_url: Any, **kwargs: Any) -> Any:
        account = (frame_here() if generators else current_frame()).scope
        if account is None or sending.get():
            return await original(session, method, str_or_url, **kwargs)
        base = getattr(session, "_base_url", None)
        url = str(str_or_url) if base is None else urljoin(str(base), str(str_or_url))
        call = _unattached(account, method, url)
        try:
            sending.set(True)
            response = await original(session, method, str_or_url, **kwargs)
        except BaseException as error:
            if call is not None:
                _failed(call, error, session)
            raise
        finally:
            sending.set(False)
        if call is not None and not 200 <= response.status < 300:
            call.sent = False  # a failure is not billed; what succeeded is, and the seam reads the rest of it
        return response

    return _request


@contextmanager
def seen() -> Generator[None]:
    """What is sent or opened here is an SDK's, and was seen at its seam."""
    token = sending.set(True)
    try:
        yield
    finally:
        sending.reset(token)


# ---- attempts -------------------------------------------------------------------------------------------------------


def _leaving(account: Any, request: Any) -> Call | None:
    """The call whose attempt *request* is, noted as sent; None if it is no call's.

    Raises:
        UnmeteredCallError: it bypasses the guard, whose policy is "block".
        BudgetExceededError: the answer to the last attempt was lost, and a strict budget has no room for another.
    """
    extensions = getattr(request, "extensions", None)  # requests has none
    call: Call | None = extensions.get(_CALL) if extensions is not None else None
    if call is None:
        return _unattached(account, request.method or "", str(request.url))
    if call.sent or call.settled:
        return _sent(call)
    call.sent = True
    return call


def _unattached(account: Any, method: str, url: str) -> Call | None:
    """`_leaving`, for a request that no seam has attached its call to."""
    inside = current_call.get()
    if inside is None:
        bypass(account, method, url)
        return None
    call = inside[1]
    if call is None:
        return None
    if call.account.book.host_of(_origin(url), call.wire.native).provider != call.host.provider:
        return None  # on the way to the call: an SDK fetches a token
    return _sent(call)


def _sent(call: Call) -> Call | None:
    if call.settled:
        return None
    if call.sent:
        call.resend()
    call.sent = True
    return call


def _failed(call: Call, error: BaseException, client: Any) -> None:
    if never_sent(error) or (type(error) is RuntimeError and _is_closed(client)):
        call.sent = False


def _is_closed(client: Any) -> bool:
    return bool(getattr(client, "is_closed", False) or getattr(client, "closed", False))


# ---- bypasses -------------------------------------------------------------------------------------------------------


def bypass(account: Any, method: str, url: str) -> None:
    """Tell of a billed request that no seam has seen.

    Raises:
        UnmeteredCallError: policy "block".
    """
    if not isinstance(account, Account) or not _is_billed(account, method, url):
        return
    if account.pid != processes.pid:
        processes.account_here(account)
        return
    parts = urlsplit(url)
    host = parts.hostname
    what = f"{method} {parts.path} at {host} came through no SDK that is watched"
    if account.policy.bypass == "block":
        raise UnmeteredCallError(
            f"{what}, and was not sent: {label(account)} could not count it. Call the provider through its "
            "official SDK, or let it pass with BudgetGuard(bypass='warn') or 'allow'.",
            reason="bypass",
            details={"host": host, "path": parts.path},
        )
    account.count_unmetered()
    if account.policy.bypass == "warn":
        account.tell_once(f"bypass {host}", f"{what}, so {label(account)} does not count it.")


def _is_billed(account: Account, method: str, url: str) -> bool:
    origin = _origin(url)
    host = account.book.host_of(origin)
    if not host.known or is_local(origin):
        return False
    if url.startswith(("ws:", "wss:")):
        return is_model_host(origin)
    endpoint = _endpoint(host.provider, method.upper(), url)
    return endpoint.kind in _BILLED and (endpoint is not UNKNOWN_WRITE or is_model_host(origin))


def _endpoint(provider: str, method: str, url: str) -> Endpoint:
    """By the tables of whoever may be spoken to there: most hosts speak OpenAI's wire, clouds also Anthropic's."""
    endpoint = UNKNOWN_WRITE
    for classify in _TABLES.get(provider, _TABLES["openai"]):
        endpoint = classify(method, url)
        if endpoint is not UNKNOWN_WRITE:
            break
    return endpoint


_TABLES: dict[str, tuple[Callable[[str, str], Endpoint], ...]] = {
    "openai": (openai_endpoint, anthropic_endpoint),
    "anthropic": (anthropic_endpoint, openai_endpoint),
    "aws": (anthropic_endpoint, openai_endpoint),
    "google": (google_endpoint, anthropic_endpoint, openai_endpoint),
}


def _origin(url: str) -> str:
    """Scheme, host and port."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}"
