"""What the one writer of a SQLite file need not read again: budgets, counters and open holds, as last committed.

It belongs to one connection, and is exact: whoever else commits to the file changes its `data_version`, which is asked
inside every transaction, and whatever undoes a transaction of this connection forgets everything.
"""

import sqlite3
from typing import Final

from actguard.gateway.ledger.rows import Budget, Counter, CounterKey, Hold, Id, Place, Whose, Working
from actguard.gateway.ledger.windows import SECOND

_MOST_HOLDS: Final = 20_000
_MOST_ROWS: Final = 20_000
"""Of each other kind. What is forgotten is read again, so these bound memory and nothing else."""


class Memory:
    """Rows as they are in the file. A batch changes them in place: what is not committed is followed by `forget`."""

    def __init__(self) -> None:
        self._version: int | None = None
        self.forget()

    def forget(self) -> None:
        self.zones: dict[int, str] = {}
        self.budgets: dict[tuple[int, str, str], list[Budget]] = {}
        self.counters: dict[int, Counter] = {}
        self.numbered: dict[CounterKey, Counter] = {}
        """The same counters by their keys."""
        self.holds: dict[Id, Hold] = {}
        """Open ones."""
        self.next_due = 0
        """No open hold expires before this."""
        self.places: dict[Whose, Place] = {}
        self._second = 0

    def working(self, connection: sqlite3.Connection, now: int) -> Working:
        """The rows that a batch begins with, in a transaction that has begun on *connection*."""
        (version,) = connection.execute("PRAGMA data_version").fetchone()
        if version != self._version or max(len(self.budgets), len(self.counters)) > _MOST_ROWS:
            self.forget()
            self._version = version
        if now // SECOND != self._second or len(self.places) > _MOST_ROWS:  # windows begin with a second
            self.places, self._second = {}, now // SECOND
        return Working(now, self.zones, self.budgets, counters=self.counters, places=self.places)

    def remember(self, rows: Working) -> None:
        """What a batch has changed, when it has been written."""
        for identity in rows.ended_holds:
            self.holds.pop(identity, None)
        for changed in (rows.new_holds, rows.changed_holds):
            for identity, hold in changed.items():
                if hold.state == "open":
                    self.holds[identity] = hold
                    if hold.expires_at < self.next_due:
                        self.next_due = hold.expires_at
                else:
                    self.holds.pop(identity, None)
        while len(self.holds) > _MOST_HOLDS:
            del self.holds[next(iter(self.holds))]
