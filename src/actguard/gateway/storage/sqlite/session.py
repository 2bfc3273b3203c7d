"""One batch of the ledger in SQLite. Nothing is locked row by row: the one writer there is remembers what it wrote."""

import sqlite3
from collections.abc import Collection, Iterable, Sequence
from typing import Final

import msgspec

from actguard.gateway.ledger.batch import Wanted
from actguard.gateway.ledger.budgets import scopes_of
from actguard.gateway.ledger.rows import Answer, Budget, Counter, CounterKey, Hold, Id, Whose, Working
from actguard.gateway.storage.rows import changed_rows, decoded_hold, ended_row, granted_row
from actguard.gateway.storage.sqlite.many import run_on_many
from actguard.gateway.storage.sqlite.memory import Memory
from actguard.gateway.storage.store import Row, statements

_astuple = msgspec.structs.astuple


class SqliteSession:
    """The ledger's rows, inside a transaction that the store begins and ends."""

    def __init__(self, connection: sqlite3.Connection, memory: Memory, now: int) -> None:
        self._connection: Final = connection
        self._memory: Final = memory
        self._now: Final = now

    def begin(self, wanted: Wanted) -> tuple[Working, list[Hold]]:
        memory = self._memory
        rows = memory.working(self._connection, self._now)
        unknown: list[Id] = []
        for identity in wanted.holds:
            hold = memory.holds.get(identity)
            if hold is not None:
                rows.holds[identity] = hold
            else:
                unknown.append(identity)
        for hold in map(decoded_hold, self._many("load_holds", unknown)):
            rows.holds[hold.workspace, hold.reserve_id] = hold
        for found in map(decoded_hold, self._many("load_fingerprints", wanted.fingerprints)):
            identity = (found.workspace, found.reserve_id)
            rows.holds.setdefault(identity, memory.holds.get(identity, found))
            rows.fingerprints[found.workspace, found.fingerprint or ""] = found.reserve_id
        for answer in self._many("load_answers", wanted.answers):
            rows.answers[answer[0], answer[1]] = Answer(*answer)
        self.budgets(rows, wanted.whose)
        return rows, self._due(wanted.most_due) if wanted.most_due and self._now >= memory.next_due else []

    def budgets(self, rows: Working, whose: Iterable[Whose]) -> None:
        new = [each for each in whose if each not in rows.places]
        zones = {(each[0],) for each in new if each[0] not in rows.zones}
        rows.zones.update((workspace, zone) for workspace, zone in self._many("load_zones", zones))
        unknown = {scope for each in new for scope in scopes_of(*each) if scope not in rows.budgets}
        rows.budgets.update((scope, []) for scope in unknown)
        for workspace, scope, key, window, usd, tokens, observe in self._many("load_budgets", unknown):
            budget = Budget(workspace, scope, key, window, usd, tokens, bool(observe))
            rows.budgets[workspace, scope, key].append(budget)

    def counters(self, rows: Working, numbers: Iterable[int], keys: Sequence[CounterKey]) -> dict[CounterKey, Counter]:
        numbered = self._memory.numbered
        self._learn(self._many("load_counters", [(number,) for number in numbers if number not in rows.counters]))
        unknown = [key for key in keys if key not in numbered]
        self._learn(self._many("find_counters", unknown))
        missing = [key for key in unknown if key not in numbered]
        self._many("start_counters", missing)
        self._learn(self._many("find_counters", missing))
        return numbered

    def save(self, rows: Working) -> None:
        known, new = changed_rows(rows)
        self._many("replace_holds", known)
        self._many("end_holds", [*map(ended_row, rows.ended_holds.values())])
        self._many("add_holds", [*map(granted_row, rows.new_holds.values())])
        self._many("replace_holds", new)
        changed = rows.changed_counters.values()
        amounts = [(c.number, c.usd_held, c.usd_spent, c.tokens_held, c.tokens_spent) for c in changed]
        self._many("save_counters", amounts)
        self._many("add_entries", rows.entries)
        self._many("add_answers", [*map(_astuple, rows.new_answers.values())])
        self._memory.remember(rows)

    def _learn(self, found: Iterable[Row]) -> None:
        for number, *key, usd_held, usd_spent, tokens_held, tokens_spent in found:
            counter = Counter(number, CounterKey(*key), usd_held, usd_spent, tokens_held, tokens_spent)
            self._memory.counters[number] = self._memory.numbered[counter.key] = counter

    def _due(self, most: int) -> list[Hold]:
        """The holds whose time has come; the caller ends them, and until the next one's time there are none."""
        at = {"now": self._now, "most": most}
        found = self._connection.execute(statements("sqlite")["load_due"], at).fetchall()
        if len(found) < most:
            (first,) = self._connection.execute(statements("sqlite")["next_due"], {"now": self._now}).fetchone()
            self._memory.next_due = first
        return [*map(decoded_hold, found)]

    def _many(self, name: str, rows: Collection[Row]) -> list[Row]:
        """Run a statement on all *rows*, and return what it finds."""
        found: list[Row] = []
        for cursor in run_on_many(self._connection, name, rows):
            found += cursor
        return found
