"""How rules are written: their options, what they refuse to be given, and what a refused call is told."""

import functools
import inspect
import re
from collections.abc import Callable
from decimal import Decimal
from enum import IntEnum
from typing import Any

import pytest

import actguard
from actguard import (
    AllowRegex,
    BlockRegex,
    Denial,
    InPlan,
    NoSecret,
    NotAfter,
    OneOf,
    RequireFact,
    RequireTool,
    SameRecord,
    Threshold,
    UrlHost,
    enforce,
    prove,
    session,
)
from actguard.exceptions import ActGuardUsageError, GuardError
from tests.custody.calls import refusal, tool


@pytest.mark.parametrize(
    ("rule", "signature"),
    [
        (
            RequireFact,
            "(arg, kind, hint='', *, min_trust='field', max_age=None, from_tool=None, consume=False, optional=False, "
            "each=True, normalize=None, part=None)",
        ),
        (SameRecord, "(*arguments, kinds=None, hint='')"),
        (Threshold, "(arg, max, *, min=0, cumulative=None, optional=False, hint='')"),
        (BlockRegex, "(arg, pattern, *, casefold=False, optional=False, max_length=1000000, hint='')"),
        (AllowRegex, "(arg, pattern, *, casefold=False, optional=False, max_length=1000000, hint='')"),
        (OneOf, "(arg, values, *, optional=False, hint='')"),
        (UrlHost, "(arg, hosts, *, schemes=('https', 'http'), optional=False, max_length=8192, hint='')"),
        (NoSecret, "(arg, kinds, *, hint='', optional=True)"),
        (RequireTool, "(before, *, max_age=None, consume=False, hint='')"),
        (NotAfter, "(*tools, hint='')"),
        (InPlan, "(*, hint='')"),
        (
            prove,
            "(kind, extract=None, ttl=300, max_items=200, on_too_many='block', *, on_error='raise', trust='field', "
            "when=None, normalize=None, source=None, max_uses=None, **options)",
        ),
        (enforce, "(rules, **options)"),
        (actguard.track, "(function=None, /, *, untrusted=False, **options)"),
        (session, "(id=None, scope=None, *, prompt=None, store=None, shared=False)"),
    ],
)
def test_options_and_their_defaults_are_those_of_the_manual(rule: Any, signature: str) -> None:
    written = inspect.signature(rule)
    bare = [each.replace(annotation=each.empty) for each in written.parameters.values()]

    assert str(written.replace(parameters=bare, return_annotation=written.empty)) == signature


@pytest.mark.parametrize(
    "rule",
    [
        RequireFact("a", "k", "Read it.", max_age=5.0, from_tool="list", normalize="email"),
        Threshold("a", 5, min=None, optional=True),
        BlockRegex("a", "x+", casefold=True),
        AllowRegex("a", "x+", max_length=9),
        OneOf("a", ("x", 1), hint="Choose."),
        UrlHost("a", ("x.example",), schemes=("https",)),
        NoSecret("a", ("k",)),
        RequireTool(("t",), consume=True),
        InPlan(hint="Plan."),
    ],
)
def test_a_rule_prints_as_it_was_written_and_equals_its_like(rule: Any) -> None:
    assert "_" not in re.sub(r"\b[a-z]+_[a-z]+\b", "", repr(rule)), "what a rule keeps for itself is not shown"
    like = eval(repr(rule), {type(rule).__name__: type(rule)})

    if not hasattr(rule, "pattern"):
        assert like == rule
    assert repr(like) == repr(rule)


