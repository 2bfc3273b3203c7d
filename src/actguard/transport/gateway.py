"""Requests to the gateway: tried until they are answered, or their time is over."""

import json
import logging
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from actguard.exceptions import ActGuardUsageError
from actguard.transport.answers import Unanswered, explained, read, too_late
from actguard.transport.attempts import Attempts, asked_pause
from actguard.transport.names import header_key

if TYPE_CHECKING:
    import httpx2

logger = logging.getLogger("actguard.transport")

_LARGEST_ANSWER = 1 << 20


class GatewayTransport:
    """One gateway, one key, and a pool of connections. Every method blocks; any thread may call it.

    Args:
        url: without a slash at its end.
        ca_file: a PEM file of authorities to trust instead of the public ones.
    """

    def __init__(
        self,
        url: str,
        api_key: str,
        *,
        backoff_base_s: float = 0.2,
        backoff_max_s: float = 10.0,
        ca_file: str | None = None,
        debug: bool = False,
    ) -> None:
        self.url = url
        self.key_id, _, self._secret = api_key.partition(".")
        self._authorization = f"Bearer {api_key}"
        self._base_s, self._most_s = backoff_base_s, backoff_max_s
        self._ca_file = ca_file
        self._debug = debug
        self._client: httpx2.Client | None = None
        self._left_behind: list[Any] = []
        self._lock = threading.Lock()
        if debug:
            _show_debug()

    def load(self) -> None:
        """Have what requests need in memory: the first one's deadline is no time to read a library.

        Raises:
            ActGuardUsageError: there is no certificate in `ca_file`, or a proxy of the environment is none.
        """
        import httpx2

        try:
            self._connections()
        except OSError as error:
            if self._ca_file is None:
                raise
            raise ActGuardUsageError(
                f"ca_file {self._ca_file} holds no certificate that can be read", argument="ca_file"
            ) from error
        except (httpx2.InvalidURL, ValueError, ImportError) as error:
            raise ActGuardUsageError(
                f"the proxy that the environment names for gateway_url cannot be used: {error}", argument="gateway_url"
            ) from error

    def post(
        self, path: str, body: Mapping[str, Any], *, key: str | None = None, timeout_s: float, max_retries: int
    ) -> dict[str, Any]:
        """What the gateway answers.

        Args:
            key: the idempotency key: a further try with it is the same request.
            timeout_s: over all tries.

        Raises:
            ActGuardPaymentRequired, BudgetExceededError: the gateway's decision.
            BudgetTransportError: it refused the request; or (`Unanswered`) gave no answer.
        """
        content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
        return self._request("POST", path, content, key, timeout_s, max_retries)

    def get(self, path: str, *, timeout_s: float, max_retries: int) -> dict[str, Any]:
        """`post`, for what only asks."""
        return self._request("GET", path, None, None, timeout_s, max_retries)

    def _request(
        self, method: str, path: str, content: bytes | None, key: str | None, timeout_s: float, max_retries: int
    ) -> dict[str, Any]:
        attempts = Attempts(
            time.monotonic(), timeout_s=timeout_s, max_retries=max_retries, base_s=self._base_s, most_s=self._most_s
        )
        while True:
            asked: float | None = None
            try:
                status, headers, answer = self._try(method, path, content, key, attempts)
                asked = asked_pause(headers)
                return read(path, status, answer)
            except Unanswered as failed:
                pause = attempts.pause(time.monotonic(), asked) if failed.again else None
                if pause is None:
                    raise
            time.sleep(pause)

    def _try(
        self, method: str, path: str, content: bytes | None, key: str | None, attempts: Attempts
    ) -> tuple[int, Mapping[str, str], bytes]:
        import httpx2

        started = time.monotonic()
        headers = {"authorization": self._authorization, "content-type": "application/json"}
        if key is not None:
            headers["idempotency-key"] = header_key(key)
        answer = bytearray()
        try:
            with self._connections().stream(
                method, self.url + path, content=content, headers=headers, timeout=attempts.left(started)
            ) as response:
                for chunk in response.iter_bytes():
                    answer += chunk
                    if len(answer) > _LARGEST_ANSWER:
                        raise Unanswered(f"The gateway answered {path} with more than 1 MiB", reason="garbage")
                    if time.monotonic() > attempts.deadline:
                        raise too_late(self.url, time.monotonic() - started)
            status, said = response.status_code, response.headers
        except (httpx2.HTTPError, httpx2.StreamError, httpx2.InvalidURL, UnicodeError, OSError) as error:
            self._trace(method, path, content, f"failed: {error!r}", started)
            raise explained(error, self.url) from error
        self._trace(method, path, content, f"{status} {bytes(answer[:2000])!r}", started)
        return status, said, bytes(answer)

    def _connections(self) -> "httpx2.Client":
        with self._lock:
            if self._client is None:
                import ssl

                import httpx2

                here = _is_loopback(self.url)
                verify: Any = ssl.create_default_context(cafile=self._ca_file) if self._ca_file else True
                if here and self.url.startswith("http://"):
                    verify = False  # nothing is to be verified: do not read all the authorities of the world for it
                self._client = httpx2.Client(
                    verify=verify,
                    trust_env=not here,
                    limits=httpx2.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=30.0),
                )
            return self._client

    def _trace(self, method: str, path: str, content: bytes | None, outcome: str, started: float) -> None:
        if self._debug:
            took = (time.monotonic() - started) * 1000
            said = content[:2000].decode(errors="replace") if content else ""
            line = f"{method} {self.url}{path} {said} -> {outcome} in {took:.1f} ms"
            logger.debug("%s", line.replace(self._secret, "***"))

    def forked(self) -> None:
        """In a forked child: the connections are the parent's, and stay open for it."""
        self._left_behind.append(self._client)
        self._client = None
        self._lock = threading.Lock()

    def close(self) -> None:
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            with suppress(RuntimeError, OSError):  # a request that was given up still runs
                client.close()


def _is_loopback(url: str) -> bool:
    """A proxy of the environment is not the way to this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _show_debug() -> None:
    """Have the traces seen, in a program that has set up no logging for them."""
    logger.setLevel(logging.DEBUG)
    if not logger.hasHandlers():
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(message)s"))
        logger.addHandler(handler)
