"""`apply`: one operation on the rows it concerns. Decides first and changes after, so a refusal leaves no trace."""

from actguard.gateway.ledger.budgets import applicable, scopes_of
from actguard.gateway.ledger.keys import answered_before, is_own, write_down
from actguard.gateway.ledger.operations import Extend, Operation, Release, Reply, Reserve, Settle
from actguard.gateway.ledger.reserving import extend, reserve
from actguard.gateway.ledger.rows import Working
from actguard.gateway.ledger.settling import expire, release, settle

__all__ = ["applicable", "apply", "expire", "scopes_of"]


def apply(rows: Working, operation: Operation) -> Reply:
    """What *operation* does at `rows.now`: changes *rows*, and says what the client is told."""
    key = operation.idempotency_key
    if key is None:
        return _apply(rows, operation)
    own = is_own(operation, key)
    reply = answered_before(rows, operation, key, own)
    if reply is None:
        reply = _apply(rows, operation)
        write_down(rows, operation, key, own, reply)
    return reply


def _apply(rows: Working, operation: Operation) -> Reply:
    if type(operation) is Reserve:  # to be told that a struct is no instance takes several times as long
        return reserve(rows, operation)
    if type(operation) is Settle:
        return settle(rows, operation)
    if type(operation) is Extend:
        return extend(rows, operation)
    assert type(operation) is Release, operation
    return release(rows, operation)
