"""The SQLite store: write-ahead log, every commit on the disk before it is answered, one gateway for each file."""

import sqlite3
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any, Final, cast

import msgspec

from actguard.gateway.ledger.batch import Budgets, Session
from actguard.gateway.ledger.rows import Answer, Budget, Counter, CounterKey, Hold, Id, Working
from actguard.gateway.storage.rows import decoded_hold, encoded_hold
from actguard.gateway.storage.sqlite.file import OneGateway, check_place
from actguard.gateway.storage.store import Row, Store, StoreDown, StoreError, migrations, newer_schema, statements

_WAIT_S: Final = 5.0
"""For a command line that writes beside the gateway; two gateways never meet here."""
_json = msgspec.json.Encoder()


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
        self._readers: list[sqlite3.Connection] = []

    def open(self) -> None:
        check_place(self.path)
        if self._lock is not None:
            self._lock.acquire()
        try:
            self._writer = self._connect()
            self._writer.execute("PRAGMA journal_mode = WAL")
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
            try:
                yield _Transaction(connection)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

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
            yield _Session(transaction.connection, self.now())

    def maintain(self) -> None:
        """Move the log into the file beside the writer, so that no commit has to wait for it."""
        with self.reading() as transaction:
            transaction.connection.execute("ROLLBACK")
            transaction.connection.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=_WAIT_S, isolation_level=None, check_same_thread=False)
        connection.execute(f"PRAGMA synchronous = {self._synchronous}")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA wal_autocheckpoint = 20000")
        return connection

    def _migrate(self, connection: sqlite3.Connection) -> None:
        known = migrations("sqlite")
        connection.execute("BEGIN IMMEDIATE")
        (found,) = connection.execute("PRAGMA user_version").fetchone()
        if found > known[-1][0]:
            connection.execute("ROLLBACK")
            raise newer_schema(found, known[-1][0])
        connection.execute("COMMIT")
        for number, _, text in known:
            if number > found:
                connection.executescript(f"BEGIN IMMEDIATE;\n{text}\nPRAGMA user_version = {number};\nCOMMIT;")


class _Transaction:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection: Final = connection

    def rows(self, name: str, /, **parameters: Any) -> list[Row]:
        return self.connection.execute(statements("sqlite")[name], parameters).fetchall()

    def run(self, name: str, /, **parameters: Any) -> int:
        return self.connection.execute(statements("sqlite")[name], parameters).rowcount

    def run_many(self, name: str, rows: Sequence[Mapping[str, Any]]) -> int:
        return self.connection.executemany(statements("sqlite")[name], rows).rowcount


class _Session:
    """The ledger's rows in SQLite. Nothing is locked row by row: there is one writer."""

    def __init__(self, connection: sqlite3.Connection, now: int) -> None:
        self._connection: Final = connection
        self._now: Final = now

    def begin(
        self, holds: Sequence[Id], fingerprints: Sequence[Id], answers: Sequence[Id], most_due: int
    ) -> tuple[Working, list[Hold]]:
        rows = Working(self._now)
        for hold in map(decoded_hold, self._by_ids("load_holds", holds)):
            rows.holds[hold.workspace, hold.reserve_id] = hold
        for hold in map(decoded_hold, self._by_ids("load_fingerprints", fingerprints)):
            rows.holds.setdefault((hold.workspace, hold.reserve_id), hold)
            rows.fingerprints[hold.workspace, hold.fingerprint or ""] = hold.reserve_id
        for found in self._by_ids("load_answers", answers):
            rows.answers[found[0], found[1]] = Answer(*found)
        due: list[Row] = []
        if most_due:
            statement = statements("sqlite")["load_due"]
            due = self._connection.execute(statement, {"now": self._now, "most": most_due}).fetchall()
        return rows, [*map(decoded_hold, due)]

    def budgets(self, workspaces: Iterable[int], scopes: Sequence[tuple[int, str, str]]) -> Budgets:
        zones: dict[int, str] = dict(cast("list[tuple[int, str]]", self._by_ids("load_zones", [*workspaces])))
        budgets: dict[tuple[int, str, str], list[Budget]] = {}
        for workspace, scope, key, window, usd, tokens, observe in self._by_ids("load_budgets", scopes):
            budget = Budget(workspace, scope, key, window, usd, tokens, bool(observe))
            budgets.setdefault((workspace, scope, key), []).append(budget)
        return zones, budgets

    def counters(self, keys: Sequence[CounterKey]) -> dict[CounterKey, Counter]:
        return {CounterKey(*row[:5]): Counter(*row[5:]) for row in self._by_ids("load_counters", keys)}

    def save(self, rows: Working) -> None:
        many = self._connection.executemany
        if rows.new_holds:
            many(f"INSERT INTO holds VALUES ({_marks(25)})", [*map(encoded_hold, rows.new_holds.values())])
        if rows.changed_holds:
            many(f"REPLACE INTO holds VALUES ({_marks(25)})", [*map(encoded_hold, rows.changed_holds.values())])
        if rows.changed_counters:
            changed = [(*key, *msgspec.structs.astuple(c)) for key, c in rows.changed_counters.items()]
            many(f"REPLACE INTO counters VALUES ({_marks(9)})", changed)
        if rows.entries:
            many(f"INSERT INTO ledger VALUES (NULL, {_marks(11)})", [*map(msgspec.structs.astuple, rows.entries)])
        if rows.new_answers:
            answers = [msgspec.structs.astuple(a) for _, a in sorted(rows.new_answers.items())]
            many(f"INSERT INTO answers VALUES ({_marks(6)})", answers)

    def _by_ids(self, name: str, ids: Sequence[Any]) -> list[Row]:
        if not ids:
            return []
        return self._connection.execute(statements("sqlite")[name], {"ids": _json.encode(ids).decode()}).fetchall()


@contextmanager
def _translated() -> Generator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise StoreDown(f"The database does not take this now: {error}.") from error


def _marks(count: int) -> str:
    return ", ".join("?" * count)
