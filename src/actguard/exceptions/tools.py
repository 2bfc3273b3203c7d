"""Tool guards that said no, and tools that failed."""

from collections.abc import Mapping
from math import inf
from typing import Any

from actguard.exceptions.base import ToolExecutionError, ToolGuardError, seconds, times, unmistakable


class RateLimitExceeded(ToolGuardError):  # noqa: N818 - the public name
    """Too many calls in the period; `retry_after` says when there is room again: never (`inf`) for one that costs more
    than fits."""

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
            message or f"{tool} may be called {times(limit)} in {seconds(period)}; again in {seconds(retry_after)}.",
            code,
            reason,
            details,
            retryable,
        )
        self.tool, self.guard, self.retry_after = tool, "rate_limit", retry_after
        self.limit, self.period, self.remaining, self.scope = limit, period, remaining, scope

    def to_prompt(self) -> str:
        if self.retry_after == inf:
            return unmistakable(f"{self.tool} was not run: it asks for more than is ever allowed; ask for less.")
        return unmistakable(
            f"{self.tool} was not run: it was called too often; go on without it, "
            f"or call it again in {seconds(self.retry_after or 0.0)}."
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
        when = "" if retry_after is None else f" It is tried again in {seconds(retry_after)}."
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
        when = "later" if self.retry_after is None else f"in {seconds(self.retry_after)}"
        return unmistakable(
            f"{self.tool} was not run: {self.dependency_name} is failing; go on without it, or try again {when}."
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
            message or f"{tool} was called {times(used)} in this run, which is all that it may be.",
            code,
            reason,
            details,
            retryable,
        )
        self.tool, self.guard = tool, "max_attempts"
        self.used, self.limit, self.refused, self.run_id = used, limit, refused, run_id

    def to_prompt(self) -> str:
        return unmistakable(f"{self.tool} was not run: it may not be called any more in this task; go on without it.")


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
            message or f"{tool} was called {times(count)} with the same arguments in this run.",
            code,
            reason,
            details,
            retryable,
        )
        self.tool, self.guard = tool, "no_repeat"
        self.count, self.limit, self.run_id = count, limit, run_id

    def to_prompt(self) -> str:
        return unmistakable(
            f"{self.tool} was not run: this exact call was made {times(self.limit)} already; change your approach."
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
            message or f"{tool} is running {times(limit)} already, which is all that may run at once.",
            code,
            reason,
            details,
            retryable,
        )
        self.tool, self.guard, self.retry_after, self.limit = tool, "concurrency", retry_after, limit

    def to_prompt(self) -> str:
        return unmistakable(f"{self.tool} was not run: it is busy; wait for calls that run to end, then try again.")


class ScopeValueError(ToolGuardError):
    """The value that tells callers apart is missing from this call, or has no stable text; the call was not made."""

    default_code = "SCOPE_VALUE"

    def to_prompt(self) -> str:
        return f"The call was not made: {self.message}"


class IdempotencyError(ToolGuardError):
    """About the idempotency key of a call.

    `key` is the key as the caller gave it, or as it was made for the call; `record` is what `actguard.idempotency`
    knows it by: for `resolve` and `forget`.
    """

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
        key: str | int | None = None,
        record: str | None = None,
        run_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, code, reason, details, retryable)
        self.tool, self.guard, self.retry_after = tool, "idempotent", retry_after
        self.key, self.record, self.run_id = key, record, run_id

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
            "This call was started before and may have taken effect: do not make it again; "
            "check by other means whether it did, or ask a person."
        )


class IdempotencyPayloadMismatch(IdempotencyError):  # noqa: N818 - beside its kin
    """The key was used before, with other arguments."""

    default_code = "IDEMPOTENCY_PAYLOAD_MISMATCH"

    def to_prompt(self) -> str:
        return "This idempotency key belongs to a call with other arguments: use a new key for a new call."


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
            message or f"{tool_name} did not end within {seconds(timeout_s)}{state}.", code, reason, details, retryable
        )
        self.tool, self.guard = tool_name, "timeout"
        self.tool_name, self.timeout_s, self.run_id = tool_name, timeout_s, run_id
        self.started, self.still_running = started, still_running

    def to_prompt(self) -> str:
        doubt = "; it may still take effect, so check before you call it again" if self.still_running else ""
        return unmistakable(f"{self.tool_name} took too long and was stopped waiting for{doubt}.")


class TooManyOrphansError(ToolGuardError):
    """Calls that outlived their timeout still run, as many as may: no further one is started."""

    default_code = "TOO_MANY_ORPHANS"
    default_retryable = True

    def to_prompt(self) -> str:
        return "The tool was not run: earlier calls of it hang; go on without it."
