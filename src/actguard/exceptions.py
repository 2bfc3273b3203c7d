"""Every error, one tree.

    ActGuardError
    ├── ActGuardToolError
    │   ├── ToolGuardError              a guard said no: the work was not done
    │   │   ├── RateLimitExceeded, CircuitOpenError, MaxAttemptsExceeded, IdempotencyError, LoopDetected, ...
    │   │   └── BudgetExceededError     ...or was done, and paid, and is in `.response`
    │   └── ToolExecutionError          the work was tried and failed
    │       └── ToolTimeoutError        ...in time; also a TimeoutError
    ├── ActGuardRuntimeError            the surroundings: context, gateway, stores, an SDK we cannot watch
    └── ActGuardUsageError              a mistake in the calling code, raised where it is written

Messages are read by machines: frameworks look for words in `str(error)` and retry, or shorten the conversation, when
they find them. No message here contains such a word (`_SIGNALS`), whatever name or number it was built from. No class
here is an SDK's, a ConnectionError or, but for ToolTimeoutError, a TimeoutError.
"""

import math
import re
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

__all__ = [
    "ActGuardError",
    "ActGuardPaymentRequired",
    "ActGuardRuntimeContextError",
    "ActGuardRuntimeError",
    "ActGuardToolError",
    "ActGuardUsageError",
    "ActGuardViolation",
    "BudgetClientMismatchError",
    "BudgetConfigurationError",
    "BudgetExceededError",
    "BudgetPaymentRequiredError",
    "BudgetTransportError",
    "BudgetWaitTimeoutError",
    "CircuitBreakerConfigurationError",
    "CircuitOpenError",
    "ConcurrencyExceeded",
    "DuplicateIdempotencyKey",
    "GuardError",
    "IdempotencyError",
    "IdempotencyInProgress",
    "IdempotencyOutcomeUnknown",
    "IdempotencyPayloadMismatch",
    "InvalidIdempotentToolError",
    "InvalidToolError",
    "LoopDetected",
    "MaxAttemptsConfigurationError",
    "MaxAttemptsExceeded",
    "MissingIdempotencyKeyError",
    "MissingRuntimeContextError",
    "MonitoringDegradedError",
    "NestedBudgetGuardError",
    "NestedRunContextError",
    "NestedRuntimeContextError",
    "PolicyViolationError",
    "RateLimitExceeded",
    "ReportingContractError",
    "ScopeValidationError",
    "ScopeValueError",
    "SessionUsageError",
    "StoreError",
    "StoreFullError",
    "StoreUnavailableError",
    "TimeoutUsageError",
    "TooManyOrphansError",
    "ToolExecutionError",
    "ToolGuardError",
    "ToolTimeoutError",
    "UnknownPriceError",
    "UnmeteredCallError",
    "UnsupportedSDKError",
]

# What retry and truncation logic in the wild looks for in an error's text.
_SIGNALS = re.compile(r"429|rate limit|too many requests|maximum context length|input is too long", re.IGNORECASE)


def unmistakable(text: str) -> str:
    """*text* with no signal in it that a framework would take for a throttled or over-long request."""
    return _SIGNALS.sub(lambda found: f"{found[0][0]}·{found[0][1:]}", text)


def _times(count: int) -> str:
    return "once" if count == 1 else "twice" if count == 2 else f"{count} times"


def _seconds(seconds: float) -> str:
    return "1 second" if seconds == 1 else f"{seconds:.3g} seconds"


class ActGuardError(Exception):
    """Base of every error of actguard.

    Args:
        message: one or two sentences for a person, with the fix where there is one.
        code: stable upper-case word for programs; a default per class.
        reason: short lower-case cause, where one code has several.
        details: facts behind the decision; never secrets.
        retryable: whether the same call may succeed later without any change.
    """

    default_code: ClassVar[str] = "ACTGUARD_ERROR"
    default_retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str = "",
        code: str | None = None,
        reason: str | None = None,
        details: Mapping[str, Any] | None = None,
        retryable: bool | None = None,
    ) -> None:
        self.message = unmistakable(message or type(self).__name__)
        super().__init__(self.message)
        self.code = code or self.default_code
        self.reason = reason
        self.details: dict[str, Any] = dict(details or {})
        self.retryable = self.default_retryable if retryable is None else retryable

    def to_prompt(self) -> str:
        """One sentence that a model can act on."""
        return f"The call was not completed: {self.message}"

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self.args, self._portable_state())

    def _portable_state(self) -> dict[str, Any]:
        return dict(self.__dict__)


