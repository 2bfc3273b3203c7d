"""The gateway itself, as `actguard gateway` starts it: a process of its own over SQLite, on a free port."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.fake_gateway import until


class RealGateway:
    """A running gateway, its keys, and its command line."""

    def __init__(self, database: Path, *options: str) -> None:
        self.database = database
        self.options = options
        self.url = self.key = self.admin_key = ""
        self.port = 0
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "actguard.cli", "gateway", "--database", str(self.database)]
        self._process = subprocess.Popen(
            [*command, "--port", str(self.port), *self.options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        said: list[str] = []
        threading.Thread(target=lambda: said.extend(iter(self._process.stdout.readline, "")), daemon=True).start()  # type: ignore[union-attr]

        def listening() -> bool:
            assert self._process is not None
            assert self._process.poll() is None, "".join(said)
            return "startup complete" in "".join(said)

        until(listening, 60)
        text = "".join(said)
        self.url = re.search(r"on (http://\S+)", text)[1]  # type: ignore[index]
        self.port = int(self.url.rpartition(":")[2])
        if keys := re.findall(r"ag_live_\w+\.\S+", text):
            self.key, self.admin_key = keys[0], keys[1]

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def cli(self, *arguments: str) -> Any:
        """What a command on its database says, as JSON."""
        done = subprocess.run(
            [sys.executable, "-m", "actguard.cli", *arguments, "--database", str(self.database), "--json"],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@contextmanager
def real_gateway(folder: Path, *options: str) -> Iterator[RealGateway]:
    gateway = RealGateway(folder / "gateway.db", *options)
    gateway.start()
    try:
        yield gateway
    finally:
        gateway.stop()
