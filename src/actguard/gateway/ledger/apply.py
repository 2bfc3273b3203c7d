"""`apply`: one operation on the rows it concerns. Decides first and changes after, so a refusal leaves no trace."""

from typing import Any, Final, NamedTuple

import msgspec

from actguard.gateway.ledger.operations import (
    LONGEST_TTL,
    MICROS_PER_CU,
    Extend,
    Operation,
    Release,
    Reply,
    Reserve,
    Settle,
)
from actguard.gateway.ledger.rows import EACH, Answer, Budget, Counter, CounterKey, Entry, Hold, Working
from actguard.gateway.ledger.windows import Window, rfc3339, window_at

LARGEST: Final = 2**62
"""No counter grows beyond this, so that none overflows in a store."""


class Applied(NamedTuple):
    """A budget that applies to a request, and its counter in the present window."""

    budget: Budget
    window: Window
    key: CounterKey


def apply(rows: Working, operation: Operation) -> Reply:
    """What *operation* does at `rows.now`: changes *rows*, and says what the client is told."""
    key = operation.idempotency_key
    if key is None:
        return _apply(rows, operation)
    given = rows.answers.get((operation.workspace, key))
    if given is not None:
        return _again(rows, operation, given)
    reply = _apply(rows, operation)
    if reply.status in (200, 402, 409):
        answer = Answer(
            operation.workspace, key, operation.hash, reply.status, msgspec.json.encode(reply.body), rows.now
        )
        rows.answers[operation.workspace, key] = rows.new_answers[operation.workspace, key] = answer
    return reply


def expire(rows: Working, hold: Hold) -> None:
    """End a hold that is due and give back what it holds. One that has ended already stays as it is."""
    if hold.state == "open" and hold.expires_at <= rows.now:
        _end(rows, hold, "expired", 0, 0)


def applicable(rows: Working, workspace: int, agent: str, user_id: str, plan_key: str) -> list[Applied]:
    """Every budget that a request of this agent, user and plan counts against."""
    asked = (workspace, agent, user_id, plan_key)
    known: list[Applied] | None = rows.applied.get(asked)
    if known is not None:
        return known
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
    rows.applied[asked] = applied
    return applied


def scopes_of(workspace: int, agent: str, user_id: str, plan_key: str) -> list[tuple[int, str, str]]:
    """Where `applicable` looks for budgets: they are to be there before it is asked."""
    scopes = [(workspace, "workspace", ""), (workspace, "balance", ""), (workspace, "agent", agent)]
    if user_id:
        scopes += [(workspace, "user", user_id), (workspace, "user", EACH)]
    if plan_key:
        scopes.append((workspace, "plan", plan_key))
    return scopes


def _apply(rows: Working, operation: Operation) -> Reply:
    match operation:
        case Reserve():
            return _reserve(rows, operation)
        case Settle():
            return _settle(rows, operation)
        case Extend():
            return _extend(rows, operation)
        case Release():
            return _release(rows, operation)


def _again(rows: Working, operation: Operation, given: Answer) -> Reply:
    if given.hash != operation.hash:
        return error(422, "idempotency_mismatch", "This Idempotency-Key was used before, with another request.")
    body = msgspec.json.decode(given.body)
    hold = rows.holds.get((operation.workspace, str(body.get("reserve_id", ""))))
    if hold is not None and "remaining_ttl_ms" in body:
        body["remaining_ttl_ms"] = _remaining_ms(rows, hold)
    return Reply(given.status, body)


# ---- reserve --------------------------------------------------------------------------------------------------------


def _reserve(rows: Working, asked: Reserve) -> Reply:
    identity = (asked.workspace, asked.reserve_id)
    hold = rows.holds.get(identity)
    if hold is not None:
        if hold.agent != asked.agent or hold.reserve_hash != asked.hash:
            return error(422, "idempotency_mismatch", "This reserve_id was used before, with another request.")
        return _granted(rows, hold, asked.tariff_version)
    if asked.fingerprint is not None:
        known = rows.fingerprints.get((asked.workspace, asked.fingerprint))
        hold = rows.holds.get((asked.workspace, known)) if known is not None else None
        if hold is not None and hold.state == "open":
            hold.shares += 1
            _changed(rows, hold)
            return _granted(rows, hold, asked.tariff_version)
    budgets = applicable(rows, asked.workspace, asked.agent, asked.user_id, asked.plan_key)
    usd, tokens, short = _amounts(rows, asked, budgets)
    if short is not None:
        return _refused(rows, short, asked.user_id, usd if usd is not None else 0)
    hold = Hold(
        workspace=asked.workspace,
        reserve_id=asked.reserve_id,
        agent=asked.agent,
        run_id=asked.run_id,
        user_id=asked.user_id,
        plan_key=asked.plan_key,
        state="open",
        usd_limit=usd,
        token_limit=tokens,
        usd_held=usd or 0,
        tokens_held=tokens or 0,
        usd_spent=0,
        tokens_spent=0,
        usd_released=0,
        ttl=asked.ttl,
        created_at=rows.now,
        expires_at=rows.now + asked.ttl,
        ended_at=None,
        fingerprint=asked.fingerprint,
        reserve_hash=asked.hash,
        settle_hash="",
        shares=1,
        settles=0,
        seqs=[],
        counters=[a.key for a in budgets],
    )
    rows.holds[identity] = rows.new_holds[identity] = hold
    if asked.fingerprint is not None:
        rows.fingerprints[asked.workspace, asked.fingerprint] = asked.reserve_id
    _book(rows, hold, "reserved", usd_held=hold.usd_held, tokens_held=hold.tokens_held)
    return _granted(rows, hold, asked.tariff_version)


