"""The gateway's database, as its commands share it: how it is named, opened, and what is shown of it."""

import json
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import click

from actguard.gateway import accounts
from actguard.gateway.storage.connect import connect
from actguard.gateway.storage.sqlite.store import SqliteStore
from actguard.gateway.storage.store import Store, StoreDown, StoreError

F = TypeVar("F", bound=Callable[..., Any])
_WIDEST = 10_000


def database_options(command: F) -> F:
    """`--database`, `--workspace` and `--json`, which the commands on a database have in common."""
    command = click.option("--json", "as_json", is_flag=True, help="JSON instead of a table.")(command)
    command = click.option(
        "--workspace", default=accounts.FIRST_WORKSPACE, show_default=True, help="Whose keys, budgets and spend."
    )(command)
    return click.option(
        "--database",
        envvar="ACTGUARD_DATABASE",
        show_envvar=True,
        help="A file or postgresql://...; by default the file that `actguard gateway` uses.",
    )(command)


@contextmanager
def opened(database: str | None, *, create: bool = False) -> Generator[Store]:
    """The database, beside a gateway that may be using it.

    Args:
        create: whether to make a file that is not there.
    """
    try:
        store = connect(database, alone=False)
        if isinstance(store, SqliteStore) and not create and not store.path.exists():
            raise click.ClickException(
                f"There is no database {store.path}: name it with --database, or make one with `actguard gateway` "
                "or `actguard keys create`."
            )
        store.open()
        try:
            yield store
        finally:
            store.close()
    except (StoreError, StoreDown, accounts.Invalid) as error:
        raise click.ClickException(str(error)) from error


def show(found: Sequence[dict[str, Any]], columns: Sequence[tuple[str, str]], *, as_json: bool, empty: str) -> None:
    """Rows as a table or as JSON.

    Args:
        columns: heading and key of each column; a key that ends in `_micros` is shown in dollars.
        empty: what to say where there is nothing.
    """
    if as_json:
        click.echo(json.dumps([*found], indent=2))
        return
    if not found:
        click.echo(empty)
        return
    from rich.console import Console, ConsoleDimensions
    from rich.measure import Measurement
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading, key in columns:
        numeric = key.endswith("_micros") or isinstance(found[0].get(key), int)
        table.add_column(heading, justify="right" if numeric else "left", no_wrap=True)
    for row in found:
        table.add_row(*(Text(_cell(key, row.get(key))) for _, key in columns))
    console = Console(highlight=False)
    whole = Measurement.get(console, console.options.update(max_width=_WIDEST), table).maximum
    width = max(whole, console.width if console.is_terminal else 0)  # a line may be broken, but nothing is cut
    console.size = ConsoleDimensions(width, console.height)  # a width alone is not heeded in a terminal named dumb
    console.print(table)


def dollars(micros: int) -> str:
    """Two decimals; below a hundred dollars as many as it takes, so that what stands in a column can be added up."""
    usd = micros / 1_000_000
    if abs(usd) >= 100:
        return f"${usd:,.2f}"
    whole, _, part = f"{usd:.6f}".partition(".")
    return f"${whole}.{part.rstrip('0'):0<2}"


def in_micros(_: click.Context, option: click.Parameter, usd: str | None) -> int | None:
    """Dollars as typed for *option*, exactly: its callback."""
    from decimal import Decimal, InvalidOperation

    if usd is None:
        return None
    try:
        micros = Decimal(usd.removeprefix("$").replace(",", "")) * 1_000_000
        if not micros.is_finite() or micros < 0 or micros != int(micros) or micros > 10**15:
            raise InvalidOperation
    except InvalidOperation as error:
        message = f"{usd!r} is no amount of dollars: write 25 or 0.50, with at most six decimals"
        raise click.BadParameter(message, param=option) from error
    return int(micros)


def _cell(key: str, value: Any) -> str:
    if value is None:
        return "-"
    if key.endswith("_micros"):
        return dollars(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)
