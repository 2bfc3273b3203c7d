"""Hard edges for LLM agents: budgets that hold, over the SDKs you already use.

Every public name is found here and loaded when it is first used: `import actguard` costs next to nothing, and loads no
SDK, no pydantic and no HTTP library.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from actguard.budget.account import BudgetWarning
    from actguard.budget.guard import BudgetGuard
    from actguard.budget.policy import Policy
    from actguard.budget.pricing import PriceBook, prices
    from actguard.budget.reported import add_cost
    from actguard.budget.usage import Usage
    from actguard.custody.amounts import Threshold
    from actguard.custody.enforce import enforce
    from actguard.custody.fact_rules import RequireFact, SameRecord
    from actguard.custody.order_rules import InPlan, NotAfter, RequireTool
    from actguard.custody.prove import prove, track
    from actguard.custody.rule import Denial
    from actguard.custody.secret_rules import NoSecret
    from actguard.custody.session import session
    from actguard.custody.text_rules import AllowRegex, BlockRegex, OneOf, UrlHost
    from actguard.events.emitter import emit_event, emit_violation
    from actguard.exceptions import (
        ActGuardError,
        ActGuardPaymentRequired,
        ActGuardRuntimeContextError,
        ActGuardRuntimeError,
        ActGuardToolError,
        ActGuardUsageError,
        ActGuardViolation,
        BudgetClientMismatchError,
        BudgetConfigurationError,
        BudgetExceededError,
        BudgetPaymentRequiredError,
        BudgetTransportError,
        BudgetWaitTimeoutError,
        CircuitBreakerConfigurationError,
        CircuitOpenError,
        ConcurrencyExceeded,
        DuplicateIdempotencyKey,
        GuardError,
        IdempotencyError,
        IdempotencyInProgress,
        IdempotencyOutcomeUnknown,
        IdempotencyPayloadMismatch,
        InvalidIdempotentToolError,
        InvalidToolError,
        LoopDetected,
        MaxAttemptsConfigurationError,
        MaxAttemptsExceeded,
        MissingIdempotencyKeyError,
        MissingRuntimeContextError,
        MonitoringDegradedError,
        NestedBudgetGuardError,
        NestedRunContextError,
        NestedRuntimeContextError,
        PolicyViolationError,
        RateLimitExceeded,
        ReportingContractError,
        ScopeValidationError,
        ScopeValueError,
        SessionUsageError,
        StoreError,
        StoreFullError,
        StoreUnavailableError,
        TimeoutUsageError,
        ToolExecutionError,
        ToolGuardError,
        ToolTimeoutError,
        TooManyOrphansError,
        UnknownPriceError,
        UnmeteredCallError,
        UnsupportedSDKError,
    )
    from actguard.pipeline.decorate import explain
    from actguard.pipeline.settings import configure
    from actguard.providers.install import install, uninstall
    from actguard.runtime.client import Client
    from actguard.runtime.remote import GatewayWarning
    from actguard.stores.durable import DurableStore
    from actguard.stores.memory import MemoryStore
    from actguard.stores.redis import RedisStore
    from actguard.tools.circuit_breaker import circuit_breaker
    from actguard.tools.circuits import circuits
    from actguard.tools.concurrency import concurrency
    from actguard.tools.failure_kinds import (
        FAIL_ON_DEFAULT,
        FAIL_ON_INFRA_ONLY,
        FAIL_ON_STRICT,
        IGNORE_ON_DEFAULT,
        FailureKind,
    )
    from actguard.tools.idempotency_records import idempotency
    from actguard.tools.idempotent import Executed, NotExecuted, StillUnknown, idempotent
    from actguard.tools.max_attempts import max_attempts
    from actguard.tools.no_repeat import no_repeat
    from actguard.tools.rate_limit import rate_limit
    from actguard.tools.timeout import remaining, shutdown, timeout
    from actguard.tools.tool import tool

__version__ = "2.0.0.dev0"

__all__ = [
    "FAIL_ON_DEFAULT",
    "FAIL_ON_INFRA_ONLY",
    "FAIL_ON_STRICT",
    "IGNORE_ON_DEFAULT",
    "ActGuardError",
    "ActGuardPaymentRequired",
    "ActGuardRuntimeContextError",
    "ActGuardRuntimeError",
    "ActGuardToolError",
    "ActGuardUsageError",
    "ActGuardViolation",
    "AllowRegex",
    "BlockRegex",
    "BudgetClientMismatchError",
    "BudgetConfigurationError",
    "BudgetExceededError",
    "BudgetGuard",
    "BudgetPaymentRequiredError",
    "BudgetTransportError",
    "BudgetWaitTimeoutError",
    "BudgetWarning",
    "CircuitBreakerConfigurationError",
    "CircuitOpenError",
    "Client",
    "ConcurrencyExceeded",
    "Denial",
    "DuplicateIdempotencyKey",
    "DurableStore",
    "Executed",
    "FailureKind",
    "GatewayWarning",
    "GuardError",
    "IdempotencyError",
    "IdempotencyInProgress",
    "IdempotencyOutcomeUnknown",
    "IdempotencyPayloadMismatch",
    "InPlan",
    "InvalidIdempotentToolError",
    "InvalidToolError",
    "LoopDetected",
    "MaxAttemptsConfigurationError",
    "MaxAttemptsExceeded",
    "MemoryStore",
    "MissingIdempotencyKeyError",
    "MissingRuntimeContextError",
    "MonitoringDegradedError",
    "NestedBudgetGuardError",
    "NestedRunContextError",
    "NestedRuntimeContextError",
    "NoSecret",
    "NotAfter",
    "NotExecuted",
    "OneOf",
    "Policy",
    "PolicyViolationError",
    "PriceBook",
    "RateLimitExceeded",
    "RedisStore",
    "ReportingContractError",
    "RequireFact",
    "RequireTool",
    "SameRecord",
    "ScopeValidationError",
    "ScopeValueError",
    "SessionUsageError",
    "StillUnknown",
    "StoreError",
    "StoreFullError",
    "StoreUnavailableError",
    "Threshold",
    "TimeoutUsageError",
    "TooManyOrphansError",
    "ToolExecutionError",
    "ToolGuardError",
    "ToolTimeoutError",
    "UnknownPriceError",
    "UnmeteredCallError",
    "UnsupportedSDKError",
    "UrlHost",
    "Usage",
    "add_cost",
    "circuit_breaker",
    "circuits",
    "concurrency",
    "configure",
    "emit_event",
    "emit_violation",
    "enforce",
    "explain",
    "idempotency",
    "idempotent",
    "install",
    "max_attempts",
    "no_repeat",
    "prices",
    "prove",
    "rate_limit",
    "remaining",
    "session",
    "shutdown",
    "timeout",
    "tool",
    "track",
    "uninstall",
]

_HOMES = {
    "AllowRegex": "actguard.custody.text_rules",
    "BlockRegex": "actguard.custody.text_rules",
    "OneOf": "actguard.custody.text_rules",
    "UrlHost": "actguard.custody.text_rules",
    "Denial": "actguard.custody.rule",
    "InPlan": "actguard.custody.order_rules",
    "NotAfter": "actguard.custody.order_rules",
    "RequireTool": "actguard.custody.order_rules",
    "NoSecret": "actguard.custody.secret_rules",
    "RequireFact": "actguard.custody.fact_rules",
    "SameRecord": "actguard.custody.fact_rules",
    "Threshold": "actguard.custody.amounts",
    "enforce": "actguard.custody.enforce",
    "prove": "actguard.custody.prove",
    "track": "actguard.custody.prove",
    "session": "actguard.custody.session",
    "BudgetWarning": "actguard.budget.account",
    "BudgetGuard": "actguard.budget.guard",
    "add_cost": "actguard.budget.reported",
    "Policy": "actguard.budget.policy",
    "PriceBook": "actguard.budget.pricing",
    "prices": "actguard.budget.pricing",
    "Usage": "actguard.budget.usage",
    "Client": "actguard.runtime.client",
    "GatewayWarning": "actguard.runtime.remote",
    "emit_event": "actguard.events.emitter",
    "emit_violation": "actguard.events.emitter",
    "install": "actguard.providers.install",
    "uninstall": "actguard.providers.install",
    "explain": "actguard.pipeline.decorate",
    "configure": "actguard.pipeline.settings",
    "MemoryStore": "actguard.stores.memory",
    "RedisStore": "actguard.stores.redis",
    "DurableStore": "actguard.stores.durable",
    "circuit_breaker": "actguard.tools.circuit_breaker",
    "circuits": "actguard.tools.circuits",
    "concurrency": "actguard.tools.concurrency",
    "FAIL_ON_DEFAULT": "actguard.tools.failure_kinds",
    "FAIL_ON_INFRA_ONLY": "actguard.tools.failure_kinds",
    "FAIL_ON_STRICT": "actguard.tools.failure_kinds",
    "IGNORE_ON_DEFAULT": "actguard.tools.failure_kinds",
    "FailureKind": "actguard.tools.failure_kinds",
    "Executed": "actguard.tools.idempotent",
    "NotExecuted": "actguard.tools.idempotent",
    "StillUnknown": "actguard.tools.idempotent",
    "idempotency": "actguard.tools.idempotency_records",
    "idempotent": "actguard.tools.idempotent",
    "max_attempts": "actguard.tools.max_attempts",
    "no_repeat": "actguard.tools.no_repeat",
    "rate_limit": "actguard.tools.rate_limit",
    "remaining": "actguard.tools.timeout",
    "shutdown": "actguard.tools.timeout",
    "timeout": "actguard.tools.timeout",
    "tool": "actguard.tools.tool",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    importlib.import_module("actguard.providers.install")  # a guard that is entered must know how to watch
    value = getattr(importlib.import_module(_HOMES.get(name, "actguard.exceptions")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
