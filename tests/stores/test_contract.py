"""What every store promises, whoever keeps the state. Time passes only where a test says so."""

import pytest

from actguard.stores.protocol import (
    ANY_GENERATION,
    Algorithm,
    Begun,
    BreakerAcquire,
    BreakerRecord,
    BreakerRules,
    Counted,
    CounterGive,
    CounterSeen,
    CounterTake,
    Done,
    IdempotencyBegin,
    IdempotencyDone,
    IdempotencyLost,
    IdempotencyRecord,
    IdempotencyRelease,
    InProgress,
    Leased,
    LeaseGive,
    LeaseTake,
    Limit,
    Mismatch,
    NoPlace,
    Open,
    OverLimit,
    Permit,
    RateGive,
    RateTake,
    Refused,
    Taken,
    Unknown,
    UsedUp,
)
from tests.stores.places import Here

RULES = BreakerRules(max_fails=2, reset_timeout=8.0, probe_lease_s=4.0)


# ---- rates ----------------------------------------------------------------------------------------------------------


def two_a_second(key: str = "search", **options: object) -> RateTake:
    return RateTake(key, (Limit(2, 1.0),), **options)  # type: ignore[arg-type]


def test_as_many_calls_pass_as_the_limit_says(here: Here) -> None:
    first, second, third = here.ask(two_a_second()), here.ask(two_a_second()), here.ask(two_a_second())

    assert (first.remaining, second.remaining) == (1, 0)
    assert third == OverLimit(0, 0, pytest.approx(1.0, abs=1e-5))


def test_a_window_begins_anywhere(here: Here) -> None:
    here.ask(two_a_second())
    here.wait(0.75)
    here.ask(two_a_second())
    here.wait(0.25)  # the first call is a period old, the second is not

    assert here.ask(two_a_second()).remaining == 0
    assert here.ask(two_a_second()) == OverLimit(0, 0, pytest.approx(0.75, abs=1e-5))


def test_a_limit_holds_for_the_first_call_after_its_key_was_forgotten(here: Here) -> None:
    here.ask(two_a_second())
    here.wait(1.5)
    here.ask(two_a_second())
    here.wait(0.125)
    here.ask(two_a_second())

    assert isinstance(here.ask(two_a_second()), OverLimit)


def test_a_refused_call_takes_nothing(here: Here) -> None:
    here.ask(two_a_second()), here.ask(two_a_second())
    for _ in range(5):
        here.wait(0.125)
        here.ask(two_a_second())
    here.wait(0.5)

    assert isinstance(here.ask(two_a_second()), Taken)


def test_keys_do_not_share_a_limit(here: Here) -> None:
    here.ask(two_a_second("a")), here.ask(two_a_second("a"))

    assert isinstance(here.ask(two_a_second("a")), OverLimit)
    assert isinstance(here.ask(two_a_second("b")), Taken)


def test_several_limits_are_taken_together_or_not_at_all(here: Here) -> None:
    limits = (Limit(2, 1.0), Limit(3, 60.0))
    step = RateTake("search", limits)

    here.ask(step), here.ask(step)
    assert here.ask(step) == OverLimit(0, 0, pytest.approx(1.0, abs=1e-5))
    here.wait(2)
    assert here.ask(step).remaining == 0  # refused calls did not touch the long window
    assert here.ask(step) == OverLimit(1, 0, pytest.approx(58.0, abs=1e-5))


def test_a_short_window_does_not_forget_what_a_long_one_counts(here: Here) -> None:
    step = RateTake("search", (Limit(100, 0.0625), Limit(3, 10.0)))

    passed = 0
    for _ in range(8):
        passed += isinstance(here.ask(step), Taken)
        here.wait(0.125)

    assert passed == 3


def test_a_call_may_cost_more_than_one(here: Here) -> None:
    step = RateTake("search", (Limit(5, 1.0),))

    assert here.ask(step._replace(cost=3)).remaining == 2
    assert isinstance(here.ask(step._replace(cost=3)), OverLimit)
    assert here.ask(step._replace(cost=2)).remaining == 0


def test_a_call_that_was_not_made_gives_its_place_back_once(here: Here) -> None:
    step = two_a_second()
    here.ask(step)
    here.wait(0.125)
    taken = here.ask(step)

    give = RateGive(step.key, step.limits, taken.token)
    assert here.tell(give) is True
    assert here.tell(give) is False
    assert here.ask(step).remaining == 0
    assert isinstance(here.ask(step), OverLimit)


