"""GatewayReservation: the hold of one outermost scope at the gateway, from its grant to its last settle.

    enter ── reserve ──> granted: a smaller limit than asked for is taken as the scope's own
                    └──> the gateway is away, and the policy is "open": local limits only, told later as offline
    leave ── settle ───> kept on disk, sent, acknowledged, and off the disk again; or owed to the courier

While calls run on that were begun in the scope, the hold stays open: what has ended is settled in part, the rest when
it ends. What comes after the last settle is one more part. Each request has a key of its own, so that twice is once.
"""

import math
import os
import threading
from collections.abc import Mapping
from typing import Any

from actguard.budget.account import Account, Listener, calm_tokens, calm_usd
from actguard.budget.backing import Ask
from actguard.budget.hold import Hold
from actguard.events.envelope import uuid7
from actguard.exceptions import ActGuardError, ActGuardPaymentRequired, BudgetExceededError, BudgetTransportError
from actguard.money import PICO_PER_USD, to_usd
from actguard.runtime.breakdown import PART, Breakdown, Identity, settle_body
from actguard.runtime.remote import EXTEND, RESERVE, SETTLE, Remote, logger
from actguard.runtime.waiting import TooLate, await_for, wait_for
from actguard.transport.answers import Unanswered, too_late
from actguard.transport.spool import Entry

PICO_PER_MICRO = PICO_PER_USD // 1_000_000
_DEFAULT_TTL_MS = 900_000
_LONGEST_TTL_S = 86_400
_MOST_MICROS = 10**15  # what a request may name; a guard with a larger limit is a guard that limits nothing
_MOST_TOKENS = 10**12

Kept = tuple[str, dict[str, Any], Entry | None]
"""A settle request: its key, its body, and what is on disk of it."""


