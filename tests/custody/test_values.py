"""How far into a value is looked, and what is seen there: at the limits, and one beyond."""

import dataclasses
import enum
from collections.abc import Callable
from decimal import Decimal, FloatOperation, localcontext
from typing import Any, NamedTuple
from uuid import UUID

import pytest

from actguard import BlockRegex, RequireFact
from actguard.custody import values
from actguard.custody.session import session
from actguard.custody.values import Unfit, a, encode, fold, is_blank, is_list, members, strings
from tests.custody.calls import refusal, tool


def nested(levels: int, wrap: Callable[[Any], Any], value: Any = "x") -> Any:
    for _ in range(levels):
        value = wrap(value)
    return value


def enumerated(value: Any) -> Any:
    return enum.Enum("Wrapped", {"ONE": value}).ONE  # type: ignore[attr-defined]


@dataclasses.dataclass(frozen=True)
class Holder:
    held: Any


WAYS: dict[str, Callable[[Any], Any]] = {
    "list": lambda value: [value],
    "tuple": lambda value: (value,),
    "mapping": lambda value: {"key": value},
    "set": lambda value: frozenset({value}),
    "enum": enumerated,
}


@pytest.mark.parametrize("way", WAYS)
def test_a_value_is_compared_thirty_two_levels_deep(way: str) -> None:
    encode(nested(32, WAYS[way]))
    with pytest.raises(Unfit, match="deep"):
        encode(nested(33, WAYS[way]))


@pytest.mark.parametrize("way", [*WAYS, "record"])
def test_texts_are_looked_for_thirty_two_levels_deep(way: str) -> None:
    wrap = Holder if way == "record" else WAYS[way]
    assert "x" in list(strings(nested(32, wrap)))
    with pytest.raises(Unfit, match="deep"):
        list(strings(nested(33, wrap)))


def test_a_key_of_a_mapping_is_one_level_deeper_too() -> None:
    key = nested(31, WAYS["tuple"])
    encode({key: 1})
    with pytest.raises(Unfit):
        encode({(key,): 1})
    assert "x" in list(strings({key: 1}))
    with pytest.raises(Unfit):
        list(strings({(key,): 1}))


def test_so_many_parts_are_looked_into_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values, "MOST_PARTS", 5)
    assert list(strings(["a", "b", "c", "d"])) == ["a", "b", "c", "d"], "the list is a part, too"
    assert list(strings([["a"], ["b"]])) == ["a", "b"]
    for many in (["a"] * 5, [["a"], ["b"], []]):
        with pytest.raises(Unfit, match="many"):
            list(strings(many))
    encode(["a"] * 5)
    encode({"a", "b", "c", "d", "e"})
    encode(dict.fromkeys("abcde"[:4], "x"))
    for many in (["a"] * 6, set("abcdef"), dict.fromkeys("abcdef", 1)):
        with pytest.raises(Unfit, match="many"):
            encode(many)


def test_a_hundred_thousand_parts_are_looked_into(here: session) -> None:
    act = tool(BlockRegex("value", "never"))
    assert act(["a"] * 99_999) == "done"
    refused = refusal(act, ["a"] * 100_000)
    assert (refused.code, refused.details["argument"]) == ("INVALID_ARGUMENT", "value")


# ---- texts ----


def test_every_text_is_seen_keys_and_what_is_written_otherwise_too() -> None:
    class Text(str):
        __slots__ = ()

        def __str__(self) -> str:
            return "something else"

    identifier = UUID(int=5)
    seen = list(
        strings(
            {
                "key": ["a", None, 1, 2.5, Decimal("0.10"), True],
                "bytes": [b"b", "grüße".encode(), b"gr\xfc\xdfe", bytearray(b"c"), memoryview(b"d")],
                "more": [Text("e"), enumerated("f"), Holder("g"), identifier, {"h"}],
            }
        )
    )
    plain = ["key", "a", "1", "2.5", "0.10", "True"]
    of_bytes = ["bytes", "b", "grüße", "grüße", "c", "d"]
    others = ["more", "e", "f", "held", "g", str(identifier), "h"]
    assert sorted(seen) == sorted([*plain, *of_bytes, *others])


