"""The wrappers of functions: thin shells around one plan.

Each asks, runs the body, and tells; what is asked and told is the plan's. Where that is asked of one store in memory,
which is what most guarded functions do, it is done in a straight line: without a generator, and for synchronous
functions with all that a call needs at hand.
"""

from collections.abc import Callable, Sequence
from typing import Any

from actguard.context import arun_in, current_frame, run_in
from actguard.exceptions import ToolGuardError
from actguard.pipeline.at_once import Several, Single, Tell
from actguard.pipeline.call import Call, Held
from actguard.pipeline.drive import adrive, clock, drive, failing
from actguard.pipeline.guard import PLAIN, Args, Ending, Kwargs
from actguard.pipeline.later import async_generator, generator, is_lazy, later
from actguard.pipeline.outcome import is_cancelled, is_neutral
from actguard.pipeline.plan import Opening, Plan
from actguard.pipeline.planned import Planned
from actguard.pipeline.telling import tell_ended
from actguard.steps import generators, lost_frame
from actguard.stores.protocol import Refused, Step
from actguard.stores.undo import REFUSALS, holds


def wrapper(function: Planned) -> Callable[..., Any]:
    """What stands in the place of *function*."""
    shells = {"sync": _sync, "async": _async, "generator": generator, "async_generator": async_generator}
    return shells[function.target.kind](function)


def _sync(function: Planned) -> Callable[..., Any]:
    def guarded(*args: Any, **kwargs: Any) -> Any:
        if generators and (lost := lost_frame()) is not None:
            return run_in(lost, function.call, args, kwargs)
        return function.call(args, kwargs)

    return guarded


def compiled(plan: Plan) -> Callable[[Args, Kwargs], Any]:
    """How a synchronous function is called under *plan*."""
    if plan.single is not None:
        tell = plan.single.tell
        return _sync_untold(plan, plan.single) if tell is None else _sync_single(plan, plan.single, tell)
    if plan.gates is not None:
        return _sync_gated(plan, plan.gates)
    if plan.several is not None:
        return _sync_several(plan, plan.several)
    return lambda args, kwargs: _sync_call(plan, args, kwargs)


def _sync_single(plan: Plan, single: Single, tell: Tell) -> Callable[[Args, Kwargs], Any]:
    part, fixed, read, ask, step_of, _, quiet, usual, _ = single
    body, timed = plan.body, plan.timed

    def call(args: Args, kwargs: Kwargs) -> Any:
        try:
            asked = fixed or read(args, kwargs)
        except ToolGuardError as error:
            return plan.refusal(part, error).value
        receipt = ask(asked)
        try:
            if receipt is not usual and type(receipt) in REFUSALS:
                return _sync_refused(plan, args, kwargs, [step_of(asked)], Refused(0, receipt))
            begun = clock() if timed else 0.0
        except BaseException:
            if type(receipt) not in REFUSALS:
                drive(plan.take_back(_call_of(plan, args, kwargs, [step_of(asked)], (receipt,))))
            raise
        try:
            try:
                # Merging no keywords into none would cost as much as the rest of the call.
                result = body(*args, **kwargs) if kwargs else body(*args)
            except BaseException as error:
                _failed_single(plan, step_of(asked), receipt, error, begun)
                receipt = None  # its end was told
                raise
            if receipt is not usual or type(result) not in PLAIN:
                if type(result) not in PLAIN and is_lazy(result):
                    return later(plan, _call_of(plan, args, kwargs, [step_of(asked)], (receipt,)), result, begun)
                if not (quiet and type(result) in quiet and receipt.quiet):
                    unwritten = tell(asked, receipt, result, clock() - begun if timed else 0.0)
                    if unwritten is not None:
                        plan.unwritten((part,), unwritten)
            if (run := current_frame().run) is not None and run.emitter is not None:
                tell_ended(plan.target, None, False)
            return result
        except BaseException as error:
            if receipt is not None and holds(receipt):
                plan.let_go(_call_of(plan, args, kwargs, [step_of(asked)], (receipt,)), error)
            raise

    return call


def _sync_untold(plan: Plan, single: Single) -> Callable[[Args, Kwargs], Any]:
    """`_sync_single`, of a part that has nothing to tell of a success."""
    part, fixed, read, ask, step_of, *_ = single
    body = plan.body
    assert not plan.timed  # who wants to know how long a success took has something to tell of it

    def call(args: Args, kwargs: Kwargs) -> Any:
        try:
            asked = fixed or read(args, kwargs)
        except ToolGuardError as error:
            return plan.refusal(part, error).value
        receipt = ask(asked)
        if receipt is not None and type(receipt) in REFUSALS:
            return _sync_refused(plan, args, kwargs, [step_of(asked)], Refused(0, receipt))
        try:
            result = body(*args, **kwargs) if kwargs else body(*args)
        except BaseException as error:
            _failed_single(plan, step_of(asked), receipt, error, 0.0)
            raise
        if type(result) not in PLAIN and is_lazy(result):
            return later(plan, _call_of(plan, args, kwargs, [step_of(asked)], (receipt,)), result, 0.0)
        if (run := current_frame().run) is not None and run.emitter is not None:
            tell_ended(plan.target, None, False)
        return result

    return call


