"""Rows as databases keep them: which columns a statement writes, and lists as JSON."""

from functools import lru_cache
from typing import Any

import msgspec

from actguard.gateway.ledger.rows import Hold, Working

_encode = msgspec.json.Encoder().encode
_numbers = msgspec.json.Decoder(tuple[int, ...])

HOLD_COLUMNS = tuple("workspace_id" if name == "workspace" else name for name in Hold.__struct_fields__)

GRANTED = ("workspace_id", "reserve_id", "agent", "run_id", "user_id", "plan_key", "state", "usd_limit", "token_limit",
           "usd_held", "tokens_held", "ttl", "created_at", "expires_at", "fingerprint", "reserve_hash",
           "tariff_version", "counters", "keyed")  # fmt: skip
"""What a new hold is written with; the other columns have defaults."""

ENTRY = ("workspace_id", "reserve_id", "op", "at", "usd_held", "usd_spent", "tokens_held", "tokens_spent",
         "usd_overrun", "client_usd", "usage")  # fmt: skip

ENDED = ("workspace_id", "reserve_id", "state", "usd_spent", "tokens_spent", "usd_released", "ended_at", "settle_hash",
         "keyed", "settles", "seqs")  # fmt: skip
"""What the end of a hold changes, and what is charged after it. It holds nothing any more."""


def granted_row(hold: Hold) -> tuple[Any, ...]:
    return (
        hold.workspace, hold.reserve_id, hold.agent, hold.run_id, hold.user_id, hold.plan_key, hold.state,
        hold.usd_limit, hold.token_limit, hold.usd_held, hold.tokens_held, hold.ttl, hold.created_at, hold.expires_at,
        hold.fingerprint, hold.reserve_hash, hold.tariff_version, _written(hold.counters), hold.keyed,
    )  # fmt: skip


def ended_row(hold: Hold) -> tuple[Any, ...]:
    return (
        hold.workspace, hold.reserve_id, hold.state, hold.usd_spent, hold.tokens_spent, hold.usd_released,
        hold.ended_at, hold.settle_hash, hold.keyed, hold.settles, _written(hold.seqs),
    )  # fmt: skip


def changed_rows(rows: Working) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """The whole rows of `changed_holds`: of holds that were there, and of those that are new in this batch.

    What ends is written before what is new, and what is new before it is changed: of holds without an id of their own,
    one may have ended in the batch that grants the next of its like, and only one of them is ever open.
    """
    if not rows.changed_holds:  # as nearly always
        return [], []
    new = rows.changed_holds.keys() & rows.new_holds.keys()
    changed = rows.changed_holds.items()
    return (
        [_whole_row(hold) for identity, hold in changed if identity not in new],
        [_whole_row(hold) for identity, hold in changed if identity in new],
    )


def _whole_row(hold: Hold) -> tuple[Any, ...]:
    row = list(msgspec.structs.astuple(hold))
    row[_COUNTERS], row[_SEQS] = _written(hold.counters), _written(hold.seqs)
    return tuple(row)


def decoded_hold(row: tuple[Any, ...]) -> Hold:
    """A hold from all of its columns."""
    hold = Hold(*row)
    hold.counters, hold.seqs = _read(row[_COUNTERS]), _read(row[_SEQS])
    return hold


@lru_cache(maxsize=4096)
def _read(numbers: str) -> tuple[int, ...]:
    """Many holds are on the same counters."""
    return _numbers.decode(numbers)


@lru_cache(maxsize=4096)
def _written(numbers: tuple[int, ...]) -> str:
    return _encode(numbers).decode()


_COUNTERS = HOLD_COLUMNS.index("counters")
_SEQS = HOLD_COLUMNS.index("seqs")
