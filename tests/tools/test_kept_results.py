"""What is kept of the results of idempotent calls; and guards by hand, and in other ways of calling."""

import asyncio
import sqlite3
from typing import Any

import pytest

from actguard import (
    ActGuardUsageError,
    CircuitOpenError,
    DuplicateIdempotencyKey,
    Executed,
    InvalidIdempotentToolError,
    LoopDetected,
    NotExecuted,
    circuit_breaker,
    circuits,
    idempotency,
    idempotent,
    no_repeat,
    timeout,
)
from actguard.exceptions import ToolGuardError
from actguard.stores.memory import MemoryStore

# ---- what is kept of results ----


def test_a_result_comes_back_as_it_was_and_is_everybodys_own(run):
    @idempotent()
    def pay(idempotency_key, result):
        return result

    for number, result in enumerate(["text", 7, 1.5, None, True, b"x", [1, [2]], {"a": {"b": 1}}, (1, 2), {1, 2}]):
        first = pay(f"k{number}", result)
        again = pay(f"k{number}", result)
        assert first is result
        assert (again, type(again)) == (result, type(result))
        if isinstance(result, list | dict | set):
            assert again is not result


def test_a_result_that_cannot_be_kept_is_done_all_the_same(run):
    made = []

    @idempotent()
    def pay(idempotency_key):
        made.append(1)
        return sqlite3.connect(":memory:")

    pay("k").close()
    with pytest.raises(DuplicateIdempotencyKey) as refused:
        pay("k")
    assert (refused.value.reason, refused.value.tool, refused.value.key) == ("result_not_kept", "pay", "k")
    assert "could not be kept" in str(refused.value)
    assert len(made) == 1


def test_a_file_and_a_store_cannot_both_be_meant(tmp_path):
    with pytest.raises(ActGuardUsageError) as refused:
        idempotent(durable=str(tmp_path / "keys.db"), store=MemoryStore())
    assert refused.value.argument == "durable"


def test_what_yields_cannot_be_given_out_again():
    def numbers(idempotency_key):
        yield 1

    async def anumbers(idempotency_key):
        yield 1

    for function in (numbers, anumbers):
        with pytest.raises(InvalidIdempotentToolError) as refused:
            idempotent()(function)
        assert refused.value.argument == "function"


@pytest.mark.parametrize("codec", ["json", "pickle", (repr, eval)])
def test_a_durable_result_comes_back_through_its_codec(run, tmp_path, codec):
    @idempotent(durable=str(tmp_path / "keys.db"), codec=codec)
    def pay(idempotency_key):
        made.append(1)
        return {"paid": [1, "ä", None]}

    made: list[Any] = []
    assert pay("k") == pay("k") == {"paid": [1, "ä", None]}
    assert len(made) == 1


def test_what_json_would_change_is_not_given_back_changed(run, tmp_path):
    @idempotent(durable=str(tmp_path / "keys.db"))
    def pay(idempotency_key):
        return {"paid": (1, 2)}

    assert pay("k") == {"paid": (1, 2)}
    with pytest.raises(ToolGuardError):
        pay("k")


async def test_a_coroutine_gives_the_kept_result_too(run, tmp_path):
    @idempotent(durable=str(tmp_path / "keys.db"))
    async def pay(idempotency_key):
        return [1]

    assert await pay("k") == await pay("k") == [1]


async def test_a_function_that_returns_an_awaitable_gives_the_kept_result_to_await(run, tmp_path):
    made: list[Any] = []

    for options in ({"durable": str(tmp_path / "keys.db")}, {}):

        @idempotent(**options)
        def pay(idempotency_key):
            made.append(1)
            return asyncio.sleep(0, {"paid": 1})

        key = f"k{len(options)}"
        assert await pay(key) == await pay(key) == await pay(key) == {"paid": 1}
    assert len(made) == 2


