"""Statements that read or write many rows: hundreds at a time, from a list of values in place of `:rows`.

Between two statements, or two rows of `executemany`, the interpreter may pass to another thread, and come back only
when that one is done with its turn. And None takes the driver as long as a dozen other values, so that a column of
nothing else is written into the statement.
"""

import sqlite3
from collections.abc import Collection, Iterator
from functools import lru_cache
from itertools import chain, repeat
from typing import Final

from actguard.gateway.storage.store import Row, statements

_TOGETHER: Final = (256, 32)
"""Rows to a statement, and fewer for the rest: each number of rows is a statement to prepare."""


def run_on_many(connection: sqlite3.Connection, name: str, rows: Collection[Row]) -> Iterator[sqlite3.Cursor]:
    """Run a statement on all *rows*. What it finds is to be read from each cursor before the next one is asked for."""
    if not rows:
        return
    width, values = len(next(iter(rows))), [*chain.from_iterable(rows)]
    first = 0
    for count in _counts(len(rows)):
        part = values[first : first + count * width]
        first += count * width
        empty = tuple(n for n in range(width) if part[n] is None and part[n::width].count(None) == count)
        for gone, column in enumerate(reversed(empty)):
            del part[column :: width - gone]
        yield connection.execute(_statement(name, width, count, empty), part)


def _counts(rows: int) -> Iterator[int]:
    """How many of *rows* go with each statement."""
    for together in _TOGETHER:
        yield from repeat(together, rows // together)
        rows %= together
    if rows:
        yield rows


@lru_cache(maxsize=1024)
def _statement(name: str, width: int, count: int, empty: tuple[int, ...]) -> str:
    row = ", ".join("NULL" if column in empty else "?" for column in range(width))
    return statements("sqlite")[name].replace(":rows", ", ".join([f"({row})"] * count))
