"""What a guard is: data that may be put on a function, and, once it is there, a few hooks around each call.

    Guard    the options of a decorator such as `rate_limit(...)`, validated. Stacking them collects guards.
    Part     a guard on one function, made by `Guard.bind`: argument getters compiled, keys begun.

The hooks of a Part, in the order of a call; those that a guard has no use for stay None:

    check    before everything else; raises to refuse. May return what undoes it, if a later guard refuses.
    step     what to ask of the store. All guards of a function ask at once. Where it is always the same but for its
             key, `like` is that step, and `key` gives the key.
    refuse   the store said no: the error, or the `Answer` that takes the place of the call.
    wrap     once, at compile time: the body, as it is really called.
    report   how it came out, as what to tell the store, or None when there is nothing to tell.
    after    the result on its way out, also one that came from the store.
"""

import inspect
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, Literal, NamedTuple, TypeVar, cast, get_args

from actguard.exceptions import ActGuardToolError, ActGuardUsageError, ToolGuardError
from actguard.stores.protocol import Kind, Receipt, Refusal, Report, Step, fast_new
from actguard.stores.store import Store

if TYPE_CHECKING:
    from actguard.pipeline.target import Target

S = TypeVar("S", bound=Step)

Mode = Literal["enforce", "observe", "off"]
OnStoreError = Literal["local", "open", "closed"]
OnBlock = Literal["raise", "return_prompt"] | Callable[[ToolGuardError], Any]

ORDER = (
    "enforce",
    "idempotent",
    "no_repeat",
    "max_attempts",
    "circuit_breaker",
    "rate_limit",
    "concurrency",
    "timeout",
    "prove",
)
"""Outermost first; `prove` comes after the function. Guards of one kind keep the order they are written in."""


class Answer(NamedTuple):
    """What the call returns without being made. replayed: it is the result of an earlier call, not a refusal. blocked:
    it says so in place of this error."""

    value: Any
    replayed: bool = False
    blocked: ToolGuardError | None = None


class Ending(NamedTuple):
    """How a body came out. error: None when it returned. neutral: it says nothing about the tool (it was cancelled, a
    guard refused further in, a framework interrupted). seconds: 0.0 unless a part is `timed`. awaited: the function is
    not `async`, and returned something to wait for, of which this is the result."""

    result: Any
    error: BaseException | None
    neutral: bool
    seconds: float
    awaited: bool = False


PLAIN: Final[frozenset[type]] = frozenset({str, int, float, bool, type(None), dict, list, tuple, bytes, set})
"""What tools return as a rule: known at one look to be no awaitable, no generator, and no answer with a status."""

Args = tuple[Any, ...]
Kwargs = Mapping[str, Any]
Undo = Callable[[], Any]
"""May return an awaitable, if the function is asynchronous."""
Refuse = Callable[[ToolGuardError], None]
"""Raises the error, and tells of it; of a guard that is only watched, tells of it."""


