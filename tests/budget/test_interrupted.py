"""Ctrl-C in the midst of a queue: whoever is let through by somebody who is broken off goes on nevertheless."""

import threading

import pytest

from actguard.budget import admission as queue
from actguard.budget.admission import Admission
from actguard.budget.charge import Charge
from actguard.budget.hold import Hold
from actguard.budget.scope import BudgetScope
from tests.interrupted import interrupted_everywhere


def call(scope: BudgetScope, estimate: int) -> Hold:
    hold = Hold(scope)
    hold.thread = threading.get_ident()
    hold.estimate_pico = hold.bound_pico = estimate
    return hold


class Queue:
    """One call in flight, and in another thread one that waits for it."""

    def __init__(self, strict: bool) -> None:
        self.admission = Admission()
        self.scope = BudgetScope("s", parent=BudgetScope("root", limit_pico=1_000), limit_pico=100, strict=strict)
        self.first = call(self.scope, 60)
        self.admission.hold(self.first)
        self.thread = threading.Thread(target=self._second)
        self.thread.start()
        while not self.admission._waiters:
            pass

    def _second(self) -> None:
        second = call(self.scope, 60)
        assert self.admission.hold(second) is second
        self.admission.settle(second, Charge(1, 1))


@pytest.mark.parametrize("strict", [False, True], ids=["default", "strict"])
@pytest.mark.parametrize("end", ["settle", "release"])
def test_whoever_waits_for_a_call_whose_end_is_broken_off_is_let_through(
    end: str, strict: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "_FIRST_TURN", 0.01)
    queues = [Queue(strict)]

    def work() -> None:
        one = queues[-1]
        if end == "settle":
            one.admission.settle(one.first, Charge(1, 1))
        else:
            one.admission.release(one.first)

    places = 0
    for place in interrupted_everywhere(work):
        one = queues[-1]
        work()  # as whoever gives back what a call took does, which is what was broken off here
        one.thread.join(5)
        assert not one.thread.is_alive(), place
        assert (one.scope.held_pico, one.scope.in_flight, one.scope.root.held_pico) == (0, 0, 0), place
        assert one.scope.calls == (2 if end == "settle" else 1), place
        assert not one.admission._lock.locked(), place
        queues.append(Queue(strict))
        places += 1
    assert places > 10
    queues[-1].thread.join(5)


class Alone(Hold):
    """A call whose estimate is worked out when a second one comes."""

    def measure(self) -> None:
        self.measured = True
        self.estimate_pico = 60


class Siblings:
    """Two scopes in one, and a call that is alone so far, further in in the first of them."""

    def __init__(self) -> None:
        self.admission, self.root = Admission(), BudgetScope("root", limit_pico=1_000)
        self.one, self.other = (BudgetScope(name, parent=self.root, limit_pico=100) for name in ("one", "other"))
        self.first = Alone(BudgetScope("inner", parent=self.one, limit_pico=100), measured=False)
        self.admission.hold(self.first)


def test_a_call_that_was_alone_is_set_aside_once_when_another_one_comes() -> None:
    trees = [Siblings()]
    places = 0
    for place in interrupted_everywhere(lambda: trees[-1].admission.hold(call(trees[-1].other, 10))):
        tree = trees[-1]
        for hold in tree.root.holds - {tree.first}:
            tree.admission.release(hold)
        aside = 0 if tree.root.unmeasured is tree.first else tree.first.estimate_pico
        assert (tree.one.held_pico, tree.other.held_pico, tree.root.held_pico) == (aside, 0, aside), place
        tree.admission.release(tree.first)
        assert (tree.one.held_pico, tree.root.held_pico, tree.root.in_flight) == (0, 0, 0), place
        trees.append(Siblings())
        places += 1
    assert places > 10


def test_a_call_that_grows_is_set_aside_as_large_as_it_is_or_was() -> None:
    admission, root = Admission(), BudgetScope("root", limit_pico=1_000)
    scope = BudgetScope("s", parent=root, limit_pico=100, strict=True)
    growing: list[Hold] = []

    def work() -> None:
        admission.grow(growing[-1], 5, 0)

    growing.append(call(scope, 10))
    admission.hold(growing[-1])
    places = 0
    for place in interrupted_everywhere(work):
        assert scope.held_pico == root.held_pico == growing[-1].bound_pico, place
        admission.release(growing[-1])
        assert scope.held_pico == root.held_pico == 0, place
        growing.append(call(scope, 10))
        admission.hold(growing[-1])
        places += 1
    assert places > 4
