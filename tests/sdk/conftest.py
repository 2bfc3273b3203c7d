"""What every test against the local provider may ask for."""

from collections.abc import Callable
from decimal import Decimal

import pytest

from actguard import BudgetGuard
from actguard.testing import LocalProvider

Agrees = Callable[[BudgetGuard], None]


@pytest.fixture
def agrees(llm_provider: LocalProvider) -> Agrees:
    """`agrees(guard)`: what the guard says is what the provider billed, to the token and the pico-dollar."""

    def check(guard: BudgetGuard) -> None:
        llm_provider.wait_idle()
        account = guard.account
        assert account is not None
        account.admission.settle_pending()
        assert not guard.estimated, "some figure is an estimate"
        assert guard.tokens_used == llm_provider.ledger.tokens
        assert Decimal(account.used_pico).scaleb(-12) == llm_provider.ledger.total_usd
        assert guard.usd_used == float(llm_provider.ledger.total_usd)
        assert (account.held_pico, account.held_tokens, account.in_flight) == (0, 0, 0)

    return check