def _sync_several(plan: Plan, several: Several) -> Callable[[Args, Kwargs], Any]:
    reads, ask, steps_of, tellers = several
    body, timed, afters = plan.body, plan.timed, plan.afters

    def whole(asked: list[Any]) -> list[Step]:
        return [step_of(one) for step_of, one in zip(steps_of, asked, strict=True)]

    def call(args: Args, kwargs: Kwargs) -> Any:
        asked: list[Any] = []
        try:
            for read in reads:
                asked.append(read(args, kwargs))  # noqa: PERF401 - a comprehension is one more call
        except ToolGuardError:
            return _sync_call(plan, args, kwargs)  # where it is said who refused
        receipts = ask(asked)
        try:
            if isinstance(receipts, Refused):
                return _sync_refused(plan, args, kwargs, whole(asked), receipts)
            begun = clock() if timed else 0.0
        except BaseException:
            if not isinstance(receipts, Refused):
                drive(plan.take_back(_call_of(plan, args, kwargs, whole(asked), receipts)))
            raise
        try:
            try:
                result = body(*args, **kwargs) if kwargs else body(*args)
            except BaseException as error:
                failed = failing(error, begun)
                drive(plan.close(_call_of(plan, args, kwargs, whole(asked), receipts), failed))
                receipts.clear()  # their end was told
                tell_ended(plan.target, error, failed.neutral)
                raise
            if type(result) not in PLAIN and is_lazy(result):
                return later(plan, _call_of(plan, args, kwargs, whole(asked), receipts), result, begun)
            seconds = clock() - begun if timed else 0.0
            for index, tell, quiet in tellers:
                receipt = receipts[index]
                if type(result) in quiet and receipt.quiet:
                    continue
                unwritten = tell(asked[index], receipt, result, seconds)
                if unwritten is not None:
                    plan.unwritten(plan.groups[0].parts, unwritten)
            if (run := current_frame().run) is not None and run.emitter is not None:
                tell_ended(plan.target, None, False)
            return drive(plan.leave(args, kwargs, result)) if afters else result
        except BaseException as error:
            if any(map(holds, receipts)):
                plan.let_go(_call_of(plan, args, kwargs, whole(asked), receipts), error)
            raise

    return call


def _sync_gated(plan: Plan, gates: tuple[Callable[[Args, Kwargs], bool], ...]) -> Callable[[Args, Kwargs], Any]:
    body, leave = plan.body, plan.exit

    def all_open(args: Args, kwargs: Kwargs) -> bool:
        return all(gate(args, kwargs) for gate in gates)

    opens = gates[0] if len(gates) == 1 else all_open

    def call(args: Args, kwargs: Kwargs) -> Any:
        if not opens(args, kwargs):
            return _sync_call(plan, args, kwargs)
        try:
            result = body(*args, **kwargs) if kwargs else body(*args)
        except BaseException as error:
            tell_ended(plan.target, error, is_neutral(error))
            raise
        if type(result) not in PLAIN and is_lazy(result):
            return later(plan, Call(args, kwargs), result, 0.0)
        if (run := current_frame().run) is not None and run.emitter is not None:
            tell_ended(plan.target, None, False)
        if leave is None or leave(result):
            return result
        return drive(plan.leave(args, kwargs, result))

    return call


def _sync_refused(plan: Plan, args: Args, kwargs: Kwargs, steps: list[Step], verdict: Refused) -> Any:
    """A call that was asked for in a straight line, and refused."""
    return _sync_call(plan, args, kwargs, lambda call: plan.refused(call, steps, verdict))


def _sync_call(plan: Plan, args: Args, kwargs: Kwargs, opened: Callable[[Call], Opening | None] | None = None) -> Any:
    call = Call(args, kwargs)
    try:
        opening = (opened or (plan.enter if plan.direct else plan.open))(call)
        answer = None if opening is None else drive(opening)
        begun = clock() if plan.timed else 0.0
    except BaseException:
        drive(plan.take_back(call))
        raise
    if answer is not None:
        return drive(plan.leave(args, kwargs, answer.value)) if answer.replayed and plan.afters else answer.value
    try:
        try:
            result = plan.body(*args, **kwargs)
        except BaseException as error:
            ending = failing(error, begun)
            drive(plan.close(call, ending))
            tell_ended(plan.target, error, ending.neutral)
            raise
        if type(result) not in PLAIN and is_lazy(result):
            return later(plan, call, result, begun)
        if call.held:
            ending = Ending(result, None, False, clock() - begun if begun else 0.0)
            if plan.direct:
                plan.tell(call, ending)
            else:
                drive(plan.close(call, ending))
        tell_ended(plan.target, None, False)
        return drive(plan.leave(args, kwargs, result)) if plan.afters else result
    except BaseException as error:
        if call.held:
            plan.let_go(call, error)
        raise


