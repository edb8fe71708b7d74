"""Shell: traces: one span a completion, with its marks, and W3C's `traceparent` in and out (extra `otel`).

Spans go where OpenTelemetry's own variables say (`OTEL_EXPORTER_OTLP_ENDPOINT`, ...). Without these variables there
are no spans, and a client's `traceparent` is passed on to the upstream as it is.
Sources: W3C Trace Context; OpenTelemetry semantic conventions for generative AI, spans.
"""

import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from gateway.errors import ConfigError

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_IDS = r"-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
_TRACEPARENT = re.compile(rf"00{_IDS}|(?!00|ff)[0-9a-f]{{2}}{_IDS}(?:-[!-~]*)?")  # only later versions tell more
_NANO = 1_000_000_000
SHUT_SECONDS = 3.0  # how long the last spans may take; the exporter would wait 20 s for a silent collector


@dataclass(frozen=True, slots=True)
class SpanRecord:
    """The content of a span, known at its end; `marks` are seconds from its start."""

    attributes: Mapping[str, str | int | float]
    error: str | None = None
    marks: Mapping[str, float] = field(default_factory=dict)


class Span(Protocol):
    """One completion under way."""

    @property
    def traceparent(self) -> str | None:
        """The `traceparent` header for the upstream; None: it gets none."""

    def end(self, describe: Callable[[], SpanRecord]) -> None:
        """End the span; `describe` is called only if spans are collected."""


class Tracing(Protocol):
    """Where spans come from."""

    def begin(self, operation: str, model_id: str, traceparent: str | None, started: float) -> Span:
        """A new span of this operation with this model. `started`: Unix seconds.

        `traceparent`: the client's header, which may hold anything.
        """

    def shut(self) -> None:
        """Send the spans that are left; blocks for `SHUT_SECONDS` at most."""


class PassedOnTrace(NamedTuple):
    """The span of a gateway without tracing: it only passes the client's own header on to the upstream."""

    traceparent: str | None

    def end(self, describe: Callable[[], SpanRecord]) -> None: ...


_NO_TRACE = PassedOnTrace(None)


class NoTracing:
    """The tracing of a gateway whose spans are not collected."""

    def begin(self, operation: str, model_id: str, traceparent: str | None, started: float) -> Span:
        return _NO_TRACE if traceparent is None else PassedOnTrace(valid(traceparent))

    def shut(self) -> None: ...


class OtelTracing:
    """The tracing whose spans OpenTelemetry's SDK makes and sends."""

    def __init__(self, provider: Any) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer = provider.get_tracer("rivergate")
        self._propagator = TraceContextTextMapPropagator()

    def begin(self, operation: str, model_id: str, traceparent: str | None, started: float) -> Span:
        from opentelemetry.trace import SpanKind

        parent = valid(traceparent)
        context = self._propagator.extract({"traceparent": parent} if parent else {})
        span = self._tracer.start_span(
            f"{operation} {model_id}", context, kind=SpanKind.SERVER, start_time=int(started * _NANO)
        )
        own = span.get_span_context()
        header = f"00-{own.trace_id:032x}-{own.span_id:016x}-{int(own.trace_flags):02x}"
        return _OtelSpan(span, header, started)

    def shut(self) -> None:
        last = threading.Thread(target=self._provider.shutdown, name="last spans", daemon=True)
        last.start()
        last.join(SHUT_SECONDS)


class _OtelSpan:
    __slots__ = ("_span", "_started", "traceparent")

    def __init__(self, span: Any, traceparent: str, started: float) -> None:
        self._span = span
        self._started = started
        self.traceparent: str | None = traceparent

    def end(self, describe: Callable[[], SpanRecord]) -> None:
        from opentelemetry.trace import Status, StatusCode

        traced = describe()
        self._span.set_attributes(dict(traced.attributes))
        for name, seconds in traced.marks.items():
            self._span.add_event(name, timestamp=int((self._started + seconds) * _NANO))
        if traced.error is not None:
            self._span.set_status(Status(StatusCode.ERROR, traced.error))
        self._span.end()


def build(environ: Mapping[str, str]) -> Tracing:
    """The tracing that the environment asks for. Raises `ConfigError` if its packages are not installed."""
    if not any(environ.get(name) for name in _ENDPOINTS):
        return NoTracing()
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise ConfigError([f"{_ENDPOINTS[0]} is set: install rivergate[otel], or unset it"]) from None
    name = environ.get("OTEL_SERVICE_NAME", "rivergate")
    resource = Resource.create({"service.name": name})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)  # `shut` does it, with a limit
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return OtelTracing(provider)


def valid(traceparent: str | None) -> str | None:
    """The header, or None if it is not valid (W3C Trace Context, section 3.2)."""
    return traceparent if traceparent is not None and _TRACEPARENT.fullmatch(traceparent) else None
