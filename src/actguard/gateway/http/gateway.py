"""What every endpoint works with, and what runs beside them."""

import asyncio
import gc
import logging
import random
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeVar

from actguard.budget.pricing import PriceBook
from actguard.gateway.billing import Biller
from actguard.gateway.config import Settings
from actguard.gateway.http.auth import Authenticator
from actguard.gateway.http.metrics import Metrics
from actguard.gateway.ingest import Ingest
from actguard.gateway.ledger.operations import Operation, Reply
from actguard.gateway.storage.store import Store, StoreDown, Transaction
from actguard.gateway.storage.writer import Overloaded, Writer
from actguard.gateway.tariff import Tariff
from actguard.gateway.upkeep import tidy

T = TypeVar("T")

_log = logging.getLogger("actguard.gateway")

_YOUNG: Final = 10_000
"""So many new objects are made between two searches for garbage: more than a batch of requests leaves."""
_REPORTS: Final = 2
"""That are made at once. Each may take seconds, and agents wait for the threads and connections that are left."""
_REAP_EVERY_S: Final = 1.0
_TIDY_EVERY: Final = 600
"""In reaps."""


class Gateway:
    """A store with its writer, the prices, and the background work. Belongs to one event loop.

    Args:
        alone: whether the process is the gateway's own, so that garbage collection may be set for it.
    """

    def __init__(self, store: Store, settings: Settings, *, book: PriceBook | None = None, alone: bool = False) -> None:
        self.store: Final = store
        self.settings: Final = settings
        self.writer: Final = Writer(store)
        self.ingest: Final = Ingest(self.writer)
        self.auth: Final = Authenticator(store, rate=settings.rate_limit)
        self.metrics: Final = Metrics()
        self.book: Final = book if book is not None else PriceBook()
        self.biller: Final = Biller(self.book)
        self.tariff: Final = Tariff(self.book)
        self.ready = False
        self._reporting: Final = asyncio.Semaphore(_REPORTS)
        self._alone: Final = alone
        self._reaper: asyncio.Task[None] | None = None
        self._warming: asyncio.Task[object] | None = None

    async def start(self) -> None:
        """Begin to answer. The store is open already."""
        self.writer.start()
        self._warming = asyncio.create_task(asyncio.to_thread(self._warm))
        self._reaper = asyncio.create_task(self._reap())
        self.ready = True

    async def close(self) -> None:
        """Finish what was begun, then let go of the store."""
        self.ready = False
        if self._reaper is not None:
            self._reaper.cancel()
            with suppress(asyncio.CancelledError):
                await self._reaper
        await self.writer.close()
        await asyncio.to_thread(self.store.close)

    @property
    def warm(self) -> bool:
        """Whether the price lists are read; they are read from the start on, beside everything."""
        return self._warming is None or self._warming.done()

    async def warmed(self) -> None:
        """Wait until they are; raises what kept them from being read."""
        if self._warming is not None:
            await asyncio.shield(self._warming)

    async def apply(self, operation: Operation) -> Reply:
        reply = await self.writer.apply(operation)
        self.metrics.ledger(operation, reply)
        return reply

    async def read(self, work: Callable[[Transaction], T]) -> T:
        return await asyncio.to_thread(self.store.read, work)

    async def report(self, work: Callable[[Transaction], T]) -> T:
        """`read`, for what may read much; more than a few wait for each other."""
        async with self._reporting:
            return await self.read(work)

    async def now(self) -> int:
        """The ledger's clock."""
        return await asyncio.to_thread(self.store.now)

    def _warm(self) -> None:
        """Read the price lists, and leave what stays for ever out of every later search for garbage: it takes 30 ms."""
        self.book.get("gpt-4o")
        if self._alone:
            gc.freeze()
            gc.set_threshold(_YOUNG, 20, 20)

    async def _reap(self) -> None:
        """End holds that are due. Any process does it; a hold that another has in hand is left to that one."""
        turn = 0
        while True:
            await asyncio.sleep(_REAP_EVERY_S * random.uniform(0.7, 1.3))
            turn += 1
            try:
                await self.writer.reap()
                await asyncio.to_thread(self.store.maintain)
                if turn % _TIDY_EVERY == 0:
                    await tidy(self.store, self.writer, self.settings)
            except (StoreDown, Overloaded) as error:
                _log.warning("holds cannot be ended now: %s", error or "too many requests wait")
            except Exception:  # noqa: BLE001 - whatever it was, holds must be ended next time
                _log.exception("holds could not be ended")
