"""Admission: the lock and the queue around a tree of scopes, with real threads and real event loops."""

import asyncio
import gc
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from actguard.budget.admission import Admission, WaitTimeout
from actguard.budget.charge import Charge
from actguard.budget.hold import Hold
from actguard.budget.scope import BudgetScope, Refusal


def call(scope: BudgetScope, estimate: int = 0, bound: int = 0, *, thread: int | None = None, task: int = 0) -> Hold:
    """A call that asks for so many pico-dollars; of this thread, unless another is named."""
    hold = Hold(scope)
    hold.estimate_pico, hold.bound_pico = estimate, bound
    hold.task, hold.thread = task, threading.get_ident() if thread is None else thread
    return hold


def cost(pico: int) -> Charge:
    return Charge(pico, 0)


def until_waiting(admission: Admission, count: int) -> None:
    deadline = time.monotonic() + 10
    while admission.waiting != count:
        assert time.monotonic() < deadline, f"{admission.waiting} are waiting, not {count}"
        time.sleep(0.001)


async def until_waiting_async(admission: Admission, count: int) -> None:
    async with asyncio.timeout(10):
        while admission.waiting != count:  # noqa: ASYNC110 - the queue has no event of its own
            await asyncio.sleep(0)


@pytest.fixture
def admission() -> Admission:
    return Admission()


def test_a_waiting_thread_goes_on_when_the_call_before_it_settles(admission):
    scope = BudgetScope("s", limit_pico=100)
    first = admission.hold(call(scope, 80, thread=1))
    with ThreadPoolExecutor() as pool:
        second = pool.submit(lambda: admission.hold(call(scope, 80)))
        until_waiting(admission, 1)
        admission.settle(first, cost(10))
        assert isinstance(second.result(10), Hold)
    assert scope.used_pico == 10
    assert scope.held_pico == 80


async def test_a_waiting_task_does_not_block_its_event_loop(admission):
    scope = BudgetScope("s", limit_pico=100)
    first = await admission.ahold(call(scope, 80, task=1))
    second = asyncio.create_task(admission.ahold(call(scope, 80, task=2)))
    await until_waiting_async(admission, 1)
    admission.settle(first, cost(10))
    assert isinstance(await second, Hold)


async def test_a_settlement_in_a_thread_wakes_a_task_on_its_loop(admission):
    scope = BudgetScope("s", limit_pico=100)
    first = await asyncio.to_thread(lambda: admission.hold(call(scope, 80)))
    second = asyncio.create_task(admission.ahold(call(scope, 80, task=2)))
    await until_waiting_async(admission, 1)
    await asyncio.to_thread(admission.settle, first, cost(10))
    assert isinstance(await asyncio.wait_for(second, 10), Hold)


def test_trio_waits_as_well_as_asyncio(admission):
    trio = pytest.importorskip("trio")
    scope = BudgetScope("s", limit_pico=100)
    got: list[object] = []

    async def main() -> None:
        first = await admission.ahold(call(scope, 80, task=1))
        async with trio.open_nursery() as nursery:

            async def second() -> None:
                got.append(await admission.ahold(call(scope, 80, task=2)))

            nursery.start_soon(second)
            with trio.fail_after(10):
                while not admission.waiting:
                    await trio.sleep(0)
            admission.settle(first, cost(10))
            with trio.fail_after(10):
                while not got:
                    await trio.sleep(0)
        with pytest.raises(WaitTimeout):
            await admission.ahold(call(scope, 80, task=3), 0.001)

    trio.run(main)
    assert isinstance(got[0], Hold)


async def test_who_came_first_goes_first(admission):
    scope = BudgetScope("s", limit_pico=100)
    order: list[int] = []
    first = await admission.ahold(call(scope, 90, task=100))

    async def make(number: int) -> None:
        hold = await admission.ahold(call(scope, 90, task=number))
        order.append(number)
        admission.settle(hold, cost(1))

    tasks = []
    for number in range(1, 6):
        tasks.append(asyncio.create_task(make(number)))
        await until_waiting_async(admission, number)
    admission.settle(first, cost(1))
    await asyncio.gather(*tasks)
    assert order == [1, 2, 3, 4, 5]