def _restore(cls: type[ActGuardError], args: tuple[Any, ...], state: dict[str, Any]) -> ActGuardError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


def _without_what_stays(state: dict[str, Any], name: str) -> dict[str, Any]:
    """*state*, where a live stream or connection under *name* stays behind: the refusal itself must travel."""
    import pickle

    try:
        pickle.dumps(state[name])
    except Exception:  # noqa: BLE001 - whatever an object of the caller's raises when it is pickled
        state[name] = None
    return state


# ---- guards that said no ------------------------------------------------------------------------------------------


class ActGuardToolError(ActGuardError):
    """About one tool or model call."""

    default_code = "TOOL_ERROR"

    tool: str | None = None
    """The function it happened to, as guards name it."""
    guard: str | None = None
    """The guard that said so: "rate_limit", ..."""
    retry_after: float | None = None
    """Seconds until the same call may succeed; None: nobody knows, or never."""


class ToolGuardError(ActGuardToolError):
    """A guard refused; what it guards was not run (or, for a budget, was paid and is handed over)."""

    default_code = "TOOL_BLOCKED"


class ToolExecutionError(ActGuardToolError):
    """The guarded work was started and did not succeed."""

    default_code = "TOOL_FAILED"


# ---- tool guards that said no -------------------------------------------------------------------------------------


class RateLimitExceeded(ToolGuardError):  # noqa: N818 - the public name
    """Too many calls in the period; `retry_after` says when there is room again."""

    default_code = "RATE_LIMIT_EXCEEDED"
    default_retryable = True

    def __init__(
        self,
        message: str = "",
        code: str | None = None,
        reason: str | None = None,
        details: Mapping[str, Any] | None = None,
        retryable: bool | None = None,
        *,
        tool: str = "tool",
        limit: int = 0,
        period: float = 0.0,
        remaining: int = 0,
        retry_after: float = 0.0,
        scope: Any = None,
    ) -> None:
        super().__init__(
            message or f"{tool} may be called {_times(limit)} in {_seconds(period)}; again in {_seconds(retry_after)}.",
            code,
            reason,
            details,
            retryable,
        )
        self.tool, self.guard, self.retry_after = tool, "rate_limit", retry_after
        self.limit, self.period, self.remaining, self.scope = limit, period, remaining, scope

    def to_prompt(self) -> str:
        return unmistakable(
            f"{self.tool} was not run: it was called too often. Go on without it, "
            f"or call it again in {_seconds(self.retry_after or 0.0)}."
        )


class CircuitOpenError(ToolGuardError):
    """The dependency failed too often just now; it is left alone until `retry_after` seconds are over."""

    default_code = "CIRCUIT_OPEN"
    default_retryable = True

    def __init__(
        self,
        message: str = "",
        code: str | None = None,
        reason: str | None = None,
        details: Mapping[str, Any] | None = None,
        retryable: bool | None = None,
        *,
        tool: str = "tool",
        dependency_name: str = "",
        state: str = "open",
        retry_after: float | None = None,
    ) -> None:
        when = "" if retry_after is None else f" It is tried again in {_seconds(retry_after)}."
        super().__init__(
            message or f"{dependency_name!r} keeps failing, so {tool} was not run.{when}",
            code,
            reason or state,
            details,
            retryable,
        )
        self.tool, self.guard, self.retry_after = tool, "circuit_breaker", retry_after
        self.dependency_name, self.state = dependency_name, state

    def to_prompt(self) -> str:
        when = "later" if self.retry_after is None else f"in {_seconds(self.retry_after)}"
        return unmistakable(
            f"{self.tool} was not run: {self.dependency_name} is failing. Go on without it, or try again {when}."
        )


class MaxAttemptsExceeded(ToolGuardError):  # noqa: N818 - the public name
    """The function was called as often as this run allows."""

    default_code = "MAX_ATTEMPTS_EXCEEDED"

    def __init__(
        self,
        message: str = "",
        code: str | None = None,
        reason: str | None = None,
        details: Mapping[str, Any] | None = None,
        retryable: bool | None = None,
        *,
        tool: str = "tool",
        used: int = 0,
        limit: int = 0,
        refused: int = 0,
        run_id: str | None = None,
    ) -> None:
        super().__init__(
            message or f"{tool} was called {_times(used)} in this run, which is all that it may be.",
            code,
            reason,
            details,
            retryable,
        )
        self.tool, self.guard = tool, "max_attempts"
        self.used, self.limit, self.refused, self.run_id = used, limit, refused, run_id

    def to_prompt(self) -> str:
        return unmistakable(f"{self.tool} was not run: it may not be called any more in this task. Go on without it.")


