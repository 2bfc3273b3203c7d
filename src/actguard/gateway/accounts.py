"""Workspaces, their keys and budgets: what the management API and the command line change."""

import re
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from actguard.gateway.keys import Key, new_key
from actguard.gateway.ledger.windows import rfc3339
from actguard.gateway.reports import budgets_of, state, zone_of
from actguard.gateway.storage.store import Transaction

FIRST_WORKSPACE = "default"
_NAME: Final = re.compile(r"[^\x00-\x1f\x7f]{1,200}")
"""What can be named over HTTP."""
_PLAN_KEY: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,99}")

_OF_ONE_MACHINE: Final = ("localtime", "posixrules", "posix/", "right/")
"""Files beside the time zones, which another gateway on the database may lack, or have with other rules in them."""


class Invalid(ValueError):  # noqa: N818 - says what was asked
    """What was asked cannot be; the message says what may."""


class Created(NamedTuple):
    """A new key; the only time that its text is known."""

    key: Key
    agent: str
    role: str


def workspace_id(transaction: Transaction, name: str) -> int:
    rows = transaction.rows("workspace_by_name", name=name)
    if not rows:
        known = ", ".join(row[1] for row in transaction.rows("workspaces")) or "none"
        raise Invalid(f"There is no workspace {name!r}; there is: {known}.")
    return int(rows[0][0])


def add_workspace(transaction: Transaction, name: str, zone: str, now: int) -> int:
    """The number of a workspace, made if it does not exist."""
    if not _NAME.fullmatch(name):
        raise Invalid("A workspace's name is 1 to 200 characters, none of them a control character.")
    transaction.run("add_workspace", name=name, time_zone=valid_zone(zone), now=now)
    return workspace_id(transaction, name)


def create_key(transaction: Transaction, workspace: int, agent: str, role: str, now: int) -> Created:
    key = new_key()
    transaction.run(
        "add_key", key_id=key.key_id, workspace=workspace, agent=agent, role=role, secret_hash=key.hash, now=now
    )
    return Created(key, agent, role)


def keys(transaction: Transaction, workspace: int) -> list[dict[str, Any]]:
    return [
        {
            "key_id": key_id,
            "agent": agent,
            "role": role,
            "created_at": rfc3339(created),
            "revoked_at": rfc3339(revoked) if revoked is not None else None,
        }
        for key_id, agent, role, created, revoked in transaction.rows("keys", workspace=workspace)
    ]


def put_budget(
    transaction: Transaction,
    workspace: int,
    *,
    scope: str,
    key: str,
    window: str,
    usd: int | None,
    tokens: int | None,
    observe: bool,
    now: int,
) -> None:
    """Set a limit, in place of one on the same scope and window. It holds from the next reserve on."""
    if (scope == "workspace") == bool(key):
        raise Invalid("A workspace's budget has no key, every other one has: an agent, a user (or *), a plan.")
    if key and not _NAME.fullmatch(key):
        raise Invalid(f"The name of an agent or a user is 1 to 200 characters, none a control character, not {key!r}.")
    if scope == "agent" and key == "*":
        raise Invalid("* stands for each user; name the agent, as its key does, or limit the workspace.")
    if scope == "plan" and not _PLAN_KEY.fullmatch(key):
        raise Invalid(
            f"A plan's key is lower-case letters, digits, - and _, at most 100, and begins with a letter or digit, "
            f"not {key[:100]!r}."
        )
    if usd is None and tokens is None:
        raise Invalid("A budget limits dollars (usd_micros), tokens, or both.")
    transaction.run(
        "put_budget",
        workspace=workspace,
        scope=scope,
        scope_key=key,
        window_kind=window,
        usd_limit=usd,
        token_limit=tokens,
        observe=observe,
        now=now,
    )


def budgets(transaction: Transaction, workspace: int, now: int) -> list[dict[str, Any]]:
    """Every budget, with what is spent and held in its window; those of each user have none of their own."""
    zone = zone_of(transaction, workspace)
    return [
        state(transaction, budget, budget.key, zone, now)
        for budget in budgets_of(transaction, workspace)
        if budget.scope != "balance"
    ]


def balance(transaction: Transaction, workspace: int, now: int) -> dict[str, Any]:
    """What was paid in beforehand and what is left of it; not `prepaid`, where nothing ever was."""
    for budget in budgets_of(transaction, workspace):
        if budget.scope == "balance":
            found = state(transaction, budget, "", "UTC", now)
            return {
                "prepaid": True,
                "credited_micros": found["usd_limit_micros"],
                "spent_micros": found["usd_spent_micros"],
                "held_micros": found["usd_held_micros"],
                "balance_micros": (budget.usd_limit or 0) - found["usd_spent_micros"] - found["usd_held_micros"],
            }
    return {"prepaid": False, "credited_micros": 0, "spent_micros": 0, "held_micros": 0, "balance_micros": 0}


def valid_zone(zone: str) -> str:
    try:
        if zone.startswith(_OF_ONE_MACHINE):
            raise ZoneInfoNotFoundError(zone)
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise Invalid(f"{zone!r} is no time zone; one is named like Europe/Amsterdam or UTC.") from error
    return zone
