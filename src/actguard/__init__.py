"""Hard edges for LLM agents: budgets that hold, over the SDKs you already use.

Every public name is found here and loaded when it is first used: `import actguard` costs next to nothing, and loads no
SDK, no pydantic and no HTTP library.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from actguard.budget.account import BudgetWarning
    from actguard.budget.guard import BudgetGuard, add_cost
    from actguard.budget.policy import Policy
    from actguard.budget.pricing import PriceBook, prices
    from actguard.budget.usage import Usage
    from actguard.events.emitter import emit_event, emit_violation
    from actguard.exceptions import (
        ActGuardError,
        ActGuardPaymentRequired,
        ActGuardRuntimeError,
        ActGuardToolError,
        ActGuardUsageError,
        BudgetExceededError,
        BudgetWaitTimeoutError,
        MonitoringDegradedError,
        UnknownPriceError,
        UnmeteredCallError,
        UnsupportedSDKError,
    )
    from actguard.providers.install import install, uninstall
    from actguard.runtime.client import Client
    from actguard.runtime.remote import GatewayWarning

__version__ = "2.0.0.dev0"

__all__ = [
    "ActGuardError",
    "ActGuardPaymentRequired",
    "ActGuardRuntimeError",
    "ActGuardToolError",
    "ActGuardUsageError",
    "BudgetExceededError",
    "BudgetGuard",
    "BudgetWaitTimeoutError",
    "BudgetWarning",
    "Client",
    "GatewayWarning",
    "MonitoringDegradedError",
    "Policy",
    "PriceBook",
    "UnknownPriceError",
    "UnmeteredCallError",
    "UnsupportedSDKError",
    "Usage",
    "add_cost",
    "emit_event",
    "emit_violation",
    "install",
    "prices",
    "uninstall",
]

_HOMES = {
    "BudgetWarning": "actguard.budget.account",
    "BudgetGuard": "actguard.budget.guard",
    "add_cost": "actguard.budget.guard",
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
