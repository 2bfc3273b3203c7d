"""What the gateway's answers mean: a JSON object, or an error of ours. Pure.

2xx with a JSON object      the answer
402, 409                    the gateway's decision; raised whatever the policy is
401, 403, other 4xx         refused for good: trying again cannot help
408, 425, 429, 5xx, other   no sensible answer: `Unanswered`, worth another try
"""

import json
import ssl
from collections.abc import Mapping
from typing import Any, cast

from actguard.exceptions import ActGuardPaymentRequired, BudgetExceededError, BudgetTransportError

_AGAIN = frozenset({408, 425, 429})
_CU_PER_USD = 1000


class Unanswered(BudgetTransportError):  # noqa: N818 - says what happened; public as BudgetTransportError
    """The gateway could not be reached, or gave no sensible answer; another try may help."""

    def __init__(self, message: str = "", *, reason: str = "unreachable", again: bool = True) -> None:
        super().__init__(message, reason=reason)
        self.again = again


def read(path: str, status: int, content: bytes) -> dict[str, Any]:
    """The object in an answer.

    Raises:
        ActGuardPaymentRequired: 402.
        BudgetExceededError: 409.
        BudgetTransportError: it was refused for good; `reason` is "unauthorized" or "rejected".
        Unanswered: there is no sense in it.
    """
    body = _object(content)
    if 200 <= status < 300:
        if body is None:
            raise Unanswered(f"The gateway answered {path} with something that is not JSON", reason="garbage")
        return body
    if status == 402:
        raise _payment_required(path, body or {})
    if status == 409:
        raise _exceeded(body or {})
    said = _text((body or {}).get("error")) or _text((body or {}).get("message"))
    if status in (401, 403):
        raise _refused(
            f"The gateway does not accept the api_key for {path}: {said or 'unknown, revoked, or not allowed'}",
            "unauthorized",
            status,
            body,
        )
    if 400 <= status < 500 and status not in _AGAIN and body is not None and said:
        raise _refused(f"The gateway refused {path}: {said}", "rejected", status, body)
    if status in _AGAIN or status >= 500:
        raise Unanswered(f"The gateway is busy or failing{f': {said}' if said else ''}", reason="overloaded")
    raise Unanswered(
        f"What answers {path} does not look like a gateway (HTTP {status}): check gateway_url", reason="garbage"
    )


def explained(error: Exception, url: str) -> Unanswered:
    """The error for a request that got no answer at all, with the fix where one is known."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLError):
        cause = cause.__cause__ or cause.__context__
    if cause is not None:
        return Unanswered(_tls(cause, url), reason="tls", again=False)
    kind = type(error).__name__
    if "Timeout" in kind:
        return Unanswered(f"The gateway at {url} did not answer in time", reason="timeout")
    return Unanswered(f"The gateway at {url} could not be reached: {error or kind}", reason="unreachable")


def too_late(url: str, seconds: float) -> Unanswered:
    return Unanswered(f"The gateway at {url} did not answer within {seconds:g} s", reason="timeout", again=False)


def _tls(error: ssl.SSLError, url: str) -> str:
    said = f"{getattr(error, 'verify_message', '') or ''} {error.reason or ''} {error}".lower()
    if "self-signed" in said or "self signed" in said or "unable to get local issuer" in said:
        fix = "its certificate is not signed by an authority that is known here: give that one's PEM file as ca_file="
    elif "expired" in said or "not yet valid" in said:
        fix = "its certificate is not valid at this time: renew it, or set the clock"
    elif "hostname mismatch" in said or "ip address mismatch" in said or "match" in said:
        fix = "its certificate is for another name: use that name in gateway_url"
    elif "wrong_version_number" in said or "wrong version number" in said or "unknown_protocol" in said:
        fix = "it does not speak TLS there: use http:// in gateway_url, or the port that does"
    else:
        fix = f"{error.reason or error}"
    return f"No secure connection to the gateway at {url}: {fix}"


def _refused(message: str, reason: str, status: int, body: Mapping[str, Any] | None) -> BudgetTransportError:
    details = {"status": status, "gateway_code": _text((body or {}).get("code"))}
    return BudgetTransportError(message, reason=reason, details=details, retryable=False)


def _payment_required(path: str, body: Mapping[str, Any]) -> ActGuardPaymentRequired:
    def said(name: str, older: str) -> Any:
        return body.get(name, body.get(older))

    return ActGuardPaymentRequired(
        path=path,
        user_message=_text(said("message", "Message")) or _text(body.get("error")),
        current_balance=_number(said("current_balance", "CurrentBalance")),
        required_amount=_number(said("required_amount", "RequiredAmount")),
        shortfall=_number(said("shortfall", "Shortfall")),
        topup_url=_text(said("topup_url", "TopupURL")),
        topup_session_id=_text(said("topup_session_id", "TopupSessionID")),
        user_id=_text(said("user_id", "UserID")),
    )


def _exceeded(body: Mapping[str, Any]) -> BudgetExceededError:
    tokens, token_limit = _number(body.get("tokens_used")), _number(body.get("token_limit"))
    used, limit = _usd(body, "usd_used_micros", "cost_used"), _usd(body, "usd_limit_micros", "cost_limit")
    by_tokens = token_limit is not None and tokens is not None and tokens >= token_limit
    scope = _text(body.get("scope"))
    details = {name: body[name] for name in ("scope", "resets_at", "window") if _text(body.get(name))}
    return BudgetExceededError(
        _text(body.get("error"))
        or _text(body.get("message"))
        or f"A budget that is shared through the gateway{f' ({scope})' if scope else ''} has nothing left for this.",
        details=details,
        user_id=_text(body.get("user_id")),
        tokens_used=int(tokens or 0),
        token_limit=float("inf") if token_limit is None else token_limit,
        usd_used=used or 0.0,
        usd_limit=float("inf") if limit is None else limit,
        limit_type="token" if by_tokens else "usd",
        scope_name=scope,
        origin="remote",
    )


def _usd(body: Mapping[str, Any], micros: str, units: str) -> float | None:
    value = _number(body.get(micros))
    if value is not None:
        return value / 1_000_000
    value = _number(body.get(units))
    return None if value is None else value / _CU_PER_USD


def _object(content: bytes) -> dict[str, Any] | None:
    try:
        parsed: Any = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", parsed) if isinstance(parsed, dict) else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value or abs(value) > 1e15:
        return None
    return value