def _amounts(
    rows: Working, asked: Reserve, budgets: list[Applied]
) -> tuple[int | None, int | None, tuple[Applied, Counter] | None]:
    """How much to hold in dollars and in tokens, and the budget that has too little for it, the tightest first."""
    usd, tokens = asked.usd, asked.tokens
    room_usd, room_tokens = LARGEST, LARGEST
    tightest: tuple[Applied, Counter] | None = None
    tightest_tokens: tuple[Applied, Counter] | None = None
    for applied in budgets:
        budget = applied.budget
        if budget.observe:
            continue
        counter = _counter(rows, applied.key)
        if budget.usd_limit is not None:
            room = budget.usd_limit - counter.usd_held - counter.usd_spent
            if room < room_usd:
                room_usd, tightest = room, (applied, counter)
        if budget.token_limit is not None:
            room = budget.token_limit - counter.tokens_held - counter.tokens_spent
            if room < room_tokens:
                room_tokens, tightest_tokens = room, (applied, counter)
    if usd is None and (tightest is not None or tokens is None):
        usd = min(asked.default_usd, max(room_usd, 0))
    if tokens is None and tightest_tokens is not None:
        tokens = min(asked.default_tokens, max(room_tokens, 0))
    if asked.when_short == "shrink":
        usd = min(usd, max(room_usd, 0)) if usd is not None else None
        tokens = min(tokens, max(room_tokens, 0)) if tokens is not None else None
    if room_usd <= 0 or (usd or 0) > room_usd:
        return usd, tokens, tightest
    if room_tokens <= 0 or (tokens or 0) > room_tokens:
        return usd, tokens, tightest_tokens
    return usd, tokens, None


def _granted(rows: Working, hold: Hold, tariff_version: str) -> Reply:
    usd = hold.usd_limit
    body: dict[str, Any] = {
        "reserve_id": hold.reserve_id,
        "status": "reserved",
        "usd_limit_micros": usd,
        "cost_limit": usd // MICROS_PER_CU if usd is not None else None,
        "estimated_usd_micros": usd,
        "tariff_version": tariff_version,
        "expires_at": rfc3339(hold.expires_at),
        "remaining_ttl_ms": _remaining_ms(rows, hold),
    }
    if hold.token_limit is not None:
        body["token_limit"] = hold.token_limit
    return Reply(200, body)


def _refused(rows: Working, short: tuple[Applied, Counter], user_id: str, asked: int) -> Reply:
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
            "scope": budget.scope,
            "scope_key": budget.key,
            "window": budget.window,
            "user_id": user_id or None,
            "tokens_used": counter.tokens_held + counter.tokens_spent,
            "token_limit": budget.token_limit,
            "usd_used_micros": taken,
            "usd_limit_micros": limit,
            "usd_requested_micros": asked,
            "cost_used": -(-taken // MICROS_PER_CU),
            "cost_limit": limit // MICROS_PER_CU if limit is not None else None,
            "resets_at": rfc3339(window.ends_at) if window.ends_at is not None else None,
        },
    )


# ---- settle ---------------------------------------------------------------------------------------------------------


