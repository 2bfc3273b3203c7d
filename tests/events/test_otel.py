"""OpenTelemetry: a run is a span, a paid call is a span in it, tokens and cost are metrics."""

import os
import sys
import threading
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from actguard import Client, Usage, emit_event, emit_violation
from actguard.context import OUTSIDE, enter_frame
from actguard.events.otel import OpenTelemetry
from actguard.exceptions import GuardError


@pytest.fixture
def telemetry() -> Any:
    exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
    tracers, meters = TracerProvider(), MeterProvider([reader])
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    sink = OpenTelemetry(tracers, meters)

    def points(name: str) -> list[Any]:
        data: Any = reader.get_metrics_data()
        found = (metric for scope in data.resource_metrics[0].scope_metrics for metric in scope.metrics)
        return [point for metric in found if metric.name == name for point in metric.data.data_points]

    return tracers, sink, exporter, points


def run(sink: OpenTelemetry, work: Callable[[Any], None] = lambda guard: None) -> None:
    with Client(event_sinks=[sink], agent_id="helper") as client:
        with client.run(user_id="alice", run_id="r1"), client.budget_guard(name="root") as guard:
            guard.add_usage("gpt-4o", Usage(100, 10, cache_read_tokens=40), provider="openai", response_id="x1")
            work(guard)


def test_a_run_is_a_span_with_its_calls_in_it(telemetry: Any) -> None:
    tracers, sink, exporter, points = telemetry
    with tracers.get_tracer("program").start_as_current_span("request") as request:
        run(sink)

    call, outer, _ = exporter.get_finished_spans()
    assert (call.name, outer.name) == ("chat gpt-4o", "invoke_agent helper")
    assert call.parent.span_id == outer.context.span_id
    assert outer.parent.span_id == request.get_span_context().span_id
    assert outer.attributes["gen_ai.conversation.id"] == "r1"
    assert call.attributes["gen_ai.provider.name"] == "openai"
    assert call.attributes["gen_ai.usage.input_tokens"] == 100
    assert call.attributes["gen_ai.usage.cache_read.input_tokens"] == 40
    assert call.attributes["gen_ai.response.id"] == "x1"
    assert outer.start_time <= call.start_time <= outer.end_time

    tokens = {point.attributes["gen_ai.token.type"]: point.sum for point in points("gen_ai.client.token.usage")}
    assert tokens == {"input": 100, "output": 10}
    assert points("actguard.cost.usd_micros")[0].value == call.attributes["actguard.cost.usd_micros"] > 0


def test_a_refusal_is_an_event_of_its_run_and_a_failed_run_says_so(telemetry: Any) -> None:
    _, sink, exporter, points = telemetry

    def refuse(guard: Any) -> None:
        error = GuardError("no", code="NO_SESSION")
        emit_violation(error, tool_name="pay")
        raise error

    with pytest.raises(GuardError):
        run(sink, refuse)

    outer = exporter.get_finished_spans()[-1]
    assert outer.status.status_code is StatusCode.ERROR
    (event,) = outer.events
    assert event.name == "guard.blocked"
    assert (event.attributes["actguard.code"], event.attributes["actguard.tool_name"]) == ("NO_SESSION", "pay")
    assert points("actguard.blocked")[0].value == 1


def test_an_event_of_a_program_that_fits_no_span_costs_no_other(telemetry: Any) -> None:
    _, sink, exporter, _ = telemetry
    with Client(event_sinks=[sink]) as client:
        with client.run():
            emit_event("llm", "usage", {"usage": "none"})
            emit_event("order", "placed")
        client.close()

        assert client.dropped_events == 1
    assert [event.name for event in exporter.get_finished_spans()[-1].events] == ["order.placed"]


def test_runs_at_once_under_one_id_are_a_span_each(telemetry: Any) -> None:
    _, sink, exporter, _ = telemetry
    with Client(event_sinks=[sink]) as client:
        with client.run(run_id="r1"):
            thread = threading.Thread(target=copy_context().run, args=(within, client))
            thread.start()
            thread.join()

    assert len(exporter.get_finished_spans()) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="forks")
@pytest.mark.filterwarnings("ignore:This process")
def test_a_forked_child_leaves_its_parents_runs_to_it(telemetry: Any) -> None:
    _, sink, exporter, _ = telemetry
    with Client(event_sinks=[sink]) as client:
        with client.run(run_id="parent"):
            client.flush()
            child = os.fork()
            if not child:
                with client.run(run_id="child"):
                    pass
                client.close()
                told = [span.attributes["gen_ai.conversation.id"] for span in exporter.get_finished_spans()]
                os._exit(0 if told == ["child"] else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

    assert [span.attributes["gen_ai.conversation.id"] for span in exporter.get_finished_spans()] == ["parent"]


def within(client: Client) -> None:
    enter_frame(OUTSIDE)
    with client.run(run_id="r1"):
        pass
