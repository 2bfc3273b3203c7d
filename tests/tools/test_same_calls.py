"""Which values are the same, and which are not, to whoever compares calls."""

import array
import collections
import dataclasses
import datetime
import decimal
import enum
import itertools
import types
import uuid
from typing import Any, NamedTuple

import pytest

from actguard.exceptions import CircuitBreakerConfigurationError, ToolGuardError
from actguard.tools.canonical import canonical, digest
from actguard.tools.circuit_breaker import circuit_breaker, circuits


@dataclasses.dataclass
class Point:
    x: Any
    y: Any = 0


@dataclasses.dataclass
class Place:
    x: Any
    y: Any = 0


class Pair(NamedTuple):
    x: Any
    y: Any


class Model:
    """As pydantic models are."""

    def __init__(self, **content: Any) -> None:
        self.content = content
        self.cache = object()

    def model_dump(self) -> dict[str, Any]:
        return self.content


class Plain:
    def __init__(self, **content: Any) -> None:
        self.__dict__.update(content)


class Whole(int):
    """A number with an opinion of its own."""

    def __format__(self, spec: str) -> str:
        return "0"


class Colour(enum.IntEnum):
    RED = 3


SAME: list[tuple[Any, Any]] = [
    ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    ({"a": {"c": 1, "d": 2}}, {"a": {"d": 2, "c": 1}}),
    ({"a": 1}, collections.OrderedDict(a=1)),
    ({"a": 1}, types.MappingProxyType({"a": 1})),
    ([1, 2], (1, 2)),
    ((1, 2), Pair(1, 2)),
    ({3, 1, 2}, {2, 3, 1}),
    ({1}, frozenset({1})),
    (b"x", bytearray(b"x")),
    (b"x", memoryview(b"x")),
    (Point(1, 2), Point(1, 2)),
    (Model(a=1), Model(a=1)),
    (Plain(a=1), Plain(a=1)),
    (Plain(), Plain()),
    (3, Whole(3)),
    (3, Colour.RED),
    (uuid.UUID(int=1), uuid.UUID(int=1)),
    (decimal.Decimal("1.0"), decimal.Decimal("1.0")),
    (float("nan"), float("nan")),
    ("\ud800", "\ud800"),
    (array.array("i", range(5)), array.array("i", range(5))),
]

OTHER: list[Any] = [
    None,
    "None",
    True,
    False,
    1,
    1.0,
    "1",
    -1,
    0,
    0.0,
    -0.0,
    255,
    "",
    "a",
    "ab",
    b"",
    b"a",
    [],
    {},
    set(),
    [None],
    [[]],
    [[], []],
    [[[]]],
    ["a", "b"],
    ["ab"],
    ["b", "a"],
    [1, [2]],
    [[1], 2],
    [1, 2],
    {1, 2},
    {1},
    {"a"},
    {1, "a"},
    {"a": "b"},
    {"b": "a"},
    {"a": ["b"]},
    {"a": 1},
    {"a": 1, "b": 2},
    {"a": 2, "b": 1},
    {1: "a"},
    {"1": "a"},
    Point(1, 2),
    Point(2, 1),
    Place(1, 2),
    Model(a=1),
    Model(a=2),
    Plain(a=1),
    Plain(a=2),
    Plain(),
    decimal.Decimal("1"),
    decimal.Decimal("1.0"),
    datetime.date(2026, 1, 2),
    datetime.datetime(2026, 1, 2),  # noqa: DTZ001 - no time zone is a value, too
    uuid.UUID(int=1),
    float("inf"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_these_are_the_same(one, other):
    assert digest(one) == digest(other)
    assert digest([one]) == digest([other])
    assert digest({"deep": one}) == digest({"deep": other})


def test_these_all_differ():
    texts = [canonical(value) for value in OTHER]
    assert len(set(texts)) == len(OTHER)
    assert len({digest(value) for value in OTHER}) == len(OTHER)
    assert len({canonical([value]) for value in OTHER}) == len(OTHER)


def test_records_of_earlier_processes_stay_comparable():
    """Fingerprints and derived keys are kept on disk and in Redis: their text must not change between releases."""
    call = {"to": ["bob", 7, -1.5, None, True], "tags": {"b", "a"}, 1: (b"\x00\xff", {})}

    assert canonical(call) == "{i1;[y00ff;{}]s2:to[s3:bobi7;f-1.5;None;True;]s4:tags<s1:as1:b>}"
    assert canonical(decimal.Decimal("1.10")) == "o15:decimal.Decimal15:Decimal('1.10')"
    assert digest(call) == "b9cdb732ed5782ed4a68804a41a378a8"


def test_no_text_is_the_beginning_of_another_so_that_lists_of_them_differ():
    texts = sorted(canonical(value) for value in OTHER)
    for text, following in itertools.pairwise(texts):
        assert not following.startswith(text)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda value: [value],
        lambda value: {"a": value},
        lambda value: Point(value),
        lambda value: Model(a=value),
        lambda value: Plain(a=value),
        lambda value: frozenset({value}) if not isinstance(value, list | dict) else [value],
    ],
)
def test_nesting_has_an_end(wrap):
    value: Any = ()
    for _ in range(30):
        value = wrap(value)
    digest(value)
    for _ in range(70):
        value = wrap(value)
    with pytest.raises(ToolGuardError) as caught:
        digest(value)
    assert (caught.value.code, caught.value.reason) == ("INVALID_ARGUMENT", "nested_too_deeply")


def test_sixty_four_levels_are_looked_into():
    def nested(depth: int) -> Any:
        value: Any = []
        for _ in range(depth):
            value = [value]
        return value

    digest(nested(64))
    with pytest.raises(ToolGuardError):
        digest(nested(65))


def test_a_digest_is_short_and_plain():
    assert len(digest("x" * 100_000)) == 32
    assert int(digest("x"), 16)


def test_circuits_of_one_name_must_agree_and_say_in_what_they_do_not():
    circuit_breaker(name="agree", max_fails=2)
    with pytest.raises(CircuitBreakerConfigurationError) as caught:
        circuit_breaker(name="agree", max_fails=3)
    assert caught.value.argument == "max_fails"
    circuits.forget("agree")
    assert circuit_breaker(name="agree", max_fails=3).max_fails == 3


@pytest.mark.parametrize("argument", ["fail_on", "ignore_on"])
def test_kinds_of_failures_are_named_as_such(argument):
    for kinds in ("timeout", [7], 7):
        with pytest.raises(CircuitBreakerConfigurationError) as caught:
            circuit_breaker(name="kinds", **{argument: kinds})
        assert caught.value.argument == argument
    with pytest.raises(CircuitBreakerConfigurationError) as caught:
        circuit_breaker(name="kinds", fail_on=[])
    assert caught.value.argument == "fail_on"
    assert circuit_breaker(name="kinds", ignore_on=[]).ignore_on == frozenset()
