"""The gate: everything that is decided before a call may be sent.

`open_at` prices and measures it, `admit` waits in a thread, `aadmit` on an event loop. What cannot be priced, bounded
or metered is never let through in silence: a policy says what happens, and an error how to choose another.
"""

import warnings
from collections.abc import Mapping
from threading import get_ident
from typing import Any

from actguard.budget.account import Account, BudgetWarning, label, sentence
from actguard.budget.admission import WaitTimeout
from actguard.budget.estimate import output_bound
from actguard.budget.hold import Hold
from actguard.budget.hosts import Context, Host, merged
from actguard.budget.price import Price
from actguard.budget.rates import PLAIN_TEXT
from actguard.budget.scope import Refusal
from actguard.context import open_streams, task_id
from actguard.exceptions import UnmeteredCallError
from actguard.providers import processes
from actguard.providers.call import Call
from actguard.providers.destination import Destination
from actguard.providers.endpoint import Endpoint, Kind
from actguard.providers.quote import Request
from actguard.providers.wire import Wire

_LONG_CACHES = frozenset({"cache_write_1h_tokens", "cache_write_12h_tokens"})
_TIERS = {"service_tier": "service_tier", "serviceTier": "service_tier", "speed": "speed", "inference_geo": "geo"}
"""What a request may ask for that has a price of its own, by the word for it in a price."""


def open_at(account: Account, to: Destination, request: Request) -> Call:
    """A call that is priced, and measured where it must be, but not admitted yet.

    Raises:
        UnknownPriceError: no price is known under a dollar limit.
        UnmeteredCallError: a strict scope cannot bound it.
    """
    if account.pid != processes.pid:
        account = processes.account_here(account)
    call = Call(account, to, request)
    if account.bounded or call.price is None:
        _price(call)
    return call


def open_call(account: Account, wire: Wire, endpoint: Endpoint, host: Host, request: Request, model: str = "") -> Call:
    """`open_at` a place of which nothing is known yet.

    Args:
        model: where its name does not stand in the body.
    """
    _, body, extra = request
    if not model and body is not None and extra is None:
        named = body.get("model")
        model = named if type(named) is str else ""
    return open_at(account, Destination(wire, endpoint, host, host.provider, host.context, model, None), request)


def admit(call: Call, *, wait: bool = True) -> None:
    """Set the call's share aside; blocks the thread while it waits for other calls, where that helps.

    Args:
        wait: False for who cannot. Default scopes then let the call go: an estimate is no reason to refuse it.

    Raises:
        BudgetExceededError: the call may not be sent.
    """
    account = call.account
    call.thread = get_ident()
    call.around = open_streams.get()
    if account.admission.try_hold(call) is call:
        return
    try:
        if wait or account.bounded:
            verdict = account.admission.hold(call, account.policy.wait_timeout if wait else 0)
        else:
            verdict = account.admission.hold_at_once(call)
    except WaitTimeout as waited:
        raise account.timeout_error(waited.scope) from None
    if verdict is not call:
        _refuse(account, verdict)


async def aadmit(call: Call) -> None:
    """`admit` without blocking the event loop."""
    account = call.account
    call.thread = get_ident()
    call.around = open_streams.get()
    call.task = task_id()
    if account.admission.try_hold(call) is call:
        return
    try:
        verdict = await account.admission.ahold(call, account.policy.wait_timeout)
    except WaitTimeout as waited:
        raise account.timeout_error(waited.scope) from None
    if verdict is not call:
        _refuse(account, verdict)


def again(call: Call, request: Request) -> Call:
    """The call for a further attempt, after one that was answered and paid: a middleware sends once more.

    Args:
        request: as it is about to be sent this time; another model may be asked.

    Raises:
        BudgetExceededError: there is no room for it now; it does not wait.
    """
    last = call
    while last.next is not None:
        last = last.next
    if last is not call and not last.settled and not last.streaming:
        return last
    further = open_call(call.account, call.wire, call.endpoint, call.host, request)
    admit(further, wait=False)
    last.next = further
    return further


def unmetered(account: Account, what: str) -> None:
    """Apply the policy for a billed call that nobody can meter.

    Raises:
        UnmeteredCallError: policy "block".
    """
    if account.pid != processes.pid:
        account = processes.account_here(account)
    reaction = account.policy.unmetered or ("block" if account.limited else "warn")
    if reaction == "block":
        raise UnmeteredCallError(
            f"{what} is billed but cannot be metered, and {label(account)} has a limit. "
            "BudgetGuard(unmetered='warn') or 'allow' lets such calls through, uncounted in tokens and dollars.",
            details={"what": what},
        )
    account.count_unmetered()
    if reaction == "warn":
        warnings.warn(f"{what} was not metered in {label(account)}", BudgetWarning, stacklevel=4)


