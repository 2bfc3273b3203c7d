"""A coroutine whose time is over: cancelled, left if it does not listen, and looked after until it ends."""

import asyncio
import contextvars
import gc
import weakref

import pytest

from actguard import ToolTimeoutError, timeout


async def test_a_coroutine_that_listens_is_over_when_the_call_is():
    heard = []

    @timeout(0.01)
    async def call():
        try:
            await asyncio.Event().wait()
        finally:
            heard.append("cleaned up")

    with pytest.raises(ToolTimeoutError) as caught:
        await call()
    assert caught.value.still_running is False
    assert heard == ["cleaned up"]
    assert asyncio.current_task().cancelling() == 0


async def test_what_a_cancelled_coroutine_does_in_its_grace_is_waited_for():
    @timeout(0.01, grace=10)
    async def call(answer):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            if answer is None:
                raise
            return answer

    assert await call("late, but there") == "late, but there"
    with pytest.raises(ToolTimeoutError):
        await call(None)
    assert asyncio.current_task().cancelling() == 0
    await asyncio.sleep(0)


def deaf(heard: list, then):
    """A coroutine function that does not listen, does *then* when it may go on, and says how it was told."""

    async def call(go: asyncio.Event):
        for _ in range(2):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError as error:
                heard.append(type(error).__name__)
        await go.wait()
        await asyncio.sleep(0)
        return await then() if asyncio.iscoroutinefunction(then) else then()

    return call


def fails() -> None:
    raise LookupError("in the end")


async def fails_while_it_waits() -> None:
    waiting = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(waiting.set_exception, LookupError("in the end"))
    await waiting


async def is_cancelled() -> None:
    raise asyncio.CancelledError


async def catches() -> str:
    try:
        await fails_while_it_waits()
    except LookupError:
        return "caught"
    return "missed"


async def catches_and_goes_on() -> str:
    said = await catches()
    await asyncio.sleep(0.001)
    return f"{said}, and went on"


@pytest.mark.parametrize(
    ("then", "outcome"),
    [
        (lambda: "done", "done"),
        (catches, "caught"),
        (catches_and_goes_on, "caught, and went on"),
        (fails, LookupError),
        (fails_while_it_waits, LookupError),
        (is_cancelled, asyncio.CancelledError),
    ],
)
async def test_a_coroutine_that_was_left_goes_on_and_how_it_ends_is_told(then, outcome):
    heard, ended = [], asyncio.Queue()
    go = asyncio.Event()
    call = timeout(0.01, grace=0.01, on_orphan=ended.put_nowait)(deaf(heard, then))
    with pytest.raises(ToolTimeoutError) as caught:
        await call(go)
    assert caught.value.still_running is True
    assert asyncio.current_task().cancelling() == 0
    gc.collect()
    assert ended.empty()
    go.set()
    async with asyncio.timeout(10):
        said = await ended.get()
    assert heard == ["CancelledError", "CancelledError"]
    assert said == outcome or isinstance(said, outcome)


async def test_who_is_cancelled_from_outside_is_cancelled():
    began = asyncio.Event()

    @timeout(60)
    async def call():
        began.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(call())
    await began.wait()
    task.cancel("from outside")
    with pytest.raises(asyncio.CancelledError, match="from outside"):
        await task
    assert task.cancelling() == 1


async def test_a_cancellation_from_outside_while_the_time_is_over_counts():
    caught_one = asyncio.Event()

    @timeout(0.01, grace=60)
    async def call():
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            caught_one.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(call())
    await caught_one.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelling() == 1


async def test_a_call_in_a_task_that_was_cancelled_before_keeps_that_count():
    async def outer():
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            with pytest.raises(ToolTimeoutError):
                await timeout(0.01)(asyncio.Event().wait)()
            return asyncio.current_task().cancelling()

    task = asyncio.create_task(outer())
    await asyncio.sleep(0)
    task.cancel()
    assert await task == 1


async def test_an_error_of_the_coroutine_comes_out_and_one_thrown_in_gets_in():
    @timeout(60)
    async def call():
        try:
            await fails_while_it_waits()
        except LookupError:
            raise ValueError("mine") from None

    with pytest.raises(ValueError, match="mine"):
        await call()


async def test_of_many_calls_one_timer_is_left_behind_which_holds_nothing_of_them():
    loop = asyncio.get_running_loop()
    before = sum(not timer.cancelled() for timer in loop._scheduled)
    call = timeout(60)(asyncio.sleep)
    result = type("Result", (), {})()
    held = weakref.ref(result)
    for _ in range(50):
        await asyncio.gather(call(0, result), call(0, result))
    assert sum(not timer.cancelled() for timer in loop._scheduled) <= before + 1
    del result
    await asyncio.sleep(0)  # the loop itself holds what it woke this task with
    gc.collect()
    assert held() is None


async def test_the_timer_does_not_hold_what_surrounds_the_call_that_set_it():
    surrounds = contextvars.ContextVar("surrounds")
    kept = type("Kept", (), {})()
    held = weakref.ref(kept)

    async def inside(kept):
        surrounds.set(kept)
        await timeout(60)(asyncio.sleep)(0)

    await asyncio.create_task(inside(kept))
    del kept
    await asyncio.sleep(0)
    gc.collect()
    assert held() is None


def test_each_event_loop_of_a_thread_has_a_timer_of_its_own():
    @timeout(0.01)
    async def call():
        await asyncio.Event().wait()

    for _ in range(3):
        with pytest.raises(ToolTimeoutError):
            asyncio.run(call())
