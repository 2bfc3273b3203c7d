"""Rules about what stands in an argument: patterns that must not or must match, values from a list, hosts of links.

Texts are looked for wherever they are: in lists, mappings and records, as deep as they go. `BlockRegex` also reads them
as a person would see them, wide letters narrow and invisible ones gone; what allows does not, so that nothing that only
looks right is allowed.
"""

import re
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from actguard.custody.patterns import SafePattern
from actguard.custody.rule import (
    Call,
    Denial,
    Question,
    Rule,
    Shape,
    flag,
    given,
    hinted,
    invalid,
    lacks,
    missing,
    names,
    unfit,
    wrong,
)
from actguard.custody.values import Unfit, encode, fold, strings
from actguard.exceptions import ActGuardUsageError
from actguard.pipeline.arguments import MISSING

_LONGEST: Final = 1_000_000


class _TextRule(Rule):
    """What rules about texts share: they go through every text in one argument."""

    __slots__ = ()
    joins: ClassVar[bool] = False
    """Whether a list of texts is also read as one line."""
    allows: ClassVar[bool] = False
    """Whether it says what may be in the argument; then something must be."""
    arg: str
    optional: bool
    max_length: int
    hint: str

    def validate(self, shape: Shape) -> None:
        shape.learn("arg", self.arg)

    def ask(self, call: Call) -> Denial | Question | None:
        value = call.value(self.arg)
        if value is MISSING:
            return None if self.optional else missing(self, self.arg)
        empty = self.allows and not self.optional
        try:
            if not self.optional and lacks(value):
                return missing(self, self.arg)
            for text in strings(given(value), joined=self.joins):
                empty = False
                if len(text) > self.max_length:
                    return invalid(self.arg, f"must not be longer than {self.max_length} characters")
                denied = self.check_text(text)
                if denied is not None:
                    return denied
        except Unfit as error:
            return unfit(self.arg, value, error)
        return missing(self, self.arg) if empty else None

    def check_text(self, text: str) -> Denial | None:
        raise NotImplementedError

    def _check_options(self) -> None:
        flag(type(self), "optional", self.optional)
        hinted(type(self), self.hint)
        if type(self.max_length) is not int or self.max_length < 1:
            raise wrong(type(self), "max_length", "a whole number, 1 or more", self.max_length)


@dataclass(frozen=True, slots=True)
class BlockRegex(_TextRule):
    """No text in the argument matches the pattern, neither as it is nor as it reads.

    Args:
        arg: the argument, or a path into it.
        pattern: searched for anywhere in a text.
        casefold: large and small letters are the same.
        optional: a call without the argument is fine, and so is an element of it that is not there.
        max_length: characters of one text; a longer one is refused.
        hint: what to do instead, for the model.
    """

    arg: str
    pattern: str | re.Pattern[str]
    casefold: bool = field(default=False, kw_only=True)
    optional: bool = field(default=False, kw_only=True)
    max_length: int = field(default=_LONGEST, kw_only=True)
    hint: str = field(default="", kw_only=True)
    _safe: Any = field(init=False, repr=False, compare=False)
    joins: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self._check_options()
        flag(BlockRegex, "casefold", self.casefold)
        object.__setattr__(self, "_safe", SafePattern(self.pattern, casefold=self.casefold))

    def check_text(self, text: str) -> Denial | None:
        folded = fold(text)
        if self._safe.matches(text) or (folded != text and self._safe.matches(folded)):
            return Denial(
                "PATTERN_BLOCKED", f"{self.arg!r} contains what may not be in it", self.arg, "blocked", self.hint
            )
        return None


@dataclass(frozen=True, slots=True)
class AllowRegex(_TextRule):
    """Every text in the argument matches the pattern from its first to its last character.

    Args:
        arg: the argument, or a path into it.
        pattern: matches the whole of a text.
        casefold: large and small letters are the same.
        optional: a call without the argument is fine, and so is an element of it that is not there.
        max_length: characters of one text; a longer one is refused.
        hint: what to do instead, for the model.
    """

    arg: str
    pattern: str | re.Pattern[str]
    casefold: bool = field(default=False, kw_only=True)
    optional: bool = field(default=False, kw_only=True)
    max_length: int = field(default=_LONGEST, kw_only=True)
    hint: str = field(default="", kw_only=True)
    _safe: Any = field(init=False, repr=False, compare=False)
    allows: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self._check_options()
        flag(AllowRegex, "casefold", self.casefold)
        object.__setattr__(self, "_safe", SafePattern(self.pattern, casefold=self.casefold, whole=True))

    def check_text(self, text: str) -> Denial | None:
        if self._safe.matches(text):
            return None
        return Denial(
            "PATTERN_BLOCKED", f"{self.arg!r} does not have the form it must have", self.arg, "not_allowed", self.hint
        )


