"""A ledger that is plainly right: one dictionary, one operation at a time, no windows but two, no batches, no store."""

from dataclasses import dataclass, field


@dataclass
class OracleHold:
    user: str
    day: int
    usd: int
    granted: int
    deadline: int
    ttl: int
    state: str = "open"
    held: int = 0
    spent: int = 0
    final: bool = False
    parts: set[int] = field(default_factory=set)


@dataclass
class Oracle:
    """A workspace's total and each user's day, in dollars alone."""

    total: int
    per_user_day: int
    day_of: "object"
    holds: dict[str, OracleHold] = field(default_factory=dict)

    def taken(self, user: str | None = None, day: int | None = None) -> int:
        return sum(h.held + h.spent for h in self.holds.values() if user is None or (h.user == user and h.day == day))

    def expire(self, now: int) -> None:
        for hold in self.holds.values():
            if hold.state == "open" and hold.deadline <= now:
                hold.state, hold.held = "expired", 0

    def fits(self, usd: int, user: str, day: int) -> bool:
        left = min(self.total - self.taken(), self.per_user_day - self.taken(user, day))
        return left > 0 and usd <= left

    def reserve(self, id: str, usd: int, user: str, day: int, now: int, ttl: int) -> int:
        known = self.holds.get(id)
        if known is not None:
            return 200 if (known.usd, known.user) == (usd, user) else 422
        if not self.fits(usd, user, day):
            return 409
        self.holds[id] = OracleHold(user, day, usd, usd, now + ttl, ttl, held=usd)
        return 200

    def settle(self, id: str, usd: int, seq: int | None) -> int:
        hold = self.holds.get(id)
        if hold is None:
            return 404
        if (seq is None and hold.final) or seq in hold.parts:
            return 200
        if seq is not None:
            hold.parts.add(seq)
        hold.final |= seq is None
        hold.spent += usd
        if hold.state == "open":
            hold.held = 0 if seq is None else hold.held - min(hold.held, usd)
            hold.state = "settled" if seq is None else "open"
        elif hold.state != "settled":
            hold.state = "settled_late"
        return 200

    def release(self, id: str) -> int:
        hold = self.holds.get(id)
        if hold is None:
            return 404
        if hold.state == "open":
            hold.state, hold.held = "released", 0
        return 200

    def extend(self, id: str, usd: int, now: int) -> int:
        hold = self.holds.get(id)
        if hold is None:
            return 404
        if hold.state != "open":
            return 422
        if usd and (self.total < self.taken() + usd or self.per_user_day < self.taken(hold.user, hold.day) + usd):
            return 409
        hold.held += usd
        hold.granted += usd
        hold.deadline = max(hold.deadline, now + hold.ttl)
        return 200
