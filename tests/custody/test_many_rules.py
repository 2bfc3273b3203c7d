"""Several rules on one tool: each gets its own answers, in whatever way the store is asked, and one no is enough."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from actguard import RequireFact, SameRecord, Threshold, enforce, prove
from actguard.custody.session import session
from actguard.exceptions import GuardError
from actguard.stores.memory import MemoryStore
from tests.custody.remote import Remote


class Blocking(MemoryStore):
    """It does I/O, and has no side for event loops."""

    blocking = True
    facts_hold = None  # type: ignore[assignment]
    facts_mint = None  # type: ignore[assignment]


@pytest.fixture(params=[MemoryStore, Blocking, Remote])
async def here(request: pytest.FixtureRequest) -> AsyncIterator[session]:
    async with session(store=request.param()) as opened:
        yield opened


def guarded(*rules: Any) -> Callable[..., Any]:
    """The arguments of the tool are what its rules are about."""

    @enforce(rules)
    async def act(a: Any = None, b: Any = None, c: Any = None, d: Any = None) -> str:
        return "done"

    return act


async def refused(act: Callable[..., Any], *args: Any) -> list[tuple[str, str | None]]:
    """Codes and arguments of what was refused."""
    with pytest.raises(GuardError) as caught:
        await act(*args)
    return [(denial["code"], denial["argument"]) for denial in caught.value.details["denials"]]


async def test_each_fact_is_answered_for_itself(here: session) -> None:
    act = guarded(*(RequireFact(name, "id", consume=True) for name in "abc"))
    for value in ("x", "y", "z", "x2", "y2"):
        await here.aadd_fact("id", value)

    assert await refused(act, "x", "y", "?") == [("MISSING_FACT", "c")]
    assert await refused(act, "x", "?", "z") == [("MISSING_FACT", "b")]
    assert await refused(act, "?", "y", "?") == [("MISSING_FACT", "a"), ("MISSING_FACT", "c")]
    assert await act("x", "y", "z") == "done"
    assert await refused(act, "x2", "y2", "z") == [("MISSING_FACT", "c")]  # it was used up, and the others were not
    await here.aadd_fact("id", "z2")
    assert await act("x2", "y2", "z2") == "done"


async def test_each_sum_is_answered_for_itself(here: session) -> None:
    act = guarded(*(Threshold(name, 10, cumulative=(60, most)) for name, most in (("a", 10), ("b", 20), ("c", 5))))

    assert await act(4, 3, 4) == "done"
    assert await refused(act, 1, 1, 2) == [("THRESHOLD_EXCEEDED", "c")]
    assert await refused(act, 7, 1, 1) == [("THRESHOLD_EXCEEDED", "a")]
    assert await act(6, 10, 1) == "done"  # what was refused has not been counted
    assert await refused(act, 1, 6, 1) == [("THRESHOLD_EXCEEDED", "a"), ("THRESHOLD_EXCEEDED", "c")]


async def test_what_another_rule_refuses_is_not_counted(here: session) -> None:
    await here.aadd_fact("id", "x")
    act = guarded(RequireFact("a", "id", consume=True), Threshold("b", 10, cumulative=(60, 10)), Threshold("c", 3))

    assert await refused(act, "x", 10, 4) == [("THRESHOLD_EXCEEDED", "c")]
    assert await refused(act, "y", 10, 3) == [("MISSING_FACT", "a")]
    assert await refused(act, "x", 11, 3) == [("THRESHOLD_EXCEEDED", "b")]
    assert await act("x", 10, 3) == "done"


async def test_what_the_tool_fails_at_is_still_counted(here: session) -> None:
    await here.aadd_fact("id", "x")

    @enforce([RequireFact("a", "id", consume=True), Threshold("b", 10, cumulative=(60, 10))])
    async def act(a: str, b: int) -> str:
        raise LookupError

    with pytest.raises(LookupError):
        await act("x", 6)
    assert await refused(act, "x", 6) == [("MISSING_FACT", "a"), ("THRESHOLD_EXCEEDED", "b")]


async def test_each_pair_has_a_record_of_its_own(here: session) -> None:
    @prove({"mail": "[].id", "file": "[].file"})
    async def look() -> Any:
        return [{"id": "m1", "file": "f1"}, {"id": "m2", "file": "f2"}]

    await look()
    act = guarded(
        RequireFact("a", "mail"),
        RequireFact("b", "file"),
        RequireFact("c", "mail"),
        RequireFact("d", "file"),
        SameRecord("a", "b"),
        SameRecord("c", "d"),
    )

    assert await act("m1", "f1", "m2", "f2") == "done"
    assert await refused(act, "m1", "f1", "m2", "f1") == [("RECORD_MISMATCH", "c")]
    assert await refused(act, "m2", "f1", "m2", "f2") == [("RECORD_MISMATCH", "a")]
