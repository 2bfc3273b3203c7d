"""Guards of one kind on one function: each counts by itself, and one that is put there twice counts once."""

import pytest

from actguard import (
    CircuitOpenError,
    ConcurrencyExceeded,
    MaxAttemptsExceeded,
    MemoryStore,
    RateLimitExceeded,
    circuit_breaker,
    concurrency,
    explain,
    max_attempts,
    rate_limit,
    tool,
)
from actguard.exceptions import ActGuardUsageError
from actguard.pipeline.decorate import pipeline_of


def test_a_users_calls_are_not_taken_for_those_of_a_tenant_with_the_same_id():
    @rate_limit(max_calls=2, scope="user")
    @rate_limit(max_calls=2, scope="tenant")
    def search(user, tenant):
        return user

    assert [search("1", "1"), search("1", "1")] == ["1", "1"]
    with pytest.raises(RateLimitExceeded):
        search("2", "1")


def test_a_users_places_are_not_taken_for_those_of_a_tenant_with_the_same_id():
    @concurrency(limit=1, scope="user")
    @concurrency(limit=1, scope="tenant")
    def search(user, tenant, inside=None):
        return user if inside is None else search(*inside)

    assert search("1", "1") == "1"
    with pytest.raises(ConcurrencyExceeded):
        search("1", "1", ("2", "1"))


def test_limits_of_places_count_each_by_itself():
    @concurrency(limit=2)
    @concurrency(limit=3)
    def nested(deep):
        return nested(deep - 1) if deep else "done"

    assert nested(1) == "done"
    with pytest.raises(ConcurrencyExceeded):
        nested(2)


def test_calls_and_failed_calls_are_counted_each_by_itself(run):
    @max_attempts(calls=5)
    @max_attempts(calls=2, count="failures")
    def search(fails=False):
        if fails:
            raise ValueError

    for _ in range(4):
        search()
    with pytest.raises(ValueError):
        search(True)
    with pytest.raises(MaxAttemptsExceeded) as refused:
        search()
    assert refused.value.limit == 5


def test_of_two_numbers_of_attempts_the_smaller_one_counts(run):
    @max_attempts(calls=3)
    @max_attempts(calls=5)
    def search():
        return 1

    assert [search() for _ in range(3)] == [1, 1, 1]
    with pytest.raises(MaxAttemptsExceeded):
        search()


def test_a_guard_that_is_put_on_twice_counts_once(run, clock):
    guards = (rate_limit(max_calls=2), concurrency(limit=1), circuit_breaker(name="mail", max_fails=2))

    @tool(guards=guards)
    @tool(guards=guards)
    @rate_limit(max_calls=2)
    def send(error=None):
        if error:
            raise error

    assert [guard.kind for guard in pipeline_of(send).guards] == ["circuit_breaker", "rate_limit", "concurrency"]
    with pytest.raises(ConnectionError):
        send(ConnectionError())
    with pytest.raises(ConnectionError):  # the circuit is still closed, and the rate has room
        send(ConnectionError())
    with pytest.raises(CircuitOpenError):
        send()
    clock.pass_(61)
    send()  # the only probe: it is not in its own way


@pytest.mark.parametrize(
    "guards",
    [
        (circuit_breaker(name="twice"), circuit_breaker(name="twice", on_block="return_prompt")),
        (rate_limit(name="twice"), rate_limit(name="twice", wait=1)),
    ],
    ids=["circuit", "rate"],
)
def test_two_guards_of_one_name_on_a_function_are_refused_where_they_are_written(guards):
    with pytest.raises(ActGuardUsageError, match="every call would count twice") as refused:
        tool(guards=guards)(lambda: None)
    assert refused.value.argument == "name"


def test_guards_of_one_name_that_do_not_meet_may_stand_together():
    elsewhere = MemoryStore()
    call = tool(
        guards=(
            rate_limit(name="apart", max_calls=2),
            rate_limit(name="apart", max_calls=2, mode="off"),
            rate_limit(name="apart", max_calls=2, store=elsewhere),
        )
    )(lambda: 1)

    assert [call(), call()] == [1, 1]
    with pytest.raises(RateLimitExceeded):
        call()


def test_a_bound_method_that_is_guarded_once_more_stays_bound():
    class Mailbox:
        name = "alice's"

        @rate_limit(max_calls=9)
        def read(self, number):
            return self.name, number

        @rate_limit(max_calls=9)
        @classmethod
        def make(cls, number):
            return cls.__name__, number

    mailbox = Mailbox()
    read, make = tool(rate_limit={"max_calls": 1})(mailbox.read), tool(rate_limit={"max_calls": 1})(Mailbox.make)

    assert [read(7), make(7)] == [("alice's", 7), ("Mailbox", 7)]
    for once in (read, make):
        with pytest.raises(RateLimitExceeded):
            once(8)
    assert mailbox.read(8) == ("alice's", 8)
    assert len(pipeline_of(read).guards) == 2


def test_a_function_without_guards_may_be_explained():
    def search():
        return 1

    assert explain(tool(search)).splitlines()[1:] == ["  -> search()"]
