"""One batch of the ledger in Postgres: three round trips, to read, to lock the counters, and to write and commit.

Holds are locked first, then counters, each in the order of their keys, whichever gateway it is. A statement costs both
sides some 50 us beside what it does, so what most batches write is one.
"""

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import cache
from typing import Any, Final

import msgspec
import psycopg

from actguard.gateway.ledger.batch import Wanted
from actguard.gateway.ledger.budgets import scopes_of
from actguard.gateway.ledger.rows import Answer, Budget, Counter, CounterKey, Hold, Whose, Working
from actguard.gateway.storage.postgres.arrays import array, arrays
from actguard.gateway.storage.rows import (
    ENDED,
    ENTRY,
    GRANTED,
    HOLD_COLUMNS,
    changed_rows,
    decoded_hold,
    ended_row,
    granted_row,
)
from actguard.gateway.storage.store import Row, statements

_ANSWER: Final = ("workspace_id", "idempotency_key", *Answer.__struct_fields__[2:])
_ENDED: Final = (*ENDED, "usd_held", "tokens_held")
_COUNTER: Final = ("id", "usd_held", "usd_spent", "tokens_held", "tokens_spent")
_TEXT: Final = {
    "reserve_id", "agent", "run_id", "user_id", "plan_key", "state", "fingerprint", "reserve_hash", "tariff_version",
    "settle_hash", "seqs", "counters", "op", "usage", "idempotency_key", "hash",
}  # fmt: skip
_Found = psycopg.Cursor[Row]


class PostgresSession:
    """The ledger's rows, inside a transaction that the store begins and ends, on a connection in pipeline mode.

    Args:
        connection: what is executed on it is sent when an answer is asked for.
        later: the ledger's time for the database's.
        latest: the ledger's time in the last batch.
        clock: what replaces the database's time.
    """

    def __init__(
        self,
        connection: psycopg.Connection[Row],
        later: Callable[[int], int],
        latest: int,
        clock: Callable[[], int] | None,
    ) -> None:
        self._connection: Final = connection
        self._later: Final = later
        self._latest: Final = latest
        self._clock: Final = clock

    def begin(self, wanted: Wanted) -> tuple[Working, list[Hold]]:
        asked = self._ask_budgets(wanted.whose)
        known = self._by_ids("load_holds", wanted.holds)
        alike = self._by_ids("load_fingerprints", wanted.fingerprints)
        said = self._by_ids("load_answers", wanted.answers)
        due = self._ask_due(wanted.most_due) if wanted.most_due else None
        told = asked.fetchall()
        rows = Working(self._later(told[0][0]))
        for hold in map(decoded_hold, _rows(known)):
            rows.holds[hold.workspace, hold.reserve_id] = hold
        for hold in map(decoded_hold, _rows(alike)):
            rows.holds.setdefault((hold.workspace, hold.reserve_id), hold)
            rows.fingerprints[hold.workspace, hold.fingerprint or ""] = hold.reserve_id
        for found in _rows(said):
            rows.answers[found[0], found[1]] = Answer(*found)
        _add_budgets(rows, told)
        return rows, [*map(decoded_hold, _rows(due))]

    def budgets(self, rows: Working, whose: Iterable[Whose]) -> None:
        _add_budgets(rows, self._ask_budgets(whose).fetchall())

    def counters(self, rows: Working, numbers: Iterable[int], keys: Sequence[CounterKey]) -> dict[CounterKey, Counter]:
        found = self._counters(rows, [*numbers], keys)
        missing = [key for key in keys if key not in found]
        if missing:
            self._by_ids("start_counters", missing)
            found |= self._counters(rows, [], missing)
        return found

    def save(self, rows: Working) -> None:
        granted = [granted_row(hold) for _, hold in sorted(rows.new_holds.items())]
        ended = [(*ended_row(hold), 0, 0) for hold in rows.ended_holds.values()]
        changed = rows.changed_counters.values()
        amounts = [(c.number, c.usd_held, c.usd_spent, c.tokens_held, c.tokens_spent) for c in changed]
        known, new = changed_rows(rows)
        self._replace(known)
        if granted or ended or amounts or rows.entries:
            parts = ((granted, GRANTED), (ended, _ENDED), (amounts, _COUNTER), (rows.entries, ENTRY))
            self._connection.execute(_save(), [each for part, names in parts for each in arrays(part, len(names))])
        self._replace(new)
        if rows.new_answers:
            answers = [msgspec.structs.astuple(answer) for _, answer in sorted(rows.new_answers.items())]
            self._connection.execute(_insert("answers", _ANSWER).encode(), arrays(answers, len(_ANSWER)))

    def _replace(self, holds: list[Row]) -> None:
        if holds:
            self._connection.execute(_update("holds", HOLD_COLUMNS, 2).encode(), arrays(holds, len(HOLD_COLUMNS)))

    def _ask_due(self, most: int) -> _Found:
        now = max(self._latest, self._clock()) if self._clock else None
        return self._found("load_due", {"now": now, "latest": self._latest, "most": most})

    def _ask_budgets(self, whose: Iterable[Whose]) -> _Found:
        """The database's time, and the zones and budgets of *whose*."""
        scopes = {scope for each in whose for scope in scopes_of(*each)}
        return self._found("load_budgets", columns(scopes, "abc"))

    def _counters(self, rows: Working, numbers: list[int], keys: Sequence[CounterKey]) -> dict[CounterKey, Counter]:
        if not numbers and not keys:
            return {}
        parameters = {"numbers": array(numbers)} | columns(keys, "abcde")
        found: dict[CounterKey, Counter] = {}
        for number, *key, usd_held, usd_spent, tokens_held, tokens_spent in self._found("load_counters", parameters):
            counter = Counter(number, CounterKey(*key), usd_held, usd_spent, tokens_held, tokens_spent)
            rows.counters[number] = found[counter.key] = counter
        return found

    def _by_ids(self, name: str, ids: Collection[Sequence[Any]]) -> "_Found | None":
        """Run a statement whose parameters a, b, c, ... are the columns of *ids*."""
        if not ids:
            return None
        return self._found(name, columns(ids, "abcde"))

    def _found(self, name: str, parameters: dict[str, Any]) -> _Found:
        """Run a statement. What it finds comes as the database has it: numbers need not become text in between."""
        return self._connection.execute(statement(name), parameters, binary=True)


