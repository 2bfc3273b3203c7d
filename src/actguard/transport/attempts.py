"""When to try again, and when to stop: a deadline over all tries, and jittered pauses that grow. No clock inside."""

import random
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LEAST_SECONDS = 0.005
"""A try with less time than this is not worth beginning."""


class Attempts:
    """The tries of one request.

    Args:
        now: monotonic seconds, when the first try begins.
        timeout_s: for all tries and the pauses between them.
        base_s, most_s: the pause before the second try, and the longest.
        jitter: from 0 to 1; where in the upper half of a pause it ends.
    """

    def __init__(
        self,
        now: float,
        *,
        timeout_s: float,
        max_retries: int,
        base_s: float,
        most_s: float,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.deadline = now + timeout_s
        self.made = 0
        self._most = max_retries + 1
        self._base, self._most_s = base_s, most_s
        self._jitter = jitter

    def left(self, now: float) -> float:
        """Seconds until the deadline, never below a sliver, as 0 means "for ever" to a socket."""
        return max(LEAST_SECONDS, self.deadline - now)

    def pause(self, now: float, asked: float | None = None) -> float | None:
        """Seconds to wait before the next try, after one that failed; None: there is no further one.

        Args:
            asked: what the server asked for. It is never tried again earlier than that.
        """
        self.made += 1
        if self.made >= self._most:
            return None
        longest = min(self._most_s, self._base * 2 ** (self.made - 1))
        seconds = max(longest * (0.5 + self._jitter() / 2), asked or 0.0)
        return seconds if now + seconds + LEAST_SECONDS < self.deadline else None


def asked_pause(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Seconds of a Retry-After header, in either form; None without one that can be read."""
    value = headers.get("retry-after")
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            moment = parsedate_to_datetime(value).astimezone(UTC)
        except (ValueError, OverflowError):
            return None
        seconds = (moment - (now or datetime.now(UTC))).total_seconds()
    return max(0.0, seconds) if seconds == seconds else None
