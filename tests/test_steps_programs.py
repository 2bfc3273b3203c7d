"""Random programs of generators, in each other and side by side, run step by step: every call counts in the guards that
are written around it, and in no other."""

import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from contextvars import Context, copy_context
from random import Random

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from actguard import BudgetGuard, add_cost
from actguard.steps import generators

SECONDS = 10
Guards = tuple[BudgetGuard, ...]
Steps = Generator[None]


class Program:
    """One program, and what it has to come to."""

    def __init__(self, random: Random, pool: ThreadPoolExecutor) -> None:
        self.random = random
        self.pool = pool
        self.due: Counter[BudgetGuard] = Counter()

    def guard(self) -> BudgetGuard:
        guard = BudgetGuard()
        self.due[guard] = 0
        return guard

    def call(self, around: Guards) -> None:
        """A call, by code that *around* are written around."""
        add_cost(name="call", usd=1)
        self.due.update(around)

    def run(self) -> None:
        if self.random.random() < 0.5:
            with self.guard() as outer:
                self.take_turns((outer,), [in_a_copy])
        else:
            self.take_turns((), [in_a_copy, self.on_a_pool, on_a_thread])

    def take_turns(self, around: Guards, ways: list[Callable[[Steps, Context], bool]]) -> None:
        """Agents side by side, each step run in one of *ways*, and calls between them."""
        began = copy_context()
        with ExitStack() as stack:  # none may stay in its guard where Hypothesis breaks the program off
            begun = [closing(self.agent(around, depth=2)) for _ in range(self.random.randint(1, 3))]
            agents = [stack.enter_context(agent) for agent in begun]
            while agents:
                agent = self.random.choice(agents)
                if not self.random.choice(ways)(agent, began):
                    agents.remove(agent)
                if self.random.random() < 0.3:
                    self.call(around)
                if self.random.random() < 0.3:
                    self.pool.submit(self.call, around).result(SECONDS)

    def on_a_pool(self, steps: Steps, _: Context) -> bool:
        return self.pool.submit(go_on, steps).result(SECONDS)

    def agent(self, around: Guards, depth: int) -> Steps:
        guard = self.guard()
        entered = self.random.choice(["with", "helper", "stack"])
        if entered == "with":
            with guard:
                yield from self.work((*around, guard), depth)
        elif entered == "helper":
            with helper(guard):
                yield from self.work((*around, guard), depth)
        else:
            with ExitStack() as stack:
                stack.enter_context(guard)
                yield from self.work((*around, guard), depth)
        self.call(around)

    def work(self, around: Guards, depth: int) -> Steps:
        for _ in range(self.random.randint(1, 3)):
            what = self.random.choice(["call", "call", "thread", "pool", "guard", "agent", "agent apart"])
            if what == "call":
                self.call(around)
            elif what == "thread":
                thread = threading.Thread(target=self.call, args=(around,))
                thread.start()
                thread.join(SECONDS)
            elif what == "pool":
                self.pool.submit(self.call, around).result(SECONDS)
            elif what == "guard":
                with self.guard() as inner:
                    self.call((*around, inner))
            elif depth and what == "agent":
                yield from self.agent(around, depth - 1)
            elif depth:
                steps, began = self.agent(around, depth - 1), copy_context()
                while in_a_copy(steps, began):
                    pass
            yield


@contextmanager
def helper(guard: BudgetGuard) -> Iterator[None]:
    with guard:
        yield


def go_on(steps: Steps) -> bool:
    """One more step; False when it was over."""
    end = object()
    return next(steps, end) is not end


def in_a_copy(steps: Steps, began: Context) -> bool:
    return began.copy().run(go_on, steps)


def on_a_thread(steps: Steps, _: Context) -> bool:
    more: Future[bool] = Future()

    def take() -> None:
        try:
            more.set_result(go_on(steps))
        except BaseException as ended:  # so does Hypothesis, where a program gets too long
            more.set_exception(ended)

    threading.Thread(target=take).start()
    return more.result(SECONDS)


@pytest.mark.filterwarnings("ignore::actguard.BudgetWarning")
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(random=st.randoms(use_true_random=False, note_method_calls=False))
def test_every_call_counts_in_the_guards_around_it(random: Random) -> None:
    with ThreadPoolExecutor(3) as pool:  # a new one: on its threads no generator has made a step yet
        program = Program(random, pool)
        program.run()

    assert {guard: guard.usd_used for guard in program.due} == program.due
    assert not generators
