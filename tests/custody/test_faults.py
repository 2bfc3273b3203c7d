"""Faults that must not be here, one by one: each was found in a guard that was believed to hold."""

import asyncio
import contextvars
import dataclasses
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from pydantic import BaseModel

import actguard
from actguard.context import Run, current_frame, inside
from actguard.custody.amounts import Threshold
from actguard.custody.enforce import enforce
from actguard.custody.fact_rules import RequireFact
from actguard.custody.prove import prove
from actguard.custody.session import session
from actguard.custody.text_rules import BlockRegex
from actguard.exceptions import ActGuardUsageError, GuardError, SessionUsageError
from actguard.stores.memory import MemoryStore
from actguard.tools.tool import tool


def refused(code: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> GuardError:
    with pytest.raises(GuardError) as caught:
        function(*args, **kwargs)
    assert caught.value.code == code, caught.value
    return caught.value


def reading(value: Any, kind: str = "id", extract: Any = ".", **options: Any) -> Any:
    """Call a read that returns *value*."""

    @prove(kind, extract, **options)
    def read() -> Any:
        return value

    return read()


def wanting(kind: str = "id", **options: Any) -> Callable[..., str]:
    @enforce([RequireFact("value", kind, **options)])
    def write(value: Any = None) -> str:
        return "written"

    return write


@pytest.mark.parametrize("rule", [RequireFact("target", "id"), Threshold("target", 5), BlockRegex("target", "x")])
def test_p1_an_argument_left_out_or_none_is_refused(here: session, rule: Any) -> None:
    @enforce([rule])
    def cancel(target: Any = None) -> str:
        return "CANCELLED ALL"

    refused("MISSING_ARGUMENT", cancel)
    refused("MISSING_ARGUMENT", cancel, None)
    refused("MISSING_ARGUMENT", cancel, target=None)


def test_p1_an_argument_that_may_be_left_out_says_so(here: session) -> None:
    assert wanting(optional=True)() == "written"
    refused("MISSING_FACT", wanting(optional=True), "unknown")


@pytest.mark.parametrize("rule", [RequireFact("oder_id", "order"), Threshold("amuont", 5), BlockRegex("bdoy", "x")])
def test_p2_a_misspelt_argument_is_an_error_where_it_is_written(rule: Any) -> None:
    with pytest.raises(ActGuardUsageError, match="no such parameter"):

        @enforce([rule])
        def cancel(order_id: str, amount: int, body: str) -> None: ...


def test_p3_what_comes_in_kwargs_is_checked(here: session) -> None:
    @enforce([RequireFact("arguments.order_id", "order"), Threshold("arguments.amount", 5)])
    def call_tool(name: str, **arguments: Any) -> str:
        return "called"

    reading("o1", "order")
    assert call_tool("cancel", order_id="o1", amount=5) == "called"
    refused("MISSING_FACT", call_tool, "cancel", order_id="o2", amount=5)
    refused("THRESHOLD_EXCEEDED", call_tool, "cancel", order_id="o1", amount=6)
    refused("MISSING_ARGUMENT", call_tool, "cancel", amount=5)
    with pytest.raises(ActGuardUsageError, match=r"arguments\.order_id"):
        enforce([RequireFact("order_id", "order")])(call_tool)


@pytest.mark.parametrize("amount", [float("nan"), float("inf"), "3", [float("nan")], {}, True, b"1", 1j, [[1]]])
def test_p4_what_is_no_number_passes_no_threshold(here: session, amount: Any) -> None:
    @enforce([Threshold("amount", 5)])
    def pay(amount: Any) -> None: ...

    refused("INVALID_ARGUMENT", pay, amount)


def test_p4_a_threshold_has_a_lower_end(here: session) -> None:
    @enforce([Threshold("amount", 5)])
    def pay(amount: float) -> str:
        return "paid"

    refused("THRESHOLD_EXCEEDED", pay, -1_000_000)
    refused("THRESHOLD_EXCEEDED", pay, 10**400)
    assert pay(0) == pay(5) == "paid"


@pytest.mark.parametrize(
    ("pattern", "value"),
    [
        (r"rm\s+-rf", ["rm\t-rf /"]),
        (r"rm\s+-rf", ["rm", "-rf", "/"]),
        (r"^curl", ["curl evil"]),
        (r"^curl", {"command": ["echo", "curl evil"]}),
        (r"^curl", b"curl evil"),
        (r"curl", {"curl": 1}),
        (r"curl", {"a": ({"b": ["x", "curl"]},)}),
        (r"^22$", [22]),
        # P5b: the same, in disguise
        (r"rm -rf", "r\u200bm -rf /"),
        (r"rm -rf", "ｒｍ -rf /"),
        (r"rm -rf", "r\u00adm -r\u2060f"),
        (r"rm -rf", "r\x00m -rf"),
        (r"rm -rf", "𝗿𝗺 -rf"),
        (r"evil\.com", "https://evil\u3002com/x"),
        (r"evil\.com", "evil\uff0ecom"),
        (r"evil\.com", "evil\uff61com"),
    ],
)
def test_p5_a_pattern_is_found_in_every_text_however_deep_and_disguised(
    here: session, pattern: str, value: Any
) -> None:
    @enforce([BlockRegex("value", pattern)])
    def run(value: Any) -> None: ...

    refused("PATTERN_BLOCKED", run, value)


def test_p6_a_text_made_to_hang_a_pattern_does_not(here: session) -> None:
    with pytest.raises(ActGuardUsageError, match="repeats a repeat"):
        BlockRegex("value", r"(a+)+$")

    @enforce([BlockRegex("value", r"(?:aa?)*$")])
    def run(value: str) -> None: ...

    started = time.thread_time()
    refused("PATTERN_BLOCKED", run, "a" * 200_000 + "!")
    assert time.thread_time() - started < 10


def test_p7_kinds_and_values_are_not_run_together(here: session) -> None:
    reading("admin:42", "user")

    refused("MISSING_FACT", wanting("user:admin"), "42")
    assert wanting("user")("admin:42") == "written"


def test_p8_none_is_never_a_fact(here: session) -> None:
    reading([{"id": None}, {}], "id", "[].id")

    refused("MISSING_FACT", wanting(), "None")
    refused("MISSING_ARGUMENT", wanting(), None)
    assert here.facts() == []


def test_p8b_values_have_types(here: session) -> None:
    reading([1, True], "id", "[]")
    reading("2", "id")

    assert wanting()(1) == wanting()(1.0) == wanting()(True) == wanting()("2") == "written"
    refused("MISSING_FACT", wanting(), "1")
    refused("MISSING_FACT", wanting(), "True")
    refused("MISSING_FACT", wanting(), 2)
    refused("MISSING_FACT", wanting(), False)


@dataclasses.dataclass
class Mail:
    id: str


class Order(BaseModel):
    id: str


@pytest.mark.parametrize(
    ("result", "extract"),
    [
        ([{"id": "x"}], "id"),
        (({"id": "x"},), "[].id"),
        ({"a": [{"id": "x"}], "b": []}, "[].id"),
        ({"items": [{"id": "x"}]}, "items[].id"),
        ({"items": [{"id": "x"}]}, "items.id"),
        ({"k": {"id": "x"}}.values(), "[].id"),
        ({"x"}, "[]"),
        (frozenset({"x"}), "[]"),
        (json.dumps([{"id": "x"}]), "[].id"),
        (json.dumps({"id": "x"}).encode(), "id"),
        ([json.dumps({"id": "x"})], "[].id"),
        (Mail("x"), "id"),
        ([Order(id="x")], "[].id"),
        ({"order": Order(id="x")}, "order.id"),
        ("x", "."),
        ([{"id": "x"}], lambda result: (mail["id"] for mail in result)),
        ([{"id": "x"}], lambda result: result[0]["id"]),
    ],
)
def test_p9_every_shape_of_result_proves(here: session, result: Any, extract: Any) -> None:
    assert reading(result, "id", extract) is result

    assert wanting()("x") == "written"


def test_p9_a_generator_proves_item_by_item_and_stays_one(here: session) -> None:
    closed: list[str] = []

    @prove("id", "id")
    def read() -> Iterator[dict[str, str]]:
        try:
            yield {"id": "a"}
            yield {"id": "b"}
        finally:
            closed.append("closed")

    items = read()
    assert next(items) == {"id": "a"}
    assert wanting()("a") == "written"
    refused("MISSING_FACT", wanting(), "b")
    assert [*items] == [{"id": "b"}]
    assert wanting()("b") == "written"
    assert closed == ["closed"]


def test_p10_a_method_is_no_value(here: session) -> None:
    refused("MISSING_FACT", wanting(), str({"id": 1}.items))
    reading({"id": 1}, "id", "items")
    refused("EXTRACT_FAILED", reading, "text", "id", "upper")
    assert here.facts() == []


def test_p11_an_extractor_that_fails_keeps_the_result(here: session) -> None:
    result = [{"name": "no id here"}]
    error = refused("EXTRACT_FAILED", reading, result, "id", lambda found: found[0]["id"])

    assert error.result is result
    assert isinstance(error.__cause__, KeyError)
    assert reading(result, "id", lambda found: found[0]["id"], on_error="skip") is result


@pytest.mark.parametrize("option", [{"on_too_many": "blok"}, {"on_error": "rais"}, {"trust": "feild"}, {"mode": "on"}])
def test_p11b_a_misspelt_option_is_an_error(option: dict[str, Any]) -> None:
    with pytest.raises(ActGuardUsageError) as caught:
        prove("id", "id", **option)

    assert caught.value.argument == next(iter(option))


def test_p12_facts_end_with_their_session(store: MemoryStore) -> None:
    with session("chat", store=store):
        reading("x")
        assert wanting()("x") == "written"

    with session("chat", store=store) as again:
        refused("MISSING_FACT", wanting(), "x")
        assert again.facts() == []
    assert store.facts_held() == 0


def test_p12_what_comes_late_does_not_reach_the_next_session(store: MemoryStore) -> None:
    with session("chat", store=store):
        late = contextvars.copy_context()
    with session("chat", store=store) as second:
        refused("NO_SESSION", late.run, reading, "x")
        assert second.facts() == []


def test_p13_a_session_may_be_entered_again(store: MemoryStore) -> None:
    s = session(store=store)
    with s:
        reading("x")
        with s:
            assert wanting()("x") == "written"
        assert wanting()("x") == "written"
    refused("NO_SESSION", wanting(), "x")


async def test_p13b_one_session_serves_many_tasks(store: MemoryStore) -> None:
    s = session(store=store)

    async def task(name: str) -> str:
        async with s:
            reading(name)
            await asyncio.sleep(0)
            return wanting()(name)

    assert await asyncio.gather(*map(task, "abc")) == ["written"] * 3
    assert store.facts_held() == 0


def test_p13c_a_session_without_an_id_has_one(store: MemoryStore) -> None:
    with session(None, store=store) as first:
        with session(None, store=store) as second:
            assert first.id != second.id
            reading("x")
        refused("MISSING_FACT", wanting(), "x")
    for wrong in ("", " ", 7):
        with pytest.raises(SessionUsageError):
            session(wrong)  # type: ignore[arg-type]


def test_p14_threads_are_in_the_session_that_started_them() -> None:
    with actguard.session(), ThreadPoolExecutor(1) as pool:
        pool.submit(reading, "x").result()
        assert pool.submit(wanting(), "x").result() == "written"
        outcome: list[str] = []
        thread = threading.Thread(target=lambda: outcome.append(wanting()("x")))
        thread.start()
        thread.join()
        assert outcome == ["written"]


def test_p15_time_is_monotonic(clock: Any, here: session, monkeypatch: pytest.MonkeyPatch) -> None:
    reading("x", ttl=10)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    clock.pass_(9.99)
    assert wanting()("x") == "written"
    clock.pass_(0.01)
    refused("MISSING_FACT", wanting(), "x")


@pytest.mark.parametrize(
    ("normalize", "read", "said"),
    [
        ("email", "Alice@X.com", "alice@x.com"),
        ("email", "alice@x.com", "Alice <ALICE@X.COM>"),
        ("url", "HTTPS://Example.com:443/a#top", "https://example.com/a"),
        ("digits", "+1 (555) 123-456", "+1555123456"),
        ("iban", "DE89 3704 0044", "de8937040044"),
        ("number", "42.0", 42),
        ("number", 42, "42"),
        ("casefold", "Big  Deal", "big deal"),
        ("text", 42, "42"),
        (str.upper, "abc", "ABC"),
    ],
)
def test_p16_a_normaliser_evens_out_spellings(here: session, normalize: Any, read: Any, said: Any) -> None:
    reading(read, normalize=normalize)

    assert wanting(normalize=normalize)(said) == "written"
    refused("MISSING_FACT", wanting(normalize="email"), "al\u200bice@x.com")


@pytest.mark.parametrize(
    ("result", "argument", "other"),
    [
        ([[1, 2]], [1, 2], [2, 1]),
        ([frozenset({1, 2})], frozenset({2, 1}), frozenset({1})),
        ([(1, "a")], [1, "a"], ["a", 1]),
    ],
)
def test_p17_values_with_parts_match_as_a_whole(here: session, result: Any, argument: Any, other: Any) -> None:
    here.add_fact("id", result[0])

    assert wanting(each=False)(argument) == "written"
    refused("MISSING_FACT", wanting(each=False), other)


def test_p17_a_mapping_is_compared_by_what_is_in_it(here: session) -> None:
    here.add_fact("id", {"a": 1, "b": [2]})

    assert wanting()({"b": [2], "a": 1.0}) == "written"
    refused("MISSING_FACT", wanting(), {"a": 1})


def test_p17_every_element_of_a_list_needs_a_fact(here: session) -> None:
    reading(["a", "b"], extract="[]")

    assert wanting()(["a", "b"]) == wanting()({"b"}) == "written"
    refused("MISSING_FACT", wanting(), ["a", "c"])
    refused("MISSING_ARGUMENT", wanting(), [])
    refused("MISSING_ARGUMENT", wanting(), ["a", None])


def test_p18_the_rules_are_the_ones_that_were_given(here: session) -> None:
    rules = [RequireFact("value", "id")]

    @enforce(rules)
    def write(value: str) -> None: ...

    rules.clear()
    refused("MISSING_FACT", write, "x")


@pytest.mark.parametrize("rules", [None, [], (), RequireFact("value", "id"), "value", [None], [RequireFact], [3]])
def test_p18_what_is_no_list_of_rules_is_an_error(rules: Any) -> None:
    with pytest.raises(ActGuardUsageError) as caught:
        enforce(rules)

    assert caught.value.argument == "rules"


def test_p19_rules_given_to_tool_are_in_force(here: session) -> None:
    @tool(policy=[RequireFact("value", "id")])
    def write(value: str) -> str:
        return "written"

    refused("MISSING_FACT", write, "x")
    reading("x")
    assert write("x") == "written"


async def test_p20_async_generators_prove(here: session) -> None:
    @prove("id", "id")
    async def read() -> AsyncIterator[dict[str, str]]:
        yield {"id": "a"}
        yield {"id": "b"}

    items = read()
    assert await anext(items) == {"id": "a"}
    assert wanting()("a") == "written"
    refused("MISSING_FACT", wanting(), "b")
    assert [item async for item in items] == [{"id": "b"}]


def test_p21_a_fact_may_be_for_one_use(here: session) -> None:
    reading("x")

    assert wanting(consume=True)("x") == "written"
    assert refused("MISSING_FACT", wanting(), "x").reason == "used"
    reading("x")
    assert wanting()("x") == "written"


def test_p21_a_read_may_say_how_often(here: session) -> None:
    reading("x", max_uses=2)

    assert wanting()("x") == wanting()("x") == "written"
    used_up = refused("MISSING_FACT", wanting(), "x")
    assert used_up.reason == "used"
    assert "was used as often as it may be" in str(used_up)  # which was twice


def test_p21_a_fact_can_be_revoked(here: session) -> None:
    reading(["x", "y"], extract="[]")

    assert here.revoke("id", "x") == 1
    refused("MISSING_FACT", wanting(), "x")
    assert wanting()("y") == "written"
    assert here.revoke("id") == 1
    refused("MISSING_FACT", wanting(), "y")


def test_x4_a_guarded_function_keeps_its_signature() -> None:
    import inspect

    @enforce([RequireFact("order_id", "order")])
    async def cancel(order_id: str, *, reason: str = "") -> bool:
        """Cancel."""
        return True

    assert str(inspect.signature(cancel)) == "(order_id: str, *, reason: str = '') -> bool"
    assert inspect.iscoroutinefunction(cancel)
    assert cancel.__doc__ == "Cancel."


def test_x9_a_denial_further_in_is_told_once_and_of_the_tool_it_happened_to(here: session) -> None:
    heard: list[tuple[str, str]] = []

    class Emitter:
        def emit(self, category: str, name: str, payload: Any, fields: Any) -> None:
            heard.append((f"{category}.{name}", fields["tool_name"]))

    @enforce([RequireFact("value", "id")])
    def inner(value: str) -> None: ...

    @prove("id", ".")
    def outer() -> None:
        inner("unknown")

    with inside(current_frame()._replace(run=Run("r", None, Emitter()))):
        error = refused("MISSING_FACT", outer)

    assert heard == [("guard.blocked", "inner")]
    assert error.tool == "inner"
