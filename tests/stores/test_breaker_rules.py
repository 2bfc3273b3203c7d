"""What one circuit answers, rule by rule: the machine alone, told the time."""

import pytest

from actguard.stores.breaker import CircuitMachine
from actguard.stores.memory import MemoryStore
from actguard.stores.protocol import BreakerAcquire, BreakerRecord, BreakerRules, Circuit, Open, Permit

RULES = BreakerRules(max_fails=2, reset_timeout=10.0, half_open_probes=2, probe_lease_s=8.0, idle_s=100.0)
RATE = BreakerRules(failure_rate=0.5, window=16.0, min_calls=4, reset_timeout=10.0)


def failing(rules: BreakerRules, *times: float) -> CircuitMachine:
    """A circuit with a failure at each of *times*."""
    machine = CircuitMachine()
    for now in times:
        machine.record(rules, "", machine.generation, "failure", now)
    return machine


def half_open(rules: BreakerRules = RULES, now: float = 10.0) -> CircuitMachine:
    """One that opened at 0.0, and lets probes pass at *now*."""
    machine = failing(rules, *[0.0] * rules.max_fails)
    assert machine.acquire(rules, "first", now).probe
    return machine


# ---- closed ----


def test_a_success_is_worth_no_report_while_nothing_failed():
    machine = CircuitMachine()
    assert machine.acquire(RULES, "a", 0.0) == Permit(0, False, True)
    machine.record(RULES, "a", 0, "failure", 0.0)
    assert machine.acquire(RULES, "b", 0.0) == Permit(0, False, False)
    machine.record(RULES, "b", 0, "success", 0.0)
    assert machine.acquire(RULES, "c", 0.0) == Permit(0, False, True)


def test_every_success_is_worth_a_report_where_shares_are_counted():
    assert CircuitMachine().acquire(RATE, "a", 0.0) == Permit(0, False, False)


def test_a_circuit_that_a_store_never_heard_of_answers_as_a_new_one_does():
    for rules in (RULES, RATE):
        store = MemoryStore(clock=lambda: 0.0)
        alone = store.asker("breaker")(BreakerAcquire("c", rules, "a"))
        assert (alone, store.admit([BreakerAcquire("c", rules, "a")]).receipts) == (
            CircuitMachine().acquire(rules, "a", 0.0),
            (alone,),
        )


def test_failures_in_a_row_open_it_and_a_success_between_begins_the_row_anew():
    machine = failing(RULES, 0.0)
    machine.record(RULES, "", 0, "success", 1.0)
    assert machine.look(RULES, 1.0).fails == 0
    machine.record(RULES, "", 0, "failure", 2.0)
    assert machine.look(RULES, 2.0) == Circuit("closed", 1, 0, None, 0)
    assert machine.record(RULES, "", 0, "failure", 3.0) is True
    assert machine.look(RULES, 3.0) == Circuit("open", 0, 1, 10.0, 0)


def test_what_is_neither_success_nor_failure_changes_nothing():
    machine = failing(RULES, 0.0)
    assert machine.record(RULES, "", 0, "neutral", 1.0) is False
    assert machine.look(RULES, 1.0).fails == 1


def test_a_success_opens_nothing_whatever_the_service_says():
    machine = CircuitMachine()
    machine.record(RULES, "", 0, "success", 0.0, 30.0)
    assert machine.look(RULES, 0.0).state == "closed"
    machine.record(RATE, "", 0, "success", 0.0, 30.0)
    assert machine.look(RATE, 0.0).state == "closed"


def test_a_report_from_before_the_last_change_is_dropped():
    machine = failing(RULES, 0.0, 0.0)
    assert machine.record(RULES, "late", 0, "failure", 5.0) is False
    assert machine.look(RULES, 5.0) == Circuit("open", 0, 1, 5.0, 0)


# ---- the share of failures ----


def test_the_share_itself_opens_it():
    machine = CircuitMachine()
    for outcome in ("success", "success", "failure"):
        machine.record(RATE, "", 0, outcome, 0.0)
    assert machine.look(RATE, 0.0).state == "closed"
    machine.record(RATE, "", 0, "failure", 0.0)
    assert machine.look(RATE, 0.0).state == "open"


def test_too_few_calls_open_it_never():
    machine = failing(RATE, 0.0, 1.0, 2.0)
    assert machine.look(RATE, 2.0).state == "closed"
    machine.record(RATE, "", 0, "failure", 3.0)
    assert machine.look(RATE, 3.0).state == "open"


def test_the_service_may_open_it_before_there_were_enough_calls():
    machine = CircuitMachine()
    machine.record(RATE, "", 0, "failure", 0.0, 30.0)
    assert machine.look(RATE, 0.0) == Circuit("open", 0, 1, 30.0, 0)


