"""Giving back what a step took: one answer for every kind, within a store's `admit` and for a pipeline."""

from actguard.stores.protocol import (
    Begun,
    BreakerAcquire,
    BreakerRecord,
    Claim,
    Counted,
    CounterGive,
    CounterTake,
    Done,
    IdempotencyBegin,
    IdempotencyRelease,
    InProgress,
    Kind,
    Leased,
    LeaseGive,
    LeaseTake,
    Mismatch,
    NoPlace,
    Open,
    OverLimit,
    Permit,
    RateGive,
    RateTake,
    Receipt,
    Refusal,
    Report,
    Step,
    Taken,
    Unknown,
    UsedUp,
)

TYPE_OF: dict[Kind, type] = {
    "rate": RateTake,
    "breaker": BreakerAcquire,
    "counter": CounterTake,
    "idempotency": IdempotencyBegin,
    "lease": LeaseTake,
}
REFUSALS: frozenset[type] = frozenset({OverLimit, Open, UsedUp, InProgress, Done, Unknown, Mismatch, NoPlace})


def holds(receipt: Receipt | Refusal) -> bool:
    """Whether who was given *receipt* holds something that others wait for."""
    return isinstance(receipt, Leased | Begun | Claim) or (isinstance(receipt, Permit) and receipt.probe)


def unmade(step: Step, now: float) -> Receipt:
    """The receipt of *step*, which took something at *now*, where nobody wanted one."""
    return Taken(now, 0) if isinstance(step, RateTake) else Counted(0)


def undoing(step: Step, receipt: Receipt | Refusal) -> Report | None:
    """What takes *step* back, of which *receipt* was the answer; None when it took nothing."""
    match step, receipt:
        case RateTake(), Taken():
            return RateGive(step.key, step.limits, receipt.token, step.cost)
        case BreakerAcquire(), Permit(probe=True):
            return BreakerRecord(step.key, step.rules, receipt.owner or step.owner, receipt.generation, "neutral")
        case CounterTake(), Counted():
            return CounterGive(step.key)
        case IdempotencyBegin(), Begun():
            return IdempotencyRelease(step.key, step.owner)
        case IdempotencyBegin(), Claim():
            return IdempotencyRelease(step.key, receipt.owner)
        case LeaseTake(), Leased():
            return LeaseGive(step.key, step.owner)
        case _:
            return None
