"""Account: a BudgetScope in use, with what belongs to a live one: its queue, its policy, its prices, its refusals."""

import copy
import logging
import math
import os
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from actguard.budget.admission import Admission
from actguard.budget.charge import Charge
from actguard.budget.hold import Hold
from actguard.budget.policy import Policy
from actguard.budget.scope import BudgetScope, Refusal
from actguard.exceptions import BudgetExceededError, BudgetWaitTimeoutError
from actguard.money import format_usd, to_usd

if TYPE_CHECKING:
    from actguard.budget.pricing import PriceBook

logger = logging.getLogger("actguard")


class BudgetWarning(UserWarning):
    """`warn_at` was reached, or something about a budget deserves a look; calls go on."""


class Spend(NamedTuple):
    """A charge that was counted, and will not be corrected any more."""

    charge: Charge
    kind: Literal["call", "cost"] = "call"
    """A paid call, or external spend."""
    provider: str = ""
    response_id: str | None = None
    model: str = ""
    """As the request named it; the charge has it as the reply did."""
    contexts: tuple[tuple[tuple[str, str], ...], ...] = ()
    """For each item of the charge, what selected the variant of its price."""


class Listener(Protocol):
    """Told what happens in one tree of scopes.

    It may be called from any thread, and from finalizers, which run at any allocation: it takes no lock, does no I/O,
    and raises nothing.
    """

    def spent(self, account: "Account", spend: Spend) -> None: ...

    def refused(self, account: "Account", error: BudgetExceededError) -> None: ...

    def unfinished(self, account: "Account", hold: Hold) -> None:
        """*account* is left while *hold* runs on: it is charged by estimate for now, and `spent` when it ends."""
        ...


class Outputs:
    """How long the replies of one model were, in one tree of scopes: what the next one is expected to be at most.

    Nothing is known before the first reply; after it, the longest so far with a margin that shrinks as replies come in.
    Kept per tree, not per process: what another budget's short answers were says nothing about this one's.
    """

    __slots__ = ("longest", "replies")

    def __init__(self) -> None:
        self.longest = 0
        self.replies = 0

    def observe(self, tokens: int) -> None:
        """Take note of a reply of so many tokens."""
        self.replies += 1
        if tokens > self.longest:
            self.longest = tokens

    def expect(self) -> int | None:
        return None if not self.replies else self.longest + 2 * self.longest // self.replies + 1


