"""Every endpoint: its path, who may call it, what it takes. The application and the OpenAPI document both read this."""

from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal, NamedTuple

from actguard.gateway.http import answers, bodies, data, management
from actguard.gateway.http.auth import Caller
from actguard.gateway.http.gateway import Gateway
from actguard.gateway.http.wire import Request
from actguard.gateway.ledger.operations import Operation, Reply

Handler = Callable[[Gateway, Caller, Request], Operation | Awaitable[Reply]]
"""What it returns is asked of the ledger, or waited for."""


class Endpoint(NamedTuple):
    method: str
    path: str
    handler: "Handler | Callable[[Gateway, Any, Request], Awaitable[Reply]]"
    role: Literal["", "agent", "admin"]
    """Whose key is needed; an admin's does for everything."""
    summary: str
    body: type | None = None
    answers: tuple[int, ...] = (200,)
    query: tuple[str, ...] = ()
    says: type | None = None
    """What it answers where it does not refuse."""


_ANY: Final = (200, 400, 401, 413, 422, 429, 503)
_ADMIN: Final = (*_ANY, 403)
_SPAN: Final = ("since", "until")

ENDPOINTS: Final = (
    Endpoint("POST", "/api/v1/reserve", data.reserve, "agent", "Hold a budget for a run", bodies.ReserveBody,
             (200, 400, 401, 402, 403, 409, 413, 422, 429, 503),
             says=answers.Granted),
    Endpoint("POST", "/api/v1/settle", data.settle, "agent", "Say what a run has spent", bodies.SettleBody,
             (*_ANY, 404),
             says=answers.Settled),
    Endpoint("POST", "/api/v1/extend", data.extend, "agent", "Grow or renew a hold", bodies.ExtendBody,
             (*_ANY, 402, 404, 409),
             says=answers.Granted),
    Endpoint("POST", "/api/v1/release", data.release, "agent", "Give a hold back unused", bodies.ReleaseBody,
             (*_ANY, 404),
             says=answers.Settled),
    Endpoint("GET", "/api/v1/budget", data.budget, "agent", "What is left, in every budget that applies", None, _ANY,
             ("user_id", "plan_key"),
             says=answers.Remaining),
    Endpoint("POST", "/api/v1/events", data.events, "agent", "Store events", bodies.EventsBody, (202, *_ANY[1:]),
             says=answers.Taken),
    Endpoint("GET", "/api/v1/cu-tariff", data.tariff, "", "Prices for older clients",
             says=answers.Tariff),
    Endpoint("GET", "/api/v1/keys", management.list_keys, "admin", "All keys, without their secrets", None, _ADMIN,
             says=answers.Keys),
    Endpoint("POST", "/api/v1/keys", management.create_key, "admin", "Make a key; its secret is shown once",
             bodies.NewKeyBody, (201, *_ADMIN[1:]),
             says=answers.NewKey),
    Endpoint("DELETE", "/api/v1/keys/{key_id}", management.revoke_key, "admin", "Revoke a key", None, (*_ADMIN, 404),
             says=answers.RevokedKey),
    Endpoint("GET", "/api/v1/budgets", management.list_budgets, "admin", "All budgets and what is left", None, _ADMIN,
             says=answers.Budgets),
    Endpoint("PUT", "/api/v1/budgets", management.put_budget, "admin", "Set a budget", bodies.BudgetBody, _ADMIN,
             says=bodies.BudgetBody),
    Endpoint("DELETE", "/api/v1/budgets", management.remove_budget, "admin", "Remove a budget", bodies.BudgetKeyBody,
             (*_ADMIN, 404), ("scope", "key", "window"),
             says=answers.RemovedBudget),
    Endpoint("GET", "/api/v1/balance", management.get_balance, "admin", "The prepaid balance", None, _ADMIN,
             says=answers.Balance),
    Endpoint("POST", "/api/v1/balance", management.add_credit, "admin", "Pay in", bodies.CreditBody, _ADMIN,
             says=answers.Balance),
    Endpoint("GET", "/api/v1/workspace", management.get_workspace, "admin", "Name and time zone", None, _ADMIN,
             says=answers.Workspace),
    Endpoint("PUT", "/api/v1/workspace", management.put_workspace, "admin", "Set the time zone", bodies.WorkspaceBody,
             _ADMIN,
             says=answers.Workspace),
    Endpoint("GET", "/api/v1/spend", management.spend, "admin", "What was charged", None, _ADMIN, (*_SPAN, "by"),
             says=answers.Spend),
    Endpoint("GET", "/api/v1/runs", management.runs, "admin", "Runs, the latest first", None, _ADMIN,
             (*_SPAN, "run_id", "limit"),
             says=answers.Runs),
    Endpoint("GET", "/api/v1/events", management.list_events, "admin", "Events, also the gateway's own", None, _ADMIN,
             (*_SPAN, "run_id", "category", "limit"),
             says=answers.Events),
)  # fmt: skip
