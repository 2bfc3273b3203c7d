"""Statements that read or write many rows: hundreds at a time, from a list of values in place of `:rows`.

Between two statements, or two rows of `executemany`, the interpreter may pass to another thread, and come back only
when that one is done with its turn.
"""

import sqlite3
from collections.abc import Collection, Iterator
from functools import cache
from itertools import chain, repeat
from typing import Any, Final

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
        last = first + count * width
        yield connection.execute(_statement(name, width, count), values[first:last])
        first = last


def _counts(rows: int) -> Iterator[int]:
    """How many of *rows* go with each statement."""
    for together in _TOGETHER:
        yield from repeat(together, rows // together)
        rows %= together
    if rows:
        yield rows


@cache
def _statement(name: str, width: int, count: int) -> str:
    row = f"({', '.join('?' * width)})"
    values: Any = ", ".join([row] * count)
    return statements("sqlite")[name].replace(":rows", values)
