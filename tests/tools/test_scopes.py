"""Whom a call counts for: what a value says of itself does not matter, only what it is."""

import pytest

from actguard import ActGuardUsageError, RateLimitExceeded, rate_limit, tool
from actguard.exceptions import ScopeValueError
from actguard.stores.keys import encode


def lying(base):
    def lie(self, *args):
        return "somebody else"

    names = ("__str__", "__repr__", "__format__", "__radd__", "__add__", "hex", "isoformat")
    return type("Lying", (base,), dict.fromkeys(names, lie))


@pytest.mark.parametrize("value", ["alice", 5, 2.5, "x" * 500, 10**200])
def test_a_subclass_counts_as_what_it_holds(value):
    assert encode(lying(type(value))(value)) == encode(value)

    @rate_limit(max_calls=1, scope="user")
    def call(user):
        return 1

    call(value)
    with pytest.raises(RateLimitExceeded):
        call(lying(type(value))(value))


def endless():
    value = []
    value.append(value)
    return value


def test_a_scope_that_goes_in_a_circle_is_refused_by_name():
    @rate_limit(max_calls=1, scope="user")
    def call(user):
        return 1

    with pytest.raises(ScopeValueError) as refused:
        call(endless())
    assert refused.value.tool == "call"


def test_an_option_that_there_is_not_is_named():
    with pytest.raises(ActGuardUsageError, match="rate_limit got an unexpected keyword argument 'max_call'"):
        tool(rate_limit={"max_call": 1})
