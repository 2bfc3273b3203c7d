"""Regular expressions in linear time: whether one matches, in one pass over the text, whatever the text.

The backtracking of `re` takes quadratic time and worse on texts made for it, with the interpreter lock held. Here the
parsed expression becomes a graph of steps (Thompson's construction), walked for all possibilities at once; sets of
steps that were met before are remembered. Only yes or no comes out, and no groups.
"""

import importlib
import re
from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any, Final

_ops: Any = importlib.import_module("re._constants")  # in every Python since 3.11, and untyped
MOST_STEPS = 5_000
_LAST_NEWLINE = "\n$"
"""The letter that stands for a newline at the very end: `$` is true before it."""
_MOST_SETS = 500

_Test = Callable[[str], bool]


class Unsupported(Exception):  # noqa: N818 - a finding about an expression
    """The expression has a part that one pass cannot decide: says which."""


class Linear:
    """*parsed*, which `re._parser.parse` returned, as something that takes linear time.

    Args:
        flags: those of the expression.
        whole: match the whole text; False: anywhere in it.
    """

    def __init__(self, parsed: Any, flags: int, *, whole: bool) -> None:
        self._tests: list[_Test | None] = []
        self._next: list[list[int]] = []
        self._look: list[Any] = []
        self._whole = whole
        self._accept = self._step()
        self._start = self._sequence(parsed, flags, self._accept)
        self._known: dict[tuple[frozenset[int], str], dict[str, tuple[frozenset[int], str] | bool]] = {}

    def matches(self, text: str) -> bool:
        """Whether the expression matches *text*."""
        state = (frozenset((self._start,)), "")
        moves = self._moves(state)
        last = [_LAST_NEWLINE] if text.endswith("\n") else []
        for letter in chain(text[: len(text) - len(last)], last):
            following = moves.get(letter)
            if following is None:
                following = self._move(state, letter, moves)
            if following is True or following is False:
                return following
            if following is not state:
                state = following
                moves = self._moves(state)
        return self._ends(state)

    def _moves(self, state: tuple[frozenset[int], str]) -> dict[str, Any]:
        moves = self._known.get(state)
        if moves is None:
            if len(self._known) >= _MOST_SETS:
                self._known = {}
            moves = self._known[state] = {}
        return moves

    def _move(self, state: tuple[frozenset[int], str], letter: str, moves: dict[str, Any]) -> Any:
        steps, before = state
        reached = self._reach(steps, before, letter)
        if self._accept in reached and not self._whole:
            following: Any = True
        else:
            after: set[int] = set() if self._whole else {self._start}
            for step in reached:
                test = self._tests[step]
                if test is not None and test(letter):
                    after.update(self._next[step])
            following = (frozenset(after), _kind(letter)) if after else False
        if len(moves) < 1_000:
            moves[letter] = following
        return following

    def _ends(self, state: tuple[frozenset[int], str]) -> bool:
        return self._accept in self._reach(state[0], state[1], "")

    def _reach(self, steps: Iterable[int], before: str, letter: str) -> set[int]:
        """The steps that can be stood on between a letter of kind *before* and *letter*; "" is no letter."""
        reached: set[int] = set()
        waiting = list(steps)
        while waiting:
            step = waiting.pop()
            if step in reached:
                continue
            reached.add(step)
            if self._tests[step] is None and (self._look[step] is None or self._look[step](before, letter)):
                waiting.extend(self._next[step])
        return reached

    # ---- building ----

    def _step(self, test: _Test | None = None, *following: int) -> int:
        if len(self._tests) >= MOST_STEPS:
            raise Unsupported("it is too large")
        self._tests.append(test)
        self._next.append(list(following))
        self._look.append(None)
        return len(self._tests) - 1

    def _sequence(self, parsed: Any, flags: int, after: int) -> int:
        """The first step of *parsed*, which goes on with the step *after*."""
        for op, value in reversed(list(parsed)):
            after = self._part(op, value, flags, after)
        return after

    def _part(self, op: Any, value: Any, flags: int, after: int) -> int:
        if op in (_ops.LITERAL, _ops.NOT_LITERAL, _ops.ANY, _ops.IN):
            return self._step(_test(op, value, flags), after)
        if op is _ops.SUBPATTERN:
            _, added, removed, inner = value
            return self._sequence(inner, (flags | added) & ~removed, after)
        if op is _ops.BRANCH:
            return self._step(None, *(self._sequence(branch, flags, after) for branch in value[1]))
        if op in (_ops.MAX_REPEAT, _ops.MIN_REPEAT):
            return self._repeat(value[0], value[1], value[2], flags, after)
        if op is _ops.AT:
            step = self._step(None, after)
            self._look[step] = _place(value, flags)
            return step
        raise Unsupported(f"it contains {str(op).lower().replace('_', ' ')}")

    def _repeat(self, least: int, most: Any, inner: Any, flags: int, after: int) -> int:
        if most == _ops.MAXREPEAT:
            loop = self._step()
            self._next[loop] = [self._sequence(inner, flags, loop), after]
            first = loop
        else:
            first = after
            for _ in range(int(most) - least):
                first = self._step(None, self._sequence(inner, flags, first), after)
        for _ in range(least):
            first = self._sequence(inner, flags, first)
        return first


