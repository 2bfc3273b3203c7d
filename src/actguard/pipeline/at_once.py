"""Plans whose steps are all in a store of this process, which is what most guarded functions have: asked at once.

Of a step that is always the same but for its key, only the key is made; what is out of the ordinary goes on as any call
does, with whole steps.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

from actguard.pipeline.guard import Args, Ending, Kwargs, Part
from actguard.pipeline.waiting import ahead
from actguard.stores.protocol import Kind, Receipt, Refused, Report, Step, fast_new
from actguard.stores.store import Store

Tell = Callable[[Any, Any, Any, float], Report | None]
"""Tells the store of a success: of what was read, the receipt, the result, and the seconds it took. Gives what was
told and had no effect, if that was so."""


class Single(NamedTuple):
    """A part, and how its store is asked."""

    part: Part[Any]
    fixed: str | None
    """The key, if it is the same for every call; then nothing is read."""
    read: Callable[[Args, Kwargs], Any]
    """What varies from call to call: the key, or the whole step."""
    ask: Callable[[Any], Any]
    """Of what was read: the receipt, or the refusal; None instead of a receipt that is of no use."""
    step: Callable[[Any], Step]
    """What was read, as a step."""
    tell: Tell | None
    quiet: frozenset[type]
    """Results of these types are not told, if the receipt says that nobody wants to know."""
    usual: Receipt | None
    """The receipt that says so of every `PLAIN` result."""
    finish: Callable[[Report], bool]


@runtime_checkable
class AnswersAtOnce(Store, Protocol):
    """A store in this process, which can be asked and told one thing without more ado, and names who holds what."""

    def asker(self, kind: Kind) -> Callable[[Any], Any]: ...
    def key_asker(self, like: Step, *, receipts: bool) -> Callable[[str], Any]: ...
    def several_asker(
        self, like: Sequence[Kind | Step], *, receipts: Sequence[bool]
    ) -> Callable[[Sequence[Any]], list[Any] | Refused]: ...
    def done_teller(self, ttl_s: float, keep: Callable[[Any], Any], as_they_are: frozenset[type]) -> Tell: ...
    def finish_one(self, report: Report) -> bool: ...


def single(part: Part[Any], store: Store, lined: bool) -> Single | None:
    """*part*, alone in *store*; None, if that cannot be asked like this."""
    if not isinstance(store, AnswersAtOnce) or part.step is None or part.asks is None:
        return None
    if part.key is not None and part.like is not None and not lined:
        tell = _teller(part, store, part.step_at)
        ask = store.key_asker(part.like, receipts=tell is not None)
        return Single(part, part.fixed_key, part.key, ask, part.step_at, tell, part.quiet, part.usual, store.finish_one)
    ask_step = store.asker(part.asks)
    if lined:
        ask_step = _in_line(ask_step, store)
    tell = _teller(part, store, _itself)
    return Single(part, None, part.step, ask_step, _itself, tell, part.quiet, part.usual, store.finish_one)


class Several(NamedTuple):
    """Parts, and how their store is asked."""

    reads: tuple[Callable[[Args, Kwargs], Any], ...]
    """What varies from call to call, for each: the key, or the whole step."""
    ask: Callable[[Sequence[Any]], "list[Any] | Refused"]
    """Of what was read: the receipts (or None, as above), or the first refusal."""
    steps: tuple[Callable[[Any], Step], ...]
    """What was read, as steps."""
    tellers: tuple[tuple[int, Tell, frozenset[type]], ...]
    """Who has something to tell of a success: the place among the parts, what, and `Single.quiet`."""


def several(parts: Sequence[Part[Any]], store: Store) -> Several | None:
    """*parts*, all of them in *store*; None, if that cannot be asked like this."""
    if not isinstance(store, AnswersAtOnce):
        return None
    ways = [_way(part, store) for part in parts]
    tellers = [
        (index, way.tell, part.quiet)
        for index, (part, way) in enumerate(zip(parts, ways, strict=True))
        if way.tell is not None
    ]
    ask = store.several_asker([way.like for way in ways], receipts=[way.tell is not None for way in ways])
    return Several(tuple(way.read for way in ways), ask, tuple(way.step for way in ways), tuple(tellers))


class _Way(NamedTuple):
    """One part of `Several`."""

    like: Any
    read: Callable[[Args, Kwargs], Any]
    step: Callable[[Any], Step]
    tell: Tell | None


def _way(part: Part[Any], store: AnswersAtOnce) -> _Way:
    if part.key is not None and part.like is not None:
        return _Way(part.like, part.key, part.step_at, _teller(part, store, part.step_at))
    assert part.step is not None
    return _Way(part.asks, part.step, _itself, _teller(part, store, _itself))


def _teller(part: Part[Any], store: AnswersAtOnce, step_of: Callable[[Any], Step]) -> Tell | None:
    report, keep, finish = part.report, part.keep, store.finish_one
    if report is None or part.quiet_success:
        return None
    if keep is not None:
        return store.done_teller(part.keep_s, keep, part.kept_as_they_are)

    def tell(asked: Any, receipt: Any, result: Any, seconds: float) -> Report | None:
        told = report(step_of(asked), receipt, fast_new(Ending, (result, None, False, seconds, False)))
        return None if told is None or finish(told) else told

    return tell


def _in_line(ask: Callable[[Step], Any], store: Store) -> Callable[[Step], Any]:
    return lambda step: ahead(store, step) or ask(step)


def _itself(step: Step) -> Step:
    return step
