"""Call: a Hold that knows its wire; the life of one user-level call after the gate. No SDK and no HTTP library here.

    gate.py ──> Call ──┬── reply(json) ──────────────> settled
                       ├── a stream's tap (tap.py) ───> settled
                       └── failed / dropped ──────────> released, or charged by estimate

Whoever ends a call first settles it; everything after that is ignored (`Hold.final`). A fault of ours while reading a
reply never reaches the caller: it is logged once, and the call is charged by estimate.
"""

import math
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

from actguard.budget.account import Account, Outputs, logger
from actguard.budget.backing import Spend
from actguard.budget.estimate import CapTooSmall, InputRatios, RequestFacts, input_bound, output_bound
from actguard.budget.hosts import Host
from actguard.budget.pricing import Price, merged
from actguard.budget.scope import Charge, Hold, Lowered, Refusal
from actguard.budget.usage import NOTHING, Bill, MalformedUsage, Usage
from actguard.providers.counting import new
from actguard.providers.endpoint import Endpoint
from actguard.providers.measure import merged as merged_body
from actguard.providers.wire import Wire, parse_json

ratios = InputRatios()
"""What the process has learned about tokens per byte."""

current_call: ContextVar["tuple[Any, Call | None] | None"] = ContextVar("actguard.call", default=None)
"""Set while an SDK's own request method runs, and nowhere else: its client, and the call if it is metered."""

_OUR_BYTES = 80  # what an output cap and a question for usage add to a body; neither is part of the prompt
_LIKELY_OUTPUT = 256  # tokens; the guess for a reply that was lost before any other was seen
_PLAIN = NOTHING[2:]  # a usage of input and output alone
_LEARNED = 32  # replies after which only every eighth teaches anything more


Request = tuple[str, Mapping[str, Any] | None, Mapping[str, Any] | None]
"""Path, body, and `extra_body`, as the SDK has them before it serialises them."""


