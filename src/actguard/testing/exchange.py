"""One request from arrival to settled bill: faults, gates, latency and framing live here, for every wire alike.

What is billed, and when:

* A whole reply is billed in full before its first byte is sent: by the time a client has it, the ledger has it too.
* A stream is billed once its last output token is made. One that ends earlier (the client left, a scripted cut or
  error) is billed its input and the output tokens made by then.
* A client that leaves while its reply is made pays for the whole of it, if it is not a stream: providers run such a
  request to its end.
* An error status, and a connection reset before the request was run, are free.
"""

import gzip
import zlib
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from actguard.testing.counts import Counts
from actguard.testing.gate import Gate
from actguard.testing.http import Connection
from actguard.testing.jsons import dumps
from actguard.testing.ledger import Charge, Entry, Ledger
from actguard.testing.script import Cut, Delivery, ErrorEvent, HttpError, Iteration, Lost, NotJSON, Reset
from actguard.testing.wires.wire import Answer, Event, Wire, new_id

_JSON = {"content-type": "application/json"}


class Billing:
    """Turns answers into ledger entries."""

    def __init__(self, ledger: Ledger, request_id: str) -> None:
        self._ledger = ledger
        self.request_id = request_id

    def bill(self, wire: Wire, answer: Answer, generated: int | None = None, *, variant: str | None = None) -> None:
        """Bill *answer* in full, or aborted after *generated* output tokens."""
        aborted = generated is not None and generated < answer.counts.output_tokens
        counts = answer.counts if generated is None else answer.counts.after(generated)
        main = self.charge(answer, counts, usd=None if aborted else answer.usd, variant=variant)
        self._ledger.record(
            Entry(
                request_id=self.request_id,
                response_id=answer.id,
                provider=answer.asked.provider,
                endpoint=answer.asked.endpoint,
                charges=(main, *(self._beside(answer, step, variant) for step in answer.reply.iterations)),
                usage=wire.usage(answer, counts),
                aborted=aborted,
            )
        )

    def charge(self, answer: Answer, counts: Counts, *, usd: Decimal | None, variant: str | None = None) -> Charge:
        reply = answer.reply
        model = answer.asked.model if answer.asked.provider == "aws" else answer.model  # an id with a region, there
        tier = variant or ("fast" if reply.speed == "fast" else reply.service_tier)
        tier = "priority" if tier == "fast" and answer.asked.provider in ("openai", "azure") else tier
        return self._ledger.charge(model, counts, variant=tier, geo=reply.geo, usd=usd)

    def _beside(self, answer: Answer, step: Iteration, variant: str | None) -> Charge:
        counts = Counts(
            input=step.input_tokens - step.cached_tokens - step.cache_write_tokens,
            cached=step.cached_tokens,
            cache_write=step.cache_write_tokens,
            output=step.output_tokens,
        )
        reply = answer.reply
        fast = step.model is None and reply.speed == "fast"  # an advisor has a speed of its own
        tier = variant or ("fast" if fast else reply.service_tier)
        return self._ledger.charge(step.model or answer.model, counts, variant=tier, geo=reply.geo)