def test_what_has_aged_out_cannot_be_given_back(here: Here) -> None:
    step = two_a_second()
    taken = here.ask(step)
    here.wait(1.5)

    assert here.tell(RateGive(step.key, step.limits, taken.token)) is False


def test_of_thousands_of_calls_none_passes_early(here: Here) -> None:
    """Above 1024 calls, those that start together may be kept as one entry."""
    step = RateTake("bulk", (Limit(2000, 64.0),), cost=100)
    moments = []
    for tick in range(400):
        if isinstance(here.ask(step), Taken):
            moments.append(tick)
        here.wait(0.25)

    assert len(moments) >= 20
    for start in moments:
        assert sum(start <= moment < start + 256 for moment in moments) <= 20


def test_gcra_lets_a_burst_pass_and_then_one_at_a_time(here: Here) -> None:
    step = RateTake("drip", (Limit(4, 4.0, "gcra", 2),))

    assert [here.ask(step).remaining, here.ask(step).remaining] == [1, 0]
    assert here.ask(step) == OverLimit(0, 0, pytest.approx(1.0, abs=1e-5))
    here.wait(1)
    assert here.ask(step).remaining == 0
    assert isinstance(here.ask(step), OverLimit)
    here.wait(10)
    assert here.ask(step).remaining == 1


def test_gcra_gives_back(here: Here) -> None:
    step = RateTake("drip", (Limit(4, 4.0, "gcra", 1),))
    taken = here.ask(step)

    assert here.tell(RateGive(step.key, step.limits, taken.token)) is True
    assert isinstance(here.ask(step), Taken)
    here.wait(10)
    assert here.tell(RateGive(step.key, step.limits, taken.token)) is False


def test_fixed_windows_begin_at_whole_multiples_of_the_period(here: Here) -> None:
    step = RateTake("hourly", (Limit(2, 16.0, "fixed"),))
    here.wait(16 - here.clock() % 16 + 12)  # into a window

    here.ask(step), here.ask(step)
    assert here.ask(step) == OverLimit(0, 0, pytest.approx(4.0, abs=1e-5))
    here.wait(4)
    assert here.ask(step).remaining == 1


def test_a_fixed_window_gives_back_only_in_its_own_time(here: Here) -> None:
    step = RateTake("hourly", (Limit(2, 16.0, "fixed"),))
    here.wait(16 - here.clock() % 16)
    first = here.ask(step)

    assert here.tell(RateGive(step.key, step.limits, first.token)) is True
    assert here.ask(step).remaining == 1
    here.wait(16)
    here.ask(step)
    assert here.tell(RateGive(step.key, step.limits, first.token)) is False


# ---- counters -------------------------------------------------------------------------------------------------------


def test_a_counter_stops_at_its_limit_and_counts_refusals_apart(here: Here) -> None:
    step = CounterTake("attempts", 2, 60)

    assert [here.ask(step) for _ in range(4)] == [Counted(1), Counted(2), UsedUp(2, 1), UsedUp(2, 2)]


def test_a_use_can_be_taken_back(here: Here) -> None:
    step = CounterTake("attempts", 1, 60)
    here.ask(step)

    assert here.tell(CounterGive("attempts")) is True
    assert here.tell(CounterGive("attempts")) is False
    assert here.ask(step) == Counted(1)


def test_a_use_that_comes_out_otherwise_is_the_first_again(here: Here) -> None:
    step = CounterTake("polls", 2, 10)
    assert here.tell(CounterSeen("polls", "x")) is False
    here.ask(step)
    assert here.tell(CounterSeen("polls", "x")) is False
    assert here.ask(step) == Counted(2)
    assert here.tell(CounterSeen("polls", "x")) is False
    assert here.ask(step) == UsedUp(2, 1)
    assert here.tell(CounterSeen("polls", "y")) is True
    assert here.ask(step) == Counted(2)
    assert here.ask(step) == UsedUp(2, 1)
    here.wait(11)
    here.ask(step)
    assert here.tell(CounterSeen("polls", "z")) is False  # what came before is forgotten


def test_a_counter_is_forgotten_after_its_last_use(here: Here) -> None:
    step = CounterTake("attempts", 1, 10)
    here.ask(step)
    here.wait(9)
    assert isinstance(here.ask(step), UsedUp)
    here.wait(9)
    assert isinstance(here.ask(step), UsedUp)
    here.wait(10)

    assert here.ask(step) == Counted(1)


