"""Idempotency records in a file, which survive the process: SQLite, for the processes of one machine.

    DurableStore("payments.db")

The machine is that of `stores/idempotency.py`; a record is read, asked and written in one transaction, which is on the
disk (synchronous=FULL) before the body runs, and again before its result is returned. Time is the computer's clock, the
only one that goes on over a restart. A record that is over is removed by those that begin later.

It keeps idempotency records and nothing else: rates and circuits are not worth a write to the disk.
"""

import math
import os
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn, cast

from actguard.exceptions import ActGuardUsageError, StoreFullError, StoreUnavailableError
from actguard.stores.idempotency import BEGUN, IdempotencyMachine
from actguard.stores.protocol import (
    Admitted,
    BreakerRules,
    BreakerState,
    Circuit,
    Done,
    IdempotencyBegin,
    IdempotencyDone,
    IdempotencyLost,
    IdempotencyRecord,
    IdempotencyRelease,
    Kind,
    Receipt,
    Refusal,
    Refused,
    Report,
    Step,
)
from actguard.stores.store import AsyncStore
from actguard.stores.undo import REFUSALS

if TYPE_CHECKING:
    import sqlite3

_SCHEMA = """
CREATE TABLE IF NOT EXISTS records (
    key TEXT PRIMARY KEY, state TEXT NOT NULL, owner TEXT NOT NULL, fingerprint TEXT, result BLOB, error BLOB NOT NULL,
    until REAL NOT NULL, lease_end REAL NOT NULL, ttl_s REAL NOT NULL, ended INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS records_until ON records (until);
"""
_FIELDS = "state, owner, fingerprint, result, error, until, lease_end, ttl_s, ended"
_SWEPT_AT_ONCE = 8

_inherited: list[Any] = []
"""Connections of a parent process. Closing one in a child could end what the parent holds, so they are kept, unused."""


