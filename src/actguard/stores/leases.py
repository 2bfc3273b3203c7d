"""The machine of a number of places that are taken for a time: pure, told the time."""

from actguard.stores.protocol import Leased, NoPlace

LEASED = Leased()  # made before: between a place that was taken and its receipt nothing is to be interrupted


class LeaseMachine:
    """A place whose holder does not renew it in time is free again. Who asked in vain, and said that he waits, has his
    turn before those who came later, as long as he goes on asking."""

    __slots__ = ("_ends", "_turns")

    def __init__(self) -> None:
        self._ends: dict[str, float] = {}
        self._turns: dict[str, float] = {}  # in the order in which they came

    @property
    def until(self) -> float:
        """When nobody holds a place any more, or waits for one."""
        return max((*self._ends.values(), *self._turns.values()), default=0.0)

    def take(self, owner: str, limit: int, lease_s: float, now: float, waits_s: float = 0.0) -> Leased | NoPlace:
        for over in (self._ends, self._turns):
            for who in [who for who, end in over.items() if end <= now]:
                del over[who]
        if owner not in self._ends:
            turns = list(self._turns)
            before = turns.index(owner) if owner in self._turns else len(turns)
            if before >= limit - len(self._ends):
                soonest = min((*self._ends.values(), *self._turns.values()))
                if waits_s:
                    self._turns[owner] = now + waits_s
                return NoPlace(soonest - now)
            self._turns.pop(owner, None)
        self._ends[owner] = now + lease_s
        return LEASED

    def renew(self, owner: str, lease_s: float, now: float) -> bool:
        if self._ends.get(owner, now) <= now:
            return False
        self._ends[owner] = now + lease_s
        return True

    def give(self, owner: str, now: float) -> bool:
        self._turns.pop(owner, None)
        return self._ends.pop(owner, now) > now
