"""Wiring: the endpoint of one configured upstream, ready to be tried: its pool, its credential, its limits.

In: a section of the configuration. Out: an `Endpoint`, which makes the bytes of requests.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway import __version__, config
from gateway.dialects.request_body import Content
from gateway.errors import RivergateError
from gateway.upstream.dial import Dialer, DialLimits, Origin, proxy_for, tls_context
from gateway.upstream.long_request import LongRequest, Request
from gateway.upstream.pace import Pace
from gateway.upstream.pool import Pool
from gateway.wire import http1


@dataclass(frozen=True, slots=True)
class AttemptLimits:
    """The limits of an attempt, in seconds.

    `head`, `first_content` and `response` count from the request; `response` is for an answer that is not streamed.
    `idle` is the silence between two events.
    """

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
    takes_models: bool  # the list `models` of a client goes there
    prefix: str  # the path of `base_url`, before the path of a dialect
    fields: bytes = field(repr=False)  # the header lines that all requests share, the credential among them
    credential: str = field(default="", repr=False)
    # The request line and `fields` together, by the path of a dialect.
    heads: dict[str, bytes] = field(default_factory=dict, repr=False)

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
            takes_models=upstream.takes_models,
            prefix=origin.prefix,
            fields=http1.encode_fields(_fields(origin, upstream)),
            credential=upstream.api_key.get_secret_value() if upstream.api_key is not None else "",
        )

    def redact(self, error: RivergateError) -> None:
        """Take the gateway's credential out of an error whose quoted message may repeat the request."""
        if self.credential:
            error.redact(self.credential)

    def encode(
        self, path: str, content: Content, *, streamed: bool, request_id: str, traceparent: str | None = None
    ) -> Request:
        """The request that posts `content`, a JSON text, to a dialect's path at this upstream.

        `request_id` and `traceparent` have to be checked before: neither may hold a line end.
        """
        accept = "text/event-stream" if streamed else "application/json"
        own = f"Accept: {accept}\r\nx-request-id: {request_id}\r\nContent-Length: {len(content)}\r\n"
        if traceparent is not None:
            own = f"{own}traceparent: {traceparent}\r\n"
        head = (self.heads.get(path) or self._head(path)) + own.encode("ascii") + http1.CRLF
        return head + content if isinstance(content, bytes) else LongRequest(head, content)

    def _head(self, path: str) -> bytes:
        head = self.heads[path] = http1.encode_request_line("POST", self.prefix + path) + self.fields
        return head


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
