"""The envelope: what every event says, whatever it is about. All of its keys are always there; None: does not apply."""

import math
import os
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple, cast

from actguard.events.catalog import SPEND, kind_of

VERSION = 1
KEYS = (
    *("id", "ts", "tenant_id", "agent_id", "user_id", "run_id", "trace_id", "span_id", "category", "name", "version"),
    *("severity", "outcome", "provider", "model", "usd_micros", "input_tokens", "cached_input_tokens", "output_tokens"),
    *("scope_id", "scope_name", "scope_kind", "parent_scope_id", "root_scope_id", "plan_key", "tool_name", "payload"),
    *("evidence", "meta"),
)
FIELDS = frozenset(KEYS) - {"id", "ts", "tenant_id", "category", "name", "version", "payload"}
"""What who emits an event may say himself."""
COUNTS = frozenset({"usd_micros", "input_tokens", "cached_input_tokens", "output_tokens"})
"""Those of them that are whole numbers; all others but `evidence` and `meta` are text."""

_DEEPEST = 8
_LONGEST = 10_000
_LARGEST = 1 << 63  # what other programs have no room for, and Python does not even print, is named by its type


class Origin(NamedTuple):
    """What the events of one run have in common."""

    run_id: str
    user_id: str | None = None
    agent_id: str | None = None
    trace_id: str | None = None
    span_id: str | None = None
    meta: Mapping[str, str] = {}


class Record:
    """An event as it happened; made where a user's code waits, so that everything dear is left for later.

    Args:
        details: tells more of the payload and the fields, when somebody wants to read them.
    """

    __slots__ = ("_envelope", "at", "category", "details", "fields", "name", "origin", "payload", "scope")

    def __init__(
        self,
        origin: Origin,
        category: str,
        name: str,
        payload: Mapping[str, Any],
        fields: Mapping[str, Any],
        scope: Any = None,
        details: Callable[[], tuple[Mapping[str, Any], Mapping[str, Any]]] | None = None,
    ) -> None:
        self.at = time.time_ns()
        self.origin = origin
        self.category = category
        self.name = name
        self.payload = payload
        self.fields = fields
        self.scope = scope
        self.details = details
        self._envelope: dict[str, Any] | None = None

    @property
    def is_spend(self) -> bool:
        return (self.category, self.name) == SPEND

    def envelope(self) -> dict[str, Any]:
        """The event as every sink gets it; the same object each time. Not to be changed."""
        made = self._envelope
        if made is None:
            made = self._make()
            if self._envelope is None:
                self._envelope = made
        return self._envelope or made

    def _make(self) -> dict[str, Any]:
        origin, scope, kind = self.origin, self.scope, kind_of(self.category, self.name)
        envelope = dict.fromkeys(KEYS)
        envelope |= {
            "id": uuid7(self.at // 1_000_000),
            "ts": rfc3339(self.at),
            "agent_id": origin.agent_id,
            "user_id": origin.user_id,
            "run_id": origin.run_id,
            "trace_id": origin.trace_id,
            "span_id": origin.span_id,
            "category": self.category,
            "name": self.name,
            "version": VERSION,
            "severity": kind.severity,
            "outcome": kind.outcome,
            "payload": {},
            "evidence": [],
            "meta": dict(origin.meta),
        }
        if scope is not None:
            envelope |= scope_fields(scope)
            envelope["user_id"] = getattr(scope, "user_id", None) or origin.user_id
        payload, fields = self.payload, self.fields
        if self.details is not None:
            said, more = self.details()
            payload, fields = {**payload, **said}, {**fields, **more}
        envelope["payload"] = _told(payload, {"left_out": "it could not be read"})
        for name, value in fields.items():
            if name in FIELDS and value is not None:
                envelope[name] = _told(value, envelope[name])
        return envelope


def scope_fields(scope: Any) -> dict[str, Any]:
    """What an event says of the budget it happened in."""
    return {
        "scope_id": scope.id,
        "scope_name": scope.name,
        "scope_kind": "nested" if scope.parent else "root",
        "parent_scope_id": scope.parent.id if scope.parent else None,
        "root_scope_id": scope.root.id,
        "plan_key": getattr(getattr(scope, "listener", None), "plan_key", None),
    }


def _told(value: Any, otherwise: Any) -> Any:
    """`plain`, or *otherwise*: what a program gave may change while it is read, and its keys may have no text."""
    try:
        return plain(value)
    except Exception:  # noqa: BLE001 - somebody else's objects; one event must not cost those that travel with it
        return otherwise


def plain(value: Any, depth: int = 0) -> Any:
    """*value* as JSON has it. What JSON does not have is named by its type alone: what it holds may be secret."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if -_LARGEST <= value < _LARGEST else "<int>"
    if isinstance(value, str):
        return value if len(value) <= _LONGEST else f"{value[:_LONGEST]}…"
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if depth < _DEEPEST:
        if isinstance(value, Mapping):
            return {str(key): plain(item, depth + 1) for key, item in cast("dict[Any, Any]", value).items()}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [plain(item, depth + 1) for item in cast("list[Any]", value)]
    return f"<{type(value).__name__}>"


def rfc3339(nanoseconds: int) -> str:
    moment = datetime.fromtimestamp(nanoseconds // 1000 / 1_000_000, UTC)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def uuid7(milliseconds: int | None = None) -> str:
    """A new UUID, version 7: those made later sort later, which the tables that they are keys of like."""
    now = time.time_ns() // 1_000_000 if milliseconds is None else milliseconds
    value = (now & (1 << 48) - 1) << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
