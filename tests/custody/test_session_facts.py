"""What a session knows and says of it, what reads add to it, and what writes are told: each option by itself."""

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import actguard
from actguard import InPlan, NoSecret, NotAfter, RequireFact, RequireTool, SameRecord, Threshold, enforce, prove, track
from actguard.custody.session import KnownFact, session
from actguard.exceptions import ActGuardUsageError, GuardError, SessionUsageError, StoreUnavailableError
from actguard.stores.memory import MemoryStore


def reads(result: Any, *args: Any, **options: Any) -> Callable[[], Any]:
    @prove(*args, **options)
    def look() -> Any:
        return result

    return look


def guarded(*rules: Any, **options: Any) -> Callable[..., str]:
    @enforce(rules, **options)
    def act(value: Any = None, other: Any = None) -> str:
        return "done"

    return act


def refusal(function: Callable[..., Any], *args: Any) -> GuardError:
    with pytest.raises(GuardError) as caught:
        function(*args)
    return caught.value


# ---- what is known ----


def test_a_fact_says_where_it_came_from_and_how_long_it_lasts(here: session, clock: Any) -> None:
    reads("a", "id", ".", ttl=60)()
    clock.pass_(10)
    reads("b", "id", ".", ttl=60.0, source="search", trust="text", max_uses=3)()
    here.add_fact("id", "c")
    here.add_fact("other", "d", "field", ttl=5, max_uses=1)

    known = sorted(here.facts("id"))
    assert known[0] == KnownFact("id", "s:a", "field", "look", 10.0, 50.0, None)
    assert known[1] == KnownFact("id", "s:b", "text", "search", 0.0, 60.0, 3)
    assert (known[2].trust, known[2].uses, known[2].expires_in) == ("user", None, 7 * 86_400.0)
    assert [(fact.kind, fact.trust, fact.uses, fact.expires_in) for fact in here.facts("other")] == [
        ("other", "field", 1, 5.0)
    ]
    assert len(here.facts()) == len(here.facts("id", "other")) == 4


def test_facts_are_over_when_their_time_is(here: session, clock: Any) -> None:
    reads("a", "id", ".", ttl=60)()
    reads(["b", "c"], "id", "[]", ttl=30)()
    here.add_fact("id", "d", ttl=10)
    for seconds, left in ((9.9, 4), (0.1, 3), (20.0, 1), (30.0, 0)):
        clock.pass_(seconds)
        assert len(here.facts()) == left


def test_the_usual_time_of_a_fact_is_five_minutes(here: session, clock: Any) -> None:
    reads("a", "id", ".")()
    clock.pass_(299.9)
    assert guarded(RequireFact("value", "id"))("a") == "done"
    clock.pass_(0.1)
    assert refusal(guarded(RequireFact("value", "id")), "a").reason == "unknown"


def test_a_fact_may_be_used_so_often(here: session) -> None:
    reads("a", "id", ".", max_uses=2)()
    act = guarded(RequireFact("value", "id"))
    assert act("a") == act("a") == "done"
    assert refusal(act, "a").reason == "used"
    reads("a", "id", ".", max_uses=2)()
    assert guarded(RequireFact("value", "id", consume=True))("a") == "done"
    assert refusal(act, "a").reason == "used"


def test_facts_are_forgotten_one_by_one_and_by_kind(here: session) -> None:
    for value in ("a", "b", "c"):
        here.add_fact("id", value)
    here.add_fact("other", "a")

    assert here.revoke("id", "a") == 1
    assert here.revoke("id", "a") == 0
    assert [fact.value for fact in here.facts("id")] == ["s:b", "s:c"]
    assert here.revoke("id") == 2
    assert [fact.kind for fact in here.facts()] == ["other"]


def test_what_a_session_keeps_for_itself_is_not_shown(here: session) -> None:
    track(untrusted=True)(lambda: None)()
    here.plan(["act"])
    reads("x" * 10_000, "id", ".")()

    assert [fact.kind for fact in here.facts()] == ["id"]


