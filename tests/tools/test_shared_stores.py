"""What guards ask of a store that other processes share: leases that are renewed, names for owners, turns in a line."""

import itertools
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any

import pytest

from actguard import (
    CircuitOpenError,
    ConcurrencyExceeded,
    Executed,
    IdempotencyInProgress,
    NotExecuted,
    circuit_breaker,
    circuits,
    concurrency,
    idempotency,
    idempotent,
)
from actguard.stores.memory import MemoryStore
from actguard.stores.protocol import IdempotencyDone, IdempotencyLost, LeaseGive
from actguard.tools import heartbeat


class Shared:
    """A store as one beyond this process is: asked step by step, keeping nothing but text, slow to answer."""

    serialises = True
    blocking = True
    aio: Any = None

    def __init__(self, memory: MemoryStore) -> None:
        self.memory = memory
        self.asked: list[Any] = []
        self.told: list[Any] = []
        self.threads: set[threading.Thread] = set()

    def admit(self, steps: Sequence[Any]) -> Any:
        self.asked.extend(steps)
        return self.memory.admit(steps)

    def finish(self, reports: Sequence[Any]) -> Any:
        self.told.extend(reports)
        return self.memory.finish(reports)

    def list_idempotency(self, *args: Any, **options: Any) -> Any:
        self.threads.add(threading.current_thread())
        return self.memory.list_idempotency(*args, **options)

    def resolve_idempotency(self, *args: Any, **options: Any) -> Any:
        self.threads.add(threading.current_thread())
        return self.memory.resolve_idempotency(*args, **options)

    def circuit(self, *args: Any) -> Any:
        self.threads.add(threading.current_thread())
        return self.memory.circuit(*args)

    def force_circuit(self, *args: Any) -> Any:
        self.threads.add(threading.current_thread())
        return self.memory.force_circuit(*args)

    def forget(self, *args: Any) -> Any:
        self.threads.add(threading.current_thread())
        return self.memory.forget(*args)


@dataclass
class Beats:
    """Heartbeats that are only written down."""

    begun: list[tuple[Any, ...]] = field(default_factory=list[tuple[Any, ...]])
    ended: list[str] = field(default_factory=list[str])

    def begin(self, *lease: Any) -> None:
        self.begun.append(lease)

    def end(self, owner: str) -> None:
        self.ended.append(owner)


@pytest.fixture
def shared(clock: Any) -> Any:
    return Shared(MemoryStore(clock=clock))


@pytest.fixture(autouse=True)
def beats(monkeypatch: pytest.MonkeyPatch) -> Beats:
    beats = Beats()
    monkeypatch.setattr(heartbeat.heartbeats, "begin", beats.begin)
    monkeypatch.setattr(heartbeat.heartbeats, "end", beats.end)
    return beats


# ---- places ----


def test_a_place_is_leased_and_its_lease_renewed_for_as_long_as_the_call_runs(shared: Any, beats: Beats) -> None:
    @concurrency(limit=2, lease_s=30, store=shared)
    def hold() -> str:
        assert len(beats.begun) == 1
        assert beats.ended == []
        return "done"

    assert hold() == "done"
    (step,) = shared.asked
    assert (step.limit, step.lease_s, step.observe, step.waits_s) == (2, 30.0, False, 0.0)
    assert beats.begun == [(step.owner, shared, "lease", step.key, 30.0)]
    assert beats.ended == [step.owner]
    assert shared.told == [LeaseGive(step.key, step.owner)]


@pytest.mark.parametrize(("wait", "turn"), [(0, 0.0), (0.25, 0.25), (1, 1.0), (60, 1.0)])
def test_who_waits_has_a_turn_for_no_longer_than_he_waits(shared: Any, wait: float, turn: float) -> None:
    concurrency(limit=1, wait=wait, store=shared)(lambda: None)()
    assert shared.asked[0].waits_s == turn


def test_who_has_no_place_is_told_when_a_lease_runs_out(shared: Any, beats: Beats) -> None:
    @concurrency(limit=1, lease_s=30, store=shared)
    def hold(again: bool) -> Any:
        return hold(False) if again else "done"

    with pytest.raises(ConcurrencyExceeded) as refused:
        hold(True)
    assert (refused.value.limit, refused.value.tool, refused.value.retry_after) == (1, "hold", 30.0)
    assert len(beats.begun) == len(beats.ended) == 1
    assert hold(False) == "done"


