"""Random programs over the real SDKs: whatever they do, in tasks and threads, the books are right in the end.

A program enters and leaves guards, calls, streams, breaks off, cancels, drops and hands over, in several threads and
tasks at once; replies are held back, lost, broken and malformed on the way. `HYPOTHESIS_PROFILE=long` runs more and
longer ones.
"""

import gc
import os
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, wait
from contextlib import suppress
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, Phase, note, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from actguard import BudgetExceededError, BudgetGuard
from actguard.budget.account import Account
from actguard.context import OUTSIDE, current_frame
from actguard.testing import Entry, Gate
from tests.programs import OUTPUT, SDKS, TROUBLES, Actor, Deed, TaskActor, ThreadActor, Trouble, World, quick_retries

LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"
EXAMPLES, STEPS = (300, 120) if LONG else (12, 50)
SECONDS = 10  # what takes longer hangs

pytestmark = pytest.mark.timeout(7200 if LONG else 300)

which = st.integers(0, 11)
amounts = st.sampled_from((60, 500, 2_500, 10_000, 40_000))
tokens = st.sampled_from((5, 20, 60, 300))
caps = st.sampled_from((None, 16, 100, 100, 1_000))
troubles = st.one_of(st.just("none"), st.sampled_from(sorted(TROUBLES)))


