"""What a plan does with its parts one by one: the small things."""

from collections.abc import Callable
from typing import Any

from actguard.exceptions import ActGuardUsageError, ToolGuardError
from actguard.pipeline.at_once import AnswersAtOnce
from actguard.pipeline.call import SILENT, Call, Held
from actguard.pipeline.guard import Ending, Part
from actguard.stores.protocol import Report
from actguard.stores.store import Store
from actguard.stores.undo import holds, undoing


def checked(part: Part[Any], call: Call) -> None:
    """Let *part* check *call*, which from then on has what undoes that: on its way to the plan it could be lost."""
    undo = (part.check or only_async)(call.args, call.kwargs)
    if undo is not None:
        call.undos.append(undo)


async def achecked(part: Part[Any], call: Call) -> None:
    assert part.acheck is not None
    undo = await part.acheck(call.args, call.kwargs)
    if undo is not None:
        call.undos.append(undo)


def start(call: Call) -> None:
    for group, store, steps, receipts in call.held:
        for part, step, receipt in zip(group.parts, steps, receipts, strict=True):
            if part.started is not None and type(receipt) not in SILENT:
                part.started(step, store)


def taken_back(held: Held) -> list[Report]:
    """What gives *held* back, of a call that is not made. Whatever has started with it ends."""
    reports: list[Report] = []
    for part, step, receipt in zip(held.group.parts, held.steps, held.receipts, strict=True):
        if part.started is not None and part.report is not None and holds(receipt):
            part.report(step, receipt, Ending(None, GeneratorExit(), True, 0.0))
        if (report := undoing(step, receipt)) is not None:
            reports.append(report)
    return reports


def unreadable(part: Part[Any], error: Exception) -> ToolGuardError:
    """A guard's own function (a scope, a cost, a key) broke on this call."""
    message = f"{part.guard.kind} could not tell what to ask ({type(error).__name__})"
    return ToolGuardError(message, "INVALID_ARGUMENT", "unreadable")


def finisher(store: Store) -> Callable[[Report], bool]:
    if isinstance(store, AnswersAtOnce):
        return store.finish_one
    return lambda report: store.finish((report,))[0]


def only_async(*args: Any) -> Any:
    raise ActGuardUsageError("this guard works on asynchronous functions only: its store has no synchronous side")


def never(*args: Any) -> Any:
    raise AssertionError("this plan has no use for it")
