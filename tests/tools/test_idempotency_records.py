"""Records, looked at and put right by hand: a slip of the hand frees no key."""

import pytest

import actguard
from actguard import (
    ActGuardUsageError,
    DuplicateIdempotencyKey,
    Executed,
    IdempotencyOutcomeUnknown,
    NotExecuted,
    StillUnknown,
    idempotency,
    idempotent,
)


@pytest.fixture
def lost(run):
    """A tool whose first call nobody knows about, and its key."""

    @idempotent(fingerprint=None)
    def pay(idempotency_key, fails=()):
        if fails:
            raise fails.pop()
        return "paid"

    with pytest.raises(KeyError):
        pay("a", [KeyError()])
    (record,) = idempotency.list(state="unknown")
    return pay, record.key


@pytest.mark.parametrize("outcome", ["paid", None, True, Executed, NotExecuted, StillUnknown(), ("paid",)])
def test_only_who_says_so_frees_a_key(lost, outcome):
    pay, key = lost
    with pytest.raises(ActGuardUsageError) as refused:
        idempotency.resolve(key, outcome)
    assert refused.value.argument == "outcome"
    with pytest.raises(IdempotencyOutcomeUnknown):
        pay("a", [])


@pytest.mark.parametrize(
    ("argument", "ask"),
    [
        ("state", lambda: idempotency.list(state="lost")),
        ("limit", lambda: idempotency.list(limit=0)),
        ("prefix", lambda: idempotency.list(5)),
        ("store", lambda: idempotency.list(store="redis://")),
        ("key", lambda: idempotency.resolve("", NotExecuted())),
        ("ttl_s", lambda: idempotency.resolve("k", NotExecuted(), ttl_s=float("nan"))),
        ("prefix", lambda: idempotency.forget("")),
    ],
)
def test_every_option_is_looked_at(argument, ask):
    with pytest.raises(ActGuardUsageError) as refused:
        ask()
    assert refused.value.argument == argument


async def test_event_loops_have_the_same_words(lost):
    pay, key = lost
    assert [record.key for record in await idempotency.alist(state="unknown")] == [key]
    assert await idempotency.aresolve(key, Executed("found")) is True
    assert pay("a", []) == "found"
    assert await idempotency.aresolve(key, NotExecuted()) is False
    assert await idempotency.aforget(key) == 1
    assert pay("a") == "paid"
    with pytest.raises(ActGuardUsageError):
        await idempotency.aresolve(key, "paid")


async def test_a_store_of_its_own_may_be_meant(run, tmp_path):
    from actguard.stores.durable import DurableStore

    store = DurableStore(tmp_path / "kept.db")
    pay = idempotent(scope="global", store=store)(lambda idempotency_key: 1)
    pay("a")
    (record,) = await idempotency.alist(store=store)
    assert idempotency.list() == []
    assert idempotency.list(store=store) == [record]
    assert await idempotency.aforget(record.key, store=store) == 1
    store.close()


def test_a_parameter_by_position_only_leaves_its_name_to_the_others():
    def write(a, /, **others):
        return "written"

    guarded = actguard.rate_limit(max_calls=1, scope="others.a")(write)
    assert [guarded(1, a="x"), guarded(1, a="y")] == ["written"] * 2
    with pytest.raises(actguard.RateLimitExceeded):
        guarded(2, a="x")


@pytest.mark.parametrize("key", ["a", "7", "s:a", 7, -7, 1 << 80])
def test_an_error_names_the_key_as_it_was_given(run, key):
    assert refused_again(key) == key


@pytest.mark.parametrize("key", ["a" * 201, 10**120])
def test_of_a_very_long_key_it_names_the_digest(run, key):
    said = refused_again(key)
    assert isinstance(said, str)
    assert len(said) < 100
    assert said != refused_again(key * 2)


def refused_again(key):
    """The key that the error of a second call names."""

    @idempotent(on_duplicate="raise")
    def pay(idempotency_key):
        return "paid"

    pay(key)
    with pytest.raises(DuplicateIdempotencyKey) as refused:
        pay(key)
    return refused.value.key