class DurableStore:
    """A `Store` of idempotency records in the SQLite database at *path*; made if it is not there.

    Args:
        path: a file on a disk of this machine (not on a network drive); two more are kept beside it.
        timeout_s: how long to wait for other processes that are writing.
        clock: seconds since 1970.
    """

    serialises = True
    blocking = True
    keeps: frozenset[Kind] = frozenset({"idempotency"})
    """All that it keeps; a store that does not say so keeps everything."""
    aio: AsyncStore | None = None

    def __init__(
        self, path: str | os.PathLike[str], *, timeout_s: float = 5.0, clock: Callable[[], float] = time.time
    ) -> None:
        self._path = _checked_path(path)
        self._timeout_s = _checked_timeout(timeout_s)
        self._clock = clock
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._process = 0
        with self._records():
            pass  # a path that cannot work is said here, not at the first call

    def __repr__(self) -> str:
        return f"DurableStore({str(self._path)!r})"

    # ---- before and after a call ----

    def admit(self, steps: Sequence[Step]) -> Admitted | Refused:
        for step in steps:
            if not isinstance(step, IdempotencyBegin):
                _only_records(type(step).__name__)
        receipts: list[Receipt | Refusal] = []
        with self._records() as records:
            for step in steps:
                assert isinstance(step, IdempotencyBegin)
                machine = records.get(step.key)
                if machine is not None and machine.until > records.now:
                    answer: Receipt | Refusal = machine.answer(step, records.now)
                else:
                    machine, answer = IdempotencyMachine(), BEGUN
                    machine.claim(step.owner, step.ttl_s, step.lease_s, step.fingerprint, records.now)
                if type(answer) in REFUSALS and not step.observe:
                    records.undo()
                    return Refused(len(receipts), cast("Refusal", answer))
                records.put(step.key, machine)
                receipts.append(answer)
            records.sweep()
        return Admitted(tuple(receipts))

    def finish(self, reports: Sequence[Report]) -> tuple[bool, ...]:
        with self._records() as records:
            return tuple([self._carry_out(records, report) for report in reports])

    def idem_heartbeat(self, key: str, owner: str, lease_s: float) -> bool:
        with self._records() as records:
            return records.change(key, lambda machine: machine.heartbeat(owner, lease_s, records.now))

    # ---- looking, and putting right ----

    def list_idempotency(
        self, prefix: str = "", *, state: Literal["in_progress", "done", "unknown"] | None = None, limit: int = 100
    ) -> list[IdempotencyRecord]:
        found: list[IdempotencyRecord] = []
        with self._records() as records:
            for key, machine in records.matching(prefix):
                record = machine.look(key, records.now)
                if record is not None and state in (None, record.state):
                    found.append(record)
                    if len(found) >= limit:
                        break
        return found

    def resolve_idempotency(self, key: str, outcome: Done | None, *, ttl_s: float) -> bool:
        with self._records() as records:
            return records.change(key, lambda machine: machine.resolve(outcome, records.now, ttl_s))

    def forget(self, kind: Kind, prefix: str) -> int:
        if kind != "idempotency":
            return 0
        with self._records() as records:
            return records.remove(prefix)

    def close(self) -> None:
        """Close the file; the next request opens it again."""
        with self._lock:
            if self._connection is not None and self._process == os.getpid():
                self._connection.close()
                self._connection = None

    # ---- what it is not for ----

    def lease_heartbeat(self, key: str, owner: str, lease_s: float) -> bool:
        return False

    def circuit(self, key: str, rules: BreakerRules) -> Circuit:
        _only_records("circuits")

    def force_circuit(self, key: str, rules: BreakerRules, state: BreakerState) -> None:
        _only_records("circuits")

    # ---- the file ----

    @staticmethod
    def _carry_out(records: "_Records", report: Report) -> bool:
        match report:
            case IdempotencyDone(key, owner, ttl_s, result):
                return records.change(key, lambda it: owner == it.owner and it.end("done", records.now, ttl_s, result))
            case IdempotencyLost(key, owner, ttl_s, error):
                now = records.now
                return records.change(key, lambda it: owner == it.owner and it.end("unknown", now, ttl_s, None, error))
            case IdempotencyRelease(key, owner):
                return records.change(key, lambda it: it.release(owner, records.now))
            case _:
                return False

    @contextmanager
    def _records(self) -> "Generator[_Records]":
        """One transaction, which nobody else's comes between."""
        import sqlite3

        with self._lock:
            try:
                connection = self._open()
                connection.execute("BEGIN IMMEDIATE")
                try:
                    yield _Records(connection, self._clock())
                except BaseException:
                    connection.rollback()
                    raise
                connection.commit()
            except sqlite3.Error as error:
                if self._connection is not None:
                    self._connection.close()  # with whatever was begun; the next request opens the file anew
                    self._connection = None
                full = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
                kind = StoreFullError if full else StoreUnavailableError
                raise kind(
                    f"The record file {self._path} cannot be used: {error}.", details={"store": str(self._path)}
                ) from error

    def _open(self) -> "sqlite3.Connection":
        import sqlite3

        if self._connection is not None and self._process != os.getpid():
            _inherited.append(self._connection)
            self._connection = None
        if self._connection is None:
            connection = sqlite3.connect(
                self._path, timeout=self._timeout_s, isolation_level=None, check_same_thread=False
            )
            try:
                self._use_wal(connection)
                connection.execute("PRAGMA synchronous=FULL")
                connection.executescript(_SCHEMA)
            except BaseException:
                connection.close()
                raise
            self._connection, self._process = connection, os.getpid()
        return self._connection

    def _use_wal(self, connection: "sqlite3.Connection") -> None:
        """Readers and one writer beside each other. Who changes this needs the file for himself, and SQLite does not
        wait for that."""
        import sqlite3

        deadline = time.monotonic() + self._timeout_s
        while True:
            try:
                connection.execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
            time.sleep(0.01)


