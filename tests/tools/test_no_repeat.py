"""Calls whose results are compared: only what comes out the same is a loop."""

import pytest

from actguard import ActGuardUsageError, LoopDetected, no_repeat


def outcomes(results, **options):
    results = iter(results)

    @no_repeat(compare_results=True, tell=False, **options)
    def poll(job):
        result = next(results)
        if isinstance(result, Exception):
            raise result
        return result

    return poll


def test_polling_that_sees_something_change_is_no_loop(run):
    poll = outcomes([{"done": n} for n in range(20)], max_identical=2)
    assert [poll("a")["done"] for _ in range(20)] == list(range(20))


def test_the_same_result_again_and_again_is_one(run):
    poll = outcomes([1, 2, 2, 2, 2])
    assert [poll("a") for _ in range(4)] == [1, 2, 2, 2]
    with pytest.raises(LoopDetected) as caught:
        poll("a")
    assert (caught.value.limit, caught.value.count) == (3, 4)


def test_results_that_alternate_are_no_loop(run):
    poll = outcomes(["a", "b"] * 10, max_identical=2)
    assert [poll("x") for _ in range(20)] == ["a", "b"] * 10


def test_an_error_is_a_result_too(run):
    poll = outcomes([KeyError("1"), KeyError("2"), 1], max_identical=2)
    for _ in range(2):
        with pytest.raises(KeyError):
            poll("a")
    with pytest.raises(LoopDetected):
        poll("a")


def test_other_arguments_are_another_call(run):
    poll = outcomes([1] * 4, max_identical=2)
    assert [poll("a"), poll("b"), poll("a"), poll("b")] == [1] * 4
    with pytest.raises(LoopDetected):
        poll("b")


def test_a_result_that_cannot_be_compared_counts_as_its_class(run):
    deep = []
    for _ in range(10_000):
        deep = [deep]
    poll = outcomes([deep, deep, deep], max_identical=2)
    poll("a")
    poll("a")
    with pytest.raises(LoopDetected):
        poll("a")


async def test_coroutines_are_compared_by_what_they_return(run):
    results = iter([1, 2, 2, 2])

    @no_repeat(compare_results=True, max_identical=2)
    async def poll():
        return next(results)

    assert [await poll() for _ in range(3)] == [1, 2, 2]
    assert "exact call" in await poll()


def test_what_cannot_be_compared_is_refused_at_decoration():
    with pytest.raises(ActGuardUsageError, match="max_identical"):
        no_repeat(compare_results=True, max_identical=1)

    def items():
        yield 1

    with pytest.raises(ActGuardUsageError, match="generator"):
        no_repeat(compare_results=True)(items)
