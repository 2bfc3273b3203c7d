"""Call: the life of one user-level call after the gate. What it costs is in quote.py. No SDK and no HTTP library here.

    gate.py ──> Call ──┬── reply(json) ──────────────> settled
                       ├── a stream's tap (tap.py) ───> settled
                       └── failed / dropped ──────────> released, or charged by estimate

Whoever ends a call first settles it; everything after that is ignored (`Hold.final`). So whoever is broken off while he
does, by Ctrl-C or a signal handler that raises, leaves it to whoever comes next. A fault of ours while reading a
reply never reaches the caller: it is logged once, and the call is charged by estimate.
"""

from collections import OrderedDict
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import replace
from itertools import count
from threading import get_ident
from typing import Any, Protocol, TypeAlias
from weakref import ref

from actguard.budget.account import Account, Spend
from actguard.budget.charge import Charge
from actguard.budget.hold import Hold
from actguard.budget.hosts import merged
from actguard.budget.scope import Refusal
from actguard.budget.usage import Bill, MalformedUsage
from actguard.context import open_streams, task_id, worker
from actguard.providers.destination import Destination
from actguard.providers.faults import log_malformed, log_once
from actguard.providers.quote import Quote, Request
from actguard.providers.wire import parse_json

Around: TypeAlias = "tuple[Any, Call | None, Any] | None"

current_call: ContextVar[Around] = ContextVar("actguard.call", default=None)
"""Set while an SDK's own request method runs, and nowhere else: its client, the call if it is metered, and the method
where that is one of several that an instrumentation lies between."""

_NOTHING_IMPOSSIBLE: frozenset[str] = frozenset()
_MOST_DEFERRED = 10_000
_MOST_STREAMS = 16  # at once, in one task and those that it was started by: beyond, it is no pile of helpers any more
_numbers = count(1)
_OUR_BYTES = 80  # what an output cap and a question for usage add to a body; neither is part of the prompt


class Closable(Protocol):
    """What reads a stream, as its call sees it."""

    def closed(self) -> None:
        """The stream is closed, or as good as that: settle by what was received, unless it is being read just now."""
        ...


