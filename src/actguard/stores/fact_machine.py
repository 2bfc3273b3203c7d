"""What happens to facts: the machine behind every store. No I/O, no clock, no lock in here.

Each session has its facts, its sums, and a list of what to look at by the second in which it may be over, so that what
expires is found without a search, and goes whether or not anybody asks for it again.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from heapq import heappop, heappush

from actguard.stores.facts import (
    MOST_PROOFS,
    UNLIMITED,
    Charge,
    Fact,
    Key,
    Known,
    Need,
    Receipt,
    Refused,
    Spend,
    Verdict,
)


class FactMachine:
    """Sessions and their facts; the caller says what time it is, and never goes back."""

    def __init__(self) -> None:
        self._sessions: dict[str, _Session] = {}
        self._due: list[tuple[float, str]] = []
        """Seconds in which a session has something to look at: a heap."""

    def __len__(self) -> int:
        """Facts and sums held, alive or not."""
        return sum(len(held.proofs) + len(held.sums) for held in self._sessions.values())

    def put(self, session: str, facts: Sequence[Fact], now: float) -> None:
        held = self._held(session, now, len(facts))
        for key, ttl, trust, source, records, uses in facts:
            self._add(session, held, key, now, now + ttl, trust, source, records, uses)

    def minter(self, session: str) -> Callable[[str, Sequence[str], float, int, str, float], None]:
        """`put` of many plain facts of one kind in *session*, as a function of the kind, the values, the seconds that
        they live, the trust, the source, and of the time."""
        sessions, due = self._sessions, self._due

        def mint(kind: str, values: Sequence[str], ttl: float, trust: int, source: str, now: float) -> None:
            held = sessions.get(session)
            if held is None or (due and due[0][0] <= now):
                held = self._held(session, now, len(values))
            known = held.proofs
            expires = now + ttl
            entries = held.due.get(expires // 1 + 1)
            for value in values:
                key = (kind, value)
                proofs = known.get(key)
                if proofs is None:
                    known[key] = [_Proof(now, expires, trust, source, (), UNLIMITED)]
                else:
                    proof = proofs[0]
                    if proof.source != source or proof.trust != trust or proof.records or proof.expires > expires:
                        self._add(session, held, key, now, expires, trust, source, (), UNLIMITED)
                        continue
                    proof.minted = now
                    proof.expires = expires
                    proof.uses = UNLIMITED
                if entries is None:
                    self._look_again(session, held, key, expires)
                    entries = held.due[expires // 1 + 1]
                elif entries[-1] != key:
                    entries.append(key)

        return mint

    def check(
        self, session: str, needs: Sequence[Need], spends: Sequence[Spend], now: float, *, commit: bool = True
    ) -> Verdict:
        held = self._sessions.get(session)
        proofs = {} if held is None else held.proofs
        meeting: list[list[_Proof]] = []
        refused: list[Refused | None] = []
        for need in needs:
            found, why = _meet(need, proofs.get(need.key, ()), now)
            meeting.append(found)
            refused.append(why)
        if any(need.group is not None for need in needs):
            _same_record(needs, meeting, refused)
        sums = {} if held is None else held.sums
        before = tuple(sums[spend.key].spent(now) if spend.key in sums else 0 for spend in spends)
        fits = _fits(spends, before)
        if commit and fits and not any(refused):
            charges: dict[tuple[Key, str], Charge] = {}
            spent: list[Spend] = []
            try:
                _charge(needs, meeting, proofs, now, charges)
                for spend in spends:
                    self._spend(session, spend, now)
                    spent.append(spend)
                receipt = Receipt(tuple(charges.values()), tuple(spends))
                return Verdict(tuple(refused), before, receipt)
            except BaseException:  # an interrupt, in the midst of it
                self.give_back(session, Receipt(tuple(charges.values()), tuple(spent)))
                raise
        return Verdict(tuple(refused), before, None)

    def holder(self, session: str, clock: Callable[[], float]) -> Callable[[Key, int], bool]:
        """What says, of a fact and the least trust, whether a proof with unlimited uses meets this alone, so that
        `check` has nothing to charge."""
        sessions = self._sessions

        def holds(key: Key, min_trust: int) -> bool:
            held = sessions.get(session)
            if held is not None:
                now = clock()
                for proof in held.proofs.get(key, ()):
                    if proof.expires > now and proof.trust >= min_trust and proof.uses == UNLIMITED:
                        return True
            return False

        return holds

    def give_back(self, session: str, receipt: Receipt) -> None:
        held = self._sessions.get(session)
        if held is None:
            return
        for charge in receipt.charges:
            for proof in held.proofs.get(charge.key, ()):
                if proof.name == charge.proof and proof.uses != UNLIMITED:
                    proof.uses = charge.uses if charge.used_up else proof.uses + charge.uses
        for spend in receipt.spends:
            if spend.key in held.sums:
                held.sums[spend.key].take_back(spend.amount)

    def revoke(self, session: str, kind: str, value: str | None, now: float) -> int:
        held = self._sessions.get(session)
        if held is None:
            return 0
        gone = [key for key in held.proofs if key[0] == kind] if value is None else [(kind, value)]
        return sum(any(proof.expires > now and proof.uses for proof in held.proofs.pop(key, ())) for key in gone)

    def known(self, session: str, kinds: Sequence[str], now: float) -> list[Known]:
        held = self._sessions.get(session)
        return [
            Known(key, proof.trust, proof.source, proof.records, now - proof.minted, proof.expires - now, proof.uses)
            for key, proofs in ({} if held is None else held.proofs).items()
            if not kinds or key[0] in kinds
            for proof in proofs
            if proof.expires > now and proof.uses != 0
        ]

    def end(self, session: str) -> None:
        self._sessions.pop(session, None)

    def sweep(self, now: float, most: int | None = None) -> int:
        """Free what is over, looking at no more than about *most* entries. How many were looked at."""
        looked = 0
        while self._due and self._due[0][0] <= now and (most is None or looked < most):
            second, session = self._due[0]
            held = self._sessions.get(session)
            entries = None if held is None else held.due.get(second)
            while held is not None and entries and (most is None or looked < most):
                looked += 1
                self._free(session, held, entries.pop(), now)
            if not entries:
                heappop(self._due)
                if held is not None:
                    held.due.pop(second, None)
                    if not held.due:
                        self._sessions.pop(session, None)
        return looked

    def _held(self, session: str, now: float, more: int) -> "_Session":
        """The session, to which *more* facts are about to be added: as many that are over go, and then some."""
        if self._due and self._due[0][0] <= now:
            self.sweep(now, most=64 + 2 * more)
        held = self._sessions.get(session)
        if held is None:
            held = self._sessions[session] = _Session()
        return held

    def _add(
        self,
        session: str,
        held: "_Session",
        key: Key,
        now: float,
        expires: float,
        trust: int,
        source: str,
        records: tuple[str, ...],
        uses: int,
    ) -> None:
        proofs = held.proofs.get(key)
        if proofs is None:
            held.proofs[key] = [_Proof(now, expires, trust, source, records, uses)]
        else:
            for proof in proofs:
                if proof.trust == trust and proof.source == source and proof.records == records:
                    proof.minted = now
                    if proof.expires < expires:
                        proof.expires = expires
                    proof.uses = uses
                    break
            else:
                if len(proofs) >= MOST_PROOFS:
                    proofs.remove(min(proofs, key=lambda known: known.expires))
                proofs.append(_Proof(now, expires, trust, source, records, uses))
        entries = held.due.get(expires // 1 + 1)
        if entries is None:
            self._look_again(session, held, key, expires)
        elif entries[-1] != key:
            entries.append(key)

    def _free(self, session: str, held: "_Session", entry: Key | str, now: float) -> None:
        if isinstance(entry, str):
            kept = held.sums.get(entry)
            if kept is not None and not kept.spent(now):
                del held.sums[entry]
            elif kept is not None:
                self._look_again(session, held, entry, now + kept.period)
            return
        alive = [proof for proof in held.proofs.get(entry, ()) if proof.expires > now]
        if alive:
            held.proofs[entry] = alive
        else:
            held.proofs.pop(entry, None)

    def _look_again(self, session: str, held: "_Session", entry: Key | str, at: float) -> None:
        second = at // 1 + 1
        entries = held.due.get(second)
        if entries is None:
            held.due[second] = [entry]
            heappush(self._due, (second, session))
        else:
            entries.append(entry)

    def _spend(self, session: str, spend: Spend, now: float) -> None:
        held = self._sessions.setdefault(session, _Session())
        kept = held.sums.get(spend.key)
        if kept is None:
            kept = held.sums[spend.key] = _Sum(spend.period)
            self._look_again(session, held, spend.key, now + spend.period)
        kept.add(spend.amount, now)


class _Proof:
    __slots__ = ("expires", "minted", "records", "source", "trust", "uses")

    def __init__(
        self, now: float, expires: float, trust: int, source: str, records: tuple[str, ...], uses: int
    ) -> None:
        self.trust = trust
        self.source = source
        self.records = records
        self.minted = now
        self.expires = expires
        self.uses = uses

    @property
    def name(self) -> str:
        """What makes two proofs of a fact the same one."""
        return f"{self.trust}|{self.source}|{','.join(self.records)}"


class _Sum:
    """Amounts of a sliding period, in at most `_PARTS` + 2 parts: one part counts until its youngest amount is old."""

    __slots__ = ("parts", "period", "total")
    _PARTS = 1024

    def __init__(self, period: float) -> None:
        self.period = period
        self.parts: deque[list[float]] = deque()  # [first moment, last moment, amount]
        self.total = 0

    def spent(self, now: float) -> int:
        while self.parts and self.parts[0][1] + self.period <= now:
            self.total -= int(self.parts.popleft()[2])
        return self.total

    def add(self, amount: int, now: float) -> None:
        if self.parts and now - self.parts[-1][0] < self.period / self._PARTS:
            self.parts[-1][1] = now
            self.parts[-1][2] += amount
        else:
            self.parts.append([now, now, amount])
        self.total += amount

    def take_back(self, amount: int) -> None:
        amount = min(amount, self.total)
        self.total -= amount
        for part in reversed(self.parts):
            taken = min(amount, int(part[2]))
            part[2] -= taken
            amount -= taken


class _Session:
    __slots__ = ("due", "proofs", "sums")

    def __init__(self) -> None:
        self.proofs: dict[Key, list[_Proof]] = {}
        self.sums: dict[str, _Sum] = {}
        self.due: dict[float, list[Key | str]] = {}
        """What to look at, by the second in which it may be over."""


def _meet(need: Need, proofs: Sequence[_Proof], now: float) -> tuple[list[_Proof], Refused | None]:
    """The proofs that meet *need*, or the first demand that none of them meets."""
    found = [proof for proof in proofs if proof.expires > now]
    if need.absent:
        return [], "present" if any(proof.uses for proof in found) else None
    if not found:
        return [], "unknown"
    if need.sources and not (found := [proof for proof in found if proof.source in need.sources]):
        return [], "source"
    if not (found := [proof for proof in found if proof.trust >= need.min_trust]):
        return [], "trust"
    if need.max_age is not None and not (found := [proof for proof in found if now - proof.minted <= need.max_age]):
        return [], "age"
    if not (found := [proof for proof in found if proof.uses]):
        return [], "used"
    return found, None


def _same_record(needs: Sequence[Need], meeting: Sequence[list[_Proof]], refused: list[Refused | None]) -> None:
    """Refuse the groups whose needs are met by no common record."""
    shared: dict[int, set[str]] = {}
    for need, found in zip(needs, meeting, strict=True):
        if need.group is not None:
            records = {record for proof in found for record in proof.records}
            shared[need.group] = shared.get(need.group, records) & records
    for index, need in enumerate(needs):
        if need.group is not None and refused[index] is None and not shared[need.group]:
            refused[index] = "record"


def _fits(spends: Sequence[Spend], before: Sequence[int]) -> bool:
    asked: dict[str, int] = {}
    for spend, spent in zip(spends, before, strict=True):
        asked[spend.key] = asked.get(spend.key, 0) + spend.amount
        if spent + asked[spend.key] > spend.total:
            return False
    return True


def _charge(
    needs: Sequence[Need],
    meeting: Sequence[list[_Proof]],
    known: Mapping[Key, list[_Proof]],
    now: float,
    charges: dict[tuple[Key, str], Charge],
) -> None:
    """Take one use of each proof behind *needs*, once for each fact; everything where one consumes it.

    Where a proof with unlimited uses would do, nothing is taken. Each is in *charges* in the moment in which it is
    taken, for whoever is interrupted.
    """
    consumed = {need.key for need in needs if need.consume and not need.absent}
    for key in consumed:
        for proof in known[key]:
            if proof.uses and proof.expires > now:
                charges[key, proof.name] = Charge(key, proof.name, proof.uses, used_up=True)
                proof.uses = 0
    for need, found in zip(needs, meeting, strict=True):
        if any(proof.uses == UNLIMITED for proof in found):
            continue
        for proof in found:
            if proof.uses > 0 and (need.key, proof.name) not in charges:
                charges[need.key, proof.name] = Charge(need.key, proof.name, 1, used_up=False)
                proof.uses -= 1
