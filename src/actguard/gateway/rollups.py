"""Sums by the hour, beside the rows that they are sums of, so that a report need not read all of those.

    events    what clients told: added in the transaction that stores the events, each event once
    charges   what the ledger has charged: added when an hour is over for good, by whichever gateway comes first

What an event says is told, what the ledger says is billed; the two are kept apart.
"""

from collections.abc import Iterable, Iterator
from operator import attrgetter
from typing import Any, Final, NamedTuple

from actguard.events.catalog import SPEND
from actguard.gateway.http.bodies import Envelope
from actguard.gateway.ledger.windows import SECOND
from actguard.gateway.storage.store import Row, Store, Transaction

HOUR: Final = 3600 * SECOND
DAY: Final = 24 * HOUR
QUARTER: Final = HOUR // 4
"""Of an hour. In no time zone does a day begin within one, so totals are kept by it."""

EVENT_DIMS: Final = ("total", "agent", "user", "tool", "provider", "model", "scope", "agent_model")
_HOLD, _LINE = "charged_by_hold", "charged_by_line"
CHARGE_DIMS: Final = {"agent": _HOLD, "user": _HOLD, "plan": _HOLD, "model": _LINE, "provider": _LINE, "scope": _LINE}
"""What charges are divided by, and the statement that does it."""

_SETTLED: Final = HOUR
"""So long after its end an hour is over for good: what was begun in it has been committed, or never will be."""
_MOST_TOKENS: Final = 10**12
_LONGEST_NAME: Final = 200


_Sums = dict[Any, list[int]]
"""By a key, how many, micro-dollars, and tokens: input, cached, output."""


class _Kind(NamedTuple):
    """What events of one kind say, by what they have in common, and by whose they are."""

    name: str
    spends: bool
    alike: _Sums
    users: _Sums


_place: Final = attrgetter("tool_name", "provider", "model", "scope_name")


class Told:
    """What events of one agent say that is added up.

    Made where a request is read, so that for each event the writer has nothing left to do.
    """

    def __init__(self, workspace: int, agent: str, at: int, events: Iterable[Envelope]) -> None:
        self.of: Final = (workspace, agent, at - at % HOUR, at - at % DAY)
        kinds: dict[tuple[str, str], _Kind] = {}
        for event in events:
            kind = kinds.get(said := (event.category, event.name))
            if kind is None:
                kind = kinds[said] = _Kind(f"{event.category}.{event.name}", said == SPEND, {}, {})
            usd, read = event.usd_micros or 0, event.input_tokens or 0
            cached, written = event.cached_input_tokens or 0, event.output_tokens or 0
            for sums, key in ((kind.alike, _place(event)), (kind.users, event.user_id)):
                known = sums.get(key)
                if known is None:
                    sums[key] = [1, usd, read, cached, written]
                else:  # each event comes by here twice: nothing is made anew
                    known[0] += 1
                    known[1] += usd
                    known[2] += read
                    known[3] += cached
                    known[4] += written
        self.kinds: Final = [*kinds.values()]


def sums_of(told: Iterable[Told]) -> list[Row]:
    """What events add to the sums; spend is divided by everything, other events by who and which tool.

    In the order of the key: so every gateway locks them in the same, and none waits for another in a circle.
    """
    sums: dict[tuple[int, str, int, str], _Sums] = {}
    for each in told:
        workspace, agent, hour, day = each.of
        for kind in each.kinds:
            users = sums.setdefault((workspace, "user", day, kind.name), {})
            for user, counts in kind.users.items():
                if user:
                    _add(users, user, counts)
            for (tool, provider, model, scope), counts in kind.alike.items():
                dims = {"agent": agent, "tool": tool}
                if kind.spends:
                    both = f"{agent}\t{model or ''}"
                    dims |= {"provider": provider, "model": model, "scope": scope, "agent_model": both}
                _add(sums.setdefault((workspace, "total", hour, kind.name), {}), "", counts)
                for dim, key in dims.items():
                    if key:
                        _add(sums.setdefault((workspace, dim, hour, kind.name), {}), key, counts)
    return [(*place, key, *keys[key]) for place, keys in sorted(sums.items()) for key in sorted(keys)]


def _add(sums: _Sums, key: str, counts: list[int]) -> None:
    known = sums.get(key)
    sums[key] = counts if known is None else [*map(int.__add__, known, counts)]


def count_said(value: Any) -> int:
    """A number of tokens as an event says it; what cannot be one counts nothing, and fails nothing."""
    return value if type(value) is int and 0 <= value <= _MOST_TOKENS else 0


