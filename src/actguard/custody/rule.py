"""What a rule is: it looks at one call, and says no, nothing, or what it needs to know.

    validate(shape)     where it is written: the tool has the arguments that the rule names
    ask(call)           before the call: a Denial, a Question to the session, or None: fine
    judge(..., why)     the answer to its question: a Denial, or None

Rules are small frozen classes without state, so that one may stand over many tools. A rule of one's own needs only
`check(arguments, facts)`; see `Custom`.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from actguard.custody.paths import EACH, follow, parse
from actguard.custody.values import Unfit, a, bounded, is_list
from actguard.exceptions import ActGuardUsageError
from actguard.pipeline.arguments import MISSING, Getter, getter, named_arguments
from actguard.pipeline.target import Target
from actguard.stores.facts import Known, Need, Refused, Spend


class Denial(NamedTuple):
    """A no, without anything of what the call said: it is read by the model, and logged.

    Args:
        code: as in `GuardError.code`; one of your own, such as "OFFICE_HOURS".
        message: why, without a full stop.
        argument: which argument it is about.
        reason: short lower-case cause, where one code has several.
        hint: what to do instead, for the model.
        facts: more about it, for `GuardError.details`.
    """

    code: str
    message: str
    argument: str | None = None
    reason: str | None = None
    hint: str = ""
    facts: Mapping[str, Any] = {}


class Question(NamedTuple):
    """What a rule needs of the session, all of it."""

    needs: tuple[Need, ...] = ()
    spends: tuple[Spend, ...] = ()


class Answer(NamedTuple):
    """What the session says to a `Question`, in its order."""

    needs: tuple[Refused | None, ...]
    spent: tuple[int, ...]


class SessionView(Protocol):
    """What a rule sees of the session before it asks the store."""

    def said_by_user(self, kind: str, value: Any) -> bool:
        """Whether the user's own words name *value*, and may do so for *kind*."""
        ...

    def known(self, kinds: Sequence[str] = ()) -> Sequence[Known]:
        """The facts of the kinds a rule announced in `lists`."""
        ...


class Shape:
    """A tool as rules see it: its name, and how to get at its arguments without binding them."""

    def __init__(self, target: Target) -> None:
        self.name = target.name
        self.place = target.tool_id.partition("#")[0]
        """Where it is written: what is made there anew for each request is still the same tool."""
        self.target = target
        self.rules: tuple[Rule, ...] = ()
        self.arguments = named_arguments(target)
        self.getters: dict[str, Getter] = {}

    def learn(self, argument: str, path: Any) -> None:
        """Prepare to read *path*, or say that the tool has nothing like it.

        Raises:
            ActGuardUsageError: there is no such parameter.
        """
        steps = parse(argument, path)
        if not steps or steps[0] == EACH:
            raise ActGuardUsageError(
                f"{argument} must start with the name of a parameter, not {path!r}", argument=argument
            )
        if path not in self.getters:
            self.getters[path] = self._getter(argument, steps)

    def _getter(self, argument: str, steps: tuple[str, ...]) -> Getter:
        name, *deeper = steps
        signature = self.target.signature
        parameter = None if signature is None else signature.parameters.get(name)
        if parameter is None:
            return getter(self.target, name, argument=argument)  # which says what parameters there are
        if parameter.kind is parameter.VAR_KEYWORD and deeper and deeper[0] != EACH:
            name = f"{name}.{deeper.pop(0)}"
        first = getter(self.target, name, argument=argument)
        return _deep(first, tuple(deeper)) if deeper else first


class Several(tuple[Any, ...]):
    """What a path with more than one end leads to; MISSING where nothing stands."""


def lacks(value: Any) -> bool:
    """Whether an element of a list, or one of several ends, is not there."""
    return is_list(value) and any(part is MISSING or part is None for part in bounded(value))


def given(value: Any) -> Any:
    """*value*, without the elements that are not there."""
    return Several(part for part in value if part is not MISSING and part is not None) if lacks(value) else value


def _deep(first: Getter, steps: tuple[str, ...]) -> Getter:
    def get(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        value = first(args, kwargs)
        if value is MISSING or value is None:
            return MISSING
        ends = list(follow(value, steps))
        if len(ends) == 1 and not ends[0][1]:
            return MISSING if ends[0][0] is None else ends[0][0]
        return Several(MISSING if end is None else end for end, _ in ends)

    return get


class Call:
    """One call, as rules look at it."""

    __slots__ = ("args", "kwargs", "session", "shape")

    def __init__(self, shape: Shape, args: tuple[Any, ...], kwargs: Mapping[str, Any], session: SessionView) -> None:
        self.shape = shape
        self.args = args
        self.kwargs = kwargs
        self.session = session

    def value(self, path: str) -> Any:
        """What the call gives for *path*; MISSING: nothing, or None."""
        value = self.shape.getters[path](self.args, self.kwargs)
        return MISSING if value is None else value

    def each(self, path: str) -> Iterator[Any]:
        """The same, element by element: a list is as many values as it holds, and nothing when it is empty."""
        value = self.value(path)
        if not is_list(value):
            yield value
            return
        yield from value or (MISSING,)


class Rule:
    """The base of the rules here."""

    __slots__ = ()

    lists: tuple[str, ...] = ()
    """Kinds whose facts the rule looks through; they are fetched before it is asked."""

    def validate(self, shape: Shape) -> None:
        """Refuse a tool that the rule does not fit.

        Raises:
            ActGuardUsageError: names what does not fit.
        """

    def ask(self, call: Call) -> Denial | Question | None:
        raise NotImplementedError

    def judge(self, call: Call, answer: Answer) -> Denial | None:
        """What the session's *answer* to the question of this rule means; a rule that asks nothing has none."""
        return None


def missing(rule: Rule, argument: str) -> Denial:
    return Denial(
        "MISSING_ARGUMENT",
        f"{argument!r} is required by {type(rule).__name__} and was not given",
        argument,
        "missing",
        f"Give {argument!r} a value.",
    )


def invalid(argument: str | None, why: str) -> Denial:
    return Denial("INVALID_ARGUMENT", f"{argument!r} {why}" if argument else why, argument, "invalid")


def unfit(argument: str, value: Any, error: Exception) -> Denial:
    """A value that could not be looked at, whatever it did instead."""
    return invalid(argument, f"cannot be checked: {error if isinstance(error, Unfit) else a(value)}")


def wrong(rule: type, argument: str, allowed: str, value: Any) -> ActGuardUsageError:
    return ActGuardUsageError(f"{rule.__name__}: {argument} must be {allowed}, not {value!r}", argument=argument)


def name_of(rule: type, argument: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise wrong(rule, argument, "a non-empty text", value)
    return value


def hinted(rule: type, hint: Any) -> None:
    if not isinstance(hint, str):
        raise wrong(rule, "hint", "a text", hint)


def flag(rule: type, argument: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise wrong(rule, argument, "True or False", value)


def names(rule: type, argument: str, value: Any) -> tuple[str, ...]:
    """*value*, one name or several, as a tuple."""
    given: tuple[Any, ...] = (value,) if isinstance(value, str) else tuple(value) if is_list(value) else ()
    if not given or not all(isinstance(name, str) and name for name in given):
        raise wrong(rule, argument, "a name or several", value)
    return given
