"""A store that does I/O, as a session sees it: with a side for event loops, and one that must not be used there."""

import asyncio
from collections.abc import Sequence
from typing import Any

from actguard.exceptions import StoreUnavailableError
from actguard.stores.facts import Fact, Known, Need, Receipt, Spend, Verdict
from actguard.stores.memory import MemoryStore


class Remote:
    """A store whose synchronous side must not be used on an event loop."""

    serialises = True
    blocking = True

    def __init__(self) -> None:
        self.memory = MemoryStore()
        self.asked: list[str] = []
        self.down = False
        self.aio = RemoteLoop(self)

    def _do(self, side: str, name: str, *args: Any, **kwargs: Any) -> Any:
        self.asked.append(f"{side}.{name}")
        if self.down:
            raise StoreUnavailableError("the store is down")
        return getattr(self.memory, name)(*args, **kwargs)

    def admit(self, steps: Any) -> Any:
        raise NotImplementedError

    def facts_put(self, session: str, facts: Sequence[Fact]) -> None:
        self._do("sync", "facts_put", session, facts)

    def facts_check(
        self, session: str, needs: Sequence[Need], spends: Sequence[Spend] = (), *, commit: bool = True
    ) -> Verdict:
        verdict: Verdict = self._do("sync", "facts_check", session, needs, spends, commit=commit)
        return verdict

    def facts_give_back(self, session: str, receipt: Receipt) -> None:
        self._do("sync", "facts_give_back", session, receipt)

    def facts_revoke(self, session: str, kind: str, value: str | None = None) -> int:
        gone: int = self._do("sync", "facts_revoke", session, kind, value)
        return gone

    def facts_list(self, session: str, kinds: Sequence[str] = ()) -> list[Known]:
        known: list[Known] = self._do("sync", "facts_list", session, kinds)
        return known

    def facts_end(self, session: str) -> None:
        self._do("sync", "facts_end", session)


class RemoteLoop:
    def __init__(self, remote: Remote) -> None:
        self._remote = remote

    def __getattr__(self, name: str) -> Any:
        async def do(*args: Any, **kwargs: Any) -> Any:
            await asyncio.sleep(0)
            return self._remote._do("aio", name, *args, **kwargs)

        return do
