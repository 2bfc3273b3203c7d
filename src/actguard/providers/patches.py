"""Patches that come off without a trace, whoever else has patched the same place before or after."""

from collections.abc import Callable
from typing import Any

_ABSENT = object()


class Patches:
    """What was replaced, and by what; one per watched SDK."""

    def __init__(self) -> None:
        self._applied: list[tuple[Any, str, Any, Any]] = []
        self._steps: list[Callable[[], object]] = []
        self.live = True
        """Until `remove`: a wrapper that somebody has wrapped again stays where it is, and must let everything pass."""

    def wrap(self, owner: Any, name: str, around: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
        """Replace `owner.name` by `around(original)`.

        Raises:
            AttributeError: there is no such name.
        """
        original = owner.__dict__.get(name, _ABSENT)
        wrapper = around(getattr(owner, name))
        setattr(owner, name, wrapper)
        self._applied.append((owner, name, original, wrapper))

    def undo(self, step: Callable[[], object]) -> None:
        """Have `remove` call *step*, which takes back what was not done by replacing a name."""
        self._steps.append(step)

    def remove(self) -> None:
        """Put everything back. Where somebody has wrapped our wrapper since, his stays, and ours below it."""
        self.live = False
        while self._steps:
            self._steps.pop()()
        while self._applied:
            owner, name, original, wrapper = self._applied.pop()
            if owner.__dict__.get(name) is not wrapper:
                continue
            if original is _ABSENT:
                delattr(owner, name)
            else:
                setattr(owner, name, original)