# What a type checker refuses, as it does each of these, must be refused of programs that are not checked, too.
WRONG: list[tuple[Callable[[], Any], str, str]] = [
    (lambda: RequireFact("a", 7), "RequireFact", "kind"),  # type: ignore[arg-type]
    (lambda: RequireFact("a", "k", None), "RequireFact", "hint"),  # type: ignore[arg-type]
    (lambda: RequireFact("a", "k", max_age=-1), "RequireFact", "max_age"),
    (lambda: RequireFact("a", "k", from_tool=["list", 7]), "RequireFact", "from_tool"),  # type: ignore[arg-type]
    (lambda: RequireFact("a", "k", consume=None), "RequireFact", "consume"),  # type: ignore[arg-type]
    (lambda: RequireFact("a", "k", optional=1), "RequireFact", "optional"),  # type: ignore[arg-type]
    (lambda: RequireFact("a", "k", each="no"), "RequireFact", "each"),  # type: ignore[arg-type]
    (lambda: SameRecord("a", "a"), "SameRecord", "arguments"),
    (lambda: SameRecord(), "SameRecord", "arguments"),
    (lambda: Threshold("a", None), "Threshold", "max"),  # type: ignore[arg-type]
    (lambda: Threshold("a", float("-inf")), "Threshold", "max"),
    (lambda: Threshold("a", 5, min=float("-inf")), "Threshold", "min"),
    (lambda: Threshold("a", 5, min="0"), "Threshold", "min"),  # type: ignore[arg-type]
    (lambda: Threshold("a", 5, min=5.5), "Threshold", "min"),
    (lambda: Threshold("a", 5, optional=0), "Threshold", "optional"),  # type: ignore[arg-type]
    (lambda: Threshold("a", 5, cumulative=(1, 2, 3)), "Threshold", "cumulative"),  # type: ignore[arg-type]
    (lambda: Threshold("a", 5, cumulative=[60, 5]), "Threshold", "cumulative"),  # type: ignore[arg-type]
    (lambda: Threshold("a", 5, cumulative=(60, 0)), "Threshold", "cumulative"),
    (lambda: Threshold("a", 5, cumulative=(60, 9_000_000_001)), "Threshold", "cumulative"),
    (lambda: Threshold("a", 5, min=None, cumulative=(60, 5)), "Threshold", "min"),
    (lambda: BlockRegex("a", "x", casefold=1), "BlockRegex", "casefold"),  # type: ignore[arg-type]
    (lambda: BlockRegex("a", "x", optional=1), "BlockRegex", "optional"),  # type: ignore[arg-type]
    (lambda: BlockRegex("a", "x", max_length=1.5), "BlockRegex", "max_length"),  # type: ignore[arg-type]
    (lambda: AllowRegex("a", "x", casefold=1), "AllowRegex", "casefold"),  # type: ignore[arg-type]
    (lambda: AllowRegex("a", "x", optional=1), "AllowRegex", "optional"),  # type: ignore[arg-type]
    (lambda: AllowRegex("a", "x", max_length=True), "AllowRegex", "max_length"),
    (lambda: OneOf("a", ["x"], optional=1), "OneOf", "optional"),  # type: ignore[arg-type]
    (lambda: OneOf("a", 7), "OneOf", "values"),  # type: ignore[arg-type]
    (lambda: UrlHost("a", "x.example", schemes=()), "UrlHost", "schemes"),
    (lambda: UrlHost("a", "x.example", optional=1), "UrlHost", "optional"),  # type: ignore[arg-type]
    (lambda: UrlHost("a", "x.example", max_length=0), "UrlHost", "max_length"),
    (lambda: UrlHost("a", "*.*.example"), "UrlHost", "hosts"),
    (lambda: NoSecret("a", 7), "NoSecret", "kinds"),  # type: ignore[arg-type]
    (lambda: RequireTool(()), "RequireTool", "before"),
    (lambda: RequireTool("t", consume=1), "RequireTool", "consume"),  # type: ignore[arg-type]
    (lambda: RequireTool("t", max_age=0), "RequireTool", "max_age"),
    (lambda: NotAfter(""), "NotAfter", "tools"),
    (lambda: RequireFact("a", "k", max_age=10**400), "RequireFact", "max_age"),
    (lambda: NoSecret("a", "k", optional=1), "NoSecret", "optional"),  # type: ignore[arg-type]
    (lambda: SameRecord("a", "b", kinds=["k", "l"]), "SameRecord", "kinds"),  # type: ignore[arg-type]
    (lambda: SameRecord("a", "b", kinds={"a": 7, "b": "l"}), "SameRecord", "kinds"),  # type: ignore[dict-item]
    (lambda: SameRecord("a", "b", kinds={"a": "k", "c": "l"}), "SameRecord", "kinds"),
    *(
        (functools.partial(rule, *first, hint=None), rule.__name__, "hint")
        for rule, *first in (
            (SameRecord, "a", "b"),
            (Threshold, "a", 5),
            (BlockRegex, "a", "x"),
            (AllowRegex, "a", "x"),
            (OneOf, "a", ["x"]),
            (UrlHost, "a", "x.example"),
            (NoSecret, "a", "k"),
            (RequireTool, "t"),
            (NotAfter,),
            (InPlan,),
        )
    ),
]