class Call(Quote):
    """One call in flight."""

    __slots__ = (
        "announced",
        "deferred_as",
        "next",
        "refusal",
        "sent",
        "settled",
        "streaming",
        "tap",
    )

    announced: bool
    """`request` was seen, and will see the end."""
    streaming: bool
    """A tap has taken over: the end of `request` is not the end of the call."""
    sent: bool
    """An attempt left, and nothing was heard of it yet."""
    settled: bool
    refusal: Refusal | None
    """A limit that settling this call has passed, and that its caller has not been told of."""
    next: "Call | None"
    """A further paid call within the same user-level one."""
    deferred_as: str | None
    """It was accepted, and is billed later, under this id."""
    tap: "ref[Closable] | None"
    """What reads its stream."""

    def __init__(self, account: Account, to: Destination, request: Request) -> None:
        Hold.__init__(self, account, False)
        self.account = account
        self.request = request
        self.wire, self.endpoint, self.host, self.provider, self.host_context, model, self.price, _, _ = to
        self._facts = self._least_cap = None
        self.most = self.bound = 0
        self.impossible = _NOTHING_IMPOSSIBLE
        self.announced = True
        self.hide_usage = self.streaming = self.sent = self.settled = False
        self.refusal = self.next = self.deferred_as = self.tap = None
        self.model = model or self.facts.model

    # ---- the request ----

    def sized(self, content: bytes | None) -> None:
        """The exact body is known now: set more aside if it is larger than it looked.

        Raises:
            BudgetExceededError: a strict scope has no room for it.
        """
        account = self.account
        if not account.bounded or content is None or not account.limited or self.facts.media:
            return
        facts = self.facts
        ours = _OUR_BYTES if self.hide_usage or self.cap is not None else 0
        if len(content) - ours <= facts.body_bytes:
            return
        known = self.input_bound()
        if facts.sized:
            self._facts = replace(facts, body_bytes=len(content))
        else:  # an iterator, say, was consumed by now, and may have held anything
            self._facts = self.wire.facts(self.endpoint, "", parse_json(content))
        more = self.input_bound() - known
        self.bound += more
        refusal = account.admission.grow(self, self.price.bound(more, 0) if self.price is not None else 0, more)
        if refusal is not None:
            raise account.error(refusal)

    def uploads(self, length: str) -> None:
        """There are files beside the body: *length* is what the request says of its own size, empty if nothing."""
        self._facts = replace(self.facts, upload_bytes=int(length) if length.isdigit() else 0)

    def resend(self) -> None:
        """Another attempt is about to leave while the last one's answer was lost. One hold covers one attempt.

        Raises:
            BudgetExceededError: a strict scope has no room for a second one.
        """
        self.sent = False  # until the next one is
        account = self.account
        if account.policy.lost_attempts == "ignore":
            return
        charge = self.likely_charge()
        refusal = account.admission.charge_beside(self, charge)
        if account.listener is not None:
            account.listener.spent(account, self._spend(charge, None, None))
        if refusal is not None:
            self.settled = True
            raise account.error(refusal)

    # ---- the reply ----

    def opened(self) -> None:
        """It is a stream from here on: the end of `request` is not its end, and its caller's code runs before that."""
        self.streaming = True
        self.stream = next(_numbers)
        self.read_here()
        open_streams.set((*open_streams.get()[1 - _MOST_STREAMS :], self.stream))

    def read_here(self) -> None:
        """Who waits for it to end waits for whoever runs this."""
        self.thread = get_ident()
        if self.task:
            self.task = task_id()
        self.reader = worker()

    def reply_bytes(self, body: bytes | str) -> None:
        """Settle by a reply; by estimate if it is no JSON, or does not say what it billed."""
        try:
            parsed = parse_json(body)
        except ValueError:
            self.unreadable()
        else:
            self.reply(parsed)

    def unreadable(self) -> None:
        """The reply was not JSON: settle by estimate."""
        log_once(f"a reply of {self.wire.name} {self.endpoint.name} was not JSON")
        self.account.count_unmetered()
        self.settle(None)

    def reply(self, body: Any) -> None:
        """`reply_bytes` for a body that is parsed already."""
        bill: Bill | None = None
        try:
            bill = self.wire.read(self.endpoint, body, self.model)
        except MalformedUsage as malformed:
            log_malformed(self.wire.name, malformed)
        except Exception:  # noqa: BLE001 - ours, not the caller's: his reply is paid for and must reach him
            log_once(f"reading a reply of {self.wire.name} {self.endpoint.name} failed", trace=True)
        if bill is None:
            self.account.count_unmetered()
        self.settle(bill)

    def settle(
        self, bill: Bill | None, received: tuple[int, int] | None = None, response_id: str | None = None
    ) -> None:
        """Settle by *bill*; by estimate where there is none, or it is only of a part.

        Args:
            received: bytes and events of output that arrived, when the reply is not complete.
            response_id: the provider's, where there is no bill to tell it.
        """
        if bill is not None:
            response_id, _, _, final = bill
            if not final:
                self._defer(bill)
                return
        account = self.account
        if not self.settled:
            charge = self.charge_of(bill, received)
            counted, refusal = account.admission.settle(self, charge, response_id)
            self.settled = True  # not before: whoever is broken off by Ctrl-C has not settled it
        elif bill is not None and response_id is not None:  # a middleware sent twice: each has an id, and is billed
            charge = self.charge_of(bill, received)
            counted, refusal = account.admission.charge(account, charge, response_id)
        else:
            return
        if account.listener is not None and counted:
            account.listener.spent(account, self._spend(charge, bill, response_id))
        if self.deferred_as is not None:
            self._no_longer_deferred()
        if account.watched:
            account.warn_if_due()
        if refusal is not None and refusal.scope.refused is not None:  # else `on_warning` has extended the budget
            self.refusal = refusal

    def settle_later(
        self, bill: Bill | None, received: tuple[int, int] | None = None, response_id: str | None = None
    ) -> None:
        """`settle` from where no lock may be taken: a finalizer, a generator that the garbage collector closes."""
        if self.settled:
            return
        if bill is not None and not bill.final:
            self._defer(bill)
            return
        if self.deferred_as is not None and (bill is None or received is not None):
            return  # a look at it that was broken off; the next one tells
        account = self.account
        charge = self.charge_of(bill, received, not account.book.asks)
        response_id = bill.response_id if bill is not None else response_id
        admission = account.admission

        def settle() -> None:
            counted, _ = admission.settle_locked(self, charge, response_id)
            if account.listener is not None and counted:
                account.listener.spent(account, self._spend(charge, bill, response_id))

        admission.later(settle)
        self.settled = True

    def returned(self, result: Any) -> None:
        """The SDK is done, with *result* for the caller.

        Raises:
            BudgetExceededError: a limit is passed now; it carries *result*.
        """
        call: Call | None = self
        while call is not None:
            if not call.streaming:
                refusal, call.refusal = call.refusal, None
                if refusal is not None:
                    raise self.account.error(refusal, response=result)
                if not call.settled:
                    call.release()  # answered without being sent: a middleware's cache
            call = call.next

    def raise_if_refused(self, reply: Callable[[], Any] | None = None) -> None:
        """Tell the caller, once, that a limit is passed now.

        Args:
            reply: what the error is to carry.

        Raises:
            BudgetExceededError: phase "after".
        """
        refusal, self.refusal = self.refusal, None
        if refusal is not None:
            raise self.account.error(refusal, response=None if reply is None else reply())

    # ---- no reply ----

    def failed(self, error: BaseException) -> None:
        """The SDK gave up, or was cancelled: only what was sent and never answered may have been billed."""
        call: Call | None = self
        while call is not None:
            if not call.streaming and not call.settled:
                if call.sent and call.account.policy.lost_attempts == "charge":
                    call.settle(None)
                else:
                    call.release()
            call = call.next

    def forgotten(self) -> None:
        """Nobody waits for an answer any more (a finalizer: takes no lock)."""
        if self.streaming or self.settled:
            return
        if self.sent and self.account.policy.lost_attempts == "charge":
            self.settle_later(None)
            return
        admission = self.account.admission
        admission.later(lambda: admission.drop(self))
        self.settled = True

    def give_up(self) -> None:
        """Nobody is left to be told of its end: a stream was left where it stands, the rest is charged by estimate."""
        tap = self.tap() if self.tap is not None else None
        if tap is not None:
            tap.closed()
        self.settle(None, None, self.deferred_as)

    def release(self) -> None:
        """Nothing was billed."""
        if not self.settled:
            self.account.admission.release(self)
            self.settled = True

    # ---- told to others ----

    def _spend(self, charge: Charge, bill: Bill | None, response_id: str | None) -> Spend:
        """What a listener is told of *charge*."""
        context = self.host_context
        contexts = tuple(merged(line.context, context) for line in bill.lines) if bill is not None else (context,)
        return Spend(charge, "call", self.provider, response_id, self.model, contexts)

    # ---- billed later ----

    def _defer(self, bill: Bill) -> None:
        """Stay open until a read finds the reply finished. Without an id nothing ever will: charge by estimate."""
        self.streaming = True  # the end of `request` is not the end of this call
        response_id = bill.response_id
        if response_id is None:
            self.settle_later(None)
            return
        self.can_be_asked_for(response_id)

        def park() -> None:
            self.parked, self.reader = True, None  # nobody is to wait for it: it ends when somebody asks, perhaps he

        self.account.admission.later(park)

    def can_be_asked_for(self, response_id: str) -> None:
        """It goes on without its caller, as *response_id*: a read of that may settle it too, also while its own stream
        is still open."""
        self.deferred_as = response_id
        deferred[response_id] = self
        while len(deferred) > _MOST_DEFERRED:
            _, oldest = deferred.popitem(last=False)
            oldest.deferred_as = None
            oldest.settle_later(None)

    def _no_longer_deferred(self) -> None:
        if self.deferred_as is not None:
            deferred.pop(self.deferred_as, None)
            self.deferred_as = None


deferred: OrderedDict[str, Call] = OrderedDict()
"""Calls that were accepted and are billed later (background responses, batches), by the provider's id of the reply."""
