"""BudgetScope: limits, what was used, what is in flight; a tree. The decision is here, and nothing else.

    Hold ──admit()──> held ──settle()──> used        A hold is set aside on a scope and all its ancestors, or on none.
                        └───release()──> (nothing)   `used` and `held` change only in these methods.

No lock, no clock, no waiting, no provider: `admission.py` calls these methods under the one lock of a tree.

Ctrl-C, or a signal handler that raises, may strike between any two steps, and leaves nothing half done: `holds` alone
says which calls are in flight, `held` is counted again from them, and a charge that was begun is counted to its end.

A *default* scope sets estimates aside while calls are in flight: an estimate makes a concurrent call wait, never
refuses one. A *strict* scope sets sound bounds aside, and lowers a call's output cap to what the remainder buys: it is
never passed. One tree may hold both kinds.
"""

import math
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

from actguard.budget.charge import Charge, Items, Tally, summed_up
from actguard.budget.hold import Hold, Lowered

LimitType = Literal["token", "usd"]
Phase = Literal["before", "during", "after"]


class Wait(NamedTuple):
    """The call does not fit now, but something in flight may free enough of *scope*."""

    scope: "BudgetScope"


class Refusal(NamedTuple):
    """The call may not happen; *scope* is the one that stopped it."""

    scope: "BudgetScope"
    limit_type: LimitType
    phase: Phase = "before"


Bill = tuple[dict[str, Tally], list[tuple[Items, int]]]
"""What was used by model, and the charges since that was summed up: to note one is a single step, and cheap."""

_MANY = 64  # charges that are not summed up

Blockers = Callable[["BudgetScope", Hold], tuple[int, int, int]]
"""For a scope and a call: how many calls in flight there it may wait for, and the pico-dollars and tokens they hold."""


