"""A real `redis-server` for tests: on a free loopback port, in a folder of its own, with nothing kept on disk."""

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SECONDS = 20  # a server that takes longer to start or stop has failed


class NoServer(Exception):
    """There is no `redis-server` here, and none can be installed."""


class RedisServer:
    """Starts at once; `stop`, `kill` and `start` again on the same port as often as a test needs it.

    Args:
        folder: where its socket-free, disk-free self lives; what it logs is in `redis.log` there.
        options: further command line options, such as `"--cluster-enabled", "yes"`.
    """

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.port = _free_port()
        self._command = (
            _binary(),
            *("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(folder), "--logfile", "redis.log"),
            *("--save", "", "--appendonly", "no"),
            *options,
        )
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Run until it answers. What it knew before is gone."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"redis-server did not start:\n{(self.folder / 'redis.log').read_text()}")
            time.sleep(0.01)  # a process starts: nothing to wait on but itself

    def stop(self) -> None:
        """As an administrator does: connections are closed, the port is free."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """As the kernel does."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """Connections stay open and nobody answers, until `thaw`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _end(self, how: int) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(how)
            self._process.wait(SECONDS)
            self._process = None

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(5) == b"+PONG"
        except OSError:
            return False


@contextmanager
def running_redis(*options: str) -> Iterator[RedisServer]:
    """A server that ends with the block.

    Raises:
        NoServer: there is none here, and it cannot be installed.
    """
    with tempfile.TemporaryDirectory(prefix="actguard-redis-") as folder:
        server = RedisServer(Path(folder), *options)
        try:
            yield server
        finally:
            server.kill()


def _free_port() -> int:
    """One that leaves room for the port of the cluster's own talk, which is 10,000 above it."""
    while True:
        with socket.socket() as probe, socket.socket() as above:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
            try:
                above.bind(("127.0.0.1", port + 10_000))
            except (OSError, OverflowError):
                continue
            return port


def _binary() -> str:
    """The path of `redis-server` (or Valkey's), installed from the distribution when it is missing and we may."""
    if found := _find():
        return found
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise NoServer("there is no redis-server here, and only root may install it: apt-get install redis-server")
    with open(Path(tempfile.gettempdir()) / "actguard-apt.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # test workers start together; one installs, the others find it
        if not _find():
            environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
            wait = "DPkg::Lock::Timeout=120"  # for who installs Postgres meanwhile
            install = ["apt-get", "-o", wait, "install", "-y", "-qq", "--no-install-recommends", "redis-server"]
            for command in (["apt-get", "update", "-qq"], install):
                subprocess.run(command, env=environment, capture_output=True, check=False, timeout=300)
    if found := _find():
        return found
    raise NoServer("there is no redis-server here, and apt-get install redis-server did not bring one")


def _find() -> str | None:
    return os.environ.get("ACTGUARD_REDIS_SERVER") or shutil.which("redis-server") or shutil.which("valkey-server")