async def test_a_small_call_does_not_overtake_a_large_one_that_waits_for_the_same_scope(admission):
    scope = BudgetScope("s", limit_pico=100)
    first = await admission.ahold(call(scope, 50, task=100))
    large = asyncio.create_task(admission.ahold(call(scope, 98, task=1)))
    await until_waiting_async(admission, 1)
    small = asyncio.create_task(admission.ahold(call(scope, 5, task=2)))
    await until_waiting_async(admission, 2)
    admission.settle(first, cost(1))
    held = await large
    assert not small.done()
    admission.settle(held, cost(1))
    assert isinstance(await small, Hold)


async def test_who_waits_for_one_scope_does_not_keep_others_from_another(admission):
    root = BudgetScope("root", limit_pico=1_000)
    busy, free = BudgetScope("busy", parent=root, limit_pico=100), BudgetScope("free", parent=root, limit_pico=100)
    await admission.ahold(call(busy, 90, task=100))
    stuck = asyncio.create_task(admission.ahold(call(busy, 90, task=1)))
    await until_waiting_async(admission, 1)
    assert isinstance(await admission.ahold(call(free, 90, task=2)), Hold)
    stuck.cancel()


async def test_who_waits_for_himself_is_let_through(admission):
    scope = BudgetScope("s", limit_pico=100)
    await admission.ahold(call(scope, 90, task=1))
    assert isinstance(await admission.ahold(call(scope, 90, task=1)), Hold)


def test_nobody_waits_for_a_stream_that_was_open_where_he_was_started(admission):
    scope = BudgetScope("s", limit_pico=100)
    stream, helper = call(scope, 90, thread=1), call(scope, 90)
    admission.hold(stream)
    stream.stream, helper.around = 7, (6, 7)
    assert admission.hold(helper, 10) is helper


async def test_two_who_would_wait_for_each_other_do_not(admission):
    scope = BudgetScope("s", limit_pico=100)

    async def work(task: int) -> None:
        stream = await admission.ahold(call(scope, 45, task=task))
        both_streams_are_open.release()
        await opened.wait()
        hold = await admission.ahold(call(scope, 90, task=task), 10)
        admission.settle(hold, cost(1))
        admission.settle(stream, cost(1))

    both_streams_are_open = asyncio.Semaphore(0)
    opened = asyncio.Event()
    tasks = [asyncio.create_task(work(n)) for n in (1, 2)]
    for _ in tasks:
        await both_streams_are_open.acquire()
    opened.set()
    await asyncio.wait_for(asyncio.gather(*tasks), 10)
    assert (scope.used_pico, scope.held_pico) == (4, 0)


async def test_two_who_would_wait_for_each_other_under_a_strict_limit_are_refused(admission):
    scope = BudgetScope("s", limit_pico=100, strict=True)
    await admission.ahold(call(scope, bound=45, task=1))
    await admission.ahold(call(scope, bound=45, task=2))
    both = [asyncio.create_task(admission.ahold(call(scope, bound=50, task=n), wait_timeout=10)) for n in (1, 2)]
    assert all(isinstance(answer, Refusal) for answer in await asyncio.gather(*both))


def test_a_synchronous_call_on_a_loops_thread_does_not_wait_for_tasks_that_it_blocks(admission):
    scope = BudgetScope("s", limit_pico=100)
    admission.try_hold(call(scope, 90, task=7))  # a task of this thread
    assert isinstance(admission.hold(call(scope, 90), 10), Hold)


async def test_a_cancelled_waiter_leaves_the_queue_and_holds_nothing(admission):
    scope = BudgetScope("s", limit_pico=100)
    first = await admission.ahold(call(scope, 90, task=1))
    waiter = asyncio.create_task(admission.ahold(call(scope, 90, task=2)))
    await until_waiting_async(admission, 1)
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    admission.settle(first, cost(1))
    assert admission.waiting == 0
    assert scope.held_pico == 0


async def test_a_waiter_cancelled_in_the_moment_it_is_let_through_gives_its_hold_back(admission):
    scope = BudgetScope("s", limit_pico=100)
    first = await admission.ahold(call(scope, 90, task=1))
    waiter = asyncio.create_task(admission.ahold(call(scope, 90, task=2)))
    await until_waiting_async(admission, 1)
    admission.settle(first, cost(1))  # lets it through; its task has not run yet
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    assert scope.held_pico == 0
    assert not scope.holds


