"""A batch of operations: load the rows they concern, end what is due, apply them in order, and say what to write."""

from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from actguard.gateway.ledger.apply import applicable, apply, expire, scopes_of
from actguard.gateway.ledger.operations import Extend, Operation, Reply, Reserve, Settle
from actguard.gateway.ledger.rows import Budget, Counter, CounterKey, Hold, Id, Whose, Working

MOST_DUE: Final = 500
"""So many holds are ended at once. A batch that finds more waits until the rest has been ended too."""


class Session(Protocol):
    """One transaction of a store. What it has loaded, nobody else changes before it ends."""

    def begin(
        self, holds: Sequence[Id], fingerprints: Sequence[Id], answers: Sequence[Id], most_due: int
    ) -> tuple[Working, list[Hold]]:
        """The time, the holds and answers of these ids, and up to *most_due* holds whose time has come."""
        ...

    def budgets(self, workspaces: Iterable[int], scopes: Sequence[tuple[int, str, str]]) -> "Budgets":
        """The time zones of *workspaces* and the budgets of *scopes*, as they are now."""
        ...

    def counters(self, keys: Sequence[CounterKey]) -> dict[CounterKey, Counter]:
        """The counters of *keys*, in whose order they are locked; those never written may be missing."""
        ...

    def save(self, rows: Working) -> None:
        """Write what is new and what has changed."""
        ...


Budgets = tuple[dict[int, str], dict[tuple[int, str, str], list[Budget]]]


def run(session: Session, operations: Sequence[Operation]) -> list[Reply] | None:
    """What each operation is told. Nothing is durable before the session has been committed.

    Returns None when more holds are due than one transaction should end: those that were found are ended, the
    operations are not applied, and the batch is to be run again in a new session.
    """
    ids = {(o.workspace, o.reserve_id) for o in operations}
    reserves = [o for o in operations if isinstance(o, Reserve)]
    prints = {(o.workspace, o.fingerprint) for o in reserves if o.fingerprint is not None}
    keys = {(o.workspace, o.idempotency_key) for o in operations if o.idempotency_key is not None}
    most_due = MOST_DUE if reserves or not operations or any(isinstance(o, Extend) for o in operations) else 0
    rows, due = session.begin(sorted(ids), sorted(prints), sorted(keys), most_due)
    for hold in due:
        rows.holds.setdefault((hold.workspace, hold.reserve_id), hold)
    if most_due and len(due) >= most_due:
        operations = ()
    _load_budgets(session, rows, operations)
    _load_counters(session, rows, operations)
    for hold in due:
        expire(rows, rows.holds[hold.workspace, hold.reserve_id])
    replies = [apply(rows, operation) for operation in operations]
    session.save(rows)
    return None if most_due and len(due) >= most_due else replies


def _load_budgets(session: Session, rows: Working, operations: Sequence[Operation]) -> None:
    whose: set[Whose] = set()
    for operation in operations:
        asks: Operation | Hold | None = operation
        if isinstance(operation, Extend):
            asks = rows.holds.get((operation.workspace, operation.reserve_id))
        if isinstance(asks, (Reserve, Hold)) or (isinstance(asks, Settle) and asks.offline):
            whose.add((asks.workspace, asks.agent, asks.user_id, asks.plan_key))
    whose.difference_update(rows.applied)
    if whose:
        scopes = {scope for each in whose for scope in scopes_of(*each)}
        rows.zones, rows.budgets = session.budgets({each[0] for each in whose}, sorted(scopes))


def _load_counters(session: Session, rows: Working, operations: Sequence[Operation]) -> None:
    keys: set[CounterKey] = set()
    for hold in rows.holds.values():
        keys.update(hold.counters)
    for o in operations:
        if isinstance(o, Reserve) or (isinstance(o, Settle) and o.offline):
            for applied in applicable(rows, o.workspace, o.agent, o.user_id, o.plan_key):
                keys.add(applied.key)
    if keys:
        rows.counters = session.counters(sorted(keys))