def test_in_memory_no_place_outlives_its_call_and_nothing_is_renewed(
    clock: Any, beats: Beats, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[Any] = []
    asker = MemoryStore.asker

    def listening(self: MemoryStore, kind: Any) -> Any:
        ask = asker(self, kind)

        def listen(step: Any) -> Any:
            taken.append(step)
            return ask(step)

        return listen

    monkeypatch.setattr(MemoryStore, "asker", listening)

    @concurrency(limit=1, lease_s=30, wait=5)
    def hold(again: bool) -> Any:
        clock.pass_(1_000)
        return hold(False) if again else "done"

    assert hold(False) == "done"
    assert [(step.lease_s, step.waits_s) for step in taken] == [(inf, 0.0)]
    assert beats == Beats()


# ---- circuits ----


def test_who_probes_a_circuit_has_a_name_of_his_own(shared: Any, clock: Any) -> None:
    @circuit_breaker(name="crm", max_fails=1, reset_timeout=10, store=shared)
    def call(error: Exception | None = None) -> str:
        if error is not None:
            raise error
        return "done"

    assert call() == "done"
    with pytest.raises(ConnectionError):
        call(ConnectionError())
    with pytest.raises(CircuitOpenError):
        call()
    clock.pass_(10)
    assert call() == "done"
    owners = [step.owner for step in shared.asked]
    assert len(set(owners)) == 4
    assert all(owners)
    assert len({step.key for step in shared.asked}) == 1
    assert [(report.owner, report.outcome) for report in shared.told] == [
        (owners[1], "failure"),
        (owners[3], "success"),
    ]


# ---- keys ----


def test_a_key_is_leased_and_its_lease_renewed_for_as_long_as_the_call_runs(
    shared: Any, beats: Beats, run: Any
) -> None:
    @idempotent(lease_s=30, ttl_s=500, store=shared)
    def pay(idempotency_key: str) -> dict[str, Any]:
        assert len(beats.begun) == 1
        assert beats.ended == []
        return {"paid": 5}

    assert pay("a") == {"paid": 5}
    (step,) = shared.asked
    assert (step.lease_s, step.ttl_s, step.observe) == (30, 500.0, False)
    assert beats.begun == [(step.owner, shared, "idempotency", step.key, 30)]
    assert beats.ended == [step.owner]
    (report,) = shared.told
    assert report[:3] == IdempotencyDone(step.key, step.owner, 500.0, "")[:3]
    assert pay("a") == {"paid": 5}
    assert len(beats.begun) == 1, "a result that is given again has no lease"


def test_the_lease_of_a_call_that_failed_is_renewed_no_more(shared: Any, beats: Beats, run: Any) -> None:
    @idempotent(ttl_s=500, store=shared)
    def pay(idempotency_key: str) -> None:
        raise LookupError(idempotency_key)

    with pytest.raises(LookupError):
        pay("a")
    (step,) = shared.asked
    assert beats.ended == [step.owner]
    assert shared.told == [IdempotencyLost(step.key, step.owner, 500.0, "LookupError")]


def test_a_key_that_is_held_says_when_its_lease_runs_out(shared: Any, run: Any) -> None:
    @idempotent(lease_s=30, fingerprint=None, store=shared)
    def pay(idempotency_key: str, again: bool = False) -> Any:
        return pay(idempotency_key) if again else "paid"

    with pytest.raises(IdempotencyInProgress) as refused:
        pay("a", True)
    assert refused.value.retry_after == 30.0


def test_in_memory_no_key_outlives_its_call_and_nothing_is_renewed(beats: Beats, clock: Any, run: Any) -> None:
    @idempotent(lease_s=30, fingerprint=None)
    def pay(idempotency_key: str, again: bool = False) -> Any:
        clock.pass_(1_000)
        return pay(idempotency_key) if again else "paid"

    with pytest.raises(IdempotencyInProgress) as refused:
        pay("a", True)
    assert refused.value.retry_after is None
    assert beats == Beats()


def boxed(value: Any) -> str:
    return f"<{value}>"


def unboxed(text: str) -> int:
    return int(text[1:-1])


@pytest.mark.parametrize(
    ("codec", "result"),
    [("json", {"a": [1]}), ("pickle", {1, 2}), ((boxed, unboxed), 7)],
    ids=("json", "pickle", "functions"),
)
def test_a_result_is_kept_as_text_and_given_back_as_it_was(shared: Any, run: Any, codec: Any, result: Any) -> None:
    done: list[int] = []

    @idempotent(codec=codec, store=shared)
    def pay(idempotency_key: str) -> Any:
        done.append(1)
        return result

    assert pay("a") == pay("a") == result
    assert done == [1]
    (report,) = shared.told
    assert isinstance(report.result, str)


# ---- records ----


async def test_on_an_event_loop_its_records_are_looked_at_in_a_thread(shared: Any, run: Any) -> None:
    @idempotent(store=shared, fingerprint=None)
    def pay(idempotency_key: str, fails: bool = False) -> str:
        if fails:
            raise LookupError
        return "paid"

    for key in "abc":
        with pytest.raises(LookupError):
            pay(key, True)
    shared.threads.clear()
    keys = sorted(record.key for record in await idempotency.alist(state="unknown", store=shared))
    assert len(keys) == 3
    assert len(await idempotency.alist(keys[0], limit=5, store=shared)) == 1
    assert len(await idempotency.alist(state="done", store=shared)) == 0
    assert len(await idempotency.alist(limit=2, store=shared)) == 2
    assert await idempotency.aresolve(keys[0], Executed({"found": 1}), ttl_s=50, store=shared) is True
    assert await idempotency.aresolve(keys[1], NotExecuted(), store=shared) is True
    assert await idempotency.aforget(keys[2], store=shared) == 1
    assert [pay("a"), pay("b"), pay("c")] == [{"found": 1}, "paid", "paid"]
    assert shared.threads
    assert threading.current_thread() not in shared.threads


def test_what_is_said_of_a_call_is_remembered_as_long_as_one_says(shared: Any, clock: Any, run: Any) -> None:
    done: list[str] = []

    @idempotent(store=shared, codec="pickle")
    def pay(idempotency_key: str) -> str:
        done.append(idempotency_key)
        raise LookupError

    for options, seconds in (({"ttl_s": 50}, 50), ({}, 3_600)):
        with pytest.raises(LookupError):
            pay("a")
        (record,) = idempotency.list(state="unknown", store=shared)
        assert idempotency.resolve(record.key, Executed({1, 2}), codec="pickle", store=shared, **options)  # type: ignore[arg-type]
        clock.pass_(seconds - 0.1)
        assert pay("a") == {1, 2}
        clock.pass_(0.1)
    with pytest.raises(LookupError):
        pay("a")
    assert done == ["a"] * 3


# ---- circuits, by hand ----


class Sided(Shared):
    """A store that has an asynchronous side, too, which is the one to be asked on an event loop."""

    def __init__(self, memory: MemoryStore) -> None:
        super().__init__(memory)
        self.aio = Side(memory)


class Side:
    def __init__(self, memory: MemoryStore) -> None:
        self.memory = memory
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Any:
        async def ask(*args: Any, **options: Any) -> Any:
            self.asked.append(name)
            return getattr(self.memory, name)(*args, **options)

        return ask


async def test_on_an_event_loop_its_circuits_are_looked_at_in_a_thread(shared: Any) -> None:
    circuit_breaker(name="away", store=shared)(lambda: None)
    await circuits.aforce("away", "forced_open")
    assert (await circuits.astate("away")).state == "forced_open"
    await circuits.areset("away", store=shared)
    assert (await circuits.astate("away", store=shared)).state == "closed"
    await circuits.aforget("away")
    assert "away" not in list(circuits)
    assert len(shared.threads) >= 1
    assert threading.current_thread() not in shared.threads


async def test_on_an_event_loop_the_asynchronous_side_is_asked_where_there_is_one(clock: Any, run: Any) -> None:
    store: Any = Sided(MemoryStore(clock=clock))

    @circuit_breaker(name="sided", scope="user", store=store)
    def call(user: str) -> None: ...

    @idempotent(store=store, scope="global")
    def pay(idempotency_key: str) -> None: ...

    await circuits.aforce("sided", "forced_open", "alice")
    assert (await circuits.astate("sided", "alice")).state == "forced_open"
    assert (await circuits.astate("sided", "bob")).state == "closed"
    await circuits.areset("sided", "alice")
    await circuits.aforget("sided")
    assert store.aio.asked == ["force_circuit", "circuit", "circuit", "force_circuit", "forget"]

    pay("a")
    (record,) = await idempotency.alist(store=store)
    assert await idempotency.aresolve(record.key, NotExecuted(), store=store) is False
    assert await idempotency.aforget(record.key, store=store) == 1
    assert store.aio.asked[5:] == ["list_idempotency", "resolve_idempotency", "forget"]
    assert store.threads == set()


MOST_FIRST: list[Any] = ["forced_open", "open", "half_open", "closed", "observe", "disabled"]


@pytest.mark.parametrize(("more", "less"), list(itertools.combinations(MOST_FIRST, 2)))
def test_of_several_circuits_the_one_that_stops_most_is_told(more: Any, less: Any, clock: Any) -> None:
    for one, other in ((more, less), (less, more)):
        stores = [MemoryStore(clock=clock), MemoryStore(clock=clock)]
        guards = [circuit_breaker(name="several", store=store) for store in stores]
        circuits.force("several", one, store=stores[0])
        circuits.force("several", other, store=stores[1])
        assert circuits.state("several").state == more
        assert circuits.state("several", store=stores[0]).state == one
        circuits.forget("several")
        del guards
