"""Statements that read or write many rows: a few dozen at a time, from a list of values in place of `:rows`.

Between two rows of `executemany` the interpreter may pass to another thread, and come back only when that one is done
with its turn. And None takes the driver as long as a dozen other values, so that a column of nothing else is written
into the statement.
"""

import sqlite3
from collections.abc import Collection, Iterator
from functools import cache
from itertools import chain
from typing import Final

from actguard.gateway.storage.store import Row, statements

_TOGETHER: Final = 64
"""Rows to a statement, and fewer for the rest: each number of rows is a statement to prepare."""


def run_on_many(connection: sqlite3.Connection, name: str, rows: Collection[Row]) -> Iterator[sqlite3.Cursor]:
    """Run a statement on all *rows*. What it finds is to be read from each cursor before the next one is asked for."""
    if not rows:
        return
    width, values = len(next(iter(rows))), [*chain.from_iterable(rows)]
    for first in range(0, len(values), width * _TOGETHER):
        part = values[first : first + width * _TOGETHER]
        count = len(part) // width
        empty = tuple(n for n in range(width) if part[n] is None and part[n::width].count(None) == count)
        for gone, column in enumerate(reversed(empty)):
            del part[column :: width - gone]
        yield connection.execute(_statement(name, width, count, empty), part)


@cache
def _statement(name: str, width: int, count: int, empty: tuple[int, ...]) -> str:
    row = ", ".join("NULL" if column in empty else "?" for column in range(width))
    return statements("sqlite")[name].replace(":rows", ", ".join([f"({row})"] * count))
