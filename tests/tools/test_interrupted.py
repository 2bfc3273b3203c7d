"""A call that Ctrl-C strikes, at whichever place of a guard's code, leaves nothing held for ever."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from actguard import (
    IdempotencyInProgress,
    IdempotencyOutcomeUnknown,
    MemoryStore,
    RequireFact,
    ToolGuardError,
    circuit_breaker,
    concurrency,
    enforce,
    idempotent,
    max_attempts,
    rate_limit,
    session,
    timeout,
    tool,
)
from actguard.context import OUTSIDE, Run, current_frame
from actguard.custody.session import _lives
from actguard.pipeline import waiting
from actguard.pipeline.deadline import remaining
from actguard.tools.heartbeat import heartbeats
from tests.interrupted import interrupted_everywhere
from tests.tools.conftest import Clock

pytestmark = pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")


class Failed(Exception):
    """What the tools below raise, if they are asked to."""


def stepped(coroutine: Any) -> Any:
    """What *coroutine* returns, which never waits."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    finally:
        coroutine.close()
    raise AssertionError("it waits")


def read(result: Any, run: Callable[[Any], Any] = stepped) -> Any:
    """Whatever a tool gives, to the end of it."""

    async def awaited() -> Any:
        return await result

    async def listed() -> list[Any]:
        return [item async for item in result]

    if hasattr(result, "__await__"):
        return run(awaited())
    if hasattr(result, "__anext__"):
        return run(listed())
    return list(result) if isinstance(result, Iterator) else result


def plain(fails: bool = False, **given: Any) -> str:
    if fails:
        raise Failed
    return "done"


async def coroutine(fails: bool = False, **given: Any) -> str:
    return plain(fails)


def lazy(fails: bool = False, **given: Any) -> Awaitable[str]:
    return coroutine(fails)


def generator(fails: bool = False) -> Iterator[str]:
    yield "begun"
    yield plain(fails)


async def async_generator(fails: bool = False) -> AsyncIterator[str]:
    yield "begun"
    yield plain(fails)


class Desk:
    def method(self, fails: bool = False) -> str:
        return plain(fails)


KINDS: dict[str, Callable[..., Any]] = {
    "function": plain,
    "coroutine": coroutine,
    "lazy": lazy,
    "method": Desk().method,
    "generator": generator,
    "async generator": async_generator,
}
every_kind = pytest.mark.parametrize("kind", KINDS)
either_way = pytest.mark.parametrize("fails", [False, True], ids=["succeeds", "fails"])


def succeeds(guarded: Callable[..., Any], *args: Any) -> bool:
    """Whether a further call is let in."""
    try:
        return bool(read(guarded(*args)))
    except ToolGuardError:
        return False


def called(guarded: Callable[..., Any], *args: Any, **kwargs: Any) -> Callable[[], Any]:
    """A call, for which it is all the same whether its function raises, or a guard refuses."""

    def call() -> None:
        with suppress(Exception):
            read(guarded(*args, **kwargs))

    return call


# ---- places ---------------------------------------------------------------------------------------------------------

PLACES: dict[str, Callable[[], Any]] = {
    "alone": lambda: concurrency(limit=1),
    "in line": lambda: concurrency(limit=1, wait=1),
    "with others": lambda: tool(
        concurrency=concurrency(limit=1),
        rate_limit=rate_limit(max_calls=10_000),
        max_attempts=max_attempts(calls=10_000),
    ),
    "watched": lambda: tool(concurrency=concurrency(limit=1), rate_limit=rate_limit(max_calls=1, mode="observe")),
}


@either_way
@every_kind
@pytest.mark.parametrize("guards", PLACES)
def test_a_place_is_free_again(guards: str, kind: str, fails: bool, run: Run) -> None:
    guarded = PLACES[guards]()(KINDS[kind])
    called(guarded)()

    for place in interrupted_everywhere(called(guarded, fails=fails)):
        assert succeeds(guarded), place