def name_said(value: Any) -> str:
    """A name as an event says it; empty where it cannot be one."""
    return value[:_LONGEST_NAME] if isinstance(value, str) and value.isprintable() else ""


# ---- what is billed -------------------------------------------------------------------------------------------------


class Charged(NamedTuple):
    """What was charged under one name."""

    key: str
    charges: int
    usd: int
    tokens: int


class Quarter(NamedTuple):
    """What was charged in a quarter of an hour."""

    start: int
    charges: int
    usd: int
    tokens: int
    overrun: int


def charged(transaction: Transaction, workspace: int, since: int, until: int, by: str) -> list[Charged]:
    """What was charged between two moments, divided by *by*: the sums of whole hours, and the rows at both ends."""
    span: dict[str, Any] = {"workspace": workspace}
    statement = CHARGE_DIMS.get(by, _HOLD)
    groups: dict[str, Charged] = {}
    for first, last, rolled in _parts(transaction, workspace, since, until, rolled=by in CHARGE_DIMS):
        span |= {"since": first, "until": last}
        rows = (
            transaction.rows("rolled_charges", **span, dim=by) if rolled else transaction.rows(statement, **span, by=by)
        )
        for key, *counts in rows:
            known = groups.get(key, (key, 0, 0, 0))
            groups[key] = Charged(key, *(old + int(new) for old, new in zip(known[1:], counts, strict=True)))
    return [*groups.values()]


def quarters(transaction: Transaction, workspace: int, since: int, until: int) -> list[Quarter]:
    """What was charged between two moments, by the quarter of an hour; a quarter that is cut may be in it twice."""
    found: list[Quarter] = []
    for first, last, rolled in _parts(transaction, workspace, since, until, rolled=True):
        rows = transaction.rows(
            "rolled_quarters" if rolled else "charged", workspace=workspace, since=first, until=last
        )
        found += [Quarter(*map(int, row)) for row in rows]
    return found


def _parts(
    transaction: Transaction, workspace: int, since: int, until: int, *, rolled: bool
) -> Iterator[tuple[int, int, bool]]:
    """The span in parts, and whether the sums of a part are there."""
    first = since + -since % HOUR
    last = min(until - until % HOUR, _rolled_until(transaction, workspace)) if rolled else 0
    if first >= last:
        yield since, until, False
        return
    yield first, last, True
    for begin, end in ((since, first), (last, until)):
        if begin < end:
            yield begin, end, False


def _rolled_until(transaction: Transaction, workspace: int) -> int:
    rows = transaction.rows("rolled_until", workspace=workspace)
    return int(rows[0][0]) if rows else 0


# ---- what is done now and then --------------------------------------------------------------------------------------


class HourOver(NamedTuple):
    """The sums of the one hour before *until*, to be written if nobody was faster; before it nothing was charged."""

    workspace: int
    since: int
    until: int
    sums: list[Row]


def next_hour(store: Store, workspace: int, now: int) -> HourOver | None:
    """The sums of the first hour with charges that has none yet; None when there is no such hour."""
    return store.read(lambda transaction: _next_hour(transaction, workspace, now))


def _next_hour(transaction: Transaction, workspace: int, now: int) -> HourOver | None:
    since = _rolled_until(transaction, workspace)
    ((first,),) = transaction.rows("first_charge", workspace=workspace, since=since)
    if first is None or (hour := first - first % HOUR) + HOUR + _SETTLED > now:
        return None
    span: dict[str, Any] = {"workspace": workspace, "since": hour, "until": hour + HOUR}
    sums: list[Row] = [
        ("total", start, "", *map(int, counts)) for start, *counts in transaction.rows("charged", **span)
    ]
    for dim, statement in CHARGE_DIMS.items():
        rows = transaction.rows(statement, **span, by=dim)
        sums += [(dim, hour, key, *map(int, counts), 0) for key, *counts in rows]
    return HourOver(workspace, since, hour + HOUR, sums)


def write_hour(transaction: Transaction, over: HourOver) -> bool:
    """Write the sums of an hour, unless another gateway has. Returns whether this one did."""
    span: dict[str, Any] = {"workspace": over.workspace, "until": over.until}
    moved = transaction.run("move_rollups" if over.since else "begin_rollups", **span, since=over.since)
    if not moved:
        return False
    if over.sums:  # an hour may have reserves alone
        transaction.run_many("add_charge_rollup", [(over.workspace, *row) for row in over.sums])
    return True
