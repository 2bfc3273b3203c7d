"""The rows of the ledger: what a store loads before a batch and writes after it."""

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from msgspec import Struct

from actguard.gateway.ledger.windows import Window

Scope = Literal["workspace", "agent", "user", "plan", "balance"]
State = Literal["open", "settled", "released", "expired", "settled_late"]

EACH: Final = "*"
"""As the key of a user budget: every user for himself who has no budget of his own name."""

RESERVE_KEYED: Final = 1
SETTLE_KEYED: Final = 2
SETTLE_KEY: Final = ":final"
"""A client's own keys: a hold's id for its reserve, and this after it for its settle. The hold remembers them."""

Id = tuple[int, str]
"""A workspace's number, and an id within it: no row is ever found by its id alone."""


Whose = tuple[int, str, str, str]
"""A workspace, and the agent, the user and the plan within it that a request is made for."""


class CounterKey(NamedTuple):
    """Which counter: a budget's scope in one of its windows."""

    workspace: int
    scope: str
    key: str
    window: str
    start: str


@dataclass(slots=True)
class Counter:
    """What is held and spent in one window: a cache of ledger rows, checked against them."""

    number: int
    """By which holds name it. Stores lock counters in the order of their numbers."""
    key: CounterKey
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


class Applied(NamedTuple):
    """A budget that applies to a request, and its counter in the present window."""

    budget: Budget
    window: Window
    key: CounterKey


class Hold(Struct, gc=False):
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
    tariff_version: str
    counters: tuple[int, ...]
    """On which budgets it is held: the numbers of their counters."""
    settle_hash: str = ""
    keyed: int = 0
    """Which requests this row remembers the idempotency keys of: `RESERVE_KEYED`, `SETTLE_KEYED`."""
    shares: int = 1
    """How many requests were given this hold; more than one only through `fingerprint`."""
    settles: int = 0
    seqs: tuple[int, ...] = ()
    """The partial settles that were charged, as pairs of first and last number."""


Entry = tuple[int, str, str, int, int, int, int, int, int, int | None, str]
"""One transition of one hold, written once and never changed: workspace, reserve_id, op, at; by how much it changed
usd_held, usd_spent, tokens_held and tokens_spent on every counter of the hold; usd_overrun; client_usd, what the client
says it cost, where it says so; and usage, the lines of the bill as JSON, each with what it was charged. op is one of
`reserved`, `extended`, `renewed`, `charged` (a part), `settled`, `settled_late`, `released`, `expired`; and
`would_block`, which changes nothing: its usage says which budget would have refused, did it not only observe."""


class Answer(Struct, frozen=True):
    """What was said to a request with an idempotency key."""

    workspace: int
    key: str
    hash: str
    status: int
    body: bytes
    at: int


class Place(NamedTuple):
    """The budgets of an agent, a user and a plan, and the counters of each in the same order."""

    applied: list[Applied]
    counters: list[Counter]
    numbers: tuple[int, ...]
    observing: list[tuple[Applied, Counter]]
    """Those of the budgets that refuse nobody."""


class Working(Struct):
    """The rows that a batch of operations works on: loaded before, written after, and nothing else."""

    now: int
    zones: dict[int, str] = {}
    budgets: dict[tuple[int, str, str], list[Budget]] = {}
    holds: dict[Id, Hold] = {}
    fingerprints: dict[Id, str] = {}
    answers: dict[Id, Answer] = {}
    counters: dict[int, Counter] = {}
    places: dict[Whose, Place] = {}
    """What was found for an agent, a user and a plan: the same ones are asked for again and again."""

    new_holds: dict[Id, Hold] = {}
    """As they were granted; those that have changed since are in `changed_holds` too."""
    changed_holds: dict[Id, Hold] = {}
    """In any way."""
    ended_holds: dict[Id, Hold] = {}
    """In no other way than that they ended, or that more was charged after their end."""
    changed_counters: dict[int, Counter] = {}
    new_answers: dict[Id, Answer] = {}
    entries: list[Entry] = []
