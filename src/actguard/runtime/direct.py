"""Bodies of reserve and settle requests that a program makes itself, without a guard."""

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, cast

from actguard.budget.policy import number, text, whole_number
from actguard.events.envelope import uuid7
from actguard.exceptions import ActGuardUsageError
from actguard.money import PICO_PER_USD, from_usd
from actguard.runtime.run import WhenShort, checked_plan_key, checked_when_short
from actguard.transport.names import check_fits

_PICO_PER_MICRO = PICO_PER_USD // 1_000_000


def reserve_body(
    run_id: str,
    user_id: str | None = None,
    usd_limit: float | None = None,
    token_limit: int | None = None,
    plan_key: str | None = None,
    cost_limit: int | None = None,
    reserve_id: str | None = None,
    when_short: WhenShort = "deny",
) -> dict[str, Any]:
    """Raises:
    ActGuardUsageError: a wrong argument.
    """
    text("run_id", run_id, optional=False)
    for argument, given in (("run_id", run_id), ("user_id", user_id), ("reserve_id", reserve_id)):
        text(argument, given)
        check_fits(argument, given)
    body: dict[str, Any] = {"run_id": run_id, "reserve_id": reserve_id or uuid7()}
    if checked_when_short(when_short) != "deny":
        body["when_short"] = when_short
    if user_id is not None:
        body["user_id"] = user_id
    if plan_key is not None:
        body["plan_key"] = checked_plan_key(plan_key)
    if usd_limit is not None:
        body["usd_limit_micros"] = -(-from_usd(number("usd_limit", usd_limit, "dollars")) // _PICO_PER_MICRO)
    if token_limit is not None:
        body["token_limit"] = whole_number("token_limit", token_limit)
    if cost_limit is not None:
        body["cost_limit"] = whole_number("cost_limit", cost_limit, "thousandths of a dollar")
    return body


def settle_body(
    reserve_id: str,
    input_tokens: int,
    cached_input_tokens: int,
    output_tokens: int,
    usage_breakdown: Sequence[Mapping[str, Any]],
    more: Mapping[str, Any],
) -> tuple[dict[str, Any], str]:
    """The body, and its idempotency key: the same settle has the same one.

    Raises:
        ActGuardUsageError: a wrong argument.
    """
    text("reserve_id", reserve_id, optional=False)
    check_fits("reserve_id", reserve_id)
    body: dict[str, Any] = {"reserve_id": reserve_id}
    for argument, count in (
        ("input_tokens", input_tokens),
        ("cached_input_tokens", cached_input_tokens),
        ("output_tokens", output_tokens),
    ):
        if type(count) is not int or count < 0:
            raise ActGuardUsageError(f"{argument} must be a whole number, 0 or more, not {count!r}", argument=argument)
        body[argument] = count
    lines: Any = usage_breakdown  # no iterator: it would be read up here, and its spend told to nobody
    if not isinstance(lines, Sequence) or not all(isinstance(line, Mapping) for line in cast("list[Any]", lines)):
        raise ActGuardUsageError("usage_breakdown must be a list of mappings", argument="usage_breakdown")
    body["usage_breakdown"] = [dict(line) for line in usage_breakdown]
    body |= {name: value for name, value in more.items() if value is not None}
    try:
        said = json.dumps(body, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError):
        raise ActGuardUsageError("a settle may hold only what JSON can", argument="usage_breakdown") from None
    return body, f"{reserve_id[:150]}:{sha256(said.encode()).hexdigest()[:32]}"
