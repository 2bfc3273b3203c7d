"""Arguments and results made to get past a guard, to break it, or to hang it."""

import contextlib
import time
from collections.abc import Callable
from typing import Any

import pytest

from actguard import (
    AllowRegex,
    BlockRegex,
    NoSecret,
    OneOf,
    RequireFact,
    SameRecord,
    Threshold,
    UrlHost,
    enforce,
    prove,
    session,
)
from actguard.exceptions import GuardError, SessionUsageError

RULES = {
    "fact": RequireFact("value", "id"),
    "normal": RequireFact("value", "id", normalize="email"),
    "part": RequireFact("value", "id", part="url"),
    "same": SameRecord("value", "other", kinds={"value": "id", "other": "id"}),
    "threshold": Threshold("value", 5),
    "sum": Threshold("value", 5, cumulative=(60, 100)),
    "block": BlockRegex("value", r"rm\s+-rf"),
    "allow": AllowRegex("value", "[a-z]+"),
    "one": OneOf("value", ["a", "b"]),
    "host": UrlHost("value", "our.example"),
    "secret": NoSecret("value", "password"),
}


class Bomb:
    """Whatever is asked of it goes off."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError("boom")

    def __str__(self) -> str:
        raise RuntimeError("boom")

    __repr__ = __str__

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("boom")

    def __hash__(self) -> int:
        raise RuntimeError("boom")

    def __len__(self) -> int:
        raise RuntimeError("boom")

    def __iter__(self) -> Any:
        raise RuntimeError("boom")


class Chameleon(str):
    """A text that is equal to everything."""

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return hash("a")

    def __str__(self) -> str:
        return "a"


class Modest(int):
    """A number that is below everything."""

    def __gt__(self, other: object) -> bool:
        return False

    def __le__(self, other: object) -> bool:
        return True


class Pretender:
    __class__ = str  # type: ignore[assignment]


def circle() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def deep(levels: int) -> Any:
    value: Any = "x"
    for _ in range(levels):
        value = [value]
    return value


def deep_mapping(levels: int) -> Any:
    value: Any = "x"
    for _ in range(levels):
        value = {"a": value}
    return value


HOSTILE: dict[str, Callable[[], Any]] = {
    "bomb": Bomb,
    "bomb in a list": lambda: [Bomb()],
    "bomb in a mapping": lambda: {"a": Bomb()},
    "circle": circle,
    "deep": lambda: deep(100_000),
    "deep mapping": lambda: deep_mapping(10_000),
    "object": object,
    "function": lambda: print,
    "class": lambda: str,
    "pretender": Pretender,
    "nan": lambda: float("nan"),
    "complex": lambda: 1j,
    "huge number": lambda: 10**10_000,
    "million": lambda: "x" * 1_000_001,
    "many": lambda: ["x"] * 200_000,
    "lone surrogate": lambda: "\ud800",
    "endless": lambda: iter(int, 1),
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("value", HOSTILE)
def test_a_hostile_argument_is_refused_in_time_and_with_a_guards_error(here: session, rule: str, value: str) -> None:
    here.add_fact("password", "s3cr3t-Passw0rd")
    ran: list[str] = []

    @enforce([RULES[rule]])
    def act(value: Any, other: Any = "a") -> None:
        ran.append("ran")

    argument = HOSTILE[value]()
    started = time.thread_time()
    harmless = (value in ("many", "lone surrogate") and rule in ("block", "secret", "part")) or (
        value in ("million", "huge number") and rule == "part"
    )
    if harmless:
        with contextlib.suppress(GuardError):
            act(argument)
    else:
        with pytest.raises(GuardError):
            act(argument)
        assert ran == []
    assert time.thread_time() - started < 10


@pytest.mark.parametrize("rule", ["fact", "allow", "one"])
def test_a_text_that_claims_to_be_equal_is_not(here: session, rule: str) -> None:
    here.add_fact("id", "a")

    @enforce([RULES[rule]])
    def act(value: Any) -> None: ...

    with pytest.raises(GuardError):
        act(Chameleon("EVIL; rm"))


@pytest.mark.parametrize("rule", ["threshold", "sum"])
def test_a_number_that_claims_to_be_small_is_not(here: session, rule: str) -> None:
    @enforce([RULES[rule]])
    def act(value: Any) -> None: ...

    with pytest.raises(GuardError):
        act(Modest(6))


@pytest.mark.parametrize(
    "disguise", ["a\u200b", "a\u2060", "\ufeffa", "ａ", "a\x00", "а", "a\u0301", "A", " a", "a ", "a\n"]
)
def test_a_disguised_value_is_another_value(here: session, disguise: str) -> None:
    here.add_fact("id", "a")
    for rule in (RULES["fact"], RULES["one"], RequireFact("value", "id", normalize="number")):

        @enforce([rule])
        def act(value: Any) -> None: ...

        with pytest.raises(GuardError):
            act(disguise)


@pytest.mark.parametrize("result", HOSTILE)
@pytest.mark.parametrize("extract", [".", "[]", "a.b", "[].a", "a[].b[].c", lambda result: result])
def test_a_hostile_result_reaches_the_caller_and_proves_nothing(here: session, result: str, extract: Any) -> None:
    value = HOSTILE[result]()

    @prove("id", extract)
    def read() -> Any:
        return value

    error: GuardError | None = None
    try:
        assert read() is value
    except GuardError as caught:
        error = caught
    assert error is None or (error.code in ("EXTRACT_FAILED", "TOO_MANY_RESULTS") and error.result is value)
    assert len(here.facts()) <= 1


def test_a_result_that_is_much_too_large_is_not_gone_through(here: session) -> None:
    looked: list[int] = []

    def each(result: Any) -> Any:
        for value in result:
            looked.append(value)
            yield value

    @prove("id", each)
    def read() -> Any:
        return range(10**9)

    with pytest.raises(GuardError) as caught:
        read()
    assert caught.value.code == "TOO_MANY_RESULTS"
    assert caught.value.result == range(10**9)
    assert len(looked) == 201
    assert here.facts() == []


@pytest.mark.parametrize(
    "rule",
    [
        RequireFact("value", "id", part=lambda value: iter(int, 1)),
        RequireFact("value", "id", part="url"),
        RequireFact("value", "id"),
    ],
)
def test_an_argument_with_very_many_parts_is_refused_before_they_are_looked_up(here: session, rule: Any) -> None:
    @enforce([rule])
    def act(value: Any) -> None: ...

    with pytest.raises(GuardError) as caught:
        act([f"https://{number}.example" for number in range(20_000)])
    assert caught.value.code == "INVALID_ARGUMENT"


def test_a_long_prompt_is_searched_in_time(here: session) -> None:
    here.trust_prompt("ab" * 100_000)
    act = enforce([RequireFact("value", "id")])(lambda value: None)
    started = time.thread_time()
    for length in range(3, 100):
        with pytest.raises(GuardError):
            act("ab" * length)
    assert time.thread_time() - started < 10
    with pytest.raises(SessionUsageError):
        here.trust_prompt("x" * 200_001)


def test_an_error_of_the_tool_reaches_the_caller_unchanged(here: session) -> None:
    raised = LookupError("mine")

    @prove("id", ".")
    def read() -> None:
        raise raised

    with pytest.raises(LookupError) as caught:
        read()
    assert caught.value is raised
    assert caught.value.__context__ is None
