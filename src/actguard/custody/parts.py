"""Facts inside a text: the links and addresses in a body that is about to leave.

Found is what a reader's program would make a link of, also where wide or invisible letters, or another full stop than
the dot, hide it. One pass over the text as it is, and one as it reads.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from actguard.custody.patterns import SafePattern
from actguard.custody.values import Unfit, fold, strings
from actguard.exceptions import ActGuardUsageError
from actguard.pipeline.guard import called

Part = Callable[[Any], Iterator[Any]]

_SEPARATORS = re.compile(r"[\s<>\"'()\[\]{}|`,;]+")
_LONGEST: Final = 4_096
_TRAILING: Final = ".:!?*_~"
_DOMAIN = re.compile(r"[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63}){1,8}(?::[0-9]{1,5})?[/?#]")
_SCHEMES: Final = ("http:", "https:", "ftp:", "mailto:", "data:", "javascript:", "file:", "tel:", "sms:")


def part_finder(spec: Any) -> Part:
    """What finds the parts that *spec* means: "url", "email", a pattern, or a function.

    Raises:
        ActGuardUsageError: it is neither, or would have to be awaited.
    """
    if isinstance(spec, re.Pattern):
        return _matching(spec)  # pyright: ignore[reportUnknownArgumentType] - of text, which SafePattern sees to
    if callable(spec):
        called("part", spec)
        return _called(spec)
    if spec == "url":
        return lambda value: _tokens(value, _links)
    if spec == "email":
        return lambda value: _tokens(value, _addresses)
    raise ActGuardUsageError(
        f"part must be 'url', 'email', a compiled pattern or a function, not {spec!r}", argument="part"
    )


def _tokens(value: Any, find: Callable[[str], Iterable[str]]) -> Iterator[str]:
    seen: set[str] = set()
    for text in strings(value):
        for reading in _readings(text):
            for token in _SEPARATORS.split(reading):
                if len(token) > _LONGEST and any(mark in token for mark in (":", "@", "www.")):
                    raise Unfit("a word in it is too long to be looked into")
                for part in find(token):
                    if part not in seen:
                        seen.add(part)
                        yield part


def _readings(text: str) -> tuple[str, ...]:
    """*text* as it is, and as it reads."""
    folded = fold(text)
    return (text,) if folded == text else (text, folded)


def _links(token: str) -> Iterator[str]:
    lowered = token.lower().lstrip("*_~")
    start = lowered.find("://")
    if start > 0 or lowered.startswith(("//", "www.", *_SCHEMES)) or _DOMAIN.match(lowered):
        yield token.lstrip("*_~").rstrip(_TRAILING)
        return
    for mark in ("www.", *_SCHEMES):
        at = lowered.find(mark)
        if at > 0 and not lowered[at - 1].isalnum():
            yield token[len(token) - len(lowered) + at :].rstrip(_TRAILING)
            return


def _addresses(token: str) -> Iterator[str]:
    word = token.strip(_TRAILING)
    at = word.rfind("@")
    if 0 < at < len(word) - 1:
        yield word[7:] if word.lower().startswith("mailto:") else word


def _matching(pattern: re.Pattern[str]) -> Part:
    safe = SafePattern(pattern)

    def find(value: Any) -> Iterator[str]:
        for text in strings(value):
            for reading in _readings(text):
                if len(reading) > safe.shortest_long:
                    raise Unfit("too long a text for the pattern of its parts")
                for found in pattern.finditer(reading):
                    groups = found.groups()
                    yield found[0] if not groups else next(group for group in groups if group is not None)

    return find


def _called(function: Callable[[Any], Any]) -> Part:
    def find(value: Any) -> Iterator[Any]:
        found = function(value)
        yield from () if found is None else (found,) if isinstance(found, str) else found

    return find