@pytest.mark.parametrize(("make", "rule", "argument"), WRONG)
def test_what_a_rule_cannot_be_given_is_named_with_the_rule(make: Callable[[], Any], rule: str, argument: str) -> None:
    with pytest.raises(ActGuardUsageError) as caught:
        make()

    assert caught.value.argument == argument
    assert rule in str(caught.value)
    assert argument in str(caught.value)


def test_what_was_given_instead_is_shown() -> None:
    for make, shown in (
        (lambda: RequireFact("a", "k", max_age=-1), "-1"),
        (lambda: Threshold("a", "much"), "'much'"),  # type: ignore[arg-type]
        (lambda: Threshold("a", 5, min=7), "7"),
        (lambda: Threshold("a", 5, min="few"), "'few'"),  # type: ignore[arg-type]
        (lambda: Threshold("a", 5, cumulative=60), "60"),  # type: ignore[arg-type]
        (lambda: Threshold("a", 5, cumulative=(60, 10**10)), "10000000000"),
        (lambda: Threshold("a", 5, min=-1, cumulative=(60, 5)), "-1"),
        (lambda: RequireFact("a", 7), "7"),  # type: ignore[arg-type]
        (lambda: RequireFact("a", "k", hint=8), "8"),  # type: ignore[arg-type]
        (lambda: RequireTool(9), "9"),  # type: ignore[arg-type]
        (lambda: SameRecord("a", "a"), r"\('a', 'a'\)"),
        (lambda: SameRecord("a", "b", kinds=["k"]), r"\['k'\]"),  # type: ignore[arg-type]
        (lambda: OneOf("a", "abc"), "'abc'"),
        (lambda: RequireTool("t", consume="once"), "'once'"),
        (lambda: enforce([7]), "7"),
        (lambda: enforce("rules"), "'rules'"),
        (lambda: enforce([InPlan()], retry=1), "'retry'"),
    ):
        with pytest.raises(ActGuardUsageError, match=f"not {shown}|no option {shown}"):
            make()


@pytest.mark.parametrize("rules", [[], (), None, "rules", InPlan()])
def test_enforce_takes_a_list_of_rules(rules: Any) -> None:
    with pytest.raises(ActGuardUsageError) as caught:
        enforce(rules)

    assert caught.value.argument == "rules"


@pytest.mark.parametrize("rule", [7, "rule", InPlan, object()])
def test_what_is_no_rule_is_refused_where_it_is_written(rule: Any) -> None:
    with pytest.raises(ActGuardUsageError) as caught:
        enforce([rule])

    assert caught.value.argument == "rules"


ON_ONE: list[Callable[..., Any]] = [
    lambda arg, **options: RequireFact(arg, "k", **options),
    lambda arg, **options: Threshold(arg, 5, **options),
    lambda arg, **options: BlockRegex(arg, "x", **options),
    lambda arg, **options: AllowRegex(arg, "x", **options),
    lambda arg, **options: OneOf(arg, ["x"], **options),
    lambda arg, **options: UrlHost(arg, "x.example", **options),
    lambda arg, **options: NoSecret(arg, "k", **options),
]


@pytest.mark.parametrize("make", ON_ONE)
def test_a_parameter_that_the_tool_does_not_have_is_an_error_where_it_is_written(make: Callable[..., Any]) -> None:
    for path in ("order", "order.id", "[]", "."):
        with pytest.raises(ActGuardUsageError) as caught:

            @enforce([make(path)])
            def act(value: Any) -> None: ...

        assert caught.value.argument == "arg"


def test_the_arguments_of_same_record_are_looked_for_too() -> None:
    with pytest.raises(ActGuardUsageError) as caught:

        @enforce([SameRecord("value", "order", kinds={"value": "v", "order": "o"})])
        def act(value: Any) -> None: ...

    assert caught.value.argument == "arguments"


