"""What a guard does where more than one answer is right: every option of BudgetGuard but its limits, validated once."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from decimal import Decimal
from inspect import iscoroutinefunction
from numbers import Real
from typing import TYPE_CHECKING, Any, Literal, get_args

from actguard.budget.usage import Usage
from actguard.exceptions import ActGuardUsageError

if TYPE_CHECKING:
    from actguard.budget.price_input import Amount

Reaction = Literal["block", "warn", "allow"]
UnknownPrice = Literal["refuse", "warn", "most_expensive", "zero"]
UnknownHost = Literal["native", "refuse"]
OnAbort = Literal["received", "reserve"]
IncludeUsage = Literal["auto", "always", "never"]
LostAttempts = Literal["charge", "ignore"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Options of a guard.

    Args:
        wait_timeout: seconds a call may wait for others in flight to settle; None: as long as any are in flight.
        warn_at: share of a limit, above 0 and up to 1, at which `on_warning` is called once. None: 0.8 with one, else
            never.
        unmetered: what to do with a billed call that cannot be metered (WebSockets, speech, ...).
            None: "block" under a limit, "warn" without one.
        unknown_price: what to do with a model without a known price, or what such models cost, in dollars per million
            tokens: {"input": 5, "output": 25}. None: as `actguard.prices.unknown` says.
        unknown_host: whose prices a host charges that is nobody's we know (a proxy, a local server): "native" takes
            those of the SDK's own provider; "refuse" treats its models as unpriced until `actguard.prices.host` says.
        unbounded: in strict mode, a call whose cost no bound can be given for (server tools, remote documents).
            "block" refuses it; "estimate" lets it through at an estimate, so that spend may pass the limit; a number
            reserves that many tokens for it.
        on_abort: what an early-ended stream is charged. "received": input and what arrived; "reserve": all that was set
            aside. None: "reserve" in strict mode (the provider may have generated more than arrived), else "received".
        lost_attempts: an attempt that was sent and not answered may have been billed: "charge" or "ignore" it.
        include_usage: ask chat streams for their usage. "auto": where the host is known to understand the question, or
            is not known at all.
        bypass: what to do when a provider is called around the SDKs that are watched: "warn", "block" or "allow".
        default_max_output: tokens to assume for the output of a call without a cap, to a model without a known maximum;
            in strict mode, the cap that such a call is given.
    """

    wait_timeout: float | None = None
    warn_at: float | None = None
    unmetered: Reaction | None = None
    unknown_price: "UnknownPrice | Mapping[str, Amount] | None" = None
    unknown_host: UnknownHost = "native"
    unbounded: Literal["block", "estimate"] | int = "block"
    on_abort: OnAbort | None = None
    lost_attempts: LostAttempts = "charge"
    include_usage: IncludeUsage = "auto"
    bypass: Reaction = "warn"
    default_max_output: int = 16_384

    def __post_init__(self) -> None:
        if self.wait_timeout is not None:
            number("wait_timeout", self.wait_timeout, "seconds, or None to wait as long as calls are in flight")
        if self.warn_at is not None:
            number("warn_at", self.warn_at, "a share of the limit such as 0.8")
            if self.warn_at > 1:
                raise ActGuardUsageError(f"warn_at must be at most 1, not {self.warn_at!r}", argument="warn_at")
        choice("unmetered", self.unmetered, (*get_args(Reaction), None))
        if isinstance(self.unknown_price, Mapping):
            _prices("unknown_price", self.unknown_price)
        else:
            choice(
                "unknown_price", self.unknown_price, (*get_args(UnknownPrice), None), also="prices per million tokens"
            )
        choice("unknown_host", self.unknown_host, get_args(UnknownHost))
        if not isinstance(self.unbounded, int) or isinstance(self.unbounded, bool):
            choice("unbounded", self.unbounded, ("block", "estimate"), also="a number of tokens to reserve")
        else:
            whole_number("unbounded", self.unbounded)
        choice("on_abort", self.on_abort, (*get_args(OnAbort), None))
        choice("lost_attempts", self.lost_attempts, get_args(LostAttempts))
        choice("include_usage", self.include_usage, get_args(IncludeUsage))
        choice("bypass", self.bypass, get_args(Reaction))
        whole_number("default_max_output", self.default_max_output)


