"""Windows of time: a day, a month, or for ever, in a time zone. A window is a name, never a thing that is reset."""

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Literal, NamedTuple, get_args
from zoneinfo import ZoneInfo

SECOND = 1_000_000
"""In microseconds, the unit of every time in the ledger (since 1970, UTC)."""

WindowKind = Literal["day", "month", "total"]
WINDOW_KINDS: tuple[WindowKind, ...] = get_args(WindowKind)


class Window(NamedTuple):
    """One day, month or eternity."""

    start: str
    """The local date on which it began; empty for `total`. Together with its budget, the key of its counter."""
    begins_at: int
    ends_at: int | None
    """When the next one begins; never, for `total`."""


ALWAYS = Window("", 0, None)


def window_at(kind: str, zone: str, now: int) -> Window:
    """The window of *kind* that *now* lies in. Its local midnights make the day of a clock change 23 or 25 hours."""
    if kind == "total":
        return ALWAYS
    return _window_in(kind, zone, now // SECOND)  # windows begin with a second


@lru_cache(maxsize=1024)
def rfc3339(at: int) -> str:
    """A moment for people and for JSON. A batch has one for all its holds of the same length."""
    to_the_second = datetime.fromtimestamp(at // SECOND, UTC).replace(tzinfo=None).isoformat(timespec="seconds")
    return f"{to_the_second}.{at % SECOND // 1000:03d}Z"


@lru_cache(maxsize=1024)
def _window_in(kind: str, zone: str, seconds: int) -> Window:
    local = datetime.fromtimestamp(seconds, UTC).astimezone(ZoneInfo(zone)).date()
    return _window(kind, zone, local if kind == "day" else local.replace(day=1))


@lru_cache(maxsize=1024)
def _window(kind: str, zone: str, first: date) -> Window:
    after = first + timedelta(days=1) if kind == "day" else (first + timedelta(days=32)).replace(day=1)
    return Window(first.isoformat(), _midnight(first, zone), _midnight(after, zone))


def _midnight(day: date, zone: str) -> int:
    """Where a clock change skips midnight, this is the moment of the change."""
    return int(datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone)).timestamp()) * SECOND
