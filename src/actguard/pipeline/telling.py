"""What whoever listens to a run hears of guards, and of the functions they guard."""

from typing import Any

from actguard.events.emitter import emit
from actguard.exceptions import ActGuardToolError
from actguard.pipeline.guard import Part
from actguard.pipeline.target import Target
from actguard.steps import frame_here


def tell_blocked(target: Target, part: Part[Any], error: ActGuardToolError) -> None:
    """A guard refused a call."""
    _tell("blocked", "blocked", target, part, error)


def tell_observed(target: Target, part: Part[Any], error: ActGuardToolError) -> None:
    """A guard that only watches would have refused it."""
    _tell("intervention", "observed", target, part, error)


def tell_failed(target: Target, part: Part[Any], error: ActGuardToolError) -> None:
    """What a guard wrote down after a call had no effect."""
    _tell("intervention", "failed", target, part, error)


def tell_ended(target: Target, error: BaseException | None, neutral: bool) -> None:
    """The body came out: well, or with an *error*, which is nobody's failure if it is *neutral*."""
    run = frame_here().run
    if run is None or run.emitter is None:
        return
    if error is None:
        emit("tool", "invoke", {}, tool_name=target.name, outcome="success")
    elif not neutral:
        emit("tool", "failure", {"error_type": type(error).__qualname__}, tool_name=target.name, outcome="failed")


def _tell(name: str, outcome: str, target: Target, part: Part[Any], error: ActGuardToolError) -> None:
    run = frame_here().run
    if run is not None and run.emitter is not None:
        payload = {"guard": part.guard.kind, "code": error.code, "retry_after": error.retry_after}
        if error.reason:
            payload["reason"] = error.reason
        emit("guard", name, payload, tool_name=target.name, outcome=outcome)
