"""Rules that ask for facts: an argument must be something that a read returned, or that the user said."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from actguard.custody.amounts import positive
from actguard.custody.normalise import Normaliser, normaliser
from actguard.custody.parts import Part, part_finder
from actguard.custody.rule import (
    Answer,
    Call,
    Denial,
    Question,
    Rule,
    Several,
    Shape,
    flag,
    hinted,
    invalid,
    missing,
    name_of,
    names,
    unfit,
    wrong,
)
from actguard.custody.trust import Trust, level
from actguard.custody.values import MOST_FACTS, Unfit, encode, is_list
from actguard.exceptions import ActGuardUsageError
from actguard.pipeline.arguments import MISSING
from actguard.stores.facts import Need, Refused

_WHY: Final[dict[Refused, str]] = {
    "unknown": "is not something that was read in this session",
    "source": "was not returned by a tool that may say so",
    "trust": "comes from a source that is not trusted enough",
    "age": "was read too long ago",
    "used": "was used as often as it may be",
    "record": "belongs to another record",
    "present": "is known",
}


@dataclass(frozen=True, slots=True)
class RequireFact(Rule):
    """The argument is a value that a read returned in this session (or, with enough trust, that the user named).

    Args:
        arg: the argument, or a path into it: `order_id`, `order.id`, `items[].id`, `kwargs.order_id`.
        kind: the kind of fact, as `prove` names it.
        hint: what to do instead, for the model: which read to make first.
        min_trust: "text" accepts what was found in free text, "field" what a structured reply said, "user" only what
            the user or the program said.
        max_age: seconds since the read, at most.
        from_tool: tools whose reads count; any if none is named.
        consume: an admitted call uses the fact up.
        optional: a call without the argument is fine, and so is an element of it that is not there.
        each: a list needs a fact for each of its elements; False: for the list as a whole.
        normalize: how spellings are evened out; the same as in `prove`.
        part: look at parts of the argument instead: "url" or "email" for each one in a text, a pattern, or a function
            that returns them. A text without any is fine.
    """

    arg: str
    kind: str
    hint: str = ""
    min_trust: Trust = field(default="field", kw_only=True)
    max_age: float | None = field(default=None, kw_only=True)
    from_tool: str | tuple[str, ...] | None = field(default=None, kw_only=True)
    consume: bool = field(default=False, kw_only=True)
    optional: bool = field(default=False, kw_only=True)
    each: bool = field(default=True, kw_only=True)
    normalize: str | Normaliser | None = field(default=None, kw_only=True)
    part: str | re.Pattern[str] | Callable[[Any], Any] | None = field(default=None, kw_only=True)
    _level: int = field(init=False, repr=False)
    _sources: tuple[str, ...] = field(init=False, repr=False)
    _normal: Normaliser | None = field(init=False, repr=False)
    _find: Part | None = field(init=False, repr=False)
    _plain: bool = field(init=False, repr=False)

    def __post_init__(self) -> None:
        name_of(RequireFact, "kind", self.kind)
        hinted(RequireFact, self.hint)
        if self.max_age is not None:
            positive(RequireFact, "max_age", self.max_age)
        for name in ("consume", "optional", "each"):
            flag(RequireFact, name, getattr(self, name))
        derived = {
            "_level": level("min_trust", self.min_trust),
            "_sources": () if self.from_tool is None else names(RequireFact, "from_tool", self.from_tool),
            "_normal": normaliser(self.normalize),
            "_find": None if self.part is None else part_finder(self.part),
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)
        plain = self._normal is None and self._find is None and not self._sources
        object.__setattr__(self, "_plain", plain and not self.consume and self.max_age is None)

    def validate(self, shape: Shape) -> None:
        shape.learn("arg", self.arg)

    @property
    def plain(self) -> bool:
        """Whether a quick yes of the store is enough."""
        return self._plain

    @property
    def rank(self) -> int:
        """`min_trust` as the store compares it."""
        return self._level

    def ask(self, call: Call) -> Denial | Question | None:
        value = call.value(self.arg)
        if self._plain and (type(value) is str or type(value) is int):
            if call.session.said_by_user(self.kind, value):
                return None
            return Question((Need((self.kind, encode(value)), self._level),))
        if value is MISSING:
            return None if self.optional else missing(self, self.arg)
        asked: list[Need] = []
        try:
            for count, single in enumerate(self._values(value)):
                if count >= MOST_FACTS:
                    raise Unfit("too many parts")
                if (need := self._need(call, single)) is not None:
                    asked.append(need)
        except Unfit as error:
            return missing(self, self.arg) if str(error) == "missing" else unfit(self.arg, value, error)
        return Question(tuple(asked)) if asked else None

    def judge(self, call: Call, answer: Answer) -> Denial | None:
        why: Refused | None = next((refused for refused in answer.needs if refused is not None), None)
        if why is None:
            return None
        what = f"a part of {self.arg!r}" if self.part is not None else repr(self.arg)
        return Denial(
            "MISSING_FACT",
            f"{what} must be a known {self.kind!r}, and {_WHY[why]}",
            self.arg,
            why,
            self.hint,
            {"kind": self.kind, "min_trust": self.min_trust},
        )

    def _values(self, value: Any) -> Iterator[Any]:
        several = isinstance(value, Several) or (self.each and is_list(value))
        held: Sequence[Any] = value if several else (value,)
        if not held and not self.optional:
            raise Unfit("missing")
        for single in held:
            if single is None or single is MISSING:
                if self.optional:
                    continue
                raise Unfit("missing")
            if self._find is None:
                yield single
            else:
                yield from self._find(single)

    def _need(self, call: Call, value: Any) -> Need | None:
        normal = value if self._normal is None else self._normal(value)
        if not (self.consume or self._sources) and self.max_age is None and call.session.said_by_user(self.kind, value):
            return None
        return Need((self.kind, encode(normal)), self._level, self.max_age, self._sources, self.consume)


@dataclass(frozen=True, slots=True, init=False)
class SameRecord(Rule):
    """The arguments were read together: an attachment with its own mail, an amount with its own invoice.

    Args:
        arguments: two or more arguments.
        kinds: the kind of each; by default that of the `RequireFact` on the same argument.
        hint: what to do instead, for the model.
    """

    arguments: tuple[str, ...]
    kinds: Mapping[str, str] | None
    hint: str

    def __init__(self, *arguments: str, kinds: Mapping[str, str] | None = None, hint: str = "") -> None:
        if len(set(names(SameRecord, "arguments", arguments))) < 2:
            raise wrong(SameRecord, "arguments", "two different arguments or more", arguments)
        object.__setattr__(self, "arguments", arguments)
        if kinds is not None:
            if not isinstance(kinds, Mapping) or not kinds.keys() <= set(arguments):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise wrong(SameRecord, "kinds", "a mapping of some of its arguments to their kinds", kinds)
            for kind in kinds.values():
                name_of(SameRecord, "kinds", kind)
        hinted(SameRecord, hint)
        object.__setattr__(self, "kinds", dict(kinds) if kinds is not None else None)
        object.__setattr__(self, "hint", hint)

    def validate(self, shape: Shape) -> None:
        for argument in self.arguments:
            shape.learn("arguments", argument)
            if self._asked(shape, argument) is None:
                raise ActGuardUsageError(
                    f"SameRecord needs to know the kind of {argument!r}: state kinds={{{argument!r}: ...}}, "
                    "or put a RequireFact on the same argument into the list",
                    argument="kinds",
                )

    def ask(self, call: Call) -> Denial | Question | None:
        needs: list[Need] = []
        for argument in self.arguments:
            kind, normal = self._asked(call.shape, argument) or ("", None)
            for value in call.each(argument):
                if value is MISSING or value is None:
                    return missing(self, argument)
                if len(needs) >= MOST_FACTS:
                    return invalid(argument, "has too many parts")
                try:
                    needs.append(Need((kind, encode(normal(value) if normal else value)), group=0))
                except Unfit as error:
                    return unfit(argument, value, error)
        return Question(tuple(needs))

    def judge(self, call: Call, answer: Answer) -> Denial | None:
        why = next((refused for refused in answer.needs if refused is not None), None)
        if why is None:
            return None
        together = " and ".join(map(repr, self.arguments))
        return Denial(
            "RECORD_MISMATCH", f"{together} were not read together in one record", self.arguments[0], why, self.hint
        )

    def _asked(self, shape: Shape, argument: str) -> tuple[str, Normaliser | None] | None:
        beside = next((rule for rule in shape.rules if isinstance(rule, RequireFact) and rule.arg == argument), None)
        normal = normaliser(beside.normalize) if beside else None
        if self.kinds is not None and argument in self.kinds:
            return self.kinds[argument], normal
        return None if beside is None else (beside.kind, normal)
