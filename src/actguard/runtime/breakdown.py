"""What was spent in one tree of scopes and is not told to the gateway yet; and how it is told."""

import json
from collections import deque
from typing import Any, NamedTuple

from actguard.budget.account import Spend
from actguard.money import PICO_PER_USD
from actguard.transport.names import fitting

PART = 1000
"""Entries in one request, at most: well within what the gateway takes."""

_PART_BYTES = 700_000
"""And what they take up, at most: the gateway takes 1 MiB, and names may be long in any script."""

_PICO_PER_MICRO = PICO_PER_USD // 1_000_000
_PICO_PER_CU = PICO_PER_USD // 1_000


class Breakdown:
    """Spend in the order in which it happened. `add` takes no lock: finalizers call it."""

    def __init__(self) -> None:
        self._spent: deque[tuple[str | None, Spend]] = deque()

    def add(self, scope_name: str | None, spend: Spend) -> None:
        self._spent.append((scope_name, spend))

    def __len__(self) -> int:
        return len(self._spent)

    def take(self) -> list[dict[str, Any]]:
        """The entries for one request, and out of here."""
        entries: list[dict[str, Any]] = []
        size = 0
        while len(entries) < PART and size < _PART_BYTES:
            try:
                scope_name, spend = self._spent.popleft()
            except IndexError:
                break
            more = _entries(scope_name, spend)
            size += len(json.dumps(more, ensure_ascii=False).encode(errors="replace"))
            entries += more
        return entries


class Identity(NamedTuple):
    """Whose spend it is; what an offline run is recorded under."""

    reserve_id: str
    run_id: str
    user_id: str | None
    plan_key: str | None


def settle_body(
    identity: Identity, entries: list[dict[str, Any]], *, final: bool, seq: int, offline: bool
) -> dict[str, Any]:
    """The body of one settle request."""
    body = {name: value for name, value in identity._asdict().items() if value is not None}
    for kind in ("input_tokens", "cached_input_tokens", "output_tokens"):
        body[kind] = sum(entry.get(kind, 0) for entry in entries)
    body["usage_breakdown"] = entries
    if not final:
        body |= {"final": False, "seq": seq}
    if offline:
        body["offline"] = True
    return body


def _entries(scope_name: str | None, spend: Spend) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    for index, (name, usage, pico) in enumerate(spend.charge.items):
        micros = -(-pico // _PICO_PER_MICRO)
        entry: dict[str, Any]
        if spend.kind == "cost":
            entry = {
                "type": "custom_cost",
                "name": fitting(name),
                "cost_cu": -(-pico // _PICO_PER_CU),
                "usd_micros": micros,
            }
        else:
            entry = {
                "provider": fitting(spend.provider),
                "provider_model_id": fitting(name),
                "input_tokens": usage.input_tokens,
                "cached_input_tokens": usage.cache_read_tokens,
                "output_tokens": usage.output_tokens,
                **{kind: count for kind, count in usage.by_kind().items() if kind not in _SAID},
                "usd_micros": micros,
                "calls": 1,
            }
            if spend.model and index == 0:
                entry["requested_model"] = fitting(spend.model)
            if index < len(spend.contexts) and spend.contexts[index]:
                entry["context"] = dict(spend.contexts[index])
            if spend.charge.estimates:
                entry["estimated"] = True
        if scope_name is not None:
            entry["scope_name"] = fitting(scope_name)
        entries.append(entry)
    return entries


_SAID = frozenset({"input_tokens", "output_tokens"})
