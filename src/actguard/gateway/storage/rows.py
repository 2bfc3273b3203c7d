"""Holds as a database keeps them: the same columns in the same order, lists as JSON."""

from functools import lru_cache
from typing import Any

import msgspec

from actguard.gateway.ledger.rows import CounterKey, Hold

_encode = msgspec.json.Encoder().encode
_seqs = msgspec.json.Decoder(list[int])
_counters = msgspec.json.Decoder(list[tuple[str, str, str, str]])

HOLD_COLUMNS = tuple("workspace_id" if name == "workspace" else name for name in Hold.__struct_fields__)


def encoded_hold(hold: Hold) -> tuple[Any, ...]:
    seqs = _encode(hold.seqs).decode() if hold.seqs else "[]"
    return (*msgspec.structs.astuple(hold)[:-2], seqs, _written(tuple(hold.counters)))


@lru_cache(maxsize=4096)
def _written(keys: tuple[CounterKey, ...]) -> str:
    """Many holds are on the same counters."""
    return _encode([key[1:] for key in keys]).decode()


def decoded_hold(row: tuple[Any, ...]) -> Hold:
    keys = [CounterKey(row[0], *parts) for parts in _counters.decode(row[-1])]
    values: list[Any] = [*row[:-2], _seqs.decode(row[-2]), keys]
    return Hold(*values)
