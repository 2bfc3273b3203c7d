"""A pipeline, compiled: who is asked what, in which order, and what is written down afterwards.

Nothing here waits or does I/O. What needs it is yielded as an `Ask`, and answered by one of the drivers in `run.py`:
there is one course of a call, for synchronous and asynchronous functions alike.
"""

from collections.abc import Callable, Generator, Sequence
from functools import partial
from math import inf
from time import monotonic
from typing import Any, cast

from actguard.exceptions import ActGuardError, ToolGuardError
from actguard.pipeline.at_once import several, single
from actguard.pipeline.call import Ask, Asking, Call, Group, Held
from actguard.pipeline.drive import in_thread, shielded, undone
from actguard.pipeline.groups import groups, watched_part
from actguard.pipeline.guard import Answer, Args, Ending, Kwargs, Part
from actguard.pipeline.hooks import achecked, checked, finisher, never, only_async, start, taken_back, unreadable
from actguard.pipeline.outcome import is_cancelled, is_unstarted
from actguard.pipeline.settings import Settings
from actguard.pipeline.target import Target
from actguard.pipeline.telling import tell_blocked, tell_failed, tell_observed
from actguard.pipeline.unasked import settle
from actguard.pipeline.waiting import Waiting, behind
from actguard.stores.fallback import withdrawals
from actguard.stores.protocol import Admitted, Refusal, Refused, Report, Step, fast_new
from actguard.stores.store import Store
from actguard.stores.undo import REFUSALS, holds

Opening = Generator[Ask, Any, Answer | None]
"""A call being opened; see `Plan.open`."""


class _Blocked(Exception):  # noqa: N818 - never leaves this module
    def __init__(self, part: Part[Any], answer: ToolGuardError | Answer) -> None:
        super().__init__()
        self.part = part
        self.answer = answer


