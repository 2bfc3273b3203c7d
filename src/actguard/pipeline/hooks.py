"""What a plan does with its parts one by one: the small things."""

from collections.abc import Callable
from typing import Any

from actguard.exceptions import ActGuardUsageError, ToolGuardError
from actguard.pipeline.at_once import AnswersAtOnce
from actguard.pipeline.call import SILENT, Call
from actguard.pipeline.guard import Part
from actguard.stores.protocol import Report
from actguard.stores.store import Store


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
