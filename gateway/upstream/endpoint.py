"""Wiring: the endpoint of one configured upstream, ready to be tried: its pool, its credential, its limits.

In: a section of the configuration. Out: an `Endpoint`, which makes the bytes of requests.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, unquote, urlencode, urlsplit

from gateway import __version__, config
from gateway.access.pasted_secret import is_certain_secret
from gateway.dialects.body_changes import BodyChanges
from gateway.dialects.learned_shape import AnswerMemory
from gateway.dialects.registry import forwarded_to
from gateway.dialects.request_body import Content
from gateway.errors import RivergateError
from gateway.upstream.configured import configured_fields, proxy_of
from gateway.upstream.dial import ClientCertificate, Dialer, DialLimits, Origin, proxy_credential, tls_context
from gateway.upstream.long_request import LongRequest, Request
from gateway.upstream.pace import Pace
from gateway.upstream.patience import first_look
from gateway.upstream.pool import Pool
from gateway.upstream.redaction import Redactor
from gateway.wire import http1

MAX_REMEMBERED = 256  # models of one upstream whose answers are remembered; a wildcard may find any number of models
SHORTEST_SECRET = 6  # characters of a header's value that is kept out of messages
# Header fields whose values, written into a configuration, are no secrets and stand in many messages.
_NO_SECRETS = frozenset(
    {"accept", "content-type", "user-agent", "http-referer", "referer", "x-title", "anthropic-version"}
    | {"anthropic-beta", "openai-beta", "api-version", "host"}
)
# Parameters of a URL whose values are secrets, by their names.
_SECRET_NAME = re.compile(
    r"key|token|secret|sig|auth|pass|pwd|code|cred|jwt|session|access|licen[cs]e", re.IGNORECASE
)


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
    first_look: float = field(init=False)  # from the request to the first look at a stream

    def __post_init__(self) -> None:
        object.__setattr__(self, "first_look", first_look(self.head, self.first_content))


@dataclass(frozen=True, slots=True)
class ForwardedField:
    """A header field of the client's request that is passed on; `default` is sent where the client sends none."""

    name: str  # in lower case
    default: str | None = None


@dataclass(slots=True)
class Learned:
    """What the answers of an upstream have taught about it; it is known until the process ends or it is reconfigured.

    `refuses_usage`: it refuses the field that asks for the usage of a stream, and answers without the field.
    `answers`: how its answers begin, by the dialect's name and the model's id.
    """

    refuses_usage: bool = False
    answers: dict[tuple[str, str], AnswerMemory] = field(default_factory=dict)

    def memory_of(self, dialect: str, model_id: str) -> AnswerMemory | None:
        """What is remembered of this model's answers; None for a model beyond `MAX_REMEMBERED`."""
        key = dialect, model_id
        memory = self.answers.get(key)
        if memory is None and len(self.answers) < MAX_REMEMBERED:
            memory = self.answers[key] = AnswerMemory()
        return memory


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An upstream that requests can be sent to."""

    name: str
    dialects: tuple[str, ...]  # the words for what it speaks
    pool: Pool
    limits: AttemptLimits
    max_event_bytes: int
    include_usage: bool
    takes_models: bool  # the list `models` of a client goes there
    origin: Origin
    target: Callable[[str], str]  # makes the target of a request from the path of a dialect
    fields: bytes = field(repr=False)  # the header lines that all requests share, the credential among them
    secrets: tuple[str, ...] = field(default=(), repr=False)  # what no message may repeat
    changes: BodyChanges | None = None
    forwarded: tuple[ForwardedField, ...] = ()
    learned: Learned = field(default_factory=Learned)
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
        """The endpoint of these settings. `proxies`: those of the environment, by scheme. Raises `ConfigError`."""
        dialer = _dialer(upstream, proxies)
        fields = _fields(dialer, upstream)
        defaults = forwarded_to(upstream.dialects)
        forwarded = tuple(
            ForwardedField(name, fields.pop(name, ("", defaults.get(name)))[1])
            for name in dict.fromkeys((*upstream.forward_headers, *defaults))
        )
        return cls(
            name=upstream.name,
            dialects=upstream.dialects,
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
            max_event_bytes=upstream.max_event_bytes,
            include_usage=upstream.include_usage,
            takes_models=upstream.takes_models,
            origin=dialer.origin,
            target=_target(dialer, upstream.query),
            fields=http1.encode_fields([*dialer.hop_fields(), *fields.values()]),
            secrets=_secrets(upstream, dialer.proxy),
            changes=BodyChanges.build(upstream.rename, upstream.defaults, upstream.drop),
            forwarded=forwarded,
        )

    def redact(self, error: RivergateError) -> None:
        """Take the gateway's secrets out of what an error quotes of the upstream, which may repeat the request."""
        error.redact(Redactor(self.secrets).clean_value)

    def encode(
        self,
        path: str,
        content: Content,
        *,
        streamed: bool,
        request_id: str,
        traceparent: str | None = None,
        more_fields: str = "",
        query: str = "",
    ) -> Request:
        """The request that posts `content`, a JSON text, to a dialect's path at this upstream.

        `request_id` and `traceparent` have to be checked before: neither may hold a line end. `more_fields`: the
        lines that `forward` has made. `query`: of the client's target, percent-encoded.
        """
        accept = "text/event-stream" if streamed else "application/json"
        own = f"Accept: {accept}\r\nx-request-id: {request_id}\r\nContent-Length: {len(content)}\r\n{more_fields}"
        if traceparent is not None:
            own = f"{own}traceparent: {traceparent}\r\n"
        if query:
            shared = http1.encode_request_line("POST", self._with_query(path, query)) + self.fields
        else:
            shared = self.heads.get(path) or self._head(path)
        head = shared + own.encode("ascii") + http1.CRLF
        return head + content if isinstance(content, bytes) else LongRequest(head, content)

    def encode_question(self, path: str, method: str = "GET", query: str = "") -> bytes:
        """The bytes of a request without a body, whose answer is the last on its connection."""
        length = b"" if method in ("GET", "HEAD") else b"Content-Length: 0\r\n"  # a POST without one may be refused
        line = http1.encode_request_line(method, self._with_query(path, query))
        told = self.forward({}).encode("ascii")
        return line + self.fields + told + length + b"Accept: application/json\r\nConnection: close\r\n\r\n"

    def forward(self, headers: Mapping[str, str]) -> str:
        """The header lines that are passed on of a client's request with these headers.

        A value that is not plain ASCII text is left out, as if the client had not sent it; so is a field that the
        client's `Connection` names, since it is for the gateway alone (RFC 9110 section 7.6.1).
        """
        lines = []
        own = [name.strip() for name in headers.get("connection", "").lower().split(",")]
        for wanted in self.forwarded:
            value = headers.get(wanted.name, "")
            is_passed_on = value.isascii() and value.isprintable() and value and wanted.name not in own
            sent = value if is_passed_on else wanted.default
            if sent is not None:
                lines.append(f"{wanted.name}: {sent}\r\n")
        return "".join(lines)

    def _with_query(self, path: str, query: str) -> str:
        target = self.target(path)
        if is_certain_secret(unquote(query)):  # a client's key or token is for the gateway alone
            query = "&".join(pair for pair in query.split("&") if not is_certain_secret(unquote(pair)))
        return f"{target}{'&' if '?' in target else '?'}{query}" if query else target

    def _head(self, path: str) -> bytes:
        head = self.heads[path] = http1.encode_request_line("POST", self.target(path)) + self.fields
        return head


