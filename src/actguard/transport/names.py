"""Names on the wire: at most 200 characters, none of them a control character. Pure."""

import re
from hashlib import sha256
from typing import Final

from actguard.exceptions import ActGuardUsageError

LONGEST: Final = 200
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]+")


def fitting(name: str) -> str:
    """*name* as the gateway takes it: what is spent under it must not be refused for its sake."""
    if len(name) <= LONGEST and name.isprintable():
        return name
    readable = _CONTROL.sub(" ", name)
    return readable if len(readable) <= LONGEST else f"{readable[: LONGEST - 1]}…"


def check_fits(argument: str, value: str | None, longest: int = LONGEST) -> None:
    """Refuse an id that the gateway would refuse: another one in its place would be somebody else's.

    Raises:
        ActGuardUsageError: it is too long, or has a control character in it.
    """
    if value is not None and (len(value) > longest or _CONTROL.search(value)):
        raise ActGuardUsageError(
            f"{argument} must have at most {longest} characters, none of them a control character, to be known to a "
            f"gateway: {value[:80]!r}",
            argument=argument,
        )


def header_key(key: str) -> str:
    """*key* as a header can carry it: the same for the same one."""
    if key.isascii() and key.isprintable() and key == key.strip():
        return key
    return sha256(key.encode(errors="backslashreplace")).hexdigest()