class _Records:
    """The records, within one transaction."""

    def __init__(self, connection: "sqlite3.Connection", now: float) -> None:
        self._connection = connection
        self.now = now

    def get(self, key: str) -> IdempotencyMachine | None:
        row = self._connection.execute(f"SELECT {_FIELDS} FROM records WHERE key = ?", (_stored(key),)).fetchone()
        return None if row is None else _restored(row)

    def put(self, key: str, machine: IdempotencyMachine) -> None:
        if machine.state == "new":
            self._connection.execute("DELETE FROM records WHERE key = ?", (_stored(key),))
        else:
            self._connection.execute(
                f"INSERT OR REPLACE INTO records (key, {_FIELDS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (_stored(key), *_saved(machine)),
            )

    def change(self, key: str, act: Callable[[IdempotencyMachine], bool]) -> bool:
        machine = self.get(key)
        if machine is None or not act(machine):
            return False
        self.put(key, machine)
        return True

    def matching(self, prefix: str) -> Generator[tuple[str, IdempotencyMachine]]:
        start = _stored(prefix)
        for key, *saved in self._connection.execute(
            f"SELECT key, {_FIELDS} FROM records WHERE substr(key, 1, ?) = ?", (len(start), start)
        ):
            yield _loaded(key), _restored(saved)

    def remove(self, prefix: str) -> int:
        start = _stored(prefix)
        return self._connection.execute("DELETE FROM records WHERE substr(key, 1, ?) = ?", (len(start), start)).rowcount

    def sweep(self) -> None:
        """Remove a few that are over: more than are added, so that they all go."""
        self._connection.execute(
            "DELETE FROM records WHERE key IN (SELECT key FROM records WHERE until <= ? LIMIT ?)",
            (self.now, _SWEPT_AT_ONCE),
        )

    def undo(self) -> None:
        """Forget what this transaction wrote so far."""
        self._connection.rollback()
        self._connection.execute("BEGIN IMMEDIATE")


def _saved(machine: IdempotencyMachine) -> tuple[Any, ...]:
    state, owner, fingerprint, result, error, *moments = machine.saved()
    kept = None if result is None else result.encode(errors="surrogatepass")
    return state, owner, fingerprint, kept, error.encode(errors="surrogatepass"), *moments


def _restored(row: Sequence[Any]) -> IdempotencyMachine:
    state, owner, fingerprint, kept, error, *moments = row
    result = None if kept is None else kept.decode(errors="surrogatepass")
    return IdempotencyMachine.restored(
        (state, owner, fingerprint, result, error.decode(errors="surrogatepass"), *moments)
    )


def _stored(key: str) -> str:
    """SQLite has no lone surrogates: whatever a model sends is written in a form that it has."""
    return key.replace("\\", "\\\\").encode("utf-8", "backslashreplace").decode("utf-8")


def _loaded(key: str) -> str:
    import re

    return re.sub(r"\\(\\|u[0-9a-f]{4})", lambda found: "\\" if found[1] == "\\" else chr(int(found[1][1:], 16)), key)


def _only_records(what: str) -> NoReturn:
    raise ActGuardUsageError(
        f"DurableStore keeps idempotency records only, not {what}; use MemoryStore or RedisStore", argument="store"
    )


def _checked_path(path: Any) -> Path:
    plain = cast("Any", os.fspath(path)) if isinstance(path, str | os.PathLike) else None
    if not isinstance(plain, str) or not plain.strip() or plain == ":memory:":
        raise ActGuardUsageError(f"path must be the path of a file, not {path!r}", argument="path")
    return Path(plain).absolute()  # which means the same file wherever the program, or a child of it, goes later


def _checked_timeout(seconds: Any) -> float:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < math.inf:
        raise ActGuardUsageError(f"timeout_s must be a positive, finite number, not {seconds!r}", argument="timeout_s")
    return seconds
