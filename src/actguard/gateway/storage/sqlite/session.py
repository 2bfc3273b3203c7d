"""One batch of the ledger in SQLite. Nothing is locked row by row: there is one writer, and it remembers what it wrote.

Rows are written many to a statement. Between two rows of `executemany` the interpreter may pass to another thread, and
come back only when that one is done with its turn.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any, Final, cast

import msgspec

from actguard.gateway.ledger.batch import Budgets
from actguard.gateway.ledger.rows import Answer, Budget, Counter, CounterKey, Hold, Id, Working
from actguard.gateway.storage.rows import decoded_hold, encoded_hold
from actguard.gateway.storage.sqlite.memory import Memory
from actguard.gateway.storage.store import Row, statements

_MOST_TOGETHER: Final = 64
"""Rows to a statement; the widest has 25 columns, and SQLite takes 32,766 parameters."""
_json = msgspec.json.Encoder()
_astuple = msgspec.structs.astuple


class SqliteSession:
    """The ledger's rows, inside a transaction that the store begins and ends."""

    def __init__(self, connection: sqlite3.Connection, memory: Memory, now: int) -> None:
        self._connection: Final = connection
        self._memory: Final = memory
        self._now: Final = now

    def begin(
        self, holds: Sequence[Id], fingerprints: Sequence[Id], answers: Sequence[Id], most_due: int
    ) -> tuple[Working, list[Hold]]:
        memory = self._memory
        rows = memory.working(self._connection, self._now)
        unknown: list[Id] = []
        for identity in holds:
            hold = memory.holds.get(identity)
            if hold is not None:
                rows.holds[identity] = hold
            else:
                unknown.append(identity)
        for hold in map(decoded_hold, self._by_ids("load_holds", unknown)):
            rows.holds[hold.workspace, hold.reserve_id] = hold
        for found in map(decoded_hold, self._by_ids("load_fingerprints", fingerprints)):
            identity = (found.workspace, found.reserve_id)
            rows.holds.setdefault(identity, memory.holds.get(identity, found))
            rows.fingerprints[found.workspace, found.fingerprint or ""] = found.reserve_id
        for answer in self._by_ids("load_answers", answers):
            rows.answers[answer[0], answer[1]] = Answer(*answer)
        return rows, self._due(most_due) if most_due and self._now >= memory.next_due else []

    def budgets(self, workspaces: Iterable[int], scopes: Sequence[tuple[int, str, str]]) -> Budgets:
        zones, budgets = self._memory.zones, self._memory.budgets
        new_zones = [workspace for workspace in workspaces if workspace not in zones]
        zones.update(cast("list[tuple[int, str]]", self._by_ids("load_zones", new_zones)))
        unknown = [scope for scope in scopes if scope not in budgets]
        budgets.update((scope, []) for scope in unknown)
        for workspace, scope, key, window, usd, tokens, observe in self._by_ids("load_budgets", unknown):
            budgets[workspace, scope, key].append(Budget(workspace, scope, key, window, usd, tokens, bool(observe)))
        return zones, budgets

    def counters(self, keys: Sequence[CounterKey]) -> dict[CounterKey, Counter]:
        counters = self._memory.counters
        unknown = [key for key in keys if key not in counters]
        for row in self._by_ids("load_counters", unknown):
            counters[CounterKey(*row[:5])] = Counter(*row[5:])
        return counters

    def save(self, rows: Working) -> None:
        self._put("INSERT INTO holds", 25, map(encoded_hold, rows.new_holds.values()))
        self._put("REPLACE INTO holds", 25, map(encoded_hold, rows.changed_holds.values()))
        self._put("REPLACE INTO counters", 9, ((*key, *_astuple(c)) for key, c in rows.changed_counters.items()))
        self._put("INSERT INTO ledger", 12, ((None, *_astuple(entry)) for entry in rows.entries))
        self._put("INSERT INTO answers", 6, (_astuple(answer) for _, answer in sorted(rows.new_answers.items())))
        self._memory.remember(rows)

    def _due(self, most: int) -> list[Hold]:
        """The holds whose time has come; the caller ends them, and until the next one's time there are none."""
        at = {"now": self._now, "most": most}
        found = self._connection.execute(statements("sqlite")["load_due"], at).fetchall()
        if len(found) < most:
            (first,) = self._connection.execute(statements("sqlite")["next_due"], {"now": self._now}).fetchone()
            self._memory.next_due = first
        return [*map(decoded_hold, found)]

    def _by_ids(self, name: str, ids: Sequence[Any]) -> list[Row]:
        if not ids:
            return []
        return self._connection.execute(statements("sqlite")[name], {"ids": _json.encode(ids).decode()}).fetchall()

    def _put(self, verb: str, columns: int, rows: Iterable[Row]) -> None:
        every = [*rows]
        for first, count in _parts(len(every)):
            values = [value for row in every[first : first + count] for value in row]
            self._connection.execute(_insert(verb, columns, count), values)


def _parts(length: int) -> Iterator[tuple[int, int]]:
    """Where parts begin, and how many rows they have: powers of two, so that few statements are ever prepared."""
    first, count = 0, _MOST_TOGETHER
    while first < length:
        while count > length - first:
            count //= 2
        yield first, count
        first += count


@cache
def _insert(verb: str, columns: int, rows: int) -> str:
    row = f"({', '.join('?' * columns)})"
    return f"{verb} VALUES {', '.join([row] * rows)}"
