"""Whom a guard counts for: a scope, compiled into what makes the key of a call.

    scope=None                       everybody together
    scope="user_id"                  an argument, or a path into one: "ctx.user.id"
    scope="run.user_id"              the run that the call is made in
    scope=lambda *args, **kwargs: …  what a function makes of the call's arguments
    scope=("user_id", "region")      several together

A value that is missing, or has no stable text, refuses the call: it is never counted for somebody else.
"""

from collections.abc import Callable, Mapping
from typing import Any, cast

from actguard.exceptions import ScopeValidationError, ScopeValueError
from actguard.pipeline import arguments, settings
from actguard.pipeline.arguments import MISSING, Getter
from actguard.pipeline.guard import called
from actguard.pipeline.target import Target
from actguard.stores.keys import LONGEST, encode, prefix

Scope = str | Callable[..., Any] | tuple[str | Callable[..., Any], ...] | None
KeyMaker = Callable[[tuple[Any, ...], Mapping[str, Any]], str]


def check_scope(scope: Any) -> None:
    """Refuse what is no scope at all.

    Raises:
        ScopeValidationError: says what is.
    """
    parts = scope if isinstance(scope, tuple) and scope else (scope,)  # pyright: ignore[reportUnknownVariableType]
    for part in parts:  # pyright: ignore[reportUnknownVariableType]
        if not (scope is None or callable(part) or (isinstance(part, str) and part)):  # pyright: ignore[reportUnknownArgumentType]
            raise ScopeValidationError(
                f"scope must be a parameter's name, a path, a callable, or a tuple of these, not {scope!r}",
                argument="scope",
            )
        if callable(part):  # pyright: ignore[reportUnknownArgumentType]
            called("scope", part)


def key_prefix(kind: str, name: str) -> str:
    """What every key of a guard starts with, under the settings of now."""
    now = settings.current()
    return prefix(now.app, now.env, kind, name)


def own_name(target: Target, *counts: Any, scope: Scope = None) -> str:
    """What a guard that was given no name counts under: its function, and what it *counts* there, so that two of one
    kind on a function do not count for each other: a user's calls for those of a tenant who has the same id, say."""
    told = [str(one) for one in counts] + ([] if scope is None else [_named(scope)])
    return " ".join([target.tool_id, *told])


def key_maker(target: Target, scope: Scope, begin: str) -> KeyMaker:
    """What makes the key of a call, which starts with *begin*.

    Raises:
        ScopeValidationError: the scope names a parameter that the function does not have.
    """
    if scope is None:
        return lambda args, kwargs: begin
    if isinstance(scope, tuple):
        readers = tuple(_reader(target, part) for part in scope)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
        read: Getter = lambda args, kwargs: tuple(reader(args, kwargs) for reader in readers)  # noqa: E731
    else:
        read = _reader(target, scope)
    begin_text = begin + "s:"
    plain = arguments.position(target, scope) if isinstance(scope, str) else None
    if plain is not None:
        index, name, default = plain

        def plain_key(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
            value = args[index] if len(args) > index else kwargs.get(name, default)
            if type(value) is str and len(value) <= LONGEST:
                return begin_text + value
            return key(args, kwargs)

    def key(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
        value = read(args, kwargs)
        if type(value) is str and len(value) <= LONGEST:
            return begin_text + value
        try:
            return begin + encode(value)
        except (TypeError, ValueError) as error:
            raise unfit(target, cast("Scope", scope), value, error) from None

    return key if plain is None else plain_key  # pyright: ignore[reportPossiblyUnboundVariable]


def unfit(target: Target, scope: Scope, value: Any, error: Exception) -> ScopeValueError:
    """The refusal of a value that cannot tell callers apart. Never shows the value itself."""
    if value is MISSING or value is None or (isinstance(value, tuple) and any(v in (None, MISSING) for v in value)):  # pyright: ignore[reportUnknownVariableType]
        message = f"{target.name} is guarded for each {_named(scope)}, and this call has none."
    else:
        message = (
            f"{target.name} is guarded for each {_named(scope)}, whose value here has no stable text ({error}): "
            "use an id, or a callable that returns one."
        )
    refusal = ScopeValueError(message)
    refusal.tool = target.name
    return refusal


def counted(count: int, what: str) -> str:
    """For `explain`: "1 call", "3 calls"."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def described(scope: Scope) -> str:
    """For `explain`."""
    return "" if scope is None else f" for each {_named(scope)}"


def _named(scope: Any) -> str:
    if isinstance(scope, tuple):
        return " and ".join(_named(part) for part in scope)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    return repr(scope) if isinstance(scope, str) else getattr(scope, "__name__", "scope")


def _reader(target: Target, part: str | Callable[..., Any]) -> Getter:
    if isinstance(part, str):
        return arguments.getter(target, part, argument="scope", error=ScopeValidationError)
    return arguments.bound(target, part)
