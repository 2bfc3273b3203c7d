"""The machine of one idempotency key: pure, told the time.

    (none) -> in_progress -> done                  the owner says what came of it
                          -> unknown               the owner says that nobody knows, or his lease ends
                          -> (none)                the owner says that nothing was done
              unknown     -> done | (none)         the owner is late, or somebody looked and resolved it

A record is forgotten `ttl_s` after its call ended. Nobody but the owner ends a call that is in progress.
"""

from typing import Any, Literal

from actguard.stores.protocol import (
    Begun,
    Claim,
    Done,
    IdempotencyBegin,
    IdempotencyRecord,
    InProgress,
    Mismatch,
    Unknown,
)

BEGUN = Begun()
LOST = "the process that ran it did not say how it came out"


class IdempotencyMachine(Claim):
    """See the module. A machine whose `until` is over is as good as none; a new one has to be claimed first."""

    __slots__ = ("_ended_by_hand", "_lease_end", "_name", "_ttl_s", "error", "fingerprint", "result", "state", "until")

    state: Literal["new", "in_progress", "done", "unknown"]
    fingerprint: str | None
    result: Any
    error: str
    until: float
    """When it is forgotten."""
    _name: str
    _ttl_s: float
    _lease_end: float
    _ended_by_hand: bool

    def claim(self, owner: str, ttl_s: float, lease_s: float, fingerprint: str | None, now: float) -> None:
        """Begin. *owner* may be without a name, if he is told apart by having been given this machine."""
        self.state = "in_progress"
        self.fingerprint = fingerprint
        self.result = None
        self.error = ""
        self._name = owner
        self._ttl_s = ttl_s
        self._ended_by_hand = False
        self._lease_end = end = now + lease_s
        self.until = end + ttl_s

    @property
    def owner(self) -> str:
        return self._name or f"call-{id(self)}"

    def saved(self) -> tuple[Any, ...]:
        """Everything it knows, for a store that keeps it elsewhere between two questions; see `restored`."""
        return (
            self.state,
            self._name,
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
            machine._name,
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

    def answer(self, step: IdempotencyBegin, now: float) -> InProgress | Done | Unknown | Mismatch:
        """What a further call is told, while this is not over."""
        self.age(now)
        if step.fingerprint is not None and self.fingerprint is not None and step.fingerprint != self.fingerprint:
            return Mismatch()
        if self.state == "done":
            return Done(self.result)
        if self.state == "unknown":
            return Unknown(self.error)
        return InProgress(self._lease_end - now)

    def heartbeat(self, owner: str, lease_s: float, now: float) -> bool:
        self.age(now)
        if self.state != "in_progress" or owner != self.owner:
            return False
        self._lease_end = now + lease_s
        self.until = self._lease_end + self._ttl_s
        return True

    def end(
        self, state: Literal["done", "unknown", "new"], now: float, ttl_s: float, result: Any = None, error: str = ""
    ) -> bool:
        """What the owner says; False when it is not his to say any more."""
        if self._lease_end <= now:
            self.age(now)
        if self._ended_by_hand or self.state not in ("in_progress", "unknown"):
            return False
        self._ended_by_hand = True
        self.state, self.result, self.error = state, result, error
        self.until = now + ttl_s
        return True

    def release(self, owner: str, now: float) -> bool:
        return owner == self.owner and self.end("new", now, 0.0)

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