@pytest.mark.parametrize(
    ("state", "argument"),
    [
        (lambda here: here.add_fact("", "a"), "kind"),
        (lambda here: here.add_fact("  ", "a"), "kind"),
        (lambda here: here.add_fact("actguard.ran", "a"), "kind"),
        (lambda here: here.add_fact("id#head", "a"), "kind"),
        (lambda here: here.add_fact(7, "a"), "kind"),
        (lambda here: here.add_fact("id", None), "value"),
        (lambda here: here.add_fact("id", float("nan")), "value"),
        (lambda here: here.add_fact("id", object()), "value"),
        (lambda here: here.add_fact("id", "a", "high"), "trust"),
        (lambda here: here.add_fact("id", "a", ttl=0), "ttl"),
        (lambda here: here.add_fact("id", "a", ttl=-1), "ttl"),
        (lambda here: here.add_fact("id", "a", ttl=True), "ttl"),
        (lambda here: here.add_fact("id", "a", ttl="5"), "ttl"),
        (lambda here: here.add_fact("id", "a", ttl=float("inf")), "ttl"),
        (lambda here: here.add_fact("id", "a", max_uses=0), "max_uses"),
        (lambda here: here.add_fact("id", "a", max_uses=True), "max_uses"),
        (lambda here: here.add_fact("id", "a", max_uses=1.0), "max_uses"),
        (lambda here: here.add_fact("id", "a", ttl=10**400), "ttl"),
        (lambda here: here.revoke("id", object()), "value"),
        (lambda here: here.revoke(7), "kind"),
        (lambda here: here.facts("id", 7), "kinds"),
        (lambda here: here.trust_prompt("a", kinds=7), "kinds"),
        (lambda here: here.plan(None), "tools"),
        (lambda here: here.plan("act"), "tools"),
        (lambda here: here.plan([7]), "tools"),
        (lambda here: here.plan([""]), "tools"),
        (lambda here: session(7), "id"),
        (lambda here: session(""), "id"),
        (lambda here: session("a", 7), "scope"),
        (lambda here: session("a", " "), "scope"),
        (lambda here: session("a", {"user_id": 7}), "scope"),
        (lambda here: session("a", {"": "alice"}), "scope"),
        (lambda here: session("a", store=object()).__enter__(), "store"),
        (lambda here: session("a", prompt=7), "prompt"),
        (lambda here: session(shared=True), "shared"),
        (lambda here: session("a", shared="yes"), "shared"),
    ],
)
def test_what_a_session_cannot_be_told_is_named(here: session, state: Callable[[session], Any], argument: str) -> None:
    with pytest.raises(ActGuardUsageError) as caught:
        state(here)

    assert caught.value.argument == argument
    assert [fact.kind for fact in here.facts()] == []


def test_a_session_that_is_not_open_can_be_told_nothing(store: MemoryStore) -> None:
    over = session("chat", store=store)
    with over:
        over.add_fact("id", "a")
    for use in (
        lambda: over.add_fact("id", "b"),
        lambda: over.revoke("id"),
        lambda: over.facts(),
        lambda: over.plan(["act"]),
        lambda: over.trust_prompt("a"),
        over.close,
    ):
        with pytest.raises(SessionUsageError, match="'chat' is not open"):
            use()


def test_a_session_shows_its_name_and_scope() -> None:
    assert repr(session("chat")) == "session('chat')"
    assert repr(session("chat", "tenant")) == "session('chat', scope='tenant')"
    assert repr(session("chat", {"tenant": "t-7"})) == "session('chat', scope={'tenant': 't-7'})"


def test_a_session_without_a_name_gets_one_of_its_own(store: MemoryStore) -> None:
    assert session().id != session().id
    with session(store=store) as one, session(store=store) as other:
        other.add_fact("id", "a")
        assert one.facts() == []


