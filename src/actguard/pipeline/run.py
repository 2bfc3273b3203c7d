"""The wrappers: four thin shells around one plan, for the four kinds of functions.

Each asks, runs the body, and tells; what is asked and told is the plan's. A plan of one step in memory, which is what
most guarded functions are, is driven in a straight line: no generator, no list, and for a synchronous function with all
that it needs at hand.
"""

import inspect
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
from types import AsyncGeneratorType, GeneratorType
from typing import TYPE_CHECKING, Any

from actguard.context import current_frame
from actguard.exceptions import ToolGuardError
from actguard.pipeline.call import Ask, Call, Held
from actguard.pipeline.guard import Answer, Args, Ending, Kwargs
from actguard.pipeline.outcome import is_neutral
from actguard.pipeline.plan import Plan
from actguard.pipeline.single import Single
from actguard.pipeline.unasked import Unasked, settle
from actguard.stores.protocol import Refused, Step, fast_new
from actguard.stores.undo import REFUSALS

if TYPE_CHECKING:
    from actguard.pipeline.decorate import Pipeline

_clock = time.monotonic

# What tools return as a rule: neither awaitable nor a generator, known at one look.
_READY = frozenset({str, int, float, bool, type(None), dict, list, tuple, bytes, set})


def wrapper(pipeline: "Pipeline") -> Callable[..., Any]:
    """The function that stands in the place of the pipeline's."""
    shells = {"sync": _sync, "async": _async, "generator": _generator, "async_generator": _async_generator}
    return shells[pipeline.target.kind](pipeline)


def drive(asking: Generator[Ask, Any, Any]) -> Any:
    """Answer everything that *asking* yields, on this thread."""
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


# ---- functions ----------------------------------------------------------------------------------------------------


def _sync(pipeline: "Pipeline") -> Callable[..., Any]:
    def guarded(*args: Any, **kwargs: Any) -> Any:
        plan = pipeline.plan or pipeline.compile()
        return plan.call(args, kwargs)

    return guarded


def compiled(plan: Plan) -> Callable[[Args, Kwargs], Any]:
    """How a synchronous function is called under *plan*."""
    if plan.single is not None:
        return _sync_single(plan, plan.single)
    if plan.gates:
        return _sync_gated(plan, plan.gates)
    return lambda args, kwargs: _sync_call(plan, args, kwargs)


def _sync_single(plan: Plan, single: Single) -> Callable[[Args, Kwargs], Any]:
    part, read, ask, step_of, report, quiet, finish = single
    body, timed = plan.body, plan.timed

    def call(args: Args, kwargs: Kwargs) -> Any:
        try:
            asked = read(args, kwargs)
        except ToolGuardError as error:
            return plan.refusal(part, error).value
        receipt = ask(asked)
        if type(receipt) in REFUSALS:
            opened = drive(plan.refused(args, kwargs, [step_of(asked)], Refused(0, receipt)))
            return opened.value if isinstance(opened, Answer) else _sync_body(plan, opened)
        begun = _clock() if timed else 0.0
        try:
            # Merging no keywords into none would cost as much as the rest of the call.
            result = body(*args, **kwargs) if kwargs else body(*args)
        except BaseException as error:
            _failed_single(plan, step_of(asked), receipt, error, begun)
            raise
        if type(result) not in _READY and _is_lazy(result):
            return _later(plan, _call_of(plan, args, kwargs, step_of(asked), receipt), result, begun)
        if report is not None and not (quiet and receipt.quiet):
            ending = fast_new(Ending, (result, None, False, _clock() - begun if timed else 0.0, False))
            if (told := report(step_of(asked), receipt, ending)) is not None and not finish(told):
                plan.unwritten((part,), told)
        if (run := current_frame().run) is not None and run.emitter is not None:
            plan.heard(None, False)
        return result

    return call


def _sync_gated(plan: Plan, gates: tuple[Callable[[Args, Kwargs], bool], ...]) -> Callable[[Args, Kwargs], Any]:
    body, leave = plan.body, plan.exit

    def call(args: Args, kwargs: Kwargs) -> Any:
        for gate in gates:
            if not gate(args, kwargs):
                return _sync_call(plan, args, kwargs)
        try:
            result = body(*args, **kwargs) if kwargs else body(*args)
        except BaseException as error:
            plan.heard(error, is_neutral(error))
            raise
        if type(result) not in _READY and _is_lazy(result):
            return _later(plan, Call(args, kwargs), result, 0.0)
        if (run := current_frame().run) is not None and run.emitter is not None:
            plan.heard(None, False)
        if leave is None or leave(result):
            return result
        return drive(plan.leave(args, kwargs, result))

    return call