def test_same_record_needs_the_kind_of_every_argument_and_a_value_for_it(here: session) -> None:
    with pytest.raises(ActGuardUsageError) as caught:
        tool(SameRecord("value", "other", kinds={"value": "v"}))
    assert caught.value.argument == "kinds"
    act = tool(SameRecord("value", "other", kinds={"value": "v", "other": "o"}))
    for given, argument in (((), "value"), (("x",), "other"), (([], "y"), "value")):
        refused = refusal(act, *given)
        assert (refused.code, refused.details["argument"]) == ("MISSING_ARGUMENT", argument)
    refused = refusal(act, "x", float("nan"))
    assert (refused.code, refused.reason, refused.details["argument"]) == ("INVALID_ARGUMENT", "invalid", "other")


@pytest.mark.parametrize("make", ON_ONE)
def test_an_argument_must_be_given_unless_it_is_optional(here: session, make: Callable[..., Any]) -> None:
    for given in ({}, {"value": None}):
        refused = refusal(tool(make("value", optional=False)), **given)
        assert (refused.code, refused.reason) == ("MISSING_ARGUMENT", "missing")
        assert refused.details["argument"] == "value"
        assert type(make("value")).__name__ in str(refused)
        assert "'value'" in refused.fix_hint
        assert tool(make("value", optional=True))(**given) == "done"


@pytest.mark.parametrize("make", ON_ONE[:-1])
def test_every_element_that_a_path_leads_to_must_be_given(here: session, make: Callable[..., Any]) -> None:
    here.add_fact("k", "x")
    refused = refusal(tool(make("value[].id", optional=False)), [{"id": "x"}, {"id": None}])
    assert refused.code in ("MISSING_ARGUMENT", "INVALID_ARGUMENT", "HOST_NOT_ALLOWED", "PATTERN_BLOCKED")


def test_a_path_that_leads_nowhere_says_where_it_ended(here: session) -> None:
    refused = refusal(tool(OneOf("value.id", ["x"])), "sk-private")
    assert "has no 'id'" in str(refused)
    assert "sk-private" not in str(refused)


# What each rule of `ON_ONE` refuses, and what it lets pass.
NO_AND_YES: list[tuple[Any, Any]] = [
    ("read nowhere", "x"),
    (6, 5),
    ("x", "y"),
    ("y", "x"),
    ("y", "x"),
    ("https://y.example", "https://x.example"),
    ("it is 12345678", "y"),
]


@pytest.mark.parametrize(("make", "no_and_yes"), list(zip(ON_ONE, NO_AND_YES, strict=True)))
def test_beside_elements_that_need_not_be_given_the_others_are_checked(
    here: session, make: Callable[..., Any], no_and_yes: tuple[Any, Any]
) -> None:
    here.add_fact("k", "x")
    here.add_fact("k", "12345678")
    no, yes = no_and_yes
    of_a_list = tool(make("value", optional=True))
    of_records = tool(make("value[].id", optional=True))
    assert of_a_list([]) == of_a_list([None]) == of_a_list([None, yes]) == "done"
    assert of_records([]) == of_records([{}]) == of_records([{}, {"id": yes}, {"id": None}]) == "done"
    for refused in (refusal(of_a_list, [None, no]), refusal(of_records, [{}, {"id": no}])):
        assert refused.code not in ("MISSING_ARGUMENT", "INVALID_ARGUMENT")


def test_a_sum_counts_the_amounts_beside_one_that_is_not_given(here: session) -> None:
    pay = tool(Threshold("value", 5, cumulative=(60, 8), optional=True))
    assert pay([None, 5]) == "done"
    assert refusal(pay, [None, 4]).reason == "sum"


def test_a_path_is_followed_however_the_argument_is_given(here: session) -> None:
    @enforce([OneOf("order.id", ["a"])])
    def act(order: Any, *, dry: bool = False) -> str:
        return "done"

    assert act({"id": "a"}) == act(order={"id": "a"}) == act(dry=True, order={"id": "a"}) == "done"
    for call in (lambda: act({"id": "b"}), lambda: act(order={"id": "b"})):
        refused = refusal(call)
        assert (refused.code, refused.details["argument"]) == ("VALUE_NOT_ALLOWED", "order.id")
    for order in (None, {}, {"id": None}, []):
        assert refusal(act, order).code == "MISSING_ARGUMENT"


