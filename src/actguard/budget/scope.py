"""BudgetScope: limits, what was used, what is in flight; a tree. The decision is here, and nothing else.

    Hold ──admit()──> held ──settle()──> used        A hold is set aside on a scope and all its ancestors, or on none.
                        └───release()──> (nothing)   `used` and `held` change only in these methods.

No lock, no clock, no waiting, no provider: `admission.py` calls these methods under the one lock of a tree.

A *default* scope sets estimates aside while calls are in flight: an estimate makes a concurrent call wait, never
refuses one. A *strict* scope sets sound bounds aside, and lowers a call's output cap to what the remainder buys: it is
never passed. One tree may hold both kinds.
"""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

from actguard.budget.charge import Charge, Tally
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
        "bounded",
        "by_model",
        "calls",
        "chain",
        "estimates",
        "held_pico",
        "held_tokens",
        "id",
        "in_flight",
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
        self.unmeasured: Hold | None = None  # of a root: the call that is alone in its tree
        self.used_pico = self.used_tokens = 0
        self.held_pico = self.held_tokens = 0
        self.local_pico = self.local_tokens = 0
        self.in_flight = 0
        self.calls = 0
        self.unmetered_calls = 0
        self.estimates = 0
        self.by_model: dict[str, Tally] = {}
        self.refused: Refusal | None = None

    # ---- before a call ----

    def admit(self, hold: Hold, blockers: Blockers) -> Hold | Wait | Refusal:
        """Set *hold* aside on this scope and every ancestor, or on none of them.

        Args:
            blockers: asked only in contention.

        Returns:
            *hold*, open now and perhaps lowered; or why not.
        """
        root = self.root
        chain = self.chain
        if not (root.in_flight or hold.measured or self.bounded):  # the everyday call: nobody asks for its estimate
            for scope in chain:
                if (
                    scope.used_pico >= scope.limit_pico
                    or scope.used_tokens >= scope.limit_tokens
                    or scope.refused is not None
                ):
                    break
            else:
                for scope in chain:
                    scope.in_flight += 1
                root.unmeasured = hold
                hold.open = True
                return hold
        refusal = self.standing_refusal()
        if refusal is not None:
            return refusal
        if root.unmeasured is not None:
            root.measure_pending()
        if not hold.measured and (root.in_flight or self.bounded):
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
            scope.in_flight += 1
        if not hold.measured:
            root.unmeasured = hold
        hold.open = True
        return hold

    def measure_pending(self) -> None:
        """Set aside what the call that was alone until now is estimated at."""
        hold, self.unmeasured = self.unmeasured, None
        if hold is not None:
            hold.measure()
            for scope in hold.scope.chain:
                scope.held_pico += hold.estimate_pico
                scope.held_tokens += hold.estimate_tokens

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
        return Wait(self) if self.in_flight and blockers(self, hold)[0] else None

    def _fit_strict(self, hold: Hold, lowered: Lowered | None, blockers: Blockers) -> Lowered | Wait | Refusal | None:
        left_pico = self.limit_pico - self.used_pico - self.held_pico
        left_tokens = self.limit_tokens - self.used_tokens - self.held_tokens
        pico = lowered.pico if lowered else hold.bound_pico
        tokens = lowered.tokens if lowered else hold.bound_tokens
        if pico <= left_pico and tokens <= left_tokens and left_pico > 0 and left_tokens > 0:
            return None
        count, their_pico, their_tokens = blockers(self, hold) if self.in_flight else (0, 0, 0)
        most_pico, most_tokens = left_pico + their_pico, left_tokens + their_tokens
        fits_then = pico <= most_pico and tokens <= most_tokens and most_pico > 0 and most_tokens > 0
        if not fits_then and hold.lower(most_pico, most_tokens) is None:
            return Refusal(self, "usd" if pico > most_pico or most_pico <= 0 else "token")
        return Wait(self) if count else hold.lower(left_pico, left_tokens)

    # ---- after a call ----

    def release(self, hold: Hold) -> None:
        """Give the hold back: the call was never billed. Twice is once."""
        if not hold.open:
            return
        hold.open = False
        root = self.root
        if root.unmeasured is hold:  # it was alone until now: nothing is set aside
            root.unmeasured = None
            for scope in hold.scope.chain:
                scope.in_flight -= 1
            return
        for scope in hold.scope.chain:
            if scope.strict:
                scope.held_pico -= hold.bound_pico
                scope.held_tokens -= hold.bound_tokens
            else:
                scope.held_pico -= hold.estimate_pico
                scope.held_tokens -= hold.estimate_tokens
            scope.in_flight -= 1

    def settle(self, hold: Hold, charge: Charge, final: bool = True, calls: int = 1) -> Refusal | None:
        """Turn the hold into spend. After a final settle nothing changes any more; an earlier one is corrected.

        Returns:
            The innermost limit that is now passed, if any: passed means `>`, a limit reached exactly is not exceeded.
        """
        before = hold.charged
        if hold.final or (before is None and not hold.open):
            return None
        hold.charged, hold.final = charge, final
        if before is not None:
            self.charge(before.negated(), -1)
        elif self.root.unmeasured is hold:  # the everyday call: nothing is set aside, but that it runs
            hold.open, self.root.unmeasured = False, None
            for scope in self.chain:
                scope.in_flight -= 1
        else:
            self.release(hold)
        return self.charge(charge, calls)

    def charge(self, charge: Charge, calls: int = 1, phase: Phase = "after") -> Refusal | None:
        """Count spend that has no hold: a second billed attempt, an external cost, a correction of an estimate.

        Corrections may be negative, as may the calls that they take back.
        """
        pico, tokens, items, estimates = charge
        self.local_pico += pico
        self.local_tokens += tokens
        exceeded: Refusal | None = None
        for scope in self.chain:
            scope.used_pico = used_pico = scope.used_pico + pico
            scope.used_tokens = used_tokens = scope.used_tokens + tokens
            scope.calls += calls
            scope.estimates += estimates
            for model, usage, share in items:
                tally = scope.by_model.get(model)
                if tally is None:
                    tally = scope.by_model[model] = Tally()
                tally.add(usage, share, calls)
                if calls < 0 and not tally.calls:
                    del scope.by_model[model]  # an estimate that was all there was of it
            if (used_pico > scope.limit_pico or used_tokens > scope.limit_tokens) and exceeded is None:
                exceeded = scope.exceeded(phase)
        if exceeded is not None:
            exceeded.scope.refused = exceeded
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