# ---- circuits -------------------------------------------------------------------------------------------------------


def acquire(key: str = "mail", rules: BreakerRules = RULES, owner: str = "me") -> BreakerAcquire:
    return BreakerAcquire(key, rules, owner)


def outcome(
    permit: Permit, how: str, key: str = "mail", rules: BreakerRules = RULES, owner: str = "me"
) -> BreakerRecord:
    return BreakerRecord(key, rules, owner, permit.generation, how)  # type: ignore[arg-type]


def fail(here: Here, times: int, rules: BreakerRules = RULES) -> None:
    for _ in range(times):
        here.tell(outcome(here.ask(acquire(rules=rules)), "failure", rules=rules))


def test_a_circuit_that_nothing_happened_to_asks_for_no_report_of_success(here: Here) -> None:
    assert here.ask(acquire()) == Permit(0, False, True)
    fail(here, 1)
    assert here.ask(acquire()).quiet is False


def test_failures_in_a_row_open_the_circuit(here: Here) -> None:
    fail(here, 2)

    assert here.ask(acquire()) == Open("open", pytest.approx(8.0))
    here.wait(3)
    assert here.ask(acquire()) == Open("open", pytest.approx(5.0))


def test_a_success_in_between_begins_a_new_row(here: Here) -> None:
    fail(here, 1)
    here.tell(outcome(here.ask(acquire()), "success"))
    fail(here, 1)

    assert isinstance(here.ask(acquire()), Permit)


def test_a_neutral_end_neither_counts_nor_resets(here: Here) -> None:
    fail(here, 1)
    assert here.tell(outcome(here.ask(acquire()), "neutral")) is False
    fail(here, 1)

    assert isinstance(here.ask(acquire()), Open)


def test_an_open_circuit_lets_its_probes_pass_when_its_time_is_over(here: Here) -> None:
    fail(here, 2)
    here.wait(8)

    probe = here.ask(acquire(owner="a"))
    assert probe.probe
    assert here.ask(acquire(owner="b")) == Open("half_open", pytest.approx(4.0))


def test_a_successful_probe_closes_the_circuit(here: Here) -> None:
    fail(here, 2)
    here.wait(8)
    assert here.tell(outcome(here.ask(acquire(owner="a")), "success", owner="a")) is True

    assert here.ask(acquire()).quiet
    assert here.store.circuit("mail", RULES).state == "closed"


def test_a_failed_probe_opens_the_circuit_for_longer(here: Here) -> None:
    rules = RULES._replace(backoff=2.0, max_open_s=20.0)
    fail(here, 2, rules)
    waits = []
    for _ in range(3):
        here.wait(here.ask(acquire(rules=rules)).retry_after)
        here.tell(outcome(here.ask(acquire(rules=rules)), "failure", rules=rules))
        waits.append(here.ask(acquire(rules=rules)).retry_after)

    assert waits == [pytest.approx(16.0), pytest.approx(20.0), pytest.approx(20.0)]


def test_a_cancelled_probe_gives_its_place_back(here: Here) -> None:
    fail(here, 2)
    here.wait(8)
    assert here.tell(outcome(here.ask(acquire(owner="a")), "neutral", owner="a")) is True

    assert here.ask(acquire(owner="b")).probe


def test_who_was_never_told_that_he_is_a_probe_gives_his_place_back(here: Here) -> None:
    fail(here, 2)
    here.wait(8)
    here.ask(acquire(owner="a"))
    withdrawn = BreakerRecord("mail", RULES, "a", ANY_GENERATION, "neutral")

    assert here.tell(withdrawn._replace(owner="b")) is False
    assert isinstance(here.ask(acquire(owner="b")), Open)
    assert here.tell(withdrawn) is True
    probe = here.ask(acquire(owner="b"))
    assert probe.probe
    here.tell(outcome(probe, "success", owner="b"))
    assert here.tell(withdrawn) is False  # there are no probes any more
    assert here.store.circuit("mail", RULES).state == "closed"


def test_a_probe_whose_process_died_loses_its_place(here: Here) -> None:
    fail(here, 2)
    here.wait(8)
    dead = here.ask(acquire(owner="dead"))
    here.wait(4)

    alive = here.ask(acquire(owner="alive"))
    assert alive.probe
    assert here.tell(outcome(dead, "success", owner="dead")) is False
    assert here.tell(outcome(alive, "success", owner="alive")) is True


