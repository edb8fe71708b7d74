"""A client's trace goes on to the upstream; with OpenTelemetry each completion has one span."""

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from gateway.observe.trace import NoTracing, OtelTracing, SpanRecord, build, valid

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        PARENT[:-1],
        PARENT.upper(),
        "ff" + PARENT[2:],
        PARENT.replace("4bf92f3577b34da6a3ce929d0e0e4736", "0" * 32),
        PARENT.replace("00f067aa0ba902b7", "0" * 16),
        PARENT + "\r\nX-Evil: 1",
        PARENT + "-rg_CjKzP0VVvULVxp87FIOHc3J127f7QZpaO",  # the first version has no more
        PARENT + "-\udce9",  # as aiohttp reads a byte that is no ASCII, which no request could carry
        "01" + PARENT[2:] + "-\udce9",
        "01" + PARENT[2:] + "-a b",
    ],
)
def test_what_is_no_traceparent_goes_nowhere(text: str) -> None:
    assert valid(text) is None
    assert NoTracing().begin("chat", "m", text, 0.0).traceparent is None


def test_without_a_collector_the_clients_header_goes_on_as_it_came() -> None:
    tracing = build({})
    span = tracing.begin("chat", "m", PARENT, 0.0)
    assert span.traceparent == PARENT
    span.end(lambda: SpanRecord({}))
    tracing.shut()


def test_a_span_is_the_child_of_the_clients_and_the_parent_of_the_upstreams() -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing = OtelTracing(provider)
    span = tracing.begin("chat", "m", PARENT, 1000.0)
    traced = SpanRecord({"gen_ai.request.model": "m"}, "the upstream failed", {"first content": 0.25})
    span.end(lambda: traced)
    [found] = exporter.get_finished_spans()
    assert found.context is not None
    assert found.parent is not None
    assert f"{found.context.trace_id:032x}" == PARENT.split("-")[1]
    assert f"{found.parent.span_id:016x}" == PARENT.split("-")[2]
    assert span.traceparent == f"00-{found.context.trace_id:032x}-{found.context.span_id:016x}-01"
    assert found.attributes is not None
    assert found.attributes["gen_ai.request.model"] == "m"
    assert found.status.status_code is StatusCode.ERROR
    assert [(event.name, event.timestamp) for event in found.events] == [("first content", 1000_250_000_000)]
    assert found.start_time == 1000_000_000_000
    tracing.shut()
