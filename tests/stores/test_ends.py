"""Whatever order keys are added in, they are taken in the order in which they end."""

from math import inf

from hypothesis import given
from hypothesis import strategies as st

from actguard.stores.ends import Ends

KINDS = ("rate", "counter", "idempotency")
ADDED = st.tuples(st.sampled_from([0.0, 0.5, 1.0, 2.0, 60.0]), st.sampled_from(KINDS), st.sampled_from("abc"))


@given(st.lists(st.one_of(ADDED, st.just(None)), max_size=60))
def test_they_are_taken_as_from_a_sorted_list(turns):
    ends, known, now = Ends(), [], 0.0
    for turn in turns:
        if turn is not None:
            lasts, kind, key = turn
            ends.add(now + lasts, kind, key)
            known.append((now + lasts, kind, key))
            now += 0.25
        elif known:
            first = min(known)[0]
            assert ends.next == first
            assert ends.take(first - 0.01, 9) is None
            taken(ends, known, first, 1)
        assert ends.next == min((end for end, _, _ in known), default=inf)
        assert len(ends) == len(known)
    while known:
        taken(ends, known, ends.next + 1.0, 3)
    assert not ends
    assert ends.next == inf


def taken(ends, known, now, most):
    """Takes some, which are those of their kind that end first, and the first of all among them."""
    kind, keys = ends.take(now, most)
    over = sorted(end for end, other, _ in known if other == kind and end <= now)
    assert over[0] == min(known)[0]
    assert 1 <= len(keys) <= most
    for key, end in zip(keys, over, strict=False):
        known.remove((end, kind, key))


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
