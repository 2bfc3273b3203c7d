"""What is left and what was spent, read from the ledger. Billed totals come from nowhere else."""

from itertools import islice
from typing import Any

import msgspec

from actguard.events.catalog import GATEWAYS_OWN
from actguard.events.envelope import KEYS, VERSION
from actguard.gateway import rollups, stored_events
from actguard.gateway.ledger.apply import applicable, scopes_of
from actguard.gateway.ledger.rows import Budget, Working
from actguard.gateway.ledger.windows import rfc3339, window_at
from actguard.gateway.rollups import DAY, HOUR, Charged
from actguard.gateway.storage.store import Row, Transaction

BY = ("agent", "user", "plan", "model", "provider", "scope", "tool", "run", "day")


def budgets_of(transaction: Transaction, workspace: int) -> list[Budget]:
    """Every budget of a workspace, its balance among them."""
    rows = transaction.rows("budgets", workspace=workspace)
    return [
        Budget(workspace, scope, key, window, usd, tokens, bool(observe))
        for scope, key, window, usd, tokens, observe in rows
    ]


def zone_of(transaction: Transaction, workspace: int) -> str:
    rows = transaction.rows("workspace", workspace=workspace)
    return rows[0][2] if rows else "UTC"


def remaining(
    transaction: Transaction, workspace: int, agent: str, user_id: str, plan_key: str, now: int
) -> list[dict[str, Any]]:
    """What is left in every budget that applies to this agent, user and plan."""
    rows = Working(now, {workspace: zone_of(transaction, workspace)})
    wanted = set(scopes_of(workspace, agent, user_id, plan_key))
    for budget in budgets_of(transaction, workspace):
        place = (workspace, budget.scope, budget.key)
        if place in wanted:
            rows.budgets.setdefault(place, []).append(budget)
    return [
        state(transaction, applied.budget, applied.key.key, rows.zones[workspace], now)
        for applied in applicable(rows, workspace, agent, user_id, plan_key)
    ]


def state(transaction: Transaction, budget: Budget, counter_key: str, zone: str, now: int) -> dict[str, Any]:
    """A budget in its present window."""
    window = window_at(budget.window, zone, now)
    found = transaction.rows(
        "counter",
        workspace=budget.workspace,
        scope=budget.scope,
        scope_key=counter_key,
        window_kind=budget.window,
        window_start=window.start,
    )
    held, spent, tokens_held, tokens_spent = found[0] if found else (0, 0, 0, 0)
    usd, tokens = budget.usd_limit, budget.token_limit
    return {
        "scope": budget.scope,
        "key": budget.key,
        "window": budget.window,
        "window_start": window.start or None,
        "usd_limit_micros": usd,
        "usd_spent_micros": spent,
        "usd_held_micros": held,
        "usd_remaining_micros": max(usd - spent - held, 0) if usd is not None else None,
        "token_limit": tokens,
        "tokens_spent": tokens_spent,
        "tokens_held": tokens_held,
        "tokens_remaining": max(tokens - tokens_spent - tokens_held, 0) if tokens is not None else None,
        "observe": budget.observe,
        "resets_at": rfc3339(window.ends_at) if window.ends_at is not None else None,
    }


def spend(
    transaction: Transaction, workspace: int, since: int, until: int, by: str, zone: str = "UTC"
) -> dict[str, Any]:
    """What was charged between two moments, in total and by one dimension.

    By model, provider or scope, what the lines of the bills do not name is `unattributed`. Which tool spent it no bill
    says: that is told by events, in whole hours, and may not add up to what was billed.
    """
    quarters = rollups.quarters(transaction, workspace, since, until)
    if by == "day":
        groups = _by_day(quarters, zone)
    elif by == "tool":
        groups = _by_tool(transaction, workspace, since, until)
    else:
        groups = rollups.charged(transaction, workspace, since, until, by)
    named = sorted((g for g in groups if g.key), key=lambda g: (g.key,) if by == "day" else (-g.usd, g.key))
    total = sum(quarter.usd for quarter in quarters)
    return {
        "since": rfc3339(since),
        "until": rfc3339(until),
        "by": by,
        "usd_micros": total,
        "tokens": sum(quarter.tokens for quarter in quarters),
        "overrun_micros": sum(quarter.overrun for quarter in quarters),
        "groups": [{"key": g.key, "usd_micros": g.usd, "tokens": g.tokens, "charges": g.charges} for g in named],
        "unattributed_micros": total - sum(g.usd for g in named),
    }


