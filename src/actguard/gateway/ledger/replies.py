"""What a client is told: the statuses and the JSON bodies of the wire."""

from typing import Any

from actguard.gateway.ledger.operations import MICROS_PER_CU, Reply
from actguard.gateway.ledger.rows import EACH, Applied, Budget, Counter, Hold, Working
from actguard.gateway.ledger.windows import rfc3339


def granted(rows: Working, hold: Hold) -> Reply:
    usd = hold.usd_limit
    body: dict[str, Any] = {
        "reserve_id": hold.reserve_id,
        "status": "reserved",
        "usd_limit_micros": usd,
        "cost_limit": usd // MICROS_PER_CU if usd is not None else None,
        "estimated_usd_micros": usd,
        "tariff_version": hold.tariff_version,
        "expires_at": rfc3339(hold.expires_at),
        "remaining_ttl_ms": remaining_ms(rows, hold),
    }
    if hold.token_limit is not None:
        body["token_limit"] = hold.token_limit
    return Reply(200, body)


def refused(short: tuple[Applied, Counter], user_id: str, asked: int) -> Reply:
    (budget, window, _), counter = short
    taken = counter.usd_held + counter.usd_spent
    if budget.scope == "balance":
        left = (budget.usd_limit or 0) - taken
        missing = max(asked - left, 1 if left <= 0 else 0)
        message = f"The prepaid balance does not cover this: {left} micro-dollars are left, {asked} were asked for."
        paid: dict[str, Any] = {
            "error": message,
            "code": "payment_required",
            "message": message,
            "current_balance": left,
            "required_amount": asked,
            "shortfall": missing,
            "topup_url": None,
            "topup_session_id": None,
            "user_id": user_id or None,
        }
        old = ("message", "current_balance", "required_amount", "shortfall", "topup_url", "topup_session_id", "user_id")
        names = ("Message", "CurrentBalance", "RequiredAmount", "Shortfall", "TopupURL", "TopupSessionID", "UserID")
        return Reply(402, paid | {name: paid[key] for name, key in zip(names, old, strict=True)})
    whose = budget.scope if not budget.key else f"{budget.scope} {user_id if budget.key == EACH else budget.key!r}"
    limit = budget.usd_limit
    return Reply(
        409,
        {
            "error": f"The {budget.window} budget of {whose} has not enough left for this run.",
            "code": "budget_exceeded",
            **used_up(budget, counter),
            "user_id": user_id or None,
            "usd_requested_micros": asked,
            "cost_used": -(-taken // MICROS_PER_CU),
            "cost_limit": limit // MICROS_PER_CU if limit is not None else None,
            "resets_at": rfc3339(window.ends_at) if window.ends_at is not None else None,
        },
    )


def used_up(budget: Budget, counter: Counter) -> dict[str, Any]:
    """Which budget has too little left, and how much it had."""
    return {
        "scope": budget.scope,
        "scope_key": budget.key,
        "window": budget.window,
        "tokens_used": counter.tokens_held + counter.tokens_spent,
        "token_limit": budget.token_limit,
        "usd_used_micros": counter.usd_held + counter.usd_spent,
        "usd_limit_micros": budget.usd_limit,
    }


def settled(hold: Hold) -> Reply:
    return Reply(
        200,
        {
            "reserve_id": hold.reserve_id,
            "status": hold.state,
            "usd_micros": hold.usd_spent,
            "released_micros": hold.usd_released,
            "overrun_micros": overrun(hold),
        },
    )


def overrun(hold: Hold) -> int:
    return max(hold.usd_spent - hold.usd_limit, 0) if hold.usd_limit is not None else 0


def remaining_ms(rows: Working, hold: Hold) -> int:
    return max(hold.expires_at - rows.now, 0) // 1000 if hold.state == "open" else 0


def unknown_hold() -> Reply:
    return error(404, "unknown_reserve_id", "There is no hold with this reserve_id here.")


def uncountable() -> Reply:
    return error(422, "invalid", "The amounts are too large to be counted.")


def error(status: int, code: str, message: str) -> Reply:
    return Reply(status, {"error": message, "code": code})
