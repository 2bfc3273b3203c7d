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
    from actguard.custody.amounts import Threshold
    from actguard.custody.enforce import enforce
    from actguard.custody.fact_rules import RequireFact, SameRecord
    from actguard.custody.order_rules import InPlan, NotAfter, RequireTool
    from actguard.custody.prove import prove, track
    from actguard.custody.rule import Denial
    from actguard.custody.secret_rules import NoSecret
    from actguard.custody.session import session
    from actguard.custody.text_rules import AllowRegex, BlockRegex, OneOf, UrlHost
    from actguard.exceptions import (
        ActGuardError,
        ActGuardPaymentRequired,
        ActGuardRuntimeError,
        ActGuardToolError,
        ActGuardUsageError,
        BudgetExceededError,
        BudgetWaitTimeoutError,
        GuardError,
        MonitoringDegradedError,
        UnknownPriceError,
        UnmeteredCallError,
        UnsupportedSDKError,
    )
    from actguard.providers.install import install, uninstall

__version__ = "2.0.0.dev0"

__all__ = [
    "ActGuardError",
    "ActGuardPaymentRequired",
    "ActGuardRuntimeError",
    "ActGuardToolError",
    "ActGuardUsageError",
    "AllowRegex",
    "BlockRegex",
    "BudgetExceededError",
    "BudgetGuard",
    "BudgetWaitTimeoutError",
    "BudgetWarning",
    "Denial",
    "GuardError",
    "InPlan",
    "MonitoringDegradedError",
    "NoSecret",
    "NotAfter",
    "OneOf",
    "Policy",
    "PriceBook",
    "RequireFact",
    "RequireTool",
    "SameRecord",
    "Threshold",
    "UnknownPriceError",
    "UnmeteredCallError",
    "UnsupportedSDKError",
    "UrlHost",
    "Usage",
    "add_cost",
    "enforce",
    "install",
    "prices",
    "prove",
    "session",
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
    "add_cost": "actguard.budget.guard",
    "Policy": "actguard.budget.policy",
    "PriceBook": "actguard.budget.pricing",
    "prices": "actguard.budget.pricing",
    "Usage": "actguard.budget.usage",
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
