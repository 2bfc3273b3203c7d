"""A batch of operations: load the rows they concern, end what is due, apply them in order, and say what to write."""

from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from actguard.gateway.ledger.apply import applicable, apply, expire, scopes_of
from actguard.gateway.ledger.operations import Extend, Operation, Reply, Reserve, Settle
from actguard.gateway.ledger.rows import Budget, Counter, CounterKey, Hold, Id, Working

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
    scopes: set[tuple[int, str, str]] = set()
    for operation in operations:
        scopes.update(scopes_of(operation))
        hold = rows.holds.get((operation.workspace, operation.reserve_id)) if isinstance(operation, Extend) else None
        if hold is not None:
            scopes.update(scopes_of(_as_reserve(hold)))
    if scopes:
        rows.zones, rows.budgets = session.budgets({workspace for workspace, _, _ in scopes}, sorted(scopes))


def _load_counters(session: Session, rows: Working, operations: Sequence[Operation]) -> None:
    keys: set[CounterKey] = set()
    for hold in rows.holds.values():
        keys.update(hold.counter_keys())
    for o in operations:
        if isinstance(o, Reserve) or (isinstance(o, Settle) and o.offline):
            keys.update(a.key for a in applicable(rows, o.workspace, o.agent, o.user_id, o.plan_key))
    if keys:
        rows.counters = session.counters(sorted(keys))


def _as_reserve(hold: Hold) -> Reserve:
    return Reserve(
        workspace=hold.workspace,
        agent=hold.agent,
        reserve_id=hold.reserve_id,
        user_id=hold.user_id,
        plan_key=hold.plan_key,
    )