def test_a_place_that_was_waited_for_is_free_again(clock: Clock) -> None:
    guarded = concurrency(limit=1, wait=0.001)(lambda inner: inner())

    def waits() -> None:
        for place in interrupted_everywhere(called(guarded, lambda: None)):
            assert not waiting._lines, place

    guarded(waits)
    assert succeeds(guarded, lambda: True)


def test_a_call_that_is_refused_leaves_the_place_of_another_alone() -> None:
    guarded = concurrency(limit=1)(lambda inner: inner())

    def within() -> None:
        for place in interrupted_everywhere(called(guarded, lambda: None)):
            assert not succeeds(guarded, lambda: True), place

    guarded(within)
    assert succeeds(guarded, lambda: True)


TIMED: dict[str, Callable[[], Any]] = {
    "on this thread": lambda: timeout(60, thread="none"),
    "on another": lambda: timeout(60),
    "with a place": lambda: tool(concurrency=concurrency(limit=1), timeout=timeout(60, thread="none", max_orphans=1)),
}


@either_way
@pytest.mark.parametrize("guards", TIMED)
def test_no_deadline_stays_in_force(guards: str, fails: bool) -> None:
    guarded = TIMED[guards]()(plain)
    called(guarded)()

    for place in interrupted_everywhere(called(guarded, fails=fails)):
        assert remaining() is None, place
        assert succeeds(guarded), place


@pytest.mark.parametrize("kind", ["coroutine", "async generator"])
def test_no_deadline_stays_in_force_on_an_event_loop(kind: str) -> None:
    guarded = tool(concurrency=concurrency(limit=1), timeout=timeout(60))(KINDS[kind])

    def call() -> Any:
        return read(guarded(), asyncio.run)

    call()
    for place in interrupted_everywhere(call):
        assert remaining() is None, place
        assert call(), place


# ---- keys -----------------------------------------------------------------------------------------------------------

KEYS: dict[str, Callable[[], Any]] = {
    "by its arguments": lambda: idempotent(scope="global"),
    "by its key": lambda: idempotent(scope="global", fingerprint=None),
    "with a place": lambda: tool(idempotent=idempotent(scope="global"), concurrency=concurrency(limit=1)),
}


@either_way
@pytest.mark.parametrize("kind", ["function", "coroutine", "lazy", "method"])
@pytest.mark.parametrize("guards", KEYS)
def test_a_key_is_never_in_progress(guards: str, kind: str, fails: bool) -> None:
    begun: list[str] = []

    failing = fails

    def charge(idempotency_key: str) -> Any:
        begun.append(idempotency_key)
        return KINDS[kind](failing)

    async def acharge(idempotency_key: str) -> Any:
        begun.append(idempotency_key)
        return await KINDS[kind](failing)

    guarded = KEYS[guards]()(acharge if kind == "coroutine" else charge)
    key = "key-0"
    just_called = 0

    def call() -> None:
        called(guarded, key)()

    call()
    key = "key-1"
    for place in interrupted_everywhere(call):
        known, failing = begun.count(key), False
        try:
            assert read(guarded(key)) == "done", place
        except IdempotencyOutcomeUnknown:
            assert begun.count(key) == known, place
            just_called += not known
        except ToolGuardError as error:
            raise AssertionError(place) from error
        key, failing = f"{key}+", fails
    assert just_called <= 2  # where its body is being called, nobody knows whether it has begun


# ---- a store that processes share ------------------------------------------------------------------------------------


class Elsewhere:
    """A store that is asked over a wire, as `RedisStore` is: by names that the caller gives, and of what he does not
    hear it knows nothing."""

    serialises, blocking, aio = False, True, None

    def __init__(self, clock: Clock) -> None:
        inner = MemoryStore(clock=clock)
        self.admit, self.finish = inner.admit, inner.finish
        self.idem_heartbeat, self.lease_heartbeat = inner.idem_heartbeat, inner.lease_heartbeat


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """No thread that renews leases, which would come in between at another time in each run."""
    monkeypatch.setattr(heartbeats, "begin", lambda *lease: None)