class Program(RuleBasedStateMachine):
    def __init__(self, world: World, strictness: tuple[bool, ...]) -> None:
        super().__init__()
        self.world = world
        self.strictness = strictness
        self.provider = world.provider
        world.begin()
        self.actors: list[Actor] = []
        self.guards: list[BudgetGuard] = []
        self.streams: list[Deed] = []
        self.refused: list[Deed] = []
        self.costs: dict[Account, int] = {}
        self.gate: Gate | None = None

    @initialize(task=st.booleans(), usd=amounts, strict=st.booleans())
    def begin(self, task: bool, usd: int, strict: bool) -> None:
        """Two that are in the same guard, in a thread or a task each."""
        self._start(task)
        self.enter(0, usd, None, strict, None)
        self._start(not task, self.actors[0])

    # ---- guards ------------------------------------------------------------------------------------------------------

    @rule(
        who=which,
        usd=st.none() | amounts,
        tokens=st.none() | amounts,
        strict=st.booleans(),
        patience=st.sampled_from((None, None, None, 0.01)),
    )
    def enter(self, who: int, usd: int | None, tokens: int | None, strict: bool, patience: float | None) -> None:
        """A guard of so many dollars' worth of output tokens, or of so many tokens."""
        actor = self._idle(who)
        if actor is None or len(actor.guards) > 2:
            return
        guard = BudgetGuard(
            name=f"g{len(self.guards)}",
            usd_limit=usd and usd * float(OUTPUT) / 1e6,
            token_limit=tokens and 2 * tokens,
            strict=self.strictness[strict],
            wait_timeout=patience,
            prices=self.world.book,
        )
        actor.enter(guard)
        self.guards.append(guard)

    @rule(who=which, elsewhere=which)
    def leave(self, who: int, elsewhere: int) -> None:
        """Perhaps in another thread or task than where it was entered."""
        actor, other = self._pick([actor for actor in self.actors if actor.guards], who), self._idle(elsewhere)
        if actor is not None and other is not None:
            other.leave(actor.guards.pop())

    @rule(which=which, more=amounts)
    def extend(self, which: int, more: int) -> None:
        guard = self._pick([guard for guard in self.guards if guard.exceeded] or self.guards, which)
        if guard is not None:
            if guard.usd_limit < float("inf"):
                guard.extend(usd=more * float(OUTPUT) / 1e6)
            if guard.token_limit < float("inf"):
                guard.extend(tokens=more)

    @rule(which=which, cost=st.integers(1, 200))
    def add_cost(self, which: int, cost: int) -> None:
        guard = self._pick(self.guards, which)
        if guard is not None and guard.account is not None:
            for account in guard.account.accounts():
                self.costs[account] = self.costs.get(account, 0) + cost * 10**6
            with suppress(BudgetExceededError):
                guard.add_cost(name="search", usd=cost / 1e6)

    # ---- calls -------------------------------------------------------------------------------------------------------

    @rule(who=which, sdk=st.sampled_from(SDKS), tokens=tokens, cap=caps, trouble=troubles)
    def call(self, who: int, sdk: str, tokens: int, cap: int | None, trouble: Trouble) -> None:
        self._do(who, Deed(len(self.world.deeds), sdk, tokens, cap, trouble))

    @rule(
        who=which,
        sdk=st.sampled_from(SDKS),
        tokens=tokens,
        cap=caps,
        trouble=troubles,
        pause_after=st.sampled_from((None, None, 4)),
    )
    def open_stream(
        self, who: int, sdk: str, tokens: int, cap: int | None, trouble: Trouble, pause_after: int | None
    ) -> None:
        deed = Deed(len(self.world.deeds), sdk, tokens, cap, trouble, pause_after, stream=True)
        self._do(who, deed)

    @rule(who=which, stream=which, count=st.sampled_from((1, 5, -1, -1)))
    def read(self, who: int, stream: int, count: int) -> None:
        """Perhaps in another thread or task than where it was opened; -1: to the end."""
        found = self._stream(stream)
        reader = found and self._idle(who, ThreadActor if found.in_thread else TaskActor)
        if found is not None and reader:
            reader.read(found, count)
            self._let_happen()

    @rule(who=which, stream=which)
    def close(self, who: int, stream: int) -> None:
        found = self._stream(stream)
        closer = found and self._idle(who, ThreadActor if found.in_thread else TaskActor)
        if found is not None and closer:
            closer.close(found)
            self._let_happen()

    @rule(stream=which)
    def drop(self, stream: int) -> None:
        """Nobody closes it, nobody has it any more."""
        found = self._stream(stream)
        if found is not None:
            found.opened = None
            del found
            gc.collect()
            self._let_happen()

    # ---- threads and tasks -------------------------------------------------------------------------------------------

    @rule(task=st.booleans(), parent=which)
    def spawn(self, task: bool, parent: int) -> None:
        """A thread or task that inherits what its parent is in."""
        if len(self.actors) < 6:
            self._start(task, self._idle(parent))

    @rule(who=which)
    def end(self, who: int) -> None:
        """Without leaving the guards it is in."""
        actor = self._idle(who)
        if actor is not None and len(self.actors) > 2:
            self.actors.remove(actor)
            actor.stop()

    @rule(who=which, sdk=st.sampled_from(SDKS), stream=st.booleans())
    def cancel(self, who: int, sdk: str, stream: bool) -> None:
        """A task that waits, for its turn or for the provider; in the midst of a call, if none does."""
        if not self._waiting_tasks():
            self.hold_replies()
            self._do(who, Deed(len(self.world.deeds), sdk, 60, stream=stream), TaskActor)
        task = self._pick(self._waiting_tasks(), who)
        if task is not None:
            task.cancel()
            self._let_happen()

    # ---- the provider ------------------------------------------------------------------------------------------------

    @rule()
    def hold_replies(self) -> None:
        if self.gate is None:
            self.gate = self.provider.hold()

    @rule(count=st.integers(1, 3))
    def let_some_go(self, count: int) -> None:
        if self.gate is not None:
            self.gate.release(count)
            self._let_happen()

    @rule()
    def let_all_go(self) -> None:
        self.provider.release()
        self.gate = None
        self._let_happen()

    # ---- in the end --------------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        try:
            self._finish()
            self._check()
        finally:
            for actor in self.actors:
                actor.stop()
            assert current_frame() is OUTSIDE

    def _finish(self) -> None:
        """Everything that still runs comes to its end; nothing may wait for something that will not happen."""
        self.world.pausing = False
        self.gate = None
        until = time.monotonic() + SECONDS
        while True:
            self.provider.release()
            for deed in self._open_streams():
                opened, deed.opened = deed.opened, None
                if opened is None:
                    continue  # its actor was faster
                if deed.in_thread:
                    opened.close()
                else:
                    self.world.on_loop(opened.aclose() if deed.sdk == "google" else opened.close())
            self._let_happen()
            running = [actor for actor in self.actors if not actor.idle]
            if not running and not self._open_streams():
                break
            assert time.monotonic() < until, f"{[actor.deed for actor in running]} wait for nothing"
            wait({actor.doing for actor in running if actor.doing is not None}, 0.01, FIRST_COMPLETED)
        for actor in self.actors:
            while actor.guards:
                actor.leave(actor.guards.pop())
        for deed in self.world.deeds.values():
            deed.opened = None
        gc.collect()
        self.world.on_loop(_next_turn())
        self.provider.wait_idle(SECONDS)

    def _check(self) -> None:
        bills = self.world.bills()
        for deed in self.world.deeds.values():
            note(f"{deed}: {bills.get(deed.number)}")
            self._check_deed(deed, bills.get(deed.number, []))
        for guard in self.guards:
            assert guard.account is not None
            self._check_guard(guard.account, bills)

    def _check_deed(self, deed: Deed, bills: list[Entry]) -> None:
        if deed in self.refused:
            assert deed.cancelled or isinstance(deed.error, BudgetExceededError)
            assert not bills
        last = [bill for bill in bills if bill.model == deed.bill_of(deed.attempts)]
        if not (deed.was_sent_well and last) or deed.cancelled:
            return
        # paid for, so it was delivered, or is in the error
        assert deed.reply is not None or deed.stream, f"a reply is lost: {deed}"
        if not deed.stream or deed.whole:
            for account in deed.scopes:  # and is counted as it was billed, in every guard around it
                tally = account.by_model[deed.bill_of(deed.attempts)]
                assert tally.pico == _pico(last)
                assert (tally.usage.input_tokens, tally.usage.output_tokens, tally.calls) == (
                    last[0].input_tokens,
                    last[0].output_tokens,
                    1,
                )

    def _check_guard(self, account: Account, bills: dict[int, list[Entry]]) -> None:
        account.admission.settle_pending()
        assert (account.held_pico, account.held_tokens, account.in_flight) == (0, 0, 0)
        assert not account.holds
        assert account.admission.waiting == 0
        own = [
            bill for deed in self.world.deeds.values() if account in deed.scopes for bill in bills.get(deed.number, [])
        ]
        costs = self.costs.get(account, 0)
        spent, used = _pico(own), sum(bill.tokens for bill in own)
        assert account.used_pico == sum(tally.pico for tally in account.by_model.values())
        if account.estimates == 0:
            assert account.used_pico == spent + costs
            assert account.used_tokens == used
        if account.strict and account.limited:
            assert spent <= account.limit_pico
            assert used <= account.limit_tokens
            assert account.used_pico - costs >= spent
            assert account.used_tokens >= used

    # ---- helpers -----------------------------------------------------------------------------------------------------

    def _start(self, task: bool, parent: Actor | None = None) -> None:
        def make() -> Actor:
            return (TaskActor if task else ThreadActor)(self.world.clients).start()

        async def make_on_loop() -> Actor:
            return make()

        if parent is None:
            self.actors.append(self.world.on_loop(make_on_loop()) if task else make())
        elif not task:
            self.actors.append(parent.post(make).result(SECONDS))
        elif isinstance(parent, TaskActor):
            self.actors.append(parent.post(make_on_loop).result(SECONDS))
        else:
            self.actors.append(parent.post(lambda: self.world.on_loop(make_on_loop())).result(SECONDS))

    def _do(self, who: int, deed: Deed, kind: type[Actor] = Actor) -> None:
        actor = self._idle(who, kind)
        if actor is None:
            return
        self.world.deeds[deed.number] = deed
        refused = actor.refused_already()
        if refused:
            self.refused.append(deed)
        if deed.stream:
            self.streams.append(deed)
        doing = actor.call(deed)
        if refused:  # at once, whoever else waits: not to be overtaken by an `extend`
            assert wait({doing}, SECONDS).done, f"{deed} is not refused"
        self._let_happen()

    def _let_happen(self) -> None:
        """Return when everybody is done, or waits for somebody else."""
        until = time.monotonic() + SECONDS
        while running := {actor.doing for actor in self.actors if actor.doing is not None and not actor.idle}:
            if len(running) <= self._parked():
                return
            wait(running, timeout=0.001, return_when=FIRST_COMPLETED)
            assert time.monotonic() < until, f"{[a.deed for a in self.actors if not a.idle]} hang"

    def _parked(self) -> int:
        """How many wait: in a budget's queue, or at the provider."""
        queues = {guard.account.admission for guard in self.guards if guard.account is not None}
        at_gate = self.gate.waiting if self.gate is not None else 0
        return sum(queue.waiting for queue in queues) + at_gate + self.provider.paused.waiting

    def _waiting_tasks(self) -> list[TaskActor]:
        return [actor for actor in self.actors if isinstance(actor, TaskActor) and not actor.idle]

    def _idle(self, who: int, kind: type[Actor] = Actor) -> Actor | None:
        return self._pick([actor for actor in self.actors if actor.idle and isinstance(actor, kind)], who)

    def _stream(self, which: int) -> Deed | None:
        """One that is open; a new one, if none is."""
        if not self._open_streams():
            self._do(which, Deed(len(self.world.deeds), SDKS[which % 3], 60, stream=True))
        return self._pick(self._open_streams(), which)

    def _open_streams(self) -> list[Deed]:
        return [deed for deed in self.streams if deed.opened is not None and not deed.busy]

    @staticmethod
    def _pick(several: list[Any], which: int) -> Any:
        return several[which % len(several)] if several else None


async def _next_turn() -> None:
    """What a garbage collection has left for the event loop is done."""


def _pico(bills: list[Entry]) -> int:
    return int(sum((bill.usd for bill in bills), start=0) * 10**12)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with quick_retries(), World() as world:
        yield world


@pytest.mark.filterwarnings("ignore:.*left in another")  # a program may leave its guards wherever it likes
@pytest.mark.parametrize(
    "strictness", [(False, False), (True, True), (False, True)], ids=["default", "strict", "mixed"]
)
def test_whatever_a_program_does_the_books_are_right(world: World, strictness: tuple[bool, bool]) -> None:
    run_state_machine_as_test(
        lambda: Program(world, strictness),
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            phases=[Phase.reuse, Phase.generate],  # what threads do is not the same twice: nothing to shrink by
            suppress_health_check=list(HealthCheck),
        ),
    )
