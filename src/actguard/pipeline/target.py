"""What was decorated: a function of one of four kinds, or something that cannot be guarded and says why."""

import functools
import inspect
import itertools
import threading
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from actguard.exceptions import InvalidToolError
from actguard.pipeline.hints import signature_of

Kind = Literal["sync", "async", "generator", "async_generator"]

# What tool objects of agent frameworks carry, and plain callables do not.
_TOOL_MARKS = (
    "args_schema",
    "input_schema",
    "params_json_schema",
    "function_schema",
    "tool_spec",
    "on_invoke_tool",
    "ainvoke",
    "acall",
    "run_json",
    "to_json_schema_spec",
    "forward",
    "inputSchema",
    "openai_schema",
    "get_declaration",
    "_get_declaration",
)
_INNER = ("func", "fn", "function", "coroutine", "_func", "_tool_func")

_numbers: dict[str, "itertools.count[int]"] = {}
_numbering = threading.Lock()


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """A function that guards are put on.

    Args:
        function: what is called in the end.
        name: for people.
        tool_id: for keys: `module:qualname`, numbered where several functions are made at one place.
        signature: None for what is not written in Python and does not tell.
    """

    function: Callable[..., Any]
    name: str
    tool_id: str
    kind: Kind
    signature: inspect.Signature | None

    @property
    def asynchronous(self) -> bool:
        return self.kind in ("async", "async_generator")


def target_of(function: Any) -> Target:
    """*function* as a target.

    Raises:
        InvalidToolError: it is no function, or one that would be silently unguarded.
    """
    _refuse_what_is_no_function(function)
    named = _innermost(function)
    name = getattr(named, "__name__", type(named).__name__)
    qualified = getattr(named, "__qualname__", name)
    try:
        signature = signature_of(function)
    except (ValueError, TypeError):
        signature = None
    return Target(
        function=function,
        name=name,
        tool_id=_tool_id(getattr(named, "__module__", None) or "", qualified),
        kind=_kind(function),
        signature=signature,
    )


def is_routine(function: Any) -> bool:
    """Whether it is a function or a method, and not what stands for one: `inspect` takes a partial for one in 3.14."""
    return not isinstance(function, functools.partial) and inspect.isroutine(function)


def documentation(function: Any) -> str | None:
    """The docstring of *function*: of a partial, that of what it calls, unless it has one of its own."""
    said: str | None = function.__doc__
    if isinstance(function, functools.partial) and said == functools.partial.__doc__:
        return documentation(_innermost(function))
    return said or getattr(_called(function), "__doc__", None)


def code_of(function: Any) -> types.FunctionType | None:
    """What was written in Python behind *function*; None: nothing was."""
    called = inspect.unwrap(_called(function))
    return called if isinstance(called, types.FunctionType) else None


def _refuse_what_is_no_function(thing: Any) -> None:
    if isinstance(thing, type):
        raise InvalidToolError(
            f"{thing.__name__} is a class: guard the method that does the work, or a function that makes the object",
            argument="function",
        )
    if isinstance(thing, types.FunctionType | types.MethodType | functools.partial):
        return
    kind: type[object] = type(thing)  # pyright: ignore[reportUnknownVariableType]
    if any(hasattr(thing, mark) for mark in _TOOL_MARKS):
        inner = next((name for name in _INNER if callable(getattr(thing, name, None))), None)
        where = f", or guard its .{inner} before the object is made" if inner else ""
        raise InvalidToolError(
            f"this {kind.__module__}.{kind.__qualname__} is a tool object, whose framework would call around the "
            f"guard: write the guard below the framework's decorator{where}",
            argument="function",
        )
    if not callable(thing):
        raise InvalidToolError(
            f"a guard goes on a function, not on {thing!r} ({kind.__name__}); on a property? Guard the function itself",
            argument="function",
        )


def _innermost(function: Any) -> Any:
    while isinstance(function, functools.partial):
        function = function.func  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return function  # pyright: ignore[reportUnknownVariableType]


def _called(function: Any) -> Any:
    """The function, or the method of an object, that is called in the end."""
    called = _innermost(function)
    if not inspect.isroutine(called):
        called = type(called).__call__
    return called.__func__ if isinstance(called, types.MethodType) else called


def _kind(function: Any) -> Kind:
    called = _called(function)
    if inspect.isasyncgenfunction(called):
        return "async_generator"
    if inspect.iscoroutinefunction(called):
        return "async"
    return "generator" if inspect.isgeneratorfunction(called) else "sync"


def _tool_id(module: str, qualified: str) -> str:
    place = f"{module}:{qualified}"
    if "<" not in qualified and qualified:
        return place
    with _numbering:  # made by a factory, or a lambda: several functions share the place
        number = next(_numbers.setdefault(place, itertools.count(1)))
    return place if number == 1 else f"{place}#{number}"