@dataclass(slots=True, kw_only=True, eq=False)
class Part(Generic[S]):
    """A guard on one function. Mode, store and the rest are the guard's; see the module for the hooks.

    `acheck` and `aafter` are used instead of `check` and `after` where the function is asynchronous, if they are there.
    For generator functions, `after` gets the generator that was just made, and may return another, which refuses items
    through what `after` was given for that.
    """

    guard: "Guard"
    check: Callable[[Args, Kwargs], Undo | None] | None = None
    acheck: Callable[[Args, Kwargs], Awaitable[Undo | None]] | None = None
    quick: Callable[[Args, Kwargs], bool] | None = None
    """Asked instead of `check`, and at once: True, if that has nothing to refuse here, and nothing to undo."""
    asks: Kind | None = None
    step: Callable[[Args, Kwargs], S] | None = None
    key: Callable[[Args, Kwargs], str] | None = None
    like: S | None = None
    fixed_key: str | None = None
    """What `key` gives, where that is the same for every call."""
    refuse: Callable[[S, Refusal], ToolGuardError | Answer] | None = None
    patience: Callable[[Refusal, float], float | None] | None = None
    """Of a refusal, and the seconds that the call may still wait: how long to wait before asking again; None: not."""
    wait_s: float = 0.0
    """How long a call may wait at most."""
    lined: bool = False
    """Calls that wait for the same key are let in in the order in which they came."""
    bound_s: float = inf
    """The guard gives the body so long; a call does not wait longer than that to begin it."""
    refuses_late: bool = False
    """`wrap` may refuse in the place of the body, when other guards have taken what they then are given back."""
    recourse: Callable[[Args, Kwargs, S, Refusal, Store], bool] | None = None
    """Asked once for each call that is refused: whether it put something right, so that it is worth asking again."""
    wrap: Callable[[Callable[..., Any]], Callable[..., Any]] | None = None
    watch: Callable[[Callable[..., Any], Callable[[ActGuardToolError], None]], Callable[..., Any]] | None = None
    """Used instead of `wrap` in observe mode: changes nothing, and tells what it would have refused."""
    fill: Callable[[Callable[..., Any]], Callable[..., Any]] | None = None
    """As `wrap`, whatever the mode: the function cannot be called without it."""
    started: Callable[[S, Store | None], None] | None = None
    """The call was admitted; its body starts now."""
    report: Callable[[S, Receipt, Ending], Report | None] | None = None
    lost: Callable[[Report], ToolGuardError | None] | None = None
    """Of a report that had no effect: what that means, if it is this part's, and somebody should know."""
    keep: Callable[[Any], Any] | None = None
    """Where all that `report` says of a success is what was done: of the result, what an `IdempotencyDone` holds."""
    kept_as_they_are: frozenset[type] = frozenset()
    """Of results of these types `keep` makes nothing else."""
    keep_s: float = 0.0
    """And for how long."""
    quiet: frozenset[type] = frozenset()
    """`report` has nothing to say about a result of these types whose receipt is `quiet`."""
    usual: Receipt | None = None
    """What most calls are given, if it is always this one, `quiet`, and so for all of `PLAIN`; None is given where
    nobody needs a receipt."""
    quiet_success: bool = False
    """`report` has nothing to say about any success."""
    timed: bool = False
    after: Callable[[Args, Kwargs, Any, Refuse], Any] | None = None
    aafter: Callable[[Args, Kwargs, Any, Refuse], Awaitable[Any]] | None = None
    quick_after: Callable[[Any], bool] | None = None
    """Asked instead of `after`, and at once: True, if it has seen to the result, which goes on as it is."""
    watched: bool = False
    """It only says what it would have refused."""

    def __post_init__(self) -> None:
        if self.key is not None and self.step is None:
            assert self.like is not None
            key, kind, rest = self.key, type(self.like), tuple(self.like[1:])
            self.step = lambda args, kwargs: fast_new(kind, (key(args, kwargs), *rest))

    def step_at(self, key: str) -> S:
        """The step of a call whose key is *key*."""
        assert self.like is not None
        return cast("S", self.like._replace(key=key))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Guard:
    """The options that every guard has.

    Args:
        mode: "observe" lets through what "enforce" would refuse, and says so in an event; "off" takes the guard out.
        on_block: what a refused call does. "return_prompt": returns the error's sentence for the model, instead of
            raising; a callable gets the error, and what it returns is returned.
        store: where the state is kept; None: where `actguard.configure` says.
        on_store_error: what happens when the store does not answer. "local": go on with this process's own memory;
            "open": let the call pass unguarded; "closed": raise. None: as is safe for the guard.
    """

    kind: ClassVar[str]
    once: ClassVar[bool] = False
    """At most one of this kind on a function."""
    safe_store_error: ClassVar[OnStoreError] = "closed"

    mode: Mode = "enforce"
    on_block: OnBlock = "raise"
    store: Store | None = None
    on_store_error: OnStoreError | None = None

    def __post_init__(self) -> None:
        choice("mode", self.mode, get_args(Mode))
        if callable(self.on_block):
            called("on_block", self.on_block)
        else:
            choice("on_block", self.on_block, ("raise", "return_prompt"), also="a callable that gets the error")
        if self.on_store_error is not None:
            choice("on_store_error", self.on_store_error, get_args(OnStoreError))
        if self.store is not None:
            a_store("store", self.store)

    def store_under(self, configured: Store) -> Store:
        """Its own store, or the one that is *configured* for all."""
        return configured if self.store is None else self.store  # an empty store is false

    def bind(self, target: "Target") -> Part[Any]:
        """This guard on *target*.

        Raises:
            ActGuardUsageError: it cannot guard that function; says why.
        """
        raise NotImplementedError

    def around(self, target: "Target", wrapper: Callable[..., Any]) -> Callable[..., Any]:
        """*wrapper*, the function with all its guards, or what is to stand around it."""
        return wrapper

    def hidden(self, target: "Target") -> frozenset[str]:
        """Parameters that this guard fills in, and that are left out of the visible signature."""
        return frozenset()

    def explain(self) -> str:
        """One line: what it is, and with which options."""
        raise NotImplementedError


