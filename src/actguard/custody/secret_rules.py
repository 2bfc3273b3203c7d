"""What must not leave: values that were read as secrets, in whatever dress an argument carries them."""

import base64
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from actguard.custody.kinds import HEAD
from actguard.custody.rule import Call, Denial, Question, Rule, Shape, flag, given, hinted, lacks, missing, names, unfit
from actguard.custody.values import Unfit, fold, strings
from actguard.pipeline.arguments import MISSING
from actguard.stores.facts import Known

HEAD_LENGTH: Final = 120

_SHORT: Final = 6
_LONGEST: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class NoSecret(Rule):
    """No value of these kinds that was read in this session is in the argument: neither as it is, nor spaced out, in
    other letters, backwards, percent-encoded, in hexadecimal or in base64.

    Args:
        arg: the argument, or a path into it.
        kinds: kinds of facts that `prove` names: "password", "api_key".
        hint: what to do instead, for the model.
        optional: a call without the argument is fine, and so is an element of it that is not there.
    """

    arg: str
    kinds: str | tuple[str, ...]
    hint: str = field(default="", kw_only=True)
    optional: bool = field(default=True, kw_only=True)
    lists: tuple[str, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        kinds = names(NoSecret, "kinds", self.kinds)
        flag(NoSecret, "optional", self.optional)
        hinted(NoSecret, self.hint)
        object.__setattr__(self, "kinds", kinds)
        object.__setattr__(self, "lists", (*kinds, *(kind + HEAD for kind in kinds)))

    def validate(self, shape: Shape) -> None:
        shape.learn("arg", self.arg)

    def ask(self, call: Call) -> Denial | Question | None:
        value = call.value(self.arg)
        if value is MISSING:
            return None if self.optional else missing(self, self.arg)
        try:
            if not self.optional and lacks(value):
                return missing(self, self.arg)
            secrets = [secret for fact in call.session.known(self.lists) if (secret := _plain(fact))]
            if not secrets:
                return None
            for text in strings(given(value), joined=True):
                if len(text) > _LONGEST:
                    raise Unfit("a text in it is too long")
                views = list(_views(text))
                if any(_carries(views, secret) for secret in secrets):
                    return Denial(
                        "SECRET_LEAK",
                        f"{self.arg!r} contains a value that may not leave",
                        self.arg,
                        "secret",
                        self.hint or "Leave it out.",
                    )
        except Unfit as error:
            return unfit(self.arg, value, error)
        return None


def _plain(fact: Known) -> str | None:
    """The text of a fact; None: it is hashed, and its head stands beside it."""
    form, _, text = fact.key[1].partition(":")
    return text if form in ("s", "i") else None


def _views(text: str) -> Iterator[str]:
    """*text* in the ways in which it might be read back."""
    folded = fold(text).casefold()
    yield folded
    yield _squeezed(folded)
    if "%" in folded:
        yield _squeezed(fold(urllib.parse.unquote(text)).casefold())
    yield "".join(text.split())  # base64 has large and small letters


def _squeezed(text: str) -> str:
    return "".join(letter for letter in text if letter.isalnum())


def _carries(views: list[str], secret: str) -> bool:
    folded = fold(secret).casefold()
    squeezed = _squeezed(folded)
    if len(squeezed) < _SHORT:
        return _stands_alone(views[0], folded)
    exact = views[-1]
    return (
        any(squeezed in view or squeezed[::-1] in view for view in views[1:-1])
        or folded in views[0]
        or _squeezed(secret.encode("utf-8", "replace").hex()) in views[1]
        or any(form in exact for form in _base64(secret))
    )


def _stands_alone(text: str, word: str) -> bool:
    at = text.find(word) if word else -1
    while at >= 0:
        before, after = text[at - 1 : at] if at else "", text[at + len(word) : at + len(word) + 1]
        if not before.isalnum() and not after.isalnum():
            return True
        at = text.find(word, at + 1)
    return False


def _base64(secret: str) -> Iterator[str]:
    """What *secret* looks like in base64, at each of the three places where a letter of it may begin."""
    plain = secret.encode("utf-8", "replace")
    for shift in range(3):
        coded = base64.b64encode(b"\0" * shift + plain).decode().rstrip("=")
        inner = coded[(0, 2, 3)[shift] : len(coded) - (1 if (len(plain) + shift) % 3 else 0)]
        if len(inner) >= _SHORT:
            yield inner
            yield inner.replace("+", "-").replace("/", "_")


def head_of(text: str) -> str:
    """What is kept in the open of a text that is too long to be kept."""
    return text[:HEAD_LENGTH]