def test_the_last_to_leave_ends_the_facts(store: MemoryStore) -> None:
    first, second = session("chat", store=store), session("chat", store=store)
    with first:
        first.add_fact("id", "a")
        with second, second:
            assert len(second.facts()) == 1
        assert len(first.facts()) == 1
    assert store.facts_held() == 0
    with session("chat", store=store) as again:
        assert again.facts() == []


def test_a_session_that_was_closed_may_begin_anew(store: MemoryStore) -> None:
    chat = session("chat", store=store)
    with chat:
        chat.add_fact("id", "a")
        chat.close()
        assert store.facts_held() == 0
        assert refusal(guarded(RequireFact("value", "id")), "a").reason == "ended"
        with session("chat", store=store) as anew:
            assert anew.facts() == []
            anew.add_fact("id", "b")
        assert store.facts_held() == 0


async def test_on_an_event_loop_the_same_can_be_said(store: MemoryStore) -> None:
    async with session("chat", store=store) as chat:
        await chat.aadd_fact("id", "a", "text", ttl=5.0, max_uses=2)
        await chat.aadd_fact("id", "b")
        assert sorted((fact.value, fact.trust, fact.uses) for fact in await chat.afacts("id")) == [
            ("s:a", "text", 2),
            ("s:b", "user", None),
        ]
        assert await chat.afacts("other") == []
        assert await chat.arevoke("id", "a") == 1
        assert await chat.arevoke("id") == 1
        await chat.aplan(["one"])
        await chat.aplan(["act"])
        assert guarded(InPlan())() == "done"
        await chat.aclose()
        assert store.facts_held() == 0
    with pytest.raises(SessionUsageError):
        await chat.aclose()


def test_a_shared_session_is_closed_by_whoever_knows_its_name(store: MemoryStore) -> None:
    with session("chat", "tenant", store=store, shared=True) as chat:
        chat.add_fact("id", "a")
    assert store.facts_held() == 1
    session("chat", "other", store=store, shared=True).close()
    assert store.facts_held() == 1
    session("chat", "tenant", store=store, shared=True).close()
    assert store.facts_held() == 0


def test_a_plan_is_replaced_by_the_next(here: session) -> None:
    def other() -> None: ...

    here.plan(["act", other])
    assert guarded(InPlan())() == "done"
    assert enforce([InPlan()])(other)() is None
    here.plan([other])
    assert refusal(guarded(InPlan())).code == "NOT_IN_PLAN"


def test_without_a_session_a_call_says_which_guard_asked_and_why() -> None:
    refused = refusal(guarded(RequireFact("value", "id")), "a")
    assert (refused.code, refused.reason, refused.details["guard"]) == ("NO_SESSION", "none", "enforce")
    assert "act" in str(refused)
    read = refusal(reads("a", "id", "."))
    assert (read.code, read.details["guard"]) == ("NO_SESSION", "prove")


# ---- what a read proves ----


def test_values_read_together_are_one_record_until_told_otherwise(here: session) -> None:
    orders = [{"id": 1, "to": "a"}, {"id": 2, "to": "b"}, {"id": None, "to": "c"}]
    reads(orders, {"id": "[].id", "to": "[].to"})()
    pair = guarded(SameRecord("value", "other", kinds={"value": "id", "other": "to"}))

    assert pair(1, "a") == pair(2, "b") == "done"
    assert refusal(pair, 1, "b").reason == "record"
    assert refusal(pair, 1, "c").reason == "record"
    reads({"id": 1, "to": "c"}, {"id": "id", "to": "to"})()
    assert pair(1, "c") == "done"


def test_records_of_two_tools_are_not_one(here: session) -> None:
    reads({"id": 1, "to": "a"}, {"id": "id", "to": "to"}, source="one")()
    reads({"id": 1, "to": "b"}, {"id": "id", "to": "to"}, source="two")()
    pair = guarded(SameRecord("value", "other", kinds={"value": "id", "other": "to"}))

    assert pair(1, "a") == pair(1, "b") == "done"
    reads({"id": 2, "to": "a"}, {"id": "id", "to": "to"}, source="two")()
    assert refusal(pair, 2, "b").reason == "record"


