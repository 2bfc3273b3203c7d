"""The machine of one idempotency key: pure, told the time.

    (none) -> in_progress -> done                  the owner says what came of it
                          -> unknown               the owner says that nobody knows, or his lease ends
                          -> (none)                the owner says that nothing was done
              unknown     -> done | (none)         the owner is late, or somebody looked and resolved it

A record is forgotten `ttl_s` after its call ended. Nobody but the owner ends a call that is in progress.
"""

import itertools
from math import inf
from typing import Any, Literal

from actguard.stores.protocol import (
    Begun,
    Done,
    IdempotencyBegin,
    IdempotencyRecord,
    InProgress,
    Mismatch,
    Unknown,
    fast_new,
)

_BEGUN = Begun()
_numbers = itertools.count(1)
LOST = "the process that ran it did not say how it came out"


class IdempotencyMachine:
    """See the module. A machine that is `over` is as good as none."""

    __slots__ = ("_ended_by_hand", "_lease_end", "_ttl_s", "error", "fingerprint", "owner", "result", "state", "until")

    fingerprint: str | None
    result: Any
    error: str
    _lease_end: float
    _ttl_s: float
    _ended_by_hand: bool

    def __init__(self) -> None:  # the rest is set by `start`
        self.state: Literal["new", "in_progress", "done", "unknown"] = "new"
        self.owner = ""
        self.until = inf  # when it is forgotten

    def saved(self) -> tuple[Any, ...]:
        """Everything it knows, for a store that keeps it elsewhere between two questions; see `restored`."""
        return (
            self.state,
            self.owner,
            self.fingerprint,
            self.result,
            self.error,
            self.until,
            self._lease_end,
            self._ttl_s,
            int(self._ended_by_hand),
        )

    @classmethod
    def restored(cls, saved: tuple[Any, ...]) -> "IdempotencyMachine":
        machine = cls()
        (
            machine.state,
            machine.owner,
            machine.fingerprint,
            machine.result,
            machine.error,
            machine.until,
            machine._lease_end,
            machine._ttl_s,
            ended,
        ) = saved
        machine._ended_by_hand = bool(ended)
        return machine

    def begin(self, step: IdempotencyBegin, now: float) -> Begun | InProgress | Done | Unknown | Mismatch:
        if self.until <= now or self.state != "new":
            self.age(now)
        if self.state == "new":
            return self.start(step.owner, step.ttl_s, step.lease_s, step.fingerprint, now)
        if step.fingerprint is not None and self.fingerprint is not None and step.fingerprint != self.fingerprint:
            return Mismatch()
        if self.state == "done":
            return Done(self.result)
        if self.state == "unknown":
            return Unknown(self.error)
        return InProgress(self._lease_end - now)

    def start(self, owner: str, ttl_s: float, lease_s: float, fingerprint: str | None, now: float) -> Begun:
        """`begin` where there is nothing so far."""
        self.state, self.fingerprint, self._ttl_s = "in_progress", fingerprint, ttl_s
        self.result, self.error, self._ended_by_hand = None, "", False
        self._lease_end = now + lease_s
        self.until = self._lease_end + ttl_s
        if owner:
            self.owner = owner
            return _BEGUN
        self.owner = f"call-{next(_numbers)}"
        return fast_new(Begun, (self.owner,))  # type: ignore[no-any-return]

    def heartbeat(self, owner: str, lease_s: float, now: float) -> bool:
        self.age(now)
        if self.state != "in_progress" or owner != self.owner:
            return False
        self._lease_end = now + lease_s
        self.until = self._lease_end + self._ttl_s
        return True

    def end(
        self,
        owner: str,
        state: Literal["done", "unknown", "new"],
        now: float,
        ttl_s: float,
        result: Any = None,
        error: str = "",
    ) -> bool:
        if self.until <= now or self._lease_end <= now:
            self.age(now)
        if self.owner != owner or self._ended_by_hand or self.state not in ("in_progress", "unknown"):
            return False
        self._ended_by_hand = True
        self.state, self.result, self.error = state, result, error
        self.until = now + ttl_s
        return True

    def release(self, owner: str, now: float) -> bool:
        return self.end(owner, "new", now, 0.0)

    def resolve(self, outcome: Done | None, now: float, ttl_s: float) -> bool:
        self.age(now)
        if self.state != "unknown":
            return False
        self._ended_by_hand = True
        if outcome is None:
            self.state, self.until = "new", now
        else:
            self.state, self.result, self.error, self.until = "done", outcome.result, "", now + ttl_s
        return True

    def look(self, key: str, now: float) -> IdempotencyRecord | None:
        self.age(now)
        if self.state == "new":
            return None
        return IdempotencyRecord(key, self.state, self.owner, self.fingerprint, self.result, self.error)

    def age(self, now: float) -> None:
        """Let the time do its work: a lease that is over, a record that is forgotten."""
        if self.until <= now:
            self.state = "new"
        elif self.state == "in_progress" and self._lease_end <= now:
            self.state, self.error = "unknown", LOST
