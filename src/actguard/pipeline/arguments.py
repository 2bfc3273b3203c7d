"""How a guard reads an argument of a call: a path such as `user_id` or `ctx.user.id`, compiled once, at decoration.

A path begins with a parameter of the function (of a `**name` parameter: `name.key`), or with `run` or `session`, if no
parameter is called so. Further on it goes through mappings by key and through objects by attribute.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final, final

from actguard.context import current_frame
from actguard.exceptions import ActGuardUsageError
from actguard.pipeline.target import Target

Getter = Callable[[tuple[Any, ...], Mapping[str, Any]], Any]


@final
class Missing:
    """There is no such value in this call."""

    def __repr__(self) -> str:
        return "MISSING"

    def __bool__(self) -> bool:
        return False


MISSING: Final = Missing()


def getter(target: Target, path: str, *, argument: str, error: type[ActGuardUsageError] = ActGuardUsageError) -> Getter:
    """What reads *path* from the arguments of a call of *target*; `MISSING` where there is nothing.

    Args:
        argument: the option that *path* was given for, for the message.

    Raises:
        ActGuardUsageError: the function has no such parameter.
    """
    if not isinstance(path, str) or not path or not all(path.split(".")):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise error(f"{argument} must be a parameter's name or a dotted path, not {path!r}", argument=argument)
    first, *rest = path.split(".")
    if target.signature is None:
        raise error(
            f"{argument}={path!r}: the parameters of {target.name} are not known (it is not written in Python); "
            "give a callable that takes the call's arguments instead",
            argument=argument,
        )
    parameter = target.signature.parameters.get(first)
    if parameter is not None:
        read = _parameter(target.signature, parameter)
    elif first in ("run", "session") and rest:
        read = _surroundings(first)
    else:
        raise error(_unknown(target, argument, path), argument=argument)
    if not rest:
        return read
    if parameter is not None and parameter.kind is parameter.VAR_KEYWORD and len(rest) == 1:
        return _extra(target.signature, rest[0])
    return _through(read, tuple(rest))


def position(target: Target, path: str) -> tuple[int, str, Any] | None:
    """Where to look for *path*, if it is a plain parameter: its place, its name, its default (or MISSING)."""
    parameter = target.signature.parameters.get(path) if target.signature is not None else None
    if target.signature is None or parameter is None or parameter.kind is not parameter.POSITIONAL_OR_KEYWORD:
        return None
    default = MISSING if parameter.default is parameter.empty else parameter.default
    return list(target.signature.parameters).index(path), path, default


def bound(target: Target, function: Callable[..., Any]) -> Getter:
    """*function*, called with the arguments of the call as they were given."""

    def read(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        return function(*args, **kwargs)

    return read


def receiver(target: Target) -> str | None:
    """The parameter for what a method belongs to, as it was written: its object, or its class; None: there is none."""
    first = None if target.signature is None else next(iter(target.signature.parameters), None)
    owner = target.tool_id.partition(":")[2].rpartition(".")[0]
    written_in_a_class = bool(owner) and not owner.endswith("<locals>")
    return first if first == "self" or (first == "cls" and written_in_a_class) else None


def names(target: Target) -> tuple[str, ...]:
    """What `named_arguments` may name."""
    found = () if target.signature is None else tuple(target.signature.parameters)
    return found or ("args", "kwargs")


def named_arguments(target: Target) -> Callable[[tuple[Any, ...], Mapping[str, Any]], dict[str, Any]]:
    """What gives the arguments of a call by name, defaults included, as far as they are there."""
    parameters = () if target.signature is None else tuple(target.signature.parameters.values())
    if parameters and all(parameter.kind is parameter.POSITIONAL_OR_KEYWORD for parameter in parameters):
        return _plainly_named(parameters)
    readers: list[tuple[str, Getter]] = []
    if target.signature is not None:
        for name, parameter in target.signature.parameters.items():
            readers.append((name, _parameter(target.signature, parameter)))

    def read(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        if not readers:
            return {"args": args, "kwargs": dict(kwargs)}
        return {name: value for name, get in readers if (value := get(args, kwargs)) is not MISSING}

    return read


def _plainly_named(
    parameters: tuple[inspect.Parameter, ...],
) -> Callable[[tuple[Any, ...], Mapping[str, Any]], dict[str, Any]]:
    names = tuple(parameter.name for parameter in parameters)
    defaults = tuple(MISSING if parameter.default is parameter.empty else parameter.default for parameter in parameters)

    def read(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        given = dict(zip(names, args, strict=False))
        for index in range(len(given), len(names)):
            value = kwargs.get(names[index], defaults[index])
            if value is not MISSING:
                given[names[index]] = value
        return given

    return read


def step_into(value: Any, key: str) -> Any:
    """`value[key]` of a mapping, `value.key` of anything else, or MISSING."""
    if isinstance(value, Mapping):
        return value.get(key, MISSING)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return getattr(value, key, MISSING)


def _parameter(signature: inspect.Signature, parameter: inspect.Parameter) -> Getter:
    name = parameter.name
    default = MISSING if parameter.default is parameter.empty else parameter.default
    if parameter.kind is parameter.VAR_KEYWORD:
        named = frozenset(
            p.name for p in signature.parameters.values() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        )
        return lambda args, kwargs: {key: value for key, value in kwargs.items() if key not in named}
    if parameter.kind is parameter.KEYWORD_ONLY:
        return lambda args, kwargs: kwargs.get(name, default)
    index = list(signature.parameters).index(name)
    if parameter.kind is parameter.VAR_POSITIONAL:
        return lambda args, kwargs: args[index:]
    if parameter.kind is parameter.POSITIONAL_ONLY:
        return lambda args, kwargs: args[index] if len(args) > index else default

    def read(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        if len(args) > index:
            return args[index]
        return kwargs.get(name, default)

    return read


def _extra(signature: inspect.Signature, key: str) -> Getter:
    parameter = signature.parameters.get(key)
    if parameter is not None and parameter.kind is not parameter.POSITIONAL_ONLY:
        return lambda args, kwargs: MISSING
    return lambda args, kwargs: kwargs.get(key, MISSING)


def _surroundings(which: str) -> Getter:
    def read(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        value = getattr(current_frame(), which)
        return MISSING if value is None else value

    return read


def _through(read: Getter, keys: tuple[str, ...]) -> Getter:
    def follow(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        value = read(args, kwargs)
        for key in keys:
            if value is None or value is MISSING:
                return MISSING
            value = step_into(value, key)
        return value

    return follow


def _unknown(target: Target, argument: str, path: str) -> str:
    from difflib import get_close_matches

    assert target.signature is not None
    names = list(target.signature.parameters)
    near = get_close_matches(path.partition(".")[0], names, 1)
    meant = f" Did you mean {near[0]!r}?" if near else ""
    extra = next((p.name for p in target.signature.parameters.values() if p.kind is p.VAR_KEYWORD), None)
    how = f" For what comes through **{extra}, write {extra + '.' + path!r}." if extra else ""
    return f"{argument}={path!r}: {target.name} has no such parameter, but {', '.join(names) or 'none'}.{meant}{how}"