class LoopDetected(ToolGuardError):  # noqa: N818 - says what happened
    """The same call was made again and again: `count` times, `limit` are allowed."""

    default_code = "LOOP_DETECTED"

    def __init__(
        self,
        message: str = "",
        code: str | None = None,
        reason: str | None = None,
        details: Mapping[str, Any] | None = None,
        retryable: bool | None = None,
        *,
        tool: str = "tool",
        count: int = 0,
        limit: int = 0,
        run_id: str | None = None,
    ) -> None:
        super().__init__(
            message or f"{tool} was called {_times(count)} with the same arguments in this run.",
            code,
            reason,
            details,
            retryable,
        )
        self.tool, self.guard = tool, "no_repeat"
        self.count, self.limit, self.run_id = count, limit, run_id

    def to_prompt(self) -> str:
        return unmistakable(
            f"{self.tool} was not run: this exact call was made {_times(self.limit)} already. Change your approach."
        )


class ConcurrencyExceeded(ToolGuardError):  # noqa: N818 - says what happened
    """As many calls of the function are running as may."""

    default_code = "CONCURRENCY_EXCEEDED"
    default_retryable = True

    def __init__(
        self,
        message: str = "",
        code: str | None = None,
        reason: str | None = None,
        details: Mapping[str, Any] | None = None,
        retryable: bool | None = None,
        *,
        tool: str = "tool",
        limit: int = 0,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(
            message or f"{tool} is running {_times(limit)} already, which is all that may run at once.",
            code,
            reason,
            details,
            retryable,
        )
        self.tool, self.guard, self.retry_after, self.limit = tool, "concurrency", retry_after, limit

    def to_prompt(self) -> str:
        return unmistakable(f"{self.tool} was not run: it is busy. Wait for calls that run to end, then try again.")


class ScopeValueError(ToolGuardError):
    """The value that tells callers apart is missing from this call, or has no stable text; the call was not made."""

    default_code = "SCOPE_VALUE"

    def to_prompt(self) -> str:
        return f"The call was not made: {self.message}"


class IdempotencyError(ToolGuardError):
    """About the idempotency key of a call: `key`, and what is wrong with it."""

    default_code = "IDEMPOTENCY"

    def __init__(
        self,
        message: str = "",
        code: str | None = None,
        reason: str | None = None,
        details: Mapping[str, Any] | None = None,
        retryable: bool | None = None,
        *,
        tool: str = "tool",
        key: Any = None,
        run_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, code, reason, details, retryable)
        self.tool, self.guard, self.retry_after = tool, "idempotent", retry_after
        self.key, self.run_id = key, run_id

    def to_prompt(self) -> str:
        return f"The call was not made: {self.message}"


class MissingIdempotencyKeyError(IdempotencyError):
    """The call has no key, or one that is empty or neither text nor a number."""

    default_code = "MISSING_IDEMPOTENCY_KEY"


class IdempotencyInProgress(IdempotencyError):  # noqa: N818 - the public name
    """A call with this key is running."""

    default_code = "IDEMPOTENCY_IN_PROGRESS"
    default_retryable = True

    def to_prompt(self) -> str:
        return "The same call is running already: wait for it to end, and do not make it again."


class DuplicateIdempotencyKey(IdempotencyError):  # noqa: N818 - the public name
    """A call with this key was made and succeeded (`on_duplicate="raise"`)."""

    default_code = "DUPLICATE_IDEMPOTENCY_KEY"

    def to_prompt(self) -> str:
        return "This call was made before and succeeded: do not make it again."


class IdempotencyOutcomeUnknown(IdempotencyError):  # noqa: N818 - the public name
    """A call with this key was started, and nobody knows whether it took effect: somebody has to look."""

    default_code = "IDEMPOTENCY_OUTCOME_UNKNOWN"

    def to_prompt(self) -> str:
        return (
            "This call was started before and may have taken effect: do not make it again. "
            "Check by other means whether it did, or ask a person."
        )


class IdempotencyPayloadMismatch(IdempotencyError):  # noqa: N818 - beside its kin
    """The key was used before, with other arguments."""

    default_code = "IDEMPOTENCY_PAYLOAD_MISMATCH"

    def to_prompt(self) -> str:
        return "This idempotency key belongs to a call with other arguments: use a new key for a new call."


class PolicyViolationError(ToolGuardError):
    """Custody refused: see `code`, `details` and `fix_hint`.

    NO_SESSION              no session is open, or the one that was is over
    MISSING_FACT            an argument is nothing that was read (`reason`: unknown, source, trust, age, used)
    RECORD_MISMATCH         arguments were not read together
    THRESHOLD_EXCEEDED      a number, or a sum, is out of bounds
    PATTERN_BLOCKED         a text matches what it must not, or does not match what it must
    VALUE_NOT_ALLOWED, HOST_NOT_ALLOWED    an argument is none of those it may be
    SECRET_LEAK             an argument carries a value that may not leave
    TOOL_REQUIRED, UNTRUSTED_INPUT, NOT_IN_PLAN    what happened before does not allow the call
    RULE_VIOLATED           a rule of the program's own refused
    MISSING_ARGUMENT        an argument that a rule needs was not given
    INVALID_ARGUMENT        an argument cannot be checked: NaN, a wrong type, too long or too deep
    TOO_MANY_RESULTS, EXTRACT_FAILED    a read was made, and proves nothing: what it returned is in `result`
    """

    default_code = "POLICY_VIOLATION"

    def __init__(
        self,
        message: str = "",
        code: str | None = None,
        reason: str | None = None,
        details: Mapping[str, Any] | None = None,
        retryable: bool | None = None,
        *,
        fix_hint: str = "",
        result: Any = None,
    ) -> None:
        super().__init__(message, code, reason, details, retryable)
        self.fix_hint = fix_hint
        self.result = result

    def to_prompt(self) -> str:
        hint = f" {self.fix_hint}" if self.fix_hint else ""
        return f"Blocked by policy: {self.message}{unmistakable(hint)}"

    def _portable_state(self) -> dict[str, Any]:
        return _without_what_stays(super()._portable_state(), "result")


class BudgetExceededError(ToolGuardError):
    """A budget is used up, or (strict) cannot cover the call.

    `phase` says when: "before" nothing was sent, "during" a stream was cut, "after" the reply was paid for and is in
    `response`. `origin` is "remote" when the gateway said so.
    """

    default_code = "BUDGET_EXCEEDED"

    def __init__(
        self,
        message: str = "",
        code: str | None = None,
        reason: str | None = None,
        details: Mapping[str, Any] | None = None,
        retryable: bool | None = None,
        *,
        user_id: str | None = None,
        tokens_used: int = 0,
        token_limit: float = math.inf,
        usd_used: float = 0.0,
        usd_limit: float = math.inf,
        limit_type: Literal["token", "usd"] = "usd",
        phase: Literal["before", "during", "after"] = "before",
        scope_id: str | None = None,
        scope_name: str | None = None,
        scope_kind: Literal["root", "nested"] = "root",
        parent_scope_id: str | None = None,
        root_scope_id: str | None = None,
        origin: Literal["local", "remote"] = "local",
        response: Any = None,
    ) -> None:
        super().__init__(message, code, reason, details, retryable)
        self.user_id = user_id
        self.tokens_used = tokens_used
        self.token_limit = token_limit
        self.usd_used = usd_used
        self.usd_limit = usd_limit
        self.limit_type = limit_type
        self.phase = phase
        self.scope_id = scope_id
        self.scope_name = scope_name
        self.scope_kind = scope_kind
        self.parent_scope_id = parent_scope_id
        self.root_scope_id = root_scope_id
        self.origin = origin
        self.response = response

    def with_response(self, response: Any) -> Self:
        """The same refusal, handing over a reply that was paid for."""
        self.response = response
        return self

    def to_prompt(self) -> str:
        kind = "dollar" if self.limit_type == "usd" else "token"
        return (
            f"The {kind} budget of this task is used up: make no further model calls, "
            "and answer with what you already have."
        )

    def _portable_state(self) -> dict[str, Any]:
        return _without_what_stays(super()._portable_state(), "response")


class BudgetWaitTimeoutError(BudgetExceededError):
    """The call waited `wait_timeout` seconds for calls in flight to settle; nothing was sent."""

    default_code = "BUDGET_WAIT_TIMEOUT"
    default_retryable = True

    def to_prompt(self) -> str:
        return "The budget is held by other calls that are still running: wait for them to finish, then try again."


class UnknownPriceError(ToolGuardError):
    """Under a dollar limit, a call to a model without a known price was refused before it was sent."""

    default_code = "UNKNOWN_PRICE"

    def __init__(
        self,
        message: str = "",
        code: str | None = None,
        reason: str | None = None,
        details: Mapping[str, Any] | None = None,
        retryable: bool | None = None,
        *,
        model: str = "",
        provider: str | None = None,
    ) -> None:
        where = f" at {provider}" if provider else ""
        super().__init__(
            message
            or f"No price is known for model {model!r}{where}, and a dollar limit is active. State one: "
            f"actguard.prices.set({model!r}, input=..., output=..., per='1M'), "
            "or choose what happens with actguard.prices.unknown or BudgetGuard(unknown_price=...).",
            code,
            reason,
            details,
            retryable,
        )
        self.model = model
        self.provider = provider

    def to_prompt(self) -> str:
        return unmistakable(
            f"The model {self.model!r} may not be used here, because its price is not known: use another model."
        )


class UnmeteredCallError(ToolGuardError):
    """A billed call that cannot be metered was refused inside a guard with a limit (policy `unmetered="block"`)."""

    default_code = "UNMETERED_CALL"

    def to_prompt(self) -> str:
        return "This kind of call may not be made here, because its cost cannot be measured: use another way."


# ---- tools that failed --------------------------------------------------------------------------------------------


class ToolTimeoutError(ToolExecutionError, TimeoutError):
    """The function took longer than it may.

    `started` is False when it never began (and never will); `still_running` is True when it could not be stopped: a
    thread cannot be killed, and a coroutine may refuse to be cancelled.
    """

    default_code = "TOOL_TIMEOUT"
    default_retryable = True

    def __init__(
        self,
        message: str = "",
        code: str | None = None,
        reason: str | None = None,
        details: Mapping[str, Any] | None = None,
        retryable: bool | None = None,
        *,
        tool_name: str = "tool",
        timeout_s: float = 0.0,
        run_id: str | None = None,
        started: bool = True,
        still_running: bool = False,
    ) -> None:
        state = ", and is still running" if still_running else "" if started else ", and was never started"
        super().__init__(
            message or f"{tool_name} did not end within {_seconds(timeout_s)}{state}.", code, reason, details, retryable
        )
        self.tool, self.guard = tool_name, "timeout"
        self.tool_name, self.timeout_s, self.run_id = tool_name, timeout_s, run_id
        self.started, self.still_running = started, still_running

    def to_prompt(self) -> str:
        doubt = " It may still take effect: check before you call it again." if self.still_running else ""
        return unmistakable(f"{self.tool_name} took too long and was stopped waiting for.{doubt}")


class TooManyOrphansError(ToolGuardError):
    """Calls that outlived their timeout still run, as many as may: no further one is started."""

    default_code = "TOO_MANY_ORPHANS"
    default_retryable = True

    def to_prompt(self) -> str:
        return "The tool was not run: earlier calls of it hang. Go on without it."


# ---- surroundings -------------------------------------------------------------------------------------------------


class ActGuardRuntimeError(ActGuardError):
    """Something around the call: context, transport, an SDK."""

    default_code = "RUNTIME_ERROR"


class ActGuardRuntimeContextError(ActGuardRuntimeError):
    """Entered, left or nested in a place where that cannot work."""

    default_code = "RUNTIME_CONTEXT"


class MissingRuntimeContextError(ActGuardRuntimeContextError):
    """Needs an active run: `with client.run(...)`."""

    default_code = "MISSING_RUN"


class NestedRuntimeContextError(ActGuardRuntimeContextError):
    """A run is already active in this context."""

    default_code = "NESTED_RUN"


class NestedBudgetGuardError(ActGuardRuntimeContextError):
    """A guard was entered again while it was still open."""

    default_code = "NESTED_BUDGET_GUARD"


class BudgetConfigurationError(ActGuardRuntimeContextError):
    """A budget cannot work the way it is set up here."""

    default_code = "BUDGET_CONFIGURATION"


class BudgetClientMismatchError(ActGuardRuntimeContextError):
    """A guard of one client was used inside a run of another."""

    default_code = "BUDGET_CLIENT_MISMATCH"


class UnsupportedSDKError(ActGuardRuntimeError):
    """A provider SDK is installed that actguard cannot watch; running on would be unguarded."""

    default_code = "UNSUPPORTED_SDK"

    def __init__(
        self,
        message: str = "",
        code: str | None = None,
        reason: str | None = None,
        details: Mapping[str, Any] | None = None,
        retryable: bool | None = None,
        *,
        sdk: str = "",
        version: str = "",
        supported: str = "",
    ) -> None:
        super().__init__(message, code, reason, details, retryable)
        self.sdk = sdk
        self.version = version
        self.supported = supported


class BudgetTransportError(ActGuardRuntimeError):
    """The gateway could not be reached or did not answer in time."""

    default_code = "BUDGET_TRANSPORT"
    default_retryable = True


class MonitoringDegradedError(ActGuardRuntimeError):
    """Events could not be delivered."""

    default_code = "MONITORING_DEGRADED"
    default_retryable = True


class ActGuardPaymentRequired(ActGuardRuntimeError):  # noqa: N818 - the public name
    """The account's prepaid balance does not cover the request (HTTP 402). Amounts as the gateway states them."""

    default_code = "PAYMENT_REQUIRED"

    def __init__(
        self,
        message: str = "",
        code: str | None = None,
        reason: str | None = None,
        details: Mapping[str, Any] | None = None,
        retryable: bool | None = None,
        *,
        path: str | None = None,
        status: int = 402,
        user_message: str | None = None,
        current_balance: float | None = None,
        required_amount: float | None = None,
        shortfall: float | None = None,
        topup_url: str | None = None,
        topup_session_id: str | None = None,
        user_id: str | None = None,
    ) -> None:
        super().__init__(
            message or user_message or "The balance does not cover this request.", code, reason, details, retryable
        )
        self.path = path
        self.status = status
        self.user_message = user_message
        self.current_balance = current_balance
        self.required_amount = required_amount
        self.shortfall = shortfall
        self.topup_url = topup_url
        self.topup_session_id = topup_session_id
        self.user_id = user_id

    def to_prompt(self) -> str:
        where = f" Top up at {self.topup_url}." if self.topup_url else ""
        return f"The account's balance does not cover this call.{where}"


class StoreError(ActGuardRuntimeError):
    """About the store that guards keep their state in."""

    default_code = "STORE"


class StoreUnavailableError(StoreError):
    """The store did not answer. What a guard then does is its `on_store_error`."""

    default_code = "STORE_UNAVAILABLE"
    default_retryable = True


class StoreFullError(StoreError):
    """The store holds as many live keys as it may; it refuses new ones, and forgets none."""

    default_code = "STORE_FULL"
    default_retryable = True


# ---- mistakes in the calling code ---------------------------------------------------------------------------------


class ActGuardUsageError(ActGuardError):
    """Wrong use of the API: names the argument and says what is allowed."""

    default_code = "USAGE_ERROR"

    def __init__(
        self,
        message: str = "",
        code: str | None = None,
        reason: str | None = None,
        details: Mapping[str, Any] | None = None,
        retryable: bool | None = None,
        *,
        argument: str | None = None,
    ) -> None:
        super().__init__(message, code, reason, details, retryable)
        self.argument = argument


class ScopeValidationError(ActGuardUsageError):
    """A scope name that does not fit."""


class SessionUsageError(ActGuardUsageError):
    """A custody session used wrongly."""


class TimeoutUsageError(ActGuardUsageError):
    """A `timeout` that cannot be applied to this function."""


class InvalidToolError(ActGuardUsageError):
    """Something that cannot be guarded as it is: says why, and what to guard instead."""


class InvalidIdempotentToolError(ActGuardUsageError):
    """`idempotent` cannot be applied to this function."""


class CircuitBreakerConfigurationError(ActGuardUsageError):
    """Contradictory or invalid circuit breaker options."""


class MaxAttemptsConfigurationError(ActGuardUsageError):
    """Invalid `max_attempts` options."""


class ReportingContractError(ActGuardUsageError):
    """An event that does not fit the envelope."""


# ---- names kept ---------------------------------------------------------------------------------------------------

GuardError = PolicyViolationError
NestedRunContextError = NestedRuntimeContextError
ActGuardViolation = ToolGuardError
BudgetPaymentRequiredError = ActGuardPaymentRequired
