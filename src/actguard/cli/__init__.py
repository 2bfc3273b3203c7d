"""The command line: `actguard`. Each command is in a file of its own and is loaded when it is called."""

import importlib
import importlib.util
import sys
import traceback
from typing import Any, Final

import click

COMMANDS: Final = {
    "run": ("actguard.cli.run", "Run a Python program under a budget, without changing it."),
    "gateway": ("actguard.cli.gateway", "Start the gateway: one budget for many processes."),
    "keys": ("actguard.cli.keys", "Make, list and revoke the gateway's keys."),
    "budgets": ("actguard.cli.budgets", "Set, list and remove budgets; pay in."),
    "spend": ("actguard.cli.spend", "What was charged, and to whom."),
    "prices": ("actguard.cli.prices", "What a model costs; check a file of prices."),
    "spool": ("actguard.cli.spool", "What could not be delivered to the gateway yet."),
}
"""By name: the module that holds it under `command`, and its line in the help."""


class _Lazy(click.Group):
    """Knows its commands by name, and imports the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name, (module, _) in COMMANDS.items() if importlib.util.find_spec(module) is not None]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        try:
            command: click.Command = importlib.import_module(COMMANDS[cmd_name][0]).command
        except ModuleNotFoundError as missing:
            if (missing.name or "").startswith("actguard"):
                raise
            needed = f"actguard {cmd_name} needs {missing.name}, which is not installed"
            raise click.ClickException(f"{needed}: pip install 'actguard[gateway]'") from missing
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in self.list_commands(ctx)])


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.version_option(package_name="actguard", prog_name="actguard")
@click.pass_context
def cli(ctx: click.Context, debug: bool) -> None:
    """Hard edges for LLM agents: budgets in a program, and one budget for many of them."""
    ctx.obj = {"debug": debug}


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line; an error is one line, unless --debug asks for more."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        return cli.main(args=arguments, prog_name="actguard", standalone_mode=False)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.Abort:
        click.echo("Aborted.", err=True)
        sys.exit(130)
    except click.ClickException as error:
        if _debugs(given):
            traceback.print_exc()
        _tell(error)
        sys.exit(error.exit_code)
    except Exception as error:  # noqa: BLE001 - the last one to see it; a user gets a line, --debug the rest
        if _debugs(given):
            traceback.print_exc()
        click.echo(f"Error: {str(error) or type(error).__name__}", err=True)
        sys.exit(1)


def _tell(error: click.ClickException) -> None:
    """Show *error*: a wrong use in one line too, with where to read on, and not below the usage of the command."""
    if not isinstance(error, click.UsageError) or type(error).show is not click.UsageError.show:
        error.show()  # one line; or the help, for who named no command
        return
    where = f" See {error.ctx.command_path} --help." if error.ctx is not None else ""
    click.echo(f"Error: {error.format_message().rstrip('.')}.{where}", err=True)


def _debugs(arguments: list[str]) -> bool:
    """Whether --debug stands before the command; behind `run`, it is the program's."""
    for argument in arguments:
        if not argument.startswith("-"):
            return False
        if argument == "--debug":
            return True
    return False
