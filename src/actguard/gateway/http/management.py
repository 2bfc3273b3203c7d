"""The endpoints of people: keys, budgets, balance, spend, runs, events, all of the caller's own workspace."""

import time
from datetime import UTC, datetime
from functools import partial
from typing import Final

import msgspec

from actguard.gateway import accounts, reports
from actguard.gateway.http.auth import Caller
from actguard.gateway.http.bodies import BudgetBody, BudgetKeyBody, CreditBody, Decoder, NewKeyBody, WorkspaceBody
from actguard.gateway.http.data import body_hash, idempotency_key
from actguard.gateway.http.gateway import Gateway
from actguard.gateway.http.wire import Refused, Request, decoded
from actguard.gateway.ledger.operations import Reply
from actguard.gateway.ledger.windows import SECOND
from actguard.gateway.storage.store import Transaction

_DAY: Final = 86_400 * SECOND
_LAST: Final = int(datetime(9999, 12, 30, tzinfo=UTC).timestamp()) * SECOND
_new_key = Decoder(NewKeyBody)
_budget = Decoder(BudgetBody)
_budget_key = Decoder(BudgetKeyBody)
_BUDGET_KEY: Final = BudgetKeyBody.__struct_fields__
_credit = Decoder(CreditBody)
_workspace = Decoder(WorkspaceBody)


async def create_key(gateway: Gateway, caller: Caller, request: Request) -> Reply:
    body, now = decoded(_new_key, request.body), await gateway.now()
    created = await gateway.writer.write(lambda t: accounts.create_key(t, caller.workspace, body.agent, body.role, now))
    return Reply(
        201,
        {"key_id": created.key.key_id, "agent": created.agent, "role": created.role, "key": created.key.text},
    )


async def list_keys(gateway: Gateway, caller: Caller, request: Request) -> Reply:
    return Reply(200, {"keys": await gateway.read(lambda t: accounts.keys(t, caller.workspace))})


async def revoke_key(gateway: Gateway, caller: Caller, request: Request) -> Reply:
    key_id, now = request.parameters["key_id"], await gateway.now()
    if "\x00" in key_id:
        raise Refused(404, "not_found", "There is no such key here.")
    known = {key["key_id"] for key in await gateway.read(lambda t: accounts.keys(t, caller.workspace))}
    if key_id not in known:
        raise Refused(404, "not_found", "There is no such key here.")
    await gateway.writer.write(lambda t: t.run("revoke_key", workspace=caller.workspace, key_id=key_id, now=now))
    gateway.auth.forget(key_id)
    return Reply(200, {"key_id": key_id, "status": "revoked"})


async def list_budgets(gateway: Gateway, caller: Caller, request: Request) -> Reply:
    now = await gateway.now()
    found = await gateway.report(lambda t: accounts.budgets(t, caller.workspace, now))
    return Reply(200, {"budgets": found})


async def put_budget(gateway: Gateway, caller: Caller, request: Request) -> Reply:
    body, now = decoded(_budget, request.body), await gateway.now()
    put = partial(
        accounts.put_budget,
        workspace=caller.workspace,
        scope=body.scope,
        key=body.key,
        window=body.window,
        usd=body.usd_micros,
        tokens=body.tokens,
        observe=body.observe,
        now=now,
    )
    try:
        await gateway.writer.write(put)
    except accounts.Invalid as error:
        raise Refused(422, "invalid", str(error)) from error
    return Reply(200, msgspec.to_builtins(body))


async def remove_budget(gateway: Gateway, caller: Caller, request: Request) -> Reply:
    said = request.body or msgspec.json.encode(
        {name: request.query(name) for name in _BUDGET_KEY if request.query(name)}
    )
    body = decoded(_budget_key, said)  # a DELETE has no body where a client or a proxy does not send one
    removed = await gateway.writer.write(
        lambda t: t.run(
            "remove_budget",
            workspace=caller.workspace,
            scope=body.scope,
            scope_key=body.key,
            window_kind=body.window,
        )
    )
    if not removed:
        raise Refused(404, "not_found", "There is no such budget here.")
    return Reply(200, {"status": "removed"})


