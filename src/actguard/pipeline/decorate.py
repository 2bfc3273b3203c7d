"""Putting guards on functions: however they are stacked, there is one wrapper, and one order."""

import functools
import inspect
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypeVar, cast

from actguard.exceptions import ActGuardUsageError, InvalidToolError
from actguard.pipeline import run, settings
from actguard.pipeline.guard import ORDER, Guard, Part
from actguard.pipeline.hints import show
from actguard.pipeline.plan import Plan
from actguard.pipeline.target import Target, code_of, documentation, is_routine, target_of

F = TypeVar("F")

_ATTRIBUTE = "__actguard__"


class Pipeline:
    """The guards of one function, outermost first, and the wrapper that they share."""

    __slots__ = ("__weakref__", "call", "guards", "plan", "target", "wrapper")

    def __init__(self, target: Target, guards: Sequence[Guard]) -> None:
        self.target = target
        self.guards: tuple[Guard, ...] = tuple(sorted(_unlike(guards), key=lambda guard: ORDER.index(guard.kind)))
        for guard in self.guards:
            if guard.once and sum(other.kind == guard.kind for other in guards) > 1:
                raise ActGuardUsageError(f"{target.name} has two {guard.kind} guards; one is all it can have")
            if target.kind in ("generator", "async_generator") and guard.on_block != "raise":
                raise InvalidToolError(
                    f"{target.name} is a generator: what a refused call would return cannot be iterated over; "
                    "leave on_block='raise'",
                    argument="on_block",
                )
        # To say now what does not fit; bound again, under the settings of then, when called.
        parts = [guard.bind(target) for guard in self.guards]
        _refuse_stores_without_room(parts)
        _refuse_twice_the_same(target, parts)
        self.plan: Plan | None = None
        self.call: Any = self._compile_and_call  # typed in `Planned`
        hidden = frozenset(name for guard in self.guards for name in guard.hidden(target))
        made = run.wrapper(self)
        for guard in self.guards:
            made = guard.around(target, made)
        self.wrapper = _dressed(made, target, hidden)
        setattr(self.wrapper, _ATTRIBUTE, self)
        settings.remember(self)

    def compile(self) -> Plan:
        """The plan for the settings that hold now. They may change at any time; then there is none again."""
        while True:
            now = settings.current()
            plan = Plan(self.target, [guard.bind(self.target) for guard in self.guards], now)
            self.plan, self.call = plan, run.compiled(plan)
            if settings.current() is now:  # otherwise `configure` was here meanwhile, and took another plan away
                return plan

    def follow(self) -> None:
        """The settings have changed: there is no plan until the next call."""
        self.plan, self.call = None, self._compile_and_call

    def _compile_and_call(self, args: Any, kwargs: Any) -> Any:
        self.compile()
        return self.call(args, kwargs)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Decorator(Guard):
    """A guard that is put on a function by calling it: what `rate_limit(...)` and the others return."""

    if not TYPE_CHECKING:  # which find the options of a guard by its dataclass

        def __new__(cls, *given, **options):
            """`@rate_limit` is `@rate_limit()`, `rate_limit(function, wait=1)` is `rate_limit(wait=1)(function)`."""
            if given and not cls.__match_args__:  # it has no option that is given by position
                return cls(**options)(*given)
            return object.__new__(cls)  # `super` would ask the class that slots have replaced

    def __call__(self, function: F) -> F:
        """*function* with this guard, around the guards that it has already."""
        return guarded(function, (self,))


def guarded(function: F, guards: Sequence[Guard]) -> F:
    """*function* with *guards* around those that it has already.

    Class and static methods stay what they are.

    Raises:
        InvalidToolError: it is nothing that can be guarded.
        ActGuardUsageError: a guard does not fit it.
    """
    thing: Any = function
    if isinstance(thing, staticmethod | classmethod):
        method = cast("Callable[..., Any]", thing.__func__)  # pyright: ignore[reportUnknownMemberType]
        return cast("F", type(thing)(guarded(method, guards)))  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    if isinstance(thing, functools.partialmethod):
        inner = cast("Callable[..., Any]", thing.func)  # pyright: ignore[reportUnknownMemberType]
        again = functools.partialmethod(guarded(inner, guards), *thing.args, **thing.keywords)  # pyright: ignore[reportUnknownMemberType]
        return cast("F", again)
    before = pipeline_of(thing)
    if before is not None and isinstance(thing, types.MethodType):
        return cast("F", types.MethodType(guarded(thing.__func__, guards), thing.__self__))
    if before is not None:
        return cast("F", Pipeline(before.target, (*guards, *before.guards)).wrapper)
    return cast("F", Pipeline(target_of(thing), guards).wrapper)