def _async(function: Planned) -> Callable[..., Any]:
    async def guarded(*args: Any, **kwargs: Any) -> Any:
        if generators and (lost := lost_frame()) is not None:
            return await arun_in(lost, guarded, *args, **kwargs)
        plan = function.plan or function.compile()
        if plan.single is None:
            gates = plan.gates
            if gates is not None and (not gates or all(gate(args, kwargs) for gate in gates)):
                try:
                    result = await (plan.body(*args, **kwargs) if kwargs else plan.body(*args))
                except BaseException as error:
                    tell_ended(plan.target, error, is_neutral(error))
                    raise
                if (run := current_frame().run) is not None and run.emitter is not None:
                    tell_ended(plan.target, None, False)
                if plan.exit is None or plan.exit(result):
                    return result
                return await adrive(plan.leave(args, kwargs, result))
            return await _async_call(plan, args, kwargs)
        part, fixed, read, ask, step_of, tell, quiet, usual, _ = plan.single
        try:
            asked = fixed or read(args, kwargs)
        except ToolGuardError as error:
            return plan.refusal(part, error).value
        receipt = ask(asked)
        try:
            if receipt is not usual and type(receipt) in REFUSALS:
                steps = [step_of(asked)]
                return await _async_call(
                    plan, args, kwargs, lambda call: plan.refused(call, steps, Refused(0, receipt))
                )
            begun = clock() if plan.timed else 0.0
        except BaseException:
            if type(receipt) not in REFUSALS:
                drive(plan.take_back(_call_of(plan, args, kwargs, [step_of(asked)], (receipt,))))
            raise
        try:
            try:
                result = await (plan.body(*args, **kwargs) if kwargs else plan.body(*args))
            except BaseException as error:
                _failed_single(plan, step_of(asked), receipt, error, begun)
                receipt = None  # its end was told
                raise
            unsaid = receipt is usual and type(result) in PLAIN
            if tell is not None and not (unsaid or (type(result) in quiet and receipt.quiet)):
                unwritten = tell(asked, receipt, result, clock() - begun if begun else 0.0)
                if unwritten is not None:
                    plan.unwritten((part,), unwritten)
            if (run := current_frame().run) is not None and run.emitter is not None:
                tell_ended(plan.target, None, False)
            return result
        except BaseException as error:
            if receipt is not None and holds(receipt):
                plan.let_go(_call_of(plan, args, kwargs, [step_of(asked)], (receipt,)), error)
            raise

    return guarded


async def _async_call(
    plan: Plan, args: Args, kwargs: Kwargs, opened: Callable[[Call], Opening | None] | None = None
) -> Any:
    call = Call(args, kwargs)
    try:
        opening = (opened or (plan.enter if plan.direct else plan.open))(call)
        answer = None if opening is None else await adrive(opening)
        begun = clock() if plan.timed else 0.0
    except BaseException:
        await adrive(plan.take_back(call))
        raise
    if answer is not None:
        return await adrive(plan.leave(args, kwargs, answer.value)) if answer.replayed and plan.afters else answer.value
    try:
        try:
            result = await plan.body(*args, **kwargs)
        except BaseException as error:
            ending = failing(error, begun)
            await adrive(plan.close(call, ending))
            tell_ended(plan.target, error, ending.neutral)
            raise
        if call.held:
            ending = Ending(result, None, False, clock() - begun if begun else 0.0)
            if plan.direct:
                plan.tell(call, ending)
            else:
                await adrive(plan.close(call, ending))
        tell_ended(plan.target, None, False)
        return await adrive(plan.leave(args, kwargs, result)) if plan.afters else result
    except BaseException as error:
        if call.held and not is_cancelled(error):  # a cancelled report is carried out
            plan.let_go(call, error)
        raise


def _failed_single(plan: Plan, step: Step, receipt: Any, error: BaseException, begun: float) -> None:
    assert plan.single is not None
    part, ending = plan.single.part, failing(error, begun)
    told = None if part.report is None else part.report(step, receipt, ending)
    if told is not None and not plan.single.finish(told):
        plan.unwritten((part,), told)
    tell_ended(plan.target, error, ending.neutral)


def _call_of(plan: Plan, args: Args, kwargs: Kwargs, steps: Sequence[Step], receipts: Sequence[Any]) -> Call:
    """A call that went its way without one so far."""
    call = Call(args, kwargs)
    call.held.append(Held(plan.groups[0], plan.groups[0].store, steps, tuple(receipts)))
    return call
