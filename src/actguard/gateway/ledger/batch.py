"""A batch of operations: load the rows they concern, end what is due, apply them in order, and say what to write."""

from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from msgspec import Struct

from actguard.gateway.ledger.apply import applicable, apply, expire
from actguard.gateway.ledger.keys import holds_behind, is_own
from actguard.gateway.ledger.operations import Extend, Operation, Reply, Reserve, Settle
from actguard.gateway.ledger.rows import Counter, CounterKey, Hold, Id, Place, Whose, Working

MOST_DUE: Final = 500
"""So many holds are ended at once. A batch that finds more waits until the rest has been ended too."""


class Wanted(Struct):
    """The rows that a batch needs to begin with."""

    holds: set[Id] = set()
    fingerprints: set[Id] = set()
    answers: set[Id] = set()
    whose: set[Whose] = set()
    """For whom budgets are asked."""
    most_due: int = 0
    """How many of the holds whose time has come; none, where nothing depends on them."""


class Session(Protocol):
    """One transaction of a store. What it has loaded, nobody else changes before it ends."""

    def begin(self, wanted: Wanted) -> tuple[Working, list[Hold]]:
        """The time, what is *wanted* where there is such a row, and the holds whose time has come."""
        ...

    def budgets(self, rows: Working, whose: Iterable[Whose]) -> None:
        """Add the time zones and the budgets of *whose* to *rows*, as they are now."""
        ...

    def counters(self, rows: Working, numbers: Iterable[int], keys: Sequence[CounterKey]) -> dict[CounterKey, Counter]:
        """Add the counters of *numbers* and *keys* to *rows*; those of *keys* are begun where there are none."""
        ...

    def save(self, rows: Working) -> None:
        """Write what is new and what has changed."""
        ...


def run(session: Session, operations: Sequence[Operation]) -> list[Reply] | None:
    """What each operation is told. Nothing is durable before the session has been committed.

    Returns None when more holds are due than one transaction should end: those that were found are ended, the
    operations are not applied, and the batch is to be run again in a new session.
    """
    wanted = _wanted(operations)
    rows, due = session.begin(wanted)
    for hold in due:
        rows.holds.setdefault((hold.workspace, hold.reserve_id), hold)
    too_many = 0 < wanted.most_due <= len(due)
    if too_many:
        operations = ()
        wanted.whose.clear()
    extended = _extended(rows, operations) - wanted.whose
    if extended:
        session.budgets(rows, extended)
    _load_counters(session, rows, wanted.whose | extended)
    for hold in due:
        expire(rows, rows.holds[hold.workspace, hold.reserve_id])
    replies = [apply(rows, operation) for operation in operations]
    session.save(rows)
    return None if too_many else replies


def _wanted(operations: Sequence[Operation]) -> Wanted:
    wanted = Wanted(most_due=0 if operations else MOST_DUE)
    for o in operations:
        workspace = o.workspace
        wanted.holds.add((workspace, o.reserve_id))
        if o.idempotency_key is not None:
            wanted.answers.add((workspace, o.idempotency_key))
            if not is_own(o, o.idempotency_key):
                wanted.holds.update(holds_behind(workspace, o.idempotency_key))
        if type(o) is Reserve:
            wanted.most_due = MOST_DUE
            wanted.whose.add((workspace, o.agent, o.user_id, o.plan_key))
            if o.fingerprint is not None:
                wanted.fingerprints.add((workspace, o.fingerprint))
        elif type(o) is Settle:
            if o.offline:
                wanted.whose.add((workspace, o.agent, o.user_id, o.plan_key))
        elif type(o) is Extend:
            wanted.most_due = MOST_DUE
    return wanted


def _extended(rows: Working, operations: Sequence[Operation]) -> set[Whose]:
    """Whose the holds are that are to be extended: known only when these have been loaded."""
    whose: set[Whose] = set()
    for o in operations:
        hold = rows.holds.get((o.workspace, o.reserve_id)) if type(o) is Extend else None
        if hold is not None:
            whose.add((hold.workspace, hold.agent, hold.user_id, hold.plan_key))
    return whose


def _load_counters(session: Session, rows: Working, whose: set[Whose]) -> None:
    """The counters of all holds, and the places of *whose* on which new ones would be held."""
    applied = {each: applicable(rows, *each) for each in whose if each not in rows.places}
    keys = {a.key for every in applied.values() for a in every}
    numbers = set[int]().union(*[hold.counters for hold in rows.holds.values()])
    found = session.counters(rows, numbers, sorted(keys))
    for each, every in applied.items():
        counters = [found[a.key] for a in every]
        observing = [pair for pair in zip(every, counters, strict=True) if pair[0].budget.observe]
        rows.places[each] = Place(every, counters, tuple(counter.number for counter in counters), observing)
