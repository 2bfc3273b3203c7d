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
            first = ends.next
            assert first == min(known)[0]
            known.remove((first, *ends.take()))
        assert ends.next == min((end for end, _, _ in known), default=inf)
        assert len(ends) == len(known)
    while known:
        first = ends.next
        known.remove((first, *ends.take()))
    assert not ends
    assert ends.next == inf


def test_of_what_is_cleared_nothing_is_left():
    ends = Ends()
    for end in (3.0, 1.0, 2.0, 2.0):
        ends.add(end, "rate", "k")
    ends.clear()
    assert len(ends) == 0
    assert ends.next == inf
    ends.add(7.0, "rate", "again")
    assert (ends.next, ends.take(), len(ends)) == (7.0, ("rate", "again"), 0)