def test_spellings_are_evened_out_on_both_sides(here: session) -> None:
    reads(["Ann <ANN@ours.example>"], "to", "[]", normalize="email")()

    assert guarded(RequireFact("value", "to", normalize="email"))("ann@OURS.example") == "done"
    assert refusal(guarded(RequireFact("value", "to")), "ANN@ours.example").reason == "unknown"
    reads("x", "to", ".", normalize=lambda value: None)()
    assert len(here.facts("to")) == 1


def test_what_a_trust_function_says_counts_for_each_value(here: session) -> None:
    reads(["a", "b"], "id", "[]", trust=lambda value: "user" if value == "a" else "text")()
    assert [(fact.value, fact.trust) for fact in sorted(here.facts())] == [("s:a", "user"), ("s:b", "text")]
    assert guarded(NotAfter())() == "done"

    refused = refusal(reads("c", "id", ".", trust=lambda value: "high"))
    assert refused.code == "EXTRACT_FAILED"
    assert isinstance(refused.__cause__, ActGuardUsageError)


def test_only_reads_of_free_text_mark_the_session(here: session) -> None:
    reads("a", "id", ".", trust="field")()
    reads("b", "id", ".", trust="user")()
    track()(lambda: None)()
    assert guarded(NotAfter())() == "done"
    reads("c", "id", ".", trust="text")()
    assert refusal(guarded(NotAfter())).code == "UNTRUSTED_INPUT"
    assert refusal(guarded(NotAfter("look"))).code == "UNTRUSTED_INPUT"


@pytest.mark.parametrize("guard", [prove("id", ".", trust="text"), track(untrusted=True)])
async def test_an_untrusted_result_that_is_given_out_again_marks_the_session(guard: Any, store: MemoryStore) -> None:
    def look(at: str) -> str:
        return at

    async def alook(at: str) -> str:
        return at

    write = enforce([NotAfter()])(lambda: "written")
    for function in (look, alook):
        once = actguard.idempotent(key="derived", scope="global", store=MemoryStore())(guard(function))
        for _ in range(2):  # the second time, nothing is read: what was read is given out
            with session(store=store):
                assert write() == "written"
                read = once("a")
                assert (await read if hasattr(read, "__await__") else read) == "a"
                assert refusal(write).code == "UNTRUSTED_INPUT"


def test_a_read_counts_as_a_run_where_a_rule_asks_for_it(here: session) -> None:
    @prove("id", ".", source="renamed")
    def lookup_before_act() -> str:
        return "a"

    act = guarded(RequireTool("lookup_before_act"))
    assert refusal(act).reason == "not_run"
    lookup_before_act()
    assert act() == "done"
    assert [fact.source for fact in here.facts()] == ["renamed"]


def test_a_read_that_failed_is_no_run(here: session) -> None:
    @track()
    def may_fail_before_act(fails: bool) -> None:
        if fails:
            raise LookupError

    act = guarded(RequireTool("may_fail_before_act"))
    with pytest.raises(LookupError):
        may_fail_before_act(True)
    assert refusal(act).reason == "not_run"
    may_fail_before_act(False)
    assert act() == "done"


def test_too_much_and_unfit_say_so_with_the_result(here: session) -> None:
    many = refusal(reads([1, 2, 3], "id", "[]", max_items=2))
    assert (many.code, many.reason, many.result) == ("TOO_MANY_RESULTS", "too_many", [1, 2, 3])
    assert many.details == {"max_items": 2, "kinds": ["id"]}
    assert many.fix_hint

    unfit = refusal(reads({"a": {}}, {"x": "a", "y": "b"}))
    assert (unfit.code, unfit.reason, unfit.result) == ("EXTRACT_FAILED", "extract", {"a": {}})
    assert unfit.details == {"kinds": ["x", "y"]}
    assert unfit.__cause__ is None
    assert "a mapping stands where a value should" in str(unfit)

    broken = refusal(reads({}, "id", lambda result: result["id"]))
    assert (broken.code, type(broken.__cause__)) == ("EXTRACT_FAILED", KeyError)
    assert str(broken).endswith("could not be read from its result: KeyError")