def _add_budgets(rows: Working, told: list[Row]) -> None:
    found: dict[tuple[int, str, str], list[Budget]] = {}
    for _, workspace, zone, scope, key, *limits in told:
        if zone is not None:
            rows.zones[workspace] = zone
        if scope is not None:
            found.setdefault((workspace, scope, key), []).append(Budget(workspace, scope, key, *limits))
    rows.budgets.update(found)  # what is asked for twice in a batch is there once


def _rows(found: "_Found | None") -> list[Row]:
    return found.fetchall() if found is not None else []


def columns(rows: Collection[Sequence[Any]], letters: str) -> dict[str, str]:
    """The columns of *rows* by the letters that statements call them."""
    return dict(zip(letters, arrays(rows, len(letters)), strict=False))


@cache
def statement(name: str) -> bytes:
    """A statement with its parameters as psycopg names them."""
    return re.sub(r":(\w+)", r"%(\1)s", statements("postgres")[name].replace("%", "%%")).encode()


def _parameters(columns: tuple[str, ...]) -> str:
    return ", ".join(f"%s::{_type(column)}[]" for column in columns)


def _type(column: str) -> str:
    return "TEXT" if column in _TEXT else "BYTEA" if column == "body" else "BIGINT"


@cache
def _save() -> bytes:
    """All that most batches write. No row is in two of its parts.

    Of several parts, Postgres does the last first: so what ends does, before what is granted takes its place.
    """
    granted, ended = _insert("holds", GRANTED), _update("holds", _ENDED, 2)
    counted, booked = _update("counters", _COUNTER, 1), _insert("ledger", ENTRY)
    return f"WITH granted AS ({granted}), ended AS ({ended}), counted AS ({counted}) {booked}".encode()


@cache
def _insert(table: str, columns: tuple[str, ...]) -> str:
    return f"INSERT INTO {table} ({', '.join(columns)}) SELECT * FROM unnest({_parameters(columns)})"


@cache
def _update(table: str, columns: tuple[str, ...], keys: int) -> str:
    """Changes rows of a *table*; the first *keys* of the *columns* say which."""
    sets = ", ".join(f"{column} = i.{column}" for column in columns[keys:])
    same = " AND ".join(f"t.{column} = i.{column}" for column in columns[:keys])
    return (
        f"UPDATE {table} AS t SET {sets} FROM unnest({_parameters(columns)}) AS i ({', '.join(columns)}) WHERE {same}"
    )
