"""The Postgres store: one transaction for a batch, in a handful of statements, whichever gateway runs it.

A row that many clients want is locked once for each batch, not once for each client, and every gateway takes locks in
the same order, so a hot budget costs waiting and never a deadlock.
"""

import re
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, Final, cast

import msgspec
import psycopg
import psycopg_pool
from psycopg import errors

from actguard.gateway.ledger.batch import Budgets, Session
from actguard.gateway.ledger.rows import Answer, Budget, Counter, CounterKey, Entry, Hold, Id, Working
from actguard.gateway.storage.rows import HOLD_COLUMNS, decoded_hold, encoded_hold
from actguard.gateway.storage.store import (
    Crossed,
    Row,
    Store,
    StoreDown,
    StoreError,
    migrations,
    newer_schema,
    statements,
)

_CONNECT_S: Final = 5
_ONE_STARTS: Final = 7230411
"""The number of the advisory lock under which one process at a time brings the schema up to date."""
_Connection = psycopg.Connection[Row]


class PostgresStore(Store):
    """A database that several gateways share.

    Args:
        url: `postgresql://user@host/name`.
        clock: the ledger's time in microseconds; the database's, by default, which is one for all gateways.
    """

    kind = "postgres"
    shared = True

    def __init__(self, url: str, *, clock: Callable[[], int] | None = None) -> None:
        self._url: Final = url
        self._clock: Final = clock
        self._latest = 0
        self._writer: _Connection | None = None
        self._pool: psycopg_pool.ConnectionPool[_Connection] | None = None

    def open(self) -> None:
        try:
            with self._connect() as connection:
                self._migrate(connection)
        except psycopg.OperationalError as error:
            raise StoreError(f"Postgres cannot be reached: {_said(error)}. Check --database.") from error
        except psycopg.Error as error:
            raise StoreError(f"The Postgres database cannot be used: {_said(error)}.") from error
        self._pool = psycopg_pool.ConnectionPool(
            self._url,
            min_size=1,
            max_size=4,
            timeout=_CONNECT_S,
            kwargs={"autocommit": True, "connect_timeout": _CONNECT_S},
            open=True,
        )

    def close(self) -> None:
        if self._pool is not None:
            self._pool.close(timeout=2)
            self._pool = None
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def now(self) -> int:
        return self.read(lambda transaction: self._later(transaction.rows("clock")[0][0]))

    @contextmanager
    def writing(self) -> Generator["_Transaction"]:
        with self._translated():
            if self._writer is None or self._writer.closed:
                self._writer = self._connect()
            with self._writer.transaction():
                yield _Transaction(self._writer)

    @contextmanager
    def reading(self) -> Generator["_Transaction"]:
        if self._pool is None:
            raise StoreDown("The store is closed.")
        with self._translated(), self._pool.connection() as connection:
            yield _Transaction(connection)

    @contextmanager
    def session(self) -> Generator[Session]:
        with self.writing() as transaction:
            yield _Session(transaction.connection, self._later)

    def _later(self, said: int) -> int:
        self._latest = max(self._latest, said if self._clock is None else self._clock())
        return self._latest

    def _connect(self) -> _Connection:
        return psycopg.connect(self._url, autocommit=True, connect_timeout=_CONNECT_S, prepare_threshold=2)

    def _migrate(self, connection: _Connection) -> None:
        known = migrations("postgres")
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", [_ONE_STARTS])
            connection.execute(
                "CREATE TABLE IF NOT EXISTS schema_versions (version BIGINT PRIMARY KEY, name TEXT NOT NULL)"
            )
            (found,) = connection.execute("SELECT coalesce(max(version), 0) FROM schema_versions").fetchone() or (0,)
            if found > known[-1][0]:
                raise newer_schema(found, known[-1][0])
            for number, name, text in known:
                if number > found:
                    connection.execute(text.encode())
                    connection.execute("INSERT INTO schema_versions VALUES (%s, %s)", [number, name])

    @contextmanager
    def _translated(self) -> Generator[None]:
        try:
            yield
        except (errors.UniqueViolation, errors.DeadlockDetected, errors.SerializationFailure) as error:
            raise Crossed from error
        except psycopg_pool.PoolTimeout as error:
            raise StoreDown("Postgres does not answer now.") from error
        except psycopg.OperationalError as error:
            self._writer = None if self._writer is not None and self._writer.broken else self._writer
            raise StoreDown(f"Postgres does not answer now: {_said(error)}.") from error


class _Transaction:
    def __init__(self, connection: _Connection) -> None:
        self.connection: Final = connection

    def rows(self, name: str, /, **parameters: Any) -> list[Row]:
        return self.connection.execute(_statement(name), parameters).fetchall()

    def run(self, name: str, /, **parameters: Any) -> int:
        return self.connection.execute(_statement(name), parameters).rowcount

    def run_many(self, name: str, rows: Sequence[Mapping[str, Any]]) -> int:
        with self.connection.cursor() as cursor:
            cursor.executemany(_statement(name), rows)
            return cursor.rowcount


