"""Leases of calls that are still running are renewed, so that only those whose process died run out."""

import logging
import os
import threading
from typing import Literal, NamedTuple

from actguard.exceptions import StoreError
from actguard.pipeline.unasked import settle
from actguard.stores.store import Store

log = logging.getLogger("actguard.tools")


class _Running(NamedTuple):
    store: Store
    kind: Literal["idempotency", "lease"]
    key: str
    lease_s: float


class Heartbeats:
    """One daemon thread for all leases of the process, there while there are any."""

    def __init__(self) -> None:
        self._forget()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._running: dict[str, _Running] = {}
        self._thread: threading.Thread | None = None

    def begin(self, owner: str, store: Store, kind: Literal["idempotency", "lease"], key: str, lease_s: float) -> None:
        with self._lock:
            nearest = min((one.lease_s for one in self._running.values()), default=lease_s + 1)
            self._running[owner] = _Running(store, kind, key, lease_s)
            if self._thread is None or not self._thread.is_alive():
                thread = threading.Thread(target=self._beat, name="actguard-leases", daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # no more threads: the next call tries again, or the lease runs out
                    return
                self._thread = thread
            elif lease_s < nearest:
                self._wake.set()

    def end(self, owner: str) -> None:
        with self._lock:
            self._running.pop(owner, None)

    def _beat(self) -> None:
        while True:
            with self._lock:
                if not self._running:
                    self._thread = None
                    return
                pause = min(threading.TIMEOUT_MAX, min(one.lease_s for one in self._running.values()) / 3)
            if self._wake.wait(pause):
                self._wake.clear()
                continue
            settle()  # what nobody will ever end is not to be kept alive from here
            with self._lock:
                running = tuple(self._running.items())
            for owner, one in running:
                renew = one.store.idem_heartbeat if one.kind == "idempotency" else one.store.lease_heartbeat
                try:
                    if not renew(one.key, owner, one.lease_s):
                        self.end(owner)
                except StoreError:
                    continue  # the next beat may reach it; until then the lease runs
                except Exception:
                    log.exception("A lease could not be renewed.")  # the others must be, all the same


heartbeats = Heartbeats()