def pipeline_of(function: Any) -> Pipeline | None:
    """The pipeline whose wrapper *function* is; None for anything else, also for what merely wraps such a wrapper."""
    if isinstance(function, types.MethodType):
        function = function.__func__
    if isinstance(function, staticmethod | classmethod):
        function = cast("Any", function.__func__)  # pyright: ignore[reportUnknownMemberType]
    pipeline = getattr(function, _ATTRIBUTE, None)
    if isinstance(pipeline, Pipeline) and pipeline.wrapper is function:
        return pipeline
    return None


def explain(function: Callable[..., Any]) -> str:
    """The pipeline of a guarded function, or of what a partial calls in the end, one line per guard, outermost first.

    Raises:
        ActGuardUsageError: it has no guards.
    """
    pipeline = pipeline_of(_behind_partials(function))
    if pipeline is None:
        raise ActGuardUsageError(f"{function!r} has no guards", argument="function")
    width = max((len(guard.kind) for guard in pipeline.guards), default=0)
    lines = [pipeline.target.tool_id]
    inside = f"  -> {pipeline.target.name}()"
    for guard in pipeline.guards:
        if guard.kind == "prove":
            lines, inside = [*lines, inside] if inside else lines, ""
        mode = settings.current().mode_of(guard)
        said = "" if mode == "enforce" else f"  [{mode}]"
        lines.append(f"  {guard.kind:<{width}}  {guard.explain()}{said}")
    return "\n".join([*lines, inside] if inside else lines)


def _behind_partials(function: Any) -> Any:
    while True:
        # A partial method is read from its class as a function that says where it is from.
        method = getattr(function, "__partialmethod__", None) or getattr(function, "_partialmethod", None)
        if isinstance(method, functools.partialmethod):
            function = cast("Any", method.func)  # pyright: ignore[reportUnknownMemberType]
        elif isinstance(function, functools.partial | functools.partialmethod):
            function = cast("Any", function.func)  # pyright: ignore[reportUnknownMemberType]
        else:
            return function


def _unlike(guards: Sequence[Guard]) -> list[Guard]:
    """*guards*, each once: one that is put on a function twice would count every call twice."""
    found: list[Guard] = []
    for guard in guards:
        if not any(_alike(guard, other) for other in found):
            found.append(guard)
    return found


def _alike(guard: Guard, other: Guard) -> bool:
    return type(guard) is type(other) and all(
        getattr(guard, option.name) == getattr(other, option.name) for option in fields(guard)
    )


def _refuse_stores_without_room(parts: Sequence[Part[Any]]) -> None:
    """Refuse a store of a guard's own that keeps nothing of its kind."""
    for part in parts:
        kept: frozenset[str] | None = getattr(part.guard.store, "keeps", None)
        if kept is not None and part.asks is not None and part.asks not in kept:
            raise ActGuardUsageError(
                f"store={part.guard.store!r} keeps {', '.join(sorted(kept))} only, and nothing of {part.guard.kind}: "
                "use a MemoryStore or a RedisStore",
                argument="store",
            )


def _refuse_twice_the_same(target: Target, parts: Sequence[Part[Any]]) -> None:
    """Refuse guards that ask for the same thing: one call would take it twice, and be in its own way."""
    asked: set[tuple[str | None, str, int]] = set()
    for part in parts:
        if part.fixed_key is None or part.guard.mode == "off":
            continue
        place = part.asks, part.fixed_key, id(part.guard.store)
        if place in asked:
            raise ActGuardUsageError(
                f"{target.name} has two {part.guard.kind} guards of one name: every call would count twice. Leave one "
                "out, or give it another name",
                argument="name",
            )
        asked.add(place)


def _dressed(wrapper: Any, target: Target, hidden: frozenset[str]) -> Any:
    function = target.function
    if is_routine(function):
        functools.update_wrapper(wrapper, function)
        if not hidden:
            return wrapper
    else:  # a partial or a callable object: its attributes are not those of a function
        functools.update_wrapper(wrapper, function, updated=())
        wrapper.__name__ = wrapper.__qualname__ = target.name
        wrapper.__doc__ = documentation(function)
    if target.signature is not None:
        seen = [parameter for name, parameter in target.signature.parameters.items() if name not in hidden]
        _show(wrapper, function, target.signature.replace(parameters=seen))
    return wrapper


def _show(wrapper: Any, function: Any, signature: inspect.Signature) -> None:
    """Let *wrapper* read as *signature*.

    Who follows its `__wrapped__` finds a stand-in that reads the same: to resolve the names in annotations it must have
    the globals of what was written.
    """
    written = code_of(function)
    shown: list[Any] = [wrapper]
    if written is None:
        del wrapper.__wrapped__  # who follows it would see what is hidden
    else:
        stand_in = types.FunctionType(
            written.__code__, written.__globals__, written.__name__, written.__defaults__, written.__closure__
        )
        stand_in.__kwdefaults__ = written.__kwdefaults__
        stand_in.__module__, stand_in.__doc__ = wrapper.__module__, wrapper.__doc__
        wrapper.__wrapped__ = stand_in
        shown.append(stand_in)
    for one in shown:
        show(one, signature, written)