def test_the_window_is_forgotten_a_sixteenth_at_a_time():
    together = failing(RATE, 100.0, 100.95, 100.95, 116.0, 116.0)
    assert together.look(RATE, 116.0).state == "closed", "100.95 is in the part that began at 100, and went with it"
    apart = failing(RATE, 100.0, 101.0, 101.0, 116.0, 116.0)
    assert apart.look(RATE, 116.0).state == "open", "what failed at 101.0 is still in the window"


def test_a_part_of_the_window_is_kept_until_the_window_is_over():
    assert failing(RATE, 0.0, 0.0, 0.0, 15.9).look(RATE, 15.9).state == "open"
    assert failing(RATE, 0.0, 0.0, 0.0, 16.0).look(RATE, 16.0).state == "closed"


def test_only_what_is_over_is_forgotten():
    machine = failing(RATE, 0.0, 3.0, 4.0)
    machine.record(RATE, "", 0, "success", 17.0)
    assert machine.look(RATE, 17.0).state == "closed"
    machine.record(RATE, "", 0, "failure", 18.0)
    assert machine.look(RATE, 18.0).state == "open", "3 of the 4 calls since 2.0 failed"


def test_a_circuit_that_closed_again_counts_anew():
    machine = failing(RATE, 0.0, 0.0, 0.0, 0.0)
    permit = machine.acquire(RATE, "probe", 10.0)
    machine.record(RATE, "probe", permit.generation, "success", 10.0)
    machine.record(RATE, "", machine.generation, "failure", 10.0)
    assert machine.look(RATE, 10.0).state == "closed"


# ---- open ----


def test_an_open_circuit_says_how_long_and_reads_half_open_when_that_is_over():
    machine = failing(RULES, 0.0, 0.0)
    assert machine.acquire(RULES, "a", 9.0) == Open("open", 1.0)
    assert machine.look(RULES, 9.0) == Circuit("open", 0, 1, 1.0, 0)
    assert machine.look(RULES, 10.0) == Circuit("half_open", 0, 1, 0.0, 0)
    assert machine.acquire(RULES, "a", 10.0) == Permit(2, True, False)


def test_a_service_that_never_comes_back_is_asked_at_the_longest_interval_for_ever():
    rules = BreakerRules(max_fails=1, reset_timeout=1.0, backoff=2.0, max_open_s=60.0)
    machine, now = failing(rules, 0.0), 0.0
    for _ in range(1_100):
        now += machine.look(rules, now).retry_after
        permit = machine.acquire(rules, "probe", now)
        machine.record(rules, "probe", permit.generation, "failure", now)
    assert machine.look(rules, now).retry_after == 60.0


# ---- half-open ----


def test_half_open_it_says_how_many_probes_there_are_and_when_there_is_a_place():
    machine = half_open()
    assert machine.look(RULES, 11.0) == Circuit("half_open", 0, 2, 0.0, 1)
    machine.acquire(RULES, "second", 12.0)
    assert machine.look(RULES, 13.0) == Circuit("half_open", 0, 2, 5.0, 2)
    assert machine.acquire(RULES, "third", 13.0) == Open("half_open", 5.0)
    assert machine.look(RULES, 18.0) == Circuit("half_open", 0, 2, 0.0, 1)


def test_a_probe_that_was_cancelled_gives_its_place_back():
    machine = half_open(RULES._replace(half_open_probes=1))
    assert machine.record(RULES, "first", 2, "neutral", 11.0) is True
    assert machine.look(RULES, 11.0) == Circuit("half_open", 0, 2, 0.0, 0)


def test_a_probe_whose_lease_is_over_has_nothing_to_say():
    machine = half_open()
    assert machine.record(RULES, "first", 2, "success", 18.0) is False
    assert machine.look(RULES, 18.0).state == "half_open"


def test_who_is_no_probe_has_nothing_to_say_while_it_is_half_open():
    machine = half_open()
    assert machine.record(RULES, "stranger", 2, "failure", 11.0) is False
    assert machine.look(RULES, 11.0).state == "half_open"


def test_enough_successes_close_it_and_each_time_they_are_counted_anew():
    rules = RULES._replace(successes_to_close=2, half_open_probes=1)
    machine = half_open(rules)
    assert machine.record(rules, "first", 2, "success", 10.0) is True
    assert machine.acquire(rules, "second", 10.0).probe, "one is not enough"
    machine.record(rules, "second", 2, "failure", 10.0)
    for probe in ("third", "fourth"):
        assert machine.acquire(rules, probe, 20.0).probe
        assert machine.look(rules, 20.0).state == "half_open"
        machine.record(rules, probe, 4, "success", 20.0)
    assert machine.look(rules, 20.0) == Circuit("closed", 0, 5, None, 0)