def _sync_call(plan: Plan, args: Args, kwargs: Kwargs) -> Any:
    opened = plan.enter(args, kwargs) if plan.direct else plan.open(args, kwargs)
    if not isinstance(opened, Call):
        opened = drive(opened)
    if isinstance(opened, Answer):
        return drive(plan.leave(args, kwargs, opened.value)) if opened.replayed else opened.value
    return _sync_body(plan, opened)


def _sync_body(plan: Plan, call: Call) -> Any:
    begun = _clock() if plan.timed else 0.0
    try:
        result = plan.body(*call.args, **call.kwargs)
    except BaseException as error:
        ending = _ending(error, begun)
        drive(plan.close(call, ending))
        plan.heard(error, ending.neutral)
        raise
    if type(result) not in _READY and _is_lazy(result):
        return _later(plan, call, result, begun)
    if call.held:
        ending = Ending(result, None, False, _clock() - begun if begun else 0.0)
        if plan.direct:
            plan.tell(call, ending)
        else:
            drive(plan.close(call, ending))
    plan.heard(None, False)
    return drive(plan.leave(call.args, call.kwargs, result)) if plan.afters else result


def _async(pipeline: "Pipeline") -> Callable[..., Any]:
    async def guarded(*args: Any, **kwargs: Any) -> Any:
        plan = pipeline.plan or pipeline.compile()
        if plan.single is None:
            if plan.gates and all(gate(args, kwargs) for gate in plan.gates):
                try:
                    result = await (plan.body(*args, **kwargs) if kwargs else plan.body(*args))
                except BaseException as error:
                    plan.heard(error, is_neutral(error))
                    raise
                if (run := current_frame().run) is not None and run.emitter is not None:
                    plan.heard(None, False)
                if plan.exit is None or plan.exit(result):
                    return result
                return await adrive(plan.leave(args, kwargs, result))
            opened = plan.enter(args, kwargs) if plan.direct else plan.open(args, kwargs)
            if not isinstance(opened, Call):
                opened = await adrive(opened)
            if isinstance(opened, Answer):
                return await adrive(plan.leave(args, kwargs, opened.value)) if opened.replayed else opened.value
            return await _async_body(plan, opened)
        part, read, ask, step_of, report, quiet, finish = plan.single
        try:
            asked = read(args, kwargs)
        except ToolGuardError as error:
            return plan.refusal(part, error).value
        receipt = ask(asked)
        if type(receipt) in REFUSALS:
            opened = await adrive(plan.refused(args, kwargs, [step_of(asked)], Refused(0, receipt)))
            return opened.value if isinstance(opened, Answer) else await _async_body(plan, opened)
        begun = _clock() if plan.timed else 0.0
        try:
            result = await (plan.body(*args, **kwargs) if kwargs else plan.body(*args))
        except BaseException as error:
            _failed_single(plan, step_of(asked), receipt, error, begun)
            raise
        if report is not None and not (quiet and receipt.quiet):
            ending = fast_new(Ending, (result, None, False, _clock() - begun if begun else 0.0, False))
            if (told := report(step_of(asked), receipt, ending)) is not None and not finish(told):
                plan.unwritten((part,), told)
        if (run := current_frame().run) is not None and run.emitter is not None:
            plan.heard(None, False)
        return result

    return guarded


async def _async_body(plan: Plan, call: Call) -> Any:
    begun = _clock() if plan.timed else 0.0
    try:
        result = await plan.body(*call.args, **call.kwargs)
    except BaseException as error:
        ending = _ending(error, begun)
        await adrive(plan.close(call, ending))
        plan.heard(error, ending.neutral)
        raise
    if call.held:
        ending = Ending(result, None, False, _clock() - begun if begun else 0.0)
        if plan.direct:
            plan.tell(call, ending)
        else:
            await adrive(plan.close(call, ending))
    plan.heard(None, False)
    return await adrive(plan.leave(call.args, call.kwargs, result)) if plan.afters else result


def _failed_single(plan: Plan, step: Step, receipt: Any, error: BaseException, begun: float) -> None:
    assert plan.single is not None
    part, ending = plan.single.part, _ending(error, begun)
    told = None if part.report is None else part.report(step, receipt, ending)
    if told is not None and not plan.single.finish(told):
        plan.unwritten((part,), told)
    plan.heard(error, ending.neutral)


