"""Streams that reach us as parsed chunks, not as bytes: google-genai's and the legacy SDK's.

Every chunk of Gemini's says what was used so far, and the last word on each count holds. So the common chunk is only
kept; chunks are read when a limit has come near, and when the stream ends, however it does.
"""

import math
import weakref
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from functools import partial
from typing import Any, TypeVar

from actguard.budget.usage import NOTHING, Bill, Usage
from actguard.providers.body import is_object
from actguard.providers.call import Call, current_call
from actguard.providers.faults import log_malformed, log_once
from actguard.providers.reader import Reader
from actguard.providers.wire import parse_json

_G = TypeVar("_G")
_KEEP = 1 << 20  # characters kept unread at most, for the case that the stream ends early
_END: Any = object()

# What may stand in an earlier chunk and be missing in the last, as JSON spells it (a text has its quotes escaped). The
# details of cached tokens and of tools stand beside their counts.
_USAGE = (
    *('"promptTokenCount"', '"candidatesTokenCount"', '"thoughtsTokenCount"', '"toolUsePromptTokenCount"'),
    *('"cachedContentTokenCount"', '"totalTokenCount"', '"promptTokensDetails"', '"candidatesTokensDetails"'),
    *('"serviceTier"', '"trafficType"', '"modelVersion"', '"responseId"', '"groundingMetadata"'),
)

Parse = Callable[[Any], Mapping[str, Any]]