def _kind(letter: str) -> str:
    """What places need to know of the letter before them."""
    return "\n" if letter[0] == "\n" else "w" if _word(letter) else "."


def _word(letter: str) -> bool:
    return letter.isalnum() or letter == "_"


def _test(op: Any, value: Any, flags: int) -> _Test:
    """Whether one letter fits: asked of `re` itself, so that classes and cases are the same as there."""
    own = flags & (re.IGNORECASE | re.ASCII | re.DOTALL)
    return _single(op, value, own).__contains__


class _single:  # noqa: N801 - a test in the shape of a container
    def __init__(self, op: Any, value: Any, flags: int) -> None:
        self._match = re.compile(_source(op, value), flags).fullmatch

    def __contains__(self, letter: object) -> bool:
        return self._match(str(letter)[0]) is not None


_CATEGORIES: Final = {
    _ops.CATEGORY_DIGIT: r"\d",
    _ops.CATEGORY_NOT_DIGIT: r"\D",
    _ops.CATEGORY_SPACE: r"\s",
    _ops.CATEGORY_NOT_SPACE: r"\S",
    _ops.CATEGORY_WORD: r"\w",
    _ops.CATEGORY_NOT_WORD: r"\W",
}


def _source(op: Any, value: Any) -> str:
    if op is _ops.ANY:
        return "."
    if op is _ops.LITERAL:
        return re.escape(chr(value))
    if op is _ops.NOT_LITERAL:
        return f"[^{_escaped(value)}]"
    return "[" + "".join(map(_item, value)) + "]"


def _item(item: tuple[Any, Any]) -> str:
    op, value = item
    if op is _ops.NEGATE:
        return "^"
    if op is _ops.LITERAL:
        return _escaped(value)
    if op is _ops.RANGE:
        return f"{_escaped(value[0])}-{_escaped(value[1])}"
    return _CATEGORIES[value]


def _escaped(code: int) -> str:
    return f"\\U{code:08x}"


def _place(value: Any, flags: int) -> Callable[[str, str], bool]:
    """Whether a place between two letters is the one meant: *before* as `_kind` gives it, *letter* the one behind."""
    lines = bool(flags & re.MULTILINE)
    if value is _ops.AT_BEGINNING_STRING or (value is _ops.AT_BEGINNING and not lines):
        return lambda before, letter: before == ""
    if value is _ops.AT_BEGINNING:
        return lambda before, letter: before in ("", "\n")
    if value is _ops.AT_END_STRING:
        return lambda before, letter: letter == ""
    if value is _ops.AT_END:
        ends = ("", "\n", _LAST_NEWLINE) if lines else ("", _LAST_NEWLINE)
        return lambda before, letter: letter in ends
    if value in (_ops.AT_BOUNDARY, _ops.AT_NON_BOUNDARY) and not flags & re.ASCII:
        wanted = value is _ops.AT_BOUNDARY
        return lambda before, letter: ((before == "w") != _word(letter)) is wanted
    raise Unsupported("it contains a place that one pass cannot see (\\b in ASCII mode)")