def test_as_many_probes_must_succeed_as_the_rules_say(here: Here) -> None:
    rules = RULES._replace(half_open_probes=2, successes_to_close=3)
    fail(here, 2, rules)
    here.wait(8)
    for owner in ("a", "b", "c"):
        assert here.store.circuit("mail", rules).state == "half_open"
        here.tell(outcome(here.ask(acquire(rules=rules, owner=owner)), "success", rules=rules, owner=owner))

    assert here.store.circuit("mail", rules).state == "closed"


def test_what_an_older_generation_reports_is_dropped(here: Here) -> None:
    slow = here.ask(acquire())
    fail(here, 2)

    assert here.tell(outcome(slow, "success")) is False
    assert here.tell(outcome(slow, "failure")) is False
    assert isinstance(here.ask(acquire()), Open)


def test_a_row_of_failures_goes_on_after_the_circuit_was_forgotten(here: Here) -> None:
    rules = RULES._replace(idle_s=10.0)
    fail(here, 1, rules)
    here.wait(11)
    for _ in range(2):  # whether or not the first failure was forgotten
        permit = here.ask(acquire(rules=rules))
        if isinstance(permit, Permit):
            here.tell(outcome(permit, "failure", rules=rules))

    assert isinstance(here.ask(acquire(rules=rules)), Open)


def test_what_a_call_of_an_older_circuit_says_does_not_count_in_the_next_one(here: Here) -> None:
    slow = here.ask(acquire())
    fail(here, 2)
    here.wait(8)
    here.tell(outcome(here.ask(acquire(owner="probe")), "success", owner="probe"))
    fail(here, 1)

    assert here.tell(outcome(slow, "failure")) is False
    assert here.tell(outcome(slow, "success")) is False
    assert here.store.circuit("mail", RULES).fails == 1


def test_a_share_of_failures_opens_the_circuit_once_there_were_enough_calls(here: Here) -> None:
    rules = RULES._replace(failure_rate=0.5, min_calls=4, window=16.0)
    for how in ("failure", "success", "failure"):
        permit = here.ask(acquire(rules=rules))
        assert not permit.quiet
        here.tell(outcome(permit, how, rules=rules))
    assert isinstance(here.ask(acquire(rules=rules)), Permit)
    fail(here, 1, rules)

    assert isinstance(here.ask(acquire(rules=rules)), Open)


def test_the_window_of_a_share_forgets(here: Here) -> None:
    rules = RULES._replace(failure_rate=0.5, min_calls=4, window=16.0)
    fail(here, 3, rules)
    here.wait(17)
    fail(here, 1, rules)

    assert isinstance(here.ask(acquire(rules=rules)), Permit)


def test_a_failure_that_says_when_to_come_back_opens_the_circuit_until_then(here: Here) -> None:
    permit = here.ask(acquire())
    here.tell(outcome(permit, "failure")._replace(open_for=30.0))

    assert here.ask(acquire()) == Open("open", pytest.approx(30.0))


def test_a_circuit_can_be_put_into_a_state_by_hand(here: Here) -> None:
    here.store.force_circuit("mail", RULES, "forced_open")
    here.wait(1_000_000)
    assert here.ask(acquire()) == Open("forced_open", None)

    here.store.force_circuit("mail", RULES, "disabled")
    fail(here, 5)
    assert here.ask(acquire()).quiet

    here.store.force_circuit("mail", RULES, "observe")
    fail(here, 5)
    assert isinstance(here.ask(acquire()), Permit)
    assert here.store.circuit("mail", RULES).fails == 5

    here.store.force_circuit("mail", RULES, "open")
    assert here.ask(acquire()) == Open("open", pytest.approx(8.0))

    here.store.force_circuit("mail", RULES, "closed")
    assert here.ask(acquire()).quiet


def test_a_circuit_is_looked_at_without_being_changed(here: Here) -> None:
    assert here.store.circuit("mail", RULES).state == "closed"
    fail(here, 1)
    assert here.store.circuit("mail", RULES).fails == 1
    fail(here, 1)
    circuit = here.store.circuit("mail", RULES)
    assert (circuit.state, circuit.retry_after, circuit.probes) == ("open", pytest.approx(8.0), 0)
    here.wait(8)
    assert here.store.circuit("mail", RULES).state == "half_open"
    assert here.store.circuit("mail", RULES).generation == circuit.generation
    here.ask(acquire(owner="a"))
    assert here.store.circuit("mail", RULES).probes == 1


