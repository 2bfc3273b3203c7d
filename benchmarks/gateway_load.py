"""The load, from a process of its own: `gateway_load.py PORTS KEY CONNECTIONS SECONDS`; prints JSON.

It shares the cores with what it measures, so it does as little as it can: sockets without an event loop around them,
requests that are filled into ready bytes, and of each answer only its status and its length.
"""

import json
import os
import selectors
import socket
import sys
import time

_RESERVE = b'{"run_id":"bench","user_id":"u%02d","reserve_id":"%s","usd_limit_micros":50000}'
_USAGE = b'{"provider":"openai","provider_model_id":"gpt-4o","input_tokens":1200,"output_tokens":340,"calls":1}'
_SETTLE = b'{"reserve_id":"%%s","usage_breakdown":[%s]}' % _USAGE


class Connection:
    """One client: a reserve, its settle, the next reserve."""

    def __init__(self, port: int, key: str, name: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.done = 0
        self.sent_at = 0.0
        self._name = name
        self._settles = True
        self._received = b""
        some = self._id(0)
        self._of = some
        self._reserve = _request(b"reserve", key, b"", _RESERVE, (0, some))
        self._settle = _request(b"settle", key, b":final", _SETTLE, (some,))

    def send_next(self) -> None:
        self._settles = not self._settles
        if self._settles:
            request = self._settle % (self._of, self._of)
        else:
            self._of = self._id(time.time_ns() // 1000)
            request = self._reserve % (self._of, self.done % 50, self._of)
        self.sent_at = time.perf_counter()
        self.socket.sendall(request)

    def answered(self) -> bool:
        """Read what has come; whether the answer is whole."""
        piece = self.socket.recv(65536)
        if not piece:
            raise SystemExit("the gateway has closed a connection")
        self._received += piece
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found:
            return False
        if not head.startswith(b"HTTP/1.1 200"):
            raise SystemExit(self._received.decode())
        if len(body) < int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0]):
            return False
        self._received = b""
        self.done += self._settles
        return True

    def _id(self, number: int) -> bytes:
        return b"%016x-%s" % (number, self._name.encode())


def _request(path: bytes, key: str, suffix: bytes, body: bytes, sample: tuple[object, ...]) -> bytes:
    """A request whose idempotency key, and what varies in its body, are still to be filled in."""
    head = b"POST /api/v1/%s HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %s\r\n" % (path, key.encode())
    return head + b"idempotency-key: %%s%s\r\ncontent-length: %d\r\n\r\n" % (suffix, len(body % sample)) + body


def main() -> None:
    ports, key, connections, seconds = sys.argv[1].split(","), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
    clients = [Connection(int(ports[n % len(ports)]), key, f"{os.getpid():x}{n:x}") for n in range(connections)]
    selector = selectors.DefaultSelector()
    for client in clients:
        selector.register(client.socket, selectors.EVENT_READ, client)
    times: list[float] = []
    started = time.perf_counter()
    for client in clients:
        client.send_next()
    while (now := time.perf_counter()) < started + seconds:
        for ready, _ in selector.select(1):
            client = ready.data
            if client.answered():
                times.append(time.perf_counter() - client.sent_at)
                client.send_next()
    took = now - started
    done = sum(client.done for client in clients)
    times.sort()
    p50, p99 = times[len(times) // 2], times[len(times) * 99 // 100]
    print(json.dumps({"pairs_s": done / took, "p50": p50 * 1e3, "p99": p99 * 1e3, "cpu_s": time.process_time()}))


if __name__ == "__main__":
    main()
