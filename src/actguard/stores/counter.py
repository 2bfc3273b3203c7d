"""The machine of a count that only goes up to its limit: pure, told the time."""

from actguard.stores.protocol import Counted, UsedUp


class CounterMachine:
    """`used` never passes the limit; what was refused is counted apart."""

    __slots__ = ("refused", "until", "used")

    def __init__(self) -> None:
        self.used = 0
        self.refused = 0
        self.until = 0.0

    def take(self, limit: int, ttl_s: float, now: float) -> Counted | UsedUp:
        self.until = now + ttl_s
        if self.used >= limit:
            self.refused += 1
            return UsedUp(self.used, self.refused)
        self.used += 1
        return Counted(self.used)

    def give(self) -> bool:
        if self.used == 0:
            return False
        self.used -= 1
        return True
