"""Reserve and extend: what is asked for fits every budget, or nothing is held."""

from typing import Final

import msgspec

from actguard.gateway.ledger.booking import LARGEST, book, can_hold, changed
from actguard.gateway.ledger.keys import keep_answers
from actguard.gateway.ledger.operations import Extend, Reply, Reserve
from actguard.gateway.ledger.replies import error, granted, refused, uncountable, unknown_hold, used_up
from actguard.gateway.ledger.rows import RESERVE_KEYED, Applied, Counter, Hold, Place, Working
from actguard.gateway.ledger.windows import window_at

_EVERYTHING: Final = 2**62
"""More than any budget has left."""
_SMALL: Final = 10**11
"""No store has so many holds that as much in each could not be added up."""


def reserve(rows: Working, asked: Reserve) -> Reply:
    identity = (asked.workspace, asked.reserve_id)
    hold = rows.holds.get(identity)
    if hold is not None:
        if hold.agent != asked.agent or hold.reserve_hash != asked.hash:
            return error(422, "idempotency_mismatch", "This reserve_id was used before, with another request.")
        return granted(rows, hold)
    if asked.fingerprint is not None:
        known = rows.fingerprints.get((asked.workspace, asked.fingerprint))
        hold = rows.holds.get((asked.workspace, known)) if known is not None else None
        if hold is not None and hold.state == "open":
            hold.shares += 1
            changed(rows, hold)
            return granted(rows, hold)
    place = rows.places[asked.workspace, asked.agent, asked.user_id, asked.plan_key]
    usd, tokens, short = _amounts(asked, place)
    if short is not None:
        return refused(short, asked.user_id, usd if usd is not None else 0)
    large = max(usd or 0, tokens or 0) > _SMALL
    if large and not can_hold(rows, place.numbers, usd or 0, tokens or 0):
        return uncountable()
    would_block = _would_block(asked, place) if place.observing else ()
    hold = Hold(  # in the order of its fields: so many names cost more than all the rest of a reserve
        asked.workspace, asked.reserve_id, asked.agent, asked.run_id, asked.user_id, asked.plan_key,
        "open",
        usd, tokens,  # what is granted
        usd or 0, tokens or 0,  # held
        0, 0, 0,  # spent and released
        asked.ttl, rows.now, rows.now + asked.ttl, None,
        asked.fingerprint, asked.hash, asked.tariff_version, place.numbers,
    )  # fmt: skip
    if asked.idempotency_key == asked.reserve_id:
        hold.keyed = RESERVE_KEYED
    rows.holds[identity] = rows.new_holds[identity] = hold
    if asked.fingerprint is not None:
        rows.fingerprints[asked.workspace, asked.fingerprint] = asked.reserve_id
    book(rows, hold, "reserved", hold.usd_held, 0, hold.tokens_held)
    for said in would_block:
        book(rows, hold, "would_block", usage=said)
    return granted(rows, hold)


def extend(rows: Working, asked: Extend) -> Reply:
    hold = rows.holds.get((asked.workspace, asked.reserve_id))
    if hold is None or hold.agent != asked.agent:
        return unknown_hold()
    if hold.state != "open":
        message = f"This hold is {hold.state}; only an open one can be extended. Settle what was spent, reserve anew."
        return Reply(422, {"error": message, "code": "hold_closed", "status": hold.state})
    if asked.usd or asked.tokens:
        short = _short_of(rows, hold, asked)
        for each in short:
            if not each[0].budget.observe:
                return refused(each, hold.user_id, asked.usd)
        if not _can_grow(rows, hold, asked):
            return uncountable()
        for each in short:
            book(rows, hold, "would_block", usage=_told(*each))
    keep_answers(rows, hold)
    if asked.usd or asked.tokens:
        hold.usd_held += asked.usd
        hold.tokens_held += asked.tokens
        hold.usd_limit = hold.usd_limit + asked.usd if hold.usd_limit is not None else None
        hold.token_limit = hold.token_limit + asked.tokens if hold.token_limit is not None else None
        book(rows, hold, "extended", asked.usd, 0, asked.tokens)
    if asked.ttl is not None:
        hold.ttl = asked.ttl
        book(rows, hold, "renewed")
    hold.expires_at = max(hold.expires_at, rows.now + hold.ttl)
    changed(rows, hold)
    return granted(rows, hold)


def _amounts(asked: Reserve, place: Place) -> tuple[int | None, int | None, tuple[Applied, Counter] | None]:
    """How much to hold in dollars and in tokens, and the budget that has too little for it, the tightest first."""
    usd, tokens = asked.usd, asked.tokens
    room_usd, room_tokens = _EVERYTHING, _EVERYTHING
    tightest: tuple[Applied, Counter] | None = None
    tightest_tokens: tuple[Applied, Counter] | None = None
    for applied, counter in zip(place.applied, place.counters, strict=True):
        budget = applied.budget
        if budget.observe:
            continue
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


def _would_block(asked: Reserve, place: Place) -> list[str]:
    """The budgets that only observe, and would have refused what is asked; what they had left is not granted either."""
    usd, tokens = (asked.usd or 0, asked.tokens or 0) if asked.when_short == "deny" else (0, 0)
    return [_told(*each) for each in place.observing if _is_short(*each, max(usd, 1), max(tokens, 1))]


def _is_short(applied: Applied, counter: Counter, usd: int, tokens: int) -> bool:
    """Whether a budget has no room for so much more."""
    budget = applied.budget
    short = budget.usd_limit is not None and counter.usd_held + counter.usd_spent + usd > budget.usd_limit
    return short or (
        budget.token_limit is not None and counter.tokens_held + counter.tokens_spent + tokens > budget.token_limit
    )


def _told(applied: Applied, counter: Counter) -> str:
    return msgspec.json.encode(used_up(applied.budget, counter)).decode()


def _can_grow(rows: Working, hold: Hold, asked: Extend) -> bool:
    usd = max(hold.usd_limit or 0, hold.usd_held) + asked.usd
    tokens = max(hold.token_limit or 0, hold.tokens_held) + asked.tokens
    return max(usd, tokens) <= LARGEST and can_hold(rows, hold.counters, asked.usd, asked.tokens)


def _short_of(rows: Working, hold: Hold, asked: Extend) -> list[tuple[Applied, Counter]]:
    """The budgets of the hold, in the windows that granted it, that have no room for more."""
    found: list[tuple[Applied, Counter]] = []
    zone = rows.zones.get(hold.workspace, "UTC")
    present = rows.places[hold.workspace, hold.agent, hold.user_id, hold.plan_key].applied
    for number in hold.counters:
        counter = rows.counters[number]
        key = counter.key
        for budget in [a.budget for a in present if a.key.scope == key.scope and a.key.window == key.window]:
            applied = Applied(budget, window_at(key.window, zone, hold.created_at), key)
            if _is_short(applied, counter, asked.usd, asked.tokens):
                found.append((applied, counter))
    return found
