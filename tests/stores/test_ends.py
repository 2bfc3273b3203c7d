"""Whatever order keys are added in, each is taken when it is over, and the one that ends first before all others."""

from math import inf

from hypothesis import example, given
from hypothesis import strategies as st

from actguard.stores.ends import Ends

KINDS = ("rate", "counter", "idempotency")
ADDED = st.tuples(st.sampled_from([0.0, 0.5, 1.0, 2.0, 60.0]), st.sampled_from(KINDS))


@given(st.lists(st.one_of(ADDED, st.just(None)), max_size=60))
@example([(0.5, "rate"), (1.0, "rate"), (0.5, "rate")])  # the last one ends before one that stands in a line
def test_the_first_one_is_taken_first(turns):
    ends, known, now = Ends(), {}, 0.0
    for place, turn in enumerate(turns):
        if turn is not None:
            lasts, kind = turn
            ends.add(now + lasts, kind, f"key {place}")
            known[kind, f"key {place}"] = now + lasts
            now += 0.25
        elif known:
            first = min(known.values())
            assert ends.next == first
            assert ends.take(first - 0.01, 9) is None
            taken(ends, known, first, 1)
        assert ends.next == min(known.values(), default=inf)
        assert len(ends) == len(known)
    while known:
        taken(ends, known, ends.next + 1.0, 3)
    assert not ends
    assert ends.next == inf


def taken(ends, known, now, most):
    """Takes some that are over, all of one kind, and the first of all before the others."""
    first = min(known.values())
    kind, keys = ends.take(now, most)
    over = [known.pop((kind, key)) for key in keys]
    assert 1 <= len(over) <= most
    assert over[0] == first
    assert over == sorted(over)
    assert over[-1] <= now


def test_a_key_that_was_added_twice_is_taken_twice():
    ends = Ends()
    for end in (2.0, 1.0):
        ends.add(end, "rate", "a")
    assert ends.take(3.0, 9) == ends.take(3.0, 9) == ("rate", ["a"])
    assert not ends


def test_those_of_one_kind_are_taken_together():
    ends = Ends()
    for end, kind, key in [(1.0, "rate", "a"), (1.5, "counter", "b"), (2.0, "rate", "c"), (3.0, "rate", "d")]:
        ends.add(end, kind, key)
    assert ends.take(2.5, 9) == ("rate", ["a", "c"])
    assert ends.take(2.5, 9) == ("counter", ["b"])
    assert ends.take(2.5, 9) is None
    assert (ends.next, len(ends)) == (3.0, 1)


def test_after_a_look_there_is_a_pause_which_what_ends_earlier_cuts_short():
    ends = Ends()
    ends.add(1.0, "rate", "a")
    ends.add(2.0, "rate", "b")
    ends.rest(1.5)
    assert ends.next == 1.5
    ends.add(1.2, "counter", "c")
    assert ends.next == 1.2
    assert ends.take(1.2, 9) == ("rate", ["a"])  # whoever looks all the same finds what is over
    ends.rest(1.1)
    assert ends.next == 1.2


def test_of_what_is_cleared_nothing_is_left():
    ends = Ends()
    for end in (3.0, 1.0, 2.0, 2.0):
        ends.add(end, "rate", "k")
    ends.clear()
    assert len(ends) == 0
    assert ends.next == inf
    ends.add(7.0, "rate", "again")
    assert (ends.next, ends.take(7.0, 1), len(ends)) == (7.0, ("rate", ["again"]), 0)
