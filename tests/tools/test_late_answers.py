"""`on_block` of a timeout: what a call answers that took too long, while everybody else knows that it did."""

import asyncio
import inspect
import threading
import time

import pytest

import actguard
from actguard import IdempotencyOutcomeUnknown, ToolTimeoutError, circuits, timeout, tool


def test_it_may_answer_with_a_sentence_or_whatever_a_function_says(run):
    slow = timeout(0.02, on_block="return_prompt")(lambda: time.sleep(0.2))
    assert "took too long" in slow()
    seen = []
    slow = timeout(0.02, on_block=lambda error: seen.append(error) or "late")(lambda: time.sleep(0.2))
    assert slow() == "late"
    assert isinstance(seen[0], ToolTimeoutError)


async def test_coroutines_and_what_must_be_awaited_answer_too(run):
    @timeout(0.01, on_block="return_prompt")
    async def slow():
        await asyncio.sleep(5)

    @timeout(1, on_block="return_prompt")  # time enough for a thread to give back what is awaited
    def later():
        return asyncio.sleep(5)

    assert inspect.iscoroutinefunction(slow)
    assert "took too long" in await slow()
    assert "took too long" in await later()


def test_a_call_that_could_not_begin_answers_as_well(run):
    gate = threading.Event()

    @timeout(1, max_orphans=1, on_block="return_prompt")
    def hang():
        gate.wait(20)

    assert "took too long" in hang()
    assert "was not run" in hang()
    gate.set()


def test_other_guards_see_that_it_took_too_long(run):
    gate = threading.Event()

    @tool(
        timeout={"seconds": 1, "on_block": "return_prompt"},
        idempotent=True,
        circuit_breaker={"name": "late", "max_fails": 5},
    )
    def pay(idempotency_key):
        gate.wait(20)

    assert "took too long" in pay("a")
    assert circuits.state("late").fails == 1
    (record,) = actguard.idempotency.list()
    assert record.state == "unknown"
    with pytest.raises(IdempotencyOutcomeUnknown):
        pay("a")
    gate.set()


def test_an_error_that_is_not_this_timeout_s_stays_one(run):
    inner = timeout(0.01)(lambda: time.sleep(0.2))

    @timeout(5, on_block="return_prompt")
    def outer(which):
        if which == "inner":
            return inner()
        raise TimeoutError(which)

    with pytest.raises(ToolTimeoutError) as raised:
        outer("inner")
    assert raised.value.tool == "<lambda>"
    with pytest.raises(TimeoutError) as raised:
        outer("its own")
    assert not isinstance(raised.value, ToolTimeoutError)


def test_methods_stay_methods_and_watched_ones_answer_themselves(run):
    class Tools:
        @timeout(1, on_block="return_prompt")
        def slow(self, seconds):
            """Sleeps."""
            time.sleep(seconds)
            return self

        @timeout(0.02, on_block="return_prompt", mode="observe")
        def watched(self):
            time.sleep(0.05)
            return self

    tools = Tools()
    assert tools.slow(0) is tools
    assert "took too long" in tools.slow(1.2)
    assert tools.watched() is tools
    assert Tools.slow.__doc__ == "Sleeps."
    assert list(inspect.signature(tools.slow).parameters) == ["seconds"]
