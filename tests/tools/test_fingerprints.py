"""What further calls must agree in is the same text, however quickly it was made."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actguard import idempotent, no_repeat
from actguard.context import Frame, Run, inside
from actguard.exceptions import IdempotencyPayloadMismatch, ToolGuardError
from actguard.stores.memory import MemoryStore
from actguard.tools.canonical import digest, record_digest

NAMES = ("amount", "to", "a", "b", "idempotency_key", "über", "_")
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=8,
)


@given(st.permutations(NAMES), st.dictionaries(st.sampled_from(NAMES), VALUES))
@settings(max_examples=200, deadline=None)
def test_a_record_whose_names_are_known_has_the_digest_that_any_mapping_has(names, record):
    assert record_digest(names)(record) == digest(record)


def test_a_record_is_looked_into_as_deep_as_any_mapping():
    def nested(depth):
        value = []
        for _ in range(depth):
            value = [value]
        return value

    assert record_digest(["a"])({"a": nested(63)}) == digest({"a": nested(63)})
    for digest_of in (record_digest(["a"]), digest):
        with pytest.raises(ToolGuardError) as refused:
            digest_of({"a": nested(64)})
        assert (refused.value.code, refused.value.reason) == ("INVALID_ARGUMENT", "nested_too_deeply")


def test_arguments_by_name_and_by_place_are_the_same_call_and_others_are_not():
    store = MemoryStore()
    calls = []

    class Bank:
        @idempotent(store=store)
        def pay(self, to, amount=1, *, idempotency_key):
            calls.append((to, amount))

        @idempotent(store=store, fingerprint=["to"])
        def pay_whatever(self, to, amount=1, *, idempotency_key):
            calls.append((to, amount))

    def refused(pay, *args, **kwargs):
        try:
            pay(*args, **kwargs)
        except IdempotencyPayloadMismatch:
            return True
        return False

    with inside(Frame(run=Run("r"))):
        Bank().pay("bob", idempotency_key="k")
        assert not refused(Bank().pay, amount=1, to="bob", idempotency_key="k")
        assert refused(Bank().pay, "bob", 2, idempotency_key="k")
        assert refused(Bank().pay, "eve", idempotency_key="k")
        Bank().pay_whatever("bob", idempotency_key="k")
        assert not refused(Bank().pay_whatever, "bob", 2, idempotency_key="k")
        assert refused(Bank().pay_whatever, "eve", idempotency_key="k")
    assert calls == [("bob", 1), ("bob", 1)]


def test_an_argument_of_a_function_is_compared_whatever_it_is_called(run):
    """`cls` of a method is the class that it belongs to; of a function it is what its author means by it."""

    def book(cls, flight):
        return f"{cls} on {flight}"

    derived, repeated = idempotent(key="derived")(book), no_repeat(max_identical=1, tell=False)(book)
    for guarded in (derived, repeated):
        assert guarded("economy", "LH1") == "economy on LH1"
        assert guarded("business", "LH1") == "business on LH1"

    class Desk:
        @classmethod
        @idempotent(key="derived")
        def book(cls, flight):
            return f"{cls.__name__} booked {flight}"

    class Other(Desk):
        pass

    assert Desk.book("LH1") == Other.book("LH1") == "Desk booked LH1"
