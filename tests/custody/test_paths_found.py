"""Where values stand in what a read returns and in what a call says: every kind of record, list and text on the way."""

import dataclasses
import json
from collections import OrderedDict, UserDict, UserList, deque
from datetime import date
from enum import Enum
from types import SimpleNamespace
from typing import Any, NamedTuple
from uuid import UUID

import pytest

from actguard import RequireFact, enforce, prove, session
from actguard.exceptions import ActGuardUsageError, GuardError


def read(result: Any, extract: Any, **options: Any) -> Any:
    @prove("id", extract, **options)
    def look() -> Any:
        return result

    return look()


def values(here: session) -> list[str]:
    return sorted(fact.value for fact in here.facts())


def refusal(function: Any, *args: Any, **kwargs: Any) -> GuardError:
    with pytest.raises(GuardError) as caught:
        function(*args, **kwargs)
    return caught.value


class Order:
    kind = "order"

    def __init__(self, id: Any) -> None:
        self.id = id
        self._secret = "hidden"

    @property
    def number(self) -> Any:
        return self.id

    def method(self) -> str:
        return "never called"


@dataclasses.dataclass
class Record:
    id: Any


class Pair(NamedTuple):
    id: Any
    other: int = 0


class Model:
    """As pydantic models are."""

    model_fields = {"id": None}  # noqa: RUF012 - as theirs is

    def __init__(self, id: Any) -> None:
        self.id = id
        self.private = "x"


class Slotted:
    __slots__ = ("id",)

    def __init__(self, id: Any) -> None:
        self.id = id


RECORDS = [dict, OrderedDict, UserDict, SimpleNamespace, Order, Record, Pair, Model, Slotted]


@pytest.mark.parametrize("make", RECORDS)
@pytest.mark.parametrize("several", [None, list, tuple, deque, UserList])
def test_a_name_leads_into_every_kind_of_record_and_list(here: session, make: Any, several: Any) -> None:
    one = make(id="a")
    read(one if several is None else several([one, make(id="b")]), "id")

    assert values(here) == (["s:a"] if several is None else ["s:a", "s:b"])


@pytest.mark.parametrize("make", [dict, Order, Record, Pair, Model])
def test_the_same_names_lead_into_an_argument(here: session, make: Any) -> None:
    here.add_fact("id", "a")

    @enforce([RequireFact("order.id", "id")])
    def act(order: Any) -> str:
        return "done"

    assert act(make(id="a")) == "done"
    assert refusal(act, make(id="b")).reason == "unknown"
    assert refusal(act, make(id=None)).code == "MISSING_ARGUMENT"


def test_a_property_is_a_field_and_a_method_is_none(here: session) -> None:
    read(Order("a"), "number")
    assert values(here) == ["s:a"]
    for name in ("method", "kind", "unknown"):
        read(Order("b"), name)
    assert values(here) == ["s:a"]


def test_a_key_of_a_mapping_is_not_one_of_its_methods(here: session) -> None:
    read({"x": 1}, "keys")
    read(UserDict(x=1), "data")
    assert values(here) == []
    read({"keys": "k"}, "keys")
    assert values(here) == ["s:k"]


def test_private_names_are_never_gone_into(here: session) -> None:
    assert refusal(lambda: read(Order("a"), "_secret")).code == "EXTRACT_FAILED"
    assert refusal(lambda: read(Pair("a"), "_fields")).code == "EXTRACT_FAILED"


@pytest.mark.parametrize("options", [{}, {"when": lambda result: True}])
def test_a_key_that_begins_with_an_underscore_is_a_key(here: session, options: Any) -> None:
    read({"_id": "a"}, "_id", **options)
    read([{"_id": "b"}], "[]._id", **options)
    assert values(here) == ["s:a", "s:b"]

    @enforce([RequireFact("order._id", "id")])
    def act(order: Any) -> str:
        return "done"

    assert act({"_id": "a"}) == "done"


@pytest.mark.parametrize("result", [7, 1.5, True, "text", b"\xff", '"text"', "7", object(), Order, print])
def test_what_has_no_parts_cannot_be_gone_into(here: session, result: Any) -> None:
    error = refusal(lambda: read(result, "id"))

    assert (error.code, error.reason) == ("EXTRACT_FAILED", "extract")
    assert error.details["kinds"] == ["id"]
    assert error.result is result


@pytest.mark.parametrize("result", [7, "text", '"text"', b"text", "7", Order("a"), iter([1])])
def test_what_is_no_list_has_no_elements(here: session, result: Any) -> None:
    assert refusal(lambda: read(result, "[]")).code == "EXTRACT_FAILED"


@pytest.mark.parametrize(
    ("result", "path", "found"),
    [
        ({"a": {"b": "x"}}, "a.b", ["s:x"]),
        ([{"a": [{"b": "x"}, {"b": "y"}]}], "a.b", ["s:x", "s:y"]),
        ([{"a": [{"b": "x"}]}], "[].a[].b", ["s:x"]),
        ({"x": {"id": 1}, "y": {"id": 2}}, "[].id", ["i:1", "i:2"]),
        ([[1, 2], [3]], "[][]", ["i:1", "i:2", "i:3"]),
        ([[1, 2], [3]], ".", ["i:1", "i:2", "i:3"]),
        ({"a": None}, "a.b.c", []),
        ({}, "a.b", []),
        ({"a": frozenset({"x"})}, "a", ["s:x"]),
        ({"a": ("x", None, "y")}, "a", ["s:x", "s:y"]),
        (json.dumps({"a": [{"b": 1}]}), "a.b", ["i:1"]),
        (json.dumps([1, 2]).encode(), "[]", ["i:1", "i:2"]),
        (bytearray(b'{"a": 1}'), "a", ["i:1"]),
        ({"a": '{"b": "x"}'}, "a.b", ["s:x"]),
        ({"a": '{"b": "x"}'}, "a", ['s:{"b": "x"}']),
        ({"a": "null"}, "a.b", []),
    ],
)
def test_a_path_leads_to_every_value_that_stands_there(here: session, result: Any, path: str, found: list[str]) -> None:
    read(result, path)

    assert values(here) == found


