"""Idempotency keys: the same request has the same answer, and another one under its key is a mistake.

A client's own keys are a hold's id for its reserve, and `<id>:final` for its settle. Those the hold remembers itself:
its row has the hashes of both requests, and says what they were told. What else has a key is written down in a row.
"""

from typing import Final

import msgspec

from actguard.gateway.ledger.operations import Operation, Reply, Reserve, Settle
from actguard.gateway.ledger.replies import error, granted, remaining_ms, settled
from actguard.gateway.ledger.rows import RESERVE_KEYED, SETTLE_KEY, SETTLE_KEYED, Answer, Hold, Id, Working

_REMEMBERED: Final = (200, 402, 409)
_encoded = msgspec.json.Encoder().encode


def is_own(operation: Operation, key: str) -> bool:
    """Whether the hold that is asked for remembers this key itself, if it is granted or settled."""
    if type(operation) is Reserve:
        return key == operation.reserve_id
    return type(operation) is Settle and operation.final and key == operation.reserve_id + SETTLE_KEY


def holds_behind(workspace: int, key: str) -> tuple[Id, Id]:
    """The holds whose own key this may be."""
    return (workspace, key), (workspace, key.removesuffix(SETTLE_KEY))


def answered_before(rows: Working, operation: Operation, key: str, own: bool) -> Reply | None:
    """What was said to this key before; None, if nothing was, or the hold that is asked for will say it again."""
    workspace = operation.workspace
    given = rows.answers.get((workspace, key)) if rows.answers else None
    if given is not None:
        return _again(rows, workspace, given) if given.hash == operation.hash else _mismatch()
    if own:
        if type(operation) is Reserve:
            return None
        hold = rows.holds.get((workspace, operation.reserve_id))
        if hold is None or not hold.keyed & SETTLE_KEYED or hold.settle_hash == operation.hash:
            return None
        return _mismatch() if hold.agent == operation.agent else None
    reserved, ended = (rows.holds.get(identity) for identity in holds_behind(workspace, key))
    if reserved is not None and reserved.keyed & RESERVE_KEYED:
        return granted(rows, reserved) if reserved.reserve_hash == operation.hash else _mismatch()
    if key.endswith(SETTLE_KEY) and ended is not None and ended.keyed & SETTLE_KEYED:
        return settled(ended) if ended.settle_hash == operation.hash else _mismatch()
    return None


def write_down(rows: Working, operation: Operation, key: str, own: bool, reply: Reply) -> None:
    """Remember what was said, unless the hold does."""
    if reply.status not in _REMEMBERED:
        return
    if own:
        hold = rows.holds.get((operation.workspace, operation.reserve_id))
        if hold is not None and hold.keyed & (RESERVE_KEYED if type(operation) is Reserve else SETTLE_KEYED):
            return
    _add(rows, operation.workspace, key, operation.hash, reply)


def keep_answers(rows: Working, hold: Hold) -> None:
    """Write down what the hold remembers, before it changes and would answer otherwise."""
    if hold.keyed & RESERVE_KEYED:
        _add(rows, hold.workspace, hold.reserve_id, hold.reserve_hash, granted(rows, hold))
    if hold.keyed & SETTLE_KEYED:
        _add(rows, hold.workspace, hold.reserve_id + SETTLE_KEY, hold.settle_hash, settled(hold))
    hold.keyed = 0


def _add(rows: Working, workspace: int, key: str, hashed: str, reply: Reply) -> None:
    answer = Answer(workspace, key, hashed, reply.status, _encoded(reply.body), rows.now)
    rows.answers[workspace, key] = rows.new_answers[workspace, key] = answer


def _again(rows: Working, workspace: int, given: Answer) -> Reply:
    body = msgspec.json.decode(given.body)
    hold = rows.holds.get((workspace, str(body.get("reserve_id", ""))))
    if hold is not None and "remaining_ttl_ms" in body:
        body["remaining_ttl_ms"] = remaining_ms(rows, hold)
    return Reply(given.status, body)


def _mismatch() -> Reply:
    return error(422, "idempotency_mismatch", "This Idempotency-Key was used before, with another request.")
