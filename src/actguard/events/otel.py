"""OpenTelemetry: runs and paid calls as spans, tokens and cost as metrics, named by the GenAI conventions.

Needs `actguard[otel]`. Where they go is said by the program, with the SDK of OpenTelemetry, as for everything else.
"""

import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from opentelemetry import metrics, trace
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, Status, StatusCode, TraceFlags

from actguard.events.sinks import Event, each

_MOST_RUNS = 10_000
_TOKEN_BUCKETS = [4**power for power in range(14)]


class _Run(NamedTuple):
    """The span of a run that goes on."""

    span: Span
    pid: int

    def end(self, at: int | None = None) -> None:
        """End it, unless it is of the process that this one was forked from, which goes on with it."""
        if self.pid == os.getpid():
            self.span.end(at)


class OpenTelemetry:
    """A sink for `Client(event_sinks=[OpenTelemetry()])`.

    Args:
        tracer_provider, meter_provider: those of the program if None.
    """

    def __init__(self, tracer_provider: Any = None, meter_provider: Any = None) -> None:
        self._tracer = trace.get_tracer("actguard", tracer_provider=tracer_provider)
        meter = metrics.get_meter("actguard", meter_provider=meter_provider)
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            unit="{token}",
            description="Tokens of a paid call.",
            explicit_bucket_boundaries_advisory=_TOKEN_BUCKETS,
        )
        self._cost = meter.create_counter(
            "actguard.cost.usd_micros", unit="{usd_micros}", description="What paid calls cost, in micro-dollars."
        )
        self._blocked = meter.create_counter(
            "actguard.blocked", unit="{event}", description="Calls and scopes that a guard or a budget refused."
        )
        self._runs: OrderedDict[str, _Run] = OrderedDict()

    def write(self, events: Sequence[Event]) -> None:
        each(self._write, events)

    def _write(self, event: Event) -> None:
        kind = event["category"], event["name"]
        if kind == ("run", "start"):
            self._start(event)
        elif kind == ("run", "end"):
            self._end(event)
        elif kind == ("llm", "usage"):
            self._usage(event)
        else:
            if event["outcome"] == "blocked":
                self._blocked.add(1, {"actguard.event": ".".join(kind)})
            run = self._runs.get(event["run_id"])
            if run is not None:
                run.span.add_event(".".join(kind), _attributes(event), timestamp=_nanoseconds(event))

    def _start(self, event: Event) -> None:
        agent = event["agent_id"]
        span = self._tracer.start_span(
            f"invoke_agent {agent}" if agent else "invoke_agent",
            context=_around(event),
            attributes=_known({
                "gen_ai.operation.name": "invoke_agent",
                "gen_ai.agent.id": agent,
                "gen_ai.conversation.id": event["run_id"],
                "user.id": event["user_id"],
            }),
            start_time=_nanoseconds(event),
        )  # fmt: skip
        earlier = self._runs.pop(event["run_id"], None)
        if earlier is not None:  # another run of this name, which goes on: what has no end is not told at all
            earlier.end(_nanoseconds(event))
        self._runs[event["run_id"]] = _Run(span, os.getpid())
        if len(self._runs) > _MOST_RUNS:
            self._runs.popitem(last=False)[1].end()

    def _end(self, event: Event) -> None:
        run = self._runs.pop(event["run_id"], None)
        if run is None:
            return
        if event["outcome"] != "success":
            error = event["payload"].get("error", "")
            run.span.set_status(Status(StatusCode.ERROR, error))
            run.span.set_attribute("error.type", error)
        run.end(_nanoseconds(event))

    def _usage(self, event: Event) -> None:
        usage: Mapping[str, int] = event["payload"].get("usage", {})
        named = _known({
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": event["provider"],
            "gen_ai.response.model": event["model"],
        })  # fmt: skip
        for kind, count in (("input", event["input_tokens"]), ("output", event["output_tokens"])):
            self._tokens.record(count or 0, {**named, "gen_ai.token.type": kind})
        self._cost.add(event["usd_micros"] or 0, named)
        at = _nanoseconds(event)
        parent = self._runs.get(event["run_id"])
        span = self._tracer.start_span(
            f"chat {event['model'] or ''}".rstrip(),
            context=trace.set_span_in_context(parent.span) if parent is not None else _around(event),
            kind=trace.SpanKind.CLIENT,
            attributes={**named, **_known({
                "gen_ai.usage.input_tokens": event["input_tokens"],
                "gen_ai.usage.output_tokens": event["output_tokens"],
                "gen_ai.usage.cache_read.input_tokens": usage.get("cache_read_tokens"),
                "gen_ai.usage.cache_creation.input_tokens": usage.get("cache_write_tokens"),
                "gen_ai.usage.reasoning.output_tokens": usage.get("output_reasoning_tokens"),
                "gen_ai.response.id": event["payload"].get("response_id"),
                "actguard.cost.usd_micros": event["usd_micros"],
                "actguard.scope.name": event["scope_name"],
            })},
            start_time=at,
        )  # fmt: skip
        span.end(at)

    def close(self) -> None:
        while self._runs:
            self._runs.popitem()[1].end()


def _around(event: Event) -> Any:
    """The span that the run was started in, if the program had one."""
    if not event["span_id"] or not event["trace_id"]:
        return None
    context = SpanContext(
        int(event["trace_id"], 16), int(event["span_id"], 16), is_remote=False, trace_flags=TraceFlags(1)
    )
    return trace.set_span_in_context(NonRecordingSpan(context))


def _attributes(event: Event) -> dict[str, Any]:
    named = {f"actguard.{name}": event[name] for name in ("outcome", "tool_name", "scope_name")}
    return _known(named | {f"actguard.{name}": event["payload"].get(name) for name in ("code", "reason", "limit_type")})


def _known(attributes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if value is not None}


def _nanoseconds(event: Event) -> int:
    moment = datetime.fromisoformat(event["ts"])
    return int(moment.timestamp()) * 10**9 + moment.microsecond * 1000