# ---- idempotency ----------------------------------------------------------------------------------------------------


def begin(owner: str = "a", fingerprint: str | None = None) -> IdempotencyBegin:
    return IdempotencyBegin("pay-1", owner, 60.0, 8.0, fingerprint)


def test_a_key_has_one_holder(records: Here) -> None:
    assert records.ask(begin("a")) == Begun()
    records.wait(2)
    assert records.ask(begin("b")) == InProgress(pytest.approx(6.0))
    assert records.ask(begin("a")) == InProgress(pytest.approx(6.0))


def test_a_result_is_kept_for_those_who_come_later(records: Here) -> None:
    records.ask(begin("a"))

    assert records.tell(IdempotencyDone("pay-1", "a", 60, '{"paid": 1}')) is True
    assert records.ask(begin("b")) == Done('{"paid": 1}')
    records.wait(60)
    assert records.ask(begin("c")) == Begun()


@pytest.mark.parametrize("text", ["", "null", "a\nb\r\n\0c", "é ☃ \U0001f600", "x" * 200_000])
def test_a_result_comes_back_as_it_was(records: Here, text: str) -> None:
    records.ask(begin("a"))
    records.tell(IdempotencyDone("pay-1", "a", 60, text))

    assert records.ask(begin("b")) == Done(text)


def test_only_the_owner_ends_his_call(records: Here) -> None:
    records.ask(begin("a"))

    assert records.tell(IdempotencyDone("pay-1", "b", 60, "1")) is False
    assert records.tell(IdempotencyLost("pay-1", "b", 60, "x")) is False
    assert records.tell(IdempotencyRelease("pay-1", "b")) is False
    assert records.store.idem_heartbeat("pay-1", "b", 8.0) is False
    assert isinstance(records.ask(begin("b")), InProgress)


def test_a_call_ends_once(records: Here) -> None:
    records.ask(begin("a"))
    records.tell(IdempotencyDone("pay-1", "a", 60, "1"))

    assert records.tell(IdempotencyDone("pay-1", "a", 60, "2")) is False
    assert records.tell(IdempotencyLost("pay-1", "a", 60, "x")) is False
    assert records.tell(IdempotencyRelease("pay-1", "a")) is False
    assert records.ask(begin("b")) == Done("1")


def test_a_call_that_was_not_made_frees_the_key(records: Here) -> None:
    records.ask(begin("a"))

    assert records.tell(IdempotencyRelease("pay-1", "a")) is True
    assert records.ask(begin("b")) == Begun()


def test_a_call_that_nobody_knows_the_end_of_is_not_made_again(records: Here) -> None:
    records.ask(begin("a"))

    assert records.tell(IdempotencyLost("pay-1", "a", 60, "timed out")) is True
    assert records.ask(begin("b")) == Unknown("timed out")


def test_a_holder_that_died_leaves_an_unknown_end(records: Here) -> None:
    records.ask(begin("a"))
    records.wait(8)

    assert isinstance(records.ask(begin("b")), Unknown)
    records.wait(59)
    assert isinstance(records.ask(begin("b")), Unknown)
    records.wait(1)
    assert records.ask(begin("b")) == Begun()


def test_a_heartbeat_keeps_the_lease(records: Here) -> None:
    records.ask(begin("a"))
    for _ in range(5):
        records.wait(6)
        assert records.store.idem_heartbeat("pay-1", "a", 8.0) is True
    assert isinstance(records.ask(begin("b")), InProgress)
    records.wait(8)

    assert records.store.idem_heartbeat("pay-1", "a", 8.0) is False
    assert isinstance(records.ask(begin("b")), Unknown)


def test_a_late_owner_still_says_what_came_of_it(records: Here) -> None:
    records.ask(begin("a"))
    records.wait(9)

    assert records.tell(IdempotencyDone("pay-1", "a", 60, "1")) is True
    assert records.ask(begin("b")) == Done("1")