async def get_balance(gateway: Gateway, caller: Caller, request: Request) -> Reply:
    now = await gateway.now()
    return Reply(200, await gateway.read(lambda t: accounts.balance(t, caller.workspace, now)))


async def add_credit(gateway: Gateway, caller: Caller, request: Request) -> Reply:
    """Pay in; once for each Idempotency-Key."""
    body, now = decoded(_credit, request.body), await gateway.now()
    key, hashed = idempotency_key(request), body_hash(caller, request)

    def pay(transaction: Transaction) -> Reply:
        said = transaction.rows("answer", workspace=caller.workspace, key=key) if key is not None else []
        if said:
            if said[0][0] != hashed:
                raise Refused(
                    422, "idempotency_mismatch", "This Idempotency-Key was used before, with another request."
                )
            return Reply(said[0][1], msgspec.json.decode(said[0][2]))
        transaction.run("add_credit", workspace=caller.workspace, usd=body.usd_micros, now=now)
        reply = Reply(200, accounts.balance(transaction, caller.workspace, now))
        if key is not None:
            answer = {"status": 200, "body": msgspec.json.encode(reply.body), "now": now}
            transaction.run("add_answer", workspace=caller.workspace, key=key, hash=hashed, **answer)
        return reply

    return await gateway.writer.write(pay)


async def get_workspace(gateway: Gateway, caller: Caller, request: Request) -> Reply:
    rows = await gateway.read(lambda t: t.rows("workspace", workspace=caller.workspace))
    return Reply(200, {"name": rows[0][1], "time_zone": rows[0][2]})


async def put_workspace(gateway: Gateway, caller: Caller, request: Request) -> Reply:
    body = decoded(_workspace, request.body)
    try:
        zone = accounts.valid_zone(body.time_zone)
    except accounts.Invalid as error:
        raise Refused(422, "invalid", str(error)) from error
    await gateway.writer.write(lambda t: t.run("set_time_zone", workspace=caller.workspace, time_zone=zone))
    return await get_workspace(gateway, caller, request)


async def spend(gateway: Gateway, caller: Caller, request: Request) -> Reply:
    since, until = _span(request)
    by = request.query("by", "agent")
    if by not in reports.BY:
        raise Refused(422, "invalid", f"by is one of {', '.join(reports.BY)}.")
    return Reply(
        200,
        await gateway.report(
            lambda t: reports.spend(t, caller.workspace, since, until, by, reports.zone_of(t, caller.workspace))
        ),
    )


async def runs(gateway: Gateway, caller: Caller, request: Request) -> Reply:
    since, until = _span(request)
    run_id, most = request.query("run_id"), _most(request)
    found = await gateway.report(lambda t: reports.runs(t, caller.workspace, since, until, run_id, most))
    return Reply(200, {"runs": found})


async def list_events(gateway: Gateway, caller: Caller, request: Request) -> Reply:
    since, until = _span(request)
    run_id, category, most = request.query("run_id"), request.query("category"), _most(request)
    found = await gateway.report(lambda t: reports.events(t, caller.workspace, since, until, run_id, category, most))
    return Reply(200, {"events": found})


def _span(request: Request) -> tuple[int, int]:
    """`since` and `until`, by default the last thirty days; within the days that every time zone has a name for."""
    until = _moment(request, "until", time.time_ns() // 1000 + _DAY)
    since = _moment(request, "since", until - 31 * _DAY)
    return min(max(since, 0), _LAST), min(max(until, 0), _LAST)


def _moment(request: Request, name: str, default: int) -> int:
    said = request.query(name)
    if not said:
        return default
    try:
        moment = datetime.fromisoformat(said)
        if moment.tzinfo is None:
            raise ValueError("no time zone")
        return int(moment.timestamp() * SECOND)
    except (ValueError, OverflowError) as error:
        raise Refused(422, "invalid", f"{name} is a time as in 2026-01-31T00:00:00Z.") from error


def _most(request: Request) -> int:
    said = request.query("limit", "100")
    if not (said.isascii() and said.isdigit() and 1 <= int(said) <= 1000):
        raise Refused(422, "invalid", "limit is a number from 1 to 1000.")
    return int(said)