def test_waiting_ends_after_the_timeout_and_changes_nothing(admission):
    scope = BudgetScope("s", limit_pico=100)
    admission.hold(call(scope, 90, thread=1))
    with pytest.raises(WaitTimeout):
        admission.hold(call(scope, 90), 0.001)
    assert admission.waiting == 0
    assert scope.held_pico == 90


async def test_everybody_who_waits_is_refused_when_the_limit_is_reached(admission):
    scope = BudgetScope("s", limit_pico=100)
    first = await admission.ahold(call(scope, 90, task=100))
    waiting = [asyncio.create_task(admission.ahold(call(scope, 90, task=n))) for n in range(1, 5)]
    await until_waiting_async(admission, 4)
    admission.settle(first, cost(100))
    assert all(isinstance(answer, Refusal) for answer in await asyncio.gather(*waiting))


async def test_a_raised_limit_lets_waiters_through(admission):
    scope = BudgetScope("s", limit_pico=100)
    await admission.ahold(call(scope, 90, task=1))
    waiter = asyncio.create_task(admission.ahold(call(scope, 90, task=2)))
    await until_waiting_async(admission, 1)
    admission.locked(lambda: scope.extend(100, 0))
    assert isinstance(await waiter, Hold)


def test_a_hold_granted_to_a_loop_that_is_gone_is_given_back(admission):
    scope = BudgetScope("s", limit_pico=100)
    first = admission.hold(call(scope, 90, thread=1))
    loop = asyncio.new_event_loop()
    task = loop.create_task(admission.ahold(call(scope, 90, task=2)))
    while not admission.waiting:
        loop.run_until_complete(asyncio.sleep(0))
    loop._ready.clear()
    task._log_destroy_pending = False
    loop.close()
    admission.settle(first, cost(1))
    assert scope.held_pico == 0


def test_the_same_reply_reported_twice_counts_once_in_any_order(admission):
    scope = BudgetScope("s", limit_pico=100)
    hold = admission.hold(call(scope, 10))
    assert admission.charge(scope, cost(7), "reply-1") == (True, None)  # a callback was faster than the seam
    assert admission.settle(hold, cost(7), "reply-1") == (False, None)
    assert (scope.used_pico, scope.held_pico, scope.calls) == (7, 0, 1)
    hold = admission.hold(call(scope, 10))
    admission.settle(hold, cost(5), "reply-2")
    admission.charge(scope, cost(5), "reply-2")
    assert scope.used_pico == 12


def test_a_finalizer_that_runs_under_the_lock_leaves_its_work_for_the_holder(admission):
    scope = BudgetScope("s", limit_pico=100)
    hold = admission.hold(call(scope, 10))

    class Dropped:
        def __del__(self) -> None:
            admission.later(lambda: admission.settle_locked(hold, cost(3)) and None)

    def drop_under_the_lock() -> None:
        cycle = Dropped()
        cycle.itself = cycle
        del cycle
        gc.collect()
        assert scope.used_pico == 0

    admission.locked(drop_under_the_lock)
    assert (scope.used_pico, scope.held_pico) == (3, 0)


def test_a_lost_attempt_is_charged_beside_the_hold_that_the_next_one_uses(admission):
    scope = BudgetScope("s", limit_pico=100, strict=True)
    hold = admission.hold(call(scope, bound=40))
    assert admission.charge_beside(hold, cost(40)) is None
    assert (scope.used_pico, scope.held_pico) == (40, 40)
    refusal = admission.charge_beside(hold, cost(40))  # 40 lost + 40 lost + 40 more would be 120
    assert refusal is not None
    assert (scope.used_pico, scope.held_pico) == (80, 0)


@pytest.mark.parametrize("strict", [True, False])
def test_many_threads_never_pass_what_the_mode_promises(admission, strict):
    scope = BudgetScope("s", limit_pico=10_000, strict=strict)
    refused = threading.Event()

    def work(seed: int) -> None:
        dice = random.Random(seed)
        while not refused.is_set():
            bound = dice.randint(1, 400)
            hold = admission.hold(call(scope, bound, bound), 10)
            if isinstance(hold, Refusal):
                refused.set()
            elif dice.random() < 0.1:
                admission.release(hold)
            else:
                admission.settle(hold, cost(dice.randint(0, bound)))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert scope.held_pico == 0
    assert scope.in_flight == 0
    assert not scope.holds
    assert scope.used_pico <= (10_000 if strict else 10_400)
    assert scope.used_pico >= 9_600
