"""How far a fact is to be trusted, by who could have written it."""

from typing import Final, Literal, get_args

from actguard.exceptions import ActGuardUsageError

Trust = Literal["text", "field", "user"]
"""text: found in free text, which anybody may have written. field: a field of a structured reply, such as an id that
the system behind the tool gave out. user: the user or the program itself said so."""

LABELS: tuple[Trust, ...] = get_args(Trust)
USER: Final = LABELS.index("user")
"""The rank of what the program itself says."""


def level(argument: str, label: object) -> int:
    """The rank of *label*: a higher one may stand where a lower one is asked for."""
    for rank, known in enumerate(LABELS):
        if label == known:
            return rank
    raise ActGuardUsageError(
        f"{argument} must be one of {', '.join(map(repr, LABELS))}, not {label!r}", argument=argument
    )
