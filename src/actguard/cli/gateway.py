"""`actguard gateway`: start the server, with everything it needs."""

import errno
import logging
import shlex
import socket
from typing import Any

import click

from actguard.cli.database import in_micros


@click.command()
@click.option(
    "--database",
    envvar="ACTGUARD_DATABASE",
    show_envvar=True,
    help="A file, or postgresql://USER@HOST/NAME for several processes. [default: a file in your state folder]",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", default=8085, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1, 64), help="Processes; needs Postgres.")
@click.option("--time-zone", default=None, help="Where days and months begin, for a new database. [default: UTC]")
@click.option(
    "--default-hold",
    default="10",
    show_default=True,
    callback=in_micros,
    help="Dollars held, at most, where no limit is named.",
)
@click.option(
    "--default-hold-tokens",
    default=1_000_000,
    show_default=True,
    type=click.IntRange(1, 10**12),
    help="The same, in tokens, where a token budget applies.",
)
@click.option(
    "--hold-ttl", default=900, show_default=True, type=click.IntRange(1, 86_400), help="Seconds a hold lives."
)
@click.option(
    "--rate-limit", default=0.0, type=click.FloatRange(0), help="Requests a second for each key. [default: any]"
)
@click.option(
    "--keep-events", default=30, show_default=True, type=click.IntRange(1, 36_500), help="Days; their sums stay."
)
@click.option(
    "--log-level",
    default="info",
    show_default=True,
    type=click.Choice(["debug", "info", "warning", "error"]),
    help="What is logged; debug: also requests that were answered well.",
)
def command(
    database: str | None,
    host: str,
    port: int,
    workers: int,
    time_zone: str | None,
    default_hold: int,
    default_hold_tokens: int,
    hold_ttl: int,
    rate_limit: float,
    keep_events: int,
    log_level: str,
) -> None:
    """Start the gateway.

    Without options: on this machine, port 8085, with a SQLite file in your state folder. The first start prints two
    keys, one for agents and one for you; keep them, they are shown once.
    """
    if not host:  # to a socket, that is every address of the machine
        raise click.BadParameter("name an address; 0.0.0.0 is every one of this machine", param_hint="'--host'")
    try:
        from actguard.gateway.serve import Server
    except ImportError as error:
        message = f"The gateway needs {error.name}, which is not installed: pip install 'actguard[gateway]'"
        raise click.ClickException(message) from error
    from actguard.gateway.accounts import Invalid
    from actguard.gateway.config import Settings
    from actguard.gateway.storage.store import StoreError

    settings = Settings(
        database=database,
        default_hold_micros=default_hold,
        default_hold_tokens=default_hold_tokens,
        hold_ttl_s=hold_ttl,
        rate_limit=rate_limit,
        events_kept_days=keep_events,
        log_level=log_level,
    )
    try:
        server = Server(settings, host=host, port=port, workers=workers)
        try:
            first = server.prepare(time_zone)
        except OSError as error:
            raise _not_listening(error, host, port) from error
        if time_zone is not None and first is None:
            click.echo("--time-zone is for a new database; PUT /api/v1/workspace changes this one's.", err=True)
        for line in _greeting(server, first, database):
            click.echo(line)
        server.run()
    except (StoreError, Invalid) as error:
        raise click.ClickException(str(error)) from error
    logging.shutdown()


def _not_listening(error: OSError, host: str, port: int) -> click.ClickException:
    nowhere = isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL
    other = "--host" if nowhere else "--port"
    return click.ClickException(
        f"The gateway cannot listen on {host}:{port}: {error.strerror or error}. Choose another {other}."
    )


def _greeting(server: Any, first: Any, database: str | None) -> list[str]:
    named = "" if database is None else f" --database {'postgresql://...' if server.shared else shlex.quote(database)}"
    lines = [f"actguard gateway on {server.url} ({server.where})"]
    if first is not None:
        lines += [
            "",
            "The first keys. They are shown once:",
            f"  for agents   {first.agent.key.text}",
            f"  for you      {first.admin.key.text}",
            "",
            "In a program:",
            f'  client = actguard.Client(gateway_url="{server.url}", api_key="ag_live_...")',
            "A budget:",
            f"  actguard budgets set workspace --usd 50 --per day{named}",
        ]
    return lines