class BudgetScope:
    """One budget. Nested scopes count in all their ancestors.

    Args:
        parent: the enclosing scope, if any.
        limit_pico, limit_tokens: `math.inf` for no limit.
        strict: never let `used` pass a limit, whatever runs at once.
    """

    __slots__ = (
        "bill",
        "bounded",
        "calls",
        "chain",
        "estimates",
        "held_pico",
        "held_tokens",
        "holds",
        "id",
        "limit_pico",
        "limit_tokens",
        "local_pico",
        "local_tokens",
        "name",
        "parent",
        "refused",
        "root",
        "strict",
        "unmeasured",
        "unmetered_calls",
        "used_pico",
        "used_tokens",
    )

    def __init__(
        self,
        id: str,
        *,
        parent: "BudgetScope | None" = None,
        name: str | None = None,
        limit_pico: float = math.inf,
        limit_tokens: float = math.inf,
        strict: bool = False,
    ) -> None:
        self.id = id
        self.name = name
        self.parent = parent
        self.root: BudgetScope = parent.root if parent else self
        self.chain: tuple[BudgetScope, ...] = (self, *(parent.chain if parent else ()))
        self.limit_pico = limit_pico
        self.limit_tokens = limit_tokens
        self.strict = strict
        self.bounded: bool = strict or (parent is not None and parent.bounded)  # a sound bound is needed here
        self.holds: set[Hold] = parent.holds if parent else set()  # of the whole tree: the calls in flight
        self.unmeasured: Hold | None = None  # of a root: the call that is alone in its tree
        self.used_pico = self.used_tokens = 0
        self.held_pico = self.held_tokens = 0
        self.local_pico = self.local_tokens = 0
        self.calls = 0
        self.unmetered_calls = 0
        self.estimates = 0
        self.bill: Bill = ({}, [])
        self.refused: Refusal | None = None

    @property
    def in_flight(self) -> int:
        """Calls that were opened here, or in a scope nested here, and have not ended."""
        return sum(self in hold.scope.chain for hold in tuple(self.holds))

    @property
    def by_model(self) -> dict[str, Tally]:
        """What each model was used for."""
        tallies, noted = self.bill
        return summed_up(tallies, noted)

    # ---- before a call ----

    def admit(self, hold: Hold, blockers: Blockers) -> Hold | Wait | Refusal:
        """Set *hold* aside on this scope and every ancestor, or on none of them.

        Args:
            blockers: asked only in contention.

        Returns:
            *hold*, open now and perhaps lowered; or why not.
        """
        root, chain, holds = self.root, self.chain, self.holds
        if not (holds or hold.measured or self.bounded):  # the everyday call: nobody asks for its estimate
            for scope in chain:
                if (
                    scope.used_pico >= scope.limit_pico
                    or scope.used_tokens >= scope.limit_tokens
                    or scope.refused is not None
                ):
                    break
            else:
                root.unmeasured = hold
                holds.add(hold)
                return hold
        refusal = self.standing_refusal()
        if refusal is not None:
            return refusal
        try:
            if root.unmeasured is not None:
                root.measure_pending()
            if not hold.measured and (holds or self.bounded):
                hold.measure()
            lowered: Lowered | None = None
            for scope in chain:
                if scope.strict:
                    verdict = scope._fit_strict(hold, lowered, blockers)
                elif (
                    scope.used_pico + scope.held_pico + hold.estimate_pico <= scope.limit_pico
                    and scope.used_tokens + scope.held_tokens + hold.estimate_tokens <= scope.limit_tokens
                    and scope.used_pico < scope.limit_pico
                    and scope.used_tokens < scope.limit_tokens
                ):
                    continue
                else:
                    verdict = scope._contend(hold, blockers)
                if verdict is None:
                    continue
                if not isinstance(verdict, Lowered):
                    if isinstance(verdict, Refusal):
                        verdict.scope.refused = verdict
                    return verdict
                lowered = verdict
            if lowered is not None:
                hold.take(lowered)
            for scope in chain:
                if scope.strict:
                    scope.held_pico += hold.bound_pico
                    scope.held_tokens += hold.bound_tokens
                else:
                    scope.held_pico += hold.estimate_pico
                    scope.held_tokens += hold.estimate_tokens
            if not hold.measured:
                root.unmeasured = hold
            holds.add(hold)
        except BaseException:
            self.count_held()
            raise
        return hold

    def measure_pending(self) -> None:
        """Set aside what the call that was alone until now is estimated at."""
        hold, self.unmeasured = self.unmeasured, None
        if hold is None:
            return
        try:
            hold.measure()
            for scope in hold.scope.chain:
                scope.held_pico += hold.estimate_pico
                scope.held_tokens += hold.estimate_tokens
        except BaseException:
            hold.scope.count_held()
            raise

    def standing_refusal(self) -> Refusal | None:
        """Refusals are sticky: who swallowed one is refused again, until `extend`."""
        for scope in self.chain:
            if scope.refused is not None:
                return scope.refused._replace(phase="before")
        return None

    def _contend(self, hold: Hold, blockers: Blockers) -> Wait | Refusal | None:
        """A default scope whose room does not cover the estimate: wait if that can help, else go: it is an estimate."""
        if self.used_pico >= self.limit_pico:
            return Refusal(self, "usd")
        if self.used_tokens >= self.limit_tokens:
            return Refusal(self, "token")
        return Wait(self) if self.holds and blockers(self, hold)[0] else None

    def _fit_strict(self, hold: Hold, lowered: Lowered | None, blockers: Blockers) -> Lowered | Wait | Refusal | None:
        left_pico = self.limit_pico - self.used_pico - self.held_pico
        left_tokens = self.limit_tokens - self.used_tokens - self.held_tokens
        pico = lowered.pico if lowered else hold.bound_pico
        tokens = lowered.tokens if lowered else hold.bound_tokens
        if pico <= left_pico and tokens <= left_tokens and left_pico > 0 and left_tokens > 0:
            return None
        count, their_pico, their_tokens = blockers(self, hold) if self.holds else (0, 0, 0)
        most_pico, most_tokens = left_pico + their_pico, left_tokens + their_tokens
        fits_then = pico <= most_pico and tokens <= most_tokens and most_pico > 0 and most_tokens > 0
        if not fits_then and hold.lower(most_pico, most_tokens) is None:
            return Refusal(self, "usd" if pico > most_pico or most_pico <= 0 else "token")
        return Wait(self) if count else hold.lower(left_pico, left_tokens)

    def count_held(self) -> None:
        """Set `held`, here and around, to what the calls in flight come to: something was broken off."""
        root = self.root
        if root.unmeasured not in self.holds:
            root.unmeasured = None
        for scope in self.chain:
            scope.held_pico = scope.held_tokens = 0
            for hold in self.holds:
                if hold is not root.unmeasured and scope in hold.scope.chain:
                    scope.held_pico += hold.bound_pico if scope.strict else hold.estimate_pico
                    scope.held_tokens += hold.bound_tokens if scope.strict else hold.estimate_tokens

    # ---- after a call ----

    def release(self, hold: Hold) -> None:
        """Give the hold back: the call was never billed. Twice is once."""
        if hold not in self.holds:
            return
        root = self.root
        try:
            self.holds.discard(hold)
            if root.unmeasured is hold:  # it was alone until now: nothing is set aside
                root.unmeasured = None
                return
            for scope in hold.scope.chain:
                if scope.strict:
                    scope.held_pico -= hold.bound_pico
                    scope.held_tokens -= hold.bound_tokens
                else:
                    scope.held_pico -= hold.estimate_pico
                    scope.held_tokens -= hold.estimate_tokens
        except BaseException:
            hold.scope.count_held()
            raise

    def settle(self, hold: Hold, charge: Charge, final: bool = True, calls: int = 1) -> Refusal | None:
        """Turn the hold into spend. After a final settle nothing changes any more; an earlier one is corrected.

        Returns:
            The innermost limit that is now passed, if any: passed means `>`, a limit reached exactly is not exceeded.
        """
        before = hold.charged
        if hold.final or (before is None and hold not in self.holds):
            return None
        if before is not None:
            self.charge(before.negated(), -1)
        exceeded = self.charge(charge, calls, settles=hold, final=final)
        if self.root.unmeasured is hold:  # the everyday call: nothing is set aside, but that it runs
            self.root.unmeasured = None
            self.holds.discard(hold)
        else:
            self.release(hold)
        return exceeded

    def charge(
        self,
        charge: Charge,
        calls: int = 1,
        phase: Phase = "after",
        *,
        settles: Hold | None = None,
        final: bool = True,
    ) -> Refusal | None:
        """Count spend: of *settles*, or that has no hold (a second billed attempt, an external cost, a correction).

        Corrections may be negative, as may the calls that they take back.
        """
        scopes = iter(self.chain)
        try:
            if settles is not None:
                settles.charged, settles.final = charge, final
            self.local_pico += charge[0]
            self.local_tokens += charge[1]
            _count(scopes, charge, calls)
        except BaseException:
            _count(scopes, charge, calls)  # where it was not counted yet
            raise
        exceeded: Refusal | None = None
        for scope in self.chain:
            if (scope.used_pico > scope.limit_pico or scope.used_tokens > scope.limit_tokens) and exceeded is None:
                scope.refused = exceeded = scope.exceeded(phase)
            if len(scope.bill[1]) >= _MANY:
                scope.bill = scope.by_model, []
        return exceeded

    def exceeded(self, phase: Phase) -> Refusal | None:
        if self.used_pico > self.limit_pico:
            return Refusal(self, "usd", phase)
        if self.used_tokens > self.limit_tokens:
            return Refusal(self, "token", phase)
        return None

    # ---- at any time ----

    def would_exceed(self, pico: int, tokens: int) -> Refusal | None:
        """Whether spending this much more, on top of what is settled, passes a limit: what a running stream asks."""
        for scope in self.chain:
            if scope.used_pico + pico > scope.limit_pico:
                return Refusal(scope, "usd", "during")
            if scope.used_tokens + tokens > scope.limit_tokens:
                return Refusal(scope, "token", "during")
        return None

    def refuse(self, refusal: Refusal) -> None:
        refusal.scope.refused = refusal

    def extend(self, pico: int, tokens: int) -> None:
        """Raise the limits, and let calls through again if there is room now."""
        self.limit_pico += pico
        self.limit_tokens += tokens
        if self.used_pico < self.limit_pico and self.used_tokens < self.limit_tokens:
            self.refused = None


def _count(scopes: Iterator[BudgetScope], charge: Charge, calls: int) -> None:
    """Add *charge* to each of *scopes*. Nothing can come between what is done to one of them."""
    pico, tokens, items, estimates = charge
    noted = items, calls
    for scope in scopes:
        scope.used_pico += pico
        scope.used_tokens += tokens
        scope.calls += calls
        scope.estimates += estimates
        scope.bill[1].append(noted)
