"""Charge: what a call turned out to cost. Tally: what the charges of one model come to."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from actguard.budget.usage import NOTHING, Usage

Items = tuple[tuple[str, Usage, int], ...]
"""(model, usage, pico-dollars)"""


class Charge(NamedTuple):
    """What a call turned out to cost."""

    pico: int
    tokens: int
    items: Items = ()
    """For the breakdowns."""
    estimates: int = 0
    """1 if any figure is an estimate; -1 takes such a charge back."""

    def negated(self) -> "Charge":
        items = tuple((model, NOTHING.minus(usage), -pico) for model, usage, pico in self.items)
        return Charge(-self.pico, -self.tokens, items, -self.estimates)


NO_CHARGE = Charge(0, 0)


class Tally:
    """What one model was used for."""

    __slots__ = ("_input", "_output", "_special", "calls", "pico")

    def __init__(self) -> None:
        self._input = self._output = 0
        self._special = NOTHING
        self.pico = 0
        self.calls = 0

    def add(self, usage: Usage, pico: int, calls: int) -> None:
        self.pico += pico
        self.calls += calls
        if usage[2:] == _PLAIN:
            self._input += usage[0]
            self._output += usage[1]
        else:
            self._special = self._special.plus(usage)

    def copied(self) -> "Tally":
        same = Tally()
        same._input, same._output, same._special = self._input, self._output, self._special
        same.pico, same.calls = self.pico, self.calls
        return same

    @property
    def usage(self) -> Usage:
        return self._special.plus(Usage(self._input, self._output))


_PLAIN = NOTHING[2:]


def summed_up(tallies: Mapping[str, Tally], noted: Iterable[tuple[Items, int]]) -> dict[str, Tally]:
    """*tallies*, by model, and what was *noted* since: items, and the calls that they are. Neither is changed."""
    found = {model: tally.copied() for model, tally in tallies.items()}
    for items, calls in noted:
        for model, usage, pico in items:
            tally = found.get(model)
            if tally is None:
                tally = found[model] = Tally()
            tally.add(usage, pico, calls)
            if calls < 0 and not tally.calls:
                del found[model]  # an estimate that was all there was of it
    return found
