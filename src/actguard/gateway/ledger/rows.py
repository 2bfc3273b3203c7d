"""The rows of the ledger: what a store loads before a batch and writes after it."""

from typing import Any, Final, Literal, NamedTuple

from msgspec import Struct, field

Scope = Literal["workspace", "agent", "user", "plan", "balance"]
State = Literal["open", "settled", "released", "expired", "settled_late"]

EACH: Final = "*"
"""As the key of a user budget: every user for himself who has no budget of his own name."""

Id = tuple[int, str]
"""A workspace's number, and an id within it: no row is ever found by its id alone."""


Whose = tuple[int, str, str, str]
"""A workspace, and the agent, the user and the plan within it that a request is made for."""


class CounterKey(NamedTuple):
    """Which counter: a budget's scope in one of its windows. Its order is the order in which stores lock counters."""

    workspace: int
    scope: str
    key: str
    window: str
    start: str


class Counter(Struct):
    """What is held and spent in one window: a cache of ledger rows, checked against them."""

    usd_held: int = 0
    usd_spent: int = 0
    tokens_held: int = 0
    tokens_spent: int = 0


class Budget(Struct, frozen=True):
    """A limit on what a scope may spend in each window. A limit that is None does not limit."""

    workspace: int
    scope: str
    key: str
    """An agent, a user (or `EACH`), a plan; empty for a workspace and its balance."""
    window: str
    usd_limit: int | None = None
    token_limit: int | None = None
    observe: bool = False
    """Counts and tells, but refuses nobody."""


class Hold(Struct):
    """One reservation, from its grant to its end."""

    workspace: int
    reserve_id: str
    agent: str
    run_id: str
    user_id: str
    plan_key: str
    state: str
    usd_limit: int | None
    """What was granted, in total; None where no dollar limit applies."""
    token_limit: int | None
    usd_held: int
    """What is held now: nothing, once the hold has ended."""
    tokens_held: int
    usd_spent: int
    tokens_spent: int
    usd_released: int
    ttl: int
    created_at: int
    expires_at: int
    ended_at: int | None
    fingerprint: str | None
    """What a request without an id of its own is known again by, while the hold is open."""
    reserve_hash: str
    settle_hash: str
    shares: int
    """How many requests were given this hold; more than one only through `fingerprint`."""
    settles: int
    seqs: list[int]
    """The partial settles that were charged, as pairs of first and last number."""
    counters: list[CounterKey]
    """On which budgets it is held."""


class Entry(Struct, frozen=True):
    """One transition of one hold. Written once, never changed."""

    workspace: int
    reserve_id: str
    op: str
    """`reserved`, `extended`, `renewed`, `charged` (a part), `settled`, `settled_late`, `released`, `expired`."""
    at: int
    usd_held: int = 0
    """By how much this changed what is held and spent, on every counter of the hold."""
    usd_spent: int = 0
    tokens_held: int = 0
    tokens_spent: int = 0
    usd_overrun: int = 0
    client_usd: int | None = None
    """What the client says it cost, where it says so."""
    usage: str = ""
    """The lines of the bill as JSON, each with what it was charged."""


class Answer(Struct, frozen=True):
    """What was said to a request with an idempotency key."""

    workspace: int
    key: str
    hash: str
    status: int
    body: bytes
    at: int


class Working(Struct):
    """The rows that a batch of operations works on: loaded before, written after, and nothing else."""

    now: int
    zones: dict[int, str] = field(default_factory=lambda: dict[int, str]())
    budgets: dict[tuple[int, str, str], list[Budget]] = field(
        default_factory=lambda: dict[tuple[int, str, str], list[Budget]]()
    )
    holds: dict[Id, Hold] = field(default_factory=lambda: dict[Id, Hold]())
    fingerprints: dict[Id, str] = field(default_factory=lambda: dict[Id, str]())
    answers: dict[Id, Answer] = field(default_factory=lambda: dict[Id, Answer]())
    counters: dict[CounterKey, Counter] = field(default_factory=lambda: dict[CounterKey, Counter]())

    applied: dict[Whose, list[Any]] = field(default_factory=lambda: dict[Whose, list[Any]]())
    """The budgets found for an agent, a user and a plan: the same ones are asked for again and again."""

    new_holds: dict[Id, Hold] = field(default_factory=lambda: dict[Id, Hold]())
    changed_holds: dict[Id, Hold] = field(default_factory=lambda: dict[Id, Hold]())
    changed_counters: dict[CounterKey, Counter] = field(default_factory=lambda: dict[CounterKey, Counter]())
    new_answers: dict[Id, Answer] = field(default_factory=lambda: dict[Id, Answer]())
    entries: list[Entry] = field(default_factory=lambda: list[Entry]())
