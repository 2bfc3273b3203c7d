"""What sessions know, in Redis: requests for `lua/facts.lua`, and its answers read. See `stores/facts.py`.

    {namespace}:f:SESSION        its facts and sums
    {namespace}:f:SESSION~due    when each of them may be over

Names are written as ASCII JSON, so that whatever text a tool returned is a name, and none is taken for another.
"""

import json
from collections.abc import Sequence
from typing import Any

from actguard.stores.facts import Charge, Fact, Key, Known, Need, Receipt, Spend, Verdict
from actguard.stores.redis_wire import Request, Wire, micros

_SECOND = 1_000_000


# ---- requests ------------------------------------------------------------------------------------------------------


def put(wire: Wire, session: str, facts: Sequence[Fact]) -> Request:
    asked = [
        [
            _field(fact.key),
            micros(fact.ttl),
            fact.trust,
            _text(fact.source),
            [_text(one) for one in fact.records],
            fact.uses,
            json.dumps([fact.trust, fact.source, fact.records]),
            _text(f"{fact.trust}|{fact.source}|{','.join(fact.records)}"),  # as the machine calls it in a receipt
        ]
        for fact in facts
    ]
    return wire.facts(session, ["put", asked])


def check(wire: Wire, session: str, needs: Sequence[Need], spends: Sequence[Spend], *, commit: bool) -> Request:
    asked = [
        [
            _field(need.key),
            need.min_trust,
            False if need.max_age is None else micros(need.max_age),
            [_text(source) for source in need.sources],
            need.consume,
            False if need.group is None else f"g{need.group}",
            need.absent,
        ]
        for need in needs
    ]
    sums = [[_sum(one.key), one.amount, micros(one.period), one.total] for one in spends]
    return wire.facts(session, ["check", asked, sums, commit])


def give_back(wire: Wire, session: str, receipt: Receipt) -> Request:
    charges = [[_field(one.key), _text(one.proof), one.uses, one.used_up] for one in receipt.charges]
    return wire.facts(session, ["give_back", charges, [[_sum(one.key), one.amount] for one in receipt.spends]])


def revoke(wire: Wire, session: str, kind: str, value: str | None) -> Request:
    begins = f"f{_text(kind)}" if value is None else _field((kind, value))
    return wire.facts(session, ["revoke", begins, value is not None])


def listing(wire: Wire, session: str, kinds: Sequence[str]) -> Request:
    return wire.facts(session, ["list", [f"f{_text(kind)}" for kind in kinds]])


def end(wire: Wire, session: str) -> Request:
    return wire.facts(session, ["finish"])


_text = json.encoder.encode_basestring_ascii


def _field(key: Key) -> str:
    kind, value = key
    return f"f{_text(kind)}{_text(value)}"


def _sum(key: str) -> str:
    return f"s{_text(key)}"


# ---- answers -------------------------------------------------------------------------------------------------------


def read_verdict(reply: list[Any], needs: Sequence[Need], spends: Sequence[Spend]) -> Verdict:
    refused, before, *charges = reply
    receipt = None
    if charges:
        taken = [
            Charge(needs[int(index)].key, json.loads(name), int(uses), used_up == b"1")
            for index, name, uses, used_up in charges[0]
        ]
        receipt = Receipt(tuple(taken), tuple(spends))
    return Verdict(tuple(why.decode() or None for why in refused), tuple(int(sum_) for sum_ in before), receipt)


def read_known(reply: list[Any]) -> list[Known]:
    found: list[Known] = []
    for field, name, age, left, uses in reply:
        trust, source, records = json.loads(name)
        moments = int(age) / _SECOND, int(left) / _SECOND
        found.append(Known(_key(field.decode()), trust, source, tuple(records), *moments, int(uses)))
    return found


def _key(field: str) -> Key:
    kind, end = json.JSONDecoder().raw_decode(field, 1)
    return kind, json.loads(field[end:])
