"""Circuits, looked at and put right by hand: wherever their guards keep them."""

import gc

import pytest

import actguard
from actguard import CircuitOpenError, MemoryStore, circuit_breaker, circuits, tool
from actguard.exceptions import CircuitBreakerConfigurationError


def a_tool(name, **options):
    @circuit_breaker(name=name, max_fails=1, **options)
    def call(fail=False):
        if fail:
            raise ConnectionError
        return 1

    return call


def test_a_guard_with_a_store_of_its_own_is_reached(clock):
    call = a_tool("own", store=MemoryStore(clock=clock))
    with pytest.raises(ConnectionError):
        call(True)
    assert circuits.state("own").state == "open"
    circuits.reset("own")
    assert call() == 1
    circuits.force("own", "forced_open")
    with pytest.raises(CircuitOpenError):
        call()
    assert circuits.state("own").state == "forced_open"
    circuits.forget("own")
    assert call() == 1


def test_a_guard_with_a_store_of_its_own_is_reached_through_tool(clock):
    call = tool(circuit_breaker={"name": "in a tool", "store": MemoryStore(clock=clock)})(lambda: 1)
    circuits.force("in a tool", "forced_open")
    with pytest.raises(CircuitOpenError):
        call()


def test_guards_of_one_name_in_several_stores_are_all_reached(clock):
    shared, own = a_tool("both"), a_tool("both", store=MemoryStore(clock=clock))
    with pytest.raises(ConnectionError):
        own(True)
    assert shared() == 1
    assert circuits.state("both").state == "open"  # what stops some of its calls is what one wants to know of
    circuits.force("both", "forced_open")
    for call in (shared, own):
        with pytest.raises(CircuitOpenError):
            call()
    circuits.reset("both")
    assert shared() == own() == 1


def test_one_store_may_be_meant(clock):
    store = MemoryStore(clock=clock)
    shared, own = a_tool("one"), a_tool("one", store=store)
    circuits.force("one", "forced_open", store=store)
    assert shared() == 1
    with pytest.raises(CircuitOpenError):
        own()
    assert circuits.state("one", store=store).state == "forced_open"
    assert circuits.state("one", store=actguard.MemoryStore()).state == "closed"
    with pytest.raises(actguard.ActGuardUsageError) as refused:
        circuits.state("one", store="redis://")
    assert refused.value.argument == "store"


def test_a_store_that_nobody_uses_any_more_is_not_kept(clock):
    a_tool("gone", store=MemoryStore(clock=clock))
    gc.collect()
    assert circuits.state("gone").state == "closed"


def test_circuits_with_a_scope_are_reached_one_by_one(clock):
    @circuit_breaker(name="per user", max_fails=1, scope=("user", "region"), store=MemoryStore(clock=clock))
    def call(user, region):
        return 1

    circuits.force("per user", "forced_open", ("alice", 1))
    assert call("bob", 1) == 1
    with pytest.raises(CircuitOpenError):
        call("alice", 1)


@pytest.mark.parametrize("state", ["opne", "", None, 1, ["open"]])
def test_a_state_that_there_is_not_is_refused(state):
    call = a_tool("typo")
    with pytest.raises(CircuitBreakerConfigurationError) as refused:
        circuits.force("typo", state)
    assert refused.value.argument == "state"
    assert "forced_open" in str(refused.value)
    assert call() == 1


@pytest.mark.parametrize("scope", [object(), float("nan"), {"a": 1}])
def test_a_scope_that_is_none_is_refused(scope):
    a_tool("odd")
    for ask in (lambda: circuits.state("odd", scope), lambda: circuits.reset("odd", scope)):
        with pytest.raises(CircuitBreakerConfigurationError) as refused:
            ask()
        assert refused.value.argument == "scope"


def test_a_name_that_nobody_has_is_refused():
    with pytest.raises(CircuitBreakerConfigurationError, match="there is no circuit 'nobody'"):
        circuits.force("nobody", "open")


def test_the_names_that_there_are_come_with_the_refusal():
    a_tool("one that there is")
    with pytest.raises(CircuitBreakerConfigurationError, match="'one that there is'") as caught:
        circuits.state("none of them")
    assert caught.value.argument == "name"


async def test_what_is_meant_may_be_one_of_a_store_and_of_a_user(clock):
    store = MemoryStore(clock=clock)
    scope = {"scope": "user"}
    circuit_breaker(name="of each", **scope)(lambda user: 1)
    own = circuit_breaker(name="of each", store=store, **scope)(lambda user: 1)

    circuits.force("of each", "forced_open", "ann")
    circuits.force("of each", "forced_open", "bob")
    circuits.reset("of each", "ann", store=store)
    assert (circuits.state("of each", "ann").state, own("ann")) == ("forced_open", 1)
    assert (await circuits.astate("of each", "ann", store=store)).state == "closed"
    await circuits.areset("of each", "bob", store=store)
    assert ((await circuits.astate("of each", "bob")).state, own("bob")) == ("forced_open", 1)
    await circuits.aforce("of each", "forced_open", "bob", store=store)
    await circuits.areset("of each", "ann")
    assert (circuits.state("of each", "ann").state, circuits.state("of each", "bob").state) == ("closed", "forced_open")
    await circuits.aforce("of each", "closed", "bob", store=store)
    assert circuits.state("of each", "bob", store=store).state == "closed"
    assert circuits.state("of each", "bob").state == "forced_open"


async def test_event_loops_have_the_same_words():
    call = a_tool("awaited")
    await circuits.aforce("awaited", "forced_open")
    assert (await circuits.astate("awaited")).state == "forced_open"
    with pytest.raises(CircuitOpenError):
        call()
    await circuits.areset("awaited")
    assert call() == 1
    await circuits.aforget("awaited")
    assert "awaited" not in list(circuits)
