"""`actguard spool`: what could not be delivered to a gateway yet."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from actguard.exceptions import ActGuardUsageError
from actguard.runtime.client import Client
from actguard.transport.spool import Waiting, default_root, look, read_entries

_folder = click.option(
    "--spool-dir", type=click.Path(path_type=Path), help="Where it is, if a Client was given another spool_dir."
)


@click.group()
def command() -> None:
    """What programs spent while the gateway was away, and what it would not take."""


@command.command()
@_folder
@click.option("--json", "as_json", is_flag=True, help="JSON instead of lines.")
def show(spool_dir: Path | None, as_json: bool) -> None:
    """Show what waits."""
    found = [waiting for waiting in look(_root(spool_dir)) if waiting.entries or waiting.refused]
    if as_json:
        click.echo(json.dumps([_as_json(waiting) for waiting in found], indent=2))
        return
    if not found:
        click.echo(f"Nothing waits in {_root(spool_dir)}.")
    for waiting in found:
        click.echo(f"{waiting.gateway_url} ({waiting.key_id}): {len(waiting.entries)} to deliver")
        for entry in waiting.entries:
            click.echo(f"  {_when(entry.at)}  run {entry.body.get('run_id', '-')}  {_usd(entry.body)}")
        for record in waiting.refused:
            body = record.get("body", {})
            click.echo(f"  refused: run {body.get('run_id', '-')}  {_usd(body)}  {record.get('reason', '')}")


@command.command()
@_folder
def deliver(spool_dir: Path | None) -> None:
    """Deliver what waits for one gateway.

    It is the one that ACTGUARD_GATEWAY_URL and ACTGUARD_API_KEY name, or ACTGUARD_CONFIG.
    """
    try:
        client = Client.from_env() if spool_dir is None else Client.from_env(spool_dir=spool_dir)
    except ActGuardUsageError as wrong:
        raise click.ClickException(wrong.message) from wrong
    with client:
        if client.remote is None:
            raise click.ClickException(
                "Say which gateway: ACTGUARD_GATEWAY_URL and ACTGUARD_API_KEY, or ACTGUARD_CONFIG."
            )
        spool = client.remote.spool
        before = _count(spool.segments())
        delivered = client.remote.courier.deliver_all()
        left = _count(spool.segments())
    click.echo(f"{before - left} delivered, {left} left.")
    if not delivered:
        raise click.ClickException(f"The gateway at {client.config.gateway_url} could not be told everything.")


def _count(segments: list[Path]) -> int:
    return sum(len(read_entries(segment)) for segment in segments)


def _root(spool_dir: Path | None) -> Path:
    return spool_dir or default_root(os.environ)


def _as_json(waiting: Waiting) -> dict[str, object]:
    return {
        "gateway_url": waiting.gateway_url,
        "key_id": waiting.key_id,
        "folder": str(waiting.folder),
        "waiting": [entry.line() for entry in waiting.entries],
        "refused": waiting.refused,
    }


def _when(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if at else "-"


def _usd(body: dict[str, Any]) -> str:
    micros = sum(line.get("usd_micros", 0) for line in body.get("usage_breakdown", ()))
    return f"${micros / 1_000_000:.6f}"
