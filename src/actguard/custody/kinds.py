"""What kinds of facts may be called, and those that are a session's own."""

from typing import Any, Final

from actguard.exceptions import SessionUsageError

LASTING: Final = 7 * 86_400.0
"""Seconds that plans, marks and facts without a `ttl` are kept, at most."""
OWN: Final = "actguard."
"""Kinds that begin so are the session's own."""
PLAN: Final = OWN + "plan"
RAN: Final = OWN + "ran"
UNTRUSTED: Final = OWN + "untrusted"
HEAD: Final = "#head"
"""Behind a kind: the first characters of long values, which themselves are kept hashed."""


def own_kind(argument: str, kind: Any) -> str:
    """*kind*, if it may be the name of a kind of facts.

    Raises:
        SessionUsageError: it is none, or one of the session's own.
    """
    if not isinstance(kind, str) or not kind.strip() or kind.startswith(OWN) or kind.endswith(HEAD):
        raise SessionUsageError(
            f"{argument} must be a non-empty text that does not begin with {OWN!r}, not {kind!r}", argument=argument
        )
    return kind