def _ending(error: BaseException, begun: float) -> Ending:
    return Ending(None, error, is_neutral(error), _clock() - begun if begun else 0.0)


# ---- results that are not there yet -------------------------------------------------------------------------------


def _is_lazy(result: Any) -> bool:
    # Of the object itself nothing is asked: it may be anything.
    kind: type[Any] = type(result)  # pyright: ignore[reportUnknownVariableType]
    return hasattr(kind, "__await__") or kind is GeneratorType or kind is AsyncGeneratorType


def _call_of(plan: Plan, args: Args, kwargs: Kwargs, step: Step, receipt: Any) -> Call:
    call = Call(args, kwargs)
    call.held.append(Held(plan.groups[0], plan.groups[0].store, (step,), (receipt,)))
    return call


def _later(plan: Plan, call: Call, result: Any, begun: float) -> Any:
    """A function that is not `async` gave back something to wait for: how that comes out is how the call does."""
    settle()
    unasked = Unasked(plan, call)
    if inspect.isgenerator(result):
        return _generated(plan, unasked, result, begun)  # pyright: ignore[reportUnknownArgumentType]
    if inspect.isasyncgen(result):
        return _async_generated(plan, unasked, result, begun)
    return _awaited(plan, unasked, result, begun)


async def _awaited(plan: Plan, unasked: Unasked, awaitable: Awaitable[Any], begun: float) -> Any:
    call = unasked.take()
    try:
        result = await awaitable
    except BaseException as error:
        ending = _ending(error, begun)
        await adrive(plan.close(call, ending))
        plan.heard(error, ending.neutral)
        raise
    await adrive(plan.close(call, Ending(result, None, False, _clock() - begun if begun else 0.0, awaited=True)))
    plan.heard(None, False)
    return await adrive(plan.leave(call.args, call.kwargs, result)) if plan.afters else result


# ---- generators: they begin when they are first asked, and end when exhausted or closed --------------------------


def _generator(pipeline: "Pipeline") -> Callable[..., Any]:
    def guarded(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        plan = pipeline.plan or pipeline.compile()
        call = drive(plan.open(args, kwargs))
        begun = _clock() if plan.timed else 0.0
        return (yield from _generated(plan, call, plan.body(*args, **kwargs), begun))

    return guarded


def _generated(plan: Plan, call: Call | Unasked, items: Any, begun: float) -> Generator[Any, Any, Any]:
    if isinstance(call, Unasked):
        call = call.take()
    if plan.afters:
        items = drive(plan.leave(call.args, call.kwargs, items))
    try:
        result: Any = yield from items  # pyright: ignore[reportUnknownVariableType]
    except GeneratorExit:
        drive(plan.close(call, Ending(items, None, False, _clock() - begun if begun else 0.0)))
        plan.heard(None, False)
        raise
    except BaseException as error:
        ending = _ending(error, begun)
        drive(plan.close(call, ending))
        plan.heard(error, ending.neutral)
        raise
    drive(plan.close(call, Ending(items, None, False, _clock() - begun if begun else 0.0)))
    plan.heard(None, False)
    return result  # pyright: ignore[reportUnknownVariableType]


def _async_generator(pipeline: "Pipeline") -> Callable[..., Any]:
    async def guarded(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        plan = pipeline.plan or pipeline.compile()
        call = await adrive(plan.open(args, kwargs))
        begun = _clock() if plan.timed else 0.0
        items = _async_generated(plan, call, plan.body(*args, **kwargs), begun)
        asked: Awaitable[Any] = items.__anext__()
        try:
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
            await items.aclose()

    return guarded


async def _async_generated(plan: Plan, call: Call | Unasked, items: Any, begun: float) -> AsyncGenerator[Any, Any]:
    if isinstance(call, Unasked):
        call = call.take()
    if plan.afters:
        items = await adrive(plan.leave(call.args, call.kwargs, items))
    asked: Coroutine[Any, Any, Any] = items.__anext__()
    try:
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
        await adrive(plan.close(call, Ending(items, None, False, _clock() - begun if begun else 0.0)))
        plan.heard(None, False)
        raise
    except BaseException as error:
        ending = _ending(error, begun)
        await adrive(plan.close(call, ending))
        plan.heard(error, ending.neutral)
        raise
    await adrive(plan.close(call, Ending(items, None, False, _clock() - begun if begun else 0.0)))
    plan.heard(None, False)
