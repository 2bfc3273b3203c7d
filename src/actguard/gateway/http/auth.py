"""Who is calling: API keys, remembered for less than a second, so that a revoked one stops within it everywhere."""

import asyncio
import math
import time
from collections.abc import Callable
from typing import Final, NamedTuple, TypeVar

from actguard.gateway.http.wire import Refused, Request
from actguard.gateway.keys import parse_key
from actguard.gateway.storage.store import Row, Store, StoreDown

K = TypeVar("K")
T = TypeVar("T")

_REMEMBERED_S: Final = 0.5
_RENEWED_S: Final = 0.2
"""So long before it runs out, what is remembered of a key in use is asked for again."""
_MOST_REMEMBERED: Final = 10_000
_NO_HASH: Final = "0" * 64


class Caller(NamedTuple):
    workspace: int
    agent: str
    role: str
    key_id: str


class _Known(NamedTuple):
    until: float
    row: Row | None


class _Admitted(NamedTuple):
    until: float
    caller: Caller


class Authenticator:
    """Looks keys up in the store, and meters each of them.

    Args:
        rate: requests a second that one key may make, in bursts of as many, or of one; 0 for any number.
    """

    def __init__(self, store: Store, *, rate: float = 0, clock: Callable[[], float] = time.monotonic) -> None:
        self._store: Final = store
        self._rate: Final = rate
        self._clock: Final = clock
        self._known: dict[str, _Known] = {}
        self._admitted: dict[bytes, _Admitted] = {}
        """By the header's value."""
        self._asked: dict[str, asyncio.Task[_Known]] = {}
        self._renewed: dict[bytes, asyncio.Task[None]] = {}
        self._changes = 0
        self._buckets: dict[str, tuple[float, float]] = {}

    async def caller(self, request: Request) -> Caller:
        """Who sent *request*; raises `Refused` with 401 or 429."""
        caller = self.remembered(request)
        if caller is None:
            caller = await self._admit(request.headers.get(b"authorization", b""))
            if self._rate:
                self._meter(caller.key_id)
        return caller

    def remembered(self, request: Request) -> Caller | None:
        """The same, of a key that was asked for of late; None where the store must answer first.

        A key in use is asked for again before that has run out: nobody waits for the store but a key's first request.
        """
        said = request.headers.get(b"authorization", b"")
        admitted = self._admitted.get(said)
        if admitted is None:
            return None
        left = admitted.until - self._clock()
        if left <= 0:
            return None
        if left < _RENEWED_S and said not in self._renewed:
            self._renewed[said] = asyncio.create_task(self._renew(said))
        if self._rate:
            self._meter(admitted.caller.key_id)
        return admitted.caller

    def forget(self, key_id: str) -> None:
        """What is known of a key has changed in this process."""
        self._changes += 1
        self._known.pop(key_id, None)
        self._asked.pop(key_id, None)
        self._admitted.clear()

    async def _renew(self, said: bytes) -> None:
        try:
            await self._admit(said, anew=True)
        except Refused:
            self._admitted.pop(said, None)
        except StoreDown:
            pass  # it runs out, and whoever comes then is told
        finally:
            del self._renewed[said]

    async def _admit(self, said: bytes, *, anew: bool = False) -> Caller:
        scheme, _, text = said.decode("latin-1").partition(" ")
        key = parse_key(text.strip()) if scheme.lower() == "bearer" else None
        if key is None:
            raise _unauthorized("Send a key: Authorization: Bearer ag_live_...; `actguard keys create` makes one.")
        changes, known = self._changes, self._known.get(key.key_id)
        if known is None or known.until <= self._clock() or anew:
            known = await self._look_up(key.key_id)
        stored = known.row
        fits = key.fits(stored[3] if stored is not None else _NO_HASH)
        if stored is None or not fits or stored[4] is not None:
            raise _unauthorized("This key is not known, or was revoked.")
        caller = Caller(stored[0], stored[1], stored[2], key.key_id)
        if changes == self._changes:
            _remember(self._admitted, said, _Admitted(known.until, caller))
        return caller

    async def _look_up(self, key_id: str) -> _Known:
        """One question to the store at a time for each key, however many requests bring it."""
        asked = self._asked.get(key_id)
        if asked is None:
            asked = self._asked[key_id] = asyncio.create_task(self._ask(key_id))
        return await asyncio.shield(asked)

    async def _ask(self, key_id: str) -> _Known:
        changes, until = self._changes, self._clock() + _REMEMBERED_S
        try:
            rows = await asyncio.to_thread(self._store.read, lambda transaction: transaction.rows("key", key_id=key_id))
        finally:
            if self._asked.get(key_id) is asyncio.current_task():
                del self._asked[key_id]
        known = _Known(until, rows[0] if rows else None)
        if changes == self._changes:
            _remember(self._known, key_id, known)
        return known

    def _meter(self, key_id: str) -> None:
        now, most = self._clock(), max(1.0, self._rate)
        left, at = self._buckets.get(key_id, (most, now))
        left = min(most, left + (now - at) * self._rate)
        if left < 1:
            self._buckets[key_id] = (left, now)
            wait = math.ceil((1 - left) / self._rate)
            message = f"This key may make {self._rate:g} requests a second."
            raise Refused(429, "too_many_requests", message, {"retry-after": str(wait)})
        self._buckets[key_id] = (left - 1, now)


def _remember(memory: dict[K, T], name: K, what: T) -> None:
    if len(memory) >= _MOST_REMEMBERED:
        memory.clear()
    memory[name] = what


def _unauthorized(message: str) -> Refused:
    return Refused(401, "unauthorized", message, {"www-authenticate": "Bearer"})
