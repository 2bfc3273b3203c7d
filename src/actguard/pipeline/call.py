"""One call on its way through a plan: what it asks, of whom, and what it was given."""

from collections.abc import Awaitable, Callable, Generator, Sequence
from typing import Any, NamedTuple

from actguard.pipeline.guard import Args, Ending, Kwargs, OnStoreError, Part, Undo
from actguard.stores.fallback import Standby
from actguard.stores.protocol import Report, Step, Unguarded
from actguard.stores.store import Store
from actguard.stores.undo import REFUSALS, undoing


class Ask(NamedTuple):
    """Something that may wait. ado: how, on an event loop; None: as everywhere else."""

    do: Callable[..., Any]
    ado: Callable[..., Awaitable[Any]] | None
    args: tuple[Any, ...]


Asking = Generator[Ask, Any, Any]


class Group(NamedTuple):
    """The parts that are asked of one store, in one request. standby: None for a store that always answers."""

    store: Store
    standby: Standby | None
    parts: tuple[Part[Any], ...]
    on_error: tuple[OnStoreError, ...]
    """One for each part."""


class Held(NamedTuple):
    """What a call was given, and by whom; store: None when nobody was asked."""

    group: Group
    store: Store | None
    steps: Sequence[Step]
    receipts: tuple[Any, ...]


SILENT = REFUSALS | {Unguarded}
"""Receipts of those who have nothing to report."""


class Call:
    """One call on its way. *held*: what it was given, and has not told the end of. *undos*: what it has not undone."""

    __slots__ = ("args", "held", "kwargs", "undos")

    def __init__(self, args: Args, kwargs: Kwargs) -> None:
        self.args = args
        self.kwargs = kwargs
        self.held: list[Held] = []
        self.undos: list[Undo] = []

    def reports(self, ending: Ending, *, unmade: bool = False) -> list[tuple[Held, list[Report]]]:
        """What has to be told to whom, now that the body has ended; *unmade*: it was refused before it began."""
        told: list[tuple[Held, list[Report]]] = []
        for held in self.held:
            reports: list[Report] = []
            for part, step, receipt in zip(held.group.parts, held.steps, held.receipts, strict=True):
                if (part.report is None and not unmade) or type(receipt) in SILENT:
                    continue
                if ending.error is None and (
                    part.quiet_success or (type(ending.result) in part.quiet and receipt.quiet)
                ):
                    continue
                report = part.report(step, receipt, ending) if part.report else None
                if report is None and unmade:
                    report = undoing(step, receipt)
                if report is not None:
                    reports.append(report)
            if reports:
                told.append((held, reports))
        return told
