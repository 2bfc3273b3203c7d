"""Ctrl-C while a guard, a run or a session is entered or left: wherever it strikes, nobody is inside behind it.

One place is nobody's: where an `__exit__` begins, before any line of it. Who leaves once more after that has left.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import copy_context
from pathlib import Path
from types import CodeType
from typing import Any, Protocol

import pytest

from actguard import BudgetGuard, Client, MemoryStore, session
from actguard.budget.backing import Ask
from actguard.context import OUTSIDE, Frame, Run, current_frame, enter_frame
from actguard.custody.session import _lives
from actguard.runtime.backing import RunBacking
from actguard.runtime.run import ClientRun
from actguard.runtime.unfinished import Unfinished
from actguard.steps import generators
from actguard.transport.workers import Job
from tests.fake_gateway import fake_gateway, until
from tests.interrupted import interrupted_everywhere, ours

# ---- what is entered ------------------------------------------------------------------------------------------------


class Entered(Protocol):
    one: Any
    """The guard, run or session."""

    def is_over(self) -> bool:
        """Whether nothing is left of it but itself."""
        ...


class Granted:
    """A reservation that knows whether it was settled."""

    pico = tokens = float("inf")
    listener = None
    settled = False

    def opened(self, account: Any) -> None:
        pass

    def settle(self, error: BaseException | None) -> None:
        self.settled = True

    async def asettle(self, error: BaseException | None) -> None:
        self.settled = True

    def settle_soon(self) -> None:
        self.settled = True


class GuardInARun:
    """It has something reserved before it is entered."""

    def __init__(self) -> None:
        self.granted: list[Granted] = []
        self.one = BudgetGuard(usd_limit=1)
        enter_frame(Frame(run=Run("run_1", backing=self)))

    def reserve(self, ask: Ask) -> Granted:
        granted = Granted()
        self.granted = [*self.granted, granted]
        return granted

    async def areserve(self, ask: Ask) -> Granted:
        return self.reserve(ask)

    def is_over(self) -> bool:
        return all(granted.settled for granted in self.granted)


class PlainGuard:
    def __init__(self) -> None:
        self.one = BudgetGuard(usd_limit=1)

    def is_over(self) -> bool:
        return True


class GuardInAGuard(PlainGuard):
    def __init__(self) -> None:
        super().__init__()
        BudgetGuard().__enter__()


class ARun:
    """It tells when it starts and when it ends."""

    remote = None

    def __init__(self) -> None:
        self.told: list[str] = []
        self.one = ClientRun(self, None, None)

    def open_run(self, run_id: str, user_id: str | None) -> RunBacking:
        emitter: Any = self
        return RunBacking(self, None, run_id, user_id, emitter, Unfinished())

    def emit(self, category: str, name: str, payload: Any, fields: Any) -> None:
        self.told.append(name)

    def is_over(self) -> bool:
        return self.told.count("end") >= self.told.count("start")


class ASession:
    def __init__(self) -> None:
        self.store = MemoryStore()
        self.one = session("desk", store=self.store)

    def is_over(self) -> bool:
        return not _lives


KINDS: list[Callable[[], Entered]] = [PlainGuard, GuardInAGuard, GuardInARun, ARun, ASession]
each = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)

# ---- how ------------------------------------------------------------------------------------------------------------


def block(one: Any) -> None:
    with one:
        used(one)


def ablock(one: Any) -> None:
    async def work() -> None:
        async with one:
            used(one)

    stepped(work())


def generator(one: Any) -> None:
    def steps() -> Iterator[None]:
        with helper(one):
            yield used(one)

    for _ in steps():
        pass


def agenerator(one: Any) -> None:
    async def steps() -> AsyncIterator[None]:
        async with ahelper(one):
            yield used(one)

    async def work() -> None:
        async for _ in steps():
            pass

    stepped(work())


@contextmanager
def helper(one: Any) -> Iterator[None]:
    with one:
        yield


@asynccontextmanager
async def ahelper(one: Any) -> AsyncIterator[None]:
    async with one:
        yield


def used(one: Any) -> None:
    if isinstance(one, session):
        one.add_fact("order", "o-1")
    done()


def done() -> None:
    """What was not struck yet is struck here, and not where a coroutine is made of `__aexit__` that nobody awaits."""


def stepped(coroutine: Any) -> None:
    """Run what never waits."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    finally:
        coroutine.close()
    raise AssertionError("it waits")


WAYS = [block, ablock, generator, agenerator]
in_each_way = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)