@pytest.mark.usefixtures("still")
@pytest.mark.parametrize("kind", ["function", "generator"])
def test_a_shared_store_has_the_place_back_before_the_next_call(kind: str, clock: Clock) -> None:
    guarded = concurrency(limit=1, store=Elsewhere(clock))(KINDS[kind])
    called(guarded)()

    for place in interrupted_everywhere(called(guarded)):
        assert succeeds(guarded), place


@pytest.mark.usefixtures("still")
def test_a_shared_store_has_the_key_back_before_the_next_call(clock: Clock) -> None:
    key = "key-0"
    guarded = idempotent(scope="global", store=Elsewhere(clock))(lambda idempotency_key: "done")
    called(guarded, key)()

    def call() -> None:
        called(guarded, key)()

    key = "key-1"
    for place in interrupted_everywhere(call):
        try:
            assert guarded(key) == "done", place
        except IdempotencyInProgress as error:
            raise AssertionError(place) from error
        except IdempotencyOutcomeUnknown:
            pass
        key = f"{key}+"


# ---- circuits -------------------------------------------------------------------------------------------------------

CIRCUITS: dict[str, Callable[[], Any]] = {
    "alone": lambda: circuit_breaker(name="desk", max_fails=1, reset_timeout=60),
    "slow": lambda: circuit_breaker(name="desk", max_fails=1, reset_timeout=60, slow_call_s=60),
    "by rate": lambda: circuit_breaker(name="desk", failure_rate=0.5, min_calls=1, reset_timeout=60),
    "with a place": lambda: tool(
        circuit_breaker=circuit_breaker(name="desk", max_fails=1, reset_timeout=60), concurrency=concurrency(limit=1)
    ),
}


def broken(**given: Any) -> None:
    raise ConnectionError


@either_way
@every_kind
@pytest.mark.parametrize("guards", CIRCUITS)
def test_the_next_call_is_the_probe(guards: str, kind: str, fails: bool, clock: Clock) -> None:
    guard = CIRCUITS[guards]()
    guarded, breaks = guard(KINDS[kind]), guard(broken)

    def half_open() -> None:
        called(breaks)()
        clock.pass_(61)

    called(guarded)()
    half_open()
    for place in interrupted_everywhere(called(guarded, fails=fails)):
        if succeeds(guarded):
            half_open()
        else:
            clock.pass_(61)
            assert fails, place  # it counted as a failure
            assert succeeds(guarded), place
            half_open()


@pytest.mark.parametrize("guards", CIRCUITS)
def test_a_circuit_that_opens_becomes_half_open_again(guards: str, clock: Clock) -> None:
    breaks = CIRCUITS[guards]()(broken)
    works = CIRCUITS[guards]()(plain)
    called(breaks)()
    clock.pass_(61)
    assert succeeds(works)

    for place in interrupted_everywhere(called(breaks)):
        clock.pass_(61)
        assert succeeds(works), place


# ---- sessions -------------------------------------------------------------------------------------------------------


def test_a_session_that_was_not_entered_is_not_in_force() -> None:
    entered: list[session] = []

    def enter() -> None:
        entered.append(session("desk").__enter__())

    with session():
        pass
    for place in interrupted_everywhere(enter):
        if entered:  # it was broken off behind that
            entered.pop().__exit__(None, None, None)
        assert current_frame() is OUTSIDE, place
        assert not _lives, place
    entered[0].__exit__(None, None, None)


def test_facts_that_no_call_has_used_are_given_back() -> None:
    @enforce([RequireFact("order_id", "order")])
    @concurrency(limit=1)
    def spend(order_id: str, used: list[str]) -> str:
        used.append(order_id)
        return "done"

    with session() as desk:
        used: list[str] = []

        def once() -> None:
            with suppress(Exception):
                spend("o-1", used)

        desk.add_fact("order", "o-1", max_uses=1)
        once()
        desk.add_fact("order", "o-1", max_uses=1)
        used.clear()
        lost: list[str] = []
        for place in interrupted_everywhere(once):
            if not used:
                once()
                if not used:
                    lost.append(place)
            used.clear()
            desk.add_fact("order", "o-1", max_uses=1)
        assert len(lost) <= 1, lost  # where its body is being called, nobody knows whether it has begun