@pytest.mark.parametrize("codec", ["json", "pickle", (repr, eval)])
async def test_what_a_reconciler_finds_is_kept_as_the_guard_keeps_results(run, tmp_path, codec):
    found: list[Any] = [Executed({"paid": 1})]
    guard = idempotent(durable=str(tmp_path / "keys.db"), codec=codec, reconcile=lambda key, arguments: found[0])

    @guard
    async def pay(idempotency_key):
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await pay("k")
    assert await pay("k") == await pay("k") == {"paid": 1}
    (record,) = idempotency.list(store=guard.store)
    assert record.state == "done"

    found[0] = NotExecuted()
    for _ in range(2):
        with pytest.raises(ConnectionError):
            await pay("k2")


@pytest.mark.parametrize("codec", ["json", "pickle", (repr, eval)])
def test_what_is_said_of_an_unknown_outcome_is_kept_as_the_guard_keeps_results(run, tmp_path, codec):
    guard = idempotent(durable=str(tmp_path / "keys.db"), codec=codec)

    @guard
    def pay(idempotency_key):
        raise ConnectionError

    with pytest.raises(ConnectionError):
        pay("k")
    (record,) = idempotency.list(state="unknown", store=guard.store)
    assert idempotency.resolve(record.key, Executed({"paid": 1}), codec=codec, store=guard.store)
    assert pay("k") == {"paid": 1}
    assert not idempotency.resolve(record.key, NotExecuted(), store=guard.store)
    assert idempotency.forget(record.key, store=guard.store) == 1
    with pytest.raises(ConnectionError):
        pay("k")
    assert idempotency.resolve(record.key, NotExecuted(), store=guard.store)
    with pytest.raises(ConnectionError):
        pay("k")


# ---- by hand, and in other ways of calling ----


async def test_circuits_of_several_users_are_set_and_asked_for_one_by_one(clock):
    @circuit_breaker(name="each", max_fails=1, scope="user")
    def call(user):
        return user

    await circuits.aforce("each", "forced_open", "a")
    assert (await circuits.astate("each", "a")).state == circuits.state("each", "a").state == "forced_open"
    assert (await circuits.astate("each", "b")).state == circuits.state("each", "b").state == "closed"
    assert call("b") == "b"
    await circuits.areset("each", "b")
    with pytest.raises(CircuitOpenError):
        call("a")
    circuits.reset("each", "a")
    assert call("a") == "a"


def test_a_parameter_by_position_only_cannot_be_hidden_and_is_named_as_the_mistake():
    def pay(amount, idempotency_key, /):
        return amount

    with pytest.raises(ActGuardUsageError) as caught:
        idempotent(key="derived")(pay)
    assert caught.value.argument == "key_arg"


async def test_what_may_answer_late_gets_its_arguments_by_name_too():
    @timeout(5, on_block="return_prompt")
    async def coroutine(text, *, mark):
        return text + mark

    @timeout(5, on_block="return_prompt")
    def function(text, *, mark):
        return text + mark

    assert await coroutine("a", mark="!") == function("a", mark="!") == "a!"


def test_a_success_behind_failures_makes_the_row_begin_anew(clock):
    @circuit_breaker(name="row", max_fails=2)
    def call(fails):
        if fails:
            raise ConnectionError
        return "done"

    for _ in range(3):
        with pytest.raises(ConnectionError):
            call(True)
        assert call(False) == "done"


def test_whether_a_call_may_repeat_itself_is_asked_with_its_arguments(run):
    look = no_repeat(max_identical=1, tell=False, exempt=lambda text, *, poll: poll)(lambda text, *, poll: text)
    for _ in range(3):
        assert look("a", poll=True) == "a"
    look("a", poll=False)
    with pytest.raises(LoopDetected):
        look("a", poll=False)


def test_a_watched_generator_gets_its_arguments():
    @timeout(60, mode="observe")
    async def count(first, *, last):
        for number in range(first, last):
            yield number

    async def counted():
        return [number async for number in count(1, last=4)]

    assert asyncio.run(counted()) == [1, 2, 3]


async def test_a_watched_function_gets_its_arguments():
    @timeout(60, mode="observe")
    def add(first, *, last):
        return first + last

    @timeout(60, mode="observe")
    async def aadd(first, *, last):
        return first + last

    assert (add(1, last=4), await aadd(1, last=4)) == (5, 5)
