"""Regular expressions that cannot be made to hang: what a rule may be given, and how it is matched.

Refused where it is written: a repeat inside a repeat such as `(a+)+`, whose time `re` may double with every letter.
Everything else is matched by `re` while the text is short enough for the worst it could do, and in linear time above.
"""

import importlib
import re
from typing import Any, Final

from actguard.custody.linear import Linear, Unsupported
from actguard.exceptions import ActGuardUsageError

_ops: Any = importlib.import_module("re._constants")  # in every Python since 3.11, and untyped
_parser: Any = importlib.import_module("re._parser")
_WORK: Final = 1_000_000
"""Steps that `re` may take, at worst, before one pass is surer."""
_MANY: Final = 16
"""A repeat of more than this counts as without end."""


class SafePattern:
    """An expression that answers in time that grows with the text, and no faster.

    Raises:
        ActGuardUsageError: it does not compile, repeats a repeat, or contains what one pass cannot decide.
    """

    __slots__ = ("_linear", "_match", "_short", "source")

    def __init__(self, pattern: str | re.Pattern[str], *, casefold: bool = False, whole: bool = False) -> None:
        source: Any = getattr(pattern, "pattern", pattern)
        if not isinstance(source, str):
            raise _wrong(f"pattern must be a text or a compiled pattern of text, not {type(pattern).__name__}")
        if not source:
            raise _wrong("pattern must not be empty")
        flags = (0 if isinstance(pattern, str) else pattern.flags) | (re.IGNORECASE if casefold else 0)
        flags &= ~(re.DEBUG | re.LOCALE)
        try:
            compiled = re.compile(source, flags)
            parsed: Any = _parser.parse(source, flags)
            self._linear = Linear(parsed, parsed.state.flags, whole=whole)
        except re.error as error:
            raise _wrong(f"pattern does not compile: {error}") from None
        except (RecursionError, OverflowError, MemoryError):
            raise _wrong("pattern is nested too deep, or too large") from None
        except Unsupported as unsupported:
            raise _wrong(f"pattern cannot be matched in one pass, because {unsupported}") from None
        self.source = source
        self._match = compiled.fullmatch if whole else compiled.search
        degree = _degree(parsed)
        self._short = 0 if degree is None else int(_WORK ** (1 / max(1, degree + (not whole))))

    @property
    def shortest_long(self) -> int:
        """The longest text that `re` itself may be let loose on."""
        return self._short

    def matches(self, text: str) -> bool:
        """Whether it matches *text*: all of it if `whole`, else anywhere in it."""
        if len(text) <= self._short:
            return self._match(text) is not None
        return self._linear.matches(text)


def _degree(parsed: Any) -> int | None:
    """How many repeats a text can play off against each other; None: it is not known, as in `(?:ab?)*`."""
    degree = 0
    for op, value in parsed:
        if op in (_ops.MAX_REPEAT, _ops.MIN_REPEAT):
            least, most, inner = value
            within = _degree(inner)
            if most == _ops.MAXREPEAT or most > _MANY:
                if _endless(inner):
                    raise _wrong(
                        "pattern repeats a repeat, as in (a+)+: a text can be made for it that takes for ever. "
                        "Write it without the inner or the outer one"
                    )
                if within is None or within or _varies(inner):
                    return None
                degree += 1
            elif within is None or (most > 1 and _varies(inner)):
                return None
            else:
                degree += within * int(most) + (least != most)
        elif op is _ops.SUBPATTERN:
            within = _degree(value[3])
            if within is None:
                return None
            degree += within
        elif op is _ops.BRANCH:
            inside = [_degree(branch) for branch in value[1]]
            if None in inside:
                return None
            degree += sum(each for each in inside if each is not None)
    return degree


def _endless(parsed: Any) -> bool:
    """Whether something in *parsed* repeats without end."""
    for op, value in parsed:
        if op in (_ops.MAX_REPEAT, _ops.MIN_REPEAT):
            if value[1] == _ops.MAXREPEAT or value[1] > _MANY or _endless(value[2]):
                return True
        elif op is _ops.SUBPATTERN:
            if _endless(value[3]):
                return True
        elif op is _ops.BRANCH and any(_endless(branch) for branch in value[1]):
            return True
    return False


def _varies(parsed: Any) -> bool:
    """Whether *parsed* could match the same text in two ways: it has a choice in it."""
    return any(
        op is _ops.BRANCH
        or (op in (_ops.MAX_REPEAT, _ops.MIN_REPEAT) and (value[0] != value[1] or _varies(value[2])))
        or (op is _ops.SUBPATTERN and _varies(value[3]))
        for op, value in parsed
    )


def _wrong(message: str) -> ActGuardUsageError:
    return ActGuardUsageError(f"{message}.", argument="pattern")
