"""`enforce`: no call without what its rules ask for.

Every rule is asked, in the order in which they stand. What they need to know goes to the store in one request, which
grants and charges all of it or nothing; the first denial is raised, all of them are in its `details`.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from actguard.context import current_frame
from actguard.custody.custom import as_rule
from actguard.custody.fact_rules import RequireFact
from actguard.custody.guard import here, is_watched, known_options
from actguard.custody.life import Life, aio
from actguard.custody.rule import Answer, Call, Denial, Question, Rule, Shape, invalid
from actguard.custody.values import Unfit, encode
from actguard.exceptions import ActGuardUsageError, GuardError, StoreUnavailableError
from actguard.pipeline import settings
from actguard.pipeline.arguments import Getter, position
from actguard.pipeline.decorate import Decorator
from actguard.pipeline.guard import Args, Kwargs, Part, Undo
from actguard.pipeline.target import Target
from actguard.stores.facts import Known, Need, Receipt, Spend, Verdict
from actguard.stores.keys import LONGEST

_log = logging.getLogger("actguard")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Enforce(Decorator):
    """Rules that a call must meet.

    Args:
        rules: in the order in which they are asked.
    """

    kind: ClassVar[str] = "enforce"

    rules: tuple[Rule, ...]

    def bind(self, target: Target) -> Part[Any]:
        shape = Shape(target)
        shape.rules = self.rules
        for rule in self.rules:
            rule.validate(shape)
        judge = _Judge(self, shape)
        return Part(guard=self, check=judge.check, acheck=judge.acheck, quick=judge.quick())

    def explain(self) -> str:
        return ", ".join(map(repr, self.rules))


def enforce(rules: Sequence[Rule | Any], **options: Any) -> Enforce:
    """Let a tool be called only with what its rules allow; needs a session.

    Args:
        rules: `RequireFact`, `Threshold`, `BlockRegex` and their kin, or rules of your own.
        options: `mode`, `on_block`, `on_store_error` ("open" or "closed"), as every guard has them.

    Raises:
        ActGuardUsageError: there are no rules, something is none, or an option does not fit.
    """
    if not isinstance(rules, list | tuple) or not rules:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ActGuardUsageError(f"rules must be a list of rules, with one at least, not {rules!r}", argument="rules")
    known_options("enforce", options)
    return Enforce(rules=tuple(as_rule(rule) for rule in rules), **options)


class _View:
    """The session, as rules see it."""

    __slots__ = ("_fetched", "_life", "said_by_user")

    def __init__(self, life: Life, fetched: Sequence[Known] | None = None) -> None:
        self._life = life
        self._fetched = fetched
        self.said_by_user = life.said_by_user

    def known(self, kinds: Sequence[str] = ()) -> Sequence[Known]:
        if self._fetched is None:
            return self._life.store.facts_list(self._life.key, kinds)
        return [fact for fact in self._fetched if not kinds or fact.key[0] in kinds]


class _Judge:
    """The rules of one tool."""

    def __init__(self, guard: Enforce, shape: Shape) -> None:
        self._guard = guard
        self._shape = shape
        self._rules = guard.rules
        self._watched = is_watched(guard)
        listed = {kind for rule in self._rules for kind in rule.lists}
        self._lists = () if "*" in listed else tuple(sorted(listed))
        self._fetches = bool(listed)

    def check(self, args: Args, kwargs: Kwargs) -> Undo | None:
        life = here("enforce", self._shape.name)
        try:
            call = Call(self._shape, args, kwargs, _View(life))
            asked = self._ask(call)
            needs, spends, commit = _together(asked)
            verdict = life.store.facts_check(life.key, needs, spends, commit=commit) if needs or spends else None
        except StoreUnavailableError as error:
            self._without_store(error)
            return None
        try:
            self._decide(call, asked, verdict)
            receipt = _charged(verdict)
            return None if receipt is None else lambda: life.store.facts_give_back(life.key, receipt)
        except BaseException:  # an interrupt, say
            if (charged := _charged(verdict)) is not None:
                life.store.facts_give_back(life.key, charged)
            raise

    async def acheck(self, args: Args, kwargs: Kwargs) -> Undo | None:
        life = here("enforce", self._shape.name)
        try:
            fetched = await aio(life.store, "facts_list", life.key, self._lists) if self._fetches else None
            call = Call(self._shape, args, kwargs, _View(life, fetched))
            asked = self._ask(call)
            needs, spends, commit = _together(asked)
            verdict = await _acheck(life, needs, spends, commit) if needs or spends else None
        except StoreUnavailableError as error:
            self._without_store(error)
            return None
        self._decide(call, asked, verdict)
        receipt = _charged(verdict)
        return None if receipt is None else lambda: aio(life.store, "facts_give_back", life.key, receipt)

    def quick(self) -> Callable[[Args, Kwargs], bool] | None:
        """What gives the yes of plain rules: each asks for one fact, and the store, which is here, has them all."""
        plain = [rule for rule in self._rules if isinstance(rule, RequireFact) and rule.plain]
        if len(plain) < len(self._rules):
            return None
        needs = [_need(self._shape, rule) for rule in plain]
        return _holds_one(*needs[0]) if len(needs) == 1 else _holds_all(needs)

    def _ask(self, call: Call) -> list[Denial | Question | None]:
        asked: list[Denial | Question | None] = []
        for rule in self._rules:
            try:
                asked.append(rule.ask(call))
            except StoreUnavailableError:
                raise
            except Exception as error:  # noqa: BLE001 - a value that fights back, or a rule that breaks: a no, not a crash
                why = str(error) if isinstance(error, Unfit) else type(error).__name__
                denial = invalid(getattr(rule, "arg", None), f"could not be checked ({why})")
                asked.append(denial._replace(reason="unreadable"))
        return asked

    def _decide(self, call: Call, asked: Sequence[Denial | Question | None], verdict: Verdict | None) -> None:
        denials: list[tuple[Rule, Denial]] = []
        needs, spends = 0, 0
        for rule, said in zip(self._rules, asked, strict=True):
            if isinstance(said, Question) and verdict is not None:
                answer = Answer(
                    verdict.needs[needs : needs + len(said.needs)], verdict.spends[spends : spends + len(said.spends)]
                )
                needs += len(said.needs)
                spends += len(said.spends)
                said = rule.judge(call, answer)
            if isinstance(said, Denial):
                denials.append((rule, said))
        if denials:
            raise _error(denials)
        if verdict is not None and verdict.receipt is None:
            raise GuardError(f"{call.shape.name} asks for more than the session grants at once", reason="together")

    def _without_store(self, error: StoreUnavailableError) -> None:
        if not self._watched and (self._guard.on_store_error or settings.current().on_store_error) != "open":
            raise error
        _log.warning("%s was called unguarded: %s", self._shape.name, error)


_Plain = tuple[int, str, Any, Getter, str, int]


def _need(shape: Shape, rule: RequireFact) -> _Plain:
    """What a plain rule needs: where its argument stands (-1: in no plain parameter), what gets it, kind and trust."""
    place, name, default = position(shape.target, rule.arg) or (-1, "", None)
    return place, name, default, shape.getters[rule.arg], rule.kind, rule.rank


def _holds_one(
    index: int, name: str, default: Any, get: Getter, kind: str, rank: int
) -> Callable[[Args, Kwargs], bool]:
    """`_holds_all`, where one rule is all there is, as in most tools."""

    def holds(args: Args, kwargs: Kwargs) -> bool:
        life: Life | None = current_frame().session
        if life is None or life.ended or (hold := life.hold) is None:
            return False
        try:
            value = get(args, kwargs) if index < 0 else args[index] if len(args) > index else kwargs.get(name, default)
        except Exception:  # noqa: BLE001 - it is looked at with more care, and then refused
            return False
        if type(value) is str:
            return len(value) <= LONGEST and hold((kind, "s:" + value), rank)
        return type(value) is int and hold((kind, encode(value)), rank)

    return holds


def _holds_all(needs: Sequence[_Plain]) -> Callable[[Args, Kwargs], bool]:
    """What says whether the session has all that plain rules need, as far as that can be said at once."""

    def holds(args: Args, kwargs: Kwargs) -> bool:
        life: Life | None = current_frame().session
        if life is None or life.ended or (hold := life.hold) is None:
            return False
        for index, name, default, get, kind, rank in needs:
            try:
                value = (
                    get(args, kwargs) if index < 0 else args[index] if len(args) > index else kwargs.get(name, default)
                )
            except Exception:  # noqa: BLE001 - as above
                return False
            if type(value) is str:
                if len(value) > LONGEST or not hold((kind, "s:" + value), rank):
                    return False
            elif type(value) is not int or not hold((kind, encode(value)), rank):
                return False
        return True

    return holds


def _together(asked: Iterable[Denial | Question | None]) -> tuple[list[Need], list[Spend], bool]:
    needs: list[Need] = []
    spends: list[Spend] = []
    commit = True
    groups = 0
    for said in asked:
        if isinstance(said, Denial):
            commit = False
        elif said is not None:
            grouped = [need if need.group is None else need._replace(group=need.group + groups) for need in said.needs]
            groups += any(need.group is not None for need in said.needs)
            needs += grouped
            spends += said.spends
    return needs, spends, commit


async def _acheck(life: Life, needs: Sequence[Need], spends: Sequence[Spend], commit: bool) -> Verdict:
    store: Any = life.store
    aio: Any = getattr(store, "aio", None)
    verdict: Verdict
    if aio is not None:
        verdict = await aio.facts_check(life.key, needs, spends, commit=commit)
    elif getattr(store, "blocking", False):
        import asyncio

        verdict = await asyncio.to_thread(store.facts_check, life.key, needs, spends, commit=commit)
    else:
        verdict = store.facts_check(life.key, needs, spends, commit=commit)
    return verdict


def _charged(verdict: Verdict | None) -> Receipt | None:
    receipt = None if verdict is None else verdict.receipt
    return receipt if receipt is not None and (receipt.charges or receipt.spends) else None


def _error(denials: Sequence[tuple[Rule, Denial]]) -> GuardError:
    _, first = denials[0]
    told: list[Mapping[str, Any]] = [
        {
            "rule": type(rule).__name__,
            "code": denial.code,
            "argument": denial.argument,
            "reason": denial.reason,
            "message": denial.message,
            **denial.facts,
        }
        for rule, denial in denials
    ]
    return GuardError(f"{first.message}.", first.code, first.reason, {**told[0], "denials": told}, fix_hint=first.hint)
