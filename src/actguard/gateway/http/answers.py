"""What answers say. The ledger and the reports make them as dictionaries; this is how they are described to others."""

from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType

from actguard.gateway.ledger.rows import Scope, State
from actguard.gateway.ledger.windows import WindowKind


class Granted(Struct):
    """A hold; `remaining_ttl_ms` is 0 once it has ended. A limit that is null does not limit; `cost_limit` is in CU."""

    reserve_id: str
    status: Literal["reserved"]
    usd_limit_micros: int | None
    cost_limit: int | None
    estimated_usd_micros: int | None
    tariff_version: str
    expires_at: str
    remaining_ttl_ms: int
    token_limit: int | UnsetType = UNSET


class Settled(Struct):
    """What became of a hold: all that was charged, what was given back, and what was spent beyond it."""

    reserve_id: str
    status: State
    usd_micros: int
    released_micros: int
    overrun_micros: int


class BudgetExceeded(Struct):
    """409: which budget has too little left, and what of it is spent and held."""

    error: str
    code: Literal["budget_exceeded"]
    scope: Scope
    scope_key: str
    window: WindowKind
    user_id: str | None
    tokens_used: int
    token_limit: int | None
    usd_used_micros: int
    usd_limit_micros: int | None
    usd_requested_micros: int
    cost_used: int
    cost_limit: int | None
    resets_at: str | None


class PaymentRequired(Struct):
    """402: the prepaid balance, in micro-dollars; `topup_...` is null. Older clients read the second spelling."""

    error: str
    code: Literal["payment_required"]
    message: str
    current_balance: int
    required_amount: int
    shortfall: int
    topup_url: str | None
    topup_session_id: str | None
    user_id: str | None
    Message: str
    CurrentBalance: int
    RequiredAmount: int
    Shortfall: int
    TopupURL: str | None
    TopupSessionID: str | None
    UserID: str | None


class BudgetState(Struct):
    """A budget in its present window; null where it has no limit, or no end."""

    scope: Scope
    key: str
    window: WindowKind
    window_start: str | None
    usd_limit_micros: int | None
    usd_spent_micros: int
    usd_held_micros: int
    usd_remaining_micros: int | None
    token_limit: int | None
    tokens_spent: int
    tokens_held: int
    tokens_remaining: int | None
    observe: bool
    resets_at: str | None


class Remaining(Struct):
    user_id: str | None
    plan_key: str | None
    budgets: list[BudgetState]


class RejectedEvent(Struct):
    """One event that was not stored; the others of its batch were."""

    index: int
    id: str | None
    error: str


class Taken(Struct):
    accepted: int
    duplicates: int
    rejected: list[RejectedEvent]


class KeyState(Struct):
    key_id: str
    agent: str
    role: Literal["agent", "admin"]
    created_at: str
    revoked_at: str | None


class Keys(Struct):
    keys: list[KeyState]


class NewKey(Struct):
    """`key` is all of it, and is shown this once."""

    key_id: str
    agent: str
    role: Literal["agent", "admin"]
    key: str


class RevokedKey(Struct):
    key_id: str
    status: Literal["revoked"]


class Budgets(Struct):
    budgets: list[BudgetState]


class RemovedBudget(Struct):
    status: Literal["removed"]


class Balance(Struct):
    """Of what was paid in; not `prepaid`, where nothing ever was."""

    prepaid: bool
    credited_micros: int
    spent_micros: int
    held_micros: int
    balance_micros: int


class Workspace(Struct):
    name: str
    time_zone: str


class SpendGroup(Struct):
    key: str
    usd_micros: int
    tokens: int
    charges: int


class Spend(Struct):
    """What the ledger charged; `unattributed_micros` is what no group names."""

    since: str
    until: str
    by: str
    usd_micros: int
    tokens: int
    overrun_micros: int
    groups: list[SpendGroup]
    unattributed_micros: int


class Run(Struct):
    run_id: str
    agent: str
    user_id: str | None
    started_at: str
    ended_at: str | None
    holds: int
    open_holds: int
    usd_held_micros: int
    usd_micros: int
    tokens: int


class Runs(Struct):
    runs: list[Run]


class Events(Struct):
    """Envelopes, as the page on events has them, the latest first."""

    events: list[dict[str, Any]]


class Tariff(Struct):
    """Prices in CU, by provider and model under `llm`."""

    tariff_version: str
    registry_version: str
    cu_per_usd: int
    llm: dict[str, Any]
    tools: dict[str, Any]


REFUSALS: dict[int, type[Struct]] = {402: PaymentRequired, 409: BudgetExceeded}
"""Those that say more than what is wrong."""
