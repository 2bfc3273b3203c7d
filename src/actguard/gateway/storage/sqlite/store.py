"""The SQLite store: write-ahead log, every commit on the disk before it is answered, one gateway for each file."""

import sqlite3
import time
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any, Final

import msgspec

from actguard.gateway.ledger.batch import Session
from actguard.gateway.storage.sqlite.file import OneGateway, check_place
from actguard.gateway.storage.sqlite.many import run_on_many
from actguard.gateway.storage.sqlite.memory import Memory
from actguard.gateway.storage.sqlite.session import SqliteSession
from actguard.gateway.storage.store import (
    ATTEMPTS,
    EventKey,
    Row,
    Store,
    StoreDown,
    StoreError,
    migrations,
    newer_schema,
    statements,
)

_WAIT_S: Final = 5.0
"""For a command line that writes beside the gateway; two gateways never meet here."""
_CACHE_KIB: Final = 16_000
"""The writer's: what a transaction of events changes, all over an index if their ids are random, is written once."""
_STATEMENTS: Final = 1024
"""Kept prepared; each of a batch's has a form for every number of rows."""
_APART: Final = frozenset({"add_event_ids", "add_event_batches", "add_to_event_rollups", "forget_event_ids",
                           "begin_rollups", "move_rollups", "add_charge_rollup", "forget_answers", "add_answer",
                           "add_key", "revoke_key"})  # fmt: skip
"""Statements that change nothing of budgets, counters and holds."""

_encode: Final = msgspec.json.Encoder().encode


class SqliteStore(Store):
    """A database file.

    Args:
        path: where; its folder must exist.
        clock: the ledger's time in microseconds; the system's, by default. It never goes back.
        alone: whether to lock the file against a second gateway; the command line writes beside one.
        synchronous: `FULL`, so that an answer survives a loss of power; tests that start no process may do without.
    """

    kind = "sqlite"
    shared = False

    def __init__(
        self,
        path: Path,
        *,
        clock: Callable[[], int] | None = None,
        alone: bool = True,
        synchronous: str = "FULL",
    ) -> None:
        self.path: Final = path
        self._clock: Final = clock if clock is not None else lambda: time.time_ns() // 1000
        self._lock: Final = OneGateway(path) if alone else None
        self._synchronous: Final = synchronous
        self._latest = 0
        self._writer: sqlite3.Connection | None = None
        self._writer_lock: Final = Lock()
        self._memory = Memory()
        self._readers: list[sqlite3.Connection] = []

    def open(self) -> None:
        check_place(self.path)
        if self._lock is not None:
            self._lock.acquire()
        try:
            self._memory = Memory()
            self._writer = self._connect()
            _keep_log(self._writer)
            self._writer.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            self._migrate(self._writer)
            (self._latest,) = self._writer.execute(statements("sqlite")["now_at_least"]).fetchone()
        except sqlite3.Error as error:
            self.close()
            raise StoreError(f"The database {self.path} cannot be used: {error}.") from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        connections, self._readers = [*self._readers], []
        if self._writer is not None:
            connections.append(self._writer)
            self._writer = None
        for connection in connections:
            connection.close()
        if self._lock is not None:
            self._lock.release()

    def now(self) -> int:
        self._latest = max(self._latest, self._clock())
        return self._latest

    @contextmanager
    def writing(self) -> Generator["_Transaction"]:
        with self._writer_lock, _translated():
            connection = self._writer
            if connection is None:
                raise StoreDown("The store is closed.")
            connection.execute("BEGIN IMMEDIATE")
            transaction = _Transaction(connection)
            try:
                yield transaction
                connection.execute("COMMIT")
            except BaseException:
                self._memory.forget()
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            if transaction.touched:
                self._memory.forget()

    @contextmanager
    def reading(self) -> Generator["_Transaction"]:
        with _translated():
            try:
                connection = self._readers.pop()
            except IndexError:
                connection = self._connect()
            try:
                connection.execute("BEGIN")
                yield _Transaction(connection)
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                self._readers.append(connection)

    @contextmanager
    def session(self) -> Generator[Session]:
        with self.writing() as transaction:
            yield SqliteSession(transaction.connection, self._memory, self.now())

    def maintain(self) -> None:
        """Move the log into the file beside the writer, so that no commit has to wait for it."""
        with self.reading() as transaction:
            transaction.connection.execute("ROLLBACK")
            transaction.connection.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=_WAIT_S, isolation_level=None, check_same_thread=False, cached_statements=_STATEMENTS
        )
        connection.execute(f"PRAGMA synchronous = {self._synchronous}")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA wal_autocheckpoint = 20000")
        return connection

    def _migrate(self, connection: sqlite3.Connection) -> None:
        """All in one transaction: a command may be started beside the gateway, and would begin with the same."""
        known = migrations("sqlite")
        connection.execute("BEGIN IMMEDIATE")
        (found,) = connection.execute("PRAGMA user_version").fetchone()
        if found > known[-1][0]:
            raise newer_schema(found, known[-1][0])
        for number, _, text in known:
            if number > found:
                for statement in _statements_of(text):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {number}")
        connection.execute("COMMIT")


class _Transaction:
    """Statements by name. *touched*: whether one of them may have changed what a session goes by."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection: Final = connection
        self.touched = False

    def rows(self, name: str, /, **parameters: Any) -> list[Row]:
        return self.connection.execute(statements("sqlite")[name], parameters).fetchall()

    def run(self, name: str, /, **parameters: Any) -> int:
        self.touched |= name not in _APART
        return self.connection.execute(statements("sqlite")[name], parameters).rowcount

    def run_many(self, name: str, rows: Sequence[Row]) -> int:
        self.touched |= name not in _APART
        return sum(cursor.rowcount for cursor in run_on_many(self.connection, name, rows))

    def add_event_ids(self, keys: Collection[EventKey]) -> set[EventKey]:
        """Nearly always all are new. What would tell which were, would tell it row by row."""
        ((batch,),) = self.rows("next_event_batch")
        known: set[EventKey] = set()
        for workspace in {workspace for workspace, _ in keys}:
            ids = sorted([id for other, id in keys if other == workspace])  # written one behind the other
            said: dict[str, Any] = {"workspace": workspace, "ids": _encode(ids).decode(), "batch": batch}
            if self.run("add_event_ids", **said) < len(ids):
                known.update((workspace, id) for (id,) in self.rows("known_event_ids", **said))
        return known


def _keep_log(connection: sqlite3.Connection) -> None:
    """Of two that ask for it at once in a new file, one is turned away at once; for a transaction, it would wait."""
    for _ in range(ATTEMPTS):
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
        else:
            return
    connection.execute("PRAGMA journal_mode = WAL")


def _statements_of(script: str) -> Generator[str]:
    """One after the other: `executescript` would end the transaction that it is called in."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


@contextmanager
def _translated() -> Generator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise StoreDown(f"The database does not take this now: {error}.") from error
