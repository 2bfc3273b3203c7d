"""How a transition is written: its ledger row, its amounts on every counter of the hold, and the hold itself."""

from collections.abc import Sequence
from typing import Final

from actguard.gateway.ledger.rows import Hold, Working

LARGEST: Final = 2**62
"""No counter and no hold grows beyond this, so that none overflows in a store."""


def book(
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
    counters, changed = rows.counters, rows.changed_counters
    for number in hold.counters:
        counter = changed[number] = counters[number]
        counter.usd_held += usd_held
        counter.usd_spent += usd_spent
        counter.tokens_held += tokens_held
        counter.tokens_spent += tokens_spent
        assert counter.usd_held >= 0 <= counter.usd_spent, counter
        assert counter.tokens_held >= 0 <= counter.tokens_spent, counter
    rows.entries.append(
        (
            hold.workspace, hold.reserve_id, op, rows.now, usd_held, usd_spent, tokens_held, tokens_spent,
            usd_overrun, client_usd, usage,
        )
    )  # fmt: skip


def can_hold(rows: Working, numbers: Sequence[int], usd: int, tokens: int) -> bool:
    """Whether so much more is held in what every store can count."""
    counters = [rows.counters[number] for number in numbers]
    return all(c.usd_held + usd <= LARGEST and c.tokens_held + tokens <= LARGEST for c in counters)


def can_spend(rows: Working, numbers: Sequence[int], usd: int, tokens: int) -> bool:
    """Whether so much more is spent in what every store can count."""
    counters = [rows.counters[number] for number in numbers]
    return all(c.usd_spent + usd <= LARGEST and c.tokens_spent + tokens <= LARGEST for c in counters)


def changed(rows: Working, hold: Hold) -> None:
    """Have all of the hold's row written."""
    identity = (hold.workspace, hold.reserve_id)
    rows.changed_holds[identity] = hold
    rows.ended_holds.pop(identity, None)


def ended(rows: Working, hold: Hold) -> None:
    """Have of the hold's row written what its end has changed, and what is charged after its end."""
    identity = (hold.workspace, hold.reserve_id)
    if identity in rows.changed_holds or identity in rows.new_holds:
        rows.changed_holds[identity] = hold
    else:
        rows.ended_holds[identity] = hold
