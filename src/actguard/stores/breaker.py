"""The machine of one circuit: pure, told the time.

    closed      every call passes. Failures in a row, or the share of them in a window, open it.
    open        no call passes, until its time is over; the next one that asks finds it half-open.
    half_open   a few probes pass. One failure opens it again, for longer; enough successes close it.
    forced_open, disabled, observe    set by hand, and left by hand: nothing passes; everything passes, uncounted;
                everything passes, and is counted.

Every change of state begins a generation. A call reports the generation that it was admitted in; when that is over,
what it has to say is about another time, and is dropped. A probe that is cancelled gives its place back; one whose
process died loses it when its lease ends.
"""

import itertools
from collections import deque
from math import inf

from actguard.stores.protocol import ANY_GENERATION, BreakerRules, BreakerState, CallOutcome, Circuit, Open, Permit

_BUCKETS = 16
"""A window of failures is kept in so many parts, and forgets one of them at a time."""

_numbers = itertools.count(1)

QUIET = Permit(0, False, True)
"""What a circuit that nothing ever happened to answers."""


class CircuitMachine:
    """See the module."""

    __slots__ = ("_buckets", "_opens", "_probes", "_successes", "_until", "fails", "generation", "state", "until")

    def __init__(self) -> None:
        self.state: BreakerState = "closed"
        self.generation = 0
        self.fails = 0  # in a row, while closed
        self.until = -inf  # when it may be forgotten
        self._until = inf  # when an open circuit becomes half-open
        self._opens = 0  # times in a row that it was opened from half-open
        self._probes: dict[str, float] = {}  # owner -> end of lease
        self._successes = 0  # of probes
        self._buckets: deque[list[float]] = deque()  # [begin, calls, failures]

    def acquire(self, rules: BreakerRules, owner: str, now: float) -> Permit | Open:
        if self.state == "open":
            if now < self._until:
                return Open("open", self._until - now)
            self._enter("half_open", rules, now)
        if self.state == "half_open":
            return self._probe(rules, owner, now)
        if self.state == "forced_open":
            return Open("forced_open", None)
        quiet = self.state == "disabled" or (self.fails == 0 and rules.failure_rate is None)
        return Permit(self.generation, False, quiet)

    def record(
        self,
        rules: BreakerRules,
        owner: str,
        generation: int,
        outcome: CallOutcome,
        now: float,
        open_for: float | None = None,
    ) -> bool:
        if generation not in (self.generation, ANY_GENERATION):
            return False
        if self.state == "half_open":
            return self._probed(rules, owner, outcome, now, open_for)
        if self.state not in ("closed", "observe") or outcome == "neutral":
            return False
        if self.state == "closed":
            self.until = now + rules.idle_s
        self.fails = self.fails + 1 if outcome == "failure" else 0
        if self._too_many(rules, outcome, now, open_for) and self.state == "closed":
            self._open(rules, now, open_for)
        return True

    def force(self, rules: BreakerRules, state: BreakerState, now: float) -> None:
        if state == "open":
            self._opens = 0
            self._open(rules, now, None)
            return
        self._enter(state, rules, now)
        self._opens = 0
        if state in ("forced_open", "disabled", "observe"):
            self.until = inf

    def look(self, rules: BreakerRules, now: float) -> Circuit:
        """As it stands; an open circuit whose time is over reads half-open."""
        state = self.state
        if state == "open" and now >= self._until:
            state = "half_open"
        live = [end for end in self._probes.values() if end > now]
        retry_after = None
        if state == "open":
            retry_after = self._until - now
        elif state == "half_open":
            retry_after = 0.0 if len(live) < rules.half_open_probes else min(live) - now
        return Circuit(state, self.fails, self.generation, retry_after, len(live))

    # ---- half-open ----

    def _probe(self, rules: BreakerRules, owner: str, now: float) -> Permit | Open:
        for prober in [prober for prober, end in self._probes.items() if end <= now]:
            del self._probes[prober]
        if len(self._probes) >= rules.half_open_probes:
            return Open("half_open", min(self._probes.values()) - now)
        name = owner or f"probe-{next(_numbers)}"
        permit = Permit(self.generation, True, False, "" if owner else name)
        # From here on nothing is called, so that no interrupt comes between a probe and its receipt.
        self._probes[name] = now + rules.probe_lease_s
        self.until = now + rules.idle_s
        return permit

    def _probed(
        self, rules: BreakerRules, owner: str, outcome: CallOutcome, now: float, open_for: float | None
    ) -> bool:
        lease = self._probes.pop(owner, None)
        if lease is None or lease <= now:
            return False
        self.until = now + rules.idle_s
        if outcome == "failure":
            self._opens += 1
            self._open(rules, now, open_for)
        elif outcome == "success":
            self._successes += 1
            if self._successes >= rules.successes_to_close:
                self._enter("closed", rules, now)
                self._opens = 0
        return True

    # ---- changes of state ----

    def _too_many(self, rules: BreakerRules, outcome: CallOutcome, now: float, open_for: float | None) -> bool:
        if rules.failure_rate is None:
            return self.fails >= rules.max_fails or (outcome == "failure" and open_for is not None)
        buckets = self._buckets
        while buckets and buckets[0][0] + rules.window <= now:
            buckets.popleft()
        if not buckets or now - buckets[-1][0] >= rules.window / _BUCKETS:
            buckets.append([now, 0, 0])
        buckets[-1][1] += 1
        if outcome != "failure":
            return False
        buckets[-1][2] += 1
        calls = sum(bucket[1] for bucket in buckets)
        failures = sum(bucket[2] for bucket in buckets)
        return open_for is not None or (calls >= rules.min_calls and failures >= rules.failure_rate * calls)

    def _open(self, rules: BreakerRules, now: float, open_for: float | None) -> None:
        longer = rules.reset_timeout * rules.backoff ** min(self._opens, 64)
        until = now + min(longer if open_for is None else open_for, rules.max_open_s)
        self._until = until  # first: an interrupt must not leave a circuit open that never becomes half-open
        self._enter("open", rules, now)

    def _enter(self, state: BreakerState, rules: BreakerRules, now: float) -> None:
        self._buckets.clear()  # first: from here on nothing is called, so that it is all done or nothing
        self.state = state
        self.generation += 1
        self.fails = 0
        self._successes = 0
        self._probes = {}
        self.until = now + rules.idle_s