def test_a_path_into_what_comes_by_name_is_followed_too(here: session) -> None:
    @enforce([OneOf("more.order.id", ["a"]), OneOf("only.id", ["b"])])
    def act(*, only: Any, **more: Any) -> str:
        return "done"

    assert act(only={"id": "b"}, order={"id": "a"}) == "done"
    assert refusal(act, only={"id": "b"}, order={"id": "b"}).details["argument"] == "more.order.id"
    assert refusal(act, only={"id": "a"}, order={"id": "a"}).details["argument"] == "only.id"
    assert refusal(act, only={"id": "b"}).code == "MISSING_ARGUMENT"


def test_a_rule_without_an_argument_that_breaks_says_so(here: session) -> None:
    class Breaks:
        def check(self, arguments: Any, facts: Any) -> Any:
            raise LookupError

    refused = refusal(tool(Breaks()))
    assert (refused.code, refused.reason, refused.details["argument"]) == ("INVALID_ARGUMENT", "unreadable", None)
    assert "LookupError" in str(refused)


@pytest.mark.parametrize("make", ON_ONE)
def test_what_cannot_be_looked_at_is_refused_by_name(here: session, make: Callable[..., Any]) -> None:
    here.add_fact("k", "secret-value")
    deep: Any = "x"
    for _ in range(40):
        deep = [deep]
    refused = refusal(tool(make("value")), deep)
    assert (refused.code, refused.details["argument"]) == ("INVALID_ARGUMENT", "value")
    assert refused.reason == "invalid"


# ---- what a refused call is told ----


@pytest.mark.parametrize(
    ("rule", "value", "code", "reason"),
    [
        (RequireFact("value", "k", "H"), "x", "MISSING_FACT", "unknown"),
        (SameRecord("value", "other", kinds={"value": "k", "other": "k"}, hint="H"), "x", "RECORD_MISMATCH", "unknown"),
        (Threshold("value", 5, hint="H"), 6, "THRESHOLD_EXCEEDED", "call"),
        (Threshold("value", 5, cumulative=(60, 4), hint="H"), 5, "THRESHOLD_EXCEEDED", "sum"),
        (BlockRegex("value", "x", hint="H"), "x", "PATTERN_BLOCKED", "blocked"),
        (AllowRegex("value", "y", hint="H"), "x", "PATTERN_BLOCKED", "not_allowed"),
        (OneOf("value", ["y"], hint="H"), "x", "VALUE_NOT_ALLOWED", "not_allowed"),
        (UrlHost("value", "y.example", hint="H"), "https://x.example/", "HOST_NOT_ALLOWED", "not_allowed"),
        (UrlHost("value", "y.example", hint="H"), "x", "HOST_NOT_ALLOWED", "unreadable"),
    ],
)
def test_a_denial_says_which_rule_argument_and_reason(
    here: session, rule: Any, value: Any, code: str, reason: str
) -> None:
    refused = refusal(tool(rule), value, "y")

    assert (refused.code, refused.reason, refused.fix_hint) == (code, reason, "H")
    (told,) = refused.details["denials"]
    assert told["rule"] == type(rule).__name__
    assert (told["code"], told["argument"], told["reason"]) == (code, "value", reason)
    assert str(refused) == f"{told['message']}."
    assert refused.details == {**told, "denials": [told]}


@pytest.mark.parametrize(
    ("rule", "value", "hint"),
    [
        (OneOf("value", ["y", 1]), "x", "It may be 'y', 1."),
        (OneOf("value", list(range(20))), "x", f"It may be {', '.join(map(str, range(20)))}."),
        (OneOf("value", list(range(21))), "x", ""),
        (UrlHost("value", ["y.example", "*.z.example"]), "x", "It may lead to y.example, *.z.example."),
    ],
)
def test_without_a_hint_the_model_is_told_what_is_allowed(here: session, rule: Any, value: Any, hint: str) -> None:
    assert refusal(tool(rule), value).fix_hint == hint


