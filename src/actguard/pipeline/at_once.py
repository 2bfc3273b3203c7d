"""Plans whose steps are all in a store of this process, which is what most guarded functions have: asked at once.

Of a step that is always the same but for its key, only the key is made; what is out of the ordinary goes on as any call
does, with whole steps.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

from actguard.pipeline.guard import Args, Ending, Kwargs, Part
from actguard.pipeline.waiting import ahead
from actguard.stores.protocol import Kind, Receipt, Refused, Report, Step, Store


class Single(NamedTuple):
    """A part, and how its store is asked."""

    part: Part[Any]
    read: Callable[[Args, Kwargs], Any]
    """What varies from call to call: the key, or the whole step."""
    ask: Callable[[Any], Any]
    """Of what was read: the receipt, or the refusal; None instead of a receipt that is of no use."""
    step: Callable[[Any], Step]
    """What was read, as a step."""
    report: Callable[[Step, Receipt, Ending], Report | None] | None
    """After a success."""
    quiet: bool
    """Not after one whose receipt says that nobody wants to know."""
    finish: Callable[[Report], bool]


@runtime_checkable
class AnswersAtOnce(Store, Protocol):
    """A store in this process, which can be asked one thing without more ado."""

    def asker(self, kind: Kind) -> Callable[[Any], Any]: ...
    def key_asker(self, like: Step, *, receipts: bool) -> Callable[[str], Any]: ...
    def several_asker(self, like: Sequence[Kind | Step]) -> Callable[[Sequence[Any]], list[Any] | Refused]: ...
    def finish_one(self, report: Report) -> bool: ...


def single(part: Part[Any], store: Store, lined: bool) -> Single | None:
    """*part*, alone in *store*; None, if that cannot be asked like this."""
    if not isinstance(store, AnswersAtOnce) or part.step is None or part.asks is None:
        return None
    report = None if part.quiet_success else part.report
    if part.key is not None and part.like is not None and not lined:
        ask = store.key_asker(part.like, receipts=report is not None)
        return Single(part, part.key, ask, part.step_at, report, part.quiet, store.finish_one)
    ask_step = store.asker(part.asks)
    if lined:
        ask_step = _in_line(ask_step, store)
    return Single(part, part.step, ask_step, _itself, report, part.quiet, store.finish_one)


class Several(NamedTuple):
    """Parts, and how their store is asked."""

    reads: tuple[Callable[[Args, Kwargs], Any], ...]
    """What varies from call to call, for each: the key, or the whole step."""
    ask: Callable[[Sequence[Any]], "list[Any] | Refused"]
    """Of what was read: the receipts, or the first refusal."""
    steps: tuple[Callable[[Any], Step], ...]
    """What was read, as steps."""


def several(parts: Sequence[Part[Any]], store: Store) -> Several | None:
    """*parts*, all of them in *store*; None, if that cannot be asked like this."""
    if not isinstance(store, AnswersAtOnce):
        return None
    ways = [_way(part) for part in parts]
    ask = store.several_asker([like for like, _, _ in ways])
    return Several(tuple(read for _, read, _ in ways), ask, tuple(whole for _, _, whole in ways))


def _way(part: Part[Any]) -> tuple[Any, Callable[[Args, Kwargs], Any], Callable[[Any], Step]]:
    if part.key is not None and part.like is not None:
        return part.like, part.key, part.step_at
    assert part.step is not None
    return part.asks, part.step, _itself


def _in_line(ask: Callable[[Step], Any], store: Store) -> Callable[[Step], Any]:
    return lambda step: ahead(store, step) or ask(step)


def _itself(step: Step) -> Step:
    return step
