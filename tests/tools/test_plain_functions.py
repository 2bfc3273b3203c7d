"""Functions that a guard asks: an asynchronous one would always say yes, since what it returns is true."""

import pytest

import actguard
from actguard import ActGuardUsageError, circuit_breaker, idempotent, no_repeat, prove, rate_limit, timeout


async def later(*args, **kwargs):
    return False


class Later:
    async def __call__(self, *args):
        return False


async def items(*args):
    yield False


@pytest.mark.parametrize("function", [later, Later(), items], ids=["function", "object", "generator"])
@pytest.mark.parametrize(
    ("argument", "make"),
    [
        ("exempt", lambda it: no_repeat(exempt=it)),
        ("args", lambda it: no_repeat(args=it)),
        ("is_failure", lambda it: circuit_breaker(name="x", is_failure=it)),
        ("classify", lambda it: circuit_breaker(name="x", classify=it)),
        ("reconcile", lambda it: idempotent(reconcile=it)),
        ("key", lambda it: idempotent(key=it)),
        ("on_orphan", lambda it: timeout(1, on_orphan=it)),
        ("on_block", lambda it: rate_limit(on_block=it)),
        ("cost", lambda it: rate_limit(cost=it)),
        ("scope", lambda it: rate_limit(scope=it)),
        ("scope", lambda it: rate_limit(scope=("user", it))),
        ("when", lambda it: prove("order", "id", when=it)),
    ],
)
def test_an_asynchronous_function_is_refused_where_it_is_written(function, argument, make):
    with pytest.raises(ActGuardUsageError) as refused:
        make(function)
    assert refused.value.argument == argument
    assert "asynchronous" in str(refused.value)


def test_a_plain_one_may_be_anything_that_can_be_called():
    class Plain:
        def __call__(self, *args, **kwargs):
            return False

    for plain in (lambda *args, **kwargs: False, Plain(), Plain().__call__, int):
        no_repeat(exempt=plain)
        circuit_breaker(name="plain", is_failure=plain, classify=plain)
        idempotent(reconcile=plain, key=plain)
        rate_limit(cost=plain, scope=plain, on_block=plain)


@pytest.mark.parametrize("most", [0, -1, True, 1.5, "many", None, float("nan")])
def test_a_store_in_memory_holds_a_whole_number_of_keys(most):
    with pytest.raises(ActGuardUsageError) as refused:
        actguard.MemoryStore(max_keys=most)
    assert refused.value.argument == "max_keys"
