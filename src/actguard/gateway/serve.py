"""From settings to a running server: check everything first, make the first keys, then listen."""

import json
import logging
import multiprocessing
import os
import signal
import socket
import sys
import time
from contextlib import suppress
from importlib.util import find_spec
from multiprocessing.process import BaseProcess
from threading import Thread
from typing import Any, Final, NamedTuple

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from actguard.gateway import accounts
from actguard.gateway.accounts import Created
from actguard.gateway.config import Settings
from actguard.gateway.http.app import App
from actguard.gateway.storage.connect import connect
from actguard.gateway.storage.store import StoreError, Transaction

_GRACE_S: Final = 20
_REST_S: Final = 30
"""Longer than common clients keep a connection (5 s), so that none is closed while they send on it."""
_BACKLOG: Final = 2048
_STANDARD: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "color_message"}


class FirstKeys(NamedTuple):
    agent: Created
    admin: Created


class Server:
    """A gateway that is not running yet.

    Args:
        port: 0 takes a free one.
        workers: processes; more than one needs a database that can be shared.
    """

    def __init__(self, settings: Settings, *, host: str = "127.0.0.1", port: int = 8085, workers: int = 1) -> None:
        self._settings: Final = settings
        self._host: Final = host
        self._port = port
        self._workers: Final = workers
        self._store: Final = connect(settings.database)
        self._socket: socket.socket | None = None
        if workers > 1 and not self._store.shared:
            raise StoreError(
                "SQLite serves one process: leave --workers at 1, or start with --database postgresql://USER@HOST/NAME."
            )

    @property
    def url(self) -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    @property
    def where(self) -> str:
        """What kind of database it is, for people."""
        return str(getattr(self._store, "path", self._store.kind))

    @property
    def shared(self) -> bool:
        """Whether several processes may use its database."""
        return self._store.shared

    def prepare(self, time_zone: str | None = None) -> FirstKeys | None:
        """Take the port, bring the database up to date, and make the first keys, where there are none.

        From here on, who connects is kept waiting for `run`, and not turned away.
        """
        self._socket = _listening(self._host, self._port)
        self._port = self._socket.getsockname()[1]
        self._store.open()
        try:
            return self._store.write(lambda transaction: _first_keys(transaction, time_zone))
        finally:
            self._store.close()

    def run(self) -> None:
        """Answer until a signal says to stop; then finish what was begun."""
        configure_logs(self._settings.log_level)
        assert self._socket is not None
        if self._workers == 1:
            self._run_alone(self._socket)
            return
        for stop in (signal.SIGINT, signal.SIGTERM):  # for what uvicorn raises again after its graceful end
            signal.signal(stop, _already_heard)
        self._settings.to_environment()
        config = uvicorn.Config("actguard.gateway.serve:worker", factory=True, workers=self._workers, **options())
        workers = Multiprocess(config, [self._socket])
        workers.run()
        if any(process.exitcode == STARTUP_FAILURE for process in workers.processes):
            raise StoreError("A worker could not start, and the gateway has ended; the log says why.")

    def _run_alone(self, listening: socket.socket) -> None:
        server = uvicorn.Server(uvicorn.Config(App(self._store, self._settings, alone=True), **options()))
        for stop in (signal.SIGINT, signal.SIGTERM):  # also before uvicorn listens for it, and when it raises it again
            signal.signal(stop, server.handle_exit)
        with suppress(SystemExit):  # in which some versions say what is asked for in the next line
            server.run([listening])
        if not server.started:
            raise StoreError("The gateway could not start; the log says why.")


def options() -> dict[str, Any]:
    """How uvicorn is to serve it."""
    options: dict[str, Any] = {
        "log_config": None,
        "access_log": False,
        "timeout_graceful_shutdown": _GRACE_S,
        "timeout_keep_alive": _REST_S,
        "server_header": False,
        "proxy_headers": False,
        "ws": "none",
        "backlog": _BACKLOG,
    }
    if find_spec("httptools") is not None:  # not everywhere; without it uvicorn's own connections do the same, slower
        from actguard.gateway.http.connection import Connection

        options["http"] = Connection
    return options


def worker() -> App:
    """The application of one of several processes, as the one that started it was told to run it."""
    settings = Settings.from_environment()
    configure_logs(settings.log_level)
    Thread(target=_end_after, args=(multiprocessing.parent_process(),), name="actguard-parent", daemon=True).start()
    return App(connect(settings.database), settings, alone=True)


def _end_after(parent: BaseProcess | None) -> None:
    """End as if told to when *parent* was killed: whoever starts the gateway again needs the port."""
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def _already_heard(_signal: int, _frame: object) -> None:
    pass


class JsonLines(logging.Formatter):
    """One JSON object a line, so that nothing a client sends can pass for a line of its own."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {key: value for key, value in record.__dict__.items() if key not in _STANDARD}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def configure_logs(level: str) -> None:
    """To the standard error, as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.getLogger().handlers = [handler]  # warnings of others in the process, such as Postgres' driver
    for name in ("actguard.gateway", "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel("INFO" if name == "uvicorn" and level == "debug" else level.upper())


def _first_keys(transaction: Transaction, time_zone: str | None) -> FirstKeys | None:
    zone = accounts.valid_zone(time_zone or "UTC")
    if transaction.rows("key_count")[0][0]:
        return None
    now = time.time_ns() // 1000
    workspace = accounts.add_workspace(transaction, accounts.FIRST_WORKSPACE, zone, now)
    return FirstKeys(
        accounts.create_key(transaction, workspace, "agent", "agent", now),
        accounts.create_key(transaction, workspace, "admin", "admin", now),
    )


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((host, port))
    listening.listen(_BACKLOG)
    return listening
