"""A budget said no."""

import math
from collections.abc import Mapping
from typing import Any, Literal, Self

from actguard.exceptions.base import ToolGuardError, unmistakable, without_what_stays


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
        return without_what_stays(super()._portable_state(), "response")


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
    """A billed call was refused before it was sent, because what it costs cannot be measured, or (strict) bounded.

    `reason` tells which option decided: None, "deferred" and "process" are of `unmetered`, "bypass" and "unbounded" of
    the options of these names.
    """

    default_code = "UNMETERED_CALL"

    def to_prompt(self) -> str:
        return "This kind of call may not be made here, because its cost cannot be measured: use another way."
