"""What a wrapper knows of the function that it stands for."""

from collections.abc import Callable
from typing import Any, Protocol

from actguard.pipeline.guard import Args, Kwargs
from actguard.pipeline.plan import Plan
from actguard.pipeline.target import Target


class Planned(Protocol):
    """A guarded function, as its wrapper sees it: a plan, until the settings change, and then another."""

    target: Target
    plan: Plan | None

    @property
    def call(self) -> Callable[[Args, Kwargs], Any]:
        """How a synchronous function is called: as its plan says, which is compiled first if there is none."""
        ...

    def compile(self) -> Plan: ...
