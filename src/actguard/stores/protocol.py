"""What a guard asks of the place where its state lives: a few atomic operations, shaped like the guards themselves.

A call of a guarded function costs at most two requests, whatever guards it has:

    admit(steps)      before the body: one step per guard, in the pipeline's order, all or nothing. At the first step
                      that refuses, what earlier steps took is given back within the same atomic operation.
    finish(reports)   after it: what must be written down. Empty, and then not called at all, when nothing must be.

Time is the store's own: monotonic in memory, the server's clock in Redis. Callers pass and get durations, never
instants. Keys are finished strings (`stores/keys.py`); a store may put something in front of them, and keeps kinds
apart: the key of a rate may be the key of a counter as well.

When the process that was admitted dies before it finishes, each kind says what is left:

    rate         the call stays counted for its period
    breaker      a probe's place is free again after `probe_lease_s`; a call in a closed circuit leaves nothing
    counter      the attempt stays counted
    idempotency  after `lease_s` without a heartbeat the record reads UNKNOWN: it is never run again by itself
    lease        the place is free again after `lease_s` without a heartbeat

A store that cannot answer raises `StoreUnavailableError` and nothing else; what then happens is the guard's
`on_store_error`. With `reason=REFUSED` it says that it is there, and cannot do this one thing. If an `admit` may have
been carried out without its answer arriving, a store undoes nothing: the rules above apply, as if the process had died.
A store that is full of keys that still matter refuses: it raises `StoreFullError`, it never forgets.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeAlias

fast_new: Callable[..., Any] = tuple.__new__  # pyright: ignore
"""`fast_new(Cls, fields)`: a NamedTuple made without its own constructor, in half the time. All fields, in order."""

REFUSED = "refused"

# ---- steps: what is asked before a call ---------------------------------------------------------------------------

Algorithm = Literal["sliding", "gcra", "fixed"]


class Limit(NamedTuple):
    """At most *max_calls* in *period* seconds.

    sliding: in no window of *period*, wherever it begins, are there more than *max_calls*. Exact up to 1024 calls;
        above, calls that start within `period / 1024` of each other may be kept as one entry that ages with its
        youngest call: a place may become free that much late, never early.
    gcra: *burst* at once (None: *max_calls*), then one every `period / max_calls` seconds.
    fixed: windows that start at whole multiples of *period* on the store's clock.
    """

    max_calls: int
    period: float
    algorithm: Algorithm = "sliding"
    burst: int | None = None


class RateTake(NamedTuple):
    """Take *cost* calls from every one of *limits*, or from none. -> `Taken` | `OverLimit`"""

    key: str
    limits: tuple[Limit, ...]
    cost: int = 1
    observe: bool = False
    """Observe: a refusal is the step's receipt, and does not stop the call; nothing was taken."""


class BreakerRules(NamedTuple):
    """When a circuit opens, and how it closes; see `stores/breaker.py` for the rules in full.

    *max_fails* failures in a row open it, or, if *failure_rate* is given, that share of failures among the calls of the
    last *window* seconds, once there were *min_calls*. It stays open for *reset_timeout* seconds, times *backoff* for
    every time in a row that it was opened from half-open, but at most *max_open_s*. Then *half_open_probes* calls at
    once may try; *successes_to_close* of them close it, one failure opens it. A circuit is forgotten after *idle_s*.
    """

    max_fails: int = 3
    reset_timeout: float = 60.0
    failure_rate: float | None = None
    window: float = 60.0
    min_calls: int = 10
    half_open_probes: int = 1
    successes_to_close: int = 1
    backoff: float = 1.0
    max_open_s: float = 3600.0
    probe_lease_s: float = 60.0
    idle_s: float = 86_400.0


class BreakerAcquire(NamedTuple):
    """Ask whether the circuit lets a call pass. -> `Permit` | `Open`"""

    key: str
    rules: BreakerRules
    owner: str = ""
    """Names the probe, if it becomes one."""
    observe: bool = False


class CounterTake(NamedTuple):
    """Count one use, up to *limit*; forgotten *ttl_s* seconds after the last one. -> `Counted` | `UsedUp`"""

    key: str
    limit: int
    ttl_s: float
    observe: bool = False


class IdempotencyBegin(NamedTuple):
    """Claim *key* for *owner*. -> `Begun` (or a `Claim`) | `InProgress` | `Done` | `Unknown` | `Mismatch`

    No record, or one that is older than its `ttl_s`: IN_PROGRESS(owner) is written, `Begun`. Another *fingerprint* than
    the record's (neither of them None): `Mismatch`, whatever the record's state. IN_PROGRESS whose lease is over reads
    UNKNOWN from then on. *ttl_s* runs from the end of the call (for a lost one: from the end of its lease).
    *owner* is any name that nobody else has; a store in memory needs none, and then answers with a `Claim`.
    """

    key: str
    owner: str
    ttl_s: float
    lease_s: float
    fingerprint: str | None = None
    observe: bool = False


class LeaseTake(NamedTuple):
    """Take one of *limit* places for *owner*, for *lease_s* seconds from now or from its last heartbeat.
    -> `Leased` | `NoPlace`

    *waits_s*: if there is none, *owner* will ask again within so many seconds, and until then has his turn before
    everybody who came later. `LeaseGive` ends that as well.
    """

    key: str
    owner: str
    limit: int
    lease_s: float
    observe: bool = False
    waits_s: float = 0.0


Step: TypeAlias = RateTake | BreakerAcquire | CounterTake | IdempotencyBegin | LeaseTake

