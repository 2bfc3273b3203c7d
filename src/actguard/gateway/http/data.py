"""The endpoints of agents: reserve, settle, extend, release, budget, events, tariff.

What only asks something of the ledger says what that is, and leaves the waiting to whoever has the request.
"""

import asyncio
import hashlib
import os
import time
from collections.abc import Awaitable
from typing import Any, Final

import msgspec

from actguard.events.catalog import GATEWAYS_OWN
from actguard.gateway.billing import TooMuch, needs_prices
from actguard.gateway.http.auth import Caller
from actguard.gateway.http.bodies import (
    Decoder,
    Envelope,
    EventsBody,
    ExtendBody,
    Identified,
    ReleaseBody,
    ReserveBody,
    SettleBody,
)
from actguard.gateway.http.gateway import Gateway
from actguard.gateway.http.wire import Refused, Request, decoded
from actguard.gateway.ledger.operations import MICROS_PER_CU, Extend, Release, Reply, Reserve, Settle
from actguard.gateway.ledger.windows import SECOND
from actguard.gateway.reports import remaining
from actguard.gateway.rollups import Event, add_events, count_said, name_said

MOST_EVENTS: Final = 1000
_LONGEST_KEY: Final = 255

_reserve = Decoder(ReserveBody)
_settle = Decoder(SettleBody)
_extend = Decoder(ExtendBody)
_release = Decoder(ReleaseBody)
_events = Decoder(EventsBody)
_identified = msgspec.json.Decoder(Identified)
_envelope = Decoder(Envelope)


def reserve(gateway: Gateway, caller: Caller, request: Request) -> Reserve:
    body = decoded(_reserve, request.body)
    settings = gateway.settings
    key = idempotency_key(request)
    usd = body.usd_limit_micros
    if body.cost_limit is not None:
        units = body.cost_limit * MICROS_PER_CU
        usd = units if usd is None else min(usd, units)
    hashed = body_hash(request)
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
        hash=body_hash(request),
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
        hash=body_hash(request),
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
        hash=body_hash(request),
        idempotency_key=idempotency_key(request),
    )


async def budget(gateway: Gateway, caller: Caller, request: Request) -> Reply:
    user_id, plan_key = request.query("user_id"), request.query("plan_key")
    now = await gateway.now()
    found = await gateway.read(lambda t: remaining(t, caller.workspace, caller.agent, user_id, plan_key, now))
    return Reply(200, {"user_id": user_id or None, "plan_key": plan_key or None, "budgets": found})


async def events(gateway: Gateway, caller: Caller, request: Request) -> Reply:
    """Whatever is wrong with one envelope is said of that one: its batch is never lost for it."""
    batch = decoded(_events, request.body).events
    if len(batch) > MOST_EVENTS:
        raise Refused(413, "too_large", f"A batch may have up to {MOST_EVENTS} events.")
    now = time.time_ns() // 1000
    known: list[Event] = []
    rejected: list[dict[str, Any]] = []
    for index, raw in enumerate(batch):
        try:
            known.append(_event(caller, bytes(raw), now))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            rejected.append({"index": index, "id": _id_of(raw), "error": f"not a valid event: {error}"[:300]})
    added = await gateway.writer.write(lambda transaction: add_events(transaction, known)) if known else 0
    gateway.metrics.events("accepted", added)
    gateway.metrics.events("duplicate", len(known) - added)
    gateway.metrics.events("rejected", len(rejected))
    return Reply(202, {"accepted": added, "duplicates": len(known) - added, "rejected": rejected})


async def tariff(gateway: Gateway, caller: Caller | None, request: Request) -> Reply:
    return Reply(200, await asyncio.to_thread(lambda: gateway.tariff.body))


def new_reserve_id() -> str:
    """For a client that proposes none: time first, so that new rows lie together."""
    return f"rsv_{time.time_ns() // 1_000_000:012x}{os.urandom(10).hex()}"


def body_hash(request: Request) -> str:
    return hashlib.sha256(request.path.encode() + b"\n" + request.body).hexdigest()[:32]


def idempotency_key(request: Request) -> str | None:
    key = request.header(b"idempotency-key")
    if not key:
        return None
    if len(key) > _LONGEST_KEY or not key.isascii() or not key.isprintable():
        raise Refused(422, "invalid", f"An Idempotency-Key is up to {_LONGEST_KEY} printable ASCII characters.")
    return key


def _event(caller: Caller, raw: bytes, now: int) -> Event:
    text = raw.decode()  # all of it is kept, so all of it must be readable: what is not looked at, too
    said = _envelope.decode(raw)
    if said.category == "budget" and said.name in GATEWAYS_OWN:
        raise msgspec.ValidationError(f"budget.{said.name} is what the gateway alone tells")
    return Event(
        workspace=caller.workspace,
        id=said.id,
        ts=said.ts,
        ingested_at=now,
        agent=caller.agent,
        user_id=said.user_id or "",
        run_id=said.run_id or "",
        category=said.category,
        name=said.name,
        provider=said.provider or "",
        model=said.model or "",
        scope_name=said.scope_name or "",
        usd_micros=said.usd_micros,
        body=text,
        tool_name=name_said(said.tool_name),
        input_tokens=count_said(said.input_tokens),
        cached_input_tokens=count_said(said.cached_input_tokens),
        output_tokens=count_said(said.output_tokens),
    )


def _id_of(raw: msgspec.Raw) -> str | None:
    try:
        return _identified.decode(raw).id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