class GatewayReservation:
    """Made by `RunBacking`; see the module for its life."""

    def __init__(self, remote: Remote, ask: Ask, reserve_id: str) -> None:
        self._remote = remote
        self._ask = ask
        self._identity = Identity(reserve_id, ask.run_id, ask.user_id, ask.plan_key)
        self.pico: float = math.inf
        self.tokens: float = math.inf
        self.listener: Listener | None = None
        self.breakdown = Breakdown()
        self.pid = os.getpid()
        self.over = False
        """The last settle was sent, or kept."""
        self._offline = False
        self._lapsed = False
        """The hold ended before its scope did, and cannot be renewed any more."""
        self._left = False
        self._seq = 0
        self._ttl_ms = _DEFAULT_TTL_MS
        self._unfinished: list[Hold] = []
        self._settling = threading.Lock()

    # ---- reserve ----

    @property
    def request(self) -> tuple[str, dict[str, Any], str]:
        """Path, body and key of the reserve request."""
        identity, ask = self._identity, self._ask
        body = {name: value for name, value in identity._asdict().items() if value is not None}
        if ask.pico != math.inf:
            body["usd_limit_micros"] = min(max(1, -int(-ask.pico // PICO_PER_MICRO)), _MOST_MICROS)
        if ask.tokens != math.inf:
            body["token_limit"] = min(max(1, int(ask.tokens)), _MOST_TOKENS)
        if ask.when_short != "deny":
            body["when_short"] = ask.when_short
        return RESERVE, body, identity.reserve_id

    def granted(self, answer: Mapping[str, Any]) -> None:
        """Take what the gateway has answered."""
        if not isinstance(answer.get("reserve_id"), str) or not answer["reserve_id"]:
            raise Unanswered("The gateway's answer to a reserve request has no reserve_id", reason="garbage")
        self._identity = self._identity._replace(reserve_id=answer["reserve_id"])
        micros = _count(answer.get("usd_limit_micros"))
        if micros is None and (units := _count(answer.get("cost_limit"))) is not None:
            micros = units * 1000
        if micros is not None and micros * PICO_PER_MICRO < self._ask.pico:
            self.pico = micros * PICO_PER_MICRO
        tokens = _count(answer.get("token_limit"))
        if tokens is not None and tokens < self._ask.tokens:
            self.tokens = tokens
        self._renew_by(answer)

    def explain(self, error: BudgetExceededError) -> None:
        """Say with *error* that its limit is what the shared budget had left, if it is."""
        if error.scope_kind != "root" or min(self.pico, self.tokens) == math.inf:
            return
        if error.limit_type == "usd" and self._ask.pico != math.inf and self.pico != math.inf:
            error.details |= {"asked_usd": to_usd(int(self._ask.pico)), "granted_usd": to_usd(int(self.pico))}
            left, asked = calm_usd(self.pico), calm_usd(self._ask.pico)
        elif error.limit_type == "token" and self._ask.tokens != math.inf and self.tokens != math.inf:
            error.details |= {"asked_tokens": self._ask.tokens, "granted_tokens": self.tokens}
            left, asked = f"{calm_tokens(self.tokens)} tokens", calm_tokens(self._ask.tokens)
        else:
            return
        error.add_note(f"The shared budget had {left} left of the {asked} that this scope asked for.")

    def away(self, error: Unanswered) -> None:
        """Go on without the gateway, which may or may not have granted it."""
        self._offline = True
        self._remote.warn_away(error)
        self._remote.courier.renew(self, self._ttl_ms / 3000)

    def opened(self, account: Account) -> None:
        pass

    # ---- while it is open ----

    def add(self, account: Account, spend: Any) -> None:
        """Take spend that is to be told; called from anywhere, takes no lock."""
        self.breakdown.add(account.name, spend)
        if self._left or len(self.breakdown) >= PART:
            self._remote.courier.soon(self.settle_late)

    def extend(self, pico: int, tokens: int) -> None:
        if not self._offline:
            try:
                self._remote.ask(*self._extension(pico, tokens))
            except Unanswered as error:
                self._not_extended(error)

    async def aextend(self, pico: int, tokens: int) -> None:
        if not self._offline:
            try:
                await self._remote.aask(*self._extension(pico, tokens))
            except Unanswered as error:
                self._not_extended(error)

    def _extension(self, pico: int, tokens: int) -> tuple[str, dict[str, Any], str]:
        body: dict[str, Any] = {"reserve_id": self._identity.reserve_id}
        if pico:
            body["usd_micros"] = -(-pico // PICO_PER_MICRO)
        if tokens:
            body["tokens"] = tokens
        return EXTEND, body, uuid7()

    def _not_extended(self, error: Unanswered) -> None:
        if self._remote.config.on_gateway_error == "closed":
            raise closed(error) from error
        self._remote.warn_away(error)

    def unfinished(self, hold: Hold) -> None:
        """*hold* outlives the scope it was opened in."""
        self._unfinished.append(hold)

    def renew(self) -> None:
        """Keep the hold from expiring, and tell what was spent so far: a crash then loses less. On the courier."""
        if self.pid != os.getpid() or self.over:
            return
        if self._offline or self._lapsed:
            self._remote.courier.renew(self, self._ttl_ms / 3000)
        else:
            self._extend_life()
        if self._left or len(self.breakdown):
            self.settle_late()

    def _extend_life(self) -> None:
        ttl_s = min(max(1, math.ceil(self._ttl_ms / 1000)), _LONGEST_TTL_S)
        identity = self._identity
        try:
            answer = self._remote.transport.post(
                EXTEND,
                {"reserve_id": identity.reserve_id, "ttl_s": ttl_s},
                key=uuid7(),
                timeout_s=self._remote.config.budget.timeout_s,
                max_retries=0,
            )
        except Unanswered:
            self._remote.courier.renew(self, self._ttl_ms / 12_000)
        except ActGuardError as error:
            logger.warning("The hold of run %s could not be renewed: %s", identity.run_id, error)
            self._lapsed = True
            self._remote.courier.renew(self, self._ttl_ms / 3000)
        else:
            self._renew_by(answer)

    def _renew_by(self, answer: Mapping[str, Any]) -> None:
        remaining = _count(answer.get("remaining_ttl_ms"))
        if remaining:
            self._ttl_ms = remaining
        self._remote.courier.renew(self, self._ttl_ms / 3000)

    # ---- settle ----

    def settle(self, error: BaseException | None) -> None:
        if self.pid != os.getpid():
            return  # a forked child leaves the scope too; the hold is the parent's
        workers, kept = self._remote.workers, list[Kept]()
        try:
            kept = wait_for(workers, self._keep, None, late=self._owe)  # where no interrupt strikes it
            self._told(wait_for(workers, lambda: self._send(kept), self._remote.config.budget.timeout_s))
        except TooLate:
            self._too_late(kept)
        except ActGuardError:
            if error is None:
                raise
        except BaseException:
            self._owe(kept)
            raise

    async def asettle(self, error: BaseException | None) -> None:
        if self.pid != os.getpid():
            return
        workers, kept = self._remote.workers, list[Kept]()
        try:
            kept = await await_for(workers, self._keep, None, late=self._owe)
            self._told(await await_for(workers, lambda: self._send(kept), self._remote.config.budget.timeout_s))
        except TooLate:
            self._too_late(kept)
        except ActGuardError:
            if error is None:
                raise
        except BaseException:
            self._owe(kept)
            raise

    def settle_soon(self) -> None:
        self._left = True
        self._remote.courier.soon(self.settle_late)

    def _told(self, away: Unanswered | None) -> None:
        if away is not None:
            self._remote.warn_away(away)

    def _too_late(self, kept: list[Kept]) -> None:
        self._owe(kept)
        self._remote.warn_away(too_late(self._remote.transport.url, self._remote.config.budget.timeout_s))

    def settle_late(self) -> None:
        """Tell what came since; on the courier."""
        if self.pid == os.getpid() and (len(self.breakdown) or (self._left and not self.over)):
            try:
                self._send(self._keep(late=True))
            except ActGuardError as error:
                logger.error("What was spent late in run %s was not taken: %s", self._identity.run_id, error)

    def owe_spent(self) -> None:
        """Put on disk what was spent so far, for the courier to deliver: the program may end inside the scope."""
        if self.pid == os.getpid() and len(self.breakdown):
            self._owe(self._keep(late=True))

    def _keep(self, *, late: bool = False) -> list[Kept]:
        """Put on disk what is to be told now. After this, nothing that was spent depends on this process."""
        with self._settling:
            self._left = self._left or not late
            self._unfinished = [
                hold for hold in self._unfinished if not (hold.final or getattr(hold, "settled", False))
            ]
            last = self._left and not self._unfinished and not self.over
            kept: list[Kept] = []
            while True:
                entries = self.breakdown.take()
                final = last and not len(self.breakdown)
                if not entries and not final:
                    break
                if final:
                    self.over = True
                    if self._offline and not entries and not self._seq:
                        self._remote.release(self._identity.reserve_id)  # it may have been granted, and the answer lost
                        break
                kept.append(self._kept(entries, final=final))
                if final:
                    break
            return kept

    def _kept(self, entries: list[dict[str, Any]], *, final: bool) -> Kept:
        if not final:
            self._seq += 1
        body = settle_body(self._identity, entries, final=final, seq=self._seq, offline=self._offline)
        key = f"{self._identity.reserve_id}:{'final' if final else self._seq}"
        return key, body, self._remote.keep(key, body)

    def _send(self, kept: list[Kept]) -> Unanswered | None:
        """Tell the gateway; what it does not hear now is owed to it.

        Returns:
            Why it did not hear.

        Raises:
            ActGuardPaymentRequired, BudgetExceededError: the gateway's decision.
        """
        if self._offline:
            self._owe(kept)
            return None
        for index, (key, body, entry) in enumerate(kept):
            try:
                self._remote.settle(body, key)
            except Unanswered as away:
                self._owe(kept[index:])
                return away
            except (ActGuardPaymentRequired, BudgetExceededError) as refused:
                aside = self._remote.courier.put_aside(entry or Entry(key, SETTLE, body, 0.0), refused)
                if aside:
                    self._remote.spool.done(key)
                self._owe(kept[index + 1 :] if aside else kept[index:])
                raise
            except BudgetTransportError as refused:
                logger.error("The gateway did not take what was spent: %s", refused)
                self._owe(kept[index:])  # the courier puts it aside, or tries again when the key is good
                return None
            self._remote.spool.done(key)
        return None

    def _owe(self, kept: list[Kept]) -> None:
        for key, body, entry in kept:
            self._remote.courier.owe(entry or Entry(key, SETTLE, body, 0.0))


def closed(error: Unanswered) -> BudgetTransportError:
    """What is raised for *error* where nothing may go on without the gateway."""
    return BudgetTransportError(error.message, reason=error.reason)


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_MICROS else None
