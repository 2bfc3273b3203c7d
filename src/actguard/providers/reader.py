"""Reader: what the readers of all providers' streams have in common (`*/reply.py`)."""

from typing import Any

from actguard.budget.usage import Bill, MalformedUsage
from actguard.providers.body import Body, text_of
from actguard.providers.endpoint import Endpoint


class Reader:
    """Follows one stream, event by event, and knows at any time what has been billed so far."""

    __slots__ = (
        *("_endpoint", "_model", "_reply", "delta_bytes", "delta_events", "error", "malformed", "replies", "terminal"),
    )

    def __init__(self, endpoint: Endpoint, model: str) -> None:
        self._endpoint = endpoint
        self._model = model
        self._reply: dict[str, Any] = {}  # what a reply in one piece would have said
        self.terminal = False
        """The provider said that this was the end, and its usage is complete. Results of a batch never say so."""
        self.replies = 1
        """How many replies the stream holds, each with usage of its own: the pictures that were asked for."""
        self.error = False
        """An error was reported within the stream."""
        self.malformed: str | None = None
        """What was wrong with the usage, once `bill` found that it cannot be; or with that of one result of a batch."""
        self.delta_bytes: int = 0
        """UTF-8 bytes of text, arguments and thoughts so far."""
        self.delta_events: int = 0
        """Events that carried at least one output token: a sure lower bound of the output."""

    def feed(self, event: Body) -> None:
        """Take note of one parsed event."""
        raise NotImplementedError

    def bill(self) -> Bill | None:
        """What has been reported so far. None if nothing was, or nothing that can be; `terminal` is then taken back."""
        try:
            bill = self._bill()
        except MalformedUsage as malformed:
            self.malformed, bill = str(malformed), None
        self.terminal = self.terminal and bill is not None
        return bill

    @property
    def response_id(self) -> str | None:
        """The provider's id of the reply, as soon as it was said."""
        return text_of(self._reply, "id")

    def _bill(self) -> Bill | None:
        raise NotImplementedError
