"""Requests out of pieces, without a socket; and connections under a clock of the test's own."""

import asyncio
import itertools
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from uvicorn import Config
from uvicorn.server import ServerState

from actguard.gateway.config import Settings
from actguard.gateway.http.app import App
from actguard.gateway.http.connection import SLOWEST_S, Connection
from actguard.gateway.http.reader import LARGEST_HEAD, Heard, Reader
from actguard.gateway.http.wire import LARGEST_BODY, PATIENCE
from actguard.gateway.storage.connect import connect

FIXED = b"POST /a HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhello"
CHUNKED = (
    b"PUT /b?c=d HTTP/1.1\r\nHost: x\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3;e=1\r\nllo\r\n0\r\nt: 1\r\n\r\n"
)
BARE = b"GET /c HTTP/1.1\r\nX-Two: 1\r\nx-two: 2\r\n\r\n"
LAST = b"DELETE /d HTTP/1.1\r\nconnection: close\r\n\r\n"
BROKEN = b"\x00"
HEALTH = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"


def heard(*pieces: bytes) -> list[Heard]:
    reader = Reader()
    for piece in pieces:
        reader.feed(piece)
    return list(reader.heard)


@given(st.lists(st.sampled_from([FIXED, CHUNKED, BARE, LAST, BROKEN]), max_size=6), st.data())
def test_where_the_pieces_are_cut_makes_no_difference(requests: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(requests)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=12)))
    edges = [0, *cuts, len(whole)]
    assert heard(*(whole[a:b] for a, b in itertools.pairwise(edges))) == heard(whole)
    ends = next((n for n, request in enumerate(requests) if request in (LAST, BROKEN)), len(requests) - 1)
    assert len(heard(whole)) == ends + 1
    for request, got in zip(requests, heard(whole), strict=False):
        expected = {FIXED: ("POST", "/a", b"hello"), CHUNKED: ("PUT", "/b?c=d", b"hello"), BARE: ("GET", "/c", b"")}
        if request in expected:
            assert (got.method, got.url, got.body) == expected[request]
        assert (got.refusal is not None) == (request == BROKEN)


def refusal(*pieces: bytes) -> int | None:
    """The status of the refusal that ends what was heard, None where there is none."""
    found = heard(*pieces)
    last = found[-1].refusal if found else None
    return last.status if last is not None else None


