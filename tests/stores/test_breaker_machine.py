"""A circuit against the plainest telling of its rules, and the corners one by one."""

import threading

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from actguard.stores.breaker import CircuitMachine
from actguard.stores.memory import MemoryStore
from actguard.stores.protocol import BreakerAcquire, BreakerRecord, BreakerRules, Open, Permit

RULES = BreakerRules(
    max_fails=3, reset_timeout=10.0, half_open_probes=2, successes_to_close=2, backoff=2.0, max_open_s=35.0
)
RULES = RULES._replace(probe_lease_s=8.0)
RATE = BreakerRules(failure_rate=0.5, window=16.0, min_calls=4, reset_timeout=10.0)


class Circuit(RuleBasedStateMachine):
    """The model keeps what is said in `CircuitMachine`'s docstring, with as little cleverness as it can."""

    permits = Bundle("permits")

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.machine = CircuitMachine()
        self.state, self.era, self.fails, self.reopened = "closed", 0, 0, 0
        self.opens_until = 0.0
        self.probing: dict[str, float] = {}
        self.good = 0
        self.owners = 0

    def enter(self, state: str) -> None:
        self.state, self.fails, self.good = state, 0, 0
        self.era += 1
        self.probing = {}

    def open(self) -> None:
        self.opens_until = self.now + min(10.0 * 2.0**self.reopened, 35.0)
        self.enter("open")

    @rule(seconds=st.integers(0, 24).map(lambda halves: halves / 2))
    def time_passes(self, seconds):
        self.now += seconds

    @rule(target=permits)
    def ask(self):
        self.owners += 1
        owner = f"o{self.owners}"
        answer = self.machine.acquire(RULES, owner, self.now)
        if self.state == "open" and self.now >= self.opens_until:
            self.enter("half_open")
        if self.state == "half_open":
            self.probing = {prober: end for prober, end in self.probing.items() if end > self.now}
            if len(self.probing) < 2:
                self.probing[owner] = self.now + 8.0
                assert answer == Permit(self.era, True, False)
            else:
                assert answer == Open("half_open", min(self.probing.values()) - self.now)
        elif self.state == "open":
            assert answer == Open("open", self.opens_until - self.now)
        else:
            assert answer == Permit(self.era, False, self.fails == 0)
        return owner, answer

    @rule(permit=consumes(permits), outcome=st.sampled_from(["success", "failure", "neutral"]))
    def tell(self, permit, outcome):
        owner, answer = permit
        if not isinstance(answer, Permit):
            return
        told = self.machine.record(RULES, owner, answer.generation, outcome, self.now)
        if answer.generation != self.era:
            assert not told
            return
        if answer.probe:
            if self.probing.pop(owner, self.now) <= self.now:
                assert not told
            elif outcome == "failure":
                self.reopened += 1
                self.open()
            elif outcome == "success":
                self.good += 1
                if self.good == 2:
                    self.enter("closed")
                    self.reopened = 0
        elif outcome == "success":
            self.fails = 0
        elif outcome == "failure":
            self.fails += 1
            if self.fails == 3:
                self.open()

    @invariant()
    def they_agree(self):
        seen = self.machine.look(RULES, self.now)
        state = "half_open" if self.state == "open" and self.now >= self.opens_until else self.state
        assert (seen.state, seen.fails, seen.generation) == (state, self.fails, self.era)
        assert self.machine.until >= self.now or self.machine.until < 0


TestCircuit = Circuit.TestCase
TestCircuit.settings = settings(max_examples=120, stateful_step_count=60, deadline=None)


class Driven:
    """A circuit in a store, with a clock of its own."""

    def __init__(self, rules: BreakerRules) -> None:
        self.rules, self.now = rules, 0.0
        self.store = MemoryStore(clock=lambda: self.now)
        self.owners = 0

    def ask(self, observe: bool = False):
        self.owners += 1
        owner = f"o{self.owners}"
        verdict = self.store.admit([BreakerAcquire("c", self.rules, owner, observe)])
        return owner, verdict.receipts[0] if hasattr(verdict, "receipts") else verdict.refusal

    def tell(self, asked, outcome, open_for=None):
        owner, permit = asked
        return self.store.finish([BreakerRecord("c", self.rules, owner, permit.generation, outcome, open_for)])[0]

    def call(self, outcome):
        asked = self.ask()
        if isinstance(asked[1], Permit):
            self.tell(asked, outcome)
        return asked[1]


