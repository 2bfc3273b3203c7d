"""Sessions: who is in which, whose facts are whose, and what happens around them."""

import asyncio
from collections.abc import Iterator
from contextvars import copy_context
from typing import Any
from unittest.mock import Mock

import pytest

import actguard
from actguard import Denial, NoSecret, RequireFact, Threshold, custody, enforce, prove, session, steps, track
from actguard.context import Run, current_frame, inside
from actguard.exceptions import GuardError, SessionUsageError, StoreUnavailableError
from actguard.steps import generators
from actguard.stores.memory import MemoryStore
from tests.custody.remote import Remote


@prove("id", ".")
def read(value: Any) -> Any:
    return value


@enforce([RequireFact("value", "id")])
def write(value: Any) -> str:
    return "written"


@prove("id", ".")
async def aread(value: Any) -> Any:
    return value


@enforce([RequireFact("value", "id")])
async def awrite(value: Any) -> str:
    return "written"


def code(function: Any, *args: Any) -> str:
    with pytest.raises(GuardError) as caught:
        function(*args)
    return caught.value.code


def test_without_a_session_nothing_is_read_or_written() -> None:
    assert code(read, "x") == code(write, "x") == "NO_SESSION"


async def test_without_a_session_nothing_is_read_or_written_asynchronously() -> None:
    for call in (aread("x"), awrite("x")):
        with pytest.raises(GuardError) as caught:
            await call
        assert caught.value.code == "NO_SESSION"


def test_a_read_is_not_made_where_it_could_prove_nothing() -> None:
    made: list[str] = []

    @prove("id", ".")
    def look() -> str:
        made.append("made")
        return "x"

    assert code(look) == "NO_SESSION"
    assert made == []


def test_scopes_keep_the_same_id_apart(store: MemoryStore) -> None:
    with session("chat", "tenant-a", store=store), session("chat", "tenant-b", store=store):
        read("x")
        assert write("x") == "written"
        with session("chat", "tenant-a", store=store):
            assert code(write, "x") == "MISSING_FACT"
        with session("chat", store=store):
            assert code(write, "x") == "MISSING_FACT"


def test_a_scope_may_be_several_names_in_any_order(store: MemoryStore) -> None:
    with session("chat", {"tenant": "t-7", "user_id": "alice"}, store=store):
        read("x")
        with session("chat", {"user_id": "alice", "tenant": "t-7"}, store=store):
            assert write("x") == "written"
        for other in ({"tenant": "t-7", "user_id": "bob"}, {"tenant": "t-7"}, {}, "alice"):
            with session("chat", other, store=store):
                assert code(write, "x") == "MISSING_FACT"
    with session("chat", store=store), session("chat", {}, store=store):
        read("x")
        assert write("x") == "written"


def test_two_objects_of_one_name_share_their_facts(store: MemoryStore) -> None:
    with session("chat", store=store) as first:
        with session("chat", store=store) as second:
            read("x")
        assert [fact.value for fact in first.facts()] == ["s:x"]
        assert write("x") == "written"
        with pytest.raises(SessionUsageError):
            second.facts()


def test_a_shared_session_lasts_until_it_is_closed(store: MemoryStore) -> None:
    with session("chat", store=store, shared=True):
        read("x")
    with session("chat", store=store, shared=True):
        assert write("x") == "written"
    session("chat", store=store, shared=True).close()
    with session("chat", store=store, shared=True):
        assert code(write, "x") == "MISSING_FACT"
    with pytest.raises(SessionUsageError):
        session(shared=True)


def test_closing_ends_a_session_for_everybody_inside(store: MemoryStore) -> None:
    with session(store=store) as s:
        read("x")
        s.close()
        assert code(write, "x") == "NO_SESSION"
        assert store.facts_held() == 0
        with pytest.raises(SessionUsageError):
            s.add_fact("id", "y")
    with pytest.raises(SessionUsageError):
        s.close()


def test_a_session_ends_also_when_its_block_fails(store: MemoryStore) -> None:
    with pytest.raises(LookupError), session(store=store):
        read("x")
        raise LookupError
    assert store.facts_held() == 0
    assert current_frame().session is None


def test_sessions_and_budgets_may_be_left_in_any_order() -> None:
    outer = session()
    guard = actguard.BudgetGuard()
    outer.__enter__()
    guard.__enter__()
    outer.__exit__(None, None, None)
    assert code(write, "x") == "NO_SESSION"
    guard.__exit__(None, None, None)
    assert current_frame().session is None


def test_a_session_left_too_often_says_so() -> None:
    s = session()
    with s:
        pass
    with pytest.raises(SessionUsageError, match="more often"):
        s.__exit__(None, None, None)


