"""The everyday call: rules that ask for one fact each are answered by the store at once, plain replies taken for what
they are. Whatever is less plain than that is looked at with care, and decided there."""

from collections.abc import Callable
from typing import Any

import pytest

from actguard import AllowRegex, RequireFact, enforce, prove
from actguard.custody import enforce as enforcing
from actguard.custody.extract import Reader
from actguard.custody.session import session
from actguard.exceptions import GuardError
from actguard.stores.keys import LONGEST
from actguard.stores.memory import MemoryStore


class LookedAt(Exception):
    """The arguments were looked at with care."""


# ---- enforce ----

ONE = [RequireFact("mail", "id")]
TWO = [RequireFact("mail", "id"), RequireFact("box", "box")]
Act = Callable[..., str]


@enforce(ONE)
def delete(mail: Any = "m1", box: Any = "inbox", **more: Any) -> str:
    return "done"


@enforce(TWO)
def move(mail: Any = "m1", box: Any = "inbox", **more: Any) -> str:
    return "done"


@pytest.fixture(params=[delete, move], ids=["one rule", "two rules"])
def act(request: pytest.FixtureRequest) -> Act:
    found: Act = request.param
    return found


@pytest.fixture
def at_a_glance(here: session, monkeypatch: pytest.MonkeyPatch) -> session:
    """A session that knows a mail and a box, in which a call that is looked at with care fails."""

    def looked_at(*_: object) -> None:
        raise LookedAt

    monkeypatch.setattr(enforcing, "Call", looked_at)
    for mail in ("m1", "m2", 7, "x" * LONGEST):
        here.add_fact("id", mail)
    here.add_fact("box", "inbox")
    here.add_fact("box", 3)
    return here


@pytest.mark.usefixtures("at_a_glance")
@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        (("m2", "inbox"), {}),
        (("m2",), {}),
        ((), {}),
        ((), {"mail": "m2"}),
        (("m1",), {"box": 3}),
        ((7, 3), {}),
        (("x" * LONGEST,), {}),
        ((), {"mail": "x" * LONGEST, "box": 3}),
        ((), {"mail": 7, "box": "inbox", "why": "spam"}),
    ],
)
def test_what_is_known_is_let_through_at_a_glance(act: Act, args: Any, kwargs: Any) -> None:
    assert act(*args, **kwargs) == "done"


@pytest.mark.usefixtures("at_a_glance")
@pytest.mark.parametrize("value", ["m3", "7", 1, True, None, 7.0, ["m1"], "x" * (LONGEST + 1)])
def test_what_is_not_is_looked_at_with_care(act: Act, value: Any) -> None:
    with pytest.raises(LookedAt):
        act(value)
    with pytest.raises(LookedAt):
        move("m1", value)


@pytest.mark.usefixtures("at_a_glance")
def test_a_parameter_that_is_not_plain_is_found_where_it_stands() -> None:
    @enforce(ONE)
    def by_keyword(*, mail: Any = "m1") -> str:
        return "done"

    @enforce(TWO)
    def both(*boxes: Any, mail: Any = "m1", box: Any = 3) -> str:
        return "done"

    assert by_keyword() == by_keyword(mail="m2") == both("x", "y") == both(mail=7, box="inbox") == "done"
    for wrong in (lambda: by_keyword(mail="m3"), lambda: both("m1", mail="m3"), lambda: both("m1", "inbox", box="m1")):
        with pytest.raises(LookedAt):
            wrong()


@pytest.mark.usefixtures("at_a_glance")
def test_an_argument_that_is_missing_is_looked_for_with_care() -> None:
    @enforce(ONE)
    def one(mail: Any) -> str:
        return "done"

    @enforce(TWO)
    def two(mail: Any, box: Any) -> str:
        return "done"

    @enforce(ONE)
    def named(*, mail: Any) -> str:
        return "done"

    @enforce(TWO)
    def both_named(*, mail: Any, box: Any) -> str:
        return "done"

    missing: list[Callable[[], Any]] = [
        lambda: one(),  # pyright: ignore[reportCallIssue]
        lambda: two("m1"),  # pyright: ignore[reportCallIssue]
        lambda: named(),  # pyright: ignore[reportCallIssue]
        lambda: both_named(mail="m1"),  # pyright: ignore[reportCallIssue]
    ]
    for call in missing:
        with pytest.raises(LookedAt):
            call()
    assert one(mail="m2") == two(box="inbox", mail=7) == named(mail="m2") == both_named(mail="m1", box=3) == "done"


def test_trust_and_kind_are_a_part_of_it(at_a_glance: session) -> None:
    at_a_glance.add_fact("id", "read", "text")
    at_a_glance.add_fact("mail", "m9")

    @enforce([RequireFact("mail", "id", min_trust="user")])
    def by_user(mail: Any) -> str:
        return "done"

    @enforce([RequireFact("mail", "id", min_trust="user"), RequireFact("box", "box")])
    def into(mail: Any, box: Any = "inbox") -> str:
        return "done"

    for guarded in (by_user, into):
        assert guarded("m1") == "done"
        for less in ("read", "m9"):
            with pytest.raises(LookedAt):
                guarded(less)


