"""How Redis is reached: clients that wait briefly and never ask twice, and errors that name the server, no password."""

import inspect
import math
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from actguard.exceptions import ActGuardUsageError, StoreError, StoreFullError, StoreUnavailableError
from actguard.stores.protocol import REFUSED

_SCHEMES = ("redis", "rediss", "unix")


class RedisOptions:
    """What RedisStore was given, checked; see there."""

    def __init__(
        self,
        url: Any,
        client: Any,
        async_client: Any,
        timeout_s: Any,
        connect_timeout_s: Any,
        max_connections: Any,
    ) -> None:
        _need_redis()
        if (url is None) == (client is None):
            raise ActGuardUsageError("give RedisStore a url or a client: one of the two", argument="url")
        if url is not None and (not isinstance(url, str) or urlsplit(url).scheme not in _SCHEMES):
            raise ActGuardUsageError("url must begin with redis://, rediss:// or unix://", argument="url")
        if async_client is not None and (url is not None or not callable(async_client)):
            raise ActGuardUsageError(
                "async_client goes with client, and is a callable that makes a redis.asyncio client",
                argument="async_client",
            )
        for name, seconds in (("timeout_s", timeout_s), ("connect_timeout_s", connect_timeout_s)):
            if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < math.inf:
                raise ActGuardUsageError(f"{name} must be a positive, finite number, not {seconds!r}", argument=name)
        if isinstance(max_connections, bool) or not isinstance(max_connections, int) or max_connections < 1:
            raise ActGuardUsageError(
                f"max_connections must be a whole number, 1 or more, not {max_connections!r}",
                argument="max_connections",
            )
        self._url: str | None = url
        self._given = client
        self._async_client: Callable[[], Any] | None = async_client
        self._settings = {
            "socket_timeout": timeout_s,
            "socket_connect_timeout": connect_timeout_s,
            "max_connections": max_connections,
            "timeout": timeout_s,
            "decode_responses": False,
        }
        self.no_script, self.errors = _errors()
        self.place = _place(url) if url is not None else type(client).__name__
        if client is not None:
            _check("client", client, asynchronous=False)

    @property
    def has_async(self) -> bool:
        return self._url is not None or self._async_client is not None

    def client(self) -> Any:
        """A client for threads. It does no I/O yet."""
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        if self._given is not None:
            return self._given
        pools: Any = redis.BlockingConnectionPool
        made = redis.Redis(connection_pool=pools.from_url(self._url, retry=Retry(NoBackoff(), 0), **self._settings))
        _check("url", made, asynchronous=False)  # what it says itself goes before what is said here
        return made

    def async_client(self) -> Any:
        """A client for the event loop that is running."""
        import redis.asyncio
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff

        if self._async_client is not None:
            made = self._async_client()
            _check("async_client", made, asynchronous=True)
            return made
        pools: Any = redis.asyncio.BlockingConnectionPool
        pool = pools.from_url(self._url, retry=Retry(NoBackoff(), 0), **self._settings)
        return redis.asyncio.Redis.from_pool(pool)

    def translate(self, error: Exception) -> StoreError:
        """One of `errors`, as an error of ours."""
        from redis.exceptions import OutOfMemoryError, ResponseError

        details = {"store": self.place}
        if isinstance(error, OutOfMemoryError):
            return StoreFullError(
                f"The Redis server at {self.place} has no memory left for another key.", details=details
            )
        said = f"refused: {error}" if isinstance(error, ResponseError) else f"did not answer: {type(error).__name__}"
        # redis-py leaves out the word ERR, which says nothing, and knows the words of some states as classes.
        this_one = type(error) is ResponseError and str(error).partition(" ")[0] not in _STATES
        return StoreUnavailableError(
            f"The Redis server at {self.place} {said}.", reason=REFUSED if this_one else None, details=details
        )

    def close(self, client: Any) -> None:
        if client is not self._given:
            client.connection_pool.disconnect()


_STATES = frozenset(
    {
        "BUSY",
        "CLUSTERDOWN",
        "CROSSSLOT",
        "LOADING",
        "MASTERDOWN",
        "MISCONF",
        "NOAUTH",
        "NOPERM",
        "NOREPLICAS",
        "NOSCRIPT",
        "OOM",
        "READONLY",
        "TRYAGAIN",
    }
)
"""What a server says that is in no state to answer, whatever it is asked."""


@contextmanager
def translated(options: RedisOptions) -> Generator[None]:
    """Run a block that talks to Redis; its errors become ours."""
    try:
        yield
    except options.errors as error:
        raise options.translate(error) from error


def _need_redis() -> None:
    try:
        import redis  # noqa: F401  # pyright: ignore[reportUnusedImport] - whether it is there
    except ImportError as missing:
        raise StoreError("RedisStore needs redis-py: pip install 'actguard[redis]'") from missing


def _errors() -> tuple[type[Exception], tuple[type[Exception], ...]]:
    """What says that a script is not known, and everything that talking to Redis may raise."""
    from redis.exceptions import NoScriptError, RedisError

    return NoScriptError, (RedisError, OSError)


def _place(url: str) -> str:
    """Host, port and database, without whoever logs in there."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return parts.path
    return f"{parts.hostname or 'localhost'}:{parts.port or 6379}{parts.path if parts.path != '/' else ''}"


def _check(argument: str, client: Any, *, asynchronous: bool) -> None:
    """Refuse what is no client, a client of the other kind, and one whose answers would not be read."""
    execute = getattr(client, "execute_command", None)
    if not callable(execute) or inspect.iscoroutinefunction(execute) is not asynchronous:
        kind = "must make a redis.asyncio client" if asynchronous else "must be a client for threads, as redis.Redis is"
        beside = "" if asynchronous else "; async_client makes those for event loops"
        raise ActGuardUsageError(f"{argument} {kind}, not {type(client).__name__}{beside}", argument=argument)
    settings: dict[str, Any] = getattr(client, "get_connection_kwargs", dict[str, Any])()
    if settings.get("decode_responses"):
        raise ActGuardUsageError(f"{argument} must be made with decode_responses=False", argument=argument)
