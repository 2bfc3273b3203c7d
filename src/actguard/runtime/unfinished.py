"""Calls that outlive the scopes they were begun in, such as streams that nobody closes."""

from actguard.budget.hold import Hold

_FEW = 64


class Unfinished:
    """Those of one client, so that its end can still tell what they cost. `add` takes no lock: any thread calls it."""

    def __init__(self) -> None:
        self._holds: dict[int, Hold] = {}
        self._room = _FEW

    def add(self, hold: Hold) -> None:
        self._holds[id(hold)] = hold
        if len(self._holds) > self._room:
            for key, known in list(self._holds.items()):
                if known.final:
                    self._holds.pop(key, None)
            self._room = max(_FEW, 2 * len(self._holds))

    def give_up(self) -> None:
        """Charge them for good, as they stand: nobody will be told of their end."""
        while self._holds:
            _, hold = self._holds.popitem()
            if not hold.final:
                hold.give_up()

    def forked(self) -> None:
        """In a forked child: they are the parent's."""
        self._holds = {}