def test_texts_are_seen_in_their_order_and_a_list_of_them_as_one_line() -> None:
    assert list(strings(["a", ["b", "c"], "d"])) == ["a", "b", "c", "d"]
    assert list(strings(["rm", "-rf", "/"], joined=True)) == ["rm -rf /", "rm", "-rf", "/"]
    assert list(strings([["rm", "-rf"], "x"], joined=True)) == ["rm -rf", "rm", "-rf", "x"]
    assert list(strings(["rm"], joined=True)) == ["rm"]
    assert list(strings(["rm", 1], joined=True)) == ["rm", "1"]


@pytest.mark.parametrize("number", [10**100 - 1, -(10**100) + 1, 0, 1e300, -1.5])
def test_a_number_is_a_text_as_it_is_written(number: float) -> None:
    assert list(strings(number)) == [str(number)]


@pytest.mark.parametrize(
    "value", [10**100, -(10**100), float("nan"), float("inf"), Decimal("NaN"), Decimal("-Infinity"), object(), print]
)
def test_what_has_no_one_text_cannot_be_looked_into(value: Any) -> None:
    for held in (value, [value], {"a": value}):
        with pytest.raises(Unfit):
            list(strings(held))


# ---- equality ----


class Number(enum.IntEnum):
    ONE = 1


SAME: list[tuple[Any, Any]] = [
    ("a", enumerated("a")),
    (1, 1.0),
    (1, Decimal("1.00")),
    (1, Number.ONE),
    (0.1, Decimal("0.1")),
    (10**18, Decimal(10**18)),
    (-(10**18), float(-(10**18))),
    (10**29, Decimal(10**29)),
    (10**30 - 1, Decimal(10**30 - 1)),
    (Decimal("1.50"), Decimal("1.5")),
    ([1, 2], (1.0, 2)),
    ({1, 2}, frozenset({2.0, 1})),
    ({"a": 1, "b": [2]}, {"b": (2.0,), "a": 1}),
]
OTHER: list[Any] = [
    "1",
    1,
    2,
    -1,
    True,
    False,
    1.5,
    10**18,
    10**18 - 1,
    -(10**18),
    1 - 10**18,
    10**30,
    10**400,
    10**401,
    Decimal("1E+300"),
    Decimal(10**30 + 1),
    Decimal("12345678901234567890.12345678901"),
    Decimal("12345678901234567890.12345678902"),
    "",
    "a",
    b"a",
    [],
    [1],
    [[1]],
    {1},
    [1, 2],
    [2, 1],
    {"a": 1},
    {"a": 2},
    {"b": 1},
    ["set", 1],
    ["mapping", 1],
    UUID(int=1),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_these_are_the_same_fact(one: Any, other: Any) -> None:
    assert encode(one) == encode(other)
    assert encode([one]) == encode([other])
    assert encode({"deep": one}) == encode({"deep": other})


def test_these_are_all_different_facts() -> None:
    assert len({encode(value) for value in OTHER}) == len(OTHER)
    assert len({encode([value]) for value in OTHER}) == len(OTHER)


def test_what_is_the_same_fact_is_not_a_matter_of_the_programs_own_arithmetic() -> None:
    with localcontext(prec=2, capitals=0, traps=[FloatOperation]):
        rounded = [encode(value) for value in OTHER]
        assert all(encode(one) == encode(other) for one, other in SAME)
    assert rounded == [encode(value) for value in OTHER]


@pytest.mark.parametrize(
    "value", [float("nan"), float("-inf"), Decimal("sNaN"), object(), print, [object()], {1: None}]
)
def test_what_has_no_equals_is_no_fact(here: session, value: Any) -> None:
    with pytest.raises((Unfit, ValueError)):
        encode(value)
    assert refusal(tool(RequireFact("value", "id")), value).code in ("INVALID_ARGUMENT", "MISSING_FACT")


# ---- records ----


class Pair(NamedTuple):
    left: Any
    right: Any


class Slotted:
    __slots__ = ("_hidden", "name")

    def __init__(self) -> None:
        self.name, self._hidden = "a", "b"


class Further(Slotted):
    __slots__ = "one"  # a single name may be written so

    def __init__(self) -> None:
        super().__init__()
        self.one = 1


class Plain:
    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)


