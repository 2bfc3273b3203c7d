"""`actguard keys`: make, list and revoke."""

import json
import time

import click

from actguard.cli.database import database_options, opened, show
from actguard.gateway import accounts


@click.group()
def command() -> None:
    """Make, list and revoke keys. A key names one agent in one workspace."""


@command.command()
@click.argument("agent")
@click.option("--admin", is_flag=True, help="May also manage keys, budgets and spend over HTTP.")
@click.option("--new-workspace", is_flag=True, help="Make the workspace, if there is none of this name.")
@click.option("--time-zone", default="UTC", show_default=True, help="Of a new workspace.")
@database_options
def create(
    agent: str, admin: bool, new_workspace: bool, time_zone: str, database: str | None, workspace: str, as_json: bool
) -> None:
    """Make a key for AGENT. It is shown once, and cannot be shown again."""
    if not agent or len(agent) > 200 or not agent.isprintable():
        raise click.BadParameter("an agent's name is up to 200 printable characters", param_hint="AGENT")
    now = time.time_ns() // 1000
    with opened(database, create=True) as store:
        if new_workspace or workspace == accounts.FIRST_WORKSPACE:
            store.write(lambda t: accounts.add_workspace(t, workspace, time_zone, now))
        number = store.read(lambda t: accounts.workspace_id(t, workspace))
        role = "admin" if admin else "agent"
        created = store.write(lambda t: accounts.create_key(t, number, agent, role, now))
    if as_json:
        said = {"key_id": created.key.key_id, "agent": agent, "role": role, "key": created.key.text}
        click.echo(json.dumps(said, indent=2))
    else:
        click.echo(created.key.text)


@command.command("list")
@database_options
def list_keys(database: str | None, workspace: str, as_json: bool) -> None:
    """All keys, without their secrets."""
    with opened(database) as store:
        found = store.read(lambda t: accounts.keys(t, accounts.workspace_id(t, workspace)))
    columns = (
        ("Key", "key_id"),
        ("Agent", "agent"),
        ("Role", "role"),
        ("Made", "created_at"),
        ("Revoked", "revoked_at"),
    )
    show(found, columns, as_json=as_json, empty="There are no keys: actguard keys create AGENT makes one.")


@command.command()
@click.argument("key_id")
@database_options
def revoke(key_id: str, database: str | None, workspace: str, as_json: bool) -> None:
    """Revoke a key. It stops within a second, on every gateway."""
    named = key_id.removeprefix("ag_live_").partition(".")[0]
    now = time.time_ns() // 1000
    with opened(database) as store:
        number = store.read(lambda t: accounts.workspace_id(t, workspace))
        revoked = store.write(lambda t: t.run("revoke_key", workspace=number, key_id=named, now=now))
    if not revoked:
        raise click.ClickException(f"There is no key {named!r} to revoke in {workspace!r}; see actguard keys list.")
    click.echo(json.dumps({"key_id": named, "status": "revoked"}) if as_json else f"Revoked {named}.")