class ChunkTap:
    """Stands between one stream and its reader.

    Args:
        call: opened, and its hold granted.
        client: whose code makes the stream go on.
        parse: given a chunk that is not JSON text (`body`), the reply it is a part of, in the wire's own spelling. Such
            a chunk is read before it is passed on, as the SDK may change it.
    """

    def __init__(self, call: Call, client: Any, parse: Parse = dict) -> None:
        self.call = call
        self.reader = call.wire.reader(call.endpoint, call.model)
        self._client = client
        self._parse = parse
        self._kept: list[Any] = []
        self._whole = True  # everything that was received is still in _kept
        self._told = 0  # of the output that was received, bytes that a count covers
        self._done = False
        self._finalizer: weakref.finalize[Any, Any]

    def watched(self, stream: _G) -> _G:
        """*stream*, which `passing` or `apassing` made: settled also when it is dropped, even before it began."""
        self._finalizer = weakref.finalize(stream, self._end_early)
        self._finalizer.atexit = False
        self.call.tap = weakref.ref(self)
        self.call.read_here()
        return stream

    def closed(self) -> None:
        """Settle by what was received."""
        self._end_early()

    # ---- passing on ----

    def passing(self, source: Iterator[Any]) -> Iterator[Any]:
        """The chunks of *source*, whose request is sent when the first one is asked for.

        Raises:
            BudgetExceededError: it is certain that the stream passes a limit, or it did, and has ended.
        """
        try:
            before = current_call.get()
            try:
                current_call.set((self._client, self.call, None))
                chunk = next(source, _END)
            finally:
                current_call.set(before)
            self.call.opened()
            if chunk is not _END:
                keep, seen, look_at, written = self._kept.append, 0, 0, hasattr(chunk, "body")
                while True:
                    said = (chunk.body or "") if written else chunk
                    keep(said)
                    seen += len(said) if written else 1
                    if seen > look_at:
                        look_at = self._look(seen, written)
                    yield chunk
                    chunk = next(source, _END)
                    if chunk is _END:
                        break
        except BaseException as error:
            self._failed(error)
            raise
        finally:
            _close(source)
        self._end()

    async def apassing(self, source: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """`passing`, of a stream that is open already."""
        self.call.read_here()
        try:
            keep, seen, look_at = self._kept.append, 0, 0
            async for chunk in source:
                written = hasattr(chunk, "body")
                said = (chunk.body or "") if written else chunk
                keep(said)
                seen += len(said) if written else 1
                if seen > look_at:
                    look_at = self._look(seen, written)
                yield chunk
        except BaseException as error:
            self._failed(error)
            raise
        finally:
            close = getattr(source, "aclose", None)
            if close is not None:
                await close()
        self._end()

    # ---- looking ----

    def _look(self, seen: int, written: bool) -> int:
        """End the stream if what was received passes a limit for certain; else when to look again."""
        call = self.call
        if not call.account.limited:
            if seen > _KEEP or not written:
                self._catch_up()
            return seen + min(_KEEP, 2 * seen) if written else seen
        self._catch_up()
        try:
            usage = self._certain_usage()
            refusal, room = call.certainly_passes(usage), call.output_room(usage)
        except Exception:  # noqa: BLE001 - ours, not the caller's: his stream is paid for and must reach him
            self._log()
            return seen + _KEEP
        if refusal is not None and not self.reader.terminal:  # else all of it is there: told after the last chunk
            self._end_early()
            raise call.account.error(refusal)
        if not written:
            return seen
        return seen + (_KEEP if room == math.inf else int(min(_KEEP, room)))  # a token is one character at least

    def _certain_usage(self) -> Usage:
        bill = self._bill()
        reported = bill.lines[0].usage if bill is not None and bill.lines else NOTHING
        return reported._replace(output_tokens=max(reported.output_tokens, self.reader.delta_events))

    def _bill(self) -> Bill | None:
        try:
            return self.reader.bill()
        except Exception:  # noqa: BLE001 - ours, not the caller's: his stream is paid for and must reach him
            self._log()
            return None

    def _catch_up(self) -> None:
        self._whole = False
        kept = self._kept[:]
        self._kept.clear()
        for said in kept:
            self._feed(self.reader, said)

    def _catch_up_at_the_end(self) -> None:
        """Read the last chunk, and the ones before it only where they may say what it does not."""
        kept = self._kept
        if len(kept) > 1 and isinstance(kept[-1], str):
            last = kept[-1]
            reader = self.call.wire.reader(self.call.endpoint, self.call.model)
            self._feed(reader, last)
            earlier = "".join(kept[:-1])
            if reader.terminal and not any(key in earlier for key in _USAGE if key not in last):
                if self._whole:
                    self.reader = reader
                    kept.clear()
                else:
                    del kept[:-1]
                    self._catch_up()
                    self.reader.terminal = True  # though not every chunk was read in which a candidate ends
        self._catch_up()

    def _feed(self, reader: Reader, said: Any) -> None:
        try:
            event = parse_json(said) if isinstance(said, str) else self._parse(said)
            if is_object(event):
                reader.feed(event)
                usage = event.get("usageMetadata")
                if is_object(usage) and usage.get("candidatesTokenCount") is not None:
                    self._told = reader.delta_bytes
        except Exception:  # noqa: BLE001 - ours, not the caller's: his stream is paid for and must reach him
            self._log()

    def _log(self) -> None:
        log_once(f"reading a stream of {self.call.wire.name} {self.call.endpoint.name} failed", trace=True)

    # ---- ending ----

    def _end(self) -> None:
        """Read to its end."""
        self._conclude(self._settle)
        self.call.raise_if_refused()

    def _end_early(self) -> None:
        """It was not, and will not be: charged by what was received. May run in a finalizer: takes no lock."""
        self._conclude(self._settle_later if self.call.streaming else self.call.forgotten)

    def _conclude(self, settle: Callable[[], None]) -> None:
        if self._done:
            return
        try:
            self._done = True
            self._finalizer.detach()
            settle()
        except BaseException:
            self.call.settle_later(None)  # broken off, by Ctrl-C: nobody comes after us
            raise

    def _settle(self) -> None:
        self._catch_up_at_the_end()
        bill, received = self._outcome()
        if bill is None:
            if self.reader.malformed is not None:
                log_malformed(self.call.wire.name, self.reader.malformed)
            self.call.account.count_unmetered()
        self.call.settle(bill, received)

    def _settle_later(self) -> None:
        self._catch_up()
        self.call.settle_later(*self._outcome())

    def _failed(self, error: BaseException) -> None:
        self._conclude(self._settle_later if self.call.streaming else partial(self.call.failed, error))

    def _outcome(self) -> tuple[Bill | None, tuple[int, int] | None]:
        bill, reader = self._bill(), self.reader  # in this order: a bill that cannot be takes the end back
        return bill, None if reader.terminal else (reader.delta_bytes - self._told, reader.delta_events)


def _close(source: Any) -> None:
    close = getattr(source, "close", None)
    if close is not None:
        close()
