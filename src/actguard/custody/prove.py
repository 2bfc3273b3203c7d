"""`prove`: what a read returns may be used, by whoever asks for it with `RequireFact`.

The result goes to the caller as it is. It is looked through after the call; of a generator, item by item, before each
is handed on. What cannot be looked through, or is too much, is an error that carries the result: the read has happened.
"""

import functools
import logging
import types
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, cast, get_args

from actguard.context import current_frame
from actguard.custody import order_rules
from actguard.custody.extract import Extract, Found, Reader, extracts_of, plainly, records
from actguard.custody.guard import here, known_options
from actguard.custody.kinds import HEAD, LASTING, RAN, UNTRUSTED
from actguard.custody.life import Life, aio
from actguard.custody.normalise import Normaliser, normaliser
from actguard.custody.paths import EACH
from actguard.custody.secret_rules import head_of
from actguard.custody.tee import atee, tee
from actguard.custody.trust import Trust, level
from actguard.custody.values import Unfit, encode
from actguard.exceptions import ActGuardUsageError, GuardError, StoreUnavailableError
from actguard.pipeline import settings
from actguard.pipeline.decorate import Decorator
from actguard.pipeline.guard import Args, Guard, Kwargs, Part, called, choice, positive, whole
from actguard.pipeline.target import Target
from actguard.stores.facts import UNLIMITED, Fact
from actguard.stores.keys import LONGEST

OnTooMany = Literal["block", "truncate", "skip"]
OnError = Literal["raise", "skip"]

_log = logging.getLogger("actguard")

