"""What the user said: a text that vouches for the values it names, looked through when a rule asks.

Nothing is kept for every word of a prompt. A value is named if it stands in the text as a whole: `alice@x.example` is
not named by `malice@x.example`, nor `12` by `2012`. Without a list of kinds, very short values are not believed.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeGuard

from actguard.custody.patterns import SafePattern
from actguard.exceptions import SessionUsageError

_SHORT: Final = 3
_JOINERS: Final = frozenset("-._@/+:%&=#~'’")
_LONGEST: Final = 200_000
_REMEMBERED: Final = 1_024
_PLACES: Final = 1_000
"""Places of a prompt where a value is looked for: what stands nowhere by itself in so many is not named."""


class Prompt:
    """A text of the user's, and the kinds of facts that he may name in it.

    Args:
        kinds: None: every kind. Names: these. A mapping: these, where the whole value matches the kind's pattern.
    """

    __slots__ = ("_answers", "_folded", "_kinds", "_named", "_text")

    def __init__(self, text: str, kinds: Iterable[str] | Mapping[str, str | re.Pattern[str]] | None = None) -> None:
        if not isinstance(text, str) or len(text) > _LONGEST:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise SessionUsageError(f"prompt must be a text of at most {_LONGEST:,} characters", argument="prompt")
        self._text = " ".join(text.split())
        self._folded = self._text.casefold()
        self._kinds: dict[str, SafePattern | None] | None = None
        if _is_mapping(kinds):
            self._kinds = {_name(kind): SafePattern(pattern, whole=True) for kind, pattern in kinds.items()}
        elif kinds is not None:
            if not isinstance(kinds, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise SessionUsageError(f"kinds must be names of kinds, not {kinds!r}", argument="kinds")
            self._kinds = {_name(kind): None for kind in ((kinds,) if isinstance(kinds, str) else kinds)}
        self._answers: dict[tuple[str, str], bool] = {}

    def names(self, kind: str, value: Any) -> bool:
        """Whether the user named *value*, and may for *kind*."""
        if self._kinds is not None and kind not in self._kinds:
            return False
        if isinstance(value, bool) or not isinstance(value, str | int):
            return False
        text = " ".join(str(value).split()) if isinstance(value, str) or abs(value) < 10**30 else ""
        if not text or (self._kinds is None and len(text) < _SHORT):
            return False
        answer = self._answers.get((kind, text))
        if answer is None:
            pattern = None if self._kinds is None else self._kinds[kind]
            answer = (pattern is None or pattern.matches(text)) and self._holds(text)
            if len(self._answers) < _REMEMBERED:
                self._answers[kind, text] = answer
        return answer

    def _holds(self, text: str) -> bool:
        folds = "@" in text or "://" in text  # addresses and links are the same in large and small letters
        whole, sought = (self._folded, text.casefold()) if folds else (self._text, text)
        at = whole.find(sought)
        for _ in range(_PLACES):
            if at < 0:
                break
            end = at + len(sought)
            if not _goes_on(whole[max(0, at - 2) : at][::-1]) and not _goes_on(whole[end : end + 2]):
                return True
            at = whole.find(sought, at + 1)
        return False


def _is_mapping(kinds: Any) -> TypeGuard[Mapping[str, str | re.Pattern[str]]]:
    return isinstance(kinds, Mapping)


def _goes_on(beside: str) -> bool:
    """Whether a word goes on with the letters *beside* it, the nearest first."""
    if not beside:
        return False
    if beside[0] in _JOINERS:
        return len(beside) > 1 and beside[1].isalnum()
    return beside[0].isalnum()


def _name(kind: Any) -> str:
    if not isinstance(kind, str) or not kind:
        raise SessionUsageError(f"kinds must be names of kinds, not {kind!r}", argument="kinds")
    return kind