OPTIONS = tuple(field.name for field in fields(Policy))


def no_such_option(name: str, others: tuple[str, ...]) -> ActGuardUsageError:
    """The error for an option that BudgetGuard does not have, with the one that may have been meant."""
    from difflib import get_close_matches

    near = get_close_matches(name, (*others, *OPTIONS), 1)
    meant = f" Did you mean {near[0]!r}?" if near else ""
    return ActGuardUsageError(
        f"BudgetGuard has no option {name!r}.{meant} There are {', '.join((*others, *OPTIONS))}.", argument=name
    )


def _prices(argument: str, prices: "Mapping[str, Amount]") -> None:
    from actguard.budget.price_input import rate_card

    try:
        rate_card(prices, "1M")
    except ActGuardUsageError as error:
        raise ActGuardUsageError(f"{argument}: {error.message}", argument=argument) from None


def number(argument: str, value: Any, meaning: str) -> Any:
    """*value*, if it is a positive, finite number.

    Raises:
        ActGuardUsageError: otherwise; names *argument* and says what is allowed.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, Real, Decimal)):
        raise ActGuardUsageError(
            f"{argument} must be a number ({meaning}), not {type(value).__name__}", argument=argument
        )
    if not _is_finite(value) or value <= 0:
        raise ActGuardUsageError(
            f"{argument} must be positive and finite ({meaning}), not {value!r}", argument=argument
        )
    return value


def whole_number(argument: str, value: Any, of: str = "tokens") -> int:
    """*value*, if it is a positive whole number."""
    number(argument, value, f"a whole number of {of}")
    if value != int(value):
        raise ActGuardUsageError(f"{argument} must be a whole number of {of}, not {value!r}", argument=argument)
    return int(value)


def amount(usd: Any) -> float:
    """*usd*, if it is an amount that may have been spent.

    Raises:
        ValueError: it is negative, not finite, or no number.
    """
    if isinstance(usd, bool) or not isinstance(usd, Real | Decimal) or not _is_finite(usd) or usd < 0:
        raise ValueError(f"usd must be a finite number of dollars, 0 or more, not {usd!r}")
    return float(usd)


def _is_finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except (OverflowError, ValueError):  # an integer beyond every float, a signalling NaN
        return False


def counts(argument: str, value: Any) -> None:
    """Refuse what is no `Usage`, or holds anything but counts: negative ones would give budget back."""
    if not isinstance(value, Usage) or any(type(count) is not int or count < 0 for count in value):
        raise ActGuardUsageError(
            f"{argument} must be a Usage of whole numbers, 0 or more, not {value!r}", argument=argument
        )


def text(argument: str, value: Any, *, optional: bool = True) -> None:
    if not (value is None and optional) and (not isinstance(value, str) or not value):
        raise ActGuardUsageError(f"{argument} must be a non-empty string, not {value!r}", argument=argument)


def choice(argument: str, value: Any, allowed: tuple[Any, ...], *, also: str = "") -> None:
    if not any(value is option or (isinstance(value, str) and value == option) for option in allowed):
        options = ", ".join(repr(option) for option in allowed) + (f", or {also}" if also else "")
        raise ActGuardUsageError(f"{argument} must be one of {options}, not {value!r}", argument=argument)


def instance(argument: str, value: Any, kind: type) -> None:
    if value is not None and not isinstance(value, kind):
        raise ActGuardUsageError(f"{argument} must be a {kind.__name__}, not {value!r}", argument=argument)


def callback(argument: str, value: Callable[..., Any] | None) -> None:
    if value is not None and not callable(value):
        raise ActGuardUsageError(f"{argument} must be callable, not {type(value).__name__}", argument=argument)
    if value is not None and iscoroutinefunction(value):
        raise ActGuardUsageError(
            f"{argument} is called between two steps of a call, where nothing can be awaited: give a plain function",
            argument=argument,
        )