@pytest.mark.parametrize("result", ['{"a": ', "{'a': 1}", b"\xff\xfe", "[" * 100_000])
def test_a_text_that_should_be_json_and_is_none_is_an_error(here: session, result: Any) -> None:
    assert refusal(lambda: read(result, "a")).code == "EXTRACT_FAILED"


def test_an_argument_is_never_read_as_json(here: session) -> None:
    here.add_fact("id", "a")

    @enforce([RequireFact("order.id", "id")])
    def act(order: Any) -> str:
        return "done"

    assert refusal(act, '{"id": "a"}').code == "INVALID_ARGUMENT"


def test_what_goes_in_a_circle_is_left(here: session) -> None:
    circle: list[Any] = []
    circle.append(circle)

    assert refusal(lambda: read(circle, "id")).code == "EXTRACT_FAILED"
    assert refusal(lambda: read(circle, ".")).code == "EXTRACT_FAILED"


@pytest.mark.parametrize("path", ["id", "a.b", "a[]", "a[].b", "[]", "[].a", "[][]", ".", "a[][].b", "a-b", "ä"])
def test_these_are_paths(path: str) -> None:
    assert prove("id", path).extracts == {"id": path}


@pytest.mark.parametrize(
    "path", ["", " ", "a b", "a.", ".a", "a..b", "a[0]", "[a]", "a]", "a[", "..", "[].", 7, None, b"id"]
)
def test_these_are_none(path: Any) -> None:
    with pytest.raises(ActGuardUsageError) as caught:
        prove({"id": path})

    assert caught.value.argument == "extract"


# ---- what is the same value ----


class Colour(Enum):
    RED = "red"
    ONE = 1


SAME: list[tuple[Any, Any]] = [
    ("a", "a"),
    (1, 1.0),
    (1.5, 1.5),
    (10**30, 10**30),
    (10**18, 10**18),
    (-(10**18), -(10**18)),
    (Colour.RED, "red"),
    (Colour.ONE, 1),
    ([1, 2], (1, 2)),
    ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    ({"a": 1}, OrderedDict(a=1.0)),
    ({1, 2}, frozenset({2, 1})),
    (b"x", b"x"),
    (date(2026, 1, 2), date(2026, 1, 2)),
    (UUID(int=7), UUID(int=7)),
    ([["a"], {"b": [1]}], (("a",), {"b": (1.0,)})),
]
OTHER: list[tuple[Any, Any]] = [
    ("1", 1),
    (True, 1),
    (False, 0),
    (1, 2),
    (0.1, 0.10000000000000002),
    (10**18, 10**18 + 1),
    (10**30, 10**30 + 1),
    ("a", "A"),
    ("a", b"a"),
    ([1, 2], [2, 1]),
    ([1, 2], {1, 2}),
    ({"a": 1}, {"a": 2}),
    ({"a": 1}, {"b": 1}),
    ({"a": 1}, [["a", 1]]),
    ({"1": "a"}, {1: "a"}),
    ({1}, {1, 2}),
    (date(2026, 1, 2), "2026-01-02"),
    ("x" * 10_000, "x" * 9_999 + "y"),
]


def whole(given: Any) -> Any:
    """A call that needs *given* itself, lists and records included, as a fact."""

    @enforce([RequireFact("value", "id", each=False)])
    def act(value: Any) -> str:
        return "done"

    return act(given)


@pytest.mark.parametrize(("known", "given"), SAME)
def test_these_are_the_same_fact(here: session, known: Any, given: Any) -> None:
    here.add_fact("id", known)

    assert whole(given) == "done"


@pytest.mark.parametrize(("known", "given"), OTHER)
def test_these_are_not(here: session, known: Any, given: Any) -> None:
    here.add_fact("id", known)

    assert refusal(whole, given).reason == "unknown"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [float("-inf")], object(), {"a": object()}, lambda: 1])
def test_what_equals_nothing_is_no_fact_and_matches_none(here: session, value: Any) -> None:
    assert refusal(whole, value).code == "INVALID_ARGUMENT"
    assert refusal(lambda: read([value], lambda result: result)).code == "EXTRACT_FAILED"


def test_what_is_nested_too_deep_is_no_fact(here: session) -> None:
    def nested(depth: int) -> Any:
        value: Any = "x"
        for _ in range(depth):
            value = [value]
        return value

    here.add_fact("id", nested(32))
    assert whole(nested(32)) == "done"
    assert refusal(whole, nested(33)).code == "INVALID_ARGUMENT"


def test_a_list_is_a_fact_for_each_of_its_elements_unless_it_is_meant_as_a_whole(here: session) -> None:
    here.add_fact("id", "a")
    here.add_fact("id", "b")

    @enforce([RequireFact("value", "id")])
    def each(value: Any) -> str:
        return "done"

    assert each(["a", "b"]) == each(("a",)) == each({"b"}) == "done"
    assert refusal(each, ["a", "c"]).reason == "unknown"
    assert refusal(each, []).code == "MISSING_ARGUMENT"
    assert refusal(each, ["a", None]).code == "MISSING_ARGUMENT"
    assert refusal(whole, ["a", "b"]).reason == "unknown"
