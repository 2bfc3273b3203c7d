"""One life of a session, and how its store is asked from an event loop."""

import uuid
from collections.abc import Callable
from typing import Any

from actguard.custody.prompts import Prompt
from actguard.stores.facts import FactStore


class Life:
    """One life of a session, from the first entry to the last exit: what frames hold, and what its facts hang on."""

    __slots__ = ("ended", "hold", "id", "inside", "key", "marked", "mint", "name", "prompts", "shared", "store")

    def __init__(self, id: str, name: str, store: FactStore, *, shared: bool) -> None:
        self.id = id
        self.name = name
        self.store = store
        self.shared = shared
        self.key = name if shared else f"{name}/{uuid.uuid4().hex}"
        self.inside: set[object] = set()
        """The entries of whoever has not left it."""
        self.ended = False
        self.prompts: tuple[Prompt, ...] = ()
        self.marked: set[str] = set()
        """Tools whose untrusted results this process has told the store of."""
        hold = getattr(store, "facts_hold", None)
        self.hold: Callable[[tuple[str, str], int], bool] | None = None if hold is None else hold(self.key)
        """The quick way to a yes of a store that is here."""
        mint = getattr(store, "facts_mint", None)
        self.mint: Callable[[str, list[str], float, int, str], None] | None = None if mint is None else mint(self.key)
        """And the quick way of a read to its facts."""

    def said_by_user(self, kind: str, value: Any) -> bool:
        """Whether a prompt of the user's names *value* for *kind*."""
        return any(prompt.names(kind, value) for prompt in self.prompts)


async def aio(store: Any, operation: str, *arguments: Any) -> Any:
    """An operation of *store*, without blocking the loop."""
    twin = getattr(store, "aio", None)
    if twin is not None:
        return await getattr(twin, operation)(*arguments)
    if getattr(store, "blocking", False):
        import asyncio

        return await asyncio.to_thread(getattr(store, operation), *arguments)
    return getattr(store, operation)(*arguments)
