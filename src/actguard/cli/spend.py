"""`actguard spend`: what was charged."""

import json
from datetime import UTC, datetime, timedelta

import click

from actguard.cli.database import database_options, dollars, opened, show
from actguard.gateway import accounts, reports
from actguard.gateway.ledger.windows import SECOND


@click.command()
@click.option("--by", default="agent", show_default=True, type=click.Choice([*reports.BY]), help="How to divide it.")
@click.option("--days", default=30, show_default=True, type=click.IntRange(1, 3650), help="How far back.")
@database_options
def command(by: str, days: int, database: str | None, workspace: str, as_json: bool) -> None:
    """What was charged, by agent, user, plan, model, provider, scope, tool, run or day."""
    until = datetime.now(UTC) + timedelta(days=1)
    since = until - timedelta(days=days + 1)
    first, last = (int(moment.timestamp()) * SECOND for moment in (since, until))
    with opened(database) as store:
        number = store.read(lambda t: accounts.workspace_id(t, workspace))
        found = store.read(lambda t: reports.spend(t, number, first, last, by, reports.zone_of(t, number)))
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    rows = found["groups"]
    if found["unattributed_micros"]:
        rows = [*rows, {"key": "(unattributed)", "usd_micros": found["unattributed_micros"]}]
    columns = ((by.capitalize(), "key"), ("Spent", "usd_micros"), ("Tokens", "tokens"), ("Charges", "charges"))
    show(rows, columns, as_json=False, empty="Nothing was charged.")
    if rows:
        click.echo(f"Total {dollars(found['usd_micros'])} in {days} days.")
