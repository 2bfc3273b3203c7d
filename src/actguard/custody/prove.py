"""`prove`: what a read returns may be used, by whoever asks for it with `RequireFact`.

The result goes to the caller as it is. It is looked through after the call; of a generator, item by item, before each
is handed on. What cannot be looked through, or is too much, is an error that carries the result: the read has happened.
"""

import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeVar, get_args, overload

from actguard.custody.extract import Extract, Reader, extracts_of
from actguard.custody.guard import known_options
from actguard.custody.normalise import Normaliser, normaliser
from actguard.custody.prover import Prover
from actguard.custody.trust import Trust, level
from actguard.exceptions import ActGuardUsageError
from actguard.pipeline.decorate import Decorator
from actguard.pipeline.guard import Guard, Part, called, choice, positive, whole
from actguard.pipeline.target import Target

F = TypeVar("F")

OnTooMany = Literal["block", "truncate", "skip"]
OnError = Literal["raise", "skip"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prove(Decorator):
    """What a tool's results prove; see `prove`."""

    kind: ClassVar[str] = "prove"

    extracts: Mapping[str, Extract]
    ttl: float
    max_items: int
    on_too_many: OnTooMany
    on_error: OnError
    trust: Trust | Callable[[Any], Trust]
    when: Callable[[Any], Any] | None
    normalize: str | Normaliser | None
    source: str | None
    max_uses: int | None

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
        return Prover(self, target, proves=self, untrusted=self.trust == "text").part()

    def explain(self) -> str:
        return ", ".join(
            f"{kind} = {extract if isinstance(extract, str) else 'f(...)'}" for kind, extract in self.extracts.items()
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Track(Decorator):
    """Remember in the session that a tool ran; see `track`."""

    kind: ClassVar[str] = "prove"

    untrusted: bool

    def bind(self, target: Target) -> Part[Any]:
        return Prover(self, target, proves=None, untrusted=self.untrusted).part()

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
            marks the session, see `NotAfter`), "user"; or a function of each value, which marks nothing.
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


@overload
def track(function: F, /, *, untrusted: bool = False, **options: Any) -> F: ...
@overload
def track(*, untrusted: bool = False, **options: Any) -> Track: ...
def track(function: Any = None, /, *, untrusted: bool = False, **options: Any) -> Any:
    """Remember in the session that the tool ran, for `RequireTool`; and, if what it returns was written by others, for
    `NotAfter`.

    Args:
        function: the tool, where this is written without parentheses.
        untrusted: its results come from outside.
        options: as every guard has them.
    """
    known_options("track", options)
    if not isinstance(untrusted, bool):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ActGuardUsageError(f"untrusted must be True or False, not {untrusted!r}", argument="untrusted")
    guard = Track(untrusted=untrusted, **options)
    return guard if function is None else guard(function)
