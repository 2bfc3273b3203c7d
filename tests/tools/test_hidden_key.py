"""A key that no model sees: where its parameter may stand, and how the function gets it."""

import inspect

import pytest

from actguard import InvalidIdempotentToolError, idempotent, tool
from actguard.context import Frame, Run, inside


@pytest.mark.parametrize("options", [{"key": "derived"}, {"key": lambda *args, **kwargs: "k"}, {"hide_key": True}])
def test_a_hidden_parameter_may_not_stand_before_one_that_is_given_by_position(options):
    guard = idempotent(**options)
    for function in (
        lambda idempotency_key, amount: None,
        lambda self, idempotency_key, amount=1: None,
        lambda idempotency_key=None, *amounts: None,
    ):
        with pytest.raises(InvalidIdempotentToolError) as refused:
            guard(function)
        assert refused.value.argument == "key_arg"
        assert "amount" in str(refused.value)
        assert "keyword" in str(refused.value)


def test_a_hidden_parameter_that_cannot_be_given_by_name_is_refused():
    def pay(amount, idempotency_key, /):
        return amount

    for options in ({"key": "derived"}, {"key": "derived", "hide_key": False}):
        with pytest.raises(InvalidIdempotentToolError, match="position"):
            idempotent(**options)(pay)


def test_one_that_can_be_given_by_name_only_may_stand_anywhere(run):
    def last(amount, idempotency_key):
        return amount, idempotency_key

    def keyword(*amounts, idempotency_key=None, note=""):
        return sum(amounts), idempotency_key

    for function in (last, keyword):
        pay = idempotent(key="derived")(function)
        assert "idempotency_key" not in inspect.signature(pay).parameters
        amount, key = pay(5)
        assert amount == 5
        assert key.startswith("d:")


def test_a_key_that_the_caller_gives_by_position_gives_way_to_the_derived_one(run):
    @idempotent(key="derived", hide_key=False)
    def pay(idempotency_key, amount):
        return idempotency_key, amount

    key, amount = pay("his own", 5)
    assert amount == 5
    assert key.startswith("d:")
    assert pay("another", 5) == (key, amount)  # what he gave is no part of it


def test_the_derived_key_takes_the_place_of_the_given_one_between_others(run):
    @idempotent(key="derived", hide_key=False)
    def pay(to, idempotency_key, amount):
        return to, idempotency_key, amount

    to, key, amount = pay("bob", "his own", 5)
    assert (to, amount) == ("bob", 5)
    assert key.startswith("d:")


def test_a_hidden_parameter_with_a_key_of_the_program_is_given_by_name(run):
    made = []

    @tool(idempotent={"hide_key": True})
    def pay(amount, *, idempotency_key):
        made.append(amount)
        return amount

    assert [pay(5, idempotency_key="a"), pay(5, idempotency_key="a")] == [5, 5]
    assert made == [5]


def test_a_partial_that_fills_the_key_in_has_it(run):
    import functools

    def pay(idempotency_key, amount):
        return amount

    once = idempotent()(functools.partial(pay, idempotency_key="a"))
    assert [once(amount=5), once(amount=5)] == [5, 5]


def test_a_parameter_shown_before_others_works_by_position(run):
    @idempotent()
    def pay(idempotency_key, amount):
        return amount

    assert pay("a", 5) == pay("a", 5) == pay("a", amount=5) == 5
    with inside(Frame(run=Run("run-2", "bob", None))):
        assert pay("a", 6) == 6