@pytest.mark.parametrize("name", ["note_generator", "enter_frame"])
@pytest.mark.parametrize("done", [False, True], ids=["before", "behind"])
def test_an_entry_that_is_broken_off_is_undone_and_no_other_is(
    name: str, done: bool, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by Ctrl-C, which tests/tools/test_interrupted.py tries everywhere."""
    desk = session("desk", store=store)
    step = getattr(steps, name)

    def broken_off(*given: Any) -> None:
        if done:
            step(*given)
        raise KeyboardInterrupt

    def enter() -> Iterator[None]:
        with desk:
            yield

    def is_refused() -> None:
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(steps, name, broken_off)
            next(enter())

    before = current_frame()
    is_refused()
    assert (current_frame(), generators, custody.session._lives) == (before, {}, {})
    with pytest.raises(SessionUsageError):
        desk.facts()
    with desk:
        desk.add_fact("order", "o-1")
        inside_desk = current_frame()
        is_refused()
        assert current_frame() is inside_desk
        assert [fact.kind for fact in desk.facts()] == ["order"]
    assert (current_frame(), generators, custody.session._lives) == (before, {}, {})


def test_of_equal_entries_the_one_that_is_broken_off_is_undone(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = session("desk", store=store)
    first, second, before = copy_context(), copy_context(), current_frame()
    first.run(desk.__enter__)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(steps, "enter_frame", Mock(side_effect=KeyboardInterrupt))
        second.run(desk.__enter__)
    first.run(desk.__exit__, None, None, None)

    assert first.run(current_frame) is second.run(current_frame) is before


async def test_tasks_started_inside_are_inside(store: MemoryStore) -> None:
    async with session(store=store):
        await asyncio.create_task(aread("x"))
        assert await asyncio.to_thread(write, "x") == "written"
        assert await awrite("x") == "written"


async def test_a_task_that_outlives_its_session_finds_it_over(store: MemoryStore) -> None:
    go = asyncio.Event()

    async def later() -> None:
        await go.wait()
        await aread("x")

    async with session(store=store):
        task = asyncio.create_task(later())
        await asyncio.sleep(0)
    go.set()
    with pytest.raises(GuardError) as caught:
        await task
    assert (caught.value.code, caught.value.reason) == ("NO_SESSION", "ended")


async def test_a_read_that_ends_after_its_session_proves_nothing(store: MemoryStore) -> None:
    began, go = asyncio.Event(), asyncio.Event()

    @prove("id", "id")
    async def slow() -> dict[str, str]:
        began.set()
        await go.wait()
        return {"id": "x"}

    async with session(store=store):
        task = asyncio.create_task(slow())
        await began.wait()
    go.set()
    with pytest.raises(GuardError) as caught:
        await task
    assert (caught.value.code, caught.value.reason) == ("NO_SESSION", "ended")


def test_methods_and_class_methods_are_guarded(here: session) -> None:
    class Shop:
        @prove("id", "[]")
        def list(self) -> list[str]:
            return ["x"]

        @classmethod
        @enforce([RequireFact("value", "id")])
        def cancel(cls, value: str) -> str:
            return "written"

        @enforce([RequireFact("value", "id")])
        @staticmethod
        def pay(value: str) -> str:
            return "written"

    shop = Shop()
    shop.list()
    assert shop.cancel("x") == Shop.pay("x") == "written"
    assert code(shop.cancel, "y") == code(Shop.pay, "y") == "MISSING_FACT"


def test_the_configured_store_keeps_the_facts(store: MemoryStore) -> None:
    from actguard.pipeline.settings import configure

    before = configure(store=store)
    try:
        with session():
            read("x")
            assert store.facts_held() == 1
    finally:
        configure(store=before.store)


class Heard:
    def __init__(self) -> None:
        self.events: list[tuple[str, str, Any, Any]] = []

    def emit(self, category: str, name: str, payload: Any, fields: Any) -> None:
        self.events.append((category, name, payload, fields))


def test_a_refusal_is_told_without_its_values(here: session) -> None:
    heard = Heard()
    with inside(current_frame()._replace(run=Run("r", None, heard))):
        code(write, "sk-private")

    ((category, name, payload, fields),) = heard.events
    assert (category, name, fields["tool_name"], fields["outcome"]) == ("guard", "blocked", "write", "blocked")
    assert (payload["guard"], payload["code"]) == ("enforce", "MISSING_FACT")
    assert "sk-private" not in str(heard.events)


def test_on_watch_a_refusal_is_told_and_the_call_is_made(here: session) -> None:
    heard = Heard()
    watched = enforce([RequireFact("value", "id")], mode="observe")(_plain)
    with inside(current_frame()._replace(run=Run("r", None, heard))):
        assert watched("x") == "written"

    assert ("guard", "intervention") in [(category, name) for category, name, _, _ in heard.events]
    assert enforce([RequireFact("value", "id")], mode="off")(_plain)("x") == "written"


def test_a_refusal_may_be_returned_to_the_model(here: session) -> None:
    said = enforce([RequireFact("value", "id", "Look first.")], on_block="return_prompt")(_plain)("x")

    assert said.startswith("Blocked by policy")
    assert said.endswith("Look first.")


def _plain(value: Any) -> str:
    return "written"


# ---- stores that do I/O ----


async def test_on_an_event_loop_only_the_asynchronous_side_is_asked() -> None:
    remote = Remote()

    @track(untrusted=True)
    async def web() -> str:
        return "text"

    @enforce(
        [
            RequireFact("value", "id", consume=True),
            NoSecret("value", "secret"),
            Threshold("amount", 9, cumulative=(60, 9)),
            _looks,
        ]
    )
    async def act(value: str, amount: int) -> str:
        return "written"

    async with session(store=remote) as s:
        await aread("x")
        await web()
        await s.aadd_fact("id", "y")
        await s.aplan(["act"])
        assert await act("x", 9) == "written"
        for value, amount, expected in (("x", 0, "MISSING_FACT"), ("y", 1, "THRESHOLD_EXCEEDED")):
            with pytest.raises(GuardError) as caught:
                await act(value, amount)
            assert caught.value.code == expected
        assert await awrite("y") == "written"
        assert [fact.value for fact in await s.afacts("id")] == ["s:y"]
        assert await s.arevoke("id") == 1
    assert {name for name in remote.asked if name.startswith("sync")} == set()
    assert remote.memory.facts_held() == 0


def _looks(arguments: Any, facts: Any) -> Denial | None:
    return None if isinstance(facts.holds("id", arguments["value"]), bool) else Denial("X", "x")


async def test_one_write_asks_the_store_once() -> None:
    remote = Remote()

    @enforce([RequireFact("value", "id"), RequireFact("other", "id"), Threshold("amount", 9, cumulative=(60, 99))])
    async def act(value: str, other: str, amount: int) -> str:
        return "written"

    async with session(store=remote):
        await aread("x")
        remote.asked.clear()
        await act("x", "x", 3)
        assert remote.asked == ["aio.facts_check"]


async def test_a_later_refusal_gives_back_on_the_asynchronous_side() -> None:
    remote = Remote()
    refusing = enforce([RequireFact("value", "id", consume=True)])(enforce([RequireFact("value", "other")])(aread))
    async with session(store=remote):
        await aread("x")
        with pytest.raises(GuardError):
            await refusing("x")
        assert await awrite("x") == "written"
    assert "aio.facts_give_back" in remote.asked


async def test_a_store_that_does_not_answer_at_the_end_of_a_session_changes_nothing_of_what_came_of_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    remote = Remote()

    def fails() -> None:
        with session("chat", store=remote):
            remote.down = True
            raise LookupError("the program's own")

    async def fails_on_a_loop() -> None:
        async with session("chat", store=remote):
            remote.down = True
            raise LookupError("the program's own")

    async def returns() -> str:
        async with session("chat", store=remote):
            remote.down = True
            return "done"

    with pytest.raises(LookupError, match="own"):
        fails()
    with pytest.raises(LookupError, match="own"):
        await fails_on_a_loop()
    assert await returns() == "done"
    assert remote.asked == ["sync.facts_end", "aio.facts_end", "aio.facts_end"]
    assert [record.getMessage() for record in caplog.records] == [
        "The facts of session 'chat' end later than it does: the store is down"
    ] * 3
    with session("chat", store=remote) as open_still, pytest.raises(StoreUnavailableError):
        open_still.close()  # who asks for it is told


def test_a_store_that_does_not_answer_refuses_writes_and_lets_reads_go() -> None:
    remote = Remote()
    with session(store=remote):
        read("x")
        remote.down = True
        with pytest.raises(StoreUnavailableError):
            write("x")
        assert read("y") == "y"
        assert enforce([RequireFact("value", "id")], on_store_error="open")(_plain)("z") == "written"
        with pytest.raises(StoreUnavailableError):
            prove("id", ".", on_store_error="closed")(_plain)("z")
        with pytest.raises(StoreUnavailableError):
            track(untrusted=True)(_plain)("z")
        assert track(untrusted=True, on_store_error="open")(_plain)("z") == "written"
        assert prove("id", ".", trust="text", on_store_error="open")(_plain)("z") == "written"
        remote.down = False
        assert write("x") == "written"
        assert code(write, "y") == "MISSING_FACT"
