"""An idempotency key against the plainest telling of its rules."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from actguard.stores.idempotency import LOST
from actguard.stores.memory import MemoryStore
from actguard.stores.protocol import (
    Begun,
    Done,
    IdempotencyBegin,
    IdempotencyDone,
    IdempotencyLost,
    IdempotencyRelease,
    InProgress,
    Mismatch,
    Unknown,
)

OWNERS = st.sampled_from(["ann", "bob"])
TTL, LEASE = 20.0, 6.0


class Key(RuleBasedStateMachine):
    """One key, two who want it. `executions` are the bodies that ran: never one more without somebody's leave."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.store = MemoryStore(clock=lambda: self.now)
        self.state, self.owner, self.fingerprint = "none", "", None
        self.value = ""
        self.ends = 0.0
        self.lease = 0.0
        self.said = False  # the owner, or somebody who looked, has said how it came out

    def age(self) -> None:
        if self.state != "none" and self.ends <= self.now:
            self.state = "none"
        if self.state == "in_progress" and self.lease <= self.now:
            self.state, self.value = "unknown", LOST

    @rule(seconds=st.integers(0, 30).map(lambda halves: halves / 2))
    def time_passes(self, seconds):
        self.now += seconds

    @rule(owner=OWNERS, fingerprint=st.sampled_from([None, "x", "y"]))
    def begin(self, owner, fingerprint):
        self.age()
        verdict = self.store.admit([IdempotencyBegin("k", owner, TTL, LEASE, fingerprint)])
        answer = verdict.receipts[0] if hasattr(verdict, "receipts") else verdict.refusal
        if self.state == "none":
            assert answer == Begun()
            self.state, self.owner, self.fingerprint, self.said = "in_progress", owner, fingerprint, False
            self.lease = self.now + LEASE
            self.ends = self.lease + TTL
        elif None not in (fingerprint, self.fingerprint) and fingerprint != self.fingerprint:
            assert answer == Mismatch()
        elif self.state == "in_progress":
            assert answer == InProgress(self.lease - self.now)
        else:
            assert answer == (Done(self.value) if self.state == "done" else Unknown(self.value))

    def may(self, owner) -> bool:
        self.age()
        return self.owner == owner and self.state in ("in_progress", "unknown") and not self.said

    @rule(owner=OWNERS, result=st.integers(0, 3))
    def succeed(self, owner, result):
        may = self.may(owner)
        assert self.store.finish([IdempotencyDone("k", owner, TTL, result)]) == (may,)
        if may:
            self.state, self.value, self.said, self.ends = "done", result, True, self.now + TTL

    @rule(owner=OWNERS)
    def lose(self, owner):
        may = self.may(owner)
        assert self.store.finish([IdempotencyLost("k", owner, TTL, "ValueError")]) == (may,)
        if may:
            self.state, self.value, self.said, self.ends = "unknown", "ValueError", True, self.now + TTL

    @rule(owner=OWNERS)
    def release(self, owner):
        may = self.may(owner)
        assert self.store.finish([IdempotencyRelease("k", owner)]) == (may,)
        if may:
            self.state = "none"

    @rule(owner=OWNERS)
    def heartbeat(self, owner):
        self.age()
        alive = self.state == "in_progress" and owner == self.owner
        assert self.store.idem_heartbeat("k", owner, LEASE) == alive
        if alive:
            self.lease = self.now + LEASE
            self.ends = self.lease + TTL

    @rule(outcome=st.sampled_from([None, Done("found")]))
    def resolve(self, outcome):
        self.age()
        unknown = self.state == "unknown"
        assert self.store.resolve_idempotency("k", outcome, ttl_s=TTL) == unknown
        if unknown:
            self.said = True
            self.state = "none" if outcome is None else "done"
            self.value, self.ends = "found", self.now + TTL

    @invariant()
    def they_agree(self):
        self.age()
        records = self.store.list_idempotency()
        assert [record.state for record in records] == ([] if self.state == "none" else [self.state])


TestKey = Key.TestCase
TestKey.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
