"""`actguard budgets`: set, list, remove, pay in."""

import json
import time

import click

from actguard.cli.database import database_options, dollars, in_micros, opened, show
from actguard.gateway import accounts
from actguard.gateway.ledger.windows import WINDOW_KINDS

_SCOPES = click.Choice(["workspace", "agent", "user", "plan"])
_per = click.option(
    "--per",
    "window",
    default="month",
    show_default=True,
    type=click.Choice([*WINDOW_KINDS]),
    help="When it begins anew; total: never.",
)


@click.group()
def command() -> None:
    """Limits that all processes share: for the workspace, an agent, a user, or each user of a plan."""


@command.command("set")
@click.argument("scope", type=_SCOPES)
@click.argument("key", default="")
@click.option("--usd", callback=in_micros, help="Dollars.")
@click.option("--tokens", type=click.IntRange(0, 10**12), help="Tokens, input and output together.")
@_per
@click.option("--observe", is_flag=True, help="Count, and refuse nobody.")
@database_options
def set_budget(
    scope: str,
    key: str,
    usd: int | None,
    tokens: int | None,
    window: str,
    observe: bool,
    database: str | None,
    workspace: str,
    as_json: bool,
) -> None:
    """Limit what may be spent: by all, by an agent, by a user, or by each user of a plan.

    KEY is the agent, the user (* for each user), or the plan; the workspace has none.

    \b
    actguard budgets set workspace --usd 50 --per day
    actguard budgets set user alice --usd 5 --per month
    actguard budgets set plan free --tokens 100000 --per day
    """
    if usd is None and tokens is None:
        raise click.UsageError("Name a limit: --usd, --tokens, or both.")
    now = time.time_ns() // 1000
    with opened(database) as store:
        store.write(
            lambda t: accounts.put_budget(
                t,
                accounts.workspace_id(t, workspace),
                scope=scope,
                key=key,
                window=window,
                usd=usd,
                tokens=tokens,
                observe=observe,
                now=now,
            )
        )
    _list(database, workspace, as_json)


@command.command("list")
@database_options
def list_budgets(database: str | None, workspace: str, as_json: bool) -> None:
    """All budgets, with what is spent and held now."""
    _list(database, workspace, as_json)


@command.command()
@click.argument("scope", type=_SCOPES)
@click.argument("key", default="")
@_per
@database_options
def remove(scope: str, key: str, window: str, database: str | None, workspace: str, as_json: bool) -> None:
    """Remove a budget. What was counted stays, and counts again if it is set anew in the same window."""
    with opened(database) as store:
        number = store.read(lambda t: accounts.workspace_id(t, workspace))
        removed = store.write(
            lambda t: t.run("remove_budget", workspace=number, scope=scope, scope_key=key, window_kind=window)
        )
    if not removed:
        raise click.ClickException("There is no such budget; see actguard budgets list.")
    click.echo(json.dumps({"status": "removed"}) if as_json else "Removed.")


def _paid(context: click.Context, option: click.Parameter, usd: str) -> int:
    micros = in_micros(context, option, usd)
    if not micros:
        raise click.BadParameter("nothing would be paid in, and every run would need it", param=option)
    return micros


@command.command()
@click.argument("usd", callback=_paid)
@database_options
def credit(usd: int, database: str | None, workspace: str, as_json: bool) -> None:
    """Pay USD dollars in. Once there is a prepaid balance, runs need it."""
    now = time.time_ns() // 1000
    with opened(database) as store:
        number = store.read(lambda t: accounts.workspace_id(t, workspace))
        store.write(lambda t: t.run("add_credit", workspace=number, usd=usd, now=now))
        found = store.read(lambda t: accounts.balance(t, number, now))
    click.echo(json.dumps(found, indent=2) if as_json else f"The balance is {dollars(found['balance_micros'])}.")


def _list(database: str | None, workspace: str, as_json: bool) -> None:
    with opened(database) as store:
        now = store.now()
        found = store.read(lambda t: accounts.budgets(t, accounts.workspace_id(t, workspace), now))
    columns = (
        ("Scope", "scope"),
        ("Key", "key"),
        ("Per", "window"),
        ("Spent", "usd_spent_micros"),
        ("Held", "usd_held_micros"),
        ("Limit", "usd_limit_micros"),
        ("Left", "usd_remaining_micros"),
        ("Tokens", "tokens_spent"),
        ("Token limit", "token_limit"),
        ("Observe", "observe"),
        ("Resets", "resets_at"),
    )
    show(
        found, columns, as_json=as_json, empty="There are no budgets: actguard budgets set workspace --usd 50 sets one."
    )
