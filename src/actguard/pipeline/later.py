"""Results that are not there yet: what has to be waited for, and generators. The call ends when they do."""

import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
from functools import partial
from types import AsyncGeneratorType, GeneratorType
from typing import Any

from actguard.context import arun_in, run_in
from actguard.pipeline.call import Call
from actguard.pipeline.drive import adrive, clock, drive, failing
from actguard.pipeline.guard import Ending
from actguard.pipeline.outcome import is_cancelled
from actguard.pipeline.plan import Plan
from actguard.pipeline.planned import Planned
from actguard.pipeline.telling import tell_ended
from actguard.pipeline.unasked import Unasked, settle
from actguard.steps import generators, lost_frame


def is_lazy(result: Any) -> bool:
    """Whether *result* is something to wait for, or to ask for."""
    # Of the object itself nothing is asked: it may be anything.
    kind: type[Any] = type(result)  # pyright: ignore[reportUnknownVariableType]
    return hasattr(kind, "__await__") or kind is GeneratorType or kind is AsyncGeneratorType


def later(plan: Plan, call: Call, result: Any, begun: float) -> Any:
    """A function that is not `async` gave back something to wait for: how that comes out is how the call does."""
    settle()
    unasked = Unasked(plan, call)
    if inspect.isgenerator(result):
        return _generated(plan, unasked, lambda: result, begun)  # pyright: ignore[reportUnknownLambdaType]
    if inspect.isasyncgen(result):
        return _async_generated(plan, unasked, lambda: result, begun)  # pyright: ignore[reportUnknownLambdaType]
    plan.awaits = True
    return _awaited(plan, unasked, result, begun)


async def _awaited(plan: Plan, unasked: Unasked, awaitable: Awaitable[Any], begun: float) -> Any:
    call = unasked.take()
    try:
        try:
            result = await awaitable
        except BaseException as error:
            ending = failing(error, begun)
            await adrive(plan.close(call, ending))
            tell_ended(plan.target, error, ending.neutral)
            raise
        await adrive(plan.close(call, Ending(result, None, False, clock() - begun if begun else 0.0, awaited=True)))
        tell_ended(plan.target, None, False)
        return await adrive(plan.leave(call.args, call.kwargs, result)) if plan.afters else result
    except BaseException as error:
        let_go(plan, call, error)
        raise


def let_go(plan: Plan, call: Call, error: BaseException) -> None:
    """*error* ends *call*, whose body has begun: an interrupt may have come before all were told."""
    if call.held and not is_cancelled(error):  # what is told when a task is cancelled is carried out
        plan.let_go(call, error)


# ---- generators: they begin when they are first asked, and end when exhausted or closed --------------------------


def generator(function: Planned) -> Callable[..., Any]:
    """The wrapper of a generator function."""

    def guarded(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        plan = function.plan or function.compile()
        lost = lost_frame() if generators else None
        call = Call(args, kwargs)
        try:
            opening = plan.open(call)
            _ = drive(opening) if lost is None else run_in(lost, drive, opening)
            begun = clock() if plan.timed else 0.0
            return (yield from _generated(plan, call, partial(plan.body, *args, **kwargs), begun))
        except BaseException:
            drive(plan.take_back(call))  # nothing, unless it was interrupted
            raise

    return guarded


def _generated(plan: Plan, call: Call | Unasked, make: Callable[[], Any], begun: float) -> Generator[Any, Any, Any]:
    """What the generator yields that *make* gives, or raises: it is made of arguments that may not fit."""
    if isinstance(call, Unasked):
        call = call.take()
    items: Any = None
    try:
        try:
            items = make()
            if plan.afters:
                items = drive(plan.leave(call.args, call.kwargs, items))
            result: Any = yield from items  # pyright: ignore[reportUnknownVariableType]
        except GeneratorExit:
            drive(plan.close(call, Ending(items, None, False, clock() - begun if begun else 0.0)))
            tell_ended(plan.target, None, False)
            raise
        except BaseException as error:
            ending = failing(error, begun)
            drive(plan.close(call, ending))
            tell_ended(plan.target, error, ending.neutral)
            raise
        drive(plan.close(call, Ending(items, None, False, clock() - begun if begun else 0.0)))
        tell_ended(plan.target, None, False)
        return result  # pyright: ignore[reportUnknownVariableType]
    except BaseException as error:
        let_go(plan, call, error)
        raise


def async_generator(function: Planned) -> Callable[..., Any]:
    """The wrapper of an asynchronous generator function."""

    async def guarded(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        plan = function.plan or function.compile()
        lost = lost_frame() if generators else None
        call = Call(args, kwargs)
        items: Any = None
        try:
            opening = plan.open(call)
            await (adrive(opening) if lost is None else arun_in(lost, adrive, opening))
            begun = clock() if plan.timed else 0.0
            items = _async_generated(plan, call, partial(plan.body, *args, **kwargs), begun)
            asked: Awaitable[Any] = items.__anext__()
            while True:
                try:
                    item = await asked
                except StopAsyncIteration:
                    return
                try:
                    sent = yield item
                except GeneratorExit:
                    raise
                except BaseException as error:  # noqa: BLE001 - thrown in by the consumer, for the body
                    asked = items.athrow(error)
                else:
                    asked = items.asend(sent)
        finally:
            try:
                if items is not None:
                    await items.aclose()
            finally:
                if call.held or call.undos:  # it was interrupted before the body began
                    await adrive(plan.take_back(call))

    return guarded


async def _async_generated(
    plan: Plan, call: Call | Unasked, make: Callable[[], Any], begun: float
) -> AsyncGenerator[Any, Any]:
    if isinstance(call, Unasked):
        call = call.take()
    items: Any = None
    try:
        try:
            items = make()
            if plan.afters:
                items = await adrive(plan.leave(call.args, call.kwargs, items))
            asked: Coroutine[Any, Any, Any] = items.__anext__()
            while True:
                try:
                    item = await asked
                except StopAsyncIteration:
                    break
                try:
                    sent = yield item
                except GeneratorExit:
                    await items.aclose()
                    raise
                except BaseException as error:  # noqa: BLE001 - thrown in by the consumer, for the body
                    asked = items.athrow(error)
                else:
                    asked = items.asend(sent) if sent is not None else items.__anext__()
        except GeneratorExit:
            await adrive(plan.close(call, Ending(items, None, False, clock() - begun if begun else 0.0)))
            tell_ended(plan.target, None, False)
            raise
        except BaseException as error:
            ending = failing(error, begun)
            await adrive(plan.close(call, ending))
            tell_ended(plan.target, error, ending.neutral)
            raise
        await adrive(plan.close(call, Ending(items, None, False, clock() - begun if begun else 0.0)))
        tell_ended(plan.target, None, False)
    except BaseException as error:
        let_go(plan, call, error)
        raise
