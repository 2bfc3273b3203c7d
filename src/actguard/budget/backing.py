"""Who stands behind the budgets of a run, as a budget sees them: protocols. No I/O here.

    Backing      is asked before the outermost scope of a run is entered, and answers with
    Reservation  what was granted; it is settled when that scope is left. Its
    Listener     is told of every charge and refusal in the tree of scopes.

A budget without a run, or in one that nobody stands behind, has none of them.
"""

from typing import Literal, NamedTuple, Protocol

from actguard.budget.account import Account, Listener


class Ask(NamedTuple):
    """What an outermost scope wants to be set aside."""

    run_id: str
    scope_id: str
    user_id: str | None = None
    name: str | None = None
    plan_key: str | None = None
    pico: float = float("inf")
    """Pico-dollars; `inf` for no limit."""
    tokens: float = float("inf")
    when_short: Literal["shrink", "deny"] = "deny"
    """What is wanted of a shared budget that has less left: that, or nothing."""


class Reservation(Protocol):
    """What was granted to one outermost scope, until it is settled."""

    pico: float
    """Pico-dollars that may be spent; `inf` for no limit."""
    tokens: float
    listener: Listener | None

    def opened(self, account: Account) -> None:
        """The scope is entered now, as *account*."""
        ...

    def extend(self, pico: int, tokens: int) -> None:
        """Have more set aside.

        Raises:
            BudgetExceededError: a budget that is shared with others has nothing left for it.
        """
        ...

    async def aextend(self, pico: int, tokens: int) -> None:
        """`extend` without blocking the event loop."""
        ...

    def settle(self, error: BaseException | None) -> None:
        """Say what was spent; *error* is what the scope was left with, and must not be hidden by one of ours."""
        ...

    async def asettle(self, error: BaseException | None) -> None:
        """`settle` without blocking the event loop."""
        ...

    def settle_soon(self) -> None:
        """Have it settled in the background, unless it is: who is interrupted waits for nothing."""
        ...


class Backing(Protocol):
    """Grants reservations to the outermost scopes of a run."""

    def reserve(self, ask: Ask) -> Reservation:
        """Have *ask* set aside.

        Raises:
            BudgetExceededError: a budget that is shared with others has nothing left for it.
        """
        ...

    async def areserve(self, ask: Ask) -> Reservation:
        """`reserve` without blocking the event loop."""
        ...
