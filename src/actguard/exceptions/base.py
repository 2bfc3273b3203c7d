"""What every error has, and the branches of the tree."""

import copy
import re
from collections.abc import Mapping
from typing import Any, ClassVar, Self, TypeVar

E = TypeVar("E", bound="ActGuardError")

# What retry and truncation logic in the wild looks for in an error's text.
_SIGNALS = re.compile(r"429|rate limit|too many requests|maximum context length|input is too long", re.IGNORECASE)


def unmistakable(text: str) -> str:
    """*text* with no signal in it that a framework would take for a throttled or over-long request."""
    calm = _SIGNALS.sub(lambda found: f"{found[0][0]}·{found[0][1:]}", text)
    if _SIGNALS.search(repr(calm)):  # which writes what cannot be printed in figures
        calm = "".join(letter if letter.isprintable() else "·" for letter in calm)
    return calm


def times(count: int) -> str:
    return "once" if count == 1 else "twice" if count == 2 else f"{count} times"


def seconds(seconds: float) -> str:
    figures = f"{seconds:.3g}" if seconds < 100 else f"{seconds:.0f}"  # and no 3.6e+03
    return "1 second" if figures == "1" else f"{figures} seconds"


class ActGuardError(Exception):
    """Base of every error of actguard.

    Args:
        message: one or two sentences for a person, with the fix where there is one.
        code: stable upper-case word for programs; a default per class.
        reason: short lower-case cause, where one code has several.
        details: facts behind the decision; never secrets.
        retryable: whether the same call may succeed later without any change.
    """

    default_code: ClassVar[str] = "ACTGUARD_ERROR"
    default_retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str = "",
        code: str | None = None,
        reason: str | None = None,
        details: Mapping[str, Any] | None = None,
        retryable: bool | None = None,
    ) -> None:
        self.message = unmistakable(message or type(self).__name__)
        super().__init__(self.message)
        self.code = code or self.default_code
        self.reason = reason
        self.details: dict[str, Any] = dict(details or {})
        self.retryable = self.default_retryable if retryable is None else retryable

    def to_prompt(self) -> str:
        """One sentence that a model can act on."""
        return f"The call was not completed: {self.message}"

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self.args, self._portable_state())

    def __copy__(self) -> Self:
        return _restore(type(self), self.args, self.__dict__)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return _restore(type(self), self.args, {name: _deep(value, memo) for name, value in self.__dict__.items()})

    def _portable_state(self) -> dict[str, Any]:
        return dict(self.__dict__)


def _restore(cls: type[E], args: tuple[Any, ...], state: Mapping[str, Any]) -> E:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


def _deep(value: Any, memo: dict[int, Any]) -> Any:
    """A copy of *value*; itself, if it is a live stream or connection: in this process nothing has to stay behind."""
    try:
        return copy.deepcopy(value, memo)
    except Exception:  # noqa: BLE001 - whatever an object of the caller's raises when it is copied
        return value


def without_what_stays(state: dict[str, Any], name: str) -> dict[str, Any]:
    """*state*, where a live stream or connection under *name* stays behind: the refusal itself must travel.

    So does an HTTP response, as its request has the key of an API in its headers.
    """
    import pickle

    value = state[name]
    try:
        stays = hasattr(value, "status_code") and hasattr(value, "request")
        pickle.dumps(value)
    except Exception:  # noqa: BLE001 - whatever an object of the caller's raises when it is pickled
        stays = True
    if stays:
        state[name] = None
    return state


class ActGuardToolError(ActGuardError):
    """About one tool or model call."""

    default_code = "TOOL_ERROR"

    tool: str | None = None
    """The function it happened to, as guards name it."""
    guard: str | None = None
    """The guard that said so: "rate_limit", ..."""
    retry_after: float | None = None
    """Seconds until the same call may succeed; infinite: never; None: nobody knows, or never."""
    unstarted: str | None = None
    """The function that was not even begun, by its id: a call of it has done nothing. None: it was, or nobody knows."""


class ToolGuardError(ActGuardToolError):
    """A guard refused; what it guards was not run (or, for a budget, was paid and is handed over)."""

    default_code = "TOOL_BLOCKED"


class ToolExecutionError(ActGuardToolError):
    """The guarded work was started and did not succeed."""

    default_code = "TOOL_FAILED"


class ActGuardRuntimeError(ActGuardError):
    """Something around the call: context, transport, an SDK."""

    default_code = "RUNTIME_ERROR"


class ActGuardRuntimeContextError(ActGuardRuntimeError):
    """Entered, left or nested in a place where that cannot work."""

    default_code = "RUNTIME_CONTEXT"


class ActGuardUsageError(ActGuardError):
    """Wrong use of the API: `argument` names what is wrong, and the message says what is allowed."""

    default_code = "USAGE_ERROR"

    def __init__(
        self,
        message: str = "",
        code: str | None = None,
        reason: str | None = None,
        details: Mapping[str, Any] | None = None,
        retryable: bool | None = None,
        *,
        argument: str | None = None,
    ) -> None:
        super().__init__(message, code, reason, details, retryable)
        self.argument = argument