# ---- what a step answers ------------------------------------------------------------------------------------------


class Taken(NamedTuple):
    """token: names what was taken, for `RateGive`. remaining: calls left in the tightest limit."""

    token: Any
    remaining: int


class Permit(NamedTuple):
    """generation: of the circuit; a report of another generation is dropped. probe: this call is one.

    quiet: the circuit is closed, counts failures in a row, and has none: a success needs no report. owner: the probe's
    name, where a step without one left it to the store (a store in memory allows that).
    """

    generation: int
    probe: bool = False
    quiet: bool = False
    owner: str = ""


class Counted(NamedTuple):
    used: int


class Begun(NamedTuple):
    pass


class Claim:
    """What a store in this process answers instead of `Begun` to a step without an owner: who was given it is he."""

    __slots__ = ()

    @property
    def owner(self) -> str:
        """The name by which reports know him."""
        raise NotImplementedError


class Leased(NamedTuple):
    pass


class Unguarded(NamedTuple):
    """The store did not answer, and the guard is `on_store_error="open"`: nothing was asked, nothing is to be reported.
    Never a store's answer, only that of `stores/fallback.py`."""


class OverLimit(NamedTuple):
    """limit: the first of the step's limits that has no room. retry_after: seconds until it has (> 0)."""

    limit: int
    remaining: int
    retry_after: float


class Open(NamedTuple):
    """retry_after: seconds until a probe may pass, at the latest; None: forced open."""

    state: Literal["open", "half_open", "forced_open"]
    retry_after: float | None


class UsedUp(NamedTuple):
    """used: never above the limit. refused: how often it was asked in vain, this time included."""

    used: int
    refused: int


class InProgress(NamedTuple):
    """retry_after: seconds until the holder's lease ends."""

    retry_after: float


class Done(NamedTuple):
    """result: as it was given to `IdempotencyDone` (stores with `serialises` keep and return text)."""

    result: Any


class Unknown(NamedTuple):
    """error: why nobody knows whether it was done."""

    error: str


class Mismatch(NamedTuple):
    """The key was used with other arguments."""


class NoPlace(NamedTuple):
    """retry_after: seconds until the first lease, or turn, ends, at the latest."""

    retry_after: float


Receipt: TypeAlias = Taken | Permit | Counted | Begun | Claim | Leased | Unguarded
Refusal: TypeAlias = OverLimit | Open | UsedUp | InProgress | Done | Unknown | Mismatch | NoPlace


class Admitted(NamedTuple):
    """One receipt per step; of an observed step that would have refused, its refusal."""

    receipts: tuple[Receipt | Refusal, ...]


class Refused(NamedTuple):
    """The step that refused, and why. Nothing of any step is held any more (a `UsedUp` counts the refusal)."""

    step: int
    refusal: Refusal


# ---- reports: what is written after a call ------------------------------------------------------------------------

CallOutcome = Literal["success", "failure", "neutral"]


ANY_GENERATION = -1
"""Of whoever does not know in which one he was admitted, if he was."""


class BreakerRecord(NamedTuple):
    """How an admitted call came out. False when *generation* is over and it was dropped.

    neutral: says nothing about the dependency; only frees a probe's place. *open_for*: with a failure, open now, for
    that many seconds (the dependency said when to come back).
    """

    key: str
    rules: BreakerRules
    owner: str
    generation: int
    outcome: CallOutcome
    open_for: float | None = None


class RateGive(NamedTuple):
    """Give back what `Taken.token` names: the call is not to count. False when it has aged out."""

    key: str
    limits: tuple[Limit, ...]
    token: Any
    cost: int = 1


class CounterGive(NamedTuple):
    """Take one use back. False when the counter is gone."""

    key: str


class CounterSeen(NamedTuple):
    """A counted use came out as *mark*. If the one before came out otherwise, it is the first use again: True."""

    key: str
    mark: str


class IdempotencyDone(NamedTuple):
    """Write DONE(result). Only *owner* may, and only while the record is IN_PROGRESS, or UNKNOWN because his lease
    ended; False otherwise."""

    key: str
    owner: str
    ttl_s: float
    result: Any


class IdempotencyLost(NamedTuple):
    """Write UNKNOWN(error). Only *owner* may, as above."""

    key: str
    owner: str
    ttl_s: float
    error: str


class IdempotencyRelease(NamedTuple):
    """Remove the record: nothing was done. Only *owner* may, as above."""

    key: str
    owner: str


class LeaseGive(NamedTuple):
    """Free the place. False when the lease was over."""

    key: str
    owner: str


Report: TypeAlias = (
    BreakerRecord
    | RateGive
    | CounterGive
    | CounterSeen
    | IdempotencyDone
    | IdempotencyLost
    | IdempotencyRelease
    | LeaseGive
)

# ---- looking, and putting right -----------------------------------------------------------------------------------

Kind = Literal["rate", "breaker", "counter", "idempotency", "lease"]
BreakerState = Literal["closed", "open", "half_open", "forced_open", "disabled", "observe"]
"""disabled: everything passes, nothing is counted. observe: everything passes, and is counted (`seen_open`)."""


class Circuit(NamedTuple):
    """A circuit as it stands."""

    state: BreakerState
    fails: int
    generation: int
    retry_after: float | None
    probes: int


class IdempotencyRecord(NamedTuple):
    """A record as it stands. `result` for "done", `error` for "unknown"."""

    key: str
    state: Literal["in_progress", "done", "unknown"]
    owner: str
    fingerprint: str | None
    result: Any = None
    error: str = ""
