"""What a client with a gateway has: the way there, the spool for what could not go, and a courier for both."""

import logging
import os
import sys
import threading
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from actguard.exceptions import ActGuardError, BudgetTransportError
from actguard.runtime.config import Config
from actguard.runtime.courier import Courier
from actguard.runtime.waiting import TooLate, await_for, wait_for
from actguard.transport.answers import Unanswered, too_late
from actguard.transport.gateway import GatewayTransport
from actguard.transport.spool import Entry, Spool, default_root
from actguard.transport.workers import Job, Workers

logger = logging.getLogger("actguard.runtime")

RESERVE = "/api/v1/reserve"
SETTLE = "/api/v1/settle"
EXTEND = "/api/v1/extend"
RELEASE = "/api/v1/release"


class GatewayWarning(UserWarning):
    """The gateway is away, and budgets go on under their local limits."""


class Remote:
    """The gateway, as one client sees it."""

    def __init__(self, config: Config) -> None:
        assert config.gateway_url is not None
        assert config.api_key is not None
        self.config = config
        self.transport = GatewayTransport(
            config.gateway_url,
            config.api_key,
            backoff_base_s=config.backoff_base_ms / 1000,
            backoff_max_s=config.backoff_max_ms / 1000,
            ca_file=config.ca_file,
            debug=config.debug,
        )
        self.transport.load()
        root = Path(config.spool_dir) if config.spool_dir else default_root(os.environ)
        self.spool = Spool(root, config.gateway_url, self.transport.key_id)
        self.workers = Workers()
        self.courier = Courier(self.spool, self.deliver)
        self._warned = False
        self._warning = threading.Lock()

    # ---- requests that somebody waits for ----

    def ask(self, path: str, body: Mapping[str, Any], key: str | None, *, release: str | None = None) -> dict[str, Any]:
        """What the gateway answers, within the deadline for budgets.

        Args:
            release: a reserve id that is given back, should the answer come when nobody waits for it any more.

        Raises:
            ActGuardError: as `GatewayTransport.post`.
        """
        seconds = self.config.budget.timeout_s
        try:
            return wait_for(
                self.workers,
                lambda: self._post(path, body, key),
                seconds,
                self._releasing(release) if release else None,
            )
        except TooLate:
            raise too_late(self.transport.url, seconds) from None

    async def aask(
        self, path: str, body: Mapping[str, Any], key: str | None, *, release: str | None = None
    ) -> dict[str, Any]:
        """`ask` without blocking the event loop."""
        seconds = self.config.budget.timeout_s
        try:
            return await await_for(
                self.workers,
                lambda: self._post(path, body, key),
                seconds,
                self._releasing(release) if release else None,
            )
        except TooLate:
            raise too_late(self.transport.url, seconds) from None

    def _post(self, path: str, body: Mapping[str, Any], key: str | None) -> dict[str, Any]:
        patience = self.config.budget
        return self.transport.post(path, body, key=key, timeout_s=patience.timeout_s, max_retries=patience.max_retries)

    def _releasing(self, reserve_id: str) -> Callable[[object], None]:
        return lambda _: self.release(reserve_id)

    def release(self, reserve_id: str) -> None:
        """Give a hold back that nobody will use; if that fails, it expires."""

        def release() -> None:
            try:
                self._post(RELEASE, {"reserve_id": reserve_id}, f"{reserve_id}:release")
            except ActGuardError as error:
                logger.debug("A hold was not given back, and will expire: %s", error)

        self.workers.start(Job(release))

    # ---- what is owed ----

    def keep(self, key: str, body: Mapping[str, Any]) -> Entry | None:
        """Have a settle on disk before it is sent; None if the disk does not take it, which is said loudly."""
        try:
            return self.spool.keep(key, SETTLE, body)
        except OSError as error:
            logger.error("What was spent could not be kept in %s before it was sent: %s", self.spool.folder, error)
            return None

    def deliver(self, entry: Entry) -> None:
        """Send what was kept earlier, with the patience of the background.

        Raises:
            ActGuardError: as `GatewayTransport.post`.
        """
        self.settle(entry.body, entry.id, background=True)

    def settle(self, body: Mapping[str, Any], key: str, *, background: bool = False) -> dict[str, Any]:
        """Tell what was spent. A hold that the gateway does not know is told as a run it knew nothing of.

        Raises:
            ActGuardError: as `GatewayTransport.post`.
        """
        patience = self.config.events if background else self.config.budget
        retries = 0 if background else patience.max_retries  # the courier comes again
        try:
            return self.transport.post(SETTLE, body, key=key, timeout_s=patience.timeout_s, max_retries=retries)
        except BudgetTransportError as refused:
            if refused.details.get("status") != 404 or body.get("offline"):
                raise
        return self.transport.post(
            SETTLE,
            {**body, "offline": True},
            key=f"{key}:offline",
            timeout_s=patience.timeout_s,
            max_retries=retries,
        )

    def warn_away(self, error: Unanswered) -> None:
        """Say, once per client, that the shared budget is not enforced now."""
        with self._warning:
            if self._warned:
                return
            self._warned = True
        if self.config.on_gateway_error == "closed":
            meanwhile = "What was spent is kept, and delivered later; no guard is entered until the gateway answers."
        else:
            meanwhile = (
                "Budgets go on under their local limits, and what is spent is delivered later. "
                "Client(on_gateway_error='closed') stops instead."
            )
        warnings.warn(
            f"{error.message.rstrip('.')}. {meanwhile}",
            GatewayWarning,
            stacklevel=_level_of_the_program(),
        )

    # ---- its end ----

    def close(self, seconds: float) -> None:
        self.courier.close(seconds)
        self.transport.close()

    def forked(self) -> None:
        """In a forked child: threads stayed behind, connections and the spool are the parent's."""
        self.workers.reset()
        self.transport.forked()
        self.courier.forked()
        self._warning = threading.Lock()


def _level_of_the_program() -> int:
    """How far above the caller the program's own code is: it should be told where in it something happened."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("actguard."):
        level, frame = level + 1, frame.f_back
    return level