def test_a_share_of_failures_opens_it_once_there_were_enough_calls():
    circuit = Driven(RATE)
    for outcome in ("failure", "failure", "success"):
        assert isinstance(circuit.call(outcome), Permit)
    assert circuit.store.circuit("c", RATE).state == "closed"
    circuit.call("failure")
    assert circuit.store.circuit("c", RATE).state == "open"


def test_failures_that_are_long_past_do_not_count_towards_the_share():
    circuit = Driven(RATE)
    for _ in range(3):
        circuit.call("failure")
    circuit.now += 16
    for outcome in ("success", "success", "success", "failure"):
        circuit.call(outcome)
    assert circuit.store.circuit("c", RATE).state == "closed"


def test_a_share_below_the_limit_leaves_it_closed():
    circuit = Driven(RATE)
    for outcome in ("success", "failure", "success") * 20:
        circuit.call(outcome)
    assert circuit.store.circuit("c", RATE).state == "closed"


def test_the_service_may_say_for_how_long():
    circuit = Driven(BreakerRules(max_fails=5, max_open_s=100.0))
    circuit.tell(circuit.ask(), "failure", open_for=30.0)
    assert circuit.ask()[1] == Open("open", 30.0)
    circuit.now = 30.0
    assert circuit.ask()[1].probe


def test_a_service_that_wants_too_long_gets_the_most():
    circuit = Driven(BreakerRules(max_open_s=100.0))
    circuit.tell(circuit.ask(), "failure", open_for=1e9)
    assert circuit.ask()[1] == Open("open", 100.0)


def test_each_failed_probe_keeps_it_open_longer_up_to_a_bound():
    circuit = Driven(RULES)
    for _ in range(3):
        circuit.call("failure")
    waits = []
    for _ in range(4):
        refusal = circuit.ask()[1]
        waits.append(refusal.retry_after)
        circuit.now += refusal.retry_after
        circuit.call("failure")
    assert waits == [10.0, 20.0, 35.0, 35.0]


@pytest.mark.parametrize("state", ["forced_open", "disabled", "observe"])
def test_a_state_set_by_hand_stays(state):
    circuit = Driven(BreakerRules(max_fails=1))
    circuit.store.force_circuit("c", circuit.rules, state)
    for _ in range(5):
        answer = circuit.call("failure")
        circuit.now += 100_000
        assert isinstance(answer, Open) == (state == "forced_open")
    seen = circuit.store.circuit("c", circuit.rules)
    assert seen.state == state
    assert seen.fails == (5 if state == "observe" else 0)
    circuit.store.force_circuit("c", circuit.rules, "closed")
    circuit.call("failure")
    assert circuit.store.circuit("c", circuit.rules).state == "open"


def test_an_idle_circuit_is_forgotten():
    circuit = Driven(BreakerRules(idle_s=50.0))
    circuit.call("failure")
    circuit.now += 51
    circuit.store.sweep()
    assert len(circuit.store) == 0


def test_fifty_threads_at_reset_get_the_permitted_probes():
    circuit = Driven(BreakerRules(max_fails=1, reset_timeout=5.0, half_open_probes=3))
    circuit.call("failure")
    circuit.now = 5.0
    answers, start = [], threading.Barrier(50)

    def ask(number: int) -> None:
        start.wait()
        verdict = circuit.store.admit([BreakerAcquire("c", circuit.rules, f"t{number}")])
        answers.append(verdict)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(hasattr(answer, "receipts") for answer in answers) == 3


def test_a_probe_whose_process_died_frees_its_place_when_its_lease_ends():
    circuit = Driven(BreakerRules(max_fails=1, reset_timeout=5.0, probe_lease_s=20.0))
    circuit.call("failure")
    circuit.now = 5.0
    dead = circuit.ask()
    assert circuit.ask()[1] == Open("half_open", 20.0)
    circuit.now = 25.0
    alive = circuit.ask()
    assert alive[1].probe
    assert circuit.tell(dead, "failure") is False
    assert circuit.tell(alive, "success") is True
    assert circuit.store.circuit("c", circuit.rules).state == "closed"


def test_a_probe_without_a_name_gets_one_of_its_own():
    circuit = Driven(BreakerRules(max_fails=1, reset_timeout=5.0, half_open_probes=2))
    circuit.call("failure")
    circuit.now = 5.0
    one, two = (circuit.store.admit([BreakerAcquire("c", circuit.rules)]).receipts[0] for _ in range(2))
    assert one.owner
    assert two.owner
    assert one.owner != two.owner
    assert circuit.tell((one.owner, one), "success")
