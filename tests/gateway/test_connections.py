"""What a client may do to a connection, byte by byte: on the gateway's own connections, and on uvicorn's."""

import json
import re
import socket
import struct
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.gateway.server import GatewayProcess

RESERVE = b'{"run_id": "r", "usd_limit_micros": 5}'


@pytest.fixture(scope="module", params=["actguard.cli", "tests.gateway.plain"], ids=["ours", "uvicorns"])
def gateway(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("gateway")
    process = GatewayProcess(str(folder / "gateway.db"), folder, module=request.param).start()
    yield process
    assert process.stop() == 0, process.log.read_text()
    assert "Traceback" not in process.log.read_text()


@pytest.fixture
def ours(gateway: GatewayProcess) -> GatewayProcess:
    if gateway.module != "actguard.cli":
        pytest.skip("uvicorn's own connections do not promise this")
    return gateway


def head(gateway: GatewayProcess, *lines: str, path: str = "/api/v1/reserve", version: str = "1.1") -> bytes:
    about = [f"POST {path} HTTP/{version}", "host: x", f"authorization: Bearer {gateway.agent_key}", *lines]
    return "\r\n".join([*about, "", ""]).encode()


def reserve(gateway: GatewayProcess, *lines: str, body: bytes = RESERVE, **said: str) -> bytes:
    return head(gateway, *lines, f"content-length: {len(body)}", **said) + body


class Talk:
    """One connection, of which every byte is ours."""

    def __init__(self, gateway: GatewayProcess) -> None:
        self.socket = socket.create_connection(("127.0.0.1", gateway.port), timeout=10)
        self._file = self.socket.makefile("rb")

    def __enter__(self) -> "Talk":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def answer(self) -> tuple[int, dict[str, str], Any]:
        status = self._file.readline()
        assert status.startswith(b"HTTP/1.1 "), status
        headers: dict[str, str] = {}
        while (line := self._file.readline().strip()) != b"":
            name, _, value = line.decode().partition(": ")
            assert name not in headers
            headers[name] = value
        body = self._file.read(int(headers.get("content-length", "0")))
        return int(status.split()[1]), headers, json.loads(body) if "json" in headers.get("content-type", "") else body

    def closed(self) -> bool:
        try:
            return self._file.read() == b""
        except ConnectionResetError:
            return True


@pytest.fixture
def talk(gateway: GatewayProcess) -> Iterator[Talk]:
    with Talk(gateway) as opened:
        yield opened
    with Talk(gateway) as another:  # and it lives on
        another.send(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        assert another.answer()[2] == {"status": "ok"}


def test_a_request_that_arrives_byte_by_byte_is_one_request(gateway: GatewayProcess, talk: Talk) -> None:
    for byte in reserve(gateway):
        talk.send(bytes((byte,)))
    assert talk.answer()[0] == 200


def test_a_body_in_chunks_is_one_body(gateway: GatewayProcess, talk: Talk) -> None:
    chunks = b"".join(b"%x;note=1\r\n%c\r\n" % (1, byte) for byte in RESERVE)
    talk.send(head(gateway, "transfer-encoding: chunked") + chunks + b"0\r\nx-checksum: 1\r\n\r\n")
    assert talk.answer()[0] == 200
    talk.send(reserve(gateway))
    assert talk.answer()[0] == 200


def test_what_follows_a_body_cannot_change_its_head(ours: GatewayProcess, talk: Talk) -> None:
    forged = "transfer-encoding: chunked"
    talk.send(head(ours, forged) + b"26\r\n" + RESERVE + b"\r\n0\r\nauthorization: Bearer x\r\n\r\n")
    assert talk.answer()[0] == 200


def test_requests_that_are_sent_ahead_are_answered_in_their_order(gateway: GatewayProcess, talk: Talk) -> None:
    many = [
        reserve(gateway, "x-request-id: a"), b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n",
        reserve(gateway, "x-request-id: b", body=b"{"), reserve(gateway, "x-request-id: c", path="/api/v1/nothing"),
        reserve(gateway, "x-request-id: d"),
    ]  # fmt: skip
    talk.send(b"".join(many))
    said = [talk.answer() for _ in many]
    assert [status for status, _, _ in said] == [200, 200, 400, 404, 200]
    assert [headers.get("x-request-id") for _, headers, _ in said] == ["a", None, "b", None, "d"]


def test_a_thousand_mistakes_sent_ahead_are_each_told(gateway: GatewayProcess, talk: Talk) -> None:
    talk.send(reserve(gateway) + reserve(gateway, body=b"{") * 1000)
    assert [talk.answer()[0] for _ in range(1001)] == [200] + [400] * 1000


def test_whoever_has_only_stopped_sending_hears_the_answers(ours: GatewayProcess, talk: Talk) -> None:
    talk.send(reserve(ours) * 3)
    talk.socket.shutdown(socket.SHUT_WR)
    assert [talk.answer()[0] for _ in range(3)] == [200] * 3
    assert talk.closed()


def test_a_body_is_asked_for_where_its_client_waits_to_be_asked(gateway: GatewayProcess, talk: Talk) -> None:
    for _ in range(2):
        talk.send(head(gateway, "expect: 100-continue", f"content-length: {len(RESERVE)}"))
        assert talk.answer()[0] == 100
        talk.send(RESERVE)
        assert talk.answer()[0] == 200


def test_a_body_that_would_be_refused_is_not_asked_for(ours: GatewayProcess, talk: Talk) -> None:
    talk.send(head(ours, "expect: 100-continue", f"content-length: {(1 << 20) + 1}"))
    status, headers, _ = talk.answer()
    assert (status, headers["connection"]) == (413, "close")
    assert talk.closed()


def test_a_body_that_is_too_large_to_be_read_is_counted_all_the_same(gateway: GatewayProcess) -> None:
    def counted() -> int:
        said = gateway.agent().send("GET", "/metrics").body
        found = re.search(r'actguard_requests_total\{route="POST /api/v1/release",status="413"\} (\d+)', said)
        return int(found[1]) if found else 0

    before = counted()
    assert gateway.agent().post("release", b"x" * ((1 << 20) + 1)).status == 413
    assert counted() == before + 1


@pytest.mark.parametrize("lines", [{"version": "1.0"}, {"close": "connection: close"}])
def test_a_client_that_wants_one_answer_gets_one(gateway: GatewayProcess, talk: Talk, lines: dict[str, str]) -> None:
    version = lines.get("version", "1.1")
    talk.send(reserve(gateway, *(value for name, value in lines.items() if name == "close"), version=version))
    status, headers, _ = talk.answer()
    assert (status, headers["connection"]) == (200, "close")
    assert talk.closed()


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"BREW /api/v1/reserve HTTP/1.1\r\nhost: x\r\n\r\n",
        b"POST /api/v1/reserve HTTP/9.9\r\nhost: x\r\n\r\n",
        b"POST /api/v1/reserve HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /api/v1/reserve HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        b"POST /api/v1/reserve HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"POST /api/v1/reserve HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999999999999999\r\n\r\n",
        b"POST /api/v1/reserve HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"POST /api/v1/reserve HTTP/1.1\r\nhost: x\r\nx-request-id: a\x00b\r\n\r\n",
        b"POST /api/v1/reserve HTTP/1.1\r\nhost : x\r\n\r\n",
    ],
    ids=str,
)
def test_what_is_not_http_is_refused_and_hung_up_on(gateway: GatewayProcess, talk: Talk, sent: bytes) -> None:
    talk.send(sent)
    status, headers, _ = talk.answer()
    assert (status, headers["connection"]) == (400, "close")
    assert talk.closed()