class Account(BudgetScope):
    """A live scope. Calls capture it when they are opened, and settle into it whenever they end."""

    __slots__ = (
        "admission",
        "blocked",
        "book",
        "estimated",
        "limited",
        "listener",
        "on_warning",
        "outputs",
        "parent_account",
        "pid",
        "policy",
        "run_id",
        "told",
        "usd_limited",
        "user_id",
        "warned",
        "watched",
    )

    def __init__(
        self,
        id: str,
        *,
        user_id: str | None,
        run_id: str,
        policy: Policy,
        book: "PriceBook",
        parent: "Account | None" = None,
        name: str | None = None,
        limit_pico: float = math.inf,
        limit_tokens: float = math.inf,
        strict: bool = False,
        on_warning: Callable[[], None] | None = None,
        listener: Listener | None = None,
    ) -> None:
        super().__init__(id, parent=parent, name=name, limit_pico=limit_pico, limit_tokens=limit_tokens, strict=strict)
        self.parent_account = parent
        self.user_id = user_id
        self.run_id = run_id
        self.policy = policy
        self.book = book
        self.admission: Admission = parent.admission if parent else Admission()
        self.outputs: dict[str, Outputs] = parent.outputs if parent else {}
        self.told: set[str] = parent.told if parent else set()  # what was warned about once
        self.on_warning = on_warning
        self.listener = listener
        self.warned = False
        self.blocked: BudgetExceededError | None = None
        self.pid = os.getpid()
        self.mark_limited()
        self.estimated = not all(scope.strict for scope in self.chain)  # a strict scope asks for bounds alone
        self.watched: bool = policy.warn_at is not None or (parent is not None and parent.watched)

    def accounts(self) -> "Iterator[Account]":
        """This one and all it is nested in."""
        account: Account | None = self
        while account is not None:
            yield account
            account = account.parent_account

    def mark_limited(self) -> None:
        """Note which kinds of limit there are: a limit can be raised while calls run, but not appear."""
        self.usd_limited = any(scope.limit_pico != math.inf for scope in self.chain)
        self.limited = self.usd_limited or any(scope.limit_tokens != math.inf for scope in self.chain)

    def restrict(self, limit_pico: float, limit_tokens: float) -> None:
        """Lower the limits to what somebody else has granted. Before the first call, or between two entries."""

        def lower() -> None:
            self.limit_pico = min(self.limit_pico, limit_pico)
            self.limit_tokens = min(self.limit_tokens, limit_tokens)

        self.admission.locked(lower)
        self.mark_limited()

    # ---- told by a call ----

    def error(self, refusal: Refusal, *, response: Any = None, reported: bool = False) -> BudgetExceededError:
        """The public error for *refusal*; remembered by every guard between the call and the limit, which shows it to
        its user even when a framework has swallowed or rewrapped it.

        Args:
            reported: the limit was passed by what the program itself reported, not by a call.
        """
        stopped = refusal.scope
        assert isinstance(stopped, Account)
        error = BudgetExceededError(describe(stopped, refusal, reported), response=response, **stopped._fields(refusal))
        if self.listener is not None:
            self.listener.refused(self, error)
        kept = copy.copy(error)  # what is raised gets a traceback, and keeps alive all that the program had in hand
        for account in self.accounts():
            if account.standing_block() is None:
                account.blocked = kept
            if account is stopped:
                break
        return error

    def standing_block(self) -> BudgetExceededError | None:
        """The first refusal that still stands here, to be raised; `extend` on the scope that refused lifts it."""
        blocked = self.blocked
        if blocked is None or not any(scope.id == blocked.scope_id and scope.refused for scope in self.chain):
            return None
        return copy.copy(blocked)

    def timeout_error(self, scope: BudgetScope) -> BudgetWaitTimeoutError:
        assert isinstance(scope, Account)
        refusal = Refusal(scope, "usd" if scope.limit_pico != math.inf else "token")
        waited = f"waited {self.policy.wait_timeout:g} s" if self.policy.wait_timeout else "had to wait, and cannot,"
        error = BudgetWaitTimeoutError(
            f"The call {waited} for other calls in {label(scope)} to settle. "
            "Raise wait_timeout or the limit, or give the calls smaller output caps.",
            **scope._fields(refusal),
        )
        if self.listener is not None:
            self.listener.refused(self, error)
        return error

    def _fields(self, refusal: Refusal) -> dict[str, Any]:
        return {
            "user_id": self.user_id,
            "tokens_used": self.used_tokens,
            "token_limit": self.limit_tokens,
            "usd_used": to_usd(self.used_pico),
            "usd_limit": self.limit_pico if self.limit_pico == math.inf else to_usd(int(self.limit_pico)),
            "limit_type": refusal.limit_type,
            "phase": refusal.phase,
            "scope_id": self.id,
            "scope_name": self.name,
            "scope_kind": "nested" if self.parent else "root",
            "parent_scope_id": self.parent.id if self.parent else None,
            "root_scope_id": self.root.id,
        }

    # ---- after a call ----

    def count_unmetered(self) -> None:
        """A call went through whose usage nobody knows: shown in `unmetered_calls`, here and in all it is nested in."""

        def count() -> None:
            for scope in self.chain:
                scope.unmetered_calls += 1

        self.admission.later(count)  # also from finalizers

    def warn_if_due(self) -> None:
        """Tell, once per account, that `warn_at` of a limit is used. Outside the lock: it may run user code."""
        for account in self.accounts():
            share = account.policy.warn_at
            if share is not None and account._is_due(share) and account._is_first_to_warn(share):
                account._warn(share)

    def tell_once(self, key: str, message: str) -> None:
        """Warn about *key* the first time it occurs in this tree of scopes."""
        if key not in self.told and len(self.told) < 1000:
            self.told.add(key)
            warnings.warn(message, BudgetWarning, stacklevel=3)

    def _is_due(self, share: float) -> bool:
        return not self.warned and (
            self.used_pico >= share * self.limit_pico or self.used_tokens >= share * self.limit_tokens
        )

    def _is_first_to_warn(self, share: float) -> bool:
        """Of threads that find a warning due at once, one is to give it: `on_warning` may extend the budget."""
        first = False

        def note() -> None:
            nonlocal first
            first = self._is_due(share)
            self.warned = self.warned or first

        self.admission.locked(note)
        return first

    def _warn(self, share: float) -> None:
        message = f"{share:.0%} of {label(self)} is used"
        try:
            if self.on_warning is None:
                warnings.warn(message, BudgetWarning, stacklevel=2)
            else:
                self.on_warning()
        except Exception:  # a mistake in a callback, a warning made an error: neither may cost a reply that is paid for
            logger.exception("%s; telling so failed", message)


def label(account: Account) -> str:
    """How messages name a budget, within a sentence."""
    whose = f" of user {account.user_id!r}" if account.user_id else ""
    return f"budget {account.name!r}{whose}" if account.name else f"the budget{whose}"


def sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def describe(account: Account, refusal: Refusal, reported: bool = False) -> str:
    """One sentence: which budget, what of how much, and what happened to the call."""
    if refusal.limit_type == "usd":
        figures = f"{calm_usd(account.used_pico)} of {calm_usd(account.limit_pico)}"
    else:
        figures = f"{calm_tokens(account.used_tokens)} of {calm_tokens(account.limit_tokens)} tokens"
    spent = account.used_pico if refusal.limit_type == "usd" else account.used_tokens
    limit = account.limit_pico if refusal.limit_type == "usd" else account.limit_tokens
    state = "is used up"
    if refusal.phase == "during":
        what = "the stream was ended, as it would have passed the limit"
    elif reported:
        what = "what was reported last is counted"
    elif refusal.phase == "after":
        what = "the last call was paid for; its reply is in .response unless it was streamed"
    elif spent < limit:
        state = "has too little left"
        what = "what remains does not cover the call, which was not sent"
    else:
        what = "the call was not sent"
    return f"{sentence(label(account))} {state}: {figures} spent; {what}."


def calm_usd(pico: float) -> str:
    """Dollars for a message, with no digits in it that read as an HTTP status (see exceptions.py)."""
    plain = format_usd(pico)
    if "429" not in plain or pico == math.inf:
        return plain
    return _without_429(f"${pico / 10**12:.{decimals}f}" for decimals in (3, 5, 2, 6, 1))


def calm_tokens(tokens: float) -> str:
    if tokens == math.inf:
        return "inf"
    thousands, millions = tokens / 1_000, tokens / 1_000_000
    return _without_429((f"{tokens:,.0f}", f"{thousands:,.1f}k", f"{thousands:,.2f}k", f"{millions:.2f}M"))


def _without_429(candidates: "Iterator[str] | tuple[str, ...]") -> str:
    shown = ""
    for shown in candidates:
        if "429" not in shown:
            return shown
    return f"about {shown[:-1]}"
