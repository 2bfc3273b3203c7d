"""Patterns: the same answer as `re`, and never its time."""

import re
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from actguard.custody.patterns import SafePattern
from actguard.exceptions import ActGuardUsageError

ATOMS = st.sampled_from(
    [*"ab_ 1-\n", r"\d", r"\s", r"\w", r"\W", ".", "[ab]", "[^a]", r"[a-c\d]", "^", "$", r"\b", r"\A", r"\Z", r"(?i:A)"]
)
PATTERNS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=4).map("".join),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: f"(?:{'|'.join(parts)})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{1,3}", "*?"])).map(
            lambda both: f"(?:{both[0]}){both[1]}"
        ),
    ),
    max_leaves=8,
)
TEXTS = st.text("abcA_ 1-\né", max_size=12)


@given(PATTERNS, TEXTS, st.booleans(), st.sampled_from([0, re.MULTILINE, re.DOTALL, re.IGNORECASE]))
@example("a$", "a\n", False, 0)
@example("a$", "a\nb", False, re.MULTILINE)
@example("$", "", False, 0)
def test_one_pass_says_what_re_says(pattern: str, text: str, whole: bool, flags: int) -> None:
    try:
        safe = SafePattern(re.compile(pattern, flags), whole=whole)
    except ActGuardUsageError:
        return
    compiled = re.compile(pattern, flags)
    expected = (compiled.fullmatch if whole else compiled.search)(text) is not None

    safe._short = -1  # always in one pass
    assert safe.matches(text) is expected
    safe._short = 10**9  # always by re
    assert safe.matches(text) is expected


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a*)*b", "(?:a{2,})*", "((a|b)+c?)+", "(.*,){20,}", "(?:x+y*)*z"])
def test_a_repeat_of_a_repeat_is_refused_where_it_is_written(pattern: str) -> None:
    with pytest.raises(ActGuardUsageError, match="repeats a repeat") as refused:
        SafePattern(pattern)

    assert refused.value.argument == "pattern"


@pytest.mark.parametrize(
    "pattern", ["(?:a{1,16})+", "(?:a{16})+", "(?:a{1,16}b)*", "(?:ab?)*", "(?:a|b)+", "(?:abc){17,}"]
)
def test_a_repeat_that_ends_may_be_repeated(pattern: str) -> None:
    assert SafePattern(pattern).matches("ab" * 20) == (re.search(pattern, "ab" * 20) is not None)


@pytest.mark.parametrize(
    "pattern", ["(?:a{1,17})+", "(?:a{17})+", "(?:x|a+)+", "(?:(a+))*", "(?:(?:a{1,3})+b)*", "(?:a+?)*", "(?:a+){17}"]
)
def test_a_repeat_without_end_may_not(pattern: str) -> None:
    with pytest.raises(ActGuardUsageError, match="repeats a repeat"):
        SafePattern(pattern)


@pytest.mark.parametrize(
    ("pattern", "whole", "longest"),
    [
        ("abc", True, 1_000_000),
        ("abc", False, 1_000_000),
        ("a+", True, 1_000_000),
        ("a+", False, 1_000),
        ("a{17}", False, 1_000),
        ("a+b+", True, 1_000),
        ("(a+)b+", False, 99),
        ("a+|b+", False, 99),
        ("a?b", True, 1_000_000),
        ("a?b", False, 1_000),
        ("a{2}b{2}", False, 1_000_000),
        ("(?:a?){2}", False, 0),
        ("(?:ab){3}", False, 1_000_000),
        ("(?:ab?)*", False, 0),
        ("(?:a|bc)+", False, 0),
        ("(?:(?:a?)b)+", False, 0),
        ("(?:a|b)c", False, 1_000_000),
        ("x(?:(?:ab?)*|c)", False, 0),
        ("((?:ab?)*)", False, 0),
        ("(?:(?:ab?)*){1}", False, 0),
    ],
)
def test_re_is_let_loose_on_texts_for_which_its_worst_is_a_million_steps(
    pattern: str, whole: bool, longest: int
) -> None:
    assert SafePattern(pattern, whole=whole).shortest_long == longest


def test_flags_of_a_compiled_pattern_are_kept_and_debugging_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    compiled = re.compile("a.b", re.DOTALL | re.IGNORECASE)
    assert SafePattern(compiled).matches("A\nB")
    assert SafePattern(re.compile("a"), casefold=True).matches("A")
    assert not SafePattern(re.compile("a")).matches("A")
    debugged = re.compile("a", re.DEBUG)
    capsys.readouterr()
    SafePattern(debugged)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("pattern", "word"),
    [
        ("(", "compile"),
        ("", "empty"),
        (r"(a)\1", "groupref"),
        ("(?=a)b", "assert"),
        ("a{1,9}" * 2000, "large"),
        (7, "text"),
    ],
)
def test_a_pattern_that_cannot_be_held_to_its_time_is_refused(pattern: str, word: str) -> None:
    with pytest.raises(ActGuardUsageError, match=word):
        SafePattern(pattern)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (r"\s+$", " " * 1_000_000 + "x"),
        (r"a.*b", "a" * 1_000_000),
        (r"a.*b.*c.*d", "ab" * 500_000),
        (r"(?:a|ab|b)*c", "ab" * 500_000),
        (r"(?:aa?)*$", "a" * 1_000_000 + "x"),
        (r"(x{1,10}){1,9}y", "x" * 1_000_000),
    ],
)
def test_a_text_made_to_hang_it_takes_one_pass(pattern: str, text: str) -> None:
    safe = SafePattern(pattern)
    started = time.thread_time()
    safe.matches(text)

    assert time.thread_time() - started < 10
