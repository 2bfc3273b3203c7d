"""The one way in which guards, budgets and tools say what happened: `emit`.

It goes to the run that the code is in. Outside a run, or in one that nobody listens to, it costs one look.
"""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from actguard.events.catalog import GATEWAYS_OWN
from actguard.events.envelope import COUNTS, FIELDS
from actguard.exceptions import ActGuardError, ReportingContractError
from actguard.steps import frame_here


@runtime_checkable
class Emitter(Protocol):
    """Takes the events of a run, from any thread, and returns at once."""

    def emit(self, category: str, name: str, payload: Mapping[str, Any], fields: Mapping[str, Any]) -> None: ...


def emit(category: str, name: str, payload: Mapping[str, Any], **fields: Any) -> None:
    """Tell the emitter of the current run, if it has one.

    Args:
        category: the part before the dot: `guard` of `guard.blocked`.
        name: the part after it.
        payload: what is particular to this kind of event; never secrets, never a tool's arguments.
        fields: keys of the envelope, such as `tool_name`, `outcome`, `scope_id`.
    """
    run = frame_here().run
    if run is not None and run.emitter is not None:
        run.emitter.emit(category, name, payload, fields)


def emit_event(category: str, name: str, payload: Mapping[str, Any] | None = None, **fields: Any) -> None:
    """Say that something happened, in an event of your own. Outside a run nobody is told.

    Args:
        category, name: what it is called: "order" and "placed" for `order.placed`.
        payload: facts that JSON can hold; whatever else is in it is named by its type alone.
        **fields: keys of the envelope, such as `tool_name`, `outcome` or `severity`.

    Raises:
        ReportingContractError: a name is empty, the payload is no mapping, a field is none of the envelope's or
            does not fit it, or it is an event that only the gateway may emit.
    """
    for argument, given in (("category", category), ("name", name)):
        if not isinstance(given, str) or not given:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ReportingContractError(f"{argument} must be a non-empty string, not {given!r}", argument=argument)
    if payload is not None and not isinstance(payload, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ReportingContractError(f"payload must be a mapping, not {type(payload).__name__}", argument="payload")
    for field, value in fields.items():
        _check(field, value)
    if category == "budget" and name in GATEWAYS_OWN:
        raise ReportingContractError(f"budget.{name} is what the gateway alone can know", argument="name")
    emit(category, name, payload or {}, **fields)


def _check(field: str, value: Any) -> None:
    """Refuse what the gateway would, where it is written: there, nobody is told until it is too late."""
    if field not in FIELDS:
        raise ReportingContractError(
            f"An event has no field {field!r}; put it into payload. There are {', '.join(sorted(FIELDS))}.",
            argument=field,
        )
    if field in COUNTS:
        fits, allowed = isinstance(value, int) and not isinstance(value, bool) and value >= 0, "a whole number from 0"
    elif field == "evidence":
        fits, allowed = isinstance(value, (list, tuple)), "a list"
    elif field == "meta":
        fits, allowed = isinstance(value, Mapping), "a mapping"
    else:
        fits, allowed = isinstance(value, str), "text"
    if value is not None and not fits:
        raise ReportingContractError(f"{field} must be {allowed}, not {value!r}", argument=field)


def emit_violation(error: ActGuardError, **context: Any) -> None:
    """Report a refusal of your own making as `guard.blocked`. Outside a run nobody is told.

    Args:
        error: what is raised; its code, reason and message are reported, its details are not.
        **context: fields of the envelope, such as `tool_name`; what is none goes into the payload.

    Raises:
        ReportingContractError: *error* is no ActGuardError.
    """
    if not isinstance(error, ActGuardError):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ReportingContractError(f"error must be an ActGuardError, not {type(error).__name__}", argument="error")
    payload = {"error": type(error).__name__, "code": error.code, "reason": error.reason, "message": error.message}
    payload |= {name: value for name, value in context.items() if name not in FIELDS}
    emit("guard", "blocked", payload, **{name: value for name, value in context.items() if name in FIELDS})
