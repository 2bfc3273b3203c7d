"""A client that sees bytes, for what an SDK would hide."""

import json
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from actguard.testing import LocalProvider

CHAT = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}]}


@dataclass
class Raw:
    """One connection, and what came over it."""

    socket: socket.socket

    def post(self, path: str, body: dict[str, Any], **headers: str) -> None:
        encoded = json.dumps(body).encode()
        lines = [f"POST {path} HTTP/1.1", "host: local", f"content-length: {len(encoded)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.socket.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + encoded)

    def until(self, end: bytes) -> bytes:
        """Everything up to and including *end*."""
        received = b""
        while not received.endswith(end) and end not in received:
            data = self.socket.recv(65536)
            if not data:
                raise EOFError(received)
            received += data
        return received

    def chunks(self) -> list[bytes]:
        """The pieces of a chunked body, as they were framed."""
        head, _, rest = self.until(b"0\r\n\r\n").partition(b"\r\n\r\n")
        assert b"transfer-encoding: chunked" in head
        pieces = []
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            pieces.append(rest[: int(size, 16)])
            rest = rest[int(size, 16) + 2 :]
        return pieces[:-1]


@pytest.fixture
def connect(llm_provider: LocalProvider) -> Iterator[Callable[[], Raw]]:
    """Opens connections to the provider."""
    opened = []

    def open_one() -> Raw:
        opened.append(socket.create_connection(("127.0.0.1", llm_provider.port), timeout=10))
        return Raw(opened[-1])

    yield open_one
    for one in opened:
        one.close()


@pytest.fixture
def raw(connect: Callable[[], Raw]) -> Raw:
    return connect()