def test_a_key_goes_with_one_set_of_arguments(records: Here) -> None:
    records.ask(begin("a", "print-1"))

    assert records.ask(begin("b", "print-2")) == Mismatch()
    assert isinstance(records.ask(begin("b", "print-1")), InProgress)
    assert isinstance(records.ask(begin("b")), InProgress)
    records.tell(IdempotencyDone("pay-1", "a", 60, "1"))
    assert records.ask(begin("b", "print-2")) == Mismatch()
    assert records.ask(begin("b", "print-1")) == Done("1")


def test_an_unknown_end_is_resolved_by_hand(records: Here) -> None:
    records.ask(begin("a"))
    assert records.store.resolve_idempotency("pay-1", None, ttl_s=60) is False
    records.wait(8)

    assert records.store.resolve_idempotency("pay-1", Done("1"), ttl_s=60) is True
    assert records.store.resolve_idempotency("pay-1", None, ttl_s=60) is False
    assert records.ask(begin("b")) == Done("1")
    assert records.tell(IdempotencyDone("pay-1", "a", 60, "2")) is False


def test_what_was_never_executed_may_begin_again(records: Here) -> None:
    records.ask(begin("a"))
    records.tell(IdempotencyLost("pay-1", "a", 60, "x"))

    assert records.store.resolve_idempotency("pay-1", None, ttl_s=60) is True
    assert records.ask(begin("b")) == Begun()


def test_records_are_listed_as_they_stand(records: Here) -> None:
    for key in ("pay-1", "pay-2", "pay-3", "send-1", "p*y"):
        records.ask(IdempotencyBegin(key, f"owner-{key}", 60, 8, "print"))
    records.tell(IdempotencyDone("pay-1", "owner-pay-1", 60, "1"), IdempotencyLost("pay-2", "owner-pay-2", 60, "x"))

    listed = {record.key: record for record in records.store.list_idempotency("pay-")}
    assert listed == {
        "pay-1": IdempotencyRecord("pay-1", "done", "owner-pay-1", "print", "1"),
        "pay-2": IdempotencyRecord("pay-2", "unknown", "owner-pay-2", "print", None, "x"),
        "pay-3": IdempotencyRecord("pay-3", "in_progress", "owner-pay-3", "print"),
    }
    assert len(records.store.list_idempotency()) == 5
    assert [record.key for record in records.store.list_idempotency("p*")] == ["p*y"]
    assert [record.key for record in records.store.list_idempotency(state="done")] == ["pay-1"]
    assert len(records.store.list_idempotency(limit=2)) == 2
    records.wait(8)
    assert {record.key for record in records.store.list_idempotency("pay", state="unknown")} == {"pay-2", "pay-3"}


# ---- places ---------------------------------------------------------------------------------------------------------


def place(owner: str) -> LeaseTake:
    return LeaseTake("workers", owner, 2, 8.0)


def test_there_are_as_many_places_as_the_limit_says(here: Here) -> None:
    assert here.ask(place("a")) == Leased()
    here.wait(1)
    assert here.ask(place("b")) == Leased()
    assert here.ask(place("c")) == NoPlace(pytest.approx(7.0))
    assert here.tell(LeaseGive("workers", "a")) is True
    assert here.ask(place("c")) == Leased()


def test_a_place_is_given_back_once(here: Here) -> None:
    here.ask(place("a"))

    assert [here.tell(LeaseGive("workers", "a")), here.tell(LeaseGive("workers", "a"))] == [True, False]


def test_a_place_whose_holder_died_is_free_after_its_lease(here: Here) -> None:
    here.ask(place("a")), here.ask(place("b"))
    here.wait(4)
    assert here.store.lease_heartbeat("workers", "b", 8.0) is True
    here.wait(4)

    assert here.store.lease_heartbeat("workers", "a", 8.0) is False
    assert here.tell(LeaseGive("workers", "a")) is False
    assert here.ask(place("c")) == Leased()
    assert here.ask(place("d")) == NoPlace(pytest.approx(4.0))


def waiting(owner: str, limit: int = 2) -> LeaseTake:
    return LeaseTake("workers", owner, limit, 8.0, waits_s=1.0)


def test_who_waits_has_his_turn_before_those_who_came_later(here: Here) -> None:
    here.ask(place("a")), here.ask(place("b"))
    assert isinstance(here.ask(waiting("first")), NoPlace)
    assert isinstance(here.ask(waiting("second")), NoPlace)
    here.tell(LeaseGive("workers", "a"))

    assert isinstance(here.ask(place("newcomer")), NoPlace)
    assert isinstance(here.ask(waiting("second")), NoPlace)
    assert here.ask(waiting("first")) == Leased()
    here.tell(LeaseGive("workers", "b"))
    assert isinstance(here.ask(place("newcomer")), NoPlace)
    assert here.ask(waiting("second")) == Leased()
    here.tell(LeaseGive("workers", "first"))
    assert here.ask(place("newcomer")) == Leased()


