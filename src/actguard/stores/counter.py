"""The machine of a count that only goes up to its limit: pure, told the time."""

from actguard.stores.protocol import Counted, UsedUp, fast_new


class CounterMachine:
    """`used` never passes the limit; what was refused is counted apart."""

    __slots__ = ("_mark", "refused", "until", "used")

    def __init__(self) -> None:
        self.until = 0.0
        self.begin()

    def begin(self) -> None:
        """As if nothing had been counted yet."""
        self.used = 0
        self.refused = 0
        self._mark: str | None = None

    def take(self, limit: int, ttl_s: float, now: float) -> Counted | UsedUp:
        if self.count(limit, ttl_s, now):
            return fast_new(Counted, (self.used,))  # type: ignore[no-any-return]
        return UsedUp(self.used, self.refused)

    def count(self, limit: int, ttl_s: float, now: float) -> bool:
        """`take`, for whoever does not want to know how many there are."""
        self.until = now + ttl_s
        if self.used >= limit:
            self.refused += 1
            return False
        self.used += 1
        return True

    def give(self) -> bool:
        if self.used == 0:
            return False
        self.used -= 1
        return True

    def seen(self, mark: str) -> bool:
        """A use came out as *mark*; whether the one before came out otherwise, so that this is the first again."""
        if self.used == 0:
            return False
        before, self._mark = self._mark, mark
        if before in (None, mark):
            return False
        self.used, self.refused = 1, 0
        return True
