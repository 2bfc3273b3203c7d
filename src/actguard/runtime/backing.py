"""RunBacking: who stands behind the budgets of one run: its client, and the gateway if there is one."""

import math
import os
import sys
import time
import warnings
from collections.abc import Mapping
from functools import partial
from typing import Any

from actguard.budget.account import Account, Listener, Spend
from actguard.budget.backing import Ask, Reservation
from actguard.budget.hold import Hold
from actguard.events.catalog import wanted
from actguard.events.envelope import Record, uuid7
from actguard.events.run_events import RunEvents
from actguard.exceptions import (
    ActGuardError,
    ActGuardPaymentRequired,
    BudgetExceededError,
    ToolGuardError,
)
from actguard.money import PICO_PER_USD
from actguard.runtime.remote import Remote
from actguard.runtime.reservation import GatewayReservation, closed
from actguard.runtime.unfinished import Unfinished
from actguard.transport.answers import Unanswered
from actguard.transport.names import check_fits

_PICO_PER_MICRO = PICO_PER_USD // 1_000_000


class Unreserved:
    """The reservation of a scope that is nobody's but this program's: no limit but its own."""

    pico = math.inf
    tokens = math.inf

    def __init__(self, listener: Listener | None) -> None:
        self.listener = listener

    def opened(self, account: Account) -> None:
        pass

    def extend(self, pico: int, tokens: int) -> None:
        pass

    async def aextend(self, pico: int, tokens: int) -> None:
        pass

    def settle(self, error: BaseException | None) -> None:
        pass

    async def asettle(self, error: BaseException | None) -> None:
        pass

    def settle_soon(self) -> None:
        pass


class ScopeListener:
    """Tells the events and the gateway what happens in one outermost scope and all that are nested in it."""

    def __init__(
        self,
        events: RunEvents | None,
        reservation: GatewayReservation | None,
        plan_key: str | None,
        unfinished: Unfinished,
    ) -> None:
        self.plan_key = plan_key
        self._events = events
        self._reservation = reservation
        self._unfinished = unfinished
        self._pid = os.getpid()
        self._warned = False

    def spent(self, account: Account, spend: Spend) -> None:
        if self._pid != os.getpid():
            self._forked(spend)
            return
        if self._reservation is not None:
            self._reservation.add(account, spend)
        events = self._events
        if events is None:
            return
        category, name = ("llm", "usage") if spend.kind == "call" else ("budget", "cost")
        if wanted(events.mode, category, name):
            details = partial(_spend_details, spend, self.plan_key)
            events.put(Record(events.origin, category, name, {}, {}, account, details))

    def _forked(self, spend: Spend) -> None:
        """Say, once, that nobody is told of *spend*; but for a call, which is a copy of one that the parent tells."""
        if spend.kind == "cost" and not self._warned:
            self._warned = True
            warnings.warn(
                "A cost was added to a budget that was entered before this process was forked: it counts in this "
                "process alone, and nobody is told. Enter a run and a guard in the child.",
                UserWarning,
                stacklevel=6,
            )

    def refused(self, account: Account, error: BudgetExceededError) -> None:
        if self._reservation is not None:
            self._reservation.explain(error)
        if self._events is not None:
            payload, fields = _refusal(error)
            fields["plan_key"] = self.plan_key
            self._events.emit("budget", "blocked" if error.phase == "before" else "limit_exceeded", payload, fields)

    def unfinished(self, account: Account, hold: Hold) -> None:
        if self._pid != os.getpid():
            return
        if self._reservation is not None:
            self._reservation.unfinished(hold)
        self._unfinished.add(hold)