class Extended(Plain):
    """As a pydantic model is that allows fields beside its own."""

    model_fields = {"id": None, "lacking": None}  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__(id=1, note="n", _private=2)
        self.__pydantic_extra__ = {"more": 3}


class Struct:
    """As a msgspec structure is."""

    __slots__ = ("id",)
    __struct_fields__ = ("id",)

    def __init__(self) -> None:
        self.id = 1


@pytest.mark.parametrize(
    ("record", "fields"),
    [
        ({"a": 1}, {"a": 1}),
        (Holder(1), {"held": 1}),
        (Pair(1, 2), {"left": 1, "right": 2}),
        (Slotted(), {"name": "a"}),
        (Further(), {"name": "a", "one": 1}),
        (Plain(a=1, _b=2), {"a": 1}),
        (Extended(), {"id": 1, "lacking": None, "note": "n", "more": 3}),
        (Struct(), {"id": 1}),
    ],
)
def test_the_fields_of_a_record_are_those_that_can_be_seen(record: Any, fields: dict[str, Any]) -> None:
    assert members(record) == fields


@pytest.mark.parametrize(
    "value", ["a", b"a", 1, 1.5, True, None, UUID(int=1), str, Holder, [1], (1,), {1}, range(2), iter("a"), object()]
)
def test_what_is_no_record_has_no_fields(value: Any) -> None:
    assert members(value) is None


@pytest.mark.parametrize("value", [[], (1,), {1}, frozenset({2}), range(2), {"a": 1}.keys()])
def test_these_are_lists(value: Any) -> None:
    assert is_list(value)


@pytest.mark.parametrize("value", ["ab", b"ab", bytearray(b"a"), memoryview(b"a"), {}, Pair(1, 2), iter("a"), None, 5])
def test_these_are_none(value: Any) -> None:
    assert not is_list(value)


# ---- letters ----


@pytest.mark.parametrize(
    ("text", "reads"),
    [
        ("plain", "plain"),
        ("tab\tnew\nline\r\v\f", "tab\tnew\nline\r\v\f"),
        ("a\x00b\x1fc\x7fd\x08", "abcd"),
        ("\uff41\uff42", "ab"),  # wide letters
        ("\ufb01ne", "fine"),  # one letter for two
        ("a\u200bb\u00adc\ufeff", "abc"),
        ("cafe\u0301", "cafe"),
        ("caf\u00e9\t", "cafe\t"),
        ("\ud800a\ue000", "a"),
        ("\u65e5\u672c", "\u65e5\u672c"),
        ("a\u3002b\uff0ec\uff61d", "a.b.c.d"),  # full stops: each of them parts the names of a host
        ("\u65e5\u672c\u3002", "\u65e5\u672c."),
    ],
)
def test_a_text_is_folded_to_what_is_seen_of_it(text: str, reads: str) -> None:
    assert fold(text) == reads


@pytest.mark.parametrize("text", ["", " ", "\t\n", "\u200b", "\u200b \ufeff", "\u3000"])
def test_a_text_in_which_nothing_is_seen_is_blank(text: str) -> None:
    assert is_blank(text)


@pytest.mark.parametrize("value", ["a", " a ", "\u200ba", "\u65e5", None, 0, [], b""])
def test_anything_else_is_not(value: Any) -> None:
    assert not is_blank(value)


def test_a_value_is_described_without_what_is_in_it() -> None:
    assert "str" in a("secret")
    assert "6" in a("secret")
    assert "secret" not in a("secret") + a(["secret"])
    assert "list" in a(["secret"])
