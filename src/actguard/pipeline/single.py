"""The only step of a plan, in a store that answers at once: which is what most guarded functions have.

It is asked without a list, an order or a lock of somebody else; what is out of the ordinary goes on as any call does.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

from actguard.pipeline.guard import Args, Ending, Kwargs, Part
from actguard.pipeline.waiting import ahead
from actguard.stores.protocol import Kind, Receipt, Report, Step, Store


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
    def finish_one(self, report: Report) -> bool: ...


def single(part: Part[Any], store: Store, lined: bool) -> Single | None:
    """*part*, alone in *store*; None, if that cannot be asked like this."""
    if not isinstance(store, AnswersAtOnce) or part.step is None or part.asks is None:
        return None
    report = None if part.quiet_success else part.report
    if part.key is not None and part.like is not None and not lined:
        by_key = store.key_asker(part.like, receipts=report is not None)
        return Single(part, part.key, by_key, part.step_at, report, part.quiet, store.finish_one)
    ask = store.asker(part.asks)
    if lined:
        ask = _in_line(ask, store)
    return Single(part, part.step, ask, _itself, report, part.quiet, store.finish_one)


def _in_line(ask: Callable[[Step], Any], store: Store) -> Callable[[Step], Any]:
    return lambda step: ahead(store, step) or ask(step)


def _itself(step: Step) -> Step:
    return step