def test_a_generator_counts_its_values_over_all_items(here: session) -> None:
    def talk(**options: Any) -> Iterator[Any]:
        @prove({"id": "id", "to": "to"}, max_items=2, **options)
        def look() -> Iterator[Any]:
            for number in range(4):
                yield {"id": number, "to": "a"}

        return look()

    assert len(list(talk(on_too_many="truncate"))) == 4
    assert sorted(fact.value for fact in here.facts("id")) == ["i:0", "i:1"]
    here.revoke("id")
    talking = talk()
    next(talking), next(talking)
    assert refusal(next, talking).code == "TOO_MANY_RESULTS"


def test_a_path_of_a_generator_may_begin_with_its_items(here: session) -> None:
    for path in ("[].id", "id"):

        @prove("id", path)
        def look() -> Iterator[Any]:
            yield {"id": "a"}
            yield {"id": ["b", "c"]}

        assert len(list(look())) == 2
        assert sorted(fact.value for fact in here.facts()) == ["s:a", "s:b", "s:c"]
        here.revoke("id")


def test_guards_explain_themselves() -> None:
    assert prove({"id": "[].id", "to": len}).explain() == "id = [].id, to = f(...)"
    assert track().explain() == "track"
    assert track(untrusted=True).explain() == "track, untrusted"
    assert enforce([InPlan(), RequireTool("a")]).explain().startswith("InPlan(hint=''), RequireTool(")


async def _awaited(value: Any) -> Any:
    """What nobody would await."""
    return value


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (lambda: prove("id", "id", on_too_many="cut"), "on_too_many"),
        (lambda: prove("id", "id", on_error="ignore"), "on_error"),
        (lambda: prove("id", "id", trust="high"), "trust"),
        (lambda: prove("id", "id", source=""), "source"),
        (lambda: prove("id", "id", source=7), "source"),
        (lambda: prove("id", "id", normalize="mail"), "normalize"),
        (lambda: prove("id", "id", max_items=1.5), "max_items"),
        (lambda: prove("id", "id", max_uses=0), "max_uses"),
        (lambda: prove("id", "id", mode="loud"), "mode"),
        (lambda: prove("id#head", "id"), "kind"),
        (lambda: prove(["id"], "id"), "kind"),  # type: ignore[arg-type]
        (lambda: prove("id", _awaited), "extract"),
        (lambda: prove("id", "id", trust=_awaited), "trust"),  # type: ignore[arg-type]
        (lambda: prove("id", "id", normalize=_awaited), "normalize"),
        (lambda: RequireFact("value", "id", normalize=_awaited), "normalize"),
        (lambda: RequireFact("value", "id", part=_awaited), "part"),
        (lambda: prove("id", "id", on_store_error="local"), "on_store_error"),
        (lambda: track(on_store_error="local"), "on_store_error"),
        (lambda: track(ttl=5), "ttl"),
    ],
)
def test_options_of_reads_are_checked_where_they_are_written(make: Callable[[], Any], argument: str) -> None:
    with pytest.raises(ActGuardUsageError) as caught:
        make()

    assert caught.value.argument == argument


# ---- what a write is told ----


def test_every_denial_is_told_in_the_order_of_the_rules(here: session) -> None:
    here.add_fact("id", "a", "text")
    act = guarded(
        RequireFact("value", "id"),
        Threshold("other", 5, hint="Less."),
        SameRecord("value", "other", kinds={"value": "id", "other": "id"}),
    )
    refused = refusal(act, "a", 6)

    assert [told["code"] for told in refused.details["denials"]] == [
        "MISSING_FACT",
        "THRESHOLD_EXCEEDED",
        "RECORD_MISMATCH",
    ]
    assert refused.code == "MISSING_FACT"
    assert refused.details["denials"][1]["max"] == 5


