"""The life of a session: whose it is, and what is left when it is over."""

import gc
import weakref
from typing import Any

import pytest

from actguard import RequireFact, enforce, prove
from actguard.custody.session import session
from actguard.exceptions import GuardError
from actguard.stores.memory import MemoryStore
from tests.custody.remote import Remote


@prove("id", ".")
async def look(value: str) -> str:
    return value


@enforce([RequireFact("value", "id")])
async def act(value: Any = None) -> str:
    return "done"


def two_processes() -> tuple[Remote, Remote]:
    """Two ways to one store, as from two processes."""
    one, other = Remote(), Remote()
    other.memory = one.memory
    return one, other


async def test_a_name_is_another_session_in_another_process() -> None:
    one, other = two_processes()
    async with session("chat", store=one):
        await look("x")
        assert await act("x") == "done"
        async with session("chat", store=other):
            with pytest.raises(GuardError):
                await act("x")


async def test_unless_the_session_is_shared() -> None:
    one, other = two_processes()
    async with session("chat", store=one, shared=True):
        await look("x")
        async with session("chat", store=other, shared=True) as there:
            assert await act("x") == "done"
        await there.aclose()


async def test_the_refusal_names_the_tool_and_the_guard_that_need_a_session() -> None:
    for call, guard, name in ((act("x"), "enforce", "act"), (look("x"), "prove", "look")):
        with pytest.raises(GuardError, match=f"{name} needs a session, and none is open") as caught:
            await call
        assert (caught.value.reason, caught.value.details["guard"]) == ("none", guard)


def test_nothing_of_a_session_that_is_over_is_kept() -> None:
    store = MemoryStore()
    with session("chat", store=store) as opened:
        opened.add_fact("id", "x")
    gone = weakref.ref(store)
    del store, opened
    gc.collect()
    assert gone() is None
