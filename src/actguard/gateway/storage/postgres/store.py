"""The Postgres store: one transaction for a batch, in a handful of statements, whichever gateway runs it.

A row that many clients want is locked once for each batch, not once for each client, and every gateway takes locks in
the same order, so a hot budget costs waiting and never a deadlock.
"""

import re
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import contextmanager
from string import ascii_lowercase
from typing import Any, Final

import psycopg
import psycopg_pool
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import TransactionStatus

from actguard.gateway.ledger.batch import Session
from actguard.gateway.storage.postgres.session import PostgresSession, columns, statement
from actguard.gateway.storage.store import (
    Crossed,
    EventKey,
    Row,
    Store,
    StoreDown,
    StoreError,
    migrations,
    newer_schema,
)

_AWAY_S: Final = 5
"""Whoever is not heard of for so long is away. The system itself would wait a quarter of an hour for a machine that is
gone, and two hours for one that had nothing to say."""
_PATIENCE: Final = {
    "connect_timeout": _AWAY_S,
    "tcp_user_timeout": _AWAY_S * 1000,
    "keepalives_idle": _AWAY_S,
    "keepalives_interval": 1,
    "keepalives_count": _AWAY_S,
}
_ONE_STARTS: Final = 7230411
"""The number of the advisory lock under which one process at a time brings the schema up to date."""
PLANS: Final = """
SET plan_cache_mode = force_generic_plan;
SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off
"""
"""Each statement is planned once, perhaps for empty tables: it must go by keys even so, and never read a whole one."""
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
                ((self._latest,),) = connection.execute(statement("now_at_least")).fetchall()
        except psycopg.OperationalError as error:
            raise StoreError(f"Postgres cannot be reached: {_said(error)}. Check --database.") from error
        except psycopg.Error as error:
            raise StoreError(f"The Postgres database cannot be used: {_said(error)}.") from error
        self._pool = psycopg_pool.ConnectionPool(
            self._patient_url(),
            min_size=1,
            max_size=4,
            timeout=_AWAY_S,
            reconnect_timeout=_AWAY_S,  # its pauses double until then; whoever asks begins anew
            kwargs={"autocommit": True},
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
            connection = self._connected()
            with connection.transaction():
                yield _Transaction(connection)

    @contextmanager
    def reading(self) -> Generator["_Transaction"]:
        if self._pool is None:
            raise StoreDown("The store is closed.")
        with self._translated(), self._pool.connection() as connection:
            yield _Transaction(connection)

    @contextmanager
    def session(self) -> Generator[Session]:
        """In pipeline mode: what is sent waits for the first answer that is needed, and the last wait is for the disk.

        COMMIT itself does not wait for it, so other gateways need not either before they lock the same rows. What they
        then read may not be on the disk yet; they write after it, though, and the log is flushed in its order. So each
        session ends with a flush, whether it has written or not, and what it says is durable after that.
        """
        with self._translated():
            connection = self._connected()
            try:
                with connection.pipeline():
                    connection.execute("BEGIN")
                    connection.execute(statement("commit_early"))
                    yield PostgresSession(connection, self._later, self._latest, self._clock)
                    connection.execute("COMMIT")
                    connection.execute(statement("flush"))
            except BaseException:
                if connection.info.transaction_status in (TransactionStatus.INTRANS, TransactionStatus.INERROR):
                    connection.rollback()
                raise

    def _connected(self) -> _Connection:
        if self._writer is None or self._writer.closed:
            self._writer = self._connect()
            self._writer.execute(PLANS)
        return self._writer

    def _later(self, said: int) -> int:
        self._latest = max(self._latest, said if self._clock is None else self._clock())
        return self._latest

    def _connect(self) -> _Connection:
        return psycopg.connect(self._patient_url(), autocommit=True, prepare_threshold=2)

    def _patient_url(self) -> str:
        """What the URL says, and how long to wait where it does not."""
        return make_conninfo("", **{**_PATIENCE, **conninfo_to_dict(self._url)})

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
        except errors.ReadOnlySqlTransaction as error:  # another one may have taken its place: find out
            if self._writer is not None:
                self._writer.close()
            raise StoreDown(f"Postgres takes no writes now: {_said(error)}.") from error
        except psycopg.OperationalError as error:
            self._writer = None if self._writer is not None and self._writer.broken else self._writer
            raise StoreDown(f"Postgres does not answer now: {_said(error)}.") from error


class _Transaction:
    def __init__(self, connection: _Connection) -> None:
        self.connection: Final = connection

    def rows(self, name: str, /, **parameters: Any) -> list[Row]:
        return self.connection.execute(statement(name), parameters).fetchall()

    def run(self, name: str, /, **parameters: Any) -> int:
        return self.connection.execute(statement(name), parameters).rowcount

    def run_many(self, name: str, rows: Sequence[Row]) -> int:
        return self._many(name, rows).rowcount

    def add_event_ids(self, keys: Collection[EventKey]) -> set[EventKey]:
        """By the unique index, in its order, so that two gateways never wait for each other.

        To look for them beforehand is planned when the table is empty: to read all of it.
        """
        new = self._many("add_event_ids", sorted(keys))
        return set() if new.rowcount == len(keys) else {*keys}.difference(new)

    def _many(self, name: str, rows: Collection[Row]) -> psycopg.Cursor[Row]:
        return self.connection.execute(statement(name), columns(rows, ascii_lowercase))


def _said(error: psycopg.Error) -> str:
    """The driver's first line, without what a connection string may hold."""
    return re.sub(
        r"postgres(?:ql)?://\S+", "postgresql://...", str(error).strip().splitlines()[0] if str(error) else ""
    )
