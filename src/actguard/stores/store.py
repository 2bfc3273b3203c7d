"""The place where guards keep their state, for threads and for event loops; what it is asked is in `protocol.py`."""

from collections.abc import Sequence
from typing import Literal, Protocol, runtime_checkable

from actguard.stores.protocol import (
    Admitted,
    BreakerRules,
    BreakerState,
    Circuit,
    Done,
    IdempotencyRecord,
    Kind,
    Refused,
    Report,
    Step,
)


class _Common(Protocol):
    serialises: bool
    """Results are given and returned as text (the guard's codec makes it); False: objects are kept as they are."""

    blocking: bool
    """Its calls may wait for I/O, so they are not made on an event loop."""


@runtime_checkable
class Store(_Common, Protocol):
    """Guard state, synchronous. Every method is atomic and may be called from any thread."""

    aio: "AsyncStore | None"
    """The same state for event loops; None: a store that does not block is called directly, another one in a thread."""

    def admit(self, steps: Sequence[Step]) -> Admitted | Refused: ...

    def finish(self, reports: Sequence[Report]) -> tuple[bool, ...]:
        """Carry out every report, each whatever the others do; True for those that had an effect.

        Sending one twice is safe for all but `CounterGive` and `BreakerRecord` without a probe.
        """
        ...

    def idem_heartbeat(self, key: str, owner: str, lease_s: float) -> bool:
        """Renew the lease of a record IN_PROGRESS; False when *owner* does not hold it any more."""
        ...

    def lease_heartbeat(self, key: str, owner: str, lease_s: float) -> bool:
        """Renew a lease; False when it is over."""
        ...

    def circuit(self, key: str, rules: BreakerRules) -> Circuit:
        """The circuit at *key*, looked at without changing it."""
        ...

    def force_circuit(self, key: str, rules: BreakerRules, state: BreakerState) -> None:
        """Put a circuit into *state* by hand; forced_open, disabled and observe last until the next time."""
        ...

    def list_idempotency(
        self, prefix: str = "", *, state: Literal["in_progress", "done", "unknown"] | None = None, limit: int = 100
    ) -> list[IdempotencyRecord]:
        """Records whose key starts with *prefix*, in no order."""
        ...

    def resolve_idempotency(self, key: str, outcome: Done | None, *, ttl_s: float) -> bool:
        """Say what became of an UNKNOWN record: `Done(result)`, or None: it was never executed, and the key is free.
        False when the record is not UNKNOWN."""
        ...

    def forget(self, kind: Kind, prefix: str) -> int:
        """Remove everything of *kind* whose key starts with *prefix*; how much that was."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class AsyncStore(_Common, Protocol):
    """`Store`, for one event loop at a time or for many: as each says."""

    async def admit(self, steps: Sequence[Step]) -> Admitted | Refused: ...
    async def finish(self, reports: Sequence[Report]) -> tuple[bool, ...]: ...
    async def idem_heartbeat(self, key: str, owner: str, lease_s: float) -> bool: ...
    async def lease_heartbeat(self, key: str, owner: str, lease_s: float) -> bool: ...
    async def circuit(self, key: str, rules: BreakerRules) -> Circuit: ...
    async def force_circuit(self, key: str, rules: BreakerRules, state: BreakerState) -> None: ...
    async def list_idempotency(
        self, prefix: str = "", *, state: Literal["in_progress", "done", "unknown"] | None = None, limit: int = 100
    ) -> list[IdempotencyRecord]: ...
    async def resolve_idempotency(self, key: str, outcome: Done | None, *, ttl_s: float) -> bool: ...
    async def forget(self, kind: Kind, prefix: str) -> int: ...
    async def aclose(self) -> None: ...