def activity(
    transaction: Transaction, workspace: int, since: int, until: int, by: str, event: str = "llm.usage"
) -> list[dict[str, Any]]:
    """What events told, by the hour (users by the day): how many, and what they say was spent.

    Args:
        by: one of `rollups.EVENT_DIMS`.
        event: its category and name.
    """
    span = {"since": since - since % (DAY if by == "user" else HOUR), "until": until}
    found = transaction.rows("event_rollups", workspace=workspace, dim=by, event=event, **span)
    names = ("key", "n", "usd_micros", "input_tokens", "cached_input_tokens", "output_tokens")
    return [{"bucket": rfc3339(bucket), **dict(zip(names, rest, strict=True))} for bucket, *rest in found]


def runs(transaction: Transaction, workspace: int, since: int, until: int, run_id: str, most: int) -> list[Any]:
    """Runs, the latest first."""
    found = transaction.rows("runs", workspace=workspace, since=since, until=until, run_id=run_id, most=most)
    return [
        {
            "run_id": run,
            "agent": agent,
            "user_id": user or None,
            "started_at": rfc3339(began),
            "ended_at": rfc3339(ended) if ended and not still_open else None,
            "holds": int(holds),
            "open_holds": int(still_open),
            "usd_held_micros": int(held),
            "usd_micros": int(usd),
            "tokens": int(tokens),
        }
        for run, agent, user, began, ended, holds, held, usd, tokens, still_open in found
    ]


def events(
    transaction: Transaction, workspace: int, since: int, until: int, run_id: str, category: str, most: int
) -> list[dict[str, Any]]:
    """What clients sent, and what the ledger itself tells: every transition of a hold is an event. The latest first."""
    found = [
        (at, event | {"tenant_id": str(workspace), "ingested_at": rfc3339(at)})
        for at, event in islice(stored_events.found(transaction, workspace, since, until, run_id, category), most)
    ]
    if category in ("", "budget"):
        span: dict[str, Any] = {"workspace": workspace, "since": since, "until": until, "run_id": run_id, "most": most}
        for row in transaction.rows("transitions", **span):
            found += [(row[1], event) for event in _told(workspace, row)]
    found.sort(key=lambda pair: -pair[0])
    return [event for _, event in found[:most]]


def _told(workspace: int, row: Row) -> list[dict[str, Any]]:
    seq, at, op, reserve_id, agent, user_id, run_id, plan_key, held, spent, tokens, overrun, why = row
    event: dict[str, Any] = {
        **dict.fromkeys(KEYS),
        "id": f"led_{seq}",
        "ts": rfc3339(at),
        "ingested_at": rfc3339(at),
        "tenant_id": str(workspace),
        "agent_id": agent,
        "user_id": user_id or None,
        "run_id": run_id,
        "plan_key": plan_key or None,
        "category": "budget",
        "version": VERSION,
        **_as(op),
        "usd_micros": held if op in ("reserved", "extended") else spent,
        "payload": {"reserve_id": reserve_id, "usd_held_micros": held, "usd_spent_micros": spent, "tokens": tokens},
        "evidence": [],
        "meta": {},
    }
    if why:
        event["payload"] |= msgspec.json.decode(why)
    if not overrun:
        return [event]
    return [event, event | _as("overrun") | {"id": f"led_{seq}_overrun", "usd_micros": overrun}]


def _as(name: str) -> dict[str, str]:
    kind = GATEWAYS_OWN[name]
    return {"name": name, "severity": kind.severity, "outcome": kind.outcome}


def _by_day(quarters: list[rollups.Quarter], zone: str) -> list[Charged]:
    days: dict[str, Charged] = {}
    for quarter in quarters:
        day = window_at("day", zone, quarter.start).start
        _, charges, usd, tokens = days.get(day, (day, 0, 0, 0))
        days[day] = Charged(day, charges + quarter.charges, usd + quarter.usd, tokens + quarter.tokens)
    return [*days.values()]


def _by_tool(transaction: Transaction, workspace: int, since: int, until: int) -> list[Charged]:
    tools: dict[str, Charged] = {}
    for told in activity(transaction, workspace, since, until, "tool"):
        key = told["key"]
        _, calls, usd, tokens = tools.get(key, (key, 0, 0, 0))
        tokens += told["input_tokens"] + told["output_tokens"]
        tools[key] = Charged(key, calls + told["n"], usd + told["usd_micros"], tokens)
    return [*tools.values()]
