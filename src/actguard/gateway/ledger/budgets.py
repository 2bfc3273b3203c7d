"""Which budgets a request counts against, and in which of their windows."""

from actguard.gateway.ledger.rows import EACH, Applied, CounterKey, Working
from actguard.gateway.ledger.windows import window_at


def applicable(rows: Working, workspace: int, agent: str, user_id: str, plan_key: str) -> list[Applied]:
    """Every budget that a request of this agent, user and plan counts against."""
    found = [*rows.budgets.get((workspace, "workspace", ""), ()), *rows.budgets.get((workspace, "balance", ""), ())]
    found += rows.budgets.get((workspace, "agent", agent), ())
    scoped = [(budget, budget.key) for budget in found]
    if user_id:
        own = rows.budgets.get((workspace, "user", user_id), ())
        named = {budget.window for budget in own}
        each = rows.budgets.get((workspace, "user", EACH), ())
        scoped += [(budget, user_id) for budget in (*own, *(b for b in each if b.window not in named))]
    if plan_key:  # a plan's budget is each of its users' own; a plan's name has no slash, so the keys are distinct
        scoped += [(b, f"{plan_key}/{user_id}") for b in rows.budgets.get((workspace, "plan", plan_key), ())]
    zone = rows.zones.get(workspace, "UTC")
    applied: list[Applied] = []
    for budget, key in scoped:
        window = window_at(budget.window, zone, rows.now)
        applied.append(Applied(budget, window, CounterKey(workspace, budget.scope, key, budget.window, window.start)))
    return applied


def scopes_of(workspace: int, agent: str, user_id: str, plan_key: str) -> list[tuple[int, str, str]]:
    """Where `applicable` looks for budgets: they are to be there before it is asked."""
    scopes = [(workspace, "workspace", ""), (workspace, "balance", ""), (workspace, "agent", agent)]
    if user_id:
        scopes += [(workspace, "user", user_id), (workspace, "user", EACH)]
    if plan_key:
        scopes.append((workspace, "plan", plan_key))
    return scopes