def test_what_is_not_http_does_not_overtake_what_was_asked_before(ours: GatewayProcess, talk: Talk) -> None:
    talk.send(reserve(ours) * 2 + b"\x00\x01\x02")
    assert [talk.answer()[0] for _ in range(3)] == [200, 200, 400]
    assert talk.closed()


@pytest.mark.parametrize("piece", [b"x" * 4096, b"a: b\r\n" * 700, b"x: " + b"y" * 4096 + b"\r\n"], ids=len)
def test_a_head_without_an_end_is_cut_off(ours: GatewayProcess, talk: Talk, piece: bytes) -> None:
    talk.send(b"POST /api/v1/reserve HTTP/1.1\r\nhost: x\r\nz: z")
    try:
        for _ in range(3000):
            talk.send(piece)
    except OSError:
        pass
    assert b" 431 " in talk.socket.recv(4096) or piece.startswith(b"a:")
    talk.socket.close()


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "OPTIONS", "TRACE", "PATCH"])
def test_another_method_is_told_which_there_are(gateway: GatewayProcess, talk: Talk, method: str) -> None:
    talk.send(f"{method} /api/v1/reserve HTTP/1.1\r\nhost: x\r\n\r\n".encode())
    if method == "HEAD":
        assert b" 405 " in talk.socket.recv(4096)
        return
    status, headers, _ = talk.answer()
    assert (status, headers["allow"]) == (405, "POST")


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("GET http://other/healthz HTTP/1.1", 200),
        ("GET /healthz?x=1 HTTP/1.1", 200),
        ("GET /%68ealthz HTTP/1.1", 200),
        ("GET //healthz HTTP/1.1", 404),
        ("GET /api/v1/../healthz HTTP/1.1", 404),
        ("GET /\u00e9 HTTP/1.1", 404),
        ("GET /%00%ff%0d%0a HTTP/1.1", 404),
        ("OPTIONS * HTTP/1.1", 404),
        ("CONNECT other:443 HTTP/1.1", 404),
    ],
)
def test_addresses_of_all_kinds_are_answered(ours: GatewayProcess, talk: Talk, line: str, status: int) -> None:
    talk.send(f"{line}\r\nhost: x\r\n\r\n".encode("latin-1"))
    said = talk.answer()[0]
    assert said == status or said == 400 != status != 200


