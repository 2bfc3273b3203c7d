"""`actguard prices`: what a model costs, and whether a file of prices is right.

A file of prices is JSON or TOML:

    {"models": {"our-finetune": {"input": 3, "output": 12, "per": "1M"}},
     "hosts": {"localhost:11434": {"free": true}},
     "unknown": "refuse"}

Under `models` and `hosts` stand the arguments of `actguard.prices.set` and `actguard.prices.host`.
"""

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import click

from actguard.budget.price import Price
from actguard.budget.pricing import PriceBook, prices
from actguard.exceptions import ActGuardUsageError
from actguard.money import PICO_PER_USD

_SECTIONS = ("models", "hosts", "unknown")


class _ByDefaultShow(click.Group):
    """`actguard prices gpt-4o` means `actguard prices show gpt-4o`."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands:
            args = ["show", *args]
        return super().resolve_command(ctx, args)


@click.group(cls=_ByDefaultShow)
def command() -> None:
    """What a model costs: actguard prices MODEL. Or check a file of prices: actguard prices check FILE."""


@command.command()
@click.argument("model")
@click.option("--provider", help="Whose price; by default its own provider's.")
@click.option("--json", "as_json", is_flag=True, help="JSON instead of a line.")
def show(model: str, provider: str | None, as_json: bool) -> None:
    """What MODEL costs, and where that is known from."""
    try:
        price = prices.get(model, provider)
    except ActGuardUsageError as wrong:
        raise click.UsageError(wrong.message) from wrong
    if price is None:
        where = f" at {provider}" if provider else ""
        raise click.ClickException(
            f"No price is known for {model!r}{where}. In a program, actguard.prices.set states one; "
            "for `actguard run`, a file does: actguard prices check --help."
        )
    click.echo(json.dumps(_as_json(price), indent=2) if as_json else price.describe())


@command.command()
@click.argument("file", type=click.Path(path_type=Path))
def check(file: Path) -> None:
    """Check FILE, as `actguard run --prices FILE` reads it: JSON or TOML.

    \b
    {"models": {"our-finetune": {"input": 3, "output": 12, "per": "1M"}},
     "hosts": {"localhost:11434": {"free": true}},
     "unknown": "refuse"}

    Under models and hosts stand the arguments of actguard.prices.set and actguard.prices.host.
    """
    book = PriceBook(parent=prices)
    mistakes = load(file, book)
    if mistakes:
        count = f"{len(mistakes)} mistake{'s' if len(mistakes) > 1 else ''}"
        raise click.ClickException("\n  ".join([f"{file} has {count}:", *mistakes]))
    click.echo(book.describe())


def load(file: Path, book: PriceBook) -> list[str]:
    """State what is in *file* in *book*. Returns what is wrong with it; what is right is stated nevertheless.

    Raises:
        click.ClickException: it cannot be read, or is neither JSON nor TOML.
    """
    said = _parsed(file)
    mistakes = [
        f"{name!r} is not a section; there are {', '.join(_SECTIONS)}" for name in said if name not in _SECTIONS
    ]
    for section, state in (("models", book.set), ("hosts", book.host)):
        entries = said.get(section, {})
        if not isinstance(entries, Mapping):
            mistakes.append(f"{section} must be a mapping of names")
            continue
        for name, options in cast("Mapping[str, Any]", entries).items():
            mistakes += _stated(state, section, name, options)
    if "unknown" in said:
        try:
            book.unknown = said["unknown"]
        except ActGuardUsageError as wrong:
            mistakes.append(f"unknown: {wrong.message}")
    return mistakes


def _stated(state: Any, section: str, name: str, options: Any) -> list[str]:
    if not isinstance(options, Mapping):
        return [f"{section}, {name}: must be a mapping, such as {{'input': 3, 'output': 12}}"]
    given = dict(cast("Mapping[str, Any]", options))
    if isinstance(above := given.get("above"), Mapping):
        keys = cast("Mapping[str, Any]", above)
        given["above"] = {int(key) if key.isdigit() else key: value for key, value in keys.items()}
    try:
        state(name, **given)
    except (ActGuardUsageError, TypeError) as wrong:
        return [f"{section}, {name}: {wrong}"]
    return []


def _parsed(file: Path) -> dict[str, Any]:
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise click.ClickException(f"{file} cannot be read: {error.strerror}") from error
    try:
        said: Any = tomllib.loads(raw.decode()) if file.suffix.lower() == ".toml" else json.loads(raw)
    except (ValueError, RecursionError) as error:
        kind = "TOML" if file.suffix.lower() == ".toml" else "JSON"
        raise click.ClickException(f"{file} is not {kind}: {error}") from error
    if not isinstance(said, dict):
        raise click.ClickException(f"{file} must hold an object with {', '.join(_SECTIONS)}")
    return cast("dict[str, Any]", said)


def _as_json(price: Price) -> dict[str, Any]:
    """Dollars for a million tokens, or for one of what is not a token, by band of input tokens."""
    bands: list[dict[str, Any]] = []
    for start in price.card.starts():
        rates = {
            kind: float(rate * 10**6 / PICO_PER_USD) if kind.endswith("_tokens") else float(rate / PICO_PER_USD)
            for kind, rate in price.card.at(start).items()
        }
        bands.append({"above_input_tokens": start, "usd": rates})
    return {
        "model": price.model,
        "provider": price.provider,
        "source": price.source,
        "per_tokens": 10**6,
        "request_usd": float(price.card.request / PICO_PER_USD),
        "bands": bands,
        "valid_until": price.valid_until.isoformat() if price.valid_until else None,
    }