def _refuse(account: Account, verdict: Hold | Refusal) -> None:
    assert isinstance(verdict, Refusal)
    raise account.error(verdict)


def _allow_unpriced(call: Call) -> None:
    """A batch whose models stand in a file, or a run whose model its assistant knows: counted when it is finished, and
    not known before. The `unmetered` policy decides whether it may begin.

    Raises:
        UnmeteredCallError: policy "block".
    """
    account, what = call.account, f"{call.wire.name} {call.endpoint.name}"
    if (account.policy.unmetered or ("block" if account.limited else "allow")) == "block":
        raise UnmeteredCallError(
            f"What {what} will cost is not known before it is finished, and {label(account)} has a limit. "
            "BudgetGuard(unmetered='allow') lets it begin, and counts it when a read finds it finished.",
            reason="deferred",
            details={"what": what},
        )


def _context(call: Call) -> Context:
    """What selects the price before the call is made; only a bound asks for more than the host says."""
    return merged(_requested_context(call.body), call.host_context)


def _price(call: Call) -> None:
    """Find the price that is not known yet, and in a strict scope what bounds the call."""
    account = call.account
    if not call.model and call.endpoint.kind is Kind.DEFERRED:
        _allow_unpriced(call)
        return
    bounded = account.bounded
    context = _context(call) if bounded else call.host_context
    if call.price is None or context != call.host_context:
        call.price = account.book.price(call.provider, call.model, context) or _price_further(call, context)
    if bounded and account.limited:
        _bound(call)


def _price_further(call: Call, context: Context) -> Price | None:
    """The price where the host's own list has none: of the SDK's own provider, else as the policy says."""
    account, host, model = call.account, call.host, call.model
    book = account.book
    if call.native:
        price = book.price(call.wire.native, model, context)
        if price is not None:
            call.provider = call.wire.native
            return price
    where = call.wire.native if call.native else host.provider
    unknown = account.policy.unknown_price
    price = book.resolve_unknown(where, model, unknown, limited=account.usd_limited, context=context)
    if price is None and account.usd_limited:
        account.count_unmetered()
    return price


def _bound(call: Call) -> None:
    """What the call can cost at most, and how small it can be made."""
    call.measure()
    body = call.body
    call.bound = call.input_bound() or _unbounded(call)
    call.impossible = _impossible(call, body)
    assumed = call.account.policy.default_max_output
    if call.most and output_bound(call.facts) is None and call.least_cap <= assumed:
        call.cap = assumed  # it holds only if it is asked for
    call.bound_tokens = call.bound + call.most
    call.bound_pico = call.bounded_cost(call.most)


def _unbounded(call: Call) -> int:
    account, facts = call.account, call.facts
    unbounded = account.policy.unbounded
    if unbounded == "block":
        raise UnmeteredCallError(
            f"{sentence(label(account))} is strict, and cannot bound the cost of this call: "
            f"{', '.join(facts.unbounded) or 'its input has no known size'}. "
            "BudgetGuard(unbounded=...) lets it through: a number of tokens to reserve, or 'estimate'.",
            reason="unbounded",
        )
    likely = call.likely_input()
    return max(likely, unbounded) if isinstance(unbounded, int) else likely


def _impossible(call: Call, body: Mapping[str, Any]) -> frozenset[str]:
    """The kinds of tokens that this request cannot be billed for."""
    if call.facts.media or not body or "modalities" in body or call.wire.name == "google":
        return frozenset()
    keeps = call.wire.name == "anthropic" or "prompt_cache_options" in body or call.facts.long_cache
    return PLAIN_TEXT - _LONG_CACHES if keeps else PLAIN_TEXT


def _requested_context(body: Mapping[str, Any]) -> Context:
    """What the request asks for that has a price of its own; only a bound needs it, as the reply says what it got."""
    if _TIERS.keys().isdisjoint(body):
        return ()
    said = {word: str.__str__(body[key]) for key, word in _TIERS.items() if isinstance(body.get(key), str)}
    return tuple(sorted((key, value) for key, value in said.items() if value not in ("auto", "default", "standard")))