def is_where_leaving_begins(place: str, one: Any) -> bool:
    codes = [type(one).__exit__.__code__, type(one).__aexit__.__code__]
    begins = [f"{code.co_qualname} ({Path(code.co_filename).name}:{code.co_firstlineno})" for code in codes]
    return place.split(" < ")[0] in begins


def struck_everywhere(work: Callable[[], None], one: Any, inside: Callable[[CodeType], bool] = ours) -> Iterator[str]:
    """Whoever finds that he could not even begin to leave does it once more."""
    began = 0
    for place in interrupted_everywhere(work, inside=inside):
        if is_where_leaving_begins(place, one):
            one.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
            began += 1
        yield place
    assert began <= 1


@pytest.fixture(autouse=True)
def outside() -> Iterator[None]:
    yield
    enter_frame(OUTSIDE)
    generators.clear()
    _lives.clear()


# ---- tests ----------------------------------------------------------------------------------------------------------


@each
@in_each_way
def test_nobody_is_inside_what_was_struck(kind: Callable[[], Entered], way: Callable[[Any], None]) -> None:
    entered = kind()
    before = current_frame()
    way(entered.one)

    for place in struck_everywhere(lambda: way(entered.one), entered.one):
        assert current_frame() is before, place
        assert generators == {}, place
        assert entered.is_over(), place
        with entered.one:
            assert current_frame() is not before, place
        assert current_frame() is before, place
        assert entered.is_over(), place


@each
@in_each_way
def test_who_is_inside_elsewhere_stays_there(kind: Callable[[], Entered], way: Callable[[Any], None]) -> None:
    entered = kind()
    before, elsewhere = current_frame(), copy_context()
    elsewhere.run(entered.one.__enter__)
    there = elsewhere.run(current_frame)
    assert there is not before
    way(entered.one)

    for place in struck_everywhere(lambda: way(entered.one), entered.one):
        assert (current_frame(), generators) == (before, {}), place
        assert elsewhere.run(current_frame) is there, place
    elsewhere.run(entered.one.__exit__, None, None, None)
    assert elsewhere.run(current_frame) is before
    assert entered.is_over()


@pytest.mark.parametrize("way", [block, generator])
def test_facts_end_with_a_session_that_was_struck(way: Callable[[Any], None]) -> None:
    entered = ASession()
    way(entered.one)

    for place in struck_everywhere(lambda: way(entered.one), entered.one):
        assert entered.store.facts_held() == 0, place


# ---- with a gateway -------------------------------------------------------------------------------------------------


class Threads:
    """A thread for each job: with threads that are kept, who finds an idle one would be another one in each run."""

    def start(self, job: Job[Any]) -> Job[Any]:
        threading.Thread(target=job.perform, daemon=True).start()
        return job


def reserves(code: CodeType) -> bool:
    """Whether *code* has to do with reserving and settling. The rest takes many steps, and seldom as many as before."""
    return ours(code) and code.co_filename.endswith(_RESERVING) and code.co_name not in ("add_cost", "spent", "add")


_RESERVING = ("/guard.py", "/steps.py", "/runtime/run.py", "/runtime/backing.py", "/reservation.py", "/waiting.py")


def spend(guard: BudgetGuard) -> None:
    with guard:
        guard.add_cost(name="search", usd=0.000001)


async def aspend(guard: BudgetGuard) -> None:
    async with guard:
        guard.add_cost(name="search", usd=0.000001)


async def others() -> None:
    """What was not struck itself, but the loop that ran it, goes on."""
    await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()}, return_exceptions=True)


@pytest.mark.parametrize("awaited", [False, True], ids=["sync", "async"])
def test_what_a_gateway_has_reserved_is_settled_or_given_back(awaited: bool, tmp_path: Path) -> None:
    with fake_gateway() as gateway, Client(**gateway.options(spool_dir=tmp_path, event_mode="off")) as client:
        client.remote.workers = Threads()
        guard, runner = client.budget_guard(usd_limit=1), asyncio.Runner()

        def work() -> None:
            if awaited:
                runner.run(aspend(guard), context=copy_context())
            else:
                spend(guard)

        def is_settled() -> bool:
            parts = gateway.settled().values()
            ended = [*parts, *(asked.body for asked in gateway.to("release"))]
            over = {body["reserve_id"] for body in ended if body.get("final", True)}
            told = sum(entry["usd_micros"] for body in parts for entry in body["usage_breakdown"])
            return told == round(guard.usd_used * 1_000_000) and over >= {
                asked.body["reserve_id"] for asked in gateway.to("reserve")
            }

        with client.run(), runner:
            before = current_frame()
            work()
            for place in struck_everywhere(work, guard, inside=reserves):
                assert current_frame() is before, place
                runner.run(others())
                until(is_settled)
