"""How full a limit is: three meters, pure, told the time and asked for room.

`wait` says how long until *cost* calls fit (0.0: now), `add` counts them, `give` takes one addition back. A meter is
asked and told at times that never go back. `until` is when it is as good as new, and may be forgotten.
"""

import math

from actguard.stores.protocol import Limit

MOST_ENTRIES = 1024
"""A log of more calls keeps those that start close together as one entry."""
_NEVER = -math.inf


def grain_of(limit: Limit) -> float:
    """Seconds within which calls are kept as one; 0.0: each by itself."""
    return limit.period / MOST_ENTRIES if limit.max_calls > MOST_ENTRIES else 0.0


class Sliding:
    """A log of the calls of the last period: exact, wherever the window begins.

    A plain list: there is one for each key, a deque takes seven times as much where there are few calls, and what a
    list moves when the oldest go is little, for it is never long.
    """

    __slots__ = ("_ages", "_entries", "_grows", "until", "used")

    def __init__(self) -> None:
        self._entries: list[tuple[float, int]] = []  # last call of the entry, how many calls
        self._ages = math.inf  # when the window leaves the oldest entry behind, or before
        self._grows = _NEVER  # until when the youngest entry takes in further calls
        self.used = 0
        self.until = _NEVER

    def take(self, most: int, period: float, grain: float, cost: int, now: float) -> bool:
        """Whether there is nothing to `wait` for, and then `add`: the usual call, in one go.

        Args:
            grain: `grain_of` the limit.
        """
        if self._ages <= now:
            self._age(period, now)
        used = self.used + cost
        if used > most:
            return False
        entries, until = self._entries, now + period
        if now < self._grows:
            entries[-1] = (now, entries[-1][1] + cost)
        else:
            if not entries:
                self._ages = until
            entries.append((now, cost))
            if grain:
                self._grows = now + grain
        self.used = used
        self.until = until
        return True

    def wait(self, limit: Limit, cost: int, now: float) -> float:
        period = limit.period
        self._age(period, now)
        missing = self.used + cost - limit.max_calls
        if missing <= 0:
            return 0.0
        for stamp, count in self._entries:
            missing -= count
            if missing <= 0:
                return stamp + period - now
        return period

    def add(self, limit: Limit, cost: int, now: float) -> None:
        entries = self._entries
        if now < self._grows:
            entries[-1] = (now, entries[-1][1] + cost)
        else:
            if not entries:
                self._ages = now + limit.period
            entries.append((now, cost))
            self._grows = now + grain_of(limit)
        self.used += cost
        self.until = now + limit.period

    def give(self, limit: Limit, cost: int, stamp: float, now: float) -> bool:
        shared = limit.max_calls > MOST_ENTRIES  # then the entry may be named by a later call
        for index, (youngest, count) in enumerate(self._entries):
            named = (youngest >= stamp and count >= cost) if shared else (youngest, count) == (stamp, cost)
            if named and youngest + limit.period > now:
                self.used -= cost
                if count == cost:
                    del self._entries[index]
                    self._grows = _NEVER  # it may have been the youngest
                else:
                    self._entries[index] = (youngest, count - cost)
                return True
        return False

    def _age(self, period: float, now: float) -> None:
        """Forget the calls that the window has left behind."""
        entries, over = self._entries, 0
        while over < len(entries) and entries[over][0] + period <= now:
            self.used -= entries[over][1]
            over += 1
        del entries[:over]
        self._ages = entries[0][0] + period if entries else math.inf
        if not entries:
            self._grows = _NEVER


class Gcra:
    """A bucket that drips: `burst` at once, then evenly. Two numbers, whatever the limit."""

    __slots__ = ("until",)

    def __init__(self) -> None:
        self.until = -math.inf  # the theoretical arrival time: when the bucket is empty again

    def wait(self, limit: Limit, cost: int, now: float) -> float:
        spacing = limit.period / limit.max_calls
        wait = max(self.until, now) + (cost - (limit.burst or limit.max_calls)) * spacing - now
        return wait if wait > spacing * 1e-6 else 0.0  # sums of floats: the last of a burst is not to be refused

    def add(self, limit: Limit, cost: int, now: float) -> None:
        self.until = max(self.until, now) + cost * limit.period / limit.max_calls

    def give(self, limit: Limit, cost: int, stamp: float, now: float) -> bool:
        if self.until <= now:
            return False
        self.until -= cost * limit.period / limit.max_calls
        return True


class Fixed:
    """One count for each window, which begins at a multiple of the period."""

    __slots__ = ("_window", "until", "used")

    def __init__(self) -> None:
        self._window = -1
        self.used = 0
        self.until = -math.inf

    def wait(self, limit: Limit, cost: int, now: float) -> float:
        window = math.floor(now / limit.period)
        if window != self._window:
            self._window, self.used = window, 0
        if self.used + cost <= limit.max_calls:
            return 0.0
        return max((window + 1) * limit.period - now, 1e-9)

    def add(self, limit: Limit, cost: int, now: float) -> None:
        self.used += cost
        self.until = (self._window + 1) * limit.period

    def give(self, limit: Limit, cost: int, stamp: float, now: float) -> bool:
        if math.floor(stamp / limit.period) != self._window or self.until <= now:
            return False
        self.used -= cost
        return True


Meter = Sliding | Gcra | Fixed
METERS: dict[str, type[Sliding] | type[Gcra] | type[Fixed]] = {"sliding": Sliding, "gcra": Gcra, "fixed": Fixed}


def remaining(meter: Meter, limit: Limit, now: float) -> int:
    """Calls of cost 1 that *meter* has room for, right after it was asked or told something at *now*."""
    if isinstance(meter, Gcra):
        spacing = limit.period / limit.max_calls
        burst = limit.burst or limit.max_calls
        return max(0, min(burst, math.floor(burst - (max(meter.until, now) - now) / spacing + 1e-6)))
    return max(0, limit.max_calls - meter.used)
