"""The one way in which guards, budgets and tools say what happened: `emit`.

It goes to the run that the code is in. Outside a run, or in one that nobody listens to, it costs one look.
"""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from actguard.context import current_frame


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
    run = current_frame().run
    if run is not None and run.emitter is not None:
        run.emitter.emit(category, name, payload, fields)