def test_a_refused_call_uses_nothing_up(here: session) -> None:
    reads("a", "id", ".", max_uses=1)()
    rules = (
        RequireFact("value", "id", consume=True),
        Threshold("other", 5, cumulative=(60, 5)),
        SameRecord("value", "value.x", kinds={"value": "id", "value.x": "id"}),
    )
    with pytest.raises(GuardError):
        guarded(*rules[:2])("a", 6)
    act = guarded(*rules[:2])
    assert act("a", 5) == "done"
    assert {told["reason"] for told in refusal(act, "a", 1).details["denials"]} == {"used", "sum"}


def test_one_call_uses_a_fact_once_however_many_rules_ask_for_it(here: session) -> None:
    reads("a", "id", ".", max_uses=1)()
    act = guarded(RequireFact("value", "id", consume=True), RequireFact("other", "id", consume=True))

    assert act("a", "a") == "done"
    assert refusal(act, "a", "a").reason == "used"


def test_sums_that_fit_one_by_one_and_not_together_are_refused(here: session) -> None:
    act = guarded(*[Threshold("value", 5, cumulative=(60, 5))] * 2)

    refused = refusal(act, 3)
    assert refused.reason == "together"
    assert act(2) == "done"


class Bare:
    """A store without an asynchronous side, whose synchronous one does not block."""

    def __init__(self) -> None:
        self.memory = MemoryStore()

    def __getattr__(self, name: str) -> Any:
        if name in ("aio", "blocking", "facts_hold", "facts_mint"):
            raise AttributeError(name)
        return getattr(self.memory, name)


async def test_a_store_with_one_side_only_serves_event_loops_too() -> None:
    @prove("id", ".")
    async def look() -> str:
        return "a"

    @enforce([RequireFact("value", "id", consume=True), Threshold("other", 5, cumulative=(60, 5))])
    async def act(value: str, other: int) -> str:
        return "done"

    store = Bare()
    async with session("bare", store=store) as bare:
        await look()
        with pytest.raises(GuardError) as caught:
            await act("b", 1)
        assert caught.value.reason == "unknown"
        assert await act("a", 5) == "done"
        await bare.aadd_fact("id", "a")
        with pytest.raises(GuardError) as caught:
            await act("a", 1)
        assert caught.value.reason == "sum"
    assert store.memory.facts_held() == 0


async def test_an_untrusted_read_gets_its_arguments_and_names_itself_without_a_session(here: session) -> None:
    @track(untrusted=True)
    async def fetch(page: str, *, part: int) -> tuple[str, int]:
        return page, part

    assert await fetch("a", part=1) == ("a", 1)
    here.close()
    with pytest.raises(GuardError, match="fetch needs a session"):
        await fetch("a", part=1)


def test_two_groups_of_records_are_kept_apart(here: session) -> None:
    reads([{"a": 1, "b": 2}, {"c": 3, "d": 4}], {"a": "[].a", "b": "[].b", "c": "[].c", "d": "[].d"})()

    @enforce(
        [
            SameRecord("a", "b", kinds={"a": "a", "b": "b"}),
            RequireFact("a", "a"),
            SameRecord("c", "d", kinds={"c": "c", "d": "d"}),
        ]
    )
    def act(a: int, b: int, c: int, d: int) -> str:
        return "done"

    assert act(1, 2, 3, 4) == "done"


def test_a_store_that_is_away_is_told_in_the_log_where_calls_may_pass(
    here: session, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*args: Any, **kwargs: Any) -> Any:
        raise StoreUnavailableError("away")

    for name in ("facts_check", "facts_put", "facts_list"):
        monkeypatch.setattr(MemoryStore, name, away)
    with caplog.at_level(logging.WARNING, "actguard"):
        assert guarded(RequireFact("value", "id", max_age=5), on_store_error="open")("a") == "done"
        assert guarded(NoSecret("value", "id"), on_store_error="open")("a") == "done"
        assert reads(["a"], "id", "[]", when=lambda result: True)() == ["a"]
    assert len(caplog.records) == 3
    for act in (
        lambda: guarded(RequireFact("value", "id", max_age=5), on_store_error="closed")("a"),
        lambda: guarded(NoSecret("value", "id"))("a"),
        reads(["a"], "id", "[]", when=lambda result: True, on_store_error="closed"),
    ):
        with pytest.raises(StoreUnavailableError):
            act()