def test_there_are_as_many_turns_at_once_as_there_are_places(here: Here) -> None:
    for owner in "abc":
        here.ask(waiting(owner, 3))
    for owner in "def":
        assert isinstance(here.ask(waiting(owner, 3)), NoPlace)
    here.tell(LeaseGive("workers", "a"), LeaseGive("workers", "b"))

    assert isinstance(here.ask(waiting("f", 3)), NoPlace)
    assert here.ask(waiting("e", 3)) == Leased()
    assert here.ask(waiting("d", 3)) == Leased()


def test_who_does_not_ask_again_in_time_has_lost_his_turn(here: Here) -> None:
    here.ask(place("a")), here.ask(place("b"))
    here.ask(waiting("gone"))
    here.wait(0.5)
    here.ask(waiting("there"))
    here.tell(LeaseGive("workers", "a"))
    here.wait(0.25)
    assert here.ask(place("newcomer")) == NoPlace(pytest.approx(0.25))
    assert isinstance(here.ask(waiting("there")), NoPlace)
    here.wait(0.25)
    assert isinstance(here.ask(place("newcomer")), NoPlace)
    assert here.ask(waiting("there")) == Leased()


def test_who_gives_up_gives_his_turn_back_and_keeps_his_number_while_he_asks(here: Here) -> None:
    here.ask(place("a")), here.ask(place("b"))
    here.ask(waiting("first")), here.ask(waiting("second")), here.ask(waiting("third"))
    for _ in range(3):
        here.wait(0.75)
        here.ask(waiting("third")), here.ask(waiting("second")), here.ask(waiting("first"))
    assert here.tell(LeaseGive("workers", "first")) is False
    here.tell(LeaseGive("workers", "a"))
    assert isinstance(here.ask(waiting("third")), NoPlace)
    assert here.ask(waiting("second")) == Leased()


def test_who_only_watches_takes_no_turn(here: Here) -> None:
    here.ask(place("a")), here.ask(place("b"))
    here.ask(waiting("watcher")._replace(observe=True))
    here.tell(LeaseGive("workers", "a"))
    assert here.ask(place("newcomer")) == Leased()


# ---- together -------------------------------------------------------------------------------------------------------

EVERYTHING = (
    IdempotencyBegin("key", "me", 60, 8),
    CounterTake("key", 5, 60),
    BreakerAcquire("key", RULES, "me"),
    RateTake("key", (Limit(2, 1.0), Limit(10, 60.0, "gcra"), Limit(10, 64.0, "fixed"))),
    LeaseTake("key", "me", 3, 8),
)


def test_all_guards_of_a_call_are_asked_at_once(here: Here) -> None:
    begun, counted, permit, taken, leased = here.ask(*EVERYTHING)

    assert (begun, counted, permit, leased) == (Begun(), Counted(1), Permit(0, False, True), Leased())
    assert taken.remaining == 1


@pytest.mark.parametrize("refusing", range(5))
def test_when_one_guard_refuses_no_other_keeps_what_it_took(here: Here, refusing: int) -> None:
    full = (
        lambda: here.ask(IdempotencyBegin("key", "other", 60, 8)),
        lambda: [here.ask(CounterTake("key", 5, 60)) for _ in range(5)],
        lambda: here.store.force_circuit("key", RULES, "forced_open"),
        lambda: [here.ask(EVERYTHING[3]) for _ in range(2)],
        lambda: [here.ask(LeaseTake("key", f"other-{n}", 3, 8)) for n in range(3)],
    )
    full[refusing]()
    steps = (*EVERYTHING[:refusing], *EVERYTHING[refusing + 1 :], EVERYTHING[refusing])  # it comes last

    answer = here.store.admit(steps)

    assert isinstance(answer, Refused)
    assert answer.step == 4
    rest = here.ask(*steps[:-1])
    assert isinstance(rest, list)  # nothing of them was taken
    assert not any(isinstance(receipt, Counted) and receipt.used != 1 for receipt in rest)
    assert not any(isinstance(receipt, Taken) and receipt.remaining != 1 for receipt in rest)


