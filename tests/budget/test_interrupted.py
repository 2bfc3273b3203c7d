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
