"""The kinds of taps, and which one a response is given: server-sent events, AWS's event stream, JSON, lines."""

import copy
import json
from collections.abc import Callable
from typing import Any

from actguard.budget.usage import Bill
from actguard.exceptions import BudgetExceededError
from actguard.providers.aws_eventstream import EventStreamParser
from actguard.providers.body import is_object
from actguard.providers.call import Call
from actguard.providers.endpoint import Endpoint
from actguard.providers.faults import log_malformed
from actguard.providers.quote import ASKED
from actguard.providers.sse import LineParser, SSEParser
from actguard.providers.tap import KEEP, SMALLEST_EVENT, USAGE, EventTap, Tap
from actguard.providers.wire import parse_json

_BESIDE = (b'"model"', b'"service_tier"')  # what else a bill is made of
_DONE = b"[DONE]"
_GOING_ON = frozenset({"responses", "interactions"})  # which the provider may make without a listener
_EVENT_ENDS = (b"\n\n", b"\r\n\r\n")
_FEW = 8  # chunks that are read sooner than it is found out whether they must be


class SSETap(EventTap):
    """Server-sent events. Withholds the usage event that nobody but us asked for, and byte for byte nothing else.

    Chunks that are looked at are passed on in whole events, so that one can be withheld.
    """

    def __init__(self, call: Call) -> None:
        super().__init__(call)
        self._parser = SSEParser()
        self._unparsed = 0  # bytes of the event that is not complete yet
        self._ahead = 0  # so many of them were passed on already
        self._counted = self._events = 0  # kept chunks whose events were counted, and how many those are at most
        self._kept_from = 0  # bytes seen before them
        self._summed_up = False  # the usage of all choices was reported, by itself
        in_background = call.endpoint.name in _GOING_ON and call.body.get("background") is True
        self._nameless = in_background and call.deferred_as is None  # so that nobody can ask for it yet
        # Without usage, only the end of the stream says that it is over.
        self.every_chunk = self._nameless or not call.tells_usage
        if call.endpoint.name == "images":
            self.reader.replies = call.facts.choices

    def look(self, chunk: bytes, seen: int) -> bytes:
        told = USAGE in chunk
        if not (told or self.every_chunk) and chunk.endswith(_EVENT_ENDS) and self._far_from_a_limit(chunk, seen):
            return chunk
        if not (told and self._says_it_all(chunk)):
            self._catch_up()
        self._kept_from = seen
        passed: list[bytes] = []
        self._unparsed += len(chunk)
        for event in self._parser.feed(chunk):
            raw = event.raw[self._ahead :]
            self._unparsed -= len(event.raw)
            self._ahead = 0
            if event.data == _DONE:
                # An SDK reads no further: what the caller is to be told must be told instead of it.
                self._over = True
                self._safely(self._settle, self.call.settle, True)
                if self.call.refusal is not None:
                    self.ending = True
                    break
            elif self._read(event.data) and self.call.hide_usage:
                continue
            passed.append(raw)
        self._safely(self._conclusions, seen, told)
        untold = self.reader.terminal and not self._told
        self.every_chunk = bool(
            self._unparsed or untold or self._nameless or self.call.refusal or not self.call.tells_usage
        )
        return b"".join(passed)

    def _conclusions(self, seen: int, told: bool) -> None:
        if self._nameless and (name := self.reader.response_id) is not None:
            self._nameless = False
            self.call.can_be_asked_for(name)
        if self.reader.terminal:
            if not self._sum_is_to_come():
                self._over = True
                self._settle(self.call.settle)
        elif seen > self.look_at or (told and not self.reader.delta_events):  # the input alone may pass
            self._look_for_the_limit(seen)

    def _sum_is_to_come(self) -> bool:
        """Whether usage was asked for, and what was reported so far stood beside a choice: it may be of that alone."""
        call = self.call
        return (
            not self._summed_up
            and call.endpoint.name in ASKED
            and (call.hide_usage or call.facts.include_usage is True)
        )

    def _far_from_a_limit(self, chunk: bytes, seen: int) -> bool:
        """Keep *chunk* too, if no limit is passed even if every event that was kept is a token."""
        self._kept.append(chunk)
        self._events += sum(kept.count(b"data:") for kept in self._kept[self._counted :])
        self._counted = len(self._kept)
        room = self.call.output_room(self._certain_usage()) - self._events
        left = self._kept_from + KEEP - seen
        if room > 0 and left > 0:
            self.look_at = seen + min(left, (room + 1) * SMALLEST_EVENT)
            return True
        self._kept.pop()
        return False

    def _says_it_all(self, chunk: bytes) -> bool:
        """Forget what was kept, if the stream is over with *chunk*, and nothing else that is billed stands there."""
        kept = self._kept
        if len(kept) < _FEW or self._unparsed or not kept[-1].endswith(_EVENT_ENDS):
            return False
        before = b"".join(kept)
        if any(mark in before and mark not in chunk for mark in _BESIDE):
            return False
        reader = copy.deepcopy(self.reader)
        try:
            for event in SSEParser().feed(chunk):
                if event.data and event.data != _DONE:
                    reader.feed(parse_json(event.data))
            if reader.bill() is None or not reader.terminal or reader.response_id is None:
                return False
        except Exception:  # noqa: BLE001 - whatever it is, it is met again, and told, where all of it is read in turn
            return False
        kept.clear()
        self._counted = self._events = 0
        return True

    def _catch_up(self) -> None:
        super()._catch_up()
        self._counted = self._events = 0

    def _safely(self, action: Callable[..., None], *args: Any) -> None:
        """A fault of ours must not break the framing either: what is withheld is passed on later."""
        if self._broken:
            return
        try:
            action(*args)
        except BudgetExceededError:
            raise
        except Exception:  # noqa: BLE001 - see _look_safely
            self._give_up()

    def rest(self) -> bytes:
        """The last event, where no blank line ended it: some readers take it for one, so it is treated as one."""
        self._safely(self._catch_up)
        rest = b""
        for event in self._parser.flush():
            asked_for = self._read(event.data) and self.call.hide_usage
            rest += b"" if asked_for else event.raw[self._ahead :]
            self._ahead = 0
        return rest

    def parse(self, data: bytes) -> None:
        self._unparsed += len(data)
        for event in self._parser.feed(data):
            self._unparsed -= len(event.raw)
            self._read(event.data)
        self._ahead = self._unparsed

    def _read(self, data: bytes) -> bool:
        """Feed the reader one event; whether it says nothing but what was used."""
        if not data or data == _DONE:
            self._over = self._over or bool(data)
            return False
        try:
            event = parse_json(data)
        except (ValueError, RecursionError):
            return False  # the SDK will say what it thinks of it; what is not JSON bills nothing
        if not is_object(event):
            return False
        self._safely(self.reader.feed, event)
        usage_alone = event.get("choices") == [] and isinstance(event.get("usage"), dict)
        self._summed_up = self._summed_up or usage_alone
        return usage_alone


