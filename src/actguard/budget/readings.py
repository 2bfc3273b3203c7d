"""What a guard tells, during and after: every figure of it that people read.

A call that runs on when its guard is left is in these figures as what it will likely come to, until it has ended.
Limits know nothing of that: an estimate refuses nobody, and what the call holds is held until its end.
"""

import math
from typing import Any, Literal

from actguard.budget.account import Account, calm_tokens, calm_usd
from actguard.budget.charge import Charge, Tally
from actguard.budget.usage import NOTHING
from actguard.money import to_usd


class Readings:
    """The readable side of a BudgetGuard."""

    user_id: str | None
    name: str | None
    _account: Account | None
    _run_id: str | None
    _limit_pico: float
    _limit_tokens: float

    @property
    def run_id(self) -> str | None:
        """The run this guard counts in; known once it was entered, or was given."""
        return self._account.run_id if self._account else self._run_id

    @property
    def token_limit(self) -> float:
        """Tokens; `math.inf` if unlimited."""
        return self._limit_tokens

    @property
    def usd_limit(self) -> float:
        """Dollars; `math.inf` if unlimited."""
        return math.inf if self._limit_pico == math.inf else to_usd(int(self._limit_pico))

    @property
    def tokens_used(self) -> int:
        """Tokens used here and in nested guards."""
        return self._spent()[1]

    @property
    def usd_used(self) -> float:
        """Dollars used here and in nested guards."""
        return to_usd(self._spent()[0])

    @property
    def tokens_remaining(self) -> float:
        """Tokens to this guard's own limit, never below 0; `math.inf` if unlimited."""
        return max(0, self._limit_tokens - self.tokens_used)

    @property
    def usd_remaining(self) -> float:
        """Dollars to this guard's own limit, never below 0; `math.inf` if unlimited."""
        return math.inf if self._limit_pico == math.inf else to_usd(max(0, int(self._limit_pico) - self._spent()[0]))

    @property
    def local_tokens_used(self) -> int:
        """Tokens used here, without nested guards."""
        return self._spent("local")[1]

    @property
    def local_usd_used(self) -> float:
        """Dollars used here, without nested guards."""
        return to_usd(self._spent("local")[0])

    @property
    def root_tokens_used(self) -> int:
        """Tokens used in the outermost guard around this one."""
        return self._spent("root")[1]

    @property
    def root_usd_used(self) -> float:
        """Dollars used in the outermost guard around this one."""
        return to_usd(self._spent("root")[0])

    @property
    def usage(self) -> dict[str, int]:
        """What was used by token kind (see `actguard.Usage`), kinds that occurred only."""
        total = NOTHING
        for tally in self._tallies().values():
            total = total.plus(tally.usage)
        return total.by_kind()

    @property
    def by_model(self) -> dict[str, dict[str, Any]]:
        """`calls`, `tokens`, `usd` and `usage` of each model, and of each cost that was added, by its name."""
        return {
            model: {
                "calls": tally.calls,
                "tokens": tally.usage.tokens,
                "usd": to_usd(tally.pico),
                "usage": tally.usage.by_kind(),
            }
            for model, tally in self._tallies().items()
        }

    @property
    def calls(self) -> int:
        """Calls that were billed, nested ones included; a cost that was added is one, too."""
        return self._settled().calls + len(self._expected()) if self._account else 0

    @property
    def estimated(self) -> bool:
        """Whether any figure comes from an estimate: a stream ended early, usage missing, an answer lost."""
        return self._account is not None and (self._settled().estimates > 0 or len(self._expected()) > 0)

    @property
    def unmetered_calls(self) -> int:
        """Calls that went through without known usage or, under a dollar limit, without a price."""
        return self._settled().unmetered_calls if self._account else 0

    @property
    def exceeded(self) -> bool:
        """Whether a limit has refused a call in this guard, or was passed by one; until `extend`."""
        return self._account is not None and (
            self._account.standing_block() is not None or self._account.refused is not None
        )

    @property
    def account(self) -> Account | None:
        """The scope itself, for adapters; None before the guard is entered for the first time."""
        return self._account

    def _spent(self, where: Literal["here", "local", "root"] = "here") -> tuple[int, int]:
        """Pico-dollars and tokens."""
        if self._account is None:
            return 0, 0
        scope = self._settled().root if where == "root" else self._settled()
        local = where == "local"
        pico, tokens = (scope.local_pico, scope.local_tokens) if local else (scope.used_pico, scope.used_tokens)
        for charge in self._expected(where):
            pico += charge.pico
            tokens += charge.tokens
        return pico, tokens

    def _tallies(self) -> dict[str, Tally]:
        if self._account is None:
            return {}
        tallies = self._settled().by_model
        for charge in self._expected():
            for model, usage, pico in charge.items:
                tallies.setdefault(model, Tally()).add(usage, pico, 1)
        return tallies

    def _expected(self, where: Literal["here", "local", "root"] = "here") -> list[Charge]:
        """Of calls that run on: what each will likely come to."""
        account = self._account
        assert account is not None
        outliving = account.admission.outliving(account.root if where == "root" else account)
        if where == "local":
            outliving = [hold for hold in outliving if hold.scope is account]
        return [hold.expected for hold in outliving if hold.expected is not None]

    def _settled(self) -> Account:
        account = self._account
        assert account is not None
        account.admission.settle_pending()
        return account

    def __repr__(self) -> str:
        who = f" {self.name!r}" if self.name else ""
        user = f" for {self.user_id!r}" if self.user_id else ""
        used, _ = self._spent()
        parts = [
            f"{calm_usd(used)} of {calm_usd(self._limit_pico)}" if self._limit_pico != math.inf else calm_usd(used),
            f"{calm_tokens(self.tokens_used)} of {calm_tokens(self._limit_tokens)} tokens"
            if self._limit_tokens != math.inf
            else f"{calm_tokens(self.tokens_used)} tokens",
            f"{self.calls} call{'' if self.calls == 1 else 's'}",
        ]
        flags = [flag for flag, on in (("estimated", self.estimated), ("exceeded", self.exceeded)) if on]
        return f"<BudgetGuard{who}{user}: {', '.join(parts + flags)}>"