def test_a_wish_for_another_protocol_is_not_granted(ours: GatewayProcess, talk: Talk) -> None:
    wish = ("connection: upgrade", "upgrade: websocket", "sec-websocket-key: x", "sec-websocket-version: 13")
    talk.send("\r\n".join(["GET /healthz HTTP/1.1", "host: x", *wish, "", "\x81\x00"]).encode())
    status, headers, _ = talk.answer()
    assert (status, headers["connection"]) == (200, "close")
    with Talk(ours) as posting:
        posting.send(reserve(ours, "connection: upgrade, http2-settings", "upgrade: h2c"))
        status, headers, said = posting.answer()
        assert (status, headers["connection"]) == (400, "close")
        assert "upgrade" in said["error"]


def test_clients_that_hang_up_anywhere_leave_nothing_behind(gateway: GatewayProcess, talk: Talk) -> None:
    whole = reserve(gateway)
    for end in (0, 1, 30, len(whole) - 1, len(whole)):
        for reset in (False, True):
            with Talk(gateway) as short:
                short.send(whole[:end])
                if reset:
                    short.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    waiting = gateway_metric(gateway, "actguard_waiting_requests")
    end_at = time.monotonic() + 20
    while waiting():  # the gateway's own upkeep waits now and then too
        assert time.monotonic() < end_at
        time.sleep(0.02)


def gateway_metric(gateway: GatewayProcess, name: str) -> Any:
    def value() -> float:
        text: str = gateway.agent().send("GET", "/metrics").body
        return next(float(line.split()[1]) for line in text.splitlines() if line.startswith(f"{name} "))

    return value


def test_a_client_that_does_not_read_is_not_read_from_either(ours: GatewayProcess, talk: Talk) -> None:
    """What it sends ahead stays with it, instead of growing here."""
    talk.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    talk.socket.settimeout(1)
    ask = b"GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n" * 1000
    sent = 0
    with pytest.raises(TimeoutError):
        for _ in range(10_000):
            sent += talk.socket.send(ask)
    assert sent < 16 << 20
