"""Pure: the sections of the configuration: every key with its type, default, range and one sentence.

The invariant: whoever holds a `Config` never has to check a value again. Rules over several keys are checked by
`loading.load`. Secrets live in `SecretStr` only, so that no repr, dump or fault shows them.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from gateway.config.fields import Words
from gateway.config.values import (
    ID_WORDS,
    MAX_MS,
    OPTIMIZE_WORDS,
    UNALIASED,
    WEEK,
    BaseUrl,
    FeedUrl,
    FileName,
    Flag,
    HedgeAfter,
    KeyFile,
    Listen,
    ListenOn,
    ModelId,
    Name,
    Optimize,
    Origin,
    Price,
    Ratio,
    Seconds,
    Variable,
    Whole,
)

_ONE_WORKER = "more than one worker is not built yet: run several instances behind a balancer"


def _told(default: Any, description: str) -> Any:
    return Field(default, description=description)


def _number(default: float, low: float, high: float, description: str) -> Any:
    return Field(default, ge=low, le=high, description=description)


class Section(BaseModel):
    """Frozen; a key that is not declared is a fault."""

    # Deferred: a section is only ever read as a part of the whole, and has no use for a validator of its own.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, defer_build=True)


class ServerSettings(Section):
    listen: ListenOn = _told(Listen("127.0.0.1", 8080), "Where clients connect.")
    workers: Annotated[Whole, Words(hint=_ONE_WORKER)] = _number(1, 1, 1, "Processes.")
    drain_seconds: Seconds = _number(30.0, 0, 3600, "How long running streams may finish at a stop.")
    cors_origins: tuple[Origin, ...] = _told((), "Browser origins that may call; `*` is any.")
    max_body_bytes: Whole = _number(4_194_304, 1024, 1 << 30, "Largest request body.")
    max_connections: Whole = _number(50_000, 1, 1_000_000, "Beyond it: 503. The fd limit caps it.")
    batch_us: Whole = _number(500, 0, 5000, "Under load, tokens of so long are relayed together; 0: each at once.")
    tls_cert_file: FileName | None = _told(None, "PEM certificate chain; turns TLS on.")
    tls_key_file: FileName | None = _told(None, "PEM private key of tls_cert_file.")


class StreamSettings(Section):
    commit_after_ms: Whole = _number(10_000, 0, MAX_MS, "Silence before the headers go out without content.")
    keepalive_seconds: Seconds = _number(15.0, 0.01, 3600, "Pause between keepalive comments in silence.")
    idle_timeout_ms: Whole = _number(60_000, 1, MAX_MS, "Silence between tokens that is a stall.")
    max_duration_seconds: Seconds = _number(0.0, 0, WEEK, "Longest stream; 0 is no limit.")
    abort_grace_ms: Whole = _number(0, 0, MAX_MS, "Wait for a new reader after the last one left.")
    on_last_reader: Literal["abort", "drain"] = _told("abort", "Then abort the upstream, or read it to its end.")
    detached_max_seconds: Seconds = _number(3600.0, 0.01, WEEK, "Longest run of a stream without a reader.")
    retain_seconds: Seconds = _number(300.0, 0, 86_400, "How long a finished stream can be replayed.")
    max_retained_bytes: Whole = _number(268_435_456, 0, 1 << 40, "All ended streams; the oldest go first.")
    max_log_bytes: Whole = _number(16_777_216, 4096, 1 << 30, "Largest log of one stream.")
    max_output_tokens: Whole = _number(0, 0, 1 << 31, "Longest answer of a stream; 0 is no limit.")
    max_output_bytes: Whole = _number(0, 0, 1 << 40, "The same in bytes of text; 0 is no limit.")
    max_subscribers: Whole = _number(20_000, 1, 1_000_000, "Readers of one stream or feed; beyond it: 503.")
    max_subscribers_per_key: Whole = _number(20_000, 1, 1_000_000, "Subscriptions of one API key; beyond it: 429.")
    subscriber_stall_seconds: Seconds = _number(30.0, 0.01, 3600, "A reader that takes no byte for so long lags.")
    usage_event: Literal["auto", "event", "finish", "none"] = _told("auto", "Where usage and metadata are sent.")


class TtftSettings(Section):
    budget_ms: Whole = _number(0, 0, MAX_MS, "Default time to first token of a request; 0 is none.")
    hedge_after: HedgeAfter = _told("off", "When to try a second upstream too: auto (p95 of the TTFT) or ms.")
    hedge_max_share: Ratio = _number(0.1, 0, 1, "Largest share of hedged requests.")


class RoutingSettings(Section):
    optimize: Annotated[Optimize, UNALIASED, OPTIMIZE_WORDS] = _told("balanced", "What upstreams are ordered by.")
    breaker_failures: Whole = _number(5, 0, 1000, "So many in a row and an upstream is left alone; 0 is never.")
    breaker_seconds: Seconds = _number(10.0, 0.1, 3600, "For so long, then one request tries it; doubled each time.")
    max_cooldown_seconds: Seconds = _number(120.0, 0, 3600, "Longest Retry-After of an upstream that is obeyed.")


class ModelSettings(Section):
    id: ModelId = _told(..., "Public name; the same id on several upstreams makes alternatives.")
    upstream_id: Annotated[ModelId, Words(ID_WORDS, default="the id")] = Field(
        default_factory=lambda data: data.get("id", ""), description="Name at the upstream."
    )
    input_usd_per_mtok: Price | None = _told(None, "Price of a million prompt tokens.")
    output_usd_per_mtok: Price | None = _told(None, "Price of a million completion tokens.")


class UpstreamSettings(Section):
    name: Name = _told(..., "Unique name, seen in headers, metrics and logs.")
    base_url: BaseUrl = _told(..., "API root, usually ending in /v1.")
    api_key_env: Variable | None = _told(None, "Environment variable that holds the key.")
    api_key_file: KeyFile | None = _told(None, "File that holds the key (systemd credential or path).")
    api_key: SecretStr | None = Field(default=None, exclude=True, description="The key itself; filled in by load().")
    connect_timeout_ms: Whole = _number(5000, 1, MAX_MS, "TCP connect, name lookup included.")
    tls_timeout_ms: Whole = _number(5000, 1, MAX_MS, "TLS handshake.")
    head_timeout_ms: Whole = _number(60_000, 1, MAX_MS, "Request sent to response head.")
    first_content_timeout_ms: Whole = _number(120_000, 1, MAX_MS, "Request sent to first content of a stream.")
    response_timeout_ms: Whole = _number(600_000, 1, MAX_MS, "Whole answer that is not streamed.")
    max_idle_connections: Whole = _number(64, 0, 10_000, "Idle connections kept.")
    idle_connection_seconds: Seconds = _number(30.0, 0, 3600, "How long an idle connection is kept.")
    tls_ca_file: FileName | None = _told(None, "PEM certificates to trust instead of the system's.")
    include_usage: Flag = _told(True, "Whether stream_options.include_usage may be sent.")
    models: tuple[ModelSettings, ...] = Field(min_length=1, description="What it serves.")


class FeedSettings(Section):
    name: Name = _told(..., "Unique name, the path of the feed.")
    url: FeedUrl = _told(..., "SSE source, connected while somebody reads.")
    retain_events: Whole = _number(1000, 1, 1_000_000, "Events kept for late readers.")
    lag: Literal["skip", "close"] = _told("skip", "A reader too slow: skip with a gap event, or close.")


class StorageSettings(Section):
    path: FileName = _told("rivergate.db", "SQLite file of keys, balances and usage records.")


class Config(Section):
    server: ServerSettings = ServerSettings()
    stream: StreamSettings = StreamSettings()
    ttft: TtftSettings = TtftSettings()
    routing: RoutingSettings = RoutingSettings()
    upstreams: tuple[UpstreamSettings, ...] = ()
    feeds: tuple[FeedSettings, ...] = ()
    storage: StorageSettings = StorageSettings()
