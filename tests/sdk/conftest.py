"""What every test against the local provider may ask for."""

import os
import re
from collections.abc import Callable, Generator
from decimal import Decimal

import pytest

from actguard import BudgetGuard
from actguard.testing import LocalProvider

# How an SDK says that it does not know an argument yet.
_LACKS = re.compile(
    r"\b(?:create|retrieve|cancel|parse|stream)\(\) got an unexpected keyword argument|"
    r"Missing required arguments; Expected"
)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """On the older sets of SDKs, a test of what a version does not have is skipped, with what it lacks for a reason."""
    try:
        yield
    except TypeError as error:
        if os.environ.get("ACTGUARD_SDKS", "sdks-newest") != "sdks-newest" and _LACKS.search(str(error)):
            pytest.skip(f"this version has no such argument: {error}")
        raise


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
