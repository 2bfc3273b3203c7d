"""What guards do while their store does not answer, without a server: the store here fails when it is told to."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import pytest

from actguard.exceptions import StoreFullError, StoreUnavailableError
from actguard.stores.fallback import Standby
from actguard.stores.memory import MemoryStore
from actguard.stores.protocol import (
    REFUSED,
    Admitted,
    Begun,
    BreakerAcquire,
    BreakerRecord,
    BreakerRules,
    CounterTake,
    Done,
    IdempotencyBegin,
    IdempotencyDone,
    Refused,
    Report,
    Step,
    Unguarded,
    UsedUp,
)

COUNT = CounterTake("attempts", 1, 60.0)
PAY = IdempotencyBegin("pay-1", "me", 60.0, 8.0)


class Shared(MemoryStore):
    """A store over a wire that can be cut: before a request arrives, or before its answer does."""

    blocking = True

    def __init__(self) -> None:
        super().__init__()
        self.cut = False
        self.answers_lost = False
        self.full = False
        self.requests = 0

    def admit(self, steps: Sequence[Step]) -> Admitted | Refused:
        return self._over(super().admit, steps)

    def finish(self, reports: Sequence[Report]) -> tuple[bool, ...]:
        return self._over(super().finish, reports)

    def _over(self, call: Any, argument: Any) -> Any:
        self.requests += 1
        if self.cut:
            raise StoreUnavailableError("The store is away.", details={"store": "here"})
        if self.full:
            raise StoreFullError("The store is full.")
        answer = call(argument)
        if self.answers_lost:
            raise StoreUnavailableError("The store is away.", details={"store": "here"})
        return answer


class Bench:
    """A shared store, whoever stands by for it, and the time."""

    def __init__(self, awaited: bool) -> None:
        self.now = 0.0
        self.store = Shared()
        self.standby = Standby(self.store, MemoryStore, pause_s=1.0, clock=lambda: self.now)
        self.awaited = awaited

    def admit(self, steps: Sequence[Step], on_error: Sequence[Any]) -> Any:
        if self.awaited:
            return asyncio.run(self.standby.aadmit(steps, on_error))
        return self.standby.admit(steps, on_error)

    def finish(self, store: Any, reports: Sequence[Report]) -> None:
        if self.awaited:
            asyncio.run(self.standby.afinish(store, reports))
        else:
            self.standby.finish(store, reports)


@pytest.fixture(params=["sync", "async"])
def bench(request: pytest.FixtureRequest) -> Bench:
    return Bench(request.param == "async")


def test_a_store_that_answers_is_the_only_one_asked(bench: Bench) -> None:
    answer, store = bench.admit([COUNT], ["local"])

    assert isinstance(answer, Admitted)
    assert store is bench.store
    assert bench.admit([COUNT], ["local"]).answer == Refused(0, UsedUp(1, 1))


def test_closed_refuses_while_the_store_is_away(bench: Bench) -> None:
    bench.store.cut = True

    with pytest.raises(StoreUnavailableError, match="is away") as caught:
        bench.admit([PAY], ["closed"])
    assert caught.value.details == {"store": "here"}
    assert caught.value.retryable


def test_local_goes_on_with_the_memory_of_this_process(bench: Bench) -> None:
    bench.store.cut = True

    assert isinstance(bench.admit([COUNT], ["local"]).answer, Admitted)
    assert bench.admit([COUNT], ["local"]).answer == Refused(0, UsedUp(1, 1))


def test_open_lets_everything_pass(bench: Bench) -> None:
    bench.store.cut = True

    for _ in range(3):
        assert bench.admit([COUNT], ["open"]) == (Admitted((Unguarded(),)), None)
    bench.finish(None, [IdempotencyDone("pay-1", "me", 60, "1")])


def test_each_guard_of_a_call_does_what_it_says(bench: Bench) -> None:
    bench.store.cut = True
    steps = [PAY, COUNT, COUNT._replace(key="other")]

    assert bench.admit(steps, ["open", "local", "local"]).answer.receipts[0] == Unguarded()
    assert bench.admit(steps, ["open", "local", "open"]).answer == Refused(1, UsedUp(1, 1))
    with pytest.raises(StoreUnavailableError):
        bench.admit(steps, ["closed", "local", "open"])


def test_a_store_that_failed_is_left_alone_for_a_while(bench: Bench) -> None:
    bench.store.cut = True
    for _ in range(10):
        bench.admit([COUNT], ["open"])
    assert bench.store.requests == 1

    bench.now = 1.0
    for _ in range(10):
        bench.admit([COUNT], ["open"])
    assert bench.store.requests == 2


def test_it_is_asked_again_by_itself(bench: Bench) -> None:
    bench.store.cut = True
    bench.admit([COUNT], ["local"])
    bench.store.cut = False
    assert bench.standby.away

    bench.now = 1.0
    assert bench.admit([COUNT], ["local"]).store is bench.store
    assert not bench.standby.away


def test_it_is_said_once_in_the_log_that_the_store_is_away_and_that_it_is_back(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "actguard"):
        bench.store.cut = True
        for second in range(5):
            bench.now = float(second)
            bench.admit([COUNT], ["open"])
        bench.store.cut = False
        bench.now = 9.0
        bench.admit([COUNT], ["open"])
        bench.admit([COUNT], ["open"])

    assert [record.message.split(".")[0] for record in caplog.records] == [
        "The store is away",
        "The store answers again; guards are shared as before",
    ]


def test_what_could_not_be_written_is_written_when_the_store_answers(bench: Bench) -> None:
    _, store = bench.admit([PAY], ["closed"])
    bench.store.cut = True
    bench.finish(store, [IdempotencyDone("pay-1", "me", 60, "paid")])
    bench.finish(store, [IdempotencyDone("pay-2", "me", 60, "nothing")])
    bench.store.cut = False
    bench.now = 1.0

    bench.admit([COUNT], ["closed"])

    assert bench.admit([PAY], ["closed"]).answer == Refused(0, Done("paid"))


def test_a_full_store_takes_no_result_from_the_caller(bench: Bench) -> None:
    _, store = bench.admit([PAY], ["closed"])
    bench.store.full = True
    bench.finish(store, [IdempotencyDone("pay-1", "me", 60, "paid")])
    with pytest.raises(StoreFullError):
        bench.admit([COUNT], ["open"])
    bench.store.full = False

    assert bench.admit([PAY], ["closed"]).answer == Refused(0, Done("paid"))


def test_what_was_admitted_by_the_stand_in_is_told_to_it(bench: Bench) -> None:
    bench.store.cut = True
    answer, store = bench.admit([PAY], ["local"])
    assert answer == Admitted((Begun(),))
    bench.finish(store, [IdempotencyDone("pay-1", "me", 60, "paid")])

    assert bench.admit([PAY], ["local"]).answer == Refused(0, Done("paid"))


def test_a_key_that_was_taken_for_a_call_that_was_then_refused_is_freed(bench: Bench) -> None:
    bench.store.answers_lost = True
    with pytest.raises(StoreUnavailableError):
        bench.admit([PAY], ["closed"])
    bench.store.answers_lost = False
    bench.now = 1.0
    bench.admit([COUNT], ["closed"])

    assert bench.admit([PAY._replace(owner="you")], ["closed"]).answer == Admitted((Begun(),))


def test_a_key_that_may_have_been_taken_for_a_call_that_was_then_made_stays_taken(bench: Bench) -> None:
    bench.store.answers_lost = True
    bench.admit([PAY], ["open"])
    bench.store.answers_lost = False
    bench.now = 1.0

    assert isinstance(bench.admit([PAY._replace(owner="you")], ["closed"]).answer, Refused)


def test_a_call_that_is_cancelled_while_it_asks_frees_its_key() -> None:
    store = Shared()

    class Slow:
        async def admit(self, steps: Sequence[Step]) -> Any:
            store.admit(steps)
            await asyncio.sleep(60)

        async def finish(self, reports: Sequence[Report]) -> Any:
            return store.finish(reports)

    store.aio = Slow()  # type: ignore[assignment]
    standby = Standby(store, MemoryStore)

    async def scenario() -> None:
        asking = asyncio.create_task(standby.aadmit([PAY], ["closed"]))
        await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

    asyncio.run(scenario())
    assert store.admit([PAY._replace(owner="you")]) == Admitted((Begun(),))


def test_a_call_that_is_cancelled_while_it_asks_frees_its_probe() -> None:
    store = Shared()
    rules = BreakerRules(max_fails=1, reset_timeout=60.0)
    store.finish([BreakerRecord("mail", rules, "me", 0, "failure", 0.0)])
    probe = BreakerAcquire("mail", rules, "me")

    class Slow:
        async def admit(self, steps: Sequence[Step]) -> Any:
            store.admit(steps)
            await asyncio.sleep(60)

        async def finish(self, reports: Sequence[Report]) -> Any:
            return store.finish(reports)

    store.aio = Slow()  # type: ignore[assignment]
    standby = Standby(store, MemoryStore)

    async def scenario() -> None:
        asking = asyncio.create_task(standby.aadmit([probe], ["local"]))
        await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

    asyncio.run(scenario())
    assert isinstance(store.admit([probe._replace(owner="you")]), Admitted)


# ---- a store that is there, and refuses one thing ----


class Picky(Shared):
    """Has something against one key."""

    def __init__(self, key: str) -> None:
        super().__init__()
        self.key = key

    def _over(self, call: Any, argument: Any) -> Any:
        if any(one.key == self.key for one in argument):
            raise StoreUnavailableError("The store refused.", reason=REFUSED)
        return super()._over(call, argument)


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def picky(request: pytest.FixtureRequest) -> Bench:
    bench = Bench(request.param)
    bench.store = Picky("bad")
    bench.standby = Standby(bench.store, MemoryStore, pause_s=1.0, clock=lambda: bench.now)
    return bench


def test_a_refusal_of_one_thing_stands_in_the_way_of_nothing_else(picky: Bench) -> None:
    bad = COUNT._replace(key="bad")
    with pytest.raises(StoreUnavailableError):
        picky.admit([bad], ["closed"])
    assert picky.admit([bad], ["open"]).store is None
    assert picky.admit([bad], ["local"]).store is not picky.store
    assert not picky.standby.away
    assert picky.admit([COUNT], ["closed"]).store is picky.store


def test_a_report_that_is_refused_is_not_tried_for_ever(picky: Bench, caplog: pytest.LogCaptureFixture) -> None:
    entry = picky.admit([PAY], ["closed"])
    done = IdempotencyDone("pay-1", "me", 60.0, "paid")
    picky.store.cut = True
    picky.finish(entry.store, [done._replace(key="bad")])
    picky.store.cut = False
    picky.now += 2
    picky.finish(entry.store, [done])  # with what is owed, of which one thing is refused
    assert isinstance(picky.admit([PAY], ["closed"]).answer, Refused)
    assert picky.store.list_idempotency()[0].state == "done"
    assert not picky.standby.away
    assert "refuses to write" in caplog.text

    requests = picky.store.requests
    picky.admit([COUNT], ["closed"])
    assert picky.store.requests == requests + 1  # nothing is owed any more


def test_a_store_that_goes_away_meanwhile_is_told_the_rest_later(picky: Bench, monkeypatch: Any) -> None:
    picky.admit([PAY], ["closed"])
    done = IdempotencyDone("pay-1", "me", 60.0, "paid")
    over = Shared._over

    def cut_after_one(self: Any, call: Any, argument: Any) -> Any:
        if len(argument) == 1 and argument[0].key == "first":
            self.cut = True
            return (False,)
        return over(self, call, argument)

    monkeypatch.setattr(Shared, "_over", cut_after_one)
    picky.finish(picky.store, [done._replace(key="bad"), done._replace(key="first"), done, done._replace(key="last")])
    monkeypatch.setattr(Shared, "_over", over)
    assert picky.standby.away
    picky.store.cut = False
    picky.now += 2
    picky.admit([COUNT], ["closed"])
    assert picky.store.list_idempotency()[0].state == "done"