@pytest.mark.parametrize("algorithm", ["sliding", "gcra", "fixed"])
def test_a_limit_that_was_partly_used_is_put_back_as_it_was(here: Here, algorithm: Algorithm) -> None:
    step = RateTake("search", (Limit(3, 16.0, algorithm),))
    here.wait(16 - here.clock() % 16)
    here.ask(step)
    here.ask(CounterTake("full", 1, 60))
    for _ in range(3):
        here.wait(1)
        assert isinstance(here.ask(step, CounterTake("full", 1, 60)), UsedUp)

    assert [here.ask(step).remaining, here.ask(step).remaining] == [1, 0]
    assert isinstance(here.ask(step), OverLimit)
    here.wait(13)  # the first call has aged out, or a window begins
    assert isinstance(here.ask(step), Taken)
    if algorithm == "sliding":
        here.wait(2.5)  # what was put back does not age
        assert isinstance(here.ask(step), OverLimit)


def test_a_refusal_of_the_first_guard_stops_at_once(here: Here) -> None:
    here.ask(CounterTake("a", 1, 60))

    assert here.store.admit((CounterTake("a", 1, 60), CounterTake("b", 1, 60))) == Refused(0, UsedUp(1, 1))
    assert here.ask(CounterTake("b", 1, 60)) == Counted(1)


def test_the_same_key_twice_in_one_call_counts_twice(here: Here) -> None:
    step = CounterTake("a", 3, 60)

    assert here.ask(step, step) == [Counted(1), Counted(2)]
    assert here.store.admit((step, step)) == Refused(1, UsedUp(3, 1))
    assert here.ask(step) == Counted(3)


def test_an_observed_guard_says_what_it_would_have_refused(here: Here) -> None:
    here.ask(CounterTake("a", 1, 60))

    assert here.ask(CounterTake("a", 1, 60, observe=True), CounterTake("b", 1, 60)) == [UsedUp(1, 1), Counted(1)]


def test_a_probe_of_a_refused_call_is_free_again(here: Here) -> None:
    fail(here, 2)
    here.wait(8)
    here.ask(CounterTake("full", 1, 60))

    assert isinstance(here.ask(acquire(owner="a"), CounterTake("full", 1, 60)), UsedUp)
    assert here.ask(acquire(owner="b")).probe


def test_reports_are_carried_out_each_whatever_the_others_do(here: Here) -> None:
    here.ask(CounterTake("a", 5, 60), IdempotencyBegin("key", "me", 60, 8))

    assert here.tell(CounterGive("none"), IdempotencyRelease("key", "me"), CounterGive("a")) == [False, True, True]


def test_kinds_do_not_share_keys(here: Here) -> None:
    here.ask(*EVERYTHING)

    assert here.store.forget("counter", "key") == 1
    assert here.ask(CounterTake("key", 5, 60)) == Counted(1)
    assert isinstance(here.ask(EVERYTHING[0]), InProgress)


def test_what_is_forgotten_begins_anew(here: Here) -> None:
    for key in ("tool-1", "tool-2", "other", "to[o]l*"):
        here.ask(CounterTake(key, 1, 60), RateTake(key, (Limit(1, 60.0),)))

    assert here.store.forget("counter", "tool-") == 2
    assert here.store.forget("counter", "to[o]l*") == 1
    assert here.store.forget("rate", "tool-1") == 1
    assert here.store.forget("rate", "nobody") == 0
    assert here.ask(CounterTake("tool-1", 1, 60)) == Counted(1)
    assert isinstance(here.ask(CounterTake("other", 1, 60)), UsedUp)
    assert isinstance(here.ask(RateTake("tool-2", (Limit(1, 60.0),))), OverLimit)


@pytest.mark.parametrize("key", ["with space", "a:b", "{x}", "é☃", "\ud800", "x" * 500, "new\nline", "*"])
def test_any_text_is_a_key(here: Here, key: str) -> None:
    assert here.ask(CounterTake(key, 1, 60)) == Counted(1)
    assert here.ask(CounterTake(key, 1, 60)) == UsedUp(1, 1)
    assert here.ask(CounterTake(key + "'", 1, 60)) == Counted(1)


def test_a_store_says_how_it_is_to_be_called(here: Here) -> None:
    assert here.store.serialises in (True, False)
    assert here.store.blocking in (True, False)
