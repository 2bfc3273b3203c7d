"""A tap: a response body passes through untouched, and what it bills is read on the way. Their kinds are in taps.py.

The SDK keeps its own response and stream objects. A tap stands in for the *instance's* `iter_bytes`/`aiter_bytes`
(which every way of reading a body goes through, and which yields decoded bytes) and `close`/`aclose`, and is gone once
the body has ended. Only these hold the response, as its own HTTP library does in a cycle, and not the tap: an abandoned
one is freed as ever, and charged then.

The common chunk of a stream passes after two looks at its bytes. Only where usage may stand, where an event is split
between chunks, where a limit has come near, or where a stream ends without saying what it billed, are events parsed.
"""

import math
import weakref
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from functools import partial
from typing import Any

from actguard.budget.usage import NOTHING, Usage
from actguard.exceptions import BudgetExceededError
from actguard.providers.call import Call
from actguard.providers.endpoint import Endpoint
from actguard.providers.faults import log_malformed, log_once

USAGE = b'_tokens"'  # every provider's usage has such a key; text cannot contain it, as quotes in text are escaped
# Looked for by `partition`: `in` asks bytes first whether what is looked for is a number, and makes an error of that.
_NEWLINE = 10
SMALLEST_EVENT = 24  # bytes; so many bytes hold no more events than this allows
KEEP = 1 << 20  # bytes kept unparsed at most, for the case that the stream ends early


