"""Traces: a gateway sends its spans to a collector (OTLP over HTTP), and a client's trace goes on to the upstream."""

import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.kit.completions import CLIENT_KEY, ENDLESS, MODEL, PROMPT, QUICK, UPSTREAM_KEY, body, text
from tests.kit.configuration import KEYS, configuration
from tests.kit.http_client import RawClient, fetch
from tests.kit.process import GatewayProcess
from tests.kit.upstreams import Upstream, Upstreams
from tests.kit.waiting import wait_for

pytestmark = pytest.mark.deep

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"


class Collector:
    """An OTLP/HTTP receiver, and what it was sent."""

    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        self.paths: list[str] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"]))
                assert self.headers["Content-Type"] == "application/x-protobuf"
                collector.paths.append(self.path)
                collector.requests.append(ExportTraceServiceRequest.FromString(content))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), name="collector")
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def spans(self) -> list[Span]:
        resources = [item for request in self.requests for item in request.resource_spans]
        return [span for resource in resources for scope in resource.scope_spans for span in scope.spans]

    def services(self) -> set[str]:
        found = [item.resource.attributes for request in self.requests for item in request.resource_spans]
        return {field.value.string_value for fields in found for field in fields if field.key == "service.name"}

    def wait_for_span(self, request_id: str) -> Span:
        def look() -> Span | None:
            return next(
                (item for item in self.spans() if attributes(item)["rivergate.request_id"] == request_id), None
            )

        return wait_for(look, f"the span of {request_id}")

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def attributes(span: Span) -> dict[str, Any]:
    fields = {field.key: field.value for field in span.attributes}
    return {key: getattr(value, str(value.WhichOneof("value"))) for key, value in fields.items()}


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.close()