def test_a_missing_fact_says_its_kind_and_trust(here: session) -> None:
    refused = refusal(tool(RequireFact("value", "order", min_trust="user")), "x")

    assert (refused.details["kind"], refused.details["min_trust"]) == ("order", "user")


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        (Threshold("value", 5), ("0", "5")),
        (Threshold("value", 5, min=2), ("2", "5")),
        (Threshold("value", 5, min=None), ("at most 5",)),
    ],
)
def test_a_number_out_of_bounds_is_told_them(here: session, rule: Threshold, told: tuple[str, ...]) -> None:
    refused = refusal(tool(rule), 6)

    assert all(bound in str(refused) for bound in told)
    assert (refused.details["max"], refused.details["min"]) == (5, rule.min)


def test_a_sum_that_is_used_up_says_what_is_left(here: session) -> None:
    act = tool(Threshold("value", 5, cumulative=(60, 8)))
    act(5)
    refused = refusal(act, 4.5)

    assert "3 is left" in str(refused)
    assert "60 seconds" in str(refused)


# ---- numbers ----


class Level(IntEnum):
    LOW = 3
    HIGH = 7


class Euro(float):
    """A float that says of itself that it is small."""

    def __lt__(self, other: object) -> bool:
        return True

    def __gt__(self, other: object) -> bool:
        return False

    def __float__(self) -> float:
        return 0.0


@pytest.mark.parametrize("value", [0, 5, 0.0, 5.0, Decimal(5), Decimal("0.1"), Level.LOW, Euro(4.0)])
def test_numbers_within_bounds_pass(here: session, value: Any) -> None:
    assert tool(Threshold("value", 5))(value) == "done"


@pytest.mark.parametrize("value", [-1, 6, -0.1, 5.000001, Decimal("5.01"), Level.HIGH, Euro(6.0)])
def test_numbers_out_of_bounds_do_not_whatever_they_say_of_themselves(here: session, value: Any) -> None:
    assert refusal(tool(Threshold("value", 5)), value).reason == "call"


@pytest.mark.parametrize(
    "value",
    [True, "5", float("nan"), float("inf"), Decimal("NaN"), Decimal("Infinity"), Euro("nan"), Euro("inf"), 5j, b"5"],
)
def test_what_is_no_finite_number_is_refused(here: session, value: Any) -> None:
    refused = refusal(tool(Threshold("value", float("inf"), min=None)), value)

    assert (refused.code, refused.details["argument"]) == ("INVALID_ARGUMENT", "value")


def test_the_largest_sum_is_exact(here: session) -> None:
    act = tool(Threshold("value", 9e9, cumulative=(60, 9_000_000_000)))
    assert act(Decimal("8999999999.999999")) == "done"
    assert refusal(act, 0.000002).reason == "sum"
    assert act(0.000001) == "done"


def test_a_sum_is_kept_for_each_tool_argument_and_period(here: session) -> None:
    @enforce([Threshold("a", 5, cumulative=(60, 5)), Threshold("b", 5, cumulative=(60, 5))])
    def one(a: int, b: int) -> str:
        return "done"

    @enforce([Threshold("a", 5, cumulative=(60, 5)), Threshold("a", 5, cumulative=(90, 9))])
    def two(a: int) -> str:
        return "done"

    assert one(5, 5) == two(5) == "done"
    refused = refusal(two, 1)
    assert [told["reason"] for told in refused.details["denials"]] == ["sum"]


def test_sums_of_tools_that_share_a_name_are_kept_apart(here: session) -> None:
    class Mail:
        @enforce([Threshold("a", 5, cumulative=(60, 5))])
        def send(self, a: int) -> str:
            return "done"

    class Bank:
        @enforce([Threshold("a", 5, cumulative=(60, 5))])
        def send(self, a: int) -> str:
            return "done"

    assert Mail().send(5) == Bank().send(5) == "done"
    assert refusal(Mail().send, 1).reason == refusal(Bank().send, 1).reason == "sum"