class _Session:
    """The ledger's rows in Postgres: holds are locked first, then counters, each in the order of their keys."""

    def __init__(self, connection: _Connection, later: Callable[[int], int]) -> None:
        self._connection: Final = connection
        self._later: Final = later

    def begin(
        self, holds: Sequence[Id], fingerprints: Sequence[Id], answers: Sequence[Id], most_due: int
    ) -> tuple[Working, list[Hold]]:
        with self._connection.pipeline():
            clock = self._connection.execute(_statement("clock"))
            known = self._by_ids("load_holds", holds)
            alike = self._by_ids("load_fingerprints", fingerprints)
            said = self._by_ids("load_answers", answers)
            first = clock.fetchone()
        rows = Working(self._later(first[0] if first is not None else time.time_ns() // 1000))
        for hold in map(decoded_hold, known.fetchall() if known else ()):
            rows.holds[hold.workspace, hold.reserve_id] = hold
        for hold in map(decoded_hold, alike.fetchall() if alike else ()):
            rows.holds.setdefault((hold.workspace, hold.reserve_id), hold)
            rows.fingerprints[hold.workspace, hold.fingerprint or ""] = hold.reserve_id
        for found in said.fetchall() if said else ():
            rows.answers[found[0], found[1]] = Answer(*found)
        due: list[Row] = []
        if most_due:
            due = self._connection.execute(_statement("load_due"), {"now": rows.now, "most": most_due}).fetchall()
        return rows, [*map(decoded_hold, due)]

    def budgets(self, workspaces: Iterable[int], scopes: Sequence[tuple[int, str, str]]) -> Budgets:
        with self._connection.pipeline():
            zones = self._connection.execute(_statement("load_zones"), {"ids": [*workspaces]})
            found = self._by_ids("load_budgets", scopes)
        budgets: dict[tuple[int, str, str], list[Budget]] = {}
        for row in found.fetchall() if found else ():
            budget = Budget(*row)
            budgets.setdefault((budget.workspace, budget.scope, budget.key), []).append(budget)
        return dict(cast("list[tuple[int, str]]", zones.fetchall())), budgets

    def counters(self, keys: Sequence[CounterKey]) -> dict[CounterKey, Counter]:
        found = self._counters(keys)
        missing = [key for key in keys if key not in found]
        if missing:
            self._by_ids("start_counters", missing)
            found |= self._counters(missing)
        return found

    def save(self, rows: Working) -> None:
        with self._connection.pipeline():
            if rows.new_holds:
                self._insert("holds", HOLD_COLUMNS, [encoded_hold(hold) for _, hold in sorted(rows.new_holds.items())])
            if rows.changed_holds:
                self._update_holds([encoded_hold(hold) for hold in rows.changed_holds.values()])
            if rows.changed_counters:
                changed = [(*key, *msgspec.structs.astuple(c)) for key, c in sorted(rows.changed_counters.items())]
                self._by_ids("save_counters", changed)
            if rows.entries:
                columns = ("workspace_id", *Entry.__struct_fields__[1:])
                self._insert("ledger", columns, [msgspec.structs.astuple(entry) for entry in rows.entries])
            if rows.new_answers:
                columns = ("workspace_id", "idempotency_key", *Answer.__struct_fields__[2:])
                answers = [msgspec.structs.astuple(answer) for _, answer in sorted(rows.new_answers.items())]
                self._insert("answers", columns, answers)

    def _counters(self, keys: Sequence[CounterKey]) -> dict[CounterKey, Counter]:
        found = self._by_ids("load_counters", keys)
        return {CounterKey(*row[:5]): Counter(*row[5:]) for row in found.fetchall()} if found else {}

    def _by_ids(self, name: str, ids: Sequence[Sequence[Any]]) -> "psycopg.Cursor[Row] | None":
        """Run a statement whose parameters a, b, c, ... are the columns of *ids*."""
        if not ids:
            return None
        return self._connection.execute(_statement(name), _columns(ids))

    def _insert(self, table: str, columns: tuple[str, ...], rows: Sequence[Sequence[Any]]) -> None:
        self._connection.execute(_insert(table, columns).encode(), [*map(list, zip(*rows, strict=True))])

    def _update_holds(self, rows: Sequence[Sequence[Any]]) -> None:
        self._connection.execute(_update_holds().encode(), [*map(list, zip(*rows, strict=True))])


def _columns(rows: Sequence[Sequence[Any]]) -> dict[str, list[Any]]:
    """The columns of *rows* by the letters that statements call them."""
    return dict(zip("abcdefghi", map(list, zip(*rows, strict=True)), strict=False))


@cache
def _statement(name: str) -> bytes:
    """A statement with its parameters as psycopg names them."""
    return re.sub(r":(\w+)", r"%(\1)s", statements("postgres")[name].replace("%", "%%")).encode()


_TEXT: Final = {
    "reserve_id", "agent", "run_id", "user_id", "plan_key", "state", "fingerprint", "reserve_hash", "settle_hash",
    "seqs", "counters", "op", "usage", "idempotency_key", "hash",
}  # fmt: skip


def _type(column: str) -> str:
    return "TEXT" if column in _TEXT else "BYTEA" if column == "body" else "BIGINT"


@cache
def _insert(table: str, columns: tuple[str, ...]) -> str:
    arrays = ", ".join(f"%s::{_type(column)}[]" for column in columns)
    return f"INSERT INTO {table} ({', '.join(columns)}) SELECT * FROM unnest({arrays})"


@cache
def _update_holds() -> str:
    arrays = ", ".join(f"%s::{_type(column)}[]" for column in HOLD_COLUMNS)
    sets = ", ".join(f"{column} = i.{column}" for column in HOLD_COLUMNS[2:] if column not in _FIXED)
    return (
        f"UPDATE holds AS h SET {sets} FROM unnest({arrays}) AS i ({', '.join(HOLD_COLUMNS)}) "
        "WHERE h.workspace_id = i.workspace_id AND h.reserve_id = i.reserve_id"
    )


_FIXED: Final = {"agent", "run_id", "user_id", "plan_key", "created_at", "fingerprint", "reserve_hash", "counters"}


def _said(error: psycopg.Error) -> str:
    """The driver's first line, without what a connection string may hold."""
    return re.sub(
        r"postgres(?:ql)?://\S+", "postgresql://...", str(error).strip().splitlines()[0] if str(error) else ""
    )
