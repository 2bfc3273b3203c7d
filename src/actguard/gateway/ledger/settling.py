"""Settle, release and expiry: how a hold ends, and what is charged. A settle is never refused for want of money."""

from actguard.gateway.ledger.booking import LARGEST, book, can_spend, changed, ended
from actguard.gateway.ledger.keys import keep_answers
from actguard.gateway.ledger.operations import LONGEST_TTL, Release, Reply, Settle
from actguard.gateway.ledger.replies import error, overrun, settled, uncountable, unknown_hold
from actguard.gateway.ledger.rows import SETTLE_KEY, SETTLE_KEYED, Hold, Working


def settle(rows: Working, asked: Settle) -> Reply:
    hold = rows.holds.get((asked.workspace, asked.reserve_id))
    if hold is None and asked.offline:
        hold = _for_offline(rows, asked)
    if hold is None or hold.agent != asked.agent:
        return unknown_hold()
    if not asked.final:
        if asked.seq is None:
            return error(422, "invalid", "A partial settle (final: false) needs a seq, to be charged once.")
        if _has(hold.seqs, asked.seq):
            return settled(hold)
    elif hold.settles and not _is_of_another_sharer(hold, asked):
        return settled(hold)
    whole = max(hold.usd_spent + asked.usd, hold.tokens_spent + asked.tokens)
    if whole > LARGEST or not can_spend(rows, hold.counters, asked.usd, asked.tokens):
        return uncountable()
    identity = (hold.workspace, hold.reserve_id)
    if identity not in rows.holds:
        rows.holds[identity] = rows.new_holds[identity] = hold
        book(rows, hold, "reserved")
    if hold.settles:
        keep_answers(rows, hold)
    if asked.final:
        hold.settle_hash = asked.hash
        if not hold.settles and asked.idempotency_key == asked.reserve_id + SETTLE_KEY:
            hold.keyed |= SETTLE_KEYED
        hold.settles += 1
    elif asked.seq is not None:
        hold.seqs = _with(hold.seqs, asked.seq)
    if hold.state == "open" and asked.final:
        _end(rows, hold, "settled", asked.usd, asked.tokens, asked)
    elif hold.state in ("expired", "released"):
        _end(rows, hold, "settled_late", asked.usd, asked.tokens, asked)
    else:
        _charge_part(rows, hold, asked)
    return settled(hold)


def release(rows: Working, asked: Release) -> Reply:
    hold = rows.holds.get((asked.workspace, asked.reserve_id))
    if hold is None or hold.agent != asked.agent:
        return unknown_hold()
    if hold.state == "open":
        _end(rows, hold, "released", 0, 0)
    return settled(hold)


def expire(rows: Working, hold: Hold) -> None:
    """End a hold that is due and give back what it holds. One that has ended already stays as it is."""
    if hold.state == "open" and hold.expires_at <= rows.now:
        _end(rows, hold, "expired", 0, 0)


def _is_of_another_sharer(hold: Hold, asked: Settle) -> bool:
    """Requests without ids may have been given one hold: what each spent is charged, unless repeated."""
    return hold.settles < hold.shares and asked.hash != hold.settle_hash


def _for_offline(rows: Working, asked: Settle) -> Hold:
    """For a run that happened while nobody could be asked: a hold of nothing, to be charged in the present windows."""
    return Hold(
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
        tariff_version="",
        counters=rows.places[asked.workspace, asked.agent, asked.user_id, asked.plan_key].numbers,
    )


def _charge_part(rows: Working, hold: Hold, asked: Settle) -> None:
    """Move what was spent from held to spent; what is spent beyond the hold is spent all the same."""
    before = overrun(hold)
    usd, tokens = min(hold.usd_held, asked.usd), min(hold.tokens_held, asked.tokens)
    hold.usd_held -= usd
    hold.tokens_held -= tokens
    hold.usd_spent += asked.usd
    hold.tokens_spent += asked.tokens
    if hold.state == "open":
        changed(rows, hold)
    else:
        ended(rows, hold)
    book(
        rows, hold, "charged", -usd, asked.usd, -tokens, asked.tokens, overrun(hold) - before, asked.client_usd,
        asked.usage,
    )  # fmt: skip


def _end(rows: Working, hold: Hold, state: str, usd: int, tokens: int, asked: Settle | None = None) -> None:
    """The one way a hold ends: what it still holds goes, what was spent is charged."""
    before = overrun(hold)
    usd_held, tokens_held = hold.usd_held, hold.tokens_held
    hold.usd_released += max(usd_held - usd, 0)
    hold.usd_held = hold.tokens_held = 0
    hold.usd_spent += usd
    hold.tokens_spent += tokens
    hold.state, hold.ended_at = state, rows.now
    ended(rows, hold)
    book(
        rows, hold, state, -usd_held, usd, -tokens_held, tokens, overrun(hold) - before,
        asked.client_usd if asked else None, asked.usage if asked else "",
    )  # fmt: skip


def _has(ranges: tuple[int, ...], number: int) -> bool:
    return any(first <= number <= last for first, last in zip(ranges[::2], ranges[1::2], strict=True))


def _with(ranges: tuple[int, ...], number: int) -> tuple[int, ...]:
    """*number* among pairs of first and last, in order; neighbours become one."""
    pairs = sorted([*zip(ranges[::2], ranges[1::2], strict=True), (number, number)])
    merged: list[int] = []
    for first, last in pairs:
        if merged and first <= merged[-1] + 1:
            merged[-1] = max(merged[-1], last)
        else:
            merged += (first, last)
    return tuple(merged)