def test_tools_made_at_one_place_share_their_sums(here: session) -> None:
    def made() -> Any:
        return enforce([Threshold("a", 5, cumulative=(60, 5))])(lambda a: "done")

    assert made()(5) == "done"
    assert refusal(made(), 1).reason == "sum"


def test_two_bounds_of_one_argument_and_period_count_each_by_itself(here: session) -> None:
    @enforce([Threshold("a", 5, cumulative=(60, 9)), Threshold("a", 5, cumulative=(60, 10))])
    @enforce([Threshold("a", 5, cumulative=(60, 11))])
    def act(a: int) -> str:
        return "done"

    assert act(5) == act(4) == "done"
    assert len(refusal(act, 2).details["denials"]) == 2


# ---- rules of one's own ----


def test_a_rule_of_ones_own_says_what_it_likes(here: session) -> None:
    assert tool(lambda arguments, facts: None)("x") == "done"
    assert tool(lambda arguments, facts: True)("x") == "done"
    assert str(refusal(tool(lambda arguments, facts: "Not on Sundays"), "x")) == "Not on Sundays."
    denied = refusal(tool(lambda arguments, facts: Denial("MINE", "No", "value", "sunday", "Wait.")), "x")
    assert (denied.code, denied.reason, denied.fix_hint) == ("MINE", "sunday", "Wait.")


@pytest.mark.parametrize("said", [False, "", 0, ["no"], 1])
def test_anything_else_is_a_no_in_the_rules_name(here: session, said: Any) -> None:
    def office_hours(arguments: Any, facts: Any) -> Any:
        return said

    refused = refusal(tool(office_hours), "x")
    assert refused.code == "RULE_VIOLATED"
    assert "office_hours" in str(refused)


def test_an_object_is_named_by_its_class(here: session) -> None:
    class OfficeHours:
        def check(self, arguments: Any, facts: Any) -> bool:
            return False

    act = tool(OfficeHours())
    assert "OfficeHours" in str(refusal(act, "x"))
    assert "OfficeHours" in actguard.enforce([OfficeHours()]).explain()


def test_a_rule_of_ones_own_sees_arguments_and_facts_of_every_kind(here: session) -> None:
    here.add_fact("order", "o-1", "field")
    here.add_fact("mail", "m-1", "text")
    seen: list[Any] = []

    def look(arguments: Any, facts: Any) -> None:
        seen.append(dict(arguments))
        seen.append([facts.trust("order", "o-1"), facts.trust("mail", "m-1"), facts.trust("order", "m-1")])
        seen.append([facts.holds("mail", "m-1"), facts.holds("mail", "m-1", min_trust="text")])
        seen.append([facts.holds("order", value) for value in (None, float("nan"), object(), "o-1")])

    tool(look)("x", more=1)
    assert seen[0]["value"] == "x"
    assert seen[1:] == [["field", "text", None], [False, True], [False, False, False, True]]


async def test_a_rule_of_ones_own_sees_them_in_an_async_tool_too(here: session) -> None:
    here.add_fact("key", "sk-1234567890")
    here.add_fact("mail", "m-1")

    @enforce([lambda arguments, facts: facts.holds("mail", "m-1"), NoSecret("value", "key")])
    async def act(value: str) -> str:
        return "done"

    assert await act("x") == "done"
    with pytest.raises(GuardError) as caught:
        await act("sk-1234567890")
    assert caught.value.code == "SECRET_LEAK"


def test_a_trust_that_there_is_not_is_an_error_in_the_rule(here: session) -> None:
    caught: list[ActGuardUsageError] = []

    def look(arguments: Any, facts: Any) -> None:
        with pytest.raises(ActGuardUsageError) as wrong:
            facts.holds("order", "o-1", min_trust="high")
        caught.append(wrong.value)

    tool(look)("x")
    assert caught[0].argument == "min_trust"


def test_a_rule_of_ones_own_that_would_have_to_be_awaited_is_refused_where_it_is_written() -> None:
    async def allows(arguments: Any, facts: Any) -> None: ...

    class Allows:
        async def check(self, arguments: Any, facts: Any) -> None: ...

    for rule in (allows, Allows()):
        with pytest.raises(ActGuardUsageError, match="must not be asynchronous") as refused:
            enforce([rule])
        assert refused.value.argument == "rules"