# ---- validation, said in one way everywhere -----------------------------------------------------------------------


def choice(argument: str, value: Any, allowed: tuple[Any, ...], *, also: str = "") -> None:
    """Refuse what is not one of *allowed*."""
    if not isinstance(value, str) or value not in allowed:
        options = ", ".join(repr(option) for option in allowed) + (f", or {also}" if also else "")
        raise ActGuardUsageError(f"{argument} must be one of {options}, not {value!r}", argument=argument)


def whole(argument: str, value: Any, *, least: int = 1, error: type[ActGuardUsageError] = ActGuardUsageError) -> int:
    """*value*, if it is an int of at least *least*."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise error(f"{argument} must be a whole number, {least} or more, not {value!r}", argument=argument)
    return value


def positive(
    argument: str, value: Any, *, or_zero: bool = False, error: type[ActGuardUsageError] = ActGuardUsageError
) -> float:
    """*value* as a float, if it is a positive, finite number (of seconds, mostly), or, where it may be, 0."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not (0 < value <= sys.float_info.max or (or_zero and value == 0)):
        zero = "0 or " if or_zero else ""
        raise error(f"{argument} must be {zero}a positive, finite number, not {value!r}", argument=argument)
    return float(value)


def flag(argument: str, value: Any) -> None:
    """Refuse what is neither True nor False."""
    if not isinstance(value, bool):
        raise ActGuardUsageError(f"{argument} must be True or False, not {value!r}", argument=argument)


def parameters(argument: str, value: Any, *, also: str) -> None:
    """Refuse what is no list of names. also: what may be given instead, for the message."""
    if not isinstance(value, list | tuple | set | frozenset) or not all(isinstance(name, str) for name in value):  # pyright: ignore[reportUnknownVariableType]
        raise ActGuardUsageError(
            f"{argument} must be {also}, or a list of names of parameters, not {value!r}", argument=argument
        )


def named(argument: str, value: Any, *, error: type[ActGuardUsageError] = ActGuardUsageError) -> str:
    """*value*, if it is a non-empty string."""
    if not isinstance(value, str) or not value.strip():
        raise error(f"{argument} must be a non-empty string, not {value!r}", argument=argument)
    return value


def called(argument: str, value: Any, *, error: type[ActGuardUsageError] = ActGuardUsageError) -> None:
    """Refuse what cannot be called, and what would have to be awaited: it is asked at once, everywhere."""
    if not callable(value):
        raise error(f"{argument} must be callable, not {value!r}", argument=argument)
    function: Any = cast("Any", value)
    if not isinstance(function, type) and not inspect.isroutine(function) and not hasattr(function, "func"):
        function = type(function).__call__  # of an object; a partial says of itself what it is
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise error(
            f"{argument} must not be asynchronous: it is asked at once, and what has to be awaited counts as true",
            argument=argument,
        )


def a_store(argument: str, value: Any) -> None:
    """Refuse what is no synchronous `Store`."""
    admit = getattr(value, "admit", None)
    if inspect.iscoroutinefunction(admit):
        raise ActGuardUsageError(
            f"{argument} is the asynchronous side of a store: give the store itself; asynchronous functions use "
            "its .aio by themselves",
            argument=argument,
        )
    if not callable(admit) or not callable(getattr(value, "finish", None)):
        raise ActGuardUsageError(
            f"{argument} must be a MemoryStore, a RedisStore or another Store, not {value!r}", argument=argument
        )