class Exchange:
    """Delivers one answer over one connection."""

    def __init__(self, wire: Wire, answer: Answer, connection: Connection, billing: Billing, pauses: Gate) -> None:
        self._wire = wire
        self._answer = answer
        self._connection = connection
        self._billing = billing
        self._pauses = pauses
        self._delivery = answer.reply.delivery
        self._fault = answer.reply.fault
        self._billed = False

    async def run(self) -> None:
        deferred = self._wire.deferred(self._answer)
        if deferred is None and self._answer.asked.stream:
            await self._stream()
            return
        self._bill()
        await self._connection.wait(self._delivery.first_byte)
        self._whole(deferred if deferred is not None else self._wire.body(self._answer))

    def _bill(self, made: int | None = None) -> None:
        """Bill the answer, once; *made* is how many of its output tokens exist, if not all."""
        if self._billed:
            return
        self._billed = True
        self._billing.bill(self._wire, self._answer, made)
        if made is None or made >= self._answer.counts.output_tokens:
            self._wire.billed(self._answer)

    def _whole(self, body: Mapping[str, Any] | bytes) -> None:
        if isinstance(self._fault, Lost):
            self._connection.reset()
            return
        encoded = body if isinstance(body, bytes) else dumps(body).encode()
        headers = {"content-type": self._wire.content_type, "x-request-id": self._billing.request_id}
        if isinstance(self._fault, NotJSON):
            encoded = self._fault.body
        if self._delivery.gzip:
            encoded, headers["content-encoding"] = gzip.compress(encoded, 1), "gzip"
        if isinstance(self._fault, Cut):
            self._connection.start(200, headers, length=len(encoded))
            self._connection.write(encoded[: len(encoded) // 2])
            self._connection.close() if self._fault.clean else self._connection.reset()
        elif self._delivery.chunk_bytes is not None:
            self._connection.start(200, headers)
            for i in range(0, len(encoded), self._delivery.chunk_bytes):
                self._connection.chunk(encoded[i : i + self._delivery.chunk_bytes])
            self._connection.finish()
        else:
            self._connection.respond(200, headers, encoded)

    async def _stream(self) -> None:
        await self._connection.wait(self._delivery.first_byte)
        if isinstance(self._fault, Lost):
            self._bill()
            self._connection.reset()
            return
        headers = {"content-type": self._wire.stream_type, "x-request-id": self._billing.request_id}
        if self._delivery.gzip:
            headers["content-encoding"] = "gzip"
        self._connection.start(200, headers)
        body = _StreamBody(self._connection, self._wire, self._delivery)
        if isinstance(self._fault, NotJSON):
            self._bill()
            body.raw(self._fault.body)
            body.finish()
        else:
            await self._events(body)

    async def _events(self, body: "_StreamBody") -> None:
        answer, fault, pause_after = self._answer, self._fault, self._delivery.pause_after
        total = answer.counts.output_tokens
        shown = answer.visible * answer.asked.choices
        shown += answer.counts.reasoning if self._wire.shows_reasoning else 0
        hidden = total - shown  # is made before the first that is shown
        made = 0 if shown else total
        sent = 0
        for event in self._wire.events(answer):
            begun = bool(event.tokens or sent)  # what comes before the first output is a preamble
            if isinstance(fault, Cut | ErrorEvent) and begun and sent >= fault.after:
                break
            if pause_after is not None and begun and sent >= pause_after:
                pause_after = None
                body.flush()
                await self._pauses.passed(self._connection)
            if self._connection.gone.done():
                in_background = bool(answer.asked.body.get("background"))  # then it goes on without a listener
                self._bill(None if in_background else made)
                return
            if event.tokens:
                sent += 1
                made += event.tokens + hidden
                hidden = 0
            if made >= total:
                self._bill()
            body.send(event)
            await self._connection.drain()
            await self._connection.wait(self._delivery.between_events)
        self._bill(made)
        if isinstance(fault, Cut | ErrorEvent):
            await self._break(body, fault)
        else:
            body.finish()

    async def _break(self, body: "_StreamBody", fault: Cut | ErrorEvent) -> None:
        if isinstance(fault, ErrorEvent):
            body.send(self._wire.error_event(self._answer, fault.message, fault.type))
            body.finish()
        elif fault.clean:
            body.finish()
        else:
            body.flush()
            await self._connection.drain()
            self._connection.reset()


class _StreamBody:
    """Frames events into network writes as the delivery asks."""

    def __init__(self, connection: Connection, wire: Wire, delivery: Delivery) -> None:
        self._connection = connection
        self._wire = wire
        self._delivery = delivery
        self._crlf = delivery.crlf or wire.crlf
        self._gzip = zlib.compressobj(1, zlib.DEFLATED, 31) if delivery.gzip else None
        self._pending = bytearray()
        self._events = 0

    def send(self, event: Event) -> None:
        if self._delivery.ping_every and self._events % self._delivery.ping_every == 0:
            self._append(self._wire.ping())
        self._events += 1
        self._append(self._wire.frame(event, space=self._delivery.space))
        if self._events % self._delivery.events_per_chunk == 0:
            self.flush()

    def raw(self, data: bytes) -> None:
        self._pending += data

    def flush(self) -> None:
        data = bytes(self._pending)
        self._pending.clear()
        if self._gzip is not None:
            data = self._gzip.compress(data) + self._gzip.flush(zlib.Z_SYNC_FLUSH)
        self._write(data)

    def finish(self) -> None:
        self.flush()
        if self._gzip is not None:
            self._write(self._gzip.flush())
        self._connection.finish()

    def _append(self, data: bytes) -> None:
        self._pending += data.replace(b"\n", b"\r\n") if self._crlf else data

    def _write(self, data: bytes) -> None:
        size = self._delivery.chunk_bytes or len(data) or 1
        for i in range(0, len(data), size):
            self._connection.chunk(data[i : i + size])


def refuse(wire: Wire | None, connection: Connection, fault: HttpError | Reset | ErrorEvent) -> None:
    """An answer that bills nothing: an error status, or a reset."""
    if isinstance(fault, Reset):
        connection.reset()
        return
    status = fault.status if isinstance(fault, HttpError) else 500
    headers = dict(_JSON)
    if isinstance(fault, HttpError):
        headers |= fault.headers
        if fault.retry_after is not None:
            headers["retry-after"] = f"{fault.retry_after:g}"
            headers["retry-after-ms"] = f"{fault.retry_after * 1000:g}"
    body = wire.error(status, fault.message) if wire is not None else {"error": {"message": fault.message}}
    connection.respond(status, headers, dumps(body).encode())


def request_id() -> str:
    return new_id("req_")
