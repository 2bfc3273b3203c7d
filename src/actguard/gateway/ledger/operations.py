"""What may be asked of the ledger, and what it says."""

from typing import Any, Final, Literal

from msgspec import Struct

from actguard.gateway.ledger.windows import SECOND

DEFAULT_TTL: Final = 15 * 60 * SECOND
LONGEST_TTL: Final = 24 * 3600 * SECOND

CU_PER_USD: Final = 1000
MICROS_PER_CU: Final = 1_000_000 // CU_PER_USD


class Request(Struct, kw_only=True, frozen=True, gc=False):
    """What every operation says: who asks, about which hold, and by which key a repetition is known."""

    workspace: int
    agent: str
    reserve_id: str
    hash: str = ""
    """Of the body: the same id or key with another one is a mistake of the client."""
    idempotency_key: str | None = None


class Reserve(Request, frozen=True, tag=True):
    run_id: str = ""
    user_id: str = ""
    plan_key: str = ""
    usd: int | None = None
    tokens: int | None = None
    ttl: int = DEFAULT_TTL
    when_short: Literal["deny", "shrink"] = "deny"
    default_usd: int = 10_000_000
    """How much at most, when no limit is asked for."""
    default_tokens: int = 1_000_000
    fingerprint: str | None = None
    tariff_version: str = ""


class Settle(Request, frozen=True, tag=True):
    """*usd* and *tokens* are what this settle adds; earlier parts of the same hold stay."""

    usd: int
    tokens: int
    client_usd: int | None = None
    usage: str = ""
    final: bool = True
    seq: int | None = None
    offline: bool = False
    run_id: str = ""
    user_id: str = ""
    plan_key: str = ""


class Extend(Request, frozen=True, tag=True):
    usd: int = 0
    tokens: int = 0
    ttl: int | None = None


class Release(Request, frozen=True, tag=True):
    pass


Operation = Reserve | Settle | Extend | Release


class Reply(Struct, frozen=True, gc=False):
    """An HTTP status and a JSON body: the ledger's answers are the wire's."""

    status: int
    body: dict[str, Any]