class Plan:
    """The parts that are in force, sorted by what they do; see the module."""

    __slots__ = (
        "afters",
        "awaits",
        "body",
        "bound_s",
        "checks",
        "direct",
        "exit",
        "failing_tellers",
        "finish",
        "gates",
        "groups",
        "lined",
        "makers",
        "several",
        "single",
        "starters",
        "target",
        "tellers",
        "timed",
    )

    def __init__(self, target: Target, parts: Sequence[Part[Any]], settings: Settings) -> None:
        self.target = target
        self.awaits = False
        """The function is not `async`, and gave back something to wait for."""
        live = [part for part in parts if settings.mode_of(part.guard) != "off"]
        watched = {id(part) for part in live if settings.mode_of(part.guard) == "observe"}
        self.checks = tuple((part, id(part) in watched) for part in live if part.check or part.acheck)
        self.afters = tuple(
            (part, id(part) in watched, partial(self._refuse_item, part, id(part) in watched))
            for part in live
            if part.after or part.aafter
        )
        self.timed = any(part.timed for part in live)
        self.body: Callable[..., Any] = target.function
        for part in reversed(parts):
            if part.fill is not None:
                self.body = part.fill(self.body)
            if id(part) in watched and part.watch is not None:
                self.body = part.watch(self.body, partial(tell_observed, target, part))
            elif part in live and id(part) not in watched and part.wrap is not None:
                self.body = part.wrap(self.body)
        takers = [watched_part(part) if id(part) in watched else part for part in live if part.step is not None]
        self.groups = tuple(groups(takers, settings))
        self.starters = any(part.started for part in takers)
        self.lined = any(part.lined for part in takers)
        self.bound_s = min((part.bound_s for part in live if id(part) not in watched), default=inf)
        only = self.groups[0] if len(self.groups) == 1 and self.groups[0].standby is None else None
        late = any(part.refuses_late for part in live)  # then receipts are kept, which one in a straight line may not
        alone = len(takers) == 1 and not (watched or self.checks or self.afters or self.starters or late)
        self.single = single(takers[0], only.store, self.lined) if only is not None and alone else None
        self.makers: tuple[Callable[[Args, Kwargs], Step], ...] = tuple(
            part.step for part in takers if part.step is not None
        )
        # Who has something to report after a success, and after a failure.
        self.tellers = tuple(
            (index, part.report, part.quiet)
            for index, part in enumerate(takers)
            if part.report is not None and not part.quiet_success
        )
        self.failing_tellers = tuple(
            (index, part.report, part.quiet) for index, part in enumerate(takers) if part.report is not None
        )
        self.direct = only is not None and not (watched or self.checks or self.starters)
        straight = self.direct and not (self.lined or late)
        self.several = several(takers, only.store) if only is not None and straight else None
        self.finish = finisher(only.store) if only is not None else never

        # No step at all, and checks, if any, that can be made at once: a timeout, or custody with facts in memory.
        here = not (watched or self.groups or self.starters or self.timed) and len(self.afters) <= 1
        gates = tuple(part.quick for part, _ in self.checks if part.quick is not None)
        exits = [part.quick_after for part, *_ in self.afters if part.quick_after is not None]
        here = here and len(gates) == len(self.checks) and len(exits) == len(self.afters)
        self.gates: tuple[Callable[[Args, Kwargs], bool], ...] | None = gates if here else None
        self.exit: Callable[[Any], bool] | None = exits[0] if here and exits else None

    # ---- before the body ----

    def enter(self, call: Call) -> Opening | None:
        """`open`, of a `direct` plan: what is still to be driven; None: nothing, the call may go on."""
        group = self.groups[0]
        try:
            steps = [make(call.args, call.kwargs) for make in self.makers]
        except ToolGuardError:
            return self.open(call)
        verdict = (behind(group, steps) if self.lined else None) or group.store.admit(steps)
        try:
            if isinstance(verdict, Refused):
                return self.refused(call, steps, verdict)
            call.held.append(fast_new(Held, (group, group.store, steps, verdict.receipts)))
        except BaseException:
            self._lose(call, group, steps, verdict)
            raise
        return None

    def open(self, call: Call) -> Opening:
        """Ask everybody. None: the *call* may go on; an `Answer` takes its place.

        Raises:
            ToolGuardError: a guard refused. Whatever others had taken is given back; where it is interrupted, what is
                left of that is left to `take_back`.
        """
        blocked: _Blocked | None = None
        try:
            for part, watched in self.checks:
                yield from self._check(call, part, watched)
            for group in self.groups:
                asked, steps = self._steps(call, group)
                if steps:
                    yield from self._admit(call, asked, steps)
            if self.starters:
                start(call)
        except _Blocked as error:
            blocked = error
            yield from self.take_back(call)
        if blocked is not None:
            return self.refusal(blocked.part, blocked.answer)
        return None

    def refused(self, call: Call, steps: list[Step], verdict: Refused) -> Opening:
        """`open`, for a plan of one group that was asked already, and refused."""
        try:
            yield from self._admit(call, self.groups[0], steps, verdict)
            return None
        except _Blocked as error:
            blocked = error
        return self.refusal(blocked.part, blocked.answer)

    def refusal(self, part: Part[Any], answer: ToolGuardError | Answer) -> Answer:
        """What a refused call does, as the guard's `on_block` says; where the callers of a function wait for what it
        gives them, something to wait for."""
        said = self._refusal(part, answer)
        kind: type[Any] = type(said.value)  # pyright: ignore[reportUnknownVariableType]
        if self.awaits and not said.replayed and not hasattr(kind, "__await__"):
            return said._replace(value=_soon(said.value))
        return said

    def _refusal(self, part: Part[Any], answer: ToolGuardError | Answer) -> Answer:
        if isinstance(answer, Answer):
            if answer.blocked is not None:
                tell_blocked(self.target, part, answer.blocked)
            return answer
        self._blocked(part, answer)
        on_block = part.guard.on_block
        if on_block == "raise":
            raise answer
        return Answer(answer.to_prompt() if on_block == "return_prompt" else on_block(answer))

    def _blocked(self, part: Part[Any], error: ToolGuardError) -> None:
        if error.tool is None:
            error.tool = self.target.name
        if error.guard is None:
            error.guard = part.guard.kind
        tell_blocked(self.target, part, error)

    def _refuse_item(self, part: Part[Any], watched: bool, error: ToolGuardError) -> None:
        """`on_block` has no say: what a generator yielded so far was given out already."""
        if watched:
            tell_observed(self.target, part, error)
            return
        self._blocked(part, error)
        raise error

    def _check(self, call: Call, part: Part[Any], watched: bool) -> Asking:
        try:
            yield Ask(checked, achecked if part.acheck else None, (part, call))
        except ToolGuardError as error:
            if not watched:
                raise _Blocked(part, error) from None
            tell_observed(self.target, part, error)

    def _steps(self, call: Call, group: Group) -> tuple[Group, list[Step]]:
        """What to ask; who is only watched, and has nothing to ask of this call, is left out."""
        steps: list[Step] = []
        out: list[Part[Any]] = []
        for part in group.parts:
            assert part.step is not None
            try:
                steps.append(part.step(call.args, call.kwargs))
            except ToolGuardError as error:
                if not part.watched:
                    raise _Blocked(part, error) from None
                tell_observed(self.target, part, error)
                out.append(part)
            except Exception as error:
                if not part.watched:
                    raise
                tell_observed(self.target, part, unreadable(part, error))
                out.append(part)
        if out:
            kept = [(part, policy) for part, policy in zip(group.parts, group.on_error, strict=True) if part not in out]
            group = group._replace(parts=tuple(p for p, _ in kept), on_error=tuple(policy for _, policy in kept))
        return group, steps

    def _admit(self, call: Call, group: Group, steps: list[Step], verdict: Refused | None = None) -> Asking:
        began, resorted = monotonic(), False
        store: Store | None = group.store
        waiting: Waiting | None = None
        said: Admitted | Refused | None = None
        try:
            while True:
                answer: Admitted | Refused
                if verdict is None and self.lined and waiting is None:
                    verdict = behind(group, steps)
                if verdict is not None and settle():
                    verdict = None  # what stood in the way may be gone
                    continue
                if verdict is not None:
                    answer, verdict = verdict, None
                elif group.standby is None:
                    answer = said = group.store.admit(steps)
                else:
                    answer, store = yield Ask(group.standby.admit, group.standby.aadmit, (steps, group.on_error))
                if isinstance(answer, Admitted):
                    break
                if settle():
                    continue
                part, step = group.parts[answer.step], steps[answer.step]
                if part.recourse is not None and not resorted and store is not None:
                    resorted = True
                    resort = (call.args, call.kwargs, step, answer.refusal, store)
                    if (yield Ask(part.recourse, in_thread(part.recourse), resort)):
                        continue
                if waiting is not None and waiting.part is not part:
                    waiting.leave()  # in one line at a time: two calls in two lines could wait for each other
                    waiting = None
                if waiting is None:
                    waiting = Waiting(part, group.store, step, began, self.bound_s)
                if not (yield from waiting.again(answer.refusal)):
                    assert part.refuse is not None
                    raise _Blocked(part, part.refuse(step, waiting.refusal))
            call.held.append(Held(group, store, tuple(steps), answer.receipts))
        except (_Blocked, ActGuardError):
            raise
        except BaseException as interrupt:
            if not is_cancelled(interrupt):  # then it was seen to, where the store is asked
                self._lose(call, group, steps, said)
            raise
        finally:
            if waiting is not None:
                try:
                    waiting.leave()
                except BaseException:
                    waiting.leave()
                    raise
        for part, step, receipt in zip(group.parts, steps, answer.receipts, strict=True):
            if type(receipt) in REFUSALS and part.refuse is not None:
                would = part.refuse(step, cast("Refusal", receipt))
                error = would.blocked if isinstance(would, Answer) else would
                if error is not None:
                    tell_observed(self.target, part, error)

    def _lose(self, call: Call, group: Group, steps: Sequence[Step], verdict: Admitted | Refused | None) -> None:
        """An interrupt came before *verdict* was noted down in the call: what that gave is not to stay taken."""
        if call.held and call.held[-1].group is group:
            return
        if group.standby is not None:
            group.standby.finish_later(group.store, withdrawals(steps))  # whatever it said, if it said anything
        elif isinstance(verdict, Admitted):
            call.held.append(Held(group, group.store, steps, verdict.receipts))

    def take_back(self, call: Call) -> Asking:
        """The call is not made. Goes on where it was interrupted, if it is asked again."""
        while call.held:
            held = call.held[-1]
            if reports := taken_back(held):
                yield from self._tell_store(held, reports)
            call.held.pop()
        yield from undone(call.undos)

    # ---- after the body ----

    def close(self, call: Call, ending: Ending) -> Asking:
        """Write down how the body came out. What cannot be written now is written later: the result stands."""
        error = ending.error
        unmade = self.bound_s < inf and isinstance(error, ToolGuardError) and is_unstarted(error, self.target)
        for held, reports in call.reports(ending, unmade=unmade):
            yield from self._tell_store(held, reports)
        call.held.clear()
        if unmade:
            yield from undone(call.undos)

    def let_go(self, call: Call, error: BaseException) -> None:
        """An interrupt came when the body had begun, and before all were told how it came out: what others wait for is
        given back. Who has heard already, hears nothing new."""
        ending = Ending(None, error, True, 0.0)
        for held in call.held:
            reports = [
                report
                for part, step, receipt in zip(held.group.parts, held.steps, held.receipts, strict=True)
                if holds(receipt) and part.report and (report := part.report(step, receipt, ending)) is not None
            ]
            if held.group.standby is None:
                held.group.store.finish(reports)
            else:
                held.group.standby.finish_later(held.store, reports)
        call.held.clear()

    def abandon(self, call: Call, ending: Ending) -> None:
        """`close`, at a time that is nobody's: without waiting for anything."""
        for held, reports in call.reports(ending):
            if held.group.standby is None:
                held.group.store.finish(reports)
            else:
                held.group.standby.finish_later(held.store, reports)

    def tell(self, call: Call, ending: Ending) -> None:
        """`close`, of a `direct` plan."""
        steps, receipts = call.held[0].steps, call.held[0].receipts
        for index, report, quiet in self.tellers if ending.error is None else self.failing_tellers:
            receipt = receipts[index]
            if ending.error is None and type(ending.result) in quiet and receipt.quiet:
                continue
            if (told := report(steps[index], receipt, ending)) is not None and not self.finish(told):
                self.unwritten(self.groups[0].parts, told)
        call.held.clear()

    def _tell_store(self, held: Held, reports: list[Report]) -> Asking:
        standby = held.group.standby
        done: tuple[bool, ...]
        if standby is None:
            done = held.group.store.finish(reports)
        else:
            done = yield Ask(standby.finish, shielded(standby.afinish), (held.store, reports))
        if not all(done):
            for report, written in zip(reports, done, strict=False):
                if not written:
                    self.unwritten(held.group.parts, report)

    def unwritten(self, parts: Sequence[Part[Any]], report: Report) -> None:
        """*report* had no effect: somebody else holds what this call held."""
        for part in parts:
            if part.lost is not None and (error := part.lost(report)) is not None:
                tell_failed(self.target, part, error)

    def leave(self, args: Args, kwargs: Kwargs, result: Any) -> Asking:
        """*result* on its way out, past everybody who looks at it."""
        for part, watched, refuse in self.afters:
            try:
                result = yield Ask(part.after or only_async, part.aafter, (args, kwargs, result, refuse))
            except ToolGuardError as error:
                if not watched:
                    return self._refusal(part, error).value  # whoever waits is waiting already
                tell_observed(self.target, part, error)
        return result


async def _soon(value: Any) -> Any:
    return value
