"""Where events go besides the gateway: a file of JSON lines, a function of yours."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

Event = Mapping[str, Any]
"""An envelope; see docs/events.md for its keys. Sinks share it, and leave it as it is."""


class NotTaken(Exception):  # noqa: N818 - raised by a sink: says how many
    """Some events of a batch were not taken, and never will be; the others were."""

    def __init__(self, count: int, why: BaseException) -> None:
        super().__init__(str(why))
        self.count = count


def each(take: Callable[[Event], object], events: Sequence[Event]) -> None:
    """Have *take* called with each of *events*, also with those behind one that it raises for.

    Raises:
        NotTaken: it raised.
    """
    failures: list[BaseException] = []
    for event in events:
        try:
            take(event)
        except BaseException as error:  # noqa: BLE001 - somebody else's function, or what a program has put in an event
            failures.append(error)
    if failures:
        raise NotTaken(len(failures), failures[0])


@runtime_checkable
class Sink(Protocol):
    """Takes events in batches, on a thread of its own; it may block. What it raises is logged, once."""

    def write(self, events: Sequence[Event]) -> None: ...

    def close(self) -> None: ...


class JsonLines:
    """Appends each event to *path* as a line of JSON. Several processes may write to one file."""

    def __init__(self, path: "str | os.PathLike[str]") -> None:
        self.path = Path(path)
        self._descriptor = -1

    def write(self, events: Sequence[Event]) -> None:
        if self._descriptor < 0:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        lines = "".join(json.dumps(event, ensure_ascii=False, separators=(",", ":")) + "\n" for event in events)
        view = memoryview(lines.encode(errors="replace"))
        while view:
            view = view[os.write(self._descriptor, view) :]

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __repr__(self) -> str:
        return f"JsonLines({str(self.path)!r})"


class Callback:
    """Calls *function* with each event, also with those behind one that it raises for."""

    def __init__(self, function: Callable[[Event], object]) -> None:
        self.function = function

    def write(self, events: Sequence[Event]) -> None:
        each(self.function, events)

    def close(self) -> None:
        pass

    def __repr__(self) -> str:
        return f"Callback({getattr(self.function, '__name__', type(self.function).__name__)})"