class Tap:
    """Stands between one response and its reader. Subclasses look at the bytes."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.look_at: float = 0  # bytes seen when the next look is due, whatever the chunk
        self.every_chunk = True  # look at every chunk
        self.ending = False  # after what was just passed on, the stream is over for the caller
        self._kept: list[bytes] = []
        self._done = False
        self._broken = False
        self._generator: weakref.ref[Any] | None = None
        self._response: weakref.ref[Any]
        self._finalizer: weakref.finalize[Any, Any]

    def look(self, chunk: bytes, seen: int) -> bytes:
        """Look at *chunk*, the last of *seen* bytes; returns what is to be passed on, which may be nothing.

        Raises:
            BudgetExceededError: it is certain now that the stream passes a limit.
        """
        raise NotImplementedError

    def rest(self) -> bytes:
        """At the end of the body: what was withheld for being incomplete."""
        return b""

    def ended(self) -> None:
        """The body was read to its end: settle."""
        raise NotImplementedError

    def abandoned(self) -> None:
        """It was not, and will not be: settle by what was received. May run in a finalizer: takes no lock."""
        raise NotImplementedError

    def reply(self) -> Any:
        """What there is of the reply beside what was passed on, for who is told that it passed a limit."""
        return None

    # ---- passing on ----

    def passing(self, source: Iterable[bytes]) -> Iterator[bytes]:
        keep, seen, look_at, every = self._kept.append, 0, self.look_at, self.every_chunk
        try:
            for chunk in source:
                seen += len(chunk)
                if every or not chunk or chunk[-1] != _NEWLINE or chunk.partition(USAGE)[1] or seen > look_at:
                    chunk = self._look_safely(chunk, seen)
                    look_at, every = self.look_at, self.every_chunk
                    if chunk:
                        yield chunk
                    if self.ending:
                        break
                else:
                    keep(chunk)
                    yield chunk
            rest = self.rest()
            if rest:
                yield rest
        except BaseException as error:
            self._end_early()
            if isinstance(error, BudgetExceededError):
                self._hang_up()  # or the provider goes on: some SDKs leave that to the collector
            raise
        if self.ending:
            self._hang_up()
        self._end()

    async def apassing(self, source: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        keep, seen, look_at, every = self._kept.append, 0, self.look_at, self.every_chunk
        try:
            async for chunk in source:
                seen += len(chunk)
                if every or not chunk or chunk[-1] != _NEWLINE or chunk.partition(USAGE)[1] or seen > look_at:
                    chunk = self._look_safely(chunk, seen)
                    look_at, every = self.look_at, self.every_chunk
                    if chunk:
                        yield chunk
                    if self.ending:
                        break
                else:
                    keep(chunk)
                    yield chunk
            rest = self.rest()
            if rest:
                yield rest
        except BaseException as error:
            self._end_early()
            if isinstance(error, BudgetExceededError):
                await self._ahang_up()
            raise
        if self.ending:
            await self._ahang_up()
        self._end()

    def _hang_up(self) -> None:
        """Close the response, unless nobody holds it any more: what read its last byte lets go of it."""
        if (response := self._response()) is not None:
            response.close()

    async def _ahang_up(self) -> None:
        if (response := self._response()) is not None:
            await response.aclose()

    def _look_safely(self, chunk: bytes, seen: int) -> bytes:
        try:
            return self.look(chunk, seen)
        except BudgetExceededError:
            raise
        except Exception:  # noqa: BLE001 - ours, not the caller's: his stream goes on, and is charged by estimate
            self._give_up()
            return chunk

    def _give_up(self) -> None:
        self._broken = True
        log_once(f"reading a stream of {self.call.wire.name} {self.call.endpoint.name} failed", trace=True)

    # ---- ending ----

    def _end(self) -> None:
        self._conclude(self.ended)
        self.call.raise_if_refused(self.reply)

    def _end_early(self) -> None:
        self._conclude(self.abandoned)

    def _conclude(self, settle: Callable[[], None]) -> None:
        if self._done:
            return
        try:
            self._done = True
            self._detach()
            if not self._broken:
                settle()
                return
        except Exception:  # noqa: BLE001 - ours again: the caller has his reply
            log_once(f"settling a stream of {self.call.wire.name} {self.call.endpoint.name} failed", trace=True)
        except BaseException:
            self.call.settle_later(None)  # broken off, by Ctrl-C: nobody comes after us
            raise
        self.call.settle_later(None)

    # ---- on the response ----

    def attach(self, response: Any) -> None:
        """Stand in for how *response* is read and closed."""
        self._response = weakref.ref(response)
        self._finalizer = weakref.finalize(response, self._end_early)
        self._finalizer.atexit = False
        self.call.tap = weakref.ref(self)
        self.call.opened()
        kind, attributes = response.__class__, response.__dict__
        if hasattr(kind, "iter_bytes"):
            attributes["iter_bytes"] = self._reading(response, "iter_bytes", self.passing)
            attributes["close"] = partial(self._close, response)
        if hasattr(kind, "aiter_bytes"):
            attributes["aiter_bytes"] = self._reading(response, "aiter_bytes", self.apassing)
            attributes["aclose"] = partial(self._aclose, response)

    def _reading(self, response: Any, name: str, passing: Callable[[Any], Any]) -> Callable[..., Any]:
        def read(*args: Any, **kwargs: Any) -> Any:
            source = getattr(response.__class__, name)(response, *args, **kwargs)
            if self._done or self._generator is not None:
                return source
            self.call.read_here()  # it may have been opened in a helper's task, say
            generator = passing(source)
            self._generator = weakref.ref(generator)
            return generator

        return read

    def _close(self, response: Any) -> None:
        try:
            response.__class__.close(response)
        finally:
            self.closed()

    async def _aclose(self, response: Any) -> None:
        try:
            await response.__class__.aclose(response)
        finally:
            self.closed()

    def closed(self) -> None:
        """Settle by what was received, unless the body is being read just now."""
        reading = self._generator() if self._generator is not None else None
        if reading is not None and (getattr(reading, "gi_running", False) or getattr(reading, "ag_running", False)):
            return  # the body closes its response itself at its end, and `passing` is about to see which end
        self._end_early()

    def _detach(self) -> None:
        self._finalizer.detach()
        response = self._response()
        if response is not None:
            for name in ("iter_bytes", "aiter_bytes", "close", "aclose"):
                response.__dict__.pop(name, None)


class EventTap(Tap):
    """A stream of events. Subclasses know their framing."""

    def __init__(self, call: Call, endpoint: Endpoint | None = None) -> None:
        super().__init__(call)
        self.reader = call.wire.reader(endpoint or call.endpoint, call.model)
        self._told = False  # the call is settled, exactly
        self._over = False  # the stream itself said that nothing follows
        self._look_again_after(0)

    def parse(self, data: bytes) -> None:
        """Feed the reader the events in *data*, which continues what was given before."""
        raise NotImplementedError

    def ended(self) -> None:
        self._catch_up()
        self._over = True
        self._settle(self.call.settle)

    def abandoned(self) -> None:
        self._catch_up()
        self._settle(self.call.settle_later)

    def _settle(self, settle: Callable[..., None], complete: bool = False) -> None:
        """Settle by what was reported; as by a part of it, unless the provider has said that it is *complete*."""
        if not self._told:
            bill, reader = self.reader.bill(), self.reader
            if bill is None and reader.malformed is not None:
                log_malformed(self.call.wire.name, reader.malformed)
            if bill is None and self._over and not self.call.settled:
                self.call.account.count_unmetered()
            told = reader.terminal or (complete and bill is not None)
            received = None if told else (reader.delta_bytes, reader.delta_events)
            settle(bill, received, reader.response_id)
            self._told = told

    def _catch_up(self) -> None:
        if self._kept:
            kept = b"".join(self._kept)
            self._kept.clear()
            self.parse(kept)

    def _look_for_the_limit(self, seen: int) -> None:
        """End the stream if what was received passes a limit for certain; else work out when to look again."""
        refusal = self.call.certainly_passes(self._certain_usage())
        if refusal is None:
            self._look_again_after(seen)
            return
        self._end_early()
        raise self.call.account.error(refusal)

    def _certain_usage(self) -> Usage:
        bill, reader = self.reader.bill(), self.reader
        reported = bill.lines[0].usage if bill is not None and bill.lines else NOTHING
        return reported._replace(output_tokens=max(reported.output_tokens, reader.delta_events))

    def _look_again_after(self, seen: int) -> None:
        room = self.call.output_room(self._certain_usage())
        self.look_at = seen + (KEEP if room == math.inf else min(KEEP, (room + 1) * SMALLEST_EVENT))
