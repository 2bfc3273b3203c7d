"""What holds for every guard of the process, until `configure` says otherwise."""

import threading
import weakref
from dataclasses import dataclass, replace
from typing import Any, Protocol, get_args

from actguard.pipeline.guard import Guard, Mode, OnStoreError, a_store, choice, named
from actguard.stores.fallback import Standby
from actguard.stores.memory import MemoryStore
from actguard.stores.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """See `configure`."""

    store: Store
    app: str = ""
    env: str = ""
    mode: Mode | None = None
    on_store_error: OnStoreError | None = None

    def mode_of(self, guard: Guard) -> Mode:
        """The mode that *guard* is in: its own, unless there is one for all; "off" stays off."""
        return guard.mode if self.mode is None or guard.mode == "off" else self.mode

    def standby(self, store: Store) -> Standby:
        """Who asks *store*, and knows what to do while it does not answer."""
        with _lock:
            standby = _standbys.get(id(store))
            if standby is None:
                standby = _standbys[id(store)] = Standby(store, MemoryStore)
                weakref.finalize(store, _standbys.pop, id(store), None)
            return standby


class Follower(Protocol):
    """What goes by the settings."""

    def follow(self) -> None:
        """They have changed."""
        ...


LOCAL = MemoryStore()
"""This process's own memory: the store where none is configured."""

_settings = Settings(store=LOCAL)
_followers: weakref.WeakSet[Follower] = weakref.WeakSet()
_standbys: dict[int, Standby] = {}
_lock = threading.Lock()
_KEEP: Any = object()


def current() -> Settings:
    return _settings


def configure(
    *,
    store: Store | None = _KEEP,
    app: str = _KEEP,
    env: str = _KEEP,
    mode: Mode | None = _KEEP,
    on_store_error: OnStoreError | None = _KEEP,
) -> Settings:
    """Change what holds for every guard, those that exist already included; what is not named stays as it is.

    Args:
        store: where guards without a `store=` of their own keep their state; None: this process's memory.
        app: first part of every key, so that programs can share a Redis.
        env: second part of every key: "production", "test", ...
        mode: of every guard that is not "off": "observe" puts all of them on watch; None: as each says itself.
        on_store_error: of every guard that does not say it itself; None: as is safe for each kind.

    Returns:
        The settings as they were before.
    """
    global _settings
    changes: dict[str, Any] = {}
    if store is not _KEEP:
        if store is not None:
            a_store("store", store)
        changes["store"] = LOCAL if store is None else store
    for name, value in (("app", app), ("env", env)):
        if value is not _KEEP:
            changes[name] = value and named(name, value)
    if mode is not _KEEP:
        if mode is not None:
            choice("mode", mode, get_args(Mode))
        changes["mode"] = mode
    if on_store_error is not _KEEP:
        if on_store_error is not None:
            choice("on_store_error", on_store_error, get_args(OnStoreError))
        changes["on_store_error"] = on_store_error
    with _lock:
        before = _settings
        _settings = replace(before, **changes)
        for follower in tuple(_followers):
            follower.follow()
    return before


def remember(follower: Follower) -> None:
    """Tell *follower* whenever the settings change."""
    with _lock:
        _followers.add(follower)
