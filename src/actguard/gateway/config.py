"""What a gateway may be told at its start."""

import json
import os
from dataclasses import asdict, dataclass

_VARIABLE = "ACTGUARD_GATEWAY_SETTINGS"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that is not in the database."""

    database: str | None = None
    """A path or a `postgresql://` URL; by default a file in the user's state folder."""
    default_hold_micros: int = 10_000_000
    """How much at most is held for a run that names no limit."""
    default_hold_tokens: int = 1_000_000
    hold_ttl_s: int = 900
    rate_limit: float = 0
    """Requests a second for each key; 0 for any number."""
    log_level: str = "info"
    answers_kept_days: int = 30
    """How long the answer to an idempotency key is kept."""
    events_kept_days: int = 30
    """How long events are kept one by one, and known when they come again; their sums are kept for ever."""

    def to_environment(self) -> None:
        """Hand them to worker processes."""
        os.environ[_VARIABLE] = json.dumps(asdict(self))

    @staticmethod
    def from_environment() -> "Settings":
        said = os.environ.get(_VARIABLE)
        return Settings(**json.loads(said)) if said else Settings()
