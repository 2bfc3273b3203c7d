"""RunBacking: who stands behind the budgets of one run: its client, and the gateway if there is one."""

import math
import os
from typing import TYPE_CHECKING, Any

from actguard.budget.account import Account
from actguard.budget.backing import Ask, Listener, Reservation

if TYPE_CHECKING:
    from actguard.runtime.client import Client


class Unreserved:
    """The reservation of a scope that is nobody's but this program's: no limit but its own."""

    pico = math.inf
    tokens = math.inf

    def __init__(self, listener: Listener | None) -> None:
        self.listener = listener

    def opened(self, account: Account) -> None:
        pass

    def settle(self, error: BaseException | None) -> None:
        pass

    async def asettle(self, error: BaseException | None) -> None:
        pass


class RunBacking:
    """What a client does for one run."""

    def __init__(self, client: "Client", run_id: str, user_id: str | None, emitter: Any) -> None:
        self.client = client
        self.run_id = run_id
        self.user_id = user_id
        self.emitter = emitter
        self.pid = os.getpid()

    def started(self) -> None:
        """The run was entered."""

    def ended(self, error: BaseException | None) -> None:
        """The run was left, with *error*."""

    def plan_key_of(self, scope: Any) -> str | None:
        """The plan that the outermost scope around *scope* was reserved under."""
        return None

    def reserve(self, ask: Ask) -> Reservation:
        return Unreserved(None)

    async def areserve(self, ask: Ask) -> Reservation:
        return Unreserved(None)