def _settle(rows: Working, asked: Settle) -> Reply:
    hold = rows.holds.get((asked.workspace, asked.reserve_id))
    if hold is None:
        if not asked.offline:
            return unknown_hold()
        hold = _begun_offline(rows, asked)
    elif hold.agent != asked.agent:
        return unknown_hold()
    if not asked.final:
        if asked.seq is None:
            return error(422, "invalid", "A partial settle (final: false) needs a seq, to be charged once.")
        if _has(hold.seqs, asked.seq):
            return _settled(hold)
    elif hold.settles and not _is_of_another_sharer(hold, asked):
        return _settled(hold)
    counters = [_counter(rows, key) for key in hold.counters]
    if any(c.usd_spent + asked.usd > LARGEST or c.tokens_spent + asked.tokens > LARGEST for c in counters):
        return error(422, "invalid", "The amounts are too large to be counted.")
    if asked.seq is not None and not asked.final:
        _add(hold.seqs, asked.seq)
    if asked.final:
        hold.settle_hash = asked.hash
        hold.settles += 1
    if hold.state == "open" and not asked.final:
        _charge_part(rows, hold, asked)
    elif hold.state == "open":
        _end(rows, hold, "settled", asked.usd, asked.tokens, asked)
    elif hold.state in ("expired", "released"):
        _end(rows, hold, "settled_late", asked.usd, asked.tokens, asked)
    else:
        _charge_part(rows, hold, asked)
    return _settled(hold)


def _is_of_another_sharer(hold: Hold, asked: Settle) -> bool:
    """Requests without ids may have been given one hold: what each spent is charged, unless repeated."""
    return hold.settles < hold.shares and asked.hash != hold.settle_hash


def _begun_offline(rows: Working, asked: Settle) -> Hold:
    """A run that happened while nobody could be asked: a hold of nothing, to be charged in the present windows."""
    budgets = applicable(rows, asked.workspace, asked.agent, asked.user_id, asked.plan_key)
    hold = Hold(
        workspace=asked.workspace,
        reserve_id=asked.reserve_id,
        agent=asked.agent,
        run_id=asked.run_id,
        user_id=asked.user_id,
        plan_key=asked.plan_key,
        state="open",
        usd_limit=None,
        token_limit=None,
        usd_held=0,
        tokens_held=0,
        usd_spent=0,
        tokens_spent=0,
        usd_released=0,
        ttl=LONGEST_TTL,
        created_at=rows.now,
        expires_at=rows.now + LONGEST_TTL,
        ended_at=None,
        fingerprint=None,
        reserve_hash="",
        settle_hash="",
        shares=1,
        settles=0,
        seqs=[],
        counters=[a.key for a in budgets],
    )
    identity = (asked.workspace, asked.reserve_id)
    rows.holds[identity] = rows.new_holds[identity] = hold
    _book(rows, hold, "reserved")
    return hold


def _charge_part(rows: Working, hold: Hold, asked: Settle) -> None:
    """Move what was spent from held to spent; what is spent beyond the hold is spent all the same."""
    before = _overrun(hold)
    usd, tokens = min(hold.usd_held, asked.usd), min(hold.tokens_held, asked.tokens)
    hold.usd_held -= usd
    hold.tokens_held -= tokens
    hold.usd_spent += asked.usd
    hold.tokens_spent += asked.tokens
    _changed(rows, hold)
    _book(
        rows, hold, "charged", -usd, asked.usd, -tokens, asked.tokens, _overrun(hold) - before, asked.client_usd,
        asked.usage,
    )  # fmt: skip


def _end(rows: Working, hold: Hold, state: str, usd: int, tokens: int, asked: Settle | None = None) -> None:
    """The one way a hold ends: what it still holds goes, what was spent is charged."""
    before = _overrun(hold)
    usd_held, tokens_held = hold.usd_held, hold.tokens_held
    hold.usd_released += max(usd_held - usd, 0)
    hold.usd_held = hold.tokens_held = 0
    hold.usd_spent += usd
    hold.tokens_spent += tokens
    hold.state, hold.ended_at = state, rows.now
    _changed(rows, hold)
    _book(
        rows, hold, state, -usd_held, usd, -tokens_held, tokens, _overrun(hold) - before,
        asked.client_usd if asked else None, asked.usage if asked else "",
    )  # fmt: skip


def _settled(hold: Hold) -> Reply:
    return Reply(
        200,
        {
            "reserve_id": hold.reserve_id,
            "status": hold.state,
            "usd_micros": hold.usd_spent,
            "released_micros": hold.usd_released,
            "overrun_micros": _overrun(hold),
        },
    )


def _overrun(hold: Hold) -> int:
    return max(hold.usd_spent - hold.usd_limit, 0) if hold.usd_limit is not None else 0


# ---- extend, release ------------------------------------------------------------------------------------------------