def test_a_failed_probe_opens_it_for_longer_each_time_until_it_was_closed():
    rules = RULES._replace(backoff=3.0)
    machine = half_open(rules)
    machine.record(rules, "first", 2, "failure", 10.0)
    assert machine.look(rules, 10.0).retry_after == 30.0
    machine.acquire(rules, "second", 40.0)
    machine.record(rules, "second", 4, "failure", 40.0)
    assert machine.look(rules, 40.0).retry_after == 90.0
    machine.acquire(rules, "third", 130.0)
    machine.record(rules, "third", 6, "success", 130.0)
    for _ in range(rules.max_fails):
        machine.record(rules, "", 7, "failure", 130.0)
    assert machine.look(rules, 130.0).retry_after == 10.0


def test_a_failed_probe_hears_the_service_too():
    machine = half_open()
    machine.record(RULES, "first", 2, "failure", 10.0, 42.0)
    assert machine.look(RULES, 10.0).retry_after == 42.0


def test_a_named_probe_keeps_its_name_and_one_without_gets_one():
    machine = failing(RULES, 0.0, 0.0)
    assert machine.acquire(RULES, "mine", 10.0) == Permit(2, True, False, "")
    assert machine.acquire(RULES, "", 10.0).owner not in ("", "mine")


# ---- set by hand ----


def test_forced_open_it_lets_nothing_pass_for_no_stated_time():
    machine = CircuitMachine()
    machine.force(RULES, "forced_open", 0.0)
    assert machine.acquire(RULES, "a", 1e9) == Open("forced_open", None)
    assert machine.look(RULES, 1e9) == Circuit("forced_open", 0, 1, None, 0)


def test_disabled_it_lets_everything_pass_and_wants_no_reports():
    machine = CircuitMachine()
    machine.force(RATE, "disabled", 0.0)
    assert machine.acquire(RATE, "a", 0.0) == Permit(1, False, True)
    assert machine.record(RATE, "a", 1, "failure", 0.0) is False


def test_observed_it_counts_and_lets_everything_pass():
    machine = CircuitMachine()
    machine.force(RULES, "observe", 0.0)
    for fails in range(5):
        assert machine.acquire(RULES, "a", 0.0) == Permit(1, False, fails == 0)
        assert machine.record(RULES, "a", 1, "failure", 0.0) is True
    assert machine.look(RULES, 0.0) == Circuit("observe", 5, 1, None, 0)


@pytest.mark.parametrize("state", ["open", "closed"])
def test_set_by_hand_it_begins_with_the_shortest_time_again(state):
    rules = RULES._replace(backoff=3.0)
    machine = half_open(rules)
    machine.record(rules, "first", 2, "failure", 10.0)
    machine.force(rules, state, 20.0)
    for _ in range(rules.max_fails if state == "closed" else 0):
        machine.record(rules, "", machine.generation, "failure", 20.0)
    assert machine.look(rules, 20.0).retry_after == 10.0
    assert machine.acquire(rules, "probe", 30.0).probe


# ---- forgotten ----


class Kept:
    """A circuit in a store, which forgets what nothing happened to for `idle_s`."""

    def __init__(self) -> None:
        self.now = 0.0
        self.store = MemoryStore(clock=lambda: self.now)

    def ask(self) -> Permit:
        return self.store.admit([BreakerAcquire("c", RULES, "me")]).receipts[0]

    def tell(self, generation: int, outcome: str) -> None:
        self.store.finish([BreakerRecord("c", RULES, "me", generation, outcome)])

    def is_known(self, after: float) -> bool:
        self.now += after
        self.store.sweep()
        return len(self.store) == 1


@pytest.fixture
def kept() -> Kept:
    return Kept()


def test_a_circuit_is_forgotten_when_nothing_was_said_of_it_for_long(kept):
    kept.tell(0, "failure")
    assert kept.is_known(after=99.0)
    kept.tell(0, "success")
    assert kept.is_known(after=99.0)
    assert not kept.is_known(after=1.0)


def test_a_probe_and_what_it_says_keep_it_known(kept):
    kept.tell(0, "failure")
    kept.tell(0, "failure")
    assert kept.is_known(after=90.0)
    permit = kept.ask()
    assert kept.is_known(after=7.0)
    kept.tell(permit.generation, "neutral")
    assert kept.is_known(after=97.0)
    assert kept.ask().probe
    assert kept.is_known(after=99.0)
    assert not kept.is_known(after=1.0)


@pytest.mark.parametrize("state", ["forced_open", "disabled", "observe"])
def test_what_was_set_by_hand_is_never_forgotten(kept, state):
    kept.store.force_circuit("c", RULES, state)
    assert kept.is_known(after=1e9)
    kept.tell(1, "failure")
    assert kept.is_known(after=1e9)
    kept.store.force_circuit("c", RULES, "closed")
    assert not kept.is_known(after=100.0)
