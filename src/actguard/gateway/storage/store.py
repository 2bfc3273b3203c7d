"""What a store is: transactions that run named statements, and a ledger session inside one of them."""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cache
from importlib.resources import files
from typing import Any, Final, Protocol, TypeVar

from actguard.gateway.ledger.batch import Session, run
from actguard.gateway.ledger.operations import Operation, Reply

Row = tuple[Any, ...]
EventKey = tuple[int, str]
"""The workspace and the id of an event."""
T = TypeVar("T")

ATTEMPTS: Final = 8
"""How often a batch is begun anew when it has crossed another process's."""


class StoreError(Exception):
    """The store cannot be used as it is; the message is one sentence that says what to do."""


class StoreDown(StoreError):  # noqa: N818 - a state that passes
    """The store does not answer now. Nothing is known to have been written; the same request may be sent again."""


class Crossed(Exception):  # noqa: N818 - no failure: what another process has just written
    """Another process wrote a row that this transaction did not know of: begin anew, and it is known."""


class Transaction(Protocol):
    """Statements by their names, parameters by theirs."""

    def rows(self, name: str, /, **parameters: Any) -> list[Row]: ...

    def run(self, name: str, /, **parameters: Any) -> int:
        """How many rows it has changed."""
        ...

    def run_many(self, name: str, rows: Sequence[Row]) -> int:
        """The same for many *rows* at once: SQLite reads them in place of `:rows`, Postgres as columns a, b, c, ..."""
        ...

    def add_event_ids(self, keys: Collection[EventKey]) -> set[EventKey]:
        """Note events as stored. No two of *keys* are alike.

        Returns those that were known: of what another process is storing at the same moment, too.
        """
        ...


class Store(ABC):
    """A database. `writing` belongs to one thread, the writer's; `reading` may be used from any."""

    kind: str
    shared: bool
    """Whether several gateways may use it at once."""

    @abstractmethod
    def open(self) -> None:
        """Connect, and bring an older schema up to date. Raises `StoreError` in a sentence that says what to do."""

    @abstractmethod
    def close(self) -> None: ...

    @abstractmethod
    def writing(self) -> AbstractContextManager[Transaction]:
        """A transaction that is durable once it is left, and undone when it is left by an exception."""

    @abstractmethod
    def reading(self) -> AbstractContextManager[Transaction]: ...

    @abstractmethod
    def session(self) -> AbstractContextManager[Session]:
        """A `writing` transaction for the ledger."""

    @abstractmethod
    def now(self) -> int:
        """The clock that the ledger goes by, in microseconds."""

    def maintain(self) -> None:  # noqa: B027 - a store need not do anything
        """What is to be done now and then; from any thread."""

    def apply(self, operations: Sequence[Operation]) -> list[Reply]:
        """Apply a batch in one transaction. When this returns, what it says is durable."""
        replies: list[Reply] | None = None
        while replies is None:
            replies = self.retrying(lambda: self._apply(operations))
        return replies

    def write(self, work: Callable[[Transaction], T]) -> T:
        """Do *work* in one transaction, from its beginning again when it has crossed another."""

        def once() -> T:
            with self.writing() as transaction:
                return work(transaction)

        return self.retrying(once)

    def read(self, work: Callable[[Transaction], T]) -> T:
        with self.reading() as transaction:
            return work(transaction)

    def _apply(self, operations: Sequence[Operation]) -> list[Reply] | None:
        with self.session() as session:
            return run(session, operations)

    @staticmethod
    def retrying(work: Callable[[], T]) -> T:
        for _ in range(ATTEMPTS - 1):
            try:
                return work()
            except Crossed:
                continue
        try:
            return work()
        except Crossed as crossed:
            raise StoreDown("Too many processes write the same rows at once; try again.") from crossed


@cache
def statements(folder: str) -> Mapping[str, str]:
    """The statements of `<folder>/*.sql`, each after a line `-- name: ...`, with the shared ones beside them."""
    here = files("actguard.gateway.storage")
    names = ("queries.sql", "rollups.sql")
    text = "".join(place.joinpath(name).read_text() for place in (here, here / folder) for name in names)
    parts = re.split(r"^-- name: (\w+)\n", text, flags=re.MULTILINE)
    return {name: body.strip().rstrip(";") for name, body in zip(parts[1::2], parts[2::2], strict=True)}


@cache
def migrations(folder: str) -> Sequence[tuple[int, str, str]]:
    """The numbered files of `<folder>`: number, name and text, in order."""
    found: list[tuple[int, str, str]] = []
    for file in files("actguard.gateway.storage").joinpath(folder).iterdir():
        number = re.match(r"(\d{4})_\w+\.sql$", file.name)
        if number:
            found.append((int(number[1]), file.name, file.read_text()))
    return sorted(found)


def newer_schema(found: int, known: int) -> StoreError:
    return StoreError(
        f"The database has schema {found}, and this version of actguard knows schemas up to {known}: "
        "start the newer version that wrote it, or restore a backup from before the upgrade."
    )