def test_what_is_too_large_is_refused_at_the_byte_that_makes_it_so() -> None:
    length = b"POST / HTTP/1.1\r\ncontent-length: %d\r\n\r\n"
    assert refusal(length % LARGEST_BODY, b"x" * LARGEST_BODY) is None
    assert refusal(length % (LARGEST_BODY + 1), b"x" * LARGEST_BODY) is None, "its sender is still speaking"
    assert refusal(length % (LARGEST_BODY + 1), b"x" * (LARGEST_BODY + 1)) == 413
    assert refusal(length % (PATIENCE * 2), b"x" * PATIENCE) is None
    assert refusal(length % (PATIENCE * 2), b"x" * (PATIENCE + 1)) == 413
    begun = b"POST / HTTP/1.1\r\na: "
    assert refusal(begun, b"x" * LARGEST_HEAD) is None
    assert refusal(begun, b"x" * (LARGEST_HEAD + 1)) == 431
    assert refusal(b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n", b"0" * (PATIENCE + 1)) in (400, 413)
    assert len(heard(begun, b"x" * (LARGEST_HEAD + 1), b"\r\n\r\n" + FIXED)) == 1, "nothing is heard after it"


@pytest.mark.parametrize("lines", [1, 1000], ids=["of one line", "of many, all of one name"])
@pytest.mark.parametrize("piece", [1 << 14, 1 << 20], ids=["in pieces", "at once"])
def test_a_head_that_is_too_large_is_refused_also_where_all_of_it_has_come(lines: int, piece: int) -> None:
    def request(size: int) -> list[bytes]:
        whole = b"GET / HTTP/1.1\r\n" + b"x-a: %s\r\n" % (b"y" * (size // lines)) * lines + b"\r\n"
        return [whole[at : at + piece] for at in range(0, len(whole), piece)]

    assert refusal(*request(LARGEST_HEAD - 20_000)) is None
    assert refusal(*request(LARGEST_HEAD + 1)) == 431
    assert refusal(*request(2 * LARGEST_HEAD)) == 431


class Loop:
    """A clock, and what is to happen on it."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.later: list[tuple[float, Any]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, work: Any) -> "asyncio.TimerHandle":
        self.later.append((self.now + delay, work))
        return asyncio.TimerHandle(self.now + delay, work, (), self)  # type: ignore[arg-type]

    def create_task(self, work: Coroutine[Any, Any, None]) -> "asyncio.Future[None]":
        """What never really waits is done at once."""
        with pytest.raises(StopIteration):
            work.send(None)
        return asyncio.Future(loop=self)  # type: ignore[arg-type]

    def call_soon(self, work: Any, *_: Any, **__: Any) -> None:
        self.later.append((self.now, work))

    def run_soon(self) -> None:
        self.pass_time(0)

    def get_debug(self) -> bool:
        return False

    def pass_time(self, seconds: float) -> None:
        end = self.now + seconds
        while self.later and min(self.later)[0] <= end:
            due = min(self.later, key=lambda entry: entry[0])
            self.later.remove(due)
            self.now = max(self.now, due[0])
            due[1]()
        self.now = end

    def _timer_handle_cancelled(self, handle: object) -> None:
        pass


class Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.ended = ""
        self.paused = False

    def write(self, data: Any) -> None:
        self.written += data

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return None

    def is_closing(self) -> bool:
        return bool(self.ended)

    def close(self) -> None:
        self.ended = self.ended or "closed"

    def abort(self) -> None:
        self.ended = "aborted"


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def state() -> ServerState:
    return ServerState()


@pytest.fixture
def connection(loop: Loop, state: ServerState, tmp_path: Any) -> Connection:
    config = Config(
        App(connect(str(tmp_path / "x.db")), Settings()), http=Connection, log_config=None, proxy_headers=False
    )
    config.load()
    made = Connection(config, state, {}, loop)  # type: ignore[arg-type]
    made.connection_made(Transport())
    return made


def test_a_client_that_says_nothing_is_hung_up_on(connection: Connection, loop: Loop) -> None:
    loop.pass_time(SLOWEST_S - 1)
    assert not connection._transport.is_closing()
    loop.pass_time(10)
    assert connection._transport.is_closing()


def test_a_client_that_never_ends_its_request_is_told_and_hung_up_on(
    connection: Connection, loop: Loop, state: ServerState
) -> None:
    loop.pass_time(50)
    transport: Any = connection._transport
    for byte in FIXED[:-1]:
        connection.data_received(bytes((byte,)))
        loop.pass_time(2)
        if transport.ended:
            break
    assert transport.written.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in transport.written
    loop.pass_time(10)
    assert transport.ended == "aborted", "whoever does not take the answer is not waited for"
    connection.connection_lost(None)
    assert not state.connections


def test_a_connection_that_rests_between_requests_is_closed_in_time(connection: Connection, loop: Loop) -> None:
    transport: Any = connection._transport
    for rest in (4, 4, 4, 6):
        connection.data_received(HEALTH)
        assert transport.written.count(b"HTTP/1.1 200 OK") == 1
        assert not transport.ended
        transport.written = b""
        loop.pass_time(rest)
    assert transport.ended == "closed"


def test_a_request_that_begins_in_time_has_its_own_time(connection: Connection, loop: Loop) -> None:
    transport: Any = connection._transport
    connection.data_received(HEALTH + FIXED[:20])
    loop.pass_time(SLOWEST_S - 1)
    assert not transport.ended
    connection.data_received(FIXED[20:-5] + b"hello")
    assert transport.written.count(b"HTTP/1.1 404 ") == 1


def test_a_client_that_does_not_read_its_answers_is_not_answered_more(connection: Connection, loop: Loop) -> None:
    transport: Any = connection._transport
    connection.pause_writing()
    connection.data_received(HEALTH + BROKEN)
    assert transport.written == b""
    assert transport.paused
    connection.resume_writing()
    assert transport.written.count(b"HTTP/1.1 200 OK") == 1
    loop.run_soon()
    assert transport.written.count(b"HTTP/1.1 400 ") == 1
    assert transport.ended == "closed"


def test_a_server_that_ends_closes_what_waits_for_nothing(connection: Connection) -> None:
    connection.data_received(FIXED[:10])
    connection.shutdown()
    assert connection._transport.is_closing()
