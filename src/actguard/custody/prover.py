"""What `prove` and `track` do on one tool: they look at a result on its way out, and tell the session.

On watch they tell it the same, and nobody is kept from anything: what rules that are in force ask for must be there.
"""

import functools
import logging
import types
from collections.abc import AsyncGenerator, Callable, Generator
from typing import TYPE_CHECKING, Any, cast

from actguard.context import current_frame
from actguard.custody import order_rules
from actguard.custody.extract import Found, Reader, plainly, records
from actguard.custody.guard import here, is_watched
from actguard.custody.kinds import HEAD, LASTING, RAN, UNTRUSTED
from actguard.custody.life import Life, aio
from actguard.custody.normalise import normaliser
from actguard.custody.paths import EACH
from actguard.custody.secret_rules import head_of
from actguard.custody.tee import atee, tee
from actguard.custody.trust import USER, level
from actguard.custody.values import Unfit, encode
from actguard.exceptions import GuardError, StoreUnavailableError, ToolGuardError
from actguard.pipeline import settings
from actguard.pipeline.guard import Args, Guard, Kwargs, Part, Refuse
from actguard.pipeline.target import Target
from actguard.stores.facts import UNLIMITED, Fact
from actguard.stores.keys import LONGEST

if TYPE_CHECKING:
    from actguard.custody.prove import Prove

_log = logging.getLogger("actguard")

_NOWHERE: Any = object()
"""A key that no result has."""


