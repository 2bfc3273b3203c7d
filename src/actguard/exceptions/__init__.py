"""Every error, one tree::

    ActGuardError
    ├── ActGuardToolError
    │   ├── ToolGuardError              a guard said no: the work was not done
    │   │   ├── RateLimitExceeded, CircuitOpenError, MaxAttemptsExceeded, IdempotencyError, LoopDetected, ...
    │   │   └── BudgetExceededError     ...or was done, and paid, and is in its response
    │   └── ToolExecutionError          the work was tried and failed
    │       └── ToolTimeoutError        ...in time; also a TimeoutError
    ├── ActGuardRuntimeError            the surroundings: context, gateway, stores, an SDK we cannot watch
    └── ActGuardUsageError              a mistake in the calling code, raised where it is written

Messages are read by machines: frameworks look for words in `str(error)` and retry, or shorten the conversation, when
they find them. No message contains such a word (`base.py`), whatever name or number it was built from. No class
here is an SDK's, a ConnectionError or, but for ToolTimeoutError, a TimeoutError.
"""

from actguard.exceptions.base import (
    ActGuardError,
    ActGuardRuntimeContextError,
    ActGuardRuntimeError,
    ActGuardToolError,
    ActGuardUsageError,
    ToolExecutionError,
    ToolGuardError,
)
from actguard.exceptions.budget import (
    BudgetExceededError,
    BudgetWaitTimeoutError,
    UnknownPriceError,
    UnmeteredCallError,
)
from actguard.exceptions.custody import (
    PolicyViolationError,
)
from actguard.exceptions.runtime import (
    ActGuardPaymentRequired,
    BudgetClientMismatchError,
    BudgetConfigurationError,
    BudgetTransportError,
    MissingRuntimeContextError,
    MonitoringDegradedError,
    NestedBudgetGuardError,
    NestedRuntimeContextError,
    StoreError,
    StoreFullError,
    StoreUnavailableError,
    UnsupportedSDKError,
)
from actguard.exceptions.tools import (
    CircuitOpenError,
    ConcurrencyExceeded,
    DuplicateIdempotencyKey,
    IdempotencyError,
    IdempotencyInProgress,
    IdempotencyOutcomeUnknown,
    IdempotencyPayloadMismatch,
    LoopDetected,
    MaxAttemptsExceeded,
    MissingIdempotencyKeyError,
    RateLimitExceeded,
    ScopeValueError,
    ToolTimeoutError,
    TooManyOrphansError,
)
from actguard.exceptions.usage import (
    CircuitBreakerConfigurationError,
    InvalidIdempotentToolError,
    InvalidToolError,
    MaxAttemptsConfigurationError,
    ReportingContractError,
    ScopeValidationError,
    SessionUsageError,
    TimeoutUsageError,
)

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

# Names kept.
GuardError = PolicyViolationError
NestedRunContextError = NestedRuntimeContextError
ActGuardViolation = ToolGuardError
BudgetPaymentRequiredError = ActGuardPaymentRequired