def test_without_a_session_or_after_it_nothing_is_let_through(act: Act) -> None:
    with session(store=MemoryStore()) as over:
        over.add_fact("id", "m1")
        over.add_fact("box", "inbox")
        assert act() == "done"
    with pytest.raises(GuardError) as caught:
        act()
    assert caught.value.code == "NO_SESSION"


@pytest.mark.usefixtures("at_a_glance")
def test_rules_that_are_not_plain_are_always_looked_at() -> None:
    @enforce([*ONE, AllowRegex("box", "inbox")])
    def mixed(mail: Any = "m1", box: Any = "inbox") -> str:
        return "done"

    with pytest.raises(LookedAt):
        mixed()


# ---- prove ----


@pytest.fixture
def read_with_care(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The results that were not plain enough."""
    results: list[Any] = []
    careful = Reader.read

    def read(reader: Reader, result: Any, **options: Any) -> Any:
        results.append(result)
        return careful(reader, result, **options)

    monkeypatch.setattr(Reader, "read", read)
    return results


def reads(result: Any, path: str, **options: Any) -> Callable[[], Any]:
    @prove("id", path, **options)
    def glance() -> Any:  # a name that no `RequireTool` of another test has asked for
        return result

    return glance


PLAIN: list[tuple[str, Any, list[str]]] = [
    ("id", {"id": "a"}, ["s:a"]),
    ("id", {"id": "x" * LONGEST}, ["s:" + "x" * LONGEST]),
    ("id", {"id": 7}, ["i:7"]),
    ("id", {"id": None}, []),
    ("id", {}, []),
    ("id", {"id": " "}, []),
    (".", "a", ["s:a"]),
    ("[]", ["a", 7, "b"], ["i:7", "s:a", "s:b"]),
    ("[].id", [{"id": "a"}, {"id": "b"}, {}], ["s:a", "s:b"]),
    ("found[].id", {"found": [{"id": "a"}, {"id": 9}]}, ["i:9", "s:a"]),
    ("order.id", {"order": {"id": "a"}, "id": "b"}, ["s:a"]),
]


@pytest.mark.parametrize(("path", "result", "values"), PLAIN)
def test_a_plain_result_is_taken_for_what_it_is(
    here: session, read_with_care: list[Any], path: str, result: Any, values: list[str]
) -> None:
    assert reads(result, path)() is result
    assert sorted(fact.value for fact in here.facts("id")) == values
    assert read_with_care == []


@pytest.mark.parametrize(("path", "result", "values"), PLAIN)
def test_and_with_care_it_is_taken_for_the_same(
    here: session, read_with_care: list[Any], path: str, result: Any, values: list[str]
) -> None:
    assert reads(result, path, when=lambda _: True)() is result
    assert sorted(fact.value for fact in here.facts("id")) == values
    assert read_with_care == [result]


@pytest.mark.parametrize(
    ("path", "result"),
    [
        ("id", {"id": "ü"}),
        ("id", {"id": "x" * (LONGEST + 1)}),
        ("id", {"id": 7.5}),
        ("id", '{"id": "a"}'),
        ("[]", ("a", "b")),
        ("[].id", [{"id": "a"}, '{"id": "b"}']),
    ],
)
def test_a_result_that_is_not_plain_is_read_with_care(
    here: session, read_with_care: list[Any], path: str, result: Any
) -> None:
    reads(result, path)()
    assert read_with_care == [result]
    assert here.facts("id")


def test_too_many_values_are_counted_with_care(here: session, read_with_care: list[Any]) -> None:
    reads(["a", "b", "c"], "[]", max_items=3)()
    assert (len(here.facts("id")), read_with_care) == (3, [])
    reads(["d", "e", "f", "g"], "[]", max_items=3, on_too_many="skip")()
    assert (len(here.facts("id")), len(read_with_care)) == (3, 1)


@pytest.mark.parametrize(
    "options",
    [
        {"when": bool},
        {"normalize": "casefold"},
        {"max_uses": 2},
        {"trust": "text"},
        {"trust": lambda _: "field"},
    ],
)
def test_facts_that_are_more_than_kind_and_time_are_read_with_care(
    here: session, read_with_care: list[Any], options: Any
) -> None:
    reads({"id": "a"}, "id", **options)()
    assert len(read_with_care) == len(here.facts("id")) == 1


def test_a_plain_fact_has_its_trust_its_time_and_its_source(here: session, read_with_care: list[Any]) -> None:
    reads({"id": "a"}, "id", ttl=60, trust="user", source="search")()
    reads(["b"], "[]", ttl=30)()

    told = sorted((fact.value, fact.trust, fact.source, fact.expires_in, fact.uses) for fact in here.facts("id"))
    assert told == [("s:a", "user", "search", 60.0, None), ("s:b", "field", "glance", 30.0, None)]
    assert read_with_care == []
