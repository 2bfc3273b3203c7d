"""The machine of a number of places that are taken for a time: pure, told the time."""

from actguard.stores.protocol import Leased, NoPlace


class LeaseMachine:
    """A place whose holder does not renew it in time is free again."""

    __slots__ = ("_ends",)

    def __init__(self) -> None:
        self._ends: dict[str, float] = {}

    @property
    def until(self) -> float:
        """When nobody holds a place any more."""
        return max(self._ends.values(), default=0.0)

    def take(self, owner: str, limit: int, lease_s: float, now: float) -> Leased | NoPlace:
        for holder in [holder for holder, end in self._ends.items() if end <= now]:
            del self._ends[holder]
        if len(self._ends) >= limit and owner not in self._ends:
            return NoPlace(min(self._ends.values()) - now)
        self._ends[owner] = now + lease_s
        return Leased()

    def renew(self, owner: str, lease_s: float, now: float) -> bool:
        if self._ends.get(owner, now) <= now:
            return False
        self._ends[owner] = now + lease_s
        return True

    def give(self, owner: str, now: float) -> bool:
        return self._ends.pop(owner, now) > now
