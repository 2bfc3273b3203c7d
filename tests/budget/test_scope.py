"""BudgetScope: the decision, without locks, clocks or providers."""

import math

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule

from actguard.budget.charge import Charge
from actguard.budget.hold import Hold, Lowered
from actguard.budget.scope import BudgetScope, Refusal, Wait
from actguard.budget.usage import Usage

ME, OTHER = 1, 2


class Call(Hold):
    """A call of *fixed* pico-dollars of input, whose output tokens cost *rate* each; without one it has no cap."""

    def __init__(self, scope, estimate=0, bound=0, *, by=ME, rate=0, fixed=0):
        super().__init__(scope)
        self.estimate_pico, self.bound_pico, self.thread = estimate, bound, by
        self.rate, self.fixed = rate, fixed

    def lower(self, left_pico, left_tokens):
        if not self.rate:
            return None
        cap = min((left_pico - self.fixed) // self.rate, left_tokens)
        return Lowered(int(cap), self.fixed + int(cap) * self.rate, int(cap)) if cap >= 1 else None


def blockers_among(holds):
    """What `Admission` answers: the calls in flight of others."""

    def blockers(scope, asking):
        others = [h for h in holds if scope in h.scope.chain and not asking.waits_in_vain_for(h) and h in scope.holds]
        strict = scope.strict
        return (
            len(others),
            sum(hold.bound_pico if strict else hold.estimate_pico for hold in others),
            sum(hold.bound_tokens if strict else hold.estimate_tokens for hold in others),
        )

    return blockers


def admit(scope, estimate=0, bound=0, holds=(), **what):
    return scope.admit(Call(scope, estimate, bound, **what), blockers_among(holds))


def cost(pico: int, tokens: int = 0) -> Charge:
    return Charge(pico, tokens, (("model", Usage(input_tokens=tokens), pico),))


def test_a_call_is_admitted_while_less_than_the_limit_is_used():
    scope = BudgetScope("s", limit_pico=100)
    hold = admit(scope, 1_000)
    assert isinstance(hold, Hold)  # an estimate refuses nothing
    assert scope.held_pico == 1_000


def test_a_limit_reached_exactly_is_not_exceeded_but_admits_nothing_more():
    scope = BudgetScope("s", limit_pico=100)
    hold = admit(scope, 10)
    assert scope.settle(hold, cost(100)) is None
    assert admit(scope, 10) == Refusal(scope, "usd")


def test_the_call_that_passes_the_limit_says_so_after_it_is_counted():
    scope = BudgetScope("s", limit_tokens=100)
    hold = admit(scope)
    assert scope.settle(hold, cost(0, 101)) == Refusal(scope, "token", "after")
    assert scope.used_tokens == 101


def test_charges_are_kept_one_by_one_until_they_are_many_and_read_as_their_sum():
    scope = BudgetScope("s")
    for number in range(1, 201):
        scope.charge(cost(10, 3))
        tally = scope.by_model["model"]
        assert (tally.calls, tally.pico, tally.usage.tokens) == (number, 10 * number, 3 * number)
        assert len(scope.bill[1]) < 64
    for _ in range(200):
        scope.charge(cost(10, 3).negated(), -1)
    assert scope.by_model == {}


def test_in_default_mode_a_concurrent_call_waits_for_room():
    scope = BudgetScope("s", limit_pico=100)
    first = admit(scope, 60)
    assert admit(scope, 60, by=OTHER, holds=[first]) == Wait(scope)
    scope.settle(first, cost(10))
    assert isinstance(admit(scope, 60, by=OTHER), Hold)


def test_a_caller_never_waits_for_a_call_of_its_own():
    scope = BudgetScope("s", limit_pico=100)
    stream = admit(scope, 90)
    assert isinstance(admit(scope, 90, holds=[stream]), Hold)


def test_a_hold_counts_in_every_ancestor_or_in_none():
    root = BudgetScope("root", limit_pico=50)
    inner = BudgetScope("inner", parent=root, limit_pico=1_000)
    root.charge(cost(50))
    assert admit(inner, 1) == Refusal(root, "usd")
    assert inner.held_pico == root.held_pico == 0


def test_the_tightest_limit_on_the_way_up_wins_and_is_named():
    root = BudgetScope("root", limit_pico=1_000)
    middle = BudgetScope("middle", parent=root, limit_pico=10)
    inner = BudgetScope("inner", parent=middle, limit_pico=100)
    hold = admit(inner, 1)
    assert inner.settle(hold, cost(20)).scope is middle
    assert (inner.used_pico, middle.used_pico, root.used_pico) == (20, 20, 20)
    assert (inner.local_pico, middle.local_pico, root.local_pico) == (20, 0, 0)


def test_a_refusal_sticks_until_the_limit_is_extended():
    scope = BudgetScope("s", limit_pico=100, strict=True)
    assert isinstance(admit(scope, bound=200), Refusal)
    assert isinstance(admit(scope, bound=1), Refusal)  # although it would fit
    scope.extend(100, 0)
    assert isinstance(admit(scope, bound=200), Hold)


def test_strict_lowers_the_output_cap_to_what_the_remainder_buys():
    scope = BudgetScope("s", limit_pico=100, strict=True)
    hold = admit(scope, bound=500, rate=10, fixed=35)
    assert (hold.cap, hold.bound_pico, scope.held_pico) == (6, 95, 95)


def test_strict_waits_rather_than_lowers_while_others_are_in_flight():
    scope = BudgetScope("s", limit_pico=100, strict=True)
    first = admit(scope, bound=80)
    assert admit(scope, bound=50, rate=10, by=OTHER, holds=[first]) == Wait(scope)


def test_strict_refuses_at_once_what_nothing_in_flight_could_free_enough_for():
    scope = BudgetScope("s", limit_pico=100, strict=True)
    scope.charge(cost(60))
    first = admit(scope, bound=20)
    assert isinstance(admit(scope, bound=50, by=OTHER, holds=[first]), Refusal)


def test_a_call_is_settled_once_and_a_provisional_figure_is_corrected():
    scope = BudgetScope("s", limit_pico=100)
    hold = admit(scope, 10)
    scope.settle(hold, Charge(30, 3, (("m", Usage(input_tokens=3), 30),), estimates=1), final=False)
    assert (scope.used_pico, scope.estimates, scope.calls) == (30, 1, 1)
    scope.settle(hold, cost(25, 2))
    scope.settle(hold, cost(99, 9))
    assert (scope.used_pico, scope.used_tokens, scope.estimates, scope.calls) == (25, 2, 0, 1)
    assert scope.held_pico == 0


@given(st.integers(0, 200), st.integers(0, 200), st.integers(1, 100))
def test_asking_a_running_stream_is_the_same_question_as_after_it(used, more, limit):
    scope = BudgetScope("s", limit_pico=limit)
    scope.charge(cost(used))
    ahead = scope.would_exceed(more, 0)
    scope.charge(cost(more))
    assert (ahead is None) == (scope.exceeded("after") is None)


class Scopes(RuleBasedStateMachine):
    """Any order of opening, holding, settling and releasing, in trees of strict and default scopes."""

    scopes = Bundle("scopes")
    holds = Bundle("holds")

    def __init__(self) -> None:
        super().__init__()
        self.all: list[BudgetScope] = []
        self.open: list[Hold] = []
        self.spent: dict[str, int] = {}

    @rule(target=scopes, limit=st.integers(1, 500) | st.just(math.inf), strict=st.booleans())
    def open_root(self, limit, strict):
        return self._opened(BudgetScope(str(len(self.all)), limit_pico=limit, strict=strict))

    @rule(target=scopes, parent=scopes, limit=st.integers(1, 500) | st.just(math.inf), strict=st.booleans())
    def nest(self, parent, limit, strict):
        return self._opened(BudgetScope(str(len(self.all)), parent=parent, limit_pico=limit, strict=strict))

    def _opened(self, scope: BudgetScope) -> BudgetScope:
        self.all.append(scope)
        self.spent[scope.id] = 0
        return scope

    @rule(target=holds, scope=scopes, bound=st.integers(1, 300), share=st.floats(0, 1), owner=st.integers(1, 3))
    def ask(self, scope, bound, share, owner):
        asking = Call(scope, int(bound * share), bound, by=owner, rate=1)
        answer = scope.admit(asking, blockers_among(self.open))
        if isinstance(answer, Hold):
            self.open.append(answer)
            return answer
        return None

    @rule(hold=consumes(holds), share=st.floats(0, 1))
    def settle(self, hold, share):
        if hold is None:
            return
        actual = int(hold.bound_pico * share)
        hold.scope.settle(hold, cost(actual))
        self.open.remove(hold)
        for scope in hold.scope.chain:
            self.spent[scope.id] += actual

    @rule(hold=consumes(holds))
    def release(self, hold):
        if hold is not None:
            hold.scope.release(hold)
            self.open.remove(hold)

    @precondition(lambda self: self.all)
    @rule(scope=scopes, more=st.integers(1, 100))
    def extend(self, scope, more):
        scope.extend(more, 0)

    @invariant()
    def used_is_what_was_settled(self):
        for scope in self.all:
            assert scope.used_pico == self.spent[scope.id]

    @invariant()
    def held_is_what_is_in_flight(self):
        for scope in self.all:
            here = [hold for hold in self.open if scope in hold.scope.chain]
            assert scope.in_flight == len(here)
            assert scope.held_pico == sum(h.bound_pico if scope.strict else h.estimate_pico for h in here)

    @invariant()
    def a_strict_limit_is_never_passed_nor_promised_away(self):
        for scope in self.all:
            if scope.strict:
                assert scope.used_pico + scope.held_pico <= scope.limit_pico


TestScopes = Scopes.TestCase
