"""An asynchronous generator under a timeout stays the generator that it is: it is sent to, thrown into and closed."""

import asyncio

import pytest

import actguard
from actguard import ToolTimeoutError, timeout
from actguard.pipeline.deadline import deadline

EVERY_MODE = pytest.mark.parametrize("mode", ["enforce", "observe", "off"])


def talker(mode, log, seconds=5.0):
    @timeout(seconds, mode=mode)
    async def talk():
        heard = None
        try:
            while heard != "stop":
                try:
                    heard = yield f"heard {heard}"
                except ValueError:
                    heard = "an error"
        finally:
            log.append("closed")

    return talk


@EVERY_MODE
async def test_what_is_sent_and_thrown_in_reaches_the_body(mode):
    log = []
    talk = talker(mode, log)()
    assert await anext(talk) == "heard None"
    assert await talk.asend("a") == "heard a"
    assert await talk.athrow(ValueError()) == "heard an error"
    with pytest.raises(StopAsyncIteration):
        await talk.asend("stop")
    assert log == ["closed"]


@EVERY_MODE
async def test_who_closes_it_closes_the_body(mode):
    log = []
    talk = talker(mode, log)()
    await anext(talk)
    await talk.aclose()
    assert log == ["closed"]


@EVERY_MODE
async def test_an_error_of_the_body_and_one_that_is_not_caught_there_come_out_unchanged(mode):
    log, error = [], KeyError("x")
    talk = talker(mode, log)()
    await anext(talk)
    with pytest.raises(KeyError) as raised:
        await talk.athrow(error)
    assert raised.value is error
    assert log == ["closed"]


async def test_one_that_takes_too_long_is_cut_and_closed():
    log = []

    @timeout(0.5)
    async def items():
        try:
            yield actguard.remaining()
            await asyncio.sleep(10)
        finally:
            log.append("closed")

    found = []
    with pytest.raises(ToolTimeoutError):
        async for left in items():
            found.append(left)
            assert deadline.get() is None  # that of the body is not the consumer's
    assert 0 < found[0] <= 0.5
    assert log == ["closed"]


async def test_a_timeout_error_of_its_own_is_its_own():
    error = TimeoutError("of the database")

    @timeout(5)
    async def items():
        yield 1
        raise error

    with pytest.raises(TimeoutError) as raised:
        [item async for item in items()]
    assert raised.value is error


async def test_a_watched_one_is_told_of_however_it_ends(run, heard):
    log = []
    talk = talker("observe", log, seconds=0.01)()
    await anext(talk)
    await asyncio.sleep(0.03)
    await talk.aclose()
    assert [event["reason"] for name, event in heard.events if name == "guard.intervention"] == [
        "still_running",
        "ended_late",
    ]
