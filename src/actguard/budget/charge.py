"""Charge: what a call turned out to cost. Tally: what the charges of one model come to."""

from typing import NamedTuple

from actguard.budget.usage import NOTHING, Usage


class Charge(NamedTuple):
    """What a call turned out to cost."""

    pico: int
    tokens: int
    items: tuple[tuple[str, Usage, int], ...] = ()
    """(model, usage, pico-dollars) for the breakdowns."""
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

    @property
    def usage(self) -> Usage:
        return self._special.plus(Usage(self._input, self._output))


_PLAIN = NOTHING[2:]
