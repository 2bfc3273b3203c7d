"""Custody on watch: the call is as it would be without, what it would have been refused for is told, once, and what a
read says of the session is kept, for the rules that are in force."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from actguard import (
    GuardError,
    MemoryStore,
    NotAfter,
    RequireFact,
    RequireTool,
    StoreUnavailableError,
    enforce,
    prove,
    session,
    track,
)
from actguard.context import Run, current_frame, inside
from tests.custody.calls import refusal


class Heard:
    def __init__(self) -> None:
        self.told: list[tuple[str, str, str]] = []

    def emit(self, category: str, name: str, payload: Any, fields: Any) -> None:
        if category == "guard":
            self.told.append((name, payload["guard"], payload["code"]))


@pytest.fixture
def heard() -> Iterator[Heard]:
    """What is told of the guards in a run."""
    heard = Heard()
    with inside(current_frame()._replace(run=Run("r", None, heard))):
        yield heard


@enforce([NotAfter()])
def send() -> str:
    return "sent"


@enforce([RequireTool(before="look")])
def act() -> str:
    return "done"


def look() -> str:
    return "a"


async def alook() -> str:
    return "a"


def items() -> Iterator[str]:
    yield from "abc"


async def aitems() -> AsyncIterator[str]:
    for item in "abc":
        yield item


async def collected(function: Any) -> Any:
    """What a function of any kind gives."""
    given = function()
    if hasattr(given, "__aiter__"):
        return [item async for item in given]
    return list(given) if hasattr(given, "__next__") else await given if hasattr(given, "__await__") else given


OF_EVERY_KIND = pytest.mark.parametrize(
    ("function", "result"),
    [(look, "a"), (alook, "a"), (items, [*"abc"]), (aitems, [*"abc"]), (lambda: items(), [*"abc"])],
)


@pytest.mark.parametrize(
    "guard", [prove("id", ".", trust="text", mode="observe"), track(untrusted=True, mode="observe")]
)
@OF_EVERY_KIND
async def test_an_untrusted_read_marks_the_session(here: session, guard: Any, function: Any, result: Any) -> None:
    assert send() == "sent"
    assert await collected(guard(function)) == result
    assert refusal(send).code == "UNTRUSTED_INPUT"


def test_a_run_counts(here: session) -> None:
    track(mode="observe")(look)()
    assert act() == "done"


@OF_EVERY_KIND
async def test_without_a_session_that_is_told_once(heard: Heard, function: Any, result: Any) -> None:
    for guard in (
        prove("id", ".", mode="observe"),
        prove("id", ".", trust="text", mode="observe"),
        track(mode="observe"),
    ):
        assert await collected(guard(function)) == result
        assert heard.told == [("intervention", "prove", "NO_SESSION")]
        heard.told.clear()


@pytest.mark.parametrize("function", [items, aitems, lambda: items()])
async def test_a_generator_that_yields_too_much_goes_on(here: session, heard: Heard, function: Any) -> None:
    watched = prove("id", "[]", max_items=1, mode="observe")(function)
    assert await collected(watched) == [*"abc"]
    assert heard.told == [("intervention", "prove", "TOO_MANY_RESULTS")]
    assert [fact.value for fact in here.facts("id")] == ["s:a"]


@pytest.mark.parametrize("function", [items, aitems, lambda: items()])
async def test_an_item_that_is_refused_is_told_of(here: session, heard: Heard, function: Any) -> None:
    enforced = prove("id", "[]", max_items=1)(function)
    with pytest.raises(GuardError) as caught:
        await collected(enforced)
    assert (caught.value.code, caught.value.guard, caught.value.result) == ("TOO_MANY_RESULTS", "prove", "b")
    assert caught.value.tool == enforced.__actguard__.target.name
    assert heard.told == [("blocked", "prove", "TOO_MANY_RESULTS")]


@OF_EVERY_KIND
async def test_a_store_that_does_not_answer_is_in_nobodys_way(
    function: Any, result: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*args: Any, **kwargs: Any) -> Any:
        raise StoreUnavailableError("away")

    store = MemoryStore()
    watches: list[Any] = [
        enforce([RequireFact("value", "id", optional=True), NotAfter()], mode="observe", on_store_error="closed"),
        prove("id", ".", mode="observe", on_store_error="closed"),
        prove("id", ".", trust="text", mode="observe"),
        track(untrusted=True, mode="observe", on_store_error="closed"),
    ]
    for name in ("facts_put", "facts_check", "facts_end"):
        monkeypatch.setattr(MemoryStore, name, away)
    with session(store=store):
        for watch in watches[1:]:
            assert await collected(watch(function)) == result

        @watches[0]
        def write(value: str = "") -> str:
            return "written"

        assert write() == "written"
    assert "away" in caplog.text