class RunBacking:
    """What a client does for one run."""

    def __init__(
        self,
        client: object,
        remote: Remote | None,
        run_id: str,
        user_id: str | None,
        emitter: RunEvents | None,
        unfinished: Unfinished,
    ) -> None:
        self.client = client  # for who asks whether the run is his
        self._remote = remote
        self.run_id = run_id
        self.user_id = user_id
        self.emitter = emitter
        self._unfinished = unfinished
        self.pid = os.getpid()
        self._started = time.monotonic()

    def started(self) -> None:
        """The run was entered."""
        self._emit("start", {}, {})

    def ended(self, error: BaseException | None) -> None:
        """The run was left, with *error*."""
        payload: dict[str, Any] = {"duration_ms": round((time.monotonic() - self._started) * 1000, 3)}
        outcome = _outcome(error)
        if error is not None and outcome != "success":
            payload["error"] = type(error).__name__
            if isinstance(error, ActGuardError):
                payload["code"] = error.code
        self._emit("end", payload, {"outcome": outcome, "severity": "info" if outcome == "success" else "error"})

    def _emit(self, name: str, payload: Mapping[str, Any], fields: Mapping[str, Any]) -> None:
        if self.emitter is not None and self.pid == os.getpid():
            self.emitter.emit("run", name, payload, fields)

    # ---- outermost scopes ----

    def reserve(self, ask: Ask) -> Reservation:
        remote = self._remote
        if remote is None:
            return self._unreserved(ask)
        if _on_a_loop():
            warnings.warn(
                "A budget that is shared through the gateway was entered with `with` on an event loop, which stands "
                "still meanwhile: use `async with`.",
                UserWarning,
                stacklevel=4,
            )
        reservation = self._reservation(ask)
        path, body, key = reservation.request
        try:
            reservation.granted(remote.ask(path, body, key))
        except ActGuardError as error:
            self._not_granted(reservation, ask, key, error)
        except BaseException:
            remote.release(key)
            raise
        return reservation

    async def areserve(self, ask: Ask) -> Reservation:
        remote = self._remote
        if remote is None:
            return self._unreserved(ask)
        reservation = self._reservation(ask)
        path, body, key = reservation.request
        answer: dict[str, Any] | None = None
        try:
            answer = await remote.aask(path, body, key, release=key)
            reservation.granted(answer)
        except ActGuardError as error:
            self._not_granted(reservation, ask, key, error)
        except BaseException:
            if answer is not None:  # else that is done when it comes
                remote.release(key)
            raise
        return reservation

    def _unreserved(self, ask: Ask) -> Unreserved:
        if self.emitter is None:
            return Unreserved(None)
        return Unreserved(ScopeListener(self.emitter, None, ask.plan_key, self._unfinished))

    def _reservation(self, ask: Ask) -> GatewayReservation:
        remote = self._remote
        assert remote is not None
        check_fits("user_id", ask.user_id)
        reservation = GatewayReservation(remote, ask, uuid7())
        reservation.listener = ScopeListener(self.emitter, reservation, ask.plan_key, self._unfinished)
        return reservation

    def _not_granted(self, reservation: GatewayReservation, ask: Ask, key: str, error: ActGuardError) -> None:
        """Raise *error*, unless it is silence, and the policy is to go on."""
        remote = self._remote
        assert remote is not None
        if isinstance(error, Unanswered):
            if remote.config.on_gateway_error == "open":
                reservation.away(error)
                return
            remote.release(key)  # it may have been granted, and the answer lost
            raise closed(error) from error
        if isinstance(error, BudgetExceededError):
            error.user_id = error.user_id or ask.user_id
            error.scope_id = ask.scope_id
            error.root_scope_id = ask.scope_id
        if isinstance(error, (BudgetExceededError, ActGuardPaymentRequired)) and self.emitter is not None:
            payload, fields = _refusal(error) if isinstance(error, BudgetExceededError) else ({"code": error.code}, {})
            fields |= {"scope_id": ask.scope_id, "scope_kind": "root", "plan_key": ask.plan_key}
            self.emitter.emit("budget", "blocked", payload, fields)
        raise error


def _spend_details(spend: Spend, plan_key: str | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """What `llm.usage` and `budget.cost` say: their payload, and their fields of the envelope."""
    charge = spend.charge
    usages = [usage for _, usage, _ in charge.items]
    payload: dict[str, Any] = {"usd_pico": charge.pico, "estimated": charge.estimates > 0}
    fields: dict[str, Any] = {"plan_key": plan_key, "usd_micros": -(-charge.pico // _PICO_PER_MICRO)}
    if spend.kind == "cost":
        payload["name"] = charge.items[0][0] if charge.items else ""
        return payload, fields
    payload["response_id"] = spend.response_id
    payload["usage"] = usages[0].by_kind() if usages else {}
    if len(charge.items) > 1:
        payload["lines"] = [
            {"model": model, "usd_pico": pico, "usage": usage.by_kind()} for model, usage, pico in charge.items
        ]
    fields |= {
        "provider": spend.provider or None,
        "model": (charge.items[0][0] if charge.items else spend.model) or None,
        "input_tokens": sum(usage.input_tokens for usage in usages),
        "cached_input_tokens": sum(usage.cache_read_tokens for usage in usages),
        "output_tokens": sum(usage.output_tokens for usage in usages),
    }
    return payload, fields


def _refusal(error: BudgetExceededError) -> tuple[dict[str, Any], dict[str, Any]]:
    payload = {
        "code": error.code,
        "limit_type": error.limit_type,
        "phase": error.phase,
        "origin": error.origin,
        "tokens_used": error.tokens_used,
        "token_limit": error.token_limit,
        "usd_used": error.usd_used,
        "usd_limit": error.usd_limit,
    }
    fields = {
        "scope_id": error.scope_id,
        "scope_name": error.scope_name,
        "scope_kind": error.scope_kind,
        "parent_scope_id": error.parent_scope_id,
        "root_scope_id": error.root_scope_id,
    }
    return payload, fields


def _outcome(error: BaseException | None) -> str:
    if error is None:
        return "success"
    if isinstance(error, SystemExit):  # how most scripts end
        return "failed" if error.code else "success"
    if isinstance(error, (ToolGuardError, ActGuardPaymentRequired)):
        return "blocked"
    return "failed" if isinstance(error, Exception) else "cancelled"


def _on_a_loop() -> bool:
    asyncio = sys.modules.get("asyncio")  # not imported where nobody uses it
    return asyncio is not None and asyncio._get_running_loop() is not None
