"""What a record is made of: every field that a reader of it would see, wherever its class keeps it."""

import collections
import dataclasses
from functools import partial

import pydantic
import pytest

import actguard
from actguard import AllowRegex, BlockRegex, NoSecret, OneOf, RequireFact, UrlHost, enforce, prove, session
from actguard.exceptions import PolicyViolationError


class Slots:
    __slots__ = ("_hidden", "id", "note", "unset")

    def __init__(self, id, note=""):
        self.id, self.note, self._hidden = id, note, "evil"


class MoreSlots(Slots):
    __slots__ = ("text",)

    def __init__(self, id, text):
        super().__init__(id)
        self.text = text


class Mixed(Slots):
    def __init__(self, id, text):
        super().__init__(id)
        self.text = text


class Open(pydantic.BaseModel, extra="allow"):
    id: str = ""


@dataclasses.dataclass
class Grown:
    id: str = ""

    def __post_init__(self):
        self.text = ""


@dataclasses.dataclass(slots=True)
class Slotted:
    id: str
    text: str = ""


Pair = collections.namedtuple("Pair", "id text")


def grown(id, text):
    made = Grown(id)
    made.text = text
    return made


MAKERS = [
    MoreSlots,
    Mixed,
    lambda id, text: Open(id=id, text=text),
    grown,
    Slotted,
    Pair,
    lambda id, text: {"id": id, "text": text},
]


@pytest.mark.parametrize("make", MAKERS)
def test_a_pattern_looks_into_every_field(make):
    @enforce([BlockRegex("note", "evil")])
    def send(note):
        return "sent"

    with session():
        assert send(make("a", "fine")) == "sent"
        with pytest.raises(PolicyViolationError) as blocked:
            send([{"deep": make("a", "evil")}])
        assert blocked.value.code == "PATTERN_BLOCKED"


@pytest.mark.parametrize("make", MAKERS)
def test_a_fact_may_stand_in_any_of_them(make):
    @prove({"order": "[].id", "word": "[].text"})
    def read():
        return [make("a", "b")]

    @enforce([RequireFact("given.id", "order"), RequireFact("given.text", "word")])
    def write(given):
        return "done"

    with session() as here:
        read()
        assert {(fact.kind, fact.value) for fact in here.facts()} == {("order", "s:a"), ("word", "s:b")}
        assert write(make("a", "b")) == "done"
        with pytest.raises(PolicyViolationError):
            write(make("a", "c"))


@pytest.mark.parametrize("empty", ["", "  ", "\t\n", "\u200b", "\u3000"])
def test_an_empty_text_is_no_fact(empty):
    @prove("order", "items[].id")
    def read():
        return {"items": [{"id": empty}, {"id": "a"}]}

    @prove("order", lambda result: [empty])
    def find():
        return 1

    @enforce([RequireFact("order", "order")])
    def cancel(order):
        return "cancelled"

    with session() as here:
        read()
        find()
        assert [fact.value for fact in here.facts()] == ["s:a"]
        with pytest.raises(PolicyViolationError):
            cancel(empty)
        with pytest.raises(actguard.ActGuardUsageError):
            here.add_fact("order", empty)


def test_a_text_whose_letters_are_seen_is_one_however_odd():
    @prove("order", "id")
    def read(id):
        return {"id": id}

    with session() as here:
        for odd in ("0", "-", "a\u200b", "\u00e9", "\u732b"):
            read(odd)
        assert len(here.facts()) == 5


URL = "https://ours.example/"


@pytest.mark.parametrize("nothing", [[], {}, [None], [[], {}], None])
@pytest.mark.parametrize(("rule", "right"), [(AllowRegex, r"[a-z:/.]+"), (UrlHost, "ours.example")])
def test_what_must_have_a_form_must_be_there(rule, right, nothing):
    write = enforce([rule("to", right)])(lambda to: "written")
    perhaps = enforce([rule("to", right, optional=True)])(lambda to: "written")
    with session():
        with pytest.raises(PolicyViolationError) as missing:
            write(nothing)
        assert missing.value.code == "MISSING_ARGUMENT"
        assert perhaps(nothing) == write([URL]) == "written"


@pytest.mark.parametrize(
    "rule",
    [
        partial(AllowRegex, "to", r"[a-z:/.]+"),
        partial(BlockRegex, "to", "evil"),
        partial(UrlHost, "to", "ours.example"),
        partial(OneOf, "to", [URL]),
        partial(RequireFact, "to", "link"),
        partial(NoSecret, "to", "password", optional=False),
    ],
    ids=lambda rule: rule.func.__name__,
)
def test_each_element_of_a_list_must_be_there(rule):
    write = enforce([rule()])(lambda to: "written")
    perhaps = enforce([rule(optional=True)])(lambda to: "written")
    with session() as here:
        here.add_fact("link", URL)
        for some in ([URL, None], (None, URL), [None, None]):
            with pytest.raises(PolicyViolationError) as missing:
                write(some)
            assert missing.value.code == "MISSING_ARGUMENT"
            assert perhaps(some) == write([URL, URL]) == "written"
