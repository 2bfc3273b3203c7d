"""`concurrency`: so many calls at once."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Any, ClassVar

from actguard.exceptions import ConcurrencyExceeded, ToolGuardError
from actguard.pipeline import settings
from actguard.pipeline.decorate import Decorator
from actguard.pipeline.guard import Ending, Guard, OnStoreError, Part, named, positive, whole
from actguard.pipeline.target import Target
from actguard.stores.protocol import LeaseGive, LeaseTake, NoPlace, Receipt, Refusal
from actguard.stores.store import Store
from actguard.tools.heartbeat import heartbeats
from actguard.tools.owners import new_owner
from actguard.tools.scope import Scope, check_scope, described, key_maker, key_prefix, own_name

_POLL_S = 0.05
_TURN_S = 1.0
"""Who waits with others at a shared store, and has not asked again for so long, has lost his turn."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Concurrency(Decorator):
    """At most *limit* calls at the same time.

    Args:
        limit: how many.
        scope: whom to count apart, as in `rate_limit`.
        name: shares the places between all functions with the same name.
        wait: seconds a call may wait for a place; calls of one process get one in the order in which they came, and so
            do processes that share a store: each is heard in the order in which its first call came. No longer than a
            `timeout` around the call leaves, or one on the same function gives.
        lease_s: a call whose process died frees its place after so many seconds.

    Raises:
        ConcurrencyExceeded: on a call without a place.
    """

    kind: ClassVar[str] = "concurrency"
    safe_store_error: ClassVar[OnStoreError] = "local"

    limit: int
    scope: Scope = None
    name: str | None = None
    wait: float = 0.0
    lease_s: float = 60.0

    def __post_init__(self) -> None:
        Guard.__post_init__(self)
        whole("limit", self.limit)
        check_scope(self.scope)
        if self.name is not None:
            named("name", self.name)
        positive("wait", self.wait, or_zero=True)
        positive("lease_s", self.lease_s)

    def bind(self, target: Target) -> Part[LeaseTake]:
        name = self.name or own_name(target, self.limit, scope=self.scope)
        key = key_maker(target, self.scope, key_prefix(self.kind, name))
        shared = self.store_under(settings.current().store).blocking
        lease_s = float(self.lease_s) if shared else inf  # in memory, no call outlives its place

        waits_s = min(_TURN_S, self.wait) if shared else 0.0  # in memory they wait in a line of their own

        def step(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> LeaseTake:
            return LeaseTake(key(args, kwargs), new_owner(), self.limit, lease_s, False, waits_s)

        def refuse(step: LeaseTake, refusal: Refusal) -> ToolGuardError:
            assert isinstance(refusal, NoPlace)
            return ConcurrencyExceeded(
                tool=target.name, limit=self.limit, retry_after=refusal.retry_after if shared else None
            )

        def started(step: LeaseTake, store: Store | None) -> None:
            if store is not None:
                heartbeats.begin(step.owner, store, "lease", step.key, step.lease_s)

        def report(step: LeaseTake, receipt: Receipt, ending: Ending) -> LeaseGive:
            if shared:
                heartbeats.end(step.owner)
            return LeaseGive(step.key, step.owner)

        return Part(
            guard=self,
            asks="lease",
            step=step,
            refuse=refuse,
            patience=(lambda refusal, left: min(_POLL_S, left) if left > 0 else None) if self.wait else None,
            wait_s=self.wait,
            lined=self.wait > 0,
            started=started if shared else None,
            report=report,
        )

    def explain(self) -> str:
        return f"{self.limit} at once{described(self.scope)}"


concurrency = Concurrency
