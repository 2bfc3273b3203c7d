"""A rate limit against a plain list of the calls that were let through."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from actguard.stores.memory import MemoryStore
from actguard.stores.protocol import Admitted, Limit, OverLimit, RateGive, RateTake, Refused, Taken
from actguard.stores.rate import Fixed, Gcra, Sliding, grain_of, remaining

LIMITS = (Limit(3, 10.0), Limit(5, 60.0))
STEPS = st.integers(0, 16).map(lambda quarters: quarters * 0.25)  # exact in binary: the oracle compares floats


class SeveralLimits(RuleBasedStateMachine):
    """Two sliding limits on one key, each an exact window; a call counts in both or in none."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.store = MemoryStore(clock=lambda: self.now)
        self.calls: list[tuple[float, int]] = []

    def used(self, limit: Limit) -> int:
        return sum(cost for stamp, cost in self.calls if stamp + limit.period > self.now)

    def ask(self, cost: int) -> Taken | OverLimit:
        answer = self.store.admit([RateTake("k", LIMITS, cost)])
        return answer.receipts[0] if isinstance(answer, Admitted) else answer.refusal

    @rule(seconds=STEPS)
    def time_passes(self, seconds):
        self.now += seconds

    @rule(cost=st.integers(1, 3))
    def call(self, cost):
        full = [index for index, limit in enumerate(LIMITS) if self.used(limit) + cost > limit.max_calls]
        answer = self.ask(cost)
        if full:
            assert isinstance(answer, OverLimit)
            assert answer.limit == full[0]
            assert answer.remaining == max(0, LIMITS[full[0]].max_calls - self.used(LIMITS[full[0]]))
            limit, now = LIMITS[full[0]], self.now
            self.now = now + answer.retry_after
            assert answer.retry_after > 0
            assert self.used(limit) + cost <= limit.max_calls
            self.now = now + answer.retry_after - 0.125
            assert self.used(limit) + cost > limit.max_calls
            self.now = now
        else:
            self.calls.append((self.now, cost))
            assert isinstance(answer, Taken)
            assert answer.remaining == min(limit.max_calls - self.used(limit) for limit in LIMITS)

    @rule(data=st.data())
    def one_is_given_back(self, data):
        if not self.calls:
            return
        stamp, cost = data.draw(st.sampled_from(self.calls))
        alive = stamp + max(limit.period for limit in LIMITS) > self.now
        (done,) = self.store.finish([RateGive("k", LIMITS, stamp, cost)])
        assert done == alive
        self.calls.remove((stamp, cost))

    @invariant()
    def no_window_holds_more(self):
        for limit in LIMITS:
            for begin, _ in self.calls:
                inside = sum(cost for stamp, cost in self.calls if begin <= stamp < begin + limit.period)
                assert inside <= limit.max_calls


TestSeveralLimits = SeveralLimits.TestCase
TestSeveralLimits.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@given(st.lists(st.tuples(st.floats(0, 0.01), st.integers(1, 3)), max_size=400))
@settings(max_examples=30, deadline=None)
def test_a_log_too_long_to_keep_is_late_at_most_never_early(calls):
    limit = Limit(2000, 1.0)
    meter, passed, now = Sliding(), [], 50.0
    for pause, cost in calls * 10:
        now += pause
        exact = sum(count for stamp, count in passed if stamp + limit.period > now)
        late = sum(count for stamp, count in passed if stamp + limit.period * (1 + 2 / 1024) > now)
        if meter.take(limit.max_calls, limit.period, grain_of(limit), cost, now):
            assert exact + cost <= limit.max_calls
            passed.append((now, cost))
        else:
            assert late + cost > limit.max_calls
    assert len(meter._entries) <= 1026


def test_only_a_long_log_keeps_calls_together():
    assert grain_of(Limit(1024, 60.0)) == 0.0
    assert grain_of(Limit(1025, 60.0)) == 60.0 / 1024
    meter = Sliding()
    for _ in range(3):
        assert meter.take(1024, 60.0, 0.0, 1, 5.0)
    assert len(meter._entries) == 3


