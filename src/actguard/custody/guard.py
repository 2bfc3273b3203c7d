"""What `prove`, `track` and `enforce` share as guards: the options that they take, and the session that they need."""

from collections.abc import Mapping
from typing import Any

from actguard.context import current_frame
from actguard.custody.life import Life
from actguard.exceptions import ActGuardUsageError, GuardError
from actguard.pipeline import settings
from actguard.pipeline.guard import Guard


def known_options(guard: str, options: Mapping[str, Any]) -> None:
    """Raises:
    ActGuardUsageError: one of *options* is none that these guards have, or has a value that is not for them.
    """
    allowed = ("mode", "on_block", "on_store_error")
    for name in options:
        if name not in allowed:
            raise ActGuardUsageError(f"{guard} has no option {name!r}; there are {', '.join(allowed)}", argument=name)
    if options.get("on_store_error") == "local":
        raise ActGuardUsageError(
            "on_store_error must be 'open' or 'closed': facts of another store are not here", argument="on_store_error"
        )


def is_watched(guard: Guard) -> bool:
    """Whether *guard* only says what it would have refused, by the settings of now."""
    return settings.current().mode_of(guard) == "observe"


def here(guard: str, tool: str) -> Life:
    """The session that the running code is in.

    Raises:
        GuardError: NO_SESSION: it is in none, or in one that is over.
    """
    life: Life | None = current_frame().session
    if life is None or life.ended:
        raise GuardError(
            f"{tool} needs a session, and {'none is open' if life is None else 'the one it was in is over'}: "
            "call it inside `with actguard.session():`",
            "NO_SESSION",
            "none" if life is None else "ended",
            {"guard": guard},
            fix_hint="This cannot be put right by calling again.",
        )
    return life