class Prover:
    """`prove` or `track` on one tool.

    Args:
        guard: which of the two.
        proves: it, if it is `prove`.
        untrusted: what the tool returns was written by others.
    """

    def __init__(self, guard: Guard, target: Target, *, proves: "Prove | None", untrusted: bool) -> None:
        self._guard = guard
        self._proves = proves
        self._target = target
        self._name = (proves.source if proves else None) or target.name
        self._reader = Reader(proves.extracts, normaliser(proves.normalize)) if proves else None
        self._watched = is_watched(guard)
        marks = (order_rules.ANY, target.name) if untrusted else ()
        self._taint = [Fact((UNTRUSTED, encode(tool)), LASTING, USER) for tool in marks]
        self._ran = Fact((RAN, encode(target.name)), LASTING, USER)
        self._rank = 0 if proves is None or callable(proves.trust) else level("trust", proves.trust)

    def part(self) -> Part[Any]:
        """The hooks."""
        taints = bool(self._taint) and self._target.kind in ("sync", "async")
        return Part(
            guard=self._guard,
            check=self._check,
            wrap=self._tainting if taints else None,
            watch=(lambda body, tell: self._tainting(body)) if taints else None,
            after=self._after,
            aafter=self._aafter,
            quick=self._is_open,
            quick_after=self._quickly(),
        )

    def _is_open(self, args: Args, kwargs: Kwargs) -> bool:
        life: Life | None = current_frame().session
        return life is not None and not life.ended

    def _quickly(self) -> Callable[[Any], bool] | None:
        """What proves nothing but mappings, lists and short values, in a store that is here, or says that it cannot."""
        proves, only = self._proves, None if self._reader is None else self._reader.only
        if proves is None or only is None or _has_extras(proves):
            return None
        (kind, path), ttl, most = only, proves.ttl, proves.max_items
        tool, rank, name, required = self._target.name, self._rank, self._name, order_rules.required
        field = path[0] if len(path) == 1 and path[0] != EACH else _NOWHERE

        def quickly(result: Any) -> bool:
            life: Life | None = current_frame().session
            if life is None or life.ended or (mint := life.mint) is None or tool in required:
                return False
            form: type[Any] = type(result)  # pyright: ignore[reportUnknownVariableType]
            value = result.get(field) if form is dict else None
            # One record, one id: as most reads are.
            if type(value) is str and len(value) <= LONGEST and value.isascii() and value.strip():
                mint(kind, ["s:" + value], ttl, rank, name)
                return True
            found: list[str] = []
            if not plainly(result, path, 0, found, most):
                return False
            if found:
                mint(kind, found, ttl, rank, name)
            return True

        return quickly

    def _check(self, args: Args, kwargs: Kwargs) -> None:
        here(self._guard.kind, self._target.name)

    def _tainting(self, body: Callable[..., Any]) -> Callable[..., Any]:
        """*body* in a session that is marked, whatever comes of it: an error message was written by others, too."""
        if self._target.kind == "async":

            @functools.wraps(body)
            async def arun(*args: Any, **kwargs: Any) -> Any:
                if (life := self._here()) is not None:
                    await self._amark(life)
                return await body(*args, **kwargs)

            return arun

        @functools.wraps(body)
        def run(*args: Any, **kwargs: Any) -> Any:
            if (life := self._here()) is not None:
                self._mark(life)
            return body(*args, **kwargs)

        return run

    def _here(self) -> Life | None:
        """The session; None: there is none, which the check has told of on watch, and refused otherwise."""
        if self._watched and not self._is_open((), {}):
            return None
        return here(self._guard.kind, self._target.name)

    def _mark(self, life: Life) -> None:
        """Mark the session, if what the tool returns is untrusted."""
        if self._taint:
            try:
                life.store.facts_put(life.key, self._taint)
                life.marked.add(self._target.name)
            except StoreUnavailableError as error:
                self._unmarked(error)

    async def _amark(self, life: Life) -> None:
        if self._taint:
            try:
                await aio(life.store, "facts_put", life.key, self._taint)
                life.marked.add(self._target.name)
            except StoreUnavailableError as error:
                self._unmarked(error)

    def _unmarked(self, error: StoreUnavailableError) -> None:
        """A mark that is missing lets later writes pass, unlike a fact that is: only "open" goes on without it."""
        if not self._watched and (self._guard.on_store_error or settings.current().on_store_error) != "open":
            raise error
        _log.warning("The session is not marked as having read what %s returns: %s", self._target.name, error)

    def _after(self, args: Args, kwargs: Kwargs, result: Any, refuse: Refuse) -> Any:
        if (life := self._here()) is None:
            return result
        if type(result) is types.GeneratorType:
            self._mark(life)
            return self._tee(life, cast("Generator[Any, Any, Any]", result), _once(refuse))
        if self._taint and self._target.name not in life.marked:
            self._mark(life)  # of a result that is given out again, nothing was run
        facts, error = self._prove(result)
        self._put(life, facts)
        if error is not None:
            raise error
        return result

    async def _aafter(self, args: Args, kwargs: Kwargs, result: Any, refuse: Refuse) -> Any:
        if (life := self._here()) is None:
            return result
        if type(result) is types.AsyncGeneratorType:
            return self._atee(life, cast("AsyncGenerator[Any, Any]", result), _once(refuse))
        if self._taint and self._target.name not in life.marked:
            await self._amark(life)
        facts, error = self._prove(result)
        await self._aput(life, facts)
        if error is not None:
            raise error
        return result

    def _prove(self, result: Any, seen: dict[str, int] | None = None) -> tuple[list[Fact], GuardError | None]:
        """The facts that *result* proves, and what is wrong with it. *seen*: values so far, of a generator's items."""
        marks = self._finished() if seen is None else []
        guard = self._proves
        if guard is None or self._reader is None:
            return marks, None
        try:
            if guard.when is not None and not guard.when(result):
                return marks, None
            found, too_many = self._found(guard, self._reader, result, seen)
            facts = self._facts(guard, found)
        except Exception as error:  # noqa: BLE001 - whatever stops the look: the read has happened, and its result is kept
            if guard.on_error == "skip":
                return marks, None
            why = str(error) if isinstance(error, Unfit) else type(error).__name__
            failed = GuardError(
                f"{self._target.name} was run, but what it proves could not be read from its result: {why}",
                "EXTRACT_FAILED",
                "extract",
                {"kinds": list(self._reader.kinds)},
                result=result,
            )
            failed.__cause__ = None if isinstance(error, Unfit) else error
            return marks, failed
        if not too_many:
            return marks + facts, None
        if guard.on_too_many == "skip":
            return marks, None
        return marks, GuardError(
            f"{self._target.name} was run, but returned more than {guard.max_items} items, and none of them is proved",
            "TOO_MANY_RESULTS",
            "too_many",
            {"max_items": guard.max_items, "kinds": list(self._reader.kinds)},
            fix_hint="Ask for fewer, with a narrower search.",
            result=result,
        )

    def _found(
        self, guard: "Prove", reader: Reader, result: Any, seen: dict[str, int] | None
    ) -> tuple[list[Found], bool]:
        """Values up to the limit of each kind, and whether there were more, where that matters."""
        counts: dict[str, int] = {} if seen is None else seen
        found: list[Found] = []
        for each in reader.read(result, most=guard.max_items, item=seen is not None):
            count = counts.get(each.kind, 0) + 1
            if count > guard.max_items:
                if guard.on_too_many != "truncate":
                    return [], True
                continue
            counts[each.kind] = count
            found.append(each)
        return found, False

    def _facts(self, guard: "Prove", found: list[Found]) -> list[Fact]:
        together = records(found, self._name) if len(guard.extracts) > 1 else {}
        uses = UNLIMITED if guard.max_uses is None else guard.max_uses
        facts: list[Fact] = []
        for kind, value, encoded, place in found:
            rank = level("trust", guard.trust(value)) if callable(guard.trust) else self._rank
            facts.append(Fact((kind, encoded), guard.ttl, rank, self._name, together.get(place, ()), uses))
            if type(value) is str and len(value) > LONGEST:
                facts.append(Fact((kind + HEAD, encode(head_of(value))), guard.ttl, 0, self._name))
        return facts

    def _tee(self, life: Life, source: Generator[Any, Any, Any], refuse: Refuse) -> Generator[Any, Any, Any]:
        seen: dict[str, int] = {}

        def take(item: Any) -> None:
            facts, error = self._prove(item, seen)
            self._put(life, facts)
            if error is not None:
                refuse(error)

        return tee(source, take, lambda: self._put(life, self._finished()))

    def _atee(self, life: Life, source: AsyncGenerator[Any, Any], refuse: Refuse) -> AsyncGenerator[Any, Any]:
        seen: dict[str, int] = {}

        async def take(item: Any) -> None:
            facts, error = self._prove(item, seen)
            await self._aput(life, facts)
            if error is not None:
                refuse(error)

        return atee(source, lambda: self._amark(life), take, lambda: self._aput(life, self._finished()))

    def _finished(self) -> list[Fact]:
        """That the tool ran, if anybody asks for it."""
        return [self._ran] if self._proves is None or self._target.name in order_rules.required else []

    def _put(self, life: Life, facts: list[Fact]) -> None:
        if facts:
            try:
                life.store.facts_put(life.key, facts)
            except StoreUnavailableError as error:
                self._without_store(error)

    async def _aput(self, life: Life, facts: list[Fact]) -> None:
        if facts:
            try:
                await aio(life.store, "facts_put", life.key, facts)
            except StoreUnavailableError as error:
                self._without_store(error)

    def _without_store(self, error: StoreUnavailableError) -> None:
        """A read that is not proved refuses nobody but later writes: the result goes on its way, with a warning."""
        if not self._watched and (self._guard.on_store_error or settings.current().on_store_error) == "closed":
            raise error
        _log.warning("What %s returned proves nothing: %s", self._target.name, error)


def _once(refuse: Refuse) -> Refuse:
    """*refuse*, for the first item only: on watch a generator goes on behind it, and is told of once."""
    told = False

    def first(error: ToolGuardError) -> None:
        nonlocal told
        if not told:
            told = True
            refuse(error)

    return first


def _has_extras(guard: "Prove") -> bool:
    """Whether there is more to its facts than kind, path and time."""
    extras = (guard.when, guard.normalize, guard.max_uses)
    return callable(guard.trust) or guard.trust == "text" or any(extra is not None for extra in extras)
