"""What is said to a store about facts: what a session knows, and what a call asks of it.

A fact is a kind and a value, both opaque strings. It holds while at least one proof of it is alive; a proof says who
proved it (`source`), how far that is to be trusted, in which records it stood, until when, and for how many uses.

    facts_put        a read adds proofs; the same proof again renews the old one
    facts_check      one call asks for everything it needs; all of it is granted and charged, or nothing is
    facts_give_back  the call was refused further in: what it was charged returns, unless revoked or ended since
    facts_revoke     proofs go before their time
    facts_list       what is alive now, for people and for rules that look for secrets
    facts_end        the session is over: everything goes

Time is the store's own, in seconds; amounts are integers, so that sums are exact (and below 2**53, for Redis).
`FactMachine` (fact_machine.py) is the whole behaviour; a store runs it under a lock, or does the same elsewhere.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

Key = tuple[str, str]
"""A fact: its kind, and its value in the form that `actguard.custody.values.encode` gives it."""

Refused = Literal["unknown", "source", "trust", "age", "used", "record", "present"]

UNLIMITED = -1
MOST_PROOFS = 64
"""Proofs kept of one fact; the one that would end first makes room. Losing a proof can only refuse a call."""


class Fact(NamedTuple):
    """A proof, as a read hands it in."""

    key: Key
    ttl: float
    """Seconds from now."""
    trust: int = 1
    """0 free text, 1 a field of a reply, 2 the user."""
    source: str = ""
    """The tool it comes from."""
    records: tuple[str, ...] = ()
    """The records it stood in; facts that share one belong together."""
    uses: int = UNLIMITED


class Need(NamedTuple):
    """What a call asks of one fact. A proof must meet all of it by itself."""

    key: Key
    min_trust: int = 0
    max_age: float | None = None
    """Seconds since the read, at most."""
    sources: tuple[str, ...] = ()
    """Tools that may have proved it; empty: any."""
    consume: bool = False
    """Use the fact up, whatever uses its proofs have left."""
    group: int | None = None
    """Needs of one group must be met by proofs that share a record."""
    absent: bool = False
    """The fact must not be known; the rest is ignored."""


class Spend(NamedTuple):
    """An amount that the call adds to a sum; refused when the sum of the last *period* seconds would pass *total*."""

    key: str
    amount: int
    period: float
    total: int


class Charge(NamedTuple):
    """Uses that were taken from one proof. *uses* is what it had before when the proof was used up, else 1."""

    key: Key
    proof: str
    uses: int
    used_up: bool


class Receipt(NamedTuple):
    """What an admitted call was charged: what `facts_give_back` needs."""

    charges: tuple[Charge, ...] = ()
    spends: tuple[Spend, ...] = ()


class Verdict(NamedTuple):
    """The answer to one call. It was charged if *receipt* is not None."""

    needs: tuple[Refused | None, ...]
    """For each need in order: None, or why it is not met."""
    spends: tuple[int, ...]
    """For each spend in order: the sum before it."""
    receipt: Receipt | None


class Known(NamedTuple):
    """A proof that is alive, for people to look at."""

    key: Key
    trust: int
    source: str
    records: tuple[str, ...]
    age: float
    expires_in: float
    uses: int


class FactStore(Protocol):
    """The store of sessions. *session* is an opaque, unique name. Every operation is atomic."""

    def facts_put(self, session: str, facts: Sequence[Fact]) -> None: ...

    def facts_check(
        self, session: str, needs: Sequence[Need], spends: Sequence[Spend] = (), *, commit: bool = True
    ) -> Verdict:
        """Look at all needs and spends; with *commit*, charge them all if all are met."""
        ...

    def facts_give_back(self, session: str, receipt: Receipt) -> None: ...

    def facts_revoke(self, session: str, kind: str, value: str | None = None) -> int:
        """Forget one fact, or with value=None all of a kind. How many were known."""
        ...

    def facts_list(self, session: str, kinds: Sequence[str] = ()) -> list[Known]:
        """What is alive, of all kinds if none is named."""
        ...

    def facts_end(self, session: str) -> None: ...


class AsyncFactStore(Protocol):
    """The same for event loops: what the `aio` of a store is, where it does I/O."""

    async def facts_put(self, session: str, facts: Sequence[Fact]) -> None: ...

    async def facts_check(
        self, session: str, needs: Sequence[Need], spends: Sequence[Spend] = (), *, commit: bool = True
    ) -> Verdict: ...

    async def facts_give_back(self, session: str, receipt: Receipt) -> None: ...

    async def facts_revoke(self, session: str, kind: str, value: str | None = None) -> int: ...

    async def facts_list(self, session: str, kinds: Sequence[str] = ()) -> list[Known]: ...

    async def facts_end(self, session: str) -> None: ...
