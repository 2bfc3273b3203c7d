"""A gateway in a process of its own, and a client that sends exactly what a test says."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).parents[2] / "src"


@dataclass
class Answer:
    status: int
    body: Any
    headers: dict[str, str]


@dataclass
class Caller:
    """Sends requests over one connection."""

    port: int
    key: str | None = None
    connection: HTTPConnection | None = None

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.key is not None:
            sent.setdefault("authorization", f"Bearer {self.key}")
        if self.connection is None:
            self.connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            self.connection.request(method, path, content, sent)
            response = self.connection.getresponse()
            raw = response.read()
        except BaseException:
            self.connection.close()
            self.connection = None
            raise
        found = {name.lower(): value for name, value in response.getheaders()}
        if found.get("connection") == "close":
            self.connection.close()
            self.connection = None
        parsed = json.loads(raw) if "json" in found.get("content-type", "") else raw.decode()
        return Answer(response.status, parsed, found)

    def post(self, path: str, body: Any, **headers: str) -> Answer:
        return self.send("POST", f"/api/v1/{path}", body, **headers)

    def get(self, path: str) -> Answer:
        return self.send("GET", f"/api/v1/{path}")


@dataclass
class GatewayProcess:
    """`actguard gateway`, as a user starts it."""

    database: str
    folder: Path
    port: int = 0
    options: tuple[str, ...] = ()
    module: str = "actguard.cli"
    paths: tuple[str, ...] = (str(SOURCE.parent),)
    agent_key: str = ""
    admin_key: str = ""
    process: "subprocess.Popen[str] | None" = None
    log: Path = field(init=False)

    def __post_init__(self) -> None:
        self.log = self.folder / "gateway.log"

    def start(self) -> "GatewayProcess":
        command = [
            sys.executable,
            "-m",
            self.module,
            "gateway",
            "--database",
            self.database,
            "--port",
            str(self.port),
        ]
        self.process = subprocess.Popen(
            [*command, *self.options],
            stdout=subprocess.PIPE,
            stderr=self.log.open("a"),
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(SOURCE), *self.paths])},
        )
        assert self.process.stdout is not None
        first = self.process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)", first)
        assert found, first + self.log.read_text()
        self.port = int(found[1])
        if not self.agent_key:
            for _ in range(5):
                line = self.process.stdout.readline()
                key = re.search(r"ag_live_\S+", line)
                if key and "agents" in line:
                    self.agent_key = key[0]
                elif key:
                    self.admin_key = key[0]
        self.wait_ready()
        return self

    def wait_ready(self, seconds: float = 30) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                if Caller(self.port).send("GET", "/readyz").status == 200:
                    return
            except OSError:
                pass
            assert self.process is not None
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.02)
        raise AssertionError(self.log.read_text())

    def agent(self) -> Caller:
        return Caller(self.port, self.agent_key)

    def admin(self) -> Caller:
        return Caller(self.port, self.admin_key)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def stop(self) -> int:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(30)