# ---- secrets ----


@pytest.mark.parametrize(
    "dress",
    [
        "s3cret-Value-42",
        "S3CRET-VALUE-42",
        "s 3 c r e t V a l u e 4 2",
        "s.3.c.r.e.t.v.a.l.u.e.4.2",
        "24-eulaV-terc3s",
        "s3cret%2DValue%2d42",
        "%73%33%63%72%65%74%2DValue%2D42",
        b"s3cret-Value-42".hex(),
        b"s3cret-Value-42".hex(" ").upper(),
        "xczNjcmV0LVZhbHVlLTQy",
        "czNjcmV0LVZh bHVlLTQy",
        "AHMzY3JldC1WYWx1ZS00Mg==",
        "AABzM2NyZXQtVmFsdWUtNDI=",
        "see s3cret-Value-42!",
        ["s3cret", "Value", "42"],
        {"a": {"s3cret-Value-42": 1}},
    ],
)
def test_a_secret_is_found_in_every_dress(here: session, dress: Any) -> None:
    reads("s3cret-Value-42", "key", ".")()
    refused = refusal(guarded(NoSecret("value", "key")), dress)

    assert (refused.code, refused.reason, refused.details["argument"]) == ("SECRET_LEAK", "secret", "value")
    assert refused.fix_hint == "Leave it out."
    assert refusal(guarded(NoSecret("value", ("other", "key"), hint="H")), dress).fix_hint == "H"
    assert guarded(NoSecret("value", "other"))(dress) == "done"


@pytest.mark.parametrize("text", ["", "s3cret", "Value-42", "s3cret-Valu", "czNjcmV0", "secret value"])
def test_what_only_looks_a_little_like_it_may_leave(here: session, text: str) -> None:
    reads("s3cret-Value-42", "key", ".")()

    assert guarded(NoSecret("value", "key"))(text) == "done"


@pytest.mark.parametrize(
    ("secret", "text", "leaves"),
    [
        ("1234", "my pin is 1234.", False),
        ("1234", "1234", False),
        (1234, "pin:1234", False),
        ("1234", "order 12345", True),
        ("1234", "order 01234", True),
        ("1234", "order 12341234 and 1234", False),
        ("ab-c", "AB-C", False),
        ("ab-c", "xab-c", True),
        ("12345", "1-2-3-4-5", True),
        ("123456", "1-2-3-4-5-6", False),
    ],
)
def test_a_short_secret_counts_where_it_stands_alone(here: session, secret: Any, text: str, leaves: bool) -> None:
    reads(secret, "key", ".")()
    act = guarded(NoSecret("value", "key"))

    if leaves:
        assert act(text) == "done"
    else:
        assert refusal(act, text).code == "SECRET_LEAK"


def test_of_a_secret_that_is_too_long_to_be_kept_the_beginning_is_found(here: session) -> None:
    secret = "".join(f"{number:06d}" for number in range(2_000))
    reads(secret, "key", ".")()
    act = guarded(NoSecret("value", "key"))

    assert refusal(act, f"it is {secret}").code == "SECRET_LEAK"
    assert refusal(act, secret[:120]).code == "SECRET_LEAK"
    assert act(secret[:119]) == "done"


def test_a_text_that_is_too_long_to_be_looked_through_is_refused(here: session) -> None:
    act = guarded(NoSecret("value", "key"))
    assert act("x" * 1_000_001) == "done", "there is no secret yet"
    reads("s3cret-Value-42", "key", ".")()
    assert act("x" * 1_000_000) == "done"
    assert refusal(act, "x" * 1_000_001).code == "INVALID_ARGUMENT"


def test_the_public_names_are_there() -> None:
    assert actguard.session is session