@dataclass(frozen=True, slots=True)
class OneOf(Rule):
    """The argument is one of some values, and of the same type; of a list, each element is.

    Args:
        arg: the argument, or a path into it.
        values: what it may be.
        optional: a call without the argument is fine, and so is an element of it that is not there.
        hint: what to do instead, for the model.
    """

    arg: str
    values: tuple[Any, ...]
    optional: bool = field(default=False, kw_only=True)
    hint: str = field(default="", kw_only=True)
    _known: frozenset[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        flag(OneOf, "optional", self.optional)
        hinted(OneOf, self.hint)
        given: Any = self.values
        if not isinstance(given, tuple | list | set | frozenset) or not given:
            raise wrong(OneOf, "values", "a list of values", given)
        try:
            known = frozenset(encode(value) for value in given)  # pyright: ignore[reportUnknownVariableType]
        except (Unfit, ValueError, TypeError) as error:
            raise ActGuardUsageError(f"OneOf: a value cannot be compared: {error}", argument="values") from None
        object.__setattr__(self, "values", tuple(given))  # pyright: ignore[reportUnknownArgumentType]
        object.__setattr__(self, "_known", known)

    def validate(self, shape: Shape) -> None:
        shape.learn("arg", self.arg)

    def ask(self, call: Call) -> Denial | Question | None:
        for value in call.each(self.arg):
            if value is MISSING or value is None:
                if self.optional:
                    continue
                return missing(self, self.arg)
            try:
                if encode(value) not in self._known:
                    return Denial(
                        "VALUE_NOT_ALLOWED",
                        f"{self.arg!r} is none of the values it may be",
                        self.arg,
                        "not_allowed",
                        self._say(),
                    )
            except Unfit as error:
                return unfit(self.arg, value, error)
        return None

    def _say(self) -> str:
        return self.hint or (f"It may be {', '.join(map(repr, self.values))}." if len(self.values) <= 20 else "")


_HOST = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
_ALLOWED = re.compile(r"(?:\*\.)?[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63}){0,20}")
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,30})://([^/?#]{1,300})(?:[/?#].*)?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class UrlHost(_TextRule):
    """The argument is a URL of one of these hosts; of a list, each element is. A URL that two programs could read
    differently (a user name, a backslash, a letter that is not ASCII, in or before the host) is refused.

    Args:
        arg: the argument, or a path into it.
        hosts: exact names, or `*.example.com` for every name below `example.com`.
        schemes: what may stand before `://`.
        optional: a call without the argument is fine, and so is an element of it that is not there.
        max_length: characters of the URL.
        hint: what to do instead, for the model.
    """

    arg: str
    hosts: str | tuple[str, ...]
    schemes: tuple[str, ...] = field(default=("https", "http"), kw_only=True)
    optional: bool = field(default=False, kw_only=True)
    max_length: int = field(default=8_192, kw_only=True)
    hint: str = field(default="", kw_only=True)
    allows: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self._check_options()
        hosts = tuple(host.lower().rstrip(".") for host in names(UrlHost, "hosts", self.hosts))
        for host in hosts:
            if not _ALLOWED.fullmatch(host):
                raise wrong(
                    UrlHost, "hosts", "names such as 'example.com' or '*.example.com' (punycode for others)", host
                )
        object.__setattr__(self, "hosts", hosts)
        object.__setattr__(self, "schemes", tuple(scheme.lower() for scheme in names(UrlHost, "schemes", self.schemes)))

    def check_text(self, text: str) -> Denial | None:
        host = self._host(text)
        if host is not None and any(_covers(allowed, host) for allowed in self.hosts):
            return None
        return Denial(
            "HOST_NOT_ALLOWED",
            f"{self.arg!r} is not a plain URL of a host that it may lead to",
            self.arg,
            "not_allowed" if host else "unreadable",
            self.hint or f"It may lead to {', '.join(self.hosts)}.",
        )

    def _host(self, text: str) -> str | None:
        if not text.isprintable() or " " in text or "\\" in text:
            return None
        found = _URL.fullmatch(text)
        if found is None or found[1].lower() not in self.schemes:
            return None
        name, _, port = found[2].partition(":")
        name = name.lower().rstrip(".")
        if port and not (port.isascii() and port.isdigit() and len(port) <= 5):
            return None
        return name if len(name) <= 253 and _HOST.fullmatch(name) else None


def _covers(allowed: str, host: str) -> bool:
    return host.endswith(allowed[1:]) if allowed.startswith("*.") else host == allowed
