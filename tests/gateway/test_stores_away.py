"""Stores that are being made, cannot be written now, or come back with another clock."""

import sqlite3
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

from actguard.gateway.ledger.windows import SECOND
from actguard.gateway.storage.postgres.store import PostgresStore
from actguard.gateway.storage.sqlite import store as sqlite_store
from actguard.gateway.storage.sqlite.store import SqliteStore
from tests.gateway.conftest import Ledger, Postgres
from tests.gateway.server import GatewayProcess
from tests.gateway.test_ledger import reserve


def opened_through(kind: type[sqlite3.Connection], path: Path, monkeypatch: pytest.MonkeyPatch) -> SqliteStore:
    """A store on a new file, its connections of another *kind*."""
    monkeypatch.setattr(sqlite_store.sqlite3, "connect", partial(sqlite3.connect, factory=kind))
    store = SqliteStore(path)
    store.open()
    monkeypatch.undo()
    return store


def test_a_command_that_is_started_beside_the_first_start_finds_the_database_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "gateway.db"
    commits: list[str] = []

    class Meddled(sqlite3.Connection):
        """After whose first commit another process opens the file."""

        def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
            done = super().execute(sql, *parameters)
            if sql == "COMMIT" and not commits:
                commits.append(sql)
                other = SqliteStore(path, alone=False)
                other.open()
                other.close()
            return done

    store = opened_through(Meddled, path, monkeypatch)
    assert commits
    assert store.read(lambda t: t.rows("workspaces")) == []
    store.close()


def test_two_that_make_a_file_at_once_are_not_in_each_others_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked = ["database is locked"]

    class Hindered(sqlite3.Connection):
        """Of two that ask for the log at once, SQLite turns one away without a wait."""

        def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
            if sql == "PRAGMA journal_mode = WAL" and locked:
                raise sqlite3.OperationalError(locked.pop())
            return super().execute(sql, *parameters)

    store = opened_through(Hindered, tmp_path / "gateway.db", monkeypatch)
    with store.reading() as transaction:
        assert transaction.connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    store.close()


def test_a_clock_that_was_set_back_while_nothing_ran_reopens_no_window(ledger: Ledger) -> None:
    ledger.budget(usd=10, window="day")
    ledger.clock.tick(86_400)
    assert ledger.one(reserve("a", usd=10)).status == 200
    ledger.clock.tick(-86_400)
    ledger.crash()
    assert ledger.one(reserve("b", usd=10)).status == 409
    assert ledger.store.now() == ledger.clock.now + 86_400 * SECOND


def test_a_postgres_that_takes_no_writes_is_a_store_that_is_down(postgres: Postgres, tmp_path: Path) -> None:
    """As one is whose disk is full, or that another one has taken the place of."""
    database = postgres.database()
    name = database.rpartition("/")[2]

    def read_only(on: str) -> None:
        with psycopg.connect(postgres.url, autocommit=True) as connection:
            connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = {on}".encode())
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])

    gateway = GatewayProcess(database, tmp_path).start()
    agent, admin = gateway.agent(), gateway.admin()
    read_only("on")
    for _ in range(3):
        refused = agent.post("reserve", {"run_id": "r", "reserve_id": "r", "usd_limit_micros": 5})
        assert (refused.status, refused.headers["retry-after"]) == (503, "1"), refused
    budget = {"scope": "workspace", "window": "total", "usd_micros": 5}
    assert admin.send("PUT", "/api/v1/budgets", budget).status == 503
    read_only("off")
    while (said := agent.post("reserve", {"run_id": "r", "reserve_id": "r", "usd_limit_micros": 5})).status != 200:
        assert said.status == 503
    assert gateway.stop() == 0
    log = gateway.log.read_text()
    assert "Traceback" not in log
    assert all(line.startswith("{") for line in log.splitlines()), log


def test_a_postgres_that_is_no_longer_heard_of_is_given_up_after_seconds(postgres: Postgres) -> None:
    """The system would wait a quarter of an hour for a machine that is gone."""
    for said, seconds in (("", "5000"), ("?tcp_user_timeout=700", "700")):
        store = PostgresStore(postgres.database() + said)
        store.open()
        with store.writing() as writing, store.reading() as reading:
            for transaction in (writing, reading):
                parameters = transaction.connection.info.get_parameters()
                assert parameters["tcp_user_timeout"] == seconds
                assert parameters["connect_timeout"] == parameters["keepalives_idle"] == "5"
        store.close()


def test_a_postgres_that_was_away_for_long_is_asked_for_as_often_as_one_that_was_not(postgres: Postgres) -> None:
    """The pool would double its pauses, and come back as long after the database as that was away."""
    store = PostgresStore(postgres.database())
    store.open()
    assert store._pool is not None
    assert store._pool.reconnect_timeout <= 5
    store.close()
