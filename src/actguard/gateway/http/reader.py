"""Whole requests out of what arrives in pieces, each within limits. Knows nothing of sockets and clocks."""

from collections import deque
from typing import Final

import httptools
from msgspec import Struct

from actguard.gateway.http.wire import LARGEST_BODY, PATIENCE, failure, too_large
from actguard.gateway.ledger.operations import Reply

LARGEST_HEAD: Final = 1 << 16
_OF_A_BODY: Final = (b"content-length", b"transfer-encoding")


class Heard(Struct):
    """A request as it came."""

    method: str
    url: str
    headers: dict[bytes, bytes]
    """By their names in small letters. Of those that were sent twice, the last."""
    body: bytes
    keep_alive: bool
    refusal: Reply | None = None
    """What it is to be told where it cannot be answered as a request. Nothing is heard after it."""


class Reader:
    """What one client sends. `heard` has the requests that are whole, in their order."""

    def __init__(self) -> None:
        self.heard: Final[deque[Heard]] = deque()
        self.begun = False
        """Whether a request has begun that is not whole yet."""
        self.asks_to_continue = False
        """Whether its client waits to be told that its body is wanted."""
        self._parser: Final = httptools.HttpRequestParser(self)
        self._closed = False
        self._head_read = False
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []
        self._size = 0
        self._head_size = 0
        self._unread = 0
        """How much has come since the piece in which the request began."""

    def feed(self, data: bytes) -> None:
        if self._closed:
            return
        continued = self.begun
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._closed = True  # whatever follows is in another protocol
        except httptools.HttpParserError:
            self._refuse(failure(400, "malformed", "This is not HTTP that can be read."))
        if self.begun and continued:
            self._unread += len(data)
            if self._unread > LARGEST_HEAD and not self._head_read:
                self._refuse(_head_too_large())
            elif self._unread > PATIENCE:
                self._refuse(too_large().reply)

    def _refuse(self, refusal: Reply) -> None:
        if self._closed:
            return
        heard = Heard("", "", {}, b"", keep_alive=False, refusal=refusal)
        if self.begun and self._head_read:  # it is known what was asked for
            heard.method, heard.url = self._parser.get_method().decode("latin-1"), self._url.decode("latin-1")
            heard.headers = self._headers
        self._closed, self.begun, self.asks_to_continue = True, False, False
        self.heard.append(heard)

    # What the parser calls.

    def on_message_begin(self) -> None:
        self.begun, self._head_read, self.asks_to_continue = True, False, False
        self._url, self._headers, self._body = b"", {}, []
        self._size = self._head_size = self._unread = 0

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._head_read:  # what follows a body is of no use here
            self._headers[name.lower()] = value
            self._head_size += len(name) + len(value)

    def on_headers_complete(self) -> None:
        self._head_read = True
        if self._head_size + len(self._url) > LARGEST_HEAD:
            self._refuse(_head_too_large())
            return
        expected = self._headers.get(b"expect")
        if expected is None or expected.lower() != b"100-continue":
            return  # as nearly always
        if self._parser.get_http_version() == "1.1":
            if int(self._headers.get(b"content-length", b"0")) > LARGEST_BODY:
                self._refuse(too_large().reply)
            else:
                self.asks_to_continue = True

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        if self._size <= LARGEST_BODY:
            self._body.append(body)

    def on_message_complete(self) -> None:
        if self._closed:
            return
        if self._size > LARGEST_BODY:
            self._refuse(too_large().reply)
            return
        parser = self._parser
        upgrade = parser.should_upgrade()
        if upgrade and any(name in _OF_A_BODY for name in self._headers):
            self._refuse(failure(400, "malformed", "Only HTTP/1.1 is spoken here: do not ask to upgrade."))
            return
        self.begun = self.asks_to_continue = False
        keep_alive = not upgrade and parser.should_keep_alive() and parser.get_http_version() == "1.1"
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        method, url = parser.get_method().decode("latin-1"), self._url.decode("latin-1")
        self.heard.append(Heard(method, url, self._headers, body, keep_alive))
        self._closed = not keep_alive


def _head_too_large() -> Reply:
    return failure(431, "too_large", f"The head of a request may have up to {LARGEST_HEAD} bytes.")