def _dialer(upstream: config.UpstreamSettings, proxies: Mapping[str, str]) -> Dialer:
    origin = Origin.parse(upstream.base_url)
    tls = None
    if origin.tls:
        chain, key = upstream.tls_client_cert_file, upstream.tls_client_key_file
        tls = tls_context(upstream.tls_ca_file, None if chain is None else ClientCertificate(chain, key))
    proxy = proxy_of(upstream, origin, proxies)
    return Dialer(origin, DialLimits(upstream.connect_timeout_ms, upstream.tls_timeout_ms), tls, proxy)


def _target(dialer: Dialer, query: Mapping[str, str]) -> Callable[[str], str]:
    behind = f"?{urlencode(query, quote_via=quote)}" if query else ""
    return lambda path: dialer.target(f"{dialer.origin.prefix}{path}{behind}")


def _fields(dialer: Dialer, upstream: config.UpstreamSettings) -> dict[str, tuple[str, str]]:
    """The header fields that all requests share, name and value, by the name in lower case."""
    fields = {
        "Host": dialer.origin.authority,
        "User-Agent": f"rivergate/{__version__}",
        "Content-Type": "application/json",
        "Accept-Encoding": "identity",
    }
    return {name.lower(): (name, value) for name, value in (*fields.items(), *configured_fields(upstream))}


def _secrets(upstream: config.UpstreamSettings, proxy: str | None) -> tuple[str, ...]:
    """What no message may repeat, the longest first, so that no part of a secret is left behind.

    `proxy`: the proxy that is used, whether the settings or the environment name it.
    """
    secrets = [] if upstream.api_key is None else [upstream.api_key.get_secret_value()]
    values = [value.get_secret_value() for value in upstream.secret_headers.values()]
    values += [value for name, value in upstream.headers.items() if name.lower() not in _NO_SECRETS]
    values += [value for name, value in upstream.query.items() if _SECRET_NAME.search(name)]
    if proxy is not None and (credential := proxy_credential(proxy)) is not None:
        values += [credential, unquote(urlsplit(proxy).password or "")]
    # `Bearer abc` is quoted as `abc` too. A word as short as "on" is no secret, and stands in many messages.
    values += [value.rpartition(" ")[2] for value in values]
    secrets += [value for value in values if len(value) >= SHORTEST_SECRET]
    return tuple(sorted(dict.fromkeys(secrets), key=len, reverse=True))