def _extend(rows: Working, asked: Extend) -> Reply:
    hold = rows.holds.get((asked.workspace, asked.reserve_id))
    if hold is None or hold.agent != asked.agent:
        return unknown_hold()
    if hold.state != "open":
        message = f"This hold is {hold.state}; only an open one can be extended. Settle what was spent, reserve anew."
        return Reply(422, {"error": message, "code": "hold_closed", "status": hold.state})
    if asked.usd or asked.tokens:
        short = _short_of(rows, hold, asked)
        if short is not None:
            return _refused(rows, short, hold.user_id, asked.usd)
        hold.usd_held += asked.usd
        hold.tokens_held += asked.tokens
        hold.usd_limit = hold.usd_limit + asked.usd if hold.usd_limit is not None else None
        hold.token_limit = hold.token_limit + asked.tokens if hold.token_limit is not None else None
        _book(rows, hold, "extended", usd_held=asked.usd, tokens_held=asked.tokens)
    if asked.ttl is not None:
        hold.ttl = asked.ttl
        _book(rows, hold, "renewed")
    hold.expires_at = max(hold.expires_at, rows.now + hold.ttl)
    _changed(rows, hold)
    return _granted(rows, hold, "")


def _short_of(rows: Working, hold: Hold, asked: Extend) -> tuple[Applied, Counter] | None:
    """The first budget of the hold, in the windows that granted it, that has no room for more."""
    zone = rows.zones.get(hold.workspace, "UTC")
    for key in hold.counters:
        counter = _counter(rows, key)
        for budget in _budgets_behind(rows, hold, key.scope, key.window):
            usd, tokens = budget.usd_limit, budget.token_limit
            short = usd is not None and counter.usd_held + counter.usd_spent + asked.usd > usd
            short |= tokens is not None and counter.tokens_held + counter.tokens_spent + asked.tokens > tokens
            if short and not budget.observe:
                return Applied(budget, window_at(key.window, zone, hold.created_at), key), counter
    return None


def _budgets_behind(rows: Working, hold: Hold, scope: str, kind: str) -> list[Budget]:
    everything = applicable(rows, hold.workspace, hold.agent, hold.user_id, hold.plan_key)
    return [a.budget for a in everything if a.budget.scope == scope and a.budget.window == kind]


def _release(rows: Working, asked: Release) -> Reply:
    hold = rows.holds.get((asked.workspace, asked.reserve_id))
    if hold is None or hold.agent != asked.agent:
        return unknown_hold()
    if hold.state == "open":
        _end(rows, hold, "released", 0, 0)
    return _settled(hold)


# ---- rows -----------------------------------------------------------------------------------------------------------


def _book(
    rows: Working,
    hold: Hold,
    op: str,
    usd_held: int = 0,
    usd_spent: int = 0,
    tokens_held: int = 0,
    tokens_spent: int = 0,
    usd_overrun: int = 0,
    client_usd: int | None = None,
    usage: str = "",
) -> None:
    """Write the ledger row of a transition, and its amounts on every counter of the hold."""
    for key in hold.counters:
        counter = _counter(rows, key)
        counter.usd_held += usd_held
        counter.usd_spent += usd_spent
        counter.tokens_held += tokens_held
        counter.tokens_spent += tokens_spent
        assert counter.usd_held >= 0 <= counter.usd_spent, key
        assert counter.tokens_held >= 0 <= counter.tokens_spent, key
        rows.changed_counters[key] = counter
    rows.entries.append(
        Entry(
            hold.workspace, hold.reserve_id, op, rows.now, usd_held, usd_spent, tokens_held, tokens_spent,
            usd_overrun, client_usd, usage,
        )
    )  # fmt: skip


def _counter(rows: Working, key: CounterKey) -> Counter:
    counter = rows.counters.get(key)
    if counter is None:
        counter = rows.counters[key] = Counter()
    return counter


def _changed(rows: Working, hold: Hold) -> None:
    identity = (hold.workspace, hold.reserve_id)
    if identity not in rows.new_holds:
        rows.changed_holds[identity] = hold


def _remaining_ms(rows: Working, hold: Hold) -> int:
    return max(hold.expires_at - rows.now, 0) // 1000 if hold.state == "open" else 0


def _has(ranges: list[int], number: int) -> bool:
    return any(first <= number <= last for first, last in zip(ranges[::2], ranges[1::2], strict=True))


def _add(ranges: list[int], number: int) -> None:
    """Into pairs of first and last, in order; neighbours become one."""
    pairs = sorted([*zip(ranges[::2], ranges[1::2], strict=True), (number, number)])
    merged: list[int] = []
    for first, last in pairs:
        if merged and first <= merged[-1] + 1:
            merged[-1] = max(merged[-1], last)
        else:
            merged += (first, last)
    ranges[:] = merged


def unknown_hold() -> Reply:
    return error(404, "unknown_reserve_id", "There is no hold with this reserve_id here.")


def error(status: int, code: str, message: str) -> Reply:
    return Reply(status, {"error": message, "code": code})