class AWSEventTap(EventTap):
    """AWS's binary event stream, as Bedrock sends it."""

    def __init__(self, call: Call) -> None:
        super().__init__(call)
        self._parser = EventStreamParser()

    def look(self, chunk: bytes, seen: int) -> bytes:
        self.parse(chunk)
        if seen > self.look_at:
            self._look_for_the_limit(seen)
        return chunk

    def parse(self, data: bytes) -> None:
        for event in self._parser.events(data):
            self.reader.feed(event)


class BodyTap(Tap):
    """One JSON document, read when it is complete. What is none (a transcript as text) is charged by estimate."""

    def look(self, chunk: bytes, seen: int) -> bytes:
        self._kept.append(chunk)
        return chunk

    def ended(self) -> None:
        self.call.reply_bytes(b"".join(self._kept))

    def reply(self) -> Any:
        """The response: who reads it whole has nothing of it yet, and could not read it again."""
        response = self._response()
        if response is not None:
            response._content = b"".join(self._kept)
        return response

    def abandoned(self) -> None:
        self.call.settle_later(None, None)


class LinesTap(EventTap):
    """One JSON document a line: the results of a message batch, which add up, and can be read again."""

    def __init__(self, call: Call, endpoint: Endpoint) -> None:
        super().__init__(call, endpoint)
        self._parser = LineParser()

    def look(self, chunk: bytes, seen: int) -> bytes:
        self.parse(chunk)
        return chunk

    def parse(self, data: bytes) -> None:
        self._feed(self._parser.feed(data))

    def ended(self) -> None:
        self._feed(self._parser.flush())
        bill, call = self.reader.bill(), self.call
        if self.reader.malformed is None:
            call.settle(bill or Bill(None, ()))
            return
        log_malformed(call.wire.name, self.reader.malformed)
        call.account.count_unmetered()
        call.settle(bill, None if bill is None else (0, 0))  # the other results hold, and are a part

    def abandoned(self) -> None:
        """Nothing is known of the rest, and nothing is lost."""

    def _feed(self, lines: list[bytes]) -> None:
        for line in lines:
            self.reader.feed(json.loads(line))


def tap(call: Call, response: Any, endpoint: Endpoint | None = None) -> None:
    """Read what *response*, whose body is still to come, bills.

    Args:
        endpoint: where it was asked for, if that is not where the call was made: a look at a deferred one.
    """
    if endpoint is not None and endpoint.name.endswith(".results"):
        LinesTap(call, endpoint).attach(response)
        return
    # What was asked for tells more than what the answer is called, which servers and proxies get wrong.
    kind = response.headers.get("content-type", "").lower()
    if kind.startswith("application/vnd.amazon.eventstream"):
        AWSEventTap(call).attach(response)
    elif kind.startswith("text/event-stream") or (call.facts.stream and "json" not in kind):
        SSETap(call).attach(response)
    else:
        BodyTap(call).attach(response)
