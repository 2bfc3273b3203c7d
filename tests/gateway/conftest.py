"""A gateway on either store, a clock that tests set, and a Postgres of the tests' own."""

import glob
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest

from actguard.gateway import accounts
from actguard.gateway.keys import Key
from actguard.gateway.ledger.operations import Operation, Reply
from actguard.gateway.ledger.windows import SECOND
from actguard.gateway.storage.postgres.store import PostgresStore
from actguard.gateway.storage.sqlite.store import SqliteStore
from actguard.gateway.storage.store import Store

NOON = 1_767_268_800 * SECOND
"""2026-01-01T12:00:00Z."""


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> int:
        return self.now

    def tick(self, seconds: float) -> None:
        self.now += int(seconds * SECOND)


@dataclass
class Ledger:
    """A store with one workspace in it, driven directly."""

    store: Store
    clock: Clock
    workspace: int
    make: Callable[[], Store]
    keys: dict[str, Key] = field(default_factory=dict)

    def apply(self, *operations: Operation) -> list[Reply]:
        return self.store.apply(operations)

    def one(self, operation: Operation) -> Reply:
        (reply,) = self.store.apply([operation])
        return reply

    def budget(self, scope: str = "workspace", key: str = "", window: str = "total", **limits: object) -> None:
        values = {"usd": None, "tokens": None, "observe": False, "now": self.clock.now} | limits
        self.store.write(
            lambda t: accounts.put_budget(t, self.workspace, scope=scope, key=key, window=window, **values)  # type: ignore[arg-type]
        )

    def counter(
        self, scope: str = "workspace", key: str = "", window: str = "total", start: str = ""
    ) -> tuple[int, ...]:
        """Held and spent, in dollars and in tokens."""
        rows = self.store.read(
            lambda t: t.rows(
                "counter", workspace=self.workspace, scope=scope, scope_key=key, window_kind=window, window_start=start
            )
        )
        return tuple(rows[0]) if rows else (0, 0, 0, 0)

    def crash(self) -> None:
        """Forget everything that is not in the database."""
        self.store.close()
        self.store = self.make()
        self.store.open()


@dataclass(frozen=True)
class Postgres:
    port: int
    folder: Path

    @property
    def url(self) -> str:
        return f"postgresql://actguard@127.0.0.1:{self.port}/postgres"

    def database(self) -> str:
        """The URL of a new, empty one."""
        name = f"t_{uuid.uuid4().hex}"
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return f"postgresql://actguard@127.0.0.1:{self.port}/{name}"


def _binaries() -> Path:
    found = shutil.which("initdb")
    places = [Path(found).resolve().parent] if found else []
    places += [Path(place) for place in sorted(glob.glob("/usr/lib/postgresql/*/bin"), reverse=True)]
    return next((place for place in places if (place / "postgres").exists() and (place / "initdb").exists()), Path())


def _ordinary_user() -> str | None:
    """Postgres does not run as root."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def start_postgres(folder: Path, *, fsync: bool, port: int = 0) -> tuple[subprocess.Popen[bytes], Postgres]:
    """A server on a loopback port, its data under *folder*; the caller ends the process.

    Args:
        port: 0 for a free one.
    """
    binaries = _binaries()
    if not (binaries / "initdb").exists() and os.geteuid() == 0 and shutil.which("apt-get"):
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "update", "-qq"], check=False, env=environment, capture_output=True)
        install = ["apt-get", "-o", "DPkg::Lock::Timeout=120", "install", "-y", "-qq", "postgresql"]
        subprocess.run(install, env=environment, check=True, capture_output=True)
        binaries = _binaries()
    if not (binaries / "initdb").exists():
        pytest.fail("no Postgres is installed: apt-get install postgresql")
    user, data = _ordinary_user(), folder / "data"
    if user is not None:
        shutil.chown(folder, user)
        folder.chmod(0o755)
    if not data.exists():
        subprocess.run(
            [binaries / "initdb", "-D", data, "-U", "actguard", "-A", "trust", "-E", "UTF8", "--no-locale"],
            check=True, capture_output=True, user=user, cwd="/",
        )  # fmt: skip
    if not port:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
    options = {"fsync": "on" if fsync else "off", "synchronous_commit": "on", "max_connections": "60",
               "unix_socket_directories": "", "listen_addresses": "127.0.0.1", "shared_buffers": "64MB"}  # fmt: skip
    command = [binaries / "postgres", "-D", data, "-p", str(port)]
    command += [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
    server, log = Postgres(port, folder), (folder / "log").open("ab")
    for _ in range(20):
        process = subprocess.Popen(command, stdout=log, stderr=log, user=user, cwd="/")
        if _answers(server, process):
            return process, server
        time.sleep(0.2)  # children of one that was killed may not have noticed yet
    raise AssertionError((folder / "log").read_text())


def _answers(server: Postgres, process: "subprocess.Popen[bytes]") -> bool:
    for _ in range(600):
        try:
            psycopg.connect(server.url, connect_timeout=2).close()
            return True
        except psycopg.OperationalError:
            if process.poll() is not None:
                return False
            time.sleep(0.05)
    return False


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    folder = Path(tempfile.mkdtemp(prefix="actguard-pg-"))
    process, server = start_postgres(folder, fsync=False)
    yield server
    process.terminate()
    process.wait(30)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgres"])
def kind(request: pytest.FixtureRequest) -> str:
    """Which store: what takes it runs on both."""
    return str(request.param)


@pytest.fixture
def database(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    if kind == "sqlite":
        return str(tmp_path / "gateway.db")
    server: Postgres = request.getfixturevalue("postgres")
    return server.database()


def make_store(database: str, clock: Callable[[], int] | None) -> Store:
    if database.startswith("postgresql://"):
        return PostgresStore(database, clock=clock)
    return SqliteStore(Path(database), clock=clock, synchronous="OFF")


@pytest.fixture
def ledger(database: str) -> Iterator[Ledger]:
    clock = Clock()
    opened = open_ledger(database, clock)
    yield opened
    opened.store.close()


def open_ledger(database: str, clock: Clock) -> Ledger:
    store = make_store(database, clock)
    store.open()
    workspace = store.write(lambda t: accounts.add_workspace(t, "default", "UTC", clock.now))
    return Ledger(store, clock, workspace, lambda: make_store(database, clock))
