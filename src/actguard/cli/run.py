"""`actguard run`: a Python program under a budget, without changing it.

The program runs in this process, as `python SCRIPT` or `python -m MODULE` would run it: its own `__main__`, arguments
and import path, its exit status, its tracebacks. Around it is a run of `Client.from_env()`, so that a gateway and
events are those of the environment. What it says about the budget goes to standard error.
"""

import builtins
import importlib.util
import os
import re
import runpy
import sys
import threading
import types
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import click

from actguard.budget.guard import BudgetGuard
from actguard.budget.pricing import prices as price_book
from actguard.exceptions import ActGuardError, ActGuardUsageError, BudgetExceededError, NestedRuntimeContextError
from actguard.runtime.client import Client
from actguard.runtime.remote import GatewayWarning

_OPTIONS = {
    "usd_limit": "--usd",
    "token_limit": "--tokens",
    "user_id": "--user",
    "name": "--name",
    "plan_key": "--plan",
    "events_file": "--events",
}
"""By the argument that an error names: what was written for it here."""
_MODULE = re.compile(r"-q*m(.*)")
"""`-m MODULE`, `-mMODULE`, `-qm MODULE`."""


class _LikePython(click.Command):
    """Everything behind the script, or behind `-m MODULE`, is the program's."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        with_value = {name for option in self.params for name in option.opts if not getattr(option, "is_flag", False)}
        index = 0
        while index < len(args) and args[index].startswith("-") and args[index] != "--":
            if found := _MODULE.fullmatch(args[index]):
                last = index + (1 if found[1] else 2)
                args = [*args[:last], "--", *args[last:]]
                break
            index += 2 if args[index] in with_value else 1
        return super().parse_args(ctx, args)


@click.command(cls=_LikePython, context_settings={"allow_interspersed_args": False})
@click.option("--usd", type=float, help="Dollars it may spend.")
@click.option("--tokens", type=int, help="Tokens it may use, input and output together.")
@click.option("--strict", is_flag=True, help="Never let spend pass a limit, whatever runs at once.")
@click.option("--user", help="For whom it runs.")
@click.option("--name", help="How the budget is called in messages. [default: the program's name]")
@click.option("--plan", help="The plan whose budget applies, as the gateway knows it.")
@click.option(
    "--prices", "price_file", type=click.Path(path_type=Path), help="A file of prices; see actguard prices check."
)
@click.option("--events", type=click.Path(path_type=Path), help="A file to append events to, as lines of JSON.")
@click.option("--quiet", "-q", is_flag=True, help="No summary at the end.")
@click.option("-m", "module", metavar="MODULE", help="Run a module, as python -m does.")
@click.argument("program", nargs=-1, type=click.UNPROCESSED, metavar="[SCRIPT] [ARGS]...")
@click.pass_context
def command(
    ctx: click.Context,
    usd: float | None,
    tokens: int | None,
    strict: bool,
    user: str | None,
    name: str | None,
    plan: str | None,
    price_file: Path | None,
    events: Path | None,
    quiet: bool,
    module: str | None,
    program: tuple[str, ...],
) -> None:
    """Run a Python program under a budget, without changing it.

    \b
    actguard run --usd 1 script.py --its-own args
    actguard run --tokens 100000 --strict --user alice -m package.module
    """
    if module is None and not program:
        raise click.UsageError("Name a script, or a module with -m.", ctx)
    if module is None and not Path(program[0]).exists():
        raise click.UsageError(f"There is no file {program[0]!r} to run.", ctx)
    if module is not None:
        sys.path[0] = os.getcwd()
        if not _exists(module.partition(".")[0]):  # the rest of a name is found by importing, which is the program's
            raise click.UsageError(f"There is no module {module!r} to run.", ctx)
    if price_file is not None:
        from actguard.cli.prices import load

        if mistakes := load(price_file, price_book):
            raise click.ClickException(f"{price_file}: {mistakes[0]}. See actguard prices check {price_file}")
    what = module or Path(program[0]).resolve().name or program[0]
    try:
        client = Client.from_env() if events is None else Client.from_env(events_file=events)
        guard = client.budget_guard(
            user_id=user, usd_limit=usd, token_limit=tokens, strict=strict, name=name or what, plan_key=plan
        )
    except ActGuardUsageError as wrong:
        option = _OPTIONS.get(wrong.argument or "")
        raise click.UsageError(f"{option}: {wrong.message}" if option else wrong.message, ctx) from wrong
    sys.exit(_run(client, guard, user, module, program, quiet=quiet))


def _run(
    client: Client, guard: BudgetGuard, user: str | None, module: str | None, program: tuple[str, ...], *, quiet: bool
) -> int:
    """Run it, and return its exit status."""
    status, process = 0, os.getpid()
    _say_plainly_that_the_gateway_is_away()
    try:
        with client, client.run(user_id=user), guard, _passing(guard):
            try:
                _execute(module, program)
            except SystemExit:
                _wait_for_threads()
                raise
            _wait_for_threads()
    except SystemExit as done:
        status = _status(done)
    except BudgetExceededError as error:
        click.echo(f"actguard: {error}", err=True)
        status = 1
    except KeyboardInterrupt as interrupt:
        _show(interrupt)
        status = 130
    except NestedRuntimeContextError:
        click.echo(
            "actguard: the program enters a run of its own, inside the one of `actguard run`: "
            "start it with python, or take the run out of it.",
            err=True,
        )
        status = 1
    except ActGuardError as error:
        click.echo(f"actguard: {error}", err=True)
        status = 1
    except BaseException as error:  # noqa: BLE001 - the program's own: shown as Python shows it
        _show(error)
        status = 1
    if not quiet and guard.account is not None and process == os.getpid():  # a forked child ends here, too
        _flush()
        with suppress(OSError, ValueError):  # closed: nobody reads it
            click.echo(_summary(guard), err=True)
    return status


def _say_plainly_that_the_gateway_is_away() -> None:
    """The line of code that Python would show with it is this command's own."""
    shown = warnings.formatwarning

    def formatted(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
    ) -> str:
        if issubclass(category, GatewayWarning):
            return f"actguard: {message}\n"
        return shown(message, category, filename, lineno, line)

    warnings.formatwarning = formatted