_NOWHERE: Any = object()
"""A key that no result has."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prove(Decorator):
    """What a tool's results prove; see `prove`."""

    kind: ClassVar[str] = "prove"

    extracts: Mapping[str, Extract] = field(default_factory=dict[str, Extract])
    ttl: float = 300.0
    max_items: int = 200
    on_too_many: OnTooMany = "block"
    on_error: OnError = "raise"
    trust: Trust | Callable[[Any], Trust] = "field"
    when: Callable[[Any], Any] | None = None
    normalize: str | Normaliser | None = None
    source: str | None = None
    max_uses: int | None = None

    def __post_init__(self) -> None:
        Guard.__post_init__(self)
        positive("ttl", self.ttl)
        whole("max_items", self.max_items)
        choice("on_too_many", self.on_too_many, get_args(OnTooMany))
        choice("on_error", self.on_error, get_args(OnError))
        if callable(self.trust):
            called("trust", self.trust)
        else:
            level("trust", self.trust)
        if self.when is not None:
            called("when", self.when)
        if self.source is not None and (not isinstance(self.source, str) or not self.source):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ActGuardUsageError(f"source must be a name, not {self.source!r}", argument="source")
        if self.max_uses is not None:
            whole("max_uses", self.max_uses)
        Reader(self.extracts, normaliser(self.normalize))

    def bind(self, target: Target) -> Part[Any]:
        return _Prover(self, target).part()

    def explain(self) -> str:
        return ", ".join(
            f"{kind} = {extract if isinstance(extract, str) else 'f(...)'}" for kind, extract in self.extracts.items()
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Track(Decorator):
    """Remember in the session that a tool ran; see `track`."""

    kind: ClassVar[str] = "prove"

    untrusted: bool = False

    def bind(self, target: Target) -> Part[Any]:
        return _Prover(self, target).part()

    def explain(self) -> str:
        return "track, untrusted" if self.untrusted else "track"


def prove(
    kind: str | Mapping[str, Extract],
    extract: Extract | None = None,
    ttl: float = 300,
    max_items: int = 200,
    on_too_many: OnTooMany = "block",
    *,
    on_error: OnError = "raise",
    trust: Trust | Callable[[Any], Trust] = "field",
    when: Callable[[Any], Any] | None = None,
    normalize: str | Normaliser | None = None,
    source: str | None = None,
    max_uses: int | None = None,
    **options: Any,
) -> Prove:
    """What the tool returns becomes facts of the session that it is called in; needs one.

    Args:
        kind: the kind of fact; or a mapping of several kinds to where each stands, which then know of each other's
            records (`SameRecord`).
        extract: where the values stand: `id`, `order.id`, `items[].id`, `[]`, `.`; or a function of the result.
        ttl: seconds that the facts live.
        max_items: values of one kind in one result.
        on_too_many: with more of them, "block" raises, "truncate" takes the first ones, "skip" takes none.
        on_error: with a result that is not as *extract* says, "raise", or "skip": nothing is proved.
        trust: "field" for what the system behind the tool says, "text" for what others may have written (which also
            marks the session, see `NotAfter`), "user"; or a function of each value.
        when: of the result: whether it proves anything.
        normalize: how spellings are evened out; the same as in `RequireFact`.
        source: the name of the tool, if it is to be another.
        max_uses: calls that may use a fact.
        options: `mode`, `on_block`, `on_store_error` ("open" or "closed"), as every guard has them.

    Raises:
        ActGuardUsageError: an argument does not fit.
    """
    known_options("prove", options)
    return Prove(
        extracts=types.MappingProxyType(extracts_of(kind, extract)),
        ttl=ttl,
        max_items=max_items,
        on_too_many=on_too_many,
        on_error=on_error,
        trust=trust,
        when=when,
        normalize=normalize,
        source=source,
        max_uses=max_uses,
        **options,
    )


def track(*, untrusted: bool = False, **options: Any) -> Track:
    """Remember in the session that the tool ran, for `RequireTool`; and, if what it returns was written by others, for
    `NotAfter`.

    Args:
        untrusted: its results come from outside.
        options: as every guard has them.
    """
    known_options("track", options)
    if not isinstance(untrusted, bool):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ActGuardUsageError(f"untrusted must be True or False, not {untrusted!r}", argument="untrusted")
    return Track(untrusted=untrusted, **options)


def _has_extras(guard: Prove) -> bool:
    """Whether there is more to its facts than kind, path and time."""
    extras = (guard.when, guard.normalize, guard.max_uses)
    return callable(guard.trust) or guard.trust == "text" or any(extra is not None for extra in extras)


class _Prover:
    """`prove` or `track` on one tool."""

    def __init__(self, guard: Prove | Track, target: Target) -> None:
        self._guard = guard
        self._target = target
        self._name = (guard.source if isinstance(guard, Prove) else None) or target.name
        self._reader = Reader(guard.extracts, normaliser(guard.normalize)) if isinstance(guard, Prove) else None
        untrusted = guard.untrusted if isinstance(guard, Track) else guard.trust == "text"
        self._taint = (
            [
                Fact((UNTRUSTED, encode(tool)), LASTING, level("trust", "user"))
                for tool in (order_rules.ANY, target.name)
            ]
            if untrusted
            else []
        )
        self._ran = Fact((RAN, encode(target.name)), LASTING, level("trust", "user"))
        self._marks = isinstance(guard, Track)
        self._rank = 0 if isinstance(guard, Track) or callable(guard.trust) else level("trust", guard.trust)

    def part(self) -> Part[Any]:
        """The hooks."""
        return Part(
            guard=self._guard,
            check=self._check,
            wrap=self._tainting if self._taint and self._target.kind in ("sync", "async") else None,
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
        guard, only = self._guard, None if self._reader is None else self._reader.only
        if not isinstance(guard, Prove) or only is None or _has_extras(guard):
            return None
        (kind, path), ttl, most = only, guard.ttl, guard.max_items
        tool, rank, name, required = self._target.name, self._rank, self._name, order_rules.required
        field = path[0] if len(path) == 1 and path[0] != EACH else _NOWHERE

        def proves(result: Any) -> bool:
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

        return proves

    def _check(self, args: Args, kwargs: Kwargs) -> None:
        here(self._guard.kind, self._target.name)

    def _tainting(self, body: Callable[..., Any]) -> Callable[..., Any]:
        """*body* in a session that is marked, whatever comes of it: an error message was written by others, too."""
        if self._target.kind == "async":

            @functools.wraps(body)
            async def arun(*args: Any, **kwargs: Any) -> Any:
                life = here(self._guard.kind, self._target.name)
                await self._amark(life)
                return await body(*args, **kwargs)

            return arun

        @functools.wraps(body)
        def run(*args: Any, **kwargs: Any) -> Any:
            life = here(self._guard.kind, self._target.name)
            self._mark(life)
            return body(*args, **kwargs)

        return run

    def _mark(self, life: Life) -> None:
        """Mark the session, if what the tool returns is untrusted."""
        if self._taint:
            try:
                life.store.facts_put(life.key, self._taint)
            except StoreUnavailableError as error:
                self._unmarked(error)

    async def _amark(self, life: Life) -> None:
        if self._taint:
            try:
                await aio(life.store, "facts_put", life.key, self._taint)
            except StoreUnavailableError as error:
                self._unmarked(error)

    def _unmarked(self, error: StoreUnavailableError) -> None:
        """A mark that is missing lets later writes pass, unlike a fact that is: only "open" goes on without it."""
        if (self._guard.on_store_error or settings.current().on_store_error) != "open":
            raise error
        _log.warning("The session is not marked as having read what %s returns: %s", self._target.name, error)

    def _after(self, args: Args, kwargs: Kwargs, result: Any) -> Any:
        life = here(self._guard.kind, self._target.name)
        if type(result) is types.GeneratorType:
            self._mark(life)
            return self._tee(life, cast("Generator[Any, Any, Any]", result))
        facts, error = self._prove(result)
        self._put(life, facts)
        if error is not None:
            raise error
        return result

    async def _aafter(self, args: Args, kwargs: Kwargs, result: Any) -> Any:
        life = here(self._guard.kind, self._target.name)
        if type(result) is types.AsyncGeneratorType:
            return self._atee(life, cast("AsyncGenerator[Any, Any]", result))
        facts, error = self._prove(result)
        await self._aput(life, facts)
        if error is not None:
            raise error
        return result

    def _prove(self, result: Any, seen: dict[str, int] | None = None) -> tuple[list[Fact], GuardError | None]:
        """The facts that *result* proves, and what is wrong with it. *seen*: values so far, of a generator's items."""
        marks = [self._ran] if seen is None and (self._marks or self._target.name in order_rules.required) else []
        guard = self._guard
        if not isinstance(guard, Prove) or self._reader is None:
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
        if guard.on_too_many == "truncate":
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
        self, guard: Prove, reader: Reader, result: Any, seen: dict[str, int] | None
    ) -> tuple[list[Found], bool]:
        """Values up to the limit of each kind, and whether there were more."""
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

    def _facts(self, guard: Prove, found: list[Found]) -> list[Fact]:
        together = records(found, self._name) if len(guard.extracts) > 1 else {}
        uses = UNLIMITED if guard.max_uses is None else guard.max_uses
        fixed = None if callable(guard.trust) else level("trust", guard.trust)
        facts: list[Fact] = []
        for kind, value, encoded, place in found:
            rank = fixed if fixed is not None else level("trust", guard.trust(value))  # type: ignore[operator]
            facts.append(Fact((kind, encoded), guard.ttl, rank, self._name, together.get(place, ()), uses))
            if type(value) is str and len(value) > LONGEST:
                facts.append(Fact((kind + HEAD, encode(head_of(value))), guard.ttl, 0, self._name))
        return facts

    def _tee(self, life: Life, source: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        seen: dict[str, int] = {}

        def take(item: Any) -> None:
            facts, error = self._prove(item, seen)
            self._put(life, facts)
            if error is not None:
                raise error

        return tee(source, take, lambda: self._put(life, self._finished()))

    def _atee(self, life: Life, source: AsyncGenerator[Any, Any]) -> AsyncGenerator[Any, Any]:
        seen: dict[str, int] = {}

        async def take(item: Any) -> None:
            facts, error = self._prove(item, seen)
            await self._aput(life, facts)
            if error is not None:
                raise error

        return atee(source, lambda: self._amark(life), take, lambda: self._aput(life, self._finished()))

    def _finished(self) -> list[Fact]:
        return [self._ran] if self._marks or self._target.name in order_rules.required else []

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
        if (self._guard.on_store_error or settings.current().on_store_error) == "closed":
            raise error
        _log.warning("What %s returned proves nothing: %s", self._target.name, error)
