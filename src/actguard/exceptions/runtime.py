"""The surroundings: context, gateway, stores, an SDK that cannot be watched."""

from collections.abc import Mapping
from typing import Any

from actguard.exceptions.base import ActGuardRuntimeContextError, ActGuardRuntimeError


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
    """The gateway could not be reached or did not answer in time; or, not `retryable`, it refused the request."""

    default_code = "BUDGET_TRANSPORT"
    default_retryable = True


class MonitoringDegradedError(ActGuardRuntimeError):
    """Events could not be delivered. For programs that want to raise it: actguard itself logs what is lost."""

    default_code = "MONITORING_DEGRADED"
    default_retryable = True


class ActGuardPaymentRequired(ActGuardRuntimeError):  # noqa: N818 - the public name
    """The account's prepaid balance does not cover the request (HTTP 402). Amounts are micro-dollars."""

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
        where = f"; it can be topped up at {self.topup_url}" if self.topup_url else ""
        return f"The account's balance does not cover this call{where}."


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
