"""Who is asked together: the parts that keep their state in one store, and how those ask that are only watched."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from actguard.pipeline.call import Group
from actguard.pipeline.guard import Args, Kwargs, OnStoreError, Part
from actguard.pipeline.settings import Settings
from actguard.stores.store import Store


def watched_part(part: Part[Any]) -> Part[Any]:
    """*part*, asking with `observe`."""
    ask = part.step
    assert ask is not None

    def step(args: Args, kwargs: Kwargs) -> Any:
        return ask(args, kwargs)._replace(observe=True)

    return replace(part, step=step, patience=None, lined=False, watched=True)


def groups(parts: Sequence[Part[Any]], settings: Settings) -> list[Group]:
    by_store: dict[int, tuple[Any, list[Part[Any]]]] = {}
    for part in parts:
        store = part.guard.store_under(settings.store)
        by_store.setdefault(id(store), (store, []))[1].append(part)
    return [_group(store, tuple(members), settings) for store, members in by_store.values()]


def _group(store: Store, parts: tuple[Part[Any], ...], settings: Settings) -> Group:
    on_error: tuple[OnStoreError, ...] = tuple(
        "open" if part.watched else part.guard.on_store_error or settings.on_store_error or part.guard.safe_store_error
        for part in parts
    )
    return Group(store, settings.standby(store) if store.blocking else None, parts, on_error)
