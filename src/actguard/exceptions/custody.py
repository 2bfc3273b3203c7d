"""Custody said no."""

from collections.abc import Mapping
from typing import Any

from actguard.exceptions.base import ToolGuardError, unmistakable, without_what_stays


class PolicyViolationError(ToolGuardError):
    """Custody refused: see `code`, `details` and `fix_hint`.

    - `NO_SESSION`: no session is open, or the one that was is over.
    - `MISSING_FACT`: an argument is nothing that was read (`reason`: unknown, source, trust, age, used).
    - `RECORD_MISMATCH`: arguments were not read together.
    - `THRESHOLD_EXCEEDED`: a number, or a sum, is out of bounds.
    - `PATTERN_BLOCKED`: a text matches what it must not, or does not match what it must.
    - `VALUE_NOT_ALLOWED`, `HOST_NOT_ALLOWED`: an argument is none of those it may be.
    - `SECRET_LEAK`: an argument carries a value that may not leave.
    - `TOOL_REQUIRED`, `UNTRUSTED_INPUT`, `NOT_IN_PLAN`: what happened before does not allow the call.
    - `RULE_VIOLATED`: a rule of the program's own refused.
    - `MISSING_ARGUMENT`: an argument that a rule needs was not given.
    - `INVALID_ARGUMENT`: an argument cannot be checked: NaN, a wrong type, too long or too deep.
    - `TOO_MANY_RESULTS`, `EXTRACT_FAILED`: a read was made, and proves nothing: what it returned is in `result`.
    """

    default_code = "POLICY_VIOLATION"

    def __init__(
        self,
        message: str = "",
        code: str | None = None,
        reason: str | None = None,
        details: Mapping[str, Any] | None = None,
        retryable: bool | None = None,
        *,
        fix_hint: str = "",
        result: Any = None,
    ) -> None:
        super().__init__(message, code, reason, details, retryable)
        self.fix_hint = fix_hint
        self.result = result

    def to_prompt(self) -> str:
        if not self.fix_hint:
            return f"Blocked by policy: {self.message}"
        return unmistakable(f"Blocked by policy: {self.message.removesuffix('.')}: {self.fix_hint}")

    def _portable_state(self) -> dict[str, Any]:
        return without_what_stays(super()._portable_state(), "result")
