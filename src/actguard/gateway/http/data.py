"""The endpoints of agents: reserve, settle, extend, release, budget, events, tariff.

What only asks something of the ledger says what that is, and leaves the waiting to whoever has the request.
"""

import asyncio
import hashlib
import os
import time
from collections.abc import Awaitable
from typing import Final

import msgspec

from actguard.gateway.billing import TooMuch, needs_prices
from actguard.gateway.http.auth import Caller
from actguard.gateway.http.bodies import Decoder, ExtendBody, ReleaseBody, ReserveBody, SettleBody
from actguard.gateway.http.envelopes import read_events
from actguard.gateway.http.gateway import Gateway
from actguard.gateway.http.wire import Refused, Request, decoded
from actguard.gateway.ingest import Sent
from actguard.gateway.ledger.operations import MICROS_PER_CU, Extend, Release, Reply, Reserve, Settle
from actguard.gateway.ledger.windows import SECOND
from actguard.gateway.reports import remaining

_LONGEST_KEY: Final = 255

_reserve = Decoder(ReserveBody)
_settle = Decoder(SettleBody)
_extend = Decoder(ExtendBody)
_release = Decoder(ReleaseBody)


def reserve(gateway: Gateway, caller: Caller, request: Request) -> Reserve:
    body = decoded(_reserve, request.body)
    settings = gateway.settings
    key = idempotency_key(request)
    usd = body.usd_limit_micros
    if body.cost_limit is not None:
        units = body.cost_limit * MICROS_PER_CU
        usd = units if usd is None else min(usd, units)
    hashed = body_hash(caller, request)
    fingerprint = None
    if key is None and body.reserve_id is None:
        whose = (caller.agent, caller.key_id, body.run_id, body.user_id or "", body.plan_key or "")
        fingerprint = hashlib.sha256(msgspec.json.encode((*whose, usd, body.token_limit))).hexdigest()[:32]
    return Reserve(
        workspace=caller.workspace,
        agent=caller.agent,
        reserve_id=body.reserve_id or new_reserve_id(),
        hash=hashed,
        idempotency_key=key,
        run_id=body.run_id,
        user_id=body.user_id or "",
        plan_key=body.plan_key or "",
        usd=usd,
        tokens=body.token_limit,
        ttl=(body.ttl_s or settings.hold_ttl_s) * SECOND,
        when_short=body.when_short,
        default_usd=settings.default_hold_micros,
        default_tokens=settings.default_hold_tokens,
        fingerprint=fingerprint,
        tariff_version=gateway.tariff.version,
    )


def settle(gateway: Gateway, caller: Caller, request: Request) -> "Settle | Awaitable[Reply]":
    body = decoded(_settle, request.body)
    if gateway.warm or not needs_prices(body):
        return _settlement(gateway, caller, request, body)
    return _settle_once_warm(gateway, caller, request, body)


async def _settle_once_warm(gateway: Gateway, caller: Caller, request: Request, body: SettleBody) -> Reply:
    await gateway.warmed()
    return await gateway.apply(_settlement(gateway, caller, request, body))


def _settlement(gateway: Gateway, caller: Caller, request: Request, body: SettleBody) -> Settle:
    try:
        bill = gateway.biller.bill(body)
    except TooMuch as error:
        raise Refused(422, "invalid", str(error)) from error
    return Settle(
        workspace=caller.workspace,
        agent=caller.agent,
        reserve_id=body.reserve_id,
        hash=body_hash(caller, request),
        idempotency_key=idempotency_key(request),
        usd=bill.usd,
        tokens=bill.tokens,
        client_usd=bill.client_usd,
        usage=bill.lines,
        final=body.final,
        seq=body.seq,
        offline=body.offline,
        run_id=body.run_id or "",
        user_id=body.user_id or "",
        plan_key=body.plan_key or "",
    )


def extend(gateway: Gateway, caller: Caller, request: Request) -> Extend:
    body = decoded(_extend, request.body)
    return Extend(
        workspace=caller.workspace,
        agent=caller.agent,
        reserve_id=body.reserve_id,
        hash=body_hash(caller, request),
        idempotency_key=idempotency_key(request),
        usd=body.usd_micros or 0,
        tokens=body.tokens or 0,
        ttl=body.ttl_s * SECOND if body.ttl_s is not None else None,
    )


def release(gateway: Gateway, caller: Caller, request: Request) -> Release:
    body = decoded(_release, request.body)
    return Release(
        workspace=caller.workspace,
        agent=caller.agent,
        reserve_id=body.reserve_id,
        hash=body_hash(caller, request),
        idempotency_key=idempotency_key(request),
    )


async def budget(gateway: Gateway, caller: Caller, request: Request) -> Reply:
    user_id, plan_key = request.query("user_id"), request.query("plan_key")
    now = await gateway.now()
    found = await gateway.read(lambda t: remaining(t, caller.workspace, caller.agent, user_id, plan_key, now))
    return Reply(200, {"user_id": user_id or None, "plan_key": plan_key or None, "budgets": found})


async def events(gateway: Gateway, caller: Caller, request: Request) -> Reply:
    understood, body, rejected = read_events(request.body)
    sent = Sent(caller.workspace, caller.agent, time.time_ns() // 1000, understood, body)
    added = await gateway.ingest.add(sent) if understood else 0
    gateway.metrics.events("accepted", added)
    gateway.metrics.events("duplicate", len(understood) - added)
    gateway.metrics.events("rejected", len(rejected))
    return Reply(202, {"accepted": added, "duplicates": len(understood) - added, "rejected": rejected})


async def tariff(gateway: Gateway, caller: Caller | None, request: Request) -> Reply:
    return Reply(200, await asyncio.to_thread(lambda: gateway.tariff.body))


def new_reserve_id() -> str:
    """For a client that proposes none: time first, so that new rows lie together."""
    return f"rsv_{time.time_ns() // 1_000_000:012x}{os.urandom(10).hex()}"


def body_hash(caller: Caller, request: Request) -> str:
    """What makes a request the same one: who asks, for what. Another agent's is another one, under whatever key."""
    return hashlib.sha256(f"{request.path}\n{caller.agent}\n".encode() + request.body).hexdigest()[:32]


def idempotency_key(request: Request) -> str | None:
    key = request.header(b"idempotency-key")
    if not key:
        return None
    if len(key) > _LONGEST_KEY or not key.isascii() or not key.isprintable():
        raise Refused(422, "invalid", f"An Idempotency-Key is up to {_LONGEST_KEY} printable ASCII characters.")
    return key
