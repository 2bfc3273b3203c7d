"""HTTP as the gateway needs it: a request that is read within limits, and a reply. No framework objects between."""

import re
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from itertools import count
from typing import Any, Final, TypeVar
from urllib.parse import parse_qs
from uuid import uuid4

import msgspec

from actguard.gateway.ledger.operations import Reply

T = TypeVar("T")
Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

LARGEST_BODY: Final = 1 << 20
_PATIENCE: Final = 16 << 20
"""How much of a body that is too large is still read."""
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_encoder = msgspec.json.Encoder()
_process = uuid4().hex[:16]
_numbers = count()


class Refused(Exception):  # noqa: N818 - an answer, on its way out
    """A request that is answered with an error."""

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.reply = Reply(status, {"error": message, "code": code})
        self.headers = headers or {}


class Request:
    """A request, with its body in memory."""

    __slots__ = ("_headers", "body", "id", "method", "parameters", "path", "query_string", "started")

    def __init__(self, scope: Scope, body: bytes) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.parameters: Mapping[str, str] = scope.get("path_params", {})
        self.query_string: bytes = scope["query_string"]
        self._headers: dict[bytes, bytes] = dict(scope["headers"])
        self.body: bytes = body
        self.started: float = time.perf_counter()
        said = self.header(b"x-request-id")
        self.id: str = said if said and _REQUEST_ID.fullmatch(said) else f"{_process}{next(_numbers):08x}"

    def header(self, name: bytes) -> str:
        """Its value; empty when it was not sent."""
        return self._headers.get(name, b"").decode("latin-1")

    def query(self, name: str, default: str = "") -> str:
        try:
            values = parse_qs(self.query_string.decode("ascii"), errors="strict", max_num_fields=50).get(name)
        except ValueError as error:
            raise Refused(400, "malformed", "The query string is not valid.") from error
        if values and "\x00" in values[0]:
            raise Refused(422, "invalid", f"{name} holds a character that no name has.")
        return values[0][:200] if values else default


async def read_body(scope: Scope, receive: Receive) -> bytes:
    """The body. One that is too large is read to its end and thrown away, so that its sender hears of the 413."""
    message = await receive()
    body: bytes = message.get("body", b"")
    if not message.get("more_body"):
        if len(body) > LARGEST_BODY:
            raise _too_large()
        return body
    parts, size = [body], len(body)
    while message.get("more_body"):
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused(400, "malformed", "The body ended before it was whole.")
        part: bytes = message.get("body", b"")
        size += len(part)
        if size <= LARGEST_BODY:
            parts.append(part)
        elif size > _PATIENCE:
            break
    if size > LARGEST_BODY:
        raise _too_large()
    return b"".join(parts)


def _too_large() -> Refused:
    return Refused(413, "too_large", f"A body may have up to {LARGEST_BODY} bytes.", {"connection": "close"})


def decoded(decoder: "msgspec.json.Decoder[T]", body: bytes) -> T:
    """What *body* says; 400 when it is no JSON, 422 when it is not what is expected."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise Refused(422, "invalid", f"The request is not valid: {error}.") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refused(400, "malformed", "The body is not JSON that can be read.") from error


async def send_reply(send: Send, reply: Reply, headers: Mapping[str, str]) -> None:
    await send_bytes(send, reply.status, _encoder.encode(reply.body), "application/json", headers)


async def send_bytes(send: Send, status: int, content: bytes, kind: str, headers: Mapping[str, str]) -> None:
    raw = [(b"content-type", kind.encode()), (b"content-length", b"%d" % len(content))]
    for name, value in headers.items():
        raw.append((name.encode(), value.encode("latin-1", "replace")))
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": content})