@pytest.fixture(params=["is gone", "never answers"])
def no_collector(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a collector that takes nothing."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        if request.param == "never answers":
            taken.listen()
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture(scope="module")
def provider(upstreams: Upstreams) -> Upstream:
    return upstreams.start("traced")


Start = Callable[..., GatewayProcess]


@pytest.fixture
def start(logs: Path, tmp_path: Path, provider: Upstream) -> Iterator[Start]:
    gateways = []

    def start(**environment: str) -> GatewayProcess:
        sections = f'[storage]\npath = "{tmp_path}/s.db"\n'
        fields = {**KEYS, "OTEL_BSP_SCHEDULE_DELAY": "50", **environment}
        gateways.append(GatewayProcess(logs, configuration([(provider, [MODEL])], sections), fields))
        return gateways[-1]

    yield start
    for gateway in gateways:
        gateway.close()


@pytest.fixture
def gateway(start: Start, collector: Collector) -> GatewayProcess:
    return start(OTEL_EXPORTER_OTLP_ENDPOINT=collector.url)


def sent_on(provider: Upstream) -> str | None:
    """The `traceparent` of the last request that the upstream got."""
    last = provider.statistics().last_request
    assert last is not None
    return last["headers"].get("traceparent")


@pytest.mark.parametrize("stream", [True, False])
def test_a_completion_is_a_span_between_the_clients_and_the_upstreams(
    gateway: GatewayProcess, collector: Collector, provider: Upstream, stream: bool
) -> None:
    answer = fetch(gateway.port, body(QUICK, stream=stream), traceparent=TRACEPARENT)
    assert answer.status == 200
    span = collector.wait_for_span(answer.headers["x-request-id"])
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
    assert sent_on(provider) == f"00-{TRACE}-{span.span_id.hex()}-01"
    assert (span.name, span.kind) == (f"chat {MODEL}", Span.SPAN_KIND_SERVER)
    found = attributes(span)
    assert found["gen_ai.request.model"] == MODEL
    assert found["gen_ai.provider.name"] == "traced"
    assert found["gen_ai.usage.output_tokens"] == 8
    assert found["rivergate.ending"] == "completed"
    names = [event.name for event in span.events]
    assert names == ["traced started", "first content"] if stream else ["traced started"]
    marks = [event.time_unix_nano for event in span.events]
    assert span.start_time_unix_nano <= marks[0] <= marks[-1] <= span.end_time_unix_nano
    assert set(collector.paths) == {"/v1/traces"}
    assert collector.services() == {"rivergate"}


def test_without_a_trace_of_the_client_one_begins_here(
    gateway: GatewayProcess, collector: Collector, provider: Upstream
) -> None:
    answer = fetch(gateway.port, body(QUICK, stream=True), traceparent="not a trace")
    span = collector.wait_for_span(answer.headers["x-request-id"])
    assert span.parent_span_id == b""
    *ids, flags = (sent_on(provider) or "").split("-")
    assert ids == ["00", span.trace_id.hex(), span.span_id.hex()]
    assert int(flags, 16) & 1  # recorded; newer SDKs also say that the id is random


def test_an_error_is_the_status_of_its_span(gateway: GatewayProcess, collector: Collector) -> None:
    answer = fetch(gateway.port, body({"status": 500}, stream=True))
    assert answer.status == 502
    span = collector.wait_for_span(answer.headers["x-request-id"])
    assert span.status.code == Status.STATUS_CODE_ERROR
    assert attributes(span)["rivergate.ending"] == "upstream_error"


def test_what_a_client_does_not_want_recorded_is_not_but_its_trace_goes_on(
    gateway: GatewayProcess, collector: Collector, provider: Upstream
) -> None:
    unwanted = fetch(gateway.port, body(QUICK, stream=True), traceparent=TRACEPARENT[:-2] + "00")
    sent = sent_on(provider)
    assert sent is not None
    assert (sent[:36], sent[-3:]) == (f"00-{TRACE}-", "-00")
    recorded = fetch(gateway.port, body(QUICK, stream=True), traceparent=TRACEPARENT)
    collector.wait_for_span(recorded.headers["x-request-id"])
    found = [attributes(span)["rivergate.request_id"] for span in collector.spans()]
    assert unwanted.headers["x-request-id"] not in found


def test_the_spans_of_the_last_streams_are_sent_before_the_process_ends(start: Start, collector: Collector) -> None:
    gateway = start(OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, OTEL_BSP_SCHEDULE_DELAY="3600000")
    with RawClient(gateway.port) as client:
        client.post(body(ENDLESS, stream=True))
        request_id = client.head().headers["x-request-id"]
        client.hang_up("rst")
    gateway.ending(request_id)
    assert collector.spans() == []
    assert gateway.terminate() == 0
    [span] = collector.spans()
    assert attributes(span)["rivergate.request_id"] == request_id


def test_no_span_holds_what_was_said_or_a_key(gateway: GatewayProcess, collector: Collector) -> None:
    answer = fetch(gateway.port, body(QUICK, stream=True), Authorization=f"Bearer {CLIENT_KEY}")
    collector.wait_for_span(answer.headers["x-request-id"])
    found = "\n".join(str(request) for request in collector.requests)
    for secret in (PROMPT, CLIENT_KEY, UPSTREAM_KEY, text(8)):
        assert secret not in found


def test_a_collector_that_takes_nothing_holds_up_nobody_and_no_stop(start: Start, no_collector: str) -> None:
    """The exporter itself would wait for 20 s, which is more than a service manager leaves after a drain."""
    gateway = start(OTEL_EXPORTER_OTLP_ENDPOINT=no_collector)
    for _ in range(5):
        assert fetch(gateway.port, body(QUICK, stream=True), traceparent=TRACEPARENT).text() == text(8)
    assert gateway.terminate() == 0


def test_without_a_collector_the_clients_trace_goes_on_as_it_came(start: Start, provider: Upstream) -> None:
    gateway = start()
    assert fetch(gateway.port, body(QUICK, stream=True), traceparent=TRACEPARENT).text() == text(8)
    assert sent_on(provider) == TRACEPARENT
