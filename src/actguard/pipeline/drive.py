"""The two drivers: what a plan asks, answered on this thread or on an event loop."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Generator
from functools import partial
from typing import Any

from actguard.pipeline.call import Ask, Asking
from actguard.pipeline.guard import Ending, Undo
from actguard.pipeline.outcome import is_neutral

clock = time.monotonic
"""For how long a body took."""


def drive(asking: Generator[Ask, Any, Any]) -> Any:
    """Answer everything that *asking* yields, on this thread. It is over with this, also if this is interrupted."""
    try:
        ask = next(asking)
        while True:
            try:
                reply = ask.do(*ask.args)
            except BaseException as error:  # noqa: BLE001 - handed on to whoever asked
                ask = asking.throw(error)
            else:
                ask = asking.send(reply)
    except StopIteration as end:
        return end.value
    except BaseException:
        asking.close()  # an interrupt may have come between what it asked and its answer
        raise


async def adrive(asking: Generator[Ask, Any, Any]) -> Any:
    """`drive`, on an event loop."""
    try:
        ask = next(asking)
        while True:
            try:
                reply = ask.do(*ask.args) if ask.ado is None else await ask.ado(*ask.args)
            except BaseException as error:  # noqa: BLE001 - handed on to whoever asked
                ask = asking.throw(error)
            else:
                ask = asking.send(reply)
    except StopIteration as end:
        return end.value
    except BaseException:
        asking.close()  # an interrupt may have come between what it asked and its answer
        raise


def in_thread(call: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    """*call*, which may take its time, for an event loop."""
    return lambda *args: asyncio.to_thread(call, *args)


def shielded(call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """*call*, carried out also when whoever waits for it is cancelled meanwhile: it frees what others wait for."""
    return lambda *args: asyncio.shield(asyncio.ensure_future(call(*args)))


def undone(undos: list[Undo]) -> Asking:
    """Carry out *undos*, the last one first, and lose each."""
    while undos:
        undo = undos.pop()
        yield Ask(undo, partial(_maybe_await, undo), ())


async def _maybe_await(undo: Undo) -> None:
    """Carry out *undo*, whichever kind it is of."""
    result = undo()
    if hasattr(result, "__await__"):
        await result


def failing(error: BaseException, begun: float) -> Ending:
    """How a body came out that raised *error*; begun: 0.0, if nobody wants to know how long it took."""
    return Ending(None, error, is_neutral(error), clock() - begun if begun else 0.0)
