"""HTTP as the gateway needs it: a request that is in memory, and an answer. No framework objects between."""

import re
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from itertools import count
from types import MappingProxyType
from typing import Any, Final, TypeVar
from urllib.parse import parse_qs
from uuid import uuid4

import msgspec

from actguard.gateway.http.bodies import Decoder
from actguard.gateway.ledger.operations import Reply

T = TypeVar("T")
Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

LARGEST_BODY: Final = 1 << 20
PATIENCE: Final = 16 << 20
"""How much of a body that is too large is still read."""
_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_PATTERN: Final = re.compile(r"matching regex '.*'")
_JSON: Final = b"content-type: application/json\r\n"
_NONE: Final[Mapping[str, str]] = MappingProxyType({})
_encoder = msgspec.json.Encoder()
_process = uuid4().hex[:16]
_numbers = count()


class Refused(Exception):  # noqa: N818 - an answer, on its way out
    """A request that is answered with an error."""

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.reply = failure(status, code, message)
        self.headers = headers or {}


class Answer(msgspec.Struct, gc=False):
    """What is sent back, whole."""

    status: int
    headers: bytes
    """Its lines, as they are sent. Without the length, which whoever sends it knows."""
    content: bytes


class Request(msgspec.Struct, gc=False):
    """A request, with its body in memory."""

    path: str
    headers: Mapping[bytes, bytes]
    """By their names in small letters."""
    body: bytes = b""
    query_string: bytes = b""
    parameters: Mapping[str, str] = {}
    key_id: str = ""
    """Whose it is, once that is known."""
    id: str = ""
    started: float = msgspec.field(default_factory=time.perf_counter)

    def __post_init__(self) -> None:
        said = self.headers.get(b"x-request-id")
        known = said is not None and _REQUEST_ID.fullmatch(said)
        self.id = known[0].decode() if known else f"{_process}{next(_numbers):08x}"

    def header(self, name: bytes) -> str:
        """Its value; empty when it was not sent."""
        value = self.headers.get(name)
        return value.decode("latin-1") if value is not None else ""

    def query(self, name: str, default: str = "") -> str:
        try:
            values = parse_qs(self.query_string.decode("ascii"), errors="strict", max_num_fields=50).get(name)
        except ValueError as error:
            raise Refused(400, "malformed", "The query string is not valid.") from error
        if values and "\x00" in values[0]:
            raise Refused(422, "invalid", f"{name} holds a character that no name has.")
        if values and len(values[0]) > 200:
            raise Refused(422, "invalid", f"{name} has up to 200 characters.")
        return values[0] if values else default


async def read_body(receive: Receive) -> bytes:
    """The body. One that is too large is read to its end and thrown away, so that its sender hears of the 413."""
    message = await receive()
    body: bytes = message.get("body", b"")
    if not message.get("more_body"):
        if len(body) > LARGEST_BODY:
            raise too_large()
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
        elif size > PATIENCE:
            break
    if size > LARGEST_BODY:
        raise too_large()
    return b"".join(parts)


def too_large() -> Refused:
    return Refused(413, "too_large", f"A body may have up to {LARGEST_BODY} bytes.", {"connection": "close"})


def decoded(decoder: Decoder[T], body: bytes) -> T:
    """What *body* says; 400 when it is no JSON, 422 when it is not what is expected."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        said = _PATTERN.sub(_in_words, str(error))
        raise Refused(422, "invalid", f"The request is not valid: {said}.") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refused(400, "malformed", "The body is not JSON that can be read.") from error


def _in_words(pattern: re.Match[str]) -> str:
    """What a name has to be like: there are two patterns in bodies.py."""
    if "a-z" in pattern[0]:
        return "of lower-case letters, digits, - and _, a letter or digit first"
    return "without control characters"


def answer(reply: Reply, headers: Mapping[str, str] = _NONE, *, request_id: str = "") -> Answer:
    """*reply* as JSON, with *headers* of its own."""
    lines = b"%sx-request-id: %s\r\n" % (_JSON, request_id.encode()) if request_id else _JSON
    if headers:
        lines += header_lines((name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items())
    return Answer(reply.status, lines, _encoder.encode(reply.body))


def header_lines(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    return b"".join([b"%s: %s\r\n" % header for header in headers])


def failure(status: int, code: str, message: str) -> Reply:
    return Reply(status, {"error": message, "code": code})


async def send_answer(send: Send, answer: Answer) -> None:
    """Through ASGI."""
    lines = [line.partition(b": ") for line in answer.headers.split(b"\r\n")[:-1]]
    headers = [*((name, value) for name, _, value in lines), (b"content-length", b"%d" % len(answer.content))]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.content})
