"""Spend that no watched SDK has made: told by the program, and counted like a call's."""

from actguard.budget.account import Account, Spend
from actguard.budget.charge import Charge
from actguard.budget.policy import amount, counts, instance, text
from actguard.budget.usage import NOTHING, Usage
from actguard.money import from_usd
from actguard.steps import frame_here


def add_cost(*, name: str, usd: float) -> None:
    """Count external spend in the innermost active guard; without one, nothing happens.

    Raises:
        ActGuardUsageError: *name* is no text.
        ValueError: *usd* is negative or not finite.
        BudgetExceededError: a limit is passed now; the cost is counted nevertheless.
    """
    account = frame_here().scope
    count_cost(account if isinstance(account, Account) else None, name, usd)


def count_cost(account: Account | None, name: str, usd: float) -> None:
    """Count *usd* dollars for *name*, if there is an *account* to count them in."""
    text("name", name, optional=False)
    pico = from_usd(amount(usd))
    if account is not None:
        _count(account, Spend(Charge(pico, 0, ((name, NOTHING, pico),)), "cost"))


def count_usage(
    account: Account, model: str, usage: Usage, usd: float | None, provider: str, response_id: str | None
) -> None:
    """Count a call of *model*, unless *response_id* was counted before."""
    text("model", model, optional=False)
    text("response_id", response_id)
    instance("provider", provider, str)
    counts("usage", usage)
    seen = account.admission.seen, account.admission.seen_before
    if response_id is not None and any(response_id in ids for ids in seen):
        return  # whatever it would be priced at
    pico = from_usd(amount(usd)) if usd is not None else _priced(account, provider, model, usage)
    _count(account, Spend(Charge(pico, usage.tokens, ((model, usage, pico),)), "call", provider, response_id, model))


def _priced(account: Account, provider: str, model: str, usage: Usage) -> int:
    """What a call costs that no SDK has made, as one that it makes would."""
    book = account.book
    price = book.price(provider, model) if provider else book.get(model)
    if price is None:
        price = book.resolve_unknown(provider, model, account.policy.unknown_price, limited=account.usd_limited)
    if price is None and account.usd_limited:
        account.count_unmetered()
    return price.cost(usage) if price is not None else 0


def _count(account: Account, spend: Spend) -> None:
    counted, refusal = account.admission.charge(account, spend.charge, spend.response_id)
    if account.listener is not None and counted:
        account.listener.spent(account, spend)
    account.warn_if_due()
    if refusal is not None and refusal.scope.refused is not None:  # else `on_warning` has extended the budget
        raise account.error(refusal, reported=True)
