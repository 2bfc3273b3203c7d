"""What a request is, before it is sent: the vocabulary of the endpoint tables in `*/endpoints.py`."""

from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """How an endpoint is billed."""

    PRICED = "priced"
    """The reply carries what it billed."""
    FREE = "free"
    """Never billed, or billed elsewhere (a GET of a finished response)."""
    DEFERRED = "deferred"
    """Accepted now, billed later; settled once, by the read that finds it finished."""
    TERMINAL = "terminal"
    """A read that may find a deferred call finished; free otherwise."""
    UNMETERED = "unmetered"
    """Billed, but neither request nor reply says how much: the `unmetered` policy decides."""


class Endpoint(NamedTuple):
    name: str
    """Stable and short: `chat.completions`, `messages`, `generate_content`. Readers and estimators switch on it."""
    kind: Kind
