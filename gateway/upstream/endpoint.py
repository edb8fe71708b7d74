"""Wiring: one configured upstream, ready to be tried: its pool, its credentials, its limits."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from gateway import __version__, config
from gateway.errors import RivergateError
from gateway.upstream.dial import Dialer, DialLimits, Origin, proxy_for, tls_context
from gateway.upstream.pace import Pace
from gateway.upstream.pool import Pool
from gateway.wire import http1

COMPLETIONS_PATH = "/chat/completions"


@dataclass(frozen=True, slots=True)
class AttemptLimits:
    """Seconds that the phases of an attempt may take; `idle` is the silence between two events."""

    head: float
    first_content: float
    response: float
    idle: float


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An upstream that requests can be sent to."""

    name: str
    pool: Pool
    limits: AttemptLimits
    include_usage: bool
    head: bytes = field(repr=False)  # of every request, as far as it is always the same, the credential too
    credential: str = field(default="", repr=False)

    @classmethod
    def build(
        cls,
        upstream: config.UpstreamSettings,
        idle_seconds: float,
        proxies: Mapping[str, str],
        pace: Pace | None = None,
    ) -> "Endpoint":
        origin = Origin.parse(upstream.base_url)
        dialer = Dialer(
            origin,
            DialLimits(upstream.connect_timeout_ms, upstream.tls_timeout_ms),
            tls_context(str(upstream.tls_ca_file) if upstream.tls_ca_file else None) if origin.tls else None,
            proxy_for(origin, proxies),
        )
        return cls(
            name=upstream.name,
            pool=Pool(
                dialer,
                max_idle=upstream.max_idle_connections,
                idle_seconds=upstream.idle_connection_seconds,
                pace=pace,
            ),
            limits=AttemptLimits(
                head=upstream.head_timeout_ms / 1000,
                first_content=upstream.first_content_timeout_ms / 1000,
                response=upstream.response_timeout_ms / 1000,
                idle=idle_seconds,
            ),
            include_usage=upstream.include_usage,
            head=http1.encode_request_line("POST", origin.prefix + COMPLETIONS_PATH)
            + http1.encode_fields(_fields(origin, upstream)),
            credential=upstream.api_key.get_secret_value() if upstream.api_key is not None else "",
        )

    def redact(self, error: RivergateError) -> None:
        """Take our credential out of an error that quotes the upstream: it may have quoted our request."""
        if self.credential:
            error.redact(self.credential)

    def encode(
        self, body: Mapping[str, Any], upstream_id: str, request_id: str, traceparent: str | None = None
    ) -> bytes:
        """The request that asks this upstream for the completion that `body` describes.

        The two ids are sane ones: they end no line early.
        """
        sent = {**body, "model": upstream_id}
        accept = "application/json"
        if sent.get("stream"):
            accept = "text/event-stream"
            if self.include_usage:
                sent["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
        content = orjson.dumps(sent)
        own = f"Accept: {accept}\r\nx-request-id: {request_id}\r\nContent-Length: {len(content)}\r\n"
        if traceparent is not None:
            own = f"{own}traceparent: {traceparent}\r\n"
        return self.head + own.encode("ascii") + http1.CRLF + content


def _fields(origin: Origin, upstream: config.UpstreamSettings) -> tuple[tuple[str, str], ...]:
    fields = [
        ("Host", origin.authority),
        ("User-Agent", f"rivergate/{__version__}"),
        ("Content-Type", "application/json"),
        ("Accept-Encoding", "identity"),
    ]
    if upstream.api_key is not None:
        fields.append(("Authorization", f"Bearer {upstream.api_key.get_secret_value()}"))
    return tuple(fields)
