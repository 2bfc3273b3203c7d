"""Quote: a Hold that knows what its request can cost, is likely to cost, and did cost. In numbers alone.

    facts, bound, most ──> lower, estimate_*     before the call
    price, output_room ──> certainly_passes      while it runs
    a Bill, or none    ──> charge_of             when it is over

No SDK and no HTTP library here. A fault of ours is logged once, and the call is charged by estimate.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from actguard.budget.account import Account, Outputs
from actguard.budget.charge import Charge
from actguard.budget.estimate import input_bound, output_bound
from actguard.budget.hold import Hold, Lowered
from actguard.budget.hosts import Context, Host, merged
from actguard.budget.kept import KeptReplies
from actguard.budget.price import Price
from actguard.budget.ratios import InputRatios
from actguard.budget.request import CapTooSmall, RequestFacts
from actguard.budget.scope import Refusal
from actguard.budget.usage import NOTHING, Bill, Line, Usage
from actguard.providers.counting import new
from actguard.providers.endpoint import Endpoint
from actguard.providers.faults import log_once
from actguard.providers.measure import merged as merged_body
from actguard.providers.wire import Wire

ratios = InputRatios()
"""What the process has learned about tokens per byte."""

kept = KeptReplies()
"""Replies in strict budgets that a later call may build on."""

ASKED = frozenset({"chat.completions", "completions"})
"""Endpoints whose streams tell their usage to who asks for it, after all choices."""
_LIKELY_OUTPUT = 256  # tokens; the guess for a reply that was lost before any other was seen
_PLAIN = NOTHING[2:]  # a usage of input and output alone
_HEARING = frozenset({"audio.transcriptions", "audio.translations"})
_SOUND = 16_000  # bytes a second, as most sound that is uploaded has at least
_LIKELY_SOUND = 60_000  # milliseconds, where nobody knows how much was uploaded

Request = tuple[str, Mapping[str, Any] | None, Mapping[str, Any] | None]
"""Path, body, and `extra_body`, as the SDK has them before it serialises them."""


class Quote(Hold):
    """The figures of one call, whose constructor sets them (call.py). Its account was captured when it was opened; no
    context is read again."""

    __slots__ = (
        "_facts",
        "_least_cap",
        "account",
        "bound",
        "endpoint",
        "hide_usage",
        "host",
        "host_context",
        "impossible",
        "model",
        "most",
        "price",
        "provider",
        "request",
        "wire",
    )

    account: Account
    wire: Wire
    endpoint: Endpoint
    request: Request
    host: Host
    host_context: Context
    """What the host itself says about the price."""
    provider: str
    """Whose prices apply, by genai-prices' id."""
    model: str
    """As the request names it."""
    price: Price | None
    most: int
    """Output tokens, at most; 0 where there is no output cap."""
    bound: int
    """Input tokens, at most; known in strict scopes."""
    impossible: frozenset[str]
    """Kinds of tokens that this request cannot be billed for."""
    hide_usage: bool
    """The stream's usage event was our wish, and is withheld."""
    _facts: RequestFacts | None
    _least_cap: int | None

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
        self.most = self._most_output()
        if self.account.estimated:
            self.estimate_tokens, self.estimate_pico = self._estimate(self.most)

    def _most_output(self) -> int:
        if self.endpoint.name not in self.wire.caps:
            return 0
        return output_bound(self.facts) or self.account.policy.default_max_output * self.facts.choices

    def _estimate(self, most: int) -> tuple[int, int]:
        """Tokens and pico-dollars that default scopes set aside, if the output is *most* at most."""
        expected = most
        learned = self.outputs().expect() if expected else None
        if learned is not None and learned < expected:
            expected = learned
        likely = self.likely_input()
        return likely + expected, self.price.plain_cost(likely, expected) if self.price is not None else 0

    def likely_input(self) -> int:
        """Input tokens, estimated."""
        return ratios.estimate(self.provider, self.facts, state_tokens=self._kept_tokens())

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
            least, body = 1, self.body
            try:
                if self.wire.with_output_cap(self.endpoint, body, 1, provider=self.provider) == body:
                    return math.inf  # nothing lowers it: a batch, an agent
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

    def input_bound(self) -> int:
        """Of what could be measured; `sized` adds the rest. 0 if nothing bounds it."""
        facts = self.facts if self.facts.sized else replace(self.facts, sized=True)
        bounded = self.account.bounded
        return input_bound(self.provider, facts, strict=bounded, state_tokens=self._kept_tokens()) or 0

    def _kept_tokens(self) -> int | None:
        """What the provider adds of earlier replies, where that is known."""
        ids = self.facts.state
        return kept.tokens(ids, self.model) if ids else None

    # ---- what it costs ----

    def charge_of(self, bill: Bill | None, received: tuple[int, int] | None, lookup: bool = True) -> Charge:
        """The charge for what *bill* says; by estimate if there is none, or it is only of what was *received*.

        Args:
            received: bytes and events of output that arrived, when the reply is not complete.
            lookup: False where no price may be looked up, as a function of the program's would be asked, which may
                take locks: the one that was found before the call holds.
        """
        if bill is None:
            return self._likely(received, None)
        try:
            if received is not None:
                return self._charge_of_part(bill.lines, received, lookup)
            _, lines, reported_cost, _ = bill
            if len(lines) != 1 or reported_cost is not None or not lookup:
                charge = self._charge_of_lines(lines, reported_cost, lookup)
            else:
                model, usage, context = lines[0]
                price = self._price_of(model, context, self.model)
                if price is not None and not price.assumed and price.complete and usage[2:] == _PLAIN:
                    pico, guesses = price.plain_cost(usage[0], usage[1]), 0
                else:
                    pico, guesses = _cost(price, usage)
                charge = new(Charge, (pico, usage[0] + usage[1], ((model, usage, pico),), guesses))
            account = self.account
            if lines and account.limited:
                first = lines[0][1]
                (account.outputs.get(self.model) or self.outputs()).observe(first[1])
                if ratios.due(self.model):
                    ratios.observe(self.provider, self.facts, first[0])
                if account.bounded and bill.response_id is not None:
                    kept.remember(bill.response_id, self.model, charge.tokens)
            return charge
        except Exception:  # noqa: BLE001 - ours, not the caller's: his reply is paid for and must reach him
            log_once(f"pricing a reply of {self.wire.name} {self.endpoint.name} failed", trace=True)
            return self._likely(received, None)

    def _charge_of_part(self, lines: tuple[Line, ...], received: tuple[int, int], lookup: bool) -> Charge:
        if not lines:
            return self._likely(received, None)
        first = lines[0]
        price, _ = self._price_of_line(first, True, lookup)
        charge = self._likely(received, first.usage, price)
        if len(lines) < 2:
            return charge
        further = self._charge_of_lines(lines[1:], None, lookup)
        return Charge(charge.pico + further.pico, charge.tokens + further.tokens, charge.items + further.items, 1)

    def _charge_of_lines(self, lines: tuple[Line, ...], reported_cost: int | None, lookup: bool) -> Charge:
        total = tokens = guesses = 0
        items: list[tuple[str, Usage, int]] = []
        for line in lines:
            model, usage, _ = line
            price, other = self._price_of_line(line, model == lines[0].model, lookup)
            if price is not None and price.stated:
                reported_cost = None  # what the program says goes before what the provider says
            pico, guess = _cost(price, usage)
            total += pico
            tokens += usage.tokens
            guesses = guesses or guess or int(other)
            items.append((model, usage, pico))
        if reported_cost is not None:
            total, guesses = reported_cost, 0
            items = [(model, usage, total if index == 0 else 0) for index, (model, usage, _) in enumerate(items)]
        return Charge(total, tokens, tuple(items), guesses)

    def _price_of(self, model: str, context: Context, requested: str) -> Price | None:
        if self.host_context:
            context = merged(context, self.host_context)
        book = self.account.book
        return (
            book.price(self.provider, model, context, None, requested)
            or self.price
            or (book.price(self.wire.native, model, context) if self.native else None)
        )

    def _price_of_line(self, line: Line, main: bool, lookup: bool) -> tuple[Price | None, bool]:
        """The price of *line*, and whether that is a guess: the one for which the call was begun.

        Args:
            main: it is of the model that was asked for, whatever that answers as; else of an advisor, an image model.
        """
        model, _, context = line
        if not lookup:
            return self.price, model != self.model or bool(context)
        if main:
            return self._price_of(model, context, self.model), False
        price = self.account.book.price(self.provider, model, merged(context, self.host_context))
        return price or self.price, price is None

    @property
    def native(self) -> bool:
        """Whether the prices of the SDK's own provider apply, since nobody has said whose host this is."""
        return not self.host.known and self.account.policy.unknown_host == "native"

    def _likely(self, received: tuple[int, int] | None, reported: Usage | None, price: Price | None = None) -> Charge:
        """The charge for a call whose usage nobody told, or not to its end.

        Input as reported or estimated, and the output that arrived, or is likely. Under a strict limit it is all that
        was set aside: the provider may have generated more than arrived.

        Args:
            price: of what was *reported*, where that is known.
        """
        account, price = self.account, price or self.price
        usage = reported or self._unsaid_input()
        output = self._likely_output() if received is None else max(received[1], -(-received[0] // 3))
        usage = usage._replace(output_tokens=max(output, usage.output_tokens))
        pico = price.cost(usage) if price is not None else 0
        tokens = usage.tokens
        if (account.policy.on_abort or ("reserve" if account.bounded else "received")) == "reserve":
            held_tokens, held_pico = self._set_aside()
            pico, tokens = max(pico, held_pico), max(tokens, held_tokens)
            usage = usage._replace(output_tokens=tokens - usage.input_tokens)
        return Charge(pico, tokens, ((self.model, usage, pico),), 1)

    def _set_aside(self) -> tuple[int, int]:
        """Tokens and pico-dollars; of a call that was alone, and so never measured, what they would have been."""
        held = self.bound_tokens or self.estimate_tokens, self.bound_pico or self.estimate_pico
        if held[0] or not self.account.limited:
            return held
        return self._estimate(self._most_output())

    def _unsaid_input(self) -> Usage:
        """What was read, likely; and what is billed by another unit than tokens, where the request tells of it."""
        usage = Usage(input_tokens=self.likely_input())
        if self.endpoint.name == "images":
            return usage._replace(output_images=self.facts.choices)
        if self.endpoint.name in _HEARING:
            heard = self.facts.upload_bytes * 1000 // _SOUND or _LIKELY_SOUND
            return usage._replace(input_audio_milliseconds=heard)
        return usage

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
        return self.hide_usage or self.endpoint.name not in ASKED or self.facts.include_usage is True

    def outputs(self) -> Outputs:
        """What is known of the length of this model's replies."""
        outputs = self.account.outputs
        known = outputs.get(self.model)
        if known is None:
            known = outputs[self.model] = Outputs()
        return known


def _cost(price: Price | None, usage: Usage) -> tuple[int, int]:
    """What *usage* costs in pico-dollars, and 1 if that is a guess."""
    if price is None:
        return 0, 0
    return price.cost(usage), 1 if price.assumed or price.unpriced(usage) else 0