@contextmanager
def _passing(guard: BudgetGuard) -> Generator[None]:
    """Let the program's exit be what it is: a refusal that it has dealt with is no reason to end otherwise."""
    try:
        yield
    except Exception as error:
        blocked = guard.account.standing_block() if guard.account is not None else None
        if blocked is None or isinstance(error, BudgetExceededError):
            raise
        _show(error)  # it came of the refusal; both are shown, as nothing else would tell where
        raise blocked from error


def _execute(module: str | None, program: tuple[str, ...]) -> None:
    arguments = program if module is not None else program[1:]
    if module is not None:
        sys.argv = [module, *arguments]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        return
    path = Path(program[0]).absolute()  # as Python has it in __file__: the program may change its folder
    sys.argv = [program[0], *arguments]
    if path.is_dir() or path.suffix in (".zip", ".pyz", ".pyc"):
        runpy.run_path(str(path), run_name="__main__")
        return
    sys.path[0] = str(path.resolve().parent)
    main = types.ModuleType("__main__")
    main.__dict__.update(__file__=str(path), __builtins__=builtins)
    sys.modules["__main__"] = main
    exec(compile(path.read_bytes(), str(path), "exec", dont_inherit=True), main.__dict__)


def _exists(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ValueError:  # no name at all
        return False


def _wait_for_threads() -> None:
    """Python waits for them too; what they spend belongs to the program.

    Those of a pool that nobody has shut down wait for work for ever, until Python's end tells them that there is none.
    """
    endings: list[Callable[[], object]] = getattr(threading, "_threading_atexits", [])
    for end in reversed(endings):
        end()
    while others := [
        thread for thread in threading.enumerate() if not thread.daemon and thread is not threading.current_thread()
    ]:
        others[0].join()


def _status(done: SystemExit) -> int:
    code: Any = done.code
    if code is None or isinstance(code, int):
        return code or 0
    _flush()
    click.echo(str(code), err=True)
    return 1


def _show(error: BaseException) -> None:
    """The traceback as Python shows it, beginning in the program."""
    here, trace = Path(__file__).name, error.__traceback__
    while trace is not None and Path(trace.tb_frame.f_code.co_filename).name in (here, "runpy.py", "<frozen runpy>"):
        trace = trace.tb_next
    _flush()
    sys.excepthook(type(error), error.with_traceback(trace), trace)


def _flush() -> None:
    with suppress(OSError, ValueError):  # closed: nobody reads it
        sys.stdout.flush()


def _summary(guard: BudgetGuard) -> str:
    said = repr(guard).removeprefix("<BudgetGuard ").removesuffix(">")
    models = ", ".join(f"{model} ${found['usd']:.4f}" for model, found in guard.by_model.items())
    return f"actguard: {said}{f' ({models})' if len(guard.by_model) > 1 else ''}"