@given(
    st.integers(1, 20),
    st.one_of(st.none(), st.integers(1, 30)),
    st.lists(st.floats(0, 5, allow_nan=False), max_size=80),
)
def test_a_bucket_lets_a_burst_through_and_then_drips(max_calls, burst, pauses):
    limit = Limit(max_calls, 10.0, "gcra", burst)
    meter, level, now = Gcra(), 0.0, 7.0
    size = burst or max_calls
    for pause in pauses:
        now += pause
        level = max(0.0, level - pause * max_calls / 10.0)
        wait = meter.wait(limit, 1, now)
        if level + 1 <= size + 1e-5:
            assert wait == 0
            meter.add(limit, 1, now)
            level += 1
        elif level + 1 > size + 1e-4:
            assert wait == pytest.approx((level + 1 - size) * 10.0 / max_calls, abs=1e-3)
        assert 0 <= remaining(meter, limit, now) <= size


def test_a_whole_burst_passes_at_any_time_of_day():
    for begin in (0.1, 1e5 + 1 / 3, 1e7 + 0.7):
        meter, limit = Gcra(), Limit(10, 1.0, "gcra")
        for _ in range(10):
            assert meter.wait(limit, 1, begin) == 0
            meter.add(limit, 1, begin)
        assert meter.wait(limit, 1, begin) == pytest.approx(0.1, rel=1e-3)


def test_fixed_windows_begin_at_multiples_of_the_period():
    meter, limit = Fixed(), Limit(2, 10.0, "fixed")
    for now in (19.0, 19.5):
        assert meter.wait(limit, 1, now) == 0
        meter.add(limit, 1, now)
    assert meter.wait(limit, 1, 19.75) == 0.25
    assert meter.wait(limit, 2, 20.0) == 0
    assert meter.give(limit, 1, 19.5, 20.0) is False


def test_what_was_taken_is_given_back_once():
    meter, limit = Sliding(), Limit(2, 10.0)
    assert meter.take(2, 10.0, 0.0, 1, 1.0)
    assert meter.take(2, 10.0, 0.0, 1, 2.0)
    assert not meter.take(2, 10.0, 0.0, 1, 3.0)
    assert meter.wait(limit, 1, 3.0) == 8.0
    assert meter.give(limit, 1, 1.0, 3.0)
    assert not meter.give(limit, 1, 1.0, 3.0)
    assert meter.wait(limit, 1, 3.0) == 0
    assert not meter.give(limit, 1, 2.0, 12.0)


def test_after_the_youngest_call_is_given_back_the_next_one_is_an_entry_of_its_own():
    meter, limit = Sliding(), Limit(2000, 1024.0)  # calls of one second are kept together
    meter.add(limit, 1, 10.0)
    for now in (11.5, 12.0):
        assert meter.take(2000, 1024.0, 1.0, 1, now)
        assert meter.give(limit, 1, now, now)
    assert meter._entries == [(10.0, 1)]
    assert meter.give(limit, 1, 10.0, 12.0)
    assert meter.take(2000, 1024.0, 1.0, 1, 12.0)
    assert meter._entries == [(12.0, 1)]
    assert meter.wait(limit, 2000, 12.0) == 1024.0


def test_a_log_whose_calls_are_all_over_is_a_new_one():
    meter, limit = Sliding(), Limit(2, 10.0)
    for begin in (0.0, 10.0, 25.0):
        assert meter.take(2, 10.0, 0.0, 1, begin)
        assert meter.take(2, 10.0, 0.0, 1, begin + 1.0)
        assert not meter.take(2, 10.0, 0.0, 1, begin + 9.5)
    assert meter.wait(limit, 1, 34.5) == 0.5
    assert len(meter._entries) == 2


def test_a_step_that_refuses_takes_nothing_of_the_steps_before_it():
    store = MemoryStore(clock=lambda: 5.0)
    first, second = RateTake("a", (Limit(2, 10.0),)), RateTake("b", (Limit(1, 10.0),))
    assert isinstance(store.admit([first, second]), Admitted)
    for _ in range(5):
        assert isinstance(store.admit([first, second]), Refused)
    assert isinstance(store.admit([first]), Admitted)
    assert isinstance(store.admit([first]), Refused)


def test_an_observed_step_lets_the_call_pass_and_takes_nothing():
    store = MemoryStore(clock=lambda: 5.0)
    step = RateTake("a", (Limit(1, 10.0),), 1, True)
    assert isinstance(store.admit([step]).receipts[0], Taken)
    assert isinstance(store.admit([step]).receipts[0], OverLimit)
    assert math.isclose(store.admit([step]).receipts[0].retry_after, 10.0)