class Call(Hold):
    """One call in flight. Its account was captured when it was opened; no context is read again."""

    wire: Wire
    endpoint: Endpoint
    host: Host
    provider: str
    """Whose prices apply, by genai-prices' id."""
    model: str
    """As the request names it."""
    measured: bool = False
    price: Price | None = None
    most: int = 0
    """Output tokens, at most; 0 where there is no output cap."""
    bound: int = 0
    """Input tokens, at most; known in strict scopes."""
    impossible: frozenset[str] = frozenset()
    """Kinds of tokens that this request cannot be billed for."""
    announced: bool = True
    """`request` was seen, and will see the end."""
    hide_usage: bool = False
    """The stream's usage event was our wish, and is withheld."""
    streaming: bool = False
    """A tap has taken over: the end of `request` is not the end of the call."""
    sent: bool = False
    """An attempt left, and nothing was heard of it yet."""
    settled: bool = False
    refusal: Refusal | None = None
    """A limit that settling this call has passed, and that its caller has not been told of."""
    next: "Call | None" = None
    """A further paid call within the same user-level one."""
    deferred_as: str | None = None
    """It was accepted, and is billed later, under this id."""

    _facts: RequestFacts | None = None
    _least_cap: int | None = None

    def __init__(
        self, account: Account, wire: Wire, endpoint: Endpoint, host: Host, request: Request, model: str = ""
    ) -> None:
        self.scope = self.account = account
        self.wire = wire
        self.endpoint = endpoint
        self.host = host
        self.provider = host.provider
        self.request = request
        if not model:
            body = request[1]
            named = body.get("model") if body is not None and request[2] is None else None
            model = named if type(named) is str and named else self.facts.model
        self.model = model

    # ---- the request ----

    @property
    def facts(self) -> RequestFacts:
        """What the request says of its own size; read when somebody asks."""
        if self._facts is None:
            path, body, extra = self.request
            try:
                self._facts = self.wire.facts(self.endpoint, path, body, extra)
            except Exception:  # noqa: BLE001 - ours, not the caller's: what it was goes on, but nothing bounds it
                log_once(f"measuring a request to {self.wire.name} {self.endpoint.name} failed", trace=True)
                model = merged_body(body, extra).get("model")
                unread = ("a request that could not be measured",)
                self._facts = RequestFacts(model if isinstance(model, str) else "", 0, sized=False, unbounded=unread)
        return self._facts

    @property
    def body(self) -> Mapping[str, Any]:
        """The request, with `extra_body` in it."""
        _, body, extra = self.request
        return merged_body(body, extra)

    def measure(self) -> None:
        self.measured = True
        if not self.account.limited:
            return
        facts, expected = self.facts, 0
        if self.endpoint.name in self.wire.caps:
            self.most = expected = output_bound(facts) or self.account.policy.default_max_output * facts.choices
        if not self.account.estimated:
            return
        learned = self.outputs().expect() if expected else None
        if learned is not None and learned < expected:
            expected = learned
        likely = self.likely_input()
        self.estimate_tokens = likely + expected
        if self.price is not None:
            self.estimate_pico = self.price.plain_cost(likely, expected)

    def likely_input(self) -> int:
        """Input tokens, estimated."""
        return ratios.estimate(self.provider, self.facts)

    def lower(self, left_pico: float, left_tokens: float) -> Lowered | None:
        if not self.most:
            return None
        choices, price = self.facts.choices, self.price
        room = min(left_tokens - self.bound, self.most)
        if price is not None and left_pico != math.inf:
            room = min(room, price.affordable_output(int(left_pico), self.bound, without=self.impossible))
        cap = int(room // choices)
        if cap < self.least_cap:
            return None
        return Lowered(cap, self.bounded_cost(cap * choices), self.bound + cap * choices)

    @property
    def least_cap(self) -> float:
        """The smallest output cap that the API accepts for this request; found out when one is to be lowered."""
        least = self._least_cap
        if least is None:
            least = 1
            try:
                self.wire.with_output_cap(self.endpoint, self.body, 1, provider=self.provider)
            except CapTooSmall as small:
                least = small.minimum
            except Exception:  # noqa: BLE001 - ours, not the caller's, who may be another one: it is not lowered
                log_once(f"lowering a request to {self.wire.name} {self.endpoint.name} failed", trace=True)
                return math.inf
            self._least_cap = least
        return least

    def bounded_cost(self, output_tokens: int) -> int:
        """The most, in pico-dollars, that this call can cost with so much output."""
        return self.price.bound(self.bound, output_tokens, without=self.impossible) if self.price is not None else 0

    def capped(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """*body* with the output cap that was granted."""
        return self.wire.with_output_cap(self.endpoint, body, self.cap, provider=self.provider)

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

    def input_bound(self) -> int:
        """Of what could be measured; `sized` adds the rest. 0 if nothing bounds it."""
        facts = self.facts if self.facts.sized else replace(self.facts, sized=True)
        return input_bound(self.provider, facts, strict=self.account.bounded) or 0

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

    def reply_bytes(self, body: bytes | str) -> None:
        """Settle by a reply; by estimate if it is no JSON, or does not say what it billed."""
        try:
            parsed = parse_json(body)
        except ValueError:
            log_once(f"a reply of {self.wire.name} {self.endpoint.name} was not JSON")
            self.account.count_unmetered()
            self.settle(None)
        else:
            self.reply(parsed)

    def reply(self, body: Any) -> None:
        """`reply_bytes` for a body that is parsed already."""
        bill: Bill | None = None
        try:
            bill = self.wire.read(self.endpoint, body, self.model)
        except MalformedUsage as malformed:
            log_once(f"{self.wire.name} reported usage that cannot be right: {malformed}")
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
            if not bill.final:
                self._defer(bill)
                return
            response_id = bill.response_id
        account = self.account
        if not self.settled:
            self.settled = True
            charge = self._charge(bill, received)
            counted, refusal = account.admission.settle(self, charge, response_id)
        elif bill is not None and response_id is not None:  # a middleware sent twice: each has an id, and is billed
            charge = self._charge(bill, received)
            counted, refusal = account.admission.charge(account, charge, response_id)
        else:
            return
        if account.listener is not None and counted:
            account.listener.spent(account, self._spend(charge, bill, response_id))
        if self.deferred_as is not None:
            self._no_longer_deferred()
        if refusal is not None:
            self.refusal = refusal
        if account.watched:
            account.warn_if_due()

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
        self.settled = True
        charge = self._charge(bill, received, lookup=False)
        response_id = bill.response_id if bill is not None else response_id
        account = self.account
        admission = account.admission

        def settle() -> None:
            counted, _ = admission.settle_locked(self, charge, response_id)
            if account.listener is not None and counted:
                account.listener.spent(account, self._spend(charge, bill, response_id))

        admission.later(settle)

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

    def raise_if_refused(self) -> None:
        """Tell the caller, once, that a limit is passed now.

        Raises:
            BudgetExceededError: phase "after".
        """
        refusal, self.refusal = self.refusal, None
        if refusal is not None:
            raise self.account.error(refusal)

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
        self.settled = True
        admission = self.account.admission
        admission.later(lambda: admission.drop(self))

    def release(self) -> None:
        """Nothing was billed."""
        if not self.settled:
            self.settled = True
            self.account.admission.release(self)

    # ---- money ----

    def _spend(self, charge: Charge, bill: Bill | None, response_id: str | None) -> Spend:
        """What a listener is told of *charge*."""
        context = self.host.context
        contexts = tuple(merged(line.context, context) for line in bill.lines) if bill is not None else (context,)
        return Spend(charge, "call", self.provider, response_id, self.model, contexts)

    def _charge(self, bill: Bill | None, received: tuple[int, int] | None, *, lookup: bool = True) -> Charge:
        if bill is None or received is not None:
            reported = bill.lines[0].usage if bill is not None and bill.lines else None
            return self._likely(received, reported)
        try:
            return self._priced(bill, lookup=lookup)
        except Exception:  # noqa: BLE001 - ours, not the caller's: his reply is paid for and must reach him
            log_once(f"pricing a reply of {self.wire.name} {self.endpoint.name} failed", trace=True)
            return self._likely(received, None)

    def _priced(self, bill: Bill, *, lookup: bool) -> Charge:
        _, lines, reported_cost, _ = bill
        total = tokens = guesses = 0
        items: list[tuple[str, Usage, int]] = []
        requested = self.model
        for model, usage, context in lines:
            price = self._price_of(model, context, requested) if lookup else self.price
            requested = ""  # further lines are of other models: an advisor, an image model
            pico = 0
            if price is not None:
                if usage[2:] == _PLAIN:
                    pico = price.plain_cost(usage[0], usage[1])
                else:
                    pico = price.cost(usage)
                    if price.unpriced(usage):
                        guesses = 1
                if price.assumed:
                    guesses = 1
            total += pico
            tokens += usage[0] + usage[1]
            items.append((model, usage, pico))
        if reported_cost is not None:
            total, guesses = reported_cost, 0
            items = [(model, usage, total if index == 0 else 0) for index, (model, usage, _) in enumerate(items)]
        if items and self.account.limited:
            self._learn(items[0][1])
        return new(Charge, (total, tokens, tuple(items), guesses))

    def _price_of(self, model: str, context: tuple[tuple[str, str], ...], requested: str) -> Price | None:
        if self.host.context:
            context = merged(context, self.host.context)
        book = self.account.book
        return (
            book.price(self.provider, model, context, None, requested)
            or self.price
            or (book.price(self.wire.native, model, context) if self.native else None)
        )

    @property
    def native(self) -> bool:
        """Whether the prices of the SDK's own provider apply, since nobody has said whose host this is."""
        return not self.host.known and self.account.policy.unknown_host == "native"

    def _likely(self, received: tuple[int, int] | None, reported: Usage | None) -> Charge:
        """The charge for a call whose usage nobody told, or not to its end.

        Input as reported or estimated, and the output that arrived, or is likely. Under a strict limit it is all that
        was set aside: the provider may have generated more than arrived.
        """
        account = self.account
        usage = reported or Usage(input_tokens=self.likely_input())
        output = self._likely_output() if received is None else max(received[1], -(-received[0] // 3))
        usage = usage._replace(output_tokens=max(output, usage.output_tokens))
        pico = self.price.cost(usage) if self.price is not None else 0
        tokens = usage.tokens
        if (account.policy.on_abort or ("reserve" if account.bounded else "received")) == "reserve":
            pico = max(pico, self.bound_pico or self.estimate_pico)
            tokens = max(tokens, self.bound_tokens or self.estimate_tokens)
            usage = usage._replace(output_tokens=tokens - usage.input_tokens)
        return Charge(pico, tokens, ((self.model, usage, pico),), 1)

    def likely_charge(self) -> Charge:
        return self._likely(None, None)

    def _likely_output(self) -> int:
        if self.endpoint.name not in self.wire.caps:
            return 0
        likely = self.outputs().expect() or _LIKELY_OUTPUT
        cap = self.facts.output_cap
        return min(likely, cap * self.facts.choices) if cap else likely

    def certainly_passes(self, usage: Usage) -> Refusal | None:
        """Whether *usage*, of which every token is certain, passes a limit by itself."""
        pico = self.price.cost(usage) if self.price is not None else 0
        return self.account.would_exceed(pico, usage.tokens)

    def output_room(self, usage: Usage) -> float:
        """About how many output tokens fit beside *usage* before a limit can be passed; `inf` without a limit."""
        if not self.account.limited:
            return math.inf
        pico = self.price.cost(usage) if self.price is not None else 0
        rate = self.price.output_rate if self.price is not None else 0
        room = math.inf
        for scope in self.account.chain:
            room = min(room, scope.limit_tokens - scope.used_tokens - usage.tokens)
            if rate:
                room = min(room, (scope.limit_pico - scope.used_pico - pico) // rate)
        return max(0, room)

    @property
    def tells_usage(self) -> bool:
        """Whether the stream is expected to end with its usage."""
        return self.hide_usage or self.facts.include_usage is not False

    def outputs(self) -> Outputs:
        """What is known of the length of this model's replies."""
        outputs = self.account.outputs
        known = outputs.get(self.model)
        if known is None:
            known = outputs[self.model] = Outputs()
        return known

    def _learn(self, usage: Usage) -> None:
        outputs = self.account.outputs.get(self.model) or self.outputs()
        outputs.observe(usage[1])
        if outputs.replies < _LEARNED or not outputs.replies % 8:
            ratios.observe(self.provider, self.facts, usage[0])

    def _defer(self, bill: Bill) -> None:
        from actguard.providers.deferred import defer

        self.streaming = True  # the end of `request` is not the end of this call
        defer(self, bill.response_id)

    def _no_longer_deferred(self) -> None:
        from actguard.providers.deferred import deferred

        if self.deferred_as is not None:
            deferred.pop(self.deferred_as, None)
            self.deferred_as = None


_logged: set[str] = set()


def log_once(message: str, *, trace: bool = False) -> None:
    """Say what went wrong with reading a reply, once for each kind of fault."""
    if message not in _logged and len(_logged) < 1000:
        _logged.add(message)
        logger.error("%s; such calls are charged by estimate", message, exc_info=trace)
