"""Whom a call counts for: what a value says of itself does not matter, only what it is."""

from decimal import Decimal, localcontext

import pytest

import actguard
from actguard import ActGuardUsageError, RateLimitExceeded, rate_limit, tool
from actguard.exceptions import ScopeValidationError, ScopeValueError
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


@pytest.mark.parametrize("precision", [2, 28])
def test_amounts_that_differ_in_their_last_digit_are_counted_apart(precision):
    @rate_limit(max_calls=1, scope="amount")
    def call(amount):
        return 1

    with localcontext(prec=precision):
        call(Decimal("12345678901234567890.12345678901"))
        call(Decimal("12345678901234567890.12345678902"))
        with pytest.raises(RateLimitExceeded):
            call(Decimal("12345678901234567890.123456789020"))


@pytest.mark.parametrize("value", [float("nan"), Decimal("NaN"), Decimal("sNaN")])
def test_what_equals_nothing_is_counted_for_nobody(value):
    @rate_limit(max_calls=1, scope="amount")
    def call(amount):
        return 1

    with pytest.raises(ScopeValueError, match="no stable text"):
        call(value)


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


@pytest.mark.parametrize("scope", ["usr", ("user", "usr"), "usr.id", "user."])
def test_a_scope_that_names_no_parameter_is_refused_at_decoration(scope):
    with pytest.raises(ScopeValidationError, match="scope") as refused:
        rate_limit(max_calls=1, scope=scope)(lambda user: 1)
    assert refused.value.argument == "scope"


def test_an_option_that_there_is_not_is_named():
    with pytest.raises(ActGuardUsageError, match="rate_limit got an unexpected keyword argument 'max_call'"):
        tool(rate_limit={"max_call": 1})


@pytest.mark.parametrize(
    "call",
    [
        lambda user, /: 1,
        lambda user: 1,
        lambda *, user: 1,
        lambda text="", user="alice": 1,
        lambda text="", *, user="alice": 1,
    ],
)
def test_a_parameter_is_found_wherever_it_stands(call):
    look = rate_limit(max_calls=1, scope="user")(call)
    give = look if call.__code__.co_posonlyargcount else lambda user: look(user=user)
    for user in ("alice", "bob", "x" * 200, "x" * 201, 7):
        assert give(user) == 1
        with pytest.raises(RateLimitExceeded):
            give(user)
    if call.__defaults__ or call.__kwdefaults__:
        with pytest.raises(RateLimitExceeded):
            look()


async def later(*args):
    return "alice"


@pytest.mark.parametrize("scope", [later, ("user", later)])
def test_a_scope_that_must_be_awaited_is_refused_where_it_is_written(scope):
    with pytest.raises(ActGuardUsageError) as refused:
        rate_limit(scope=scope)
    assert refused.value.argument == "scope"


@pytest.mark.parametrize("scope", ["run.user_id", ("user", "run.user_id"), "user.id"])
def test_who_has_nothing_to_be_told_apart_by_is_refused(scope):
    look = rate_limit(max_calls=1, scope=scope)(lambda user: 1)
    for user in (None, {"id": None}, {}):
        with pytest.raises(ScopeValueError) as refused:
            look(user)
        assert refused.value.tool == "<lambda>"


def test_values_of_several_scopes_are_not_run_together():
    look = rate_limit(max_calls=1, scope=("a", "b"))(lambda a, b: 1)
    for pair in (("x", "yz"), ("xy", "z"), ("x,", "yz"), ("x", ",yz"), ("1", 2), (1, "2")):
        assert look(*pair) == 1
        with pytest.raises(RateLimitExceeded):
            look(*pair)


@pytest.mark.parametrize("setting", ["app", "env"])
def test_programs_and_environments_that_share_a_store_are_counted_apart(setting, clock):
    store = actguard.MemoryStore(clock=clock)
    for name in ("one", "two"):
        actguard.configure(**{setting: name})
        look = rate_limit(max_calls=1, name="shared", store=store)(lambda: 1)
        assert look() == 1
        with pytest.raises(RateLimitExceeded):
            look()


@pytest.mark.parametrize("missing", [("user",), ("tenant",), ("user", "tenant")])
def test_who_is_counted_by_two_things_must_give_both(missing):
    @rate_limit(max_calls=1, scope=("user", "tenant"))
    def call(user=None, tenant=None):
        return 1

    given = {name: "x" for name in ("user", "tenant") if name not in missing}
    with pytest.raises(ScopeValueError, match="for each 'user' and 'tenant', and this call has none"):
        call(**given)
    with pytest.raises(ScopeValueError, match="no stable text"):
        call(user="x", tenant=object())
    assert call("x", "y") == call("x", "z") == call("y", "y") == 1
