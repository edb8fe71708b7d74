"""Pure: the sections of the configuration: every key with its type, default, range and one sentence.

The invariant: whoever holds a `Config` never has to check a value again. Rules over several keys are checked by
`loading.load`. Secrets live in `SecretStr` only, so that no repr, dump or fault shows them.
"""

from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr

from gateway.config.feed_sections import FeedSettings, ViewerSettings
from gateway.config.fields import Words
from gateway.config.provider_values import (
    Aliases,
    AuthScheme,
    DefaultFields,
    Discover,
    DroppedField,
    FixedHeaders,
    ForwardedHeader,
    HeaderFiles,
    HeaderName,
    HeaderVariables,
    ProxyUrl,
    Query,
    RenamedFields,
)
from gateway.config.section import Section
from gateway.config.section import described as _described
from gateway.config.section import number as _number
from gateway.config.values import (
    AS_INPUT,
    AS_OUTPUT,
    ID_WORDS,
    MAX_MS,
    NO_PRICE,
    OPTIMIZE_WORDS,
    UNALIASED,
    WEEK,
    BaseUrl,
    FileName,
    Flag,
    HedgeAfter,
    HostName,
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

DialectName = Annotated[
    Literal["chat", "responses", "messages", "completions", "embeddings"],
    Words('"chat", "responses", "messages" (Anthropic\'s), "completions" or "embeddings"'),
]


def _all_defaults() -> Any:
    """The default of a section that is not there: an empty table, which is checked as a part of the whole. A section
    made here would need a validator of its own, which takes as long to build as it does in the whole: 2 ms each."""
    return Field(default={}, validate_default=True)


class ServerSettings(Section):
    listen: ListenOn = _described(
        Listen("127.0.0.1", 8080), "Where clients connect; sockets that systemd hands over are used instead."
    )
    drain_seconds: Seconds = _number(
        30.0, 0, 3600, "How long running streams may go on after a stop was asked for; 0 ends them at once."
    )
    cors_origins: tuple[Origin, ...] = _described(
        (), "Origins whose pages may call from a browser; `*` allows all, `http://localhost:*` every port."
    )
    allowed_hosts: tuple[HostName, ...] = _described(
        (), "Names by which clients may call while there is no API key, beside localhost and loopback addresses."
    )
    max_body_bytes: Whole = _number(
        67_108_864, 1024, 1 << 30, "Largest request body, also when decompressed; a larger one is refused with 413."
    )
    max_waiting_bytes: Whole = _number(
        268_435_456, 65_536, 1 << 40, "Most bytes of request bodies that wait for an answer, together; more get 503."
    )
    max_connections: Whole = _number(
        50_000, 1, 1_000_000, "Most client connections at once; one more gets 503. The limit of open files lowers it."
    )
    batch_us: Whole = _number(
        500, 0, 5000, "Under load, tokens of this many microseconds are relayed together; 0 relays each at once."
    )
    tls_cert_file: FileName | None = _described(None, "PEM file with the certificate chain; setting it turns TLS on.")
    tls_key_file: FileName | None = _described(None, "PEM file with the private key of `tls_cert_file`.")


class StreamSettings(Section):
    commit_after_ms: Whole = _number(
        10_000, 0, MAX_MS, "How long the response headers wait for the first content; 0 sends them at once."
    )
    keepalive_seconds: Seconds = _number(
        15.0, 0.01, 3600, "Pause between two `: keepalive` comments while a stream has nothing to send."
    )
    idle_timeout_ms: Whole = _number(
        60_000, 1, MAX_MS, "How long an upstream may send no byte after its first content; then the stream ends."
    )
    max_duration_seconds: Seconds = _number(0.0, 0, WEEK, "How long a stream may run; 0 sets no limit.")
    abort_grace_ms: Whole = _number(
        0, 0, MAX_MS, "How long a stream without subscribers waits for a new one before it ends; 0 does not wait."
    )
    on_last_reader: Literal["abort", "drain"] = _described(
        "abort", "When the last subscriber leaves: `abort` closes the upstream, `drain` reads the answer to its end."
    )
    detached_max_seconds: Seconds = _number(
        3600.0, 0.01, WEEK, "How long a stream may run without a subscriber; then it ends as `expired`."
    )
    retain_seconds: Seconds = _number(
        300.0, 0, 86_400, "How long an ended stream can still be read; 0 forgets it at once."
    )
    max_retained_bytes: Whole = _number(
        268_435_456, 0, 1 << 40, "Most bytes that all ended streams keep; beyond it the oldest are forgotten."
    )
    max_log_bytes: Whole = _number(
        16_777_216, 4096, 1 << 30, "Most bytes that a running stream keeps; when its log is full, the upstream waits."
    )
    max_output_tokens: Whole = _number(
        0, 0, 1 << 31, "Most tokens of a streamed answer; a longer one is cut with an error. 0 sets no limit."
    )
    max_output_bytes: Whole = _number(
        0, 0, 1 << 40, "Most bytes of text of a streamed answer; a longer one is cut with an error. 0 sets no limit."
    )
    max_subscribers: Whole = _number(
        20_000, 1, 1_000_000, "Most subscribers of one stream or feed; one more gets 503."
    )
    max_subscribers_per_key: Whole = _number(
        20_000, 1, 1_000_000, "Most subscriptions of one API key, its viewer tokens included; one more gets 429."
    )
    subscriber_stall_seconds: Seconds = _number(
        30.0, 0.01, 3600, "How long a subscriber may take no byte that waits for it; then it ends as `lagged`."
    )
    usage_event: Literal["auto", "event", "finish", "none"] = _described(
        "auto", "Where usage and routing metadata are sent: in a last `event`, on the `finish` chunk, or nowhere."
    )


class TtftSettings(Section):
    budget_ms: Whole = _number(
        0, 0, MAX_MS, "How long a request may wait for its first token, over all attempts; 0 sets no budget."
    )
    hedge_after: HedgeAfter = _described(
        "off",
        "Milliseconds without content after which a second upstream is asked too, or the only one again; `auto`: "
        "p95 of the TTFT.",
    )
    hedge_max_share: Ratio = _number(
        0.1, 0, 1, "Largest share of the requests for which a second upstream may be asked; 0 allows none."
    )


class RoutingSettings(Section):
    optimize: Annotated[Optimize, UNALIASED, OPTIMIZE_WORDS] = _described(
        "balanced", "By what the upstreams of a model are ordered, unless a request says otherwise."
    )
    breaker_failures: Whole = _number(
        5, 0, 1000, "How many failures in a row open the breaker, so that an upstream is not asked; 0 never opens it."
    )
    breaker_seconds: Seconds = _number(
        10.0, 0.1, 3600, "How long the breaker stays open; doubled after each failed probe."
    )
    max_cooldown_seconds: Seconds = _number(
        120.0, 0, 3600, "Longest time that an upstream is not asked because of its Retry-After; 0 ignores the header."
    )


def _price_of(data: dict[str, Any]) -> Decimal | None:
    """The price of a model for which none is set."""
    return Decimal(0) if data.get("free") is True else None


class ModelSettings(Section):
    id: ModelId = _described(
        ...,
        "Name by which clients ask for the model; upstreams with the same id stand in for each other. "
        "One `*` makes it a wildcard, which serves what no exact id does.",
    )
    upstream_id: Annotated[ModelId, Words(ID_WORDS, default="the id")] = Field(
        default_factory=lambda data: data.get("id", ""),
        description="Name of the model at the upstream; a `*` stands for what the `*` of the id stood for.",
    )
    aliases: Aliases = _described((), "Further names by which clients may ask for the model.")
    free: Flag = _described(False, "Whether the model costs nothing: both prices are 0 then.")
    input_usd_per_mtok: Annotated[Price | None, NO_PRICE] = Field(
        default_factory=_price_of,
        description="Price of a million prompt tokens in US dollars. A key with a balance needs both prices.",
    )
    output_usd_per_mtok: Annotated[Price | None, NO_PRICE] = Field(
        default_factory=_price_of, description="Price of a million completion tokens in US dollars."
    )

    cached_input_usd_per_mtok: Annotated[Price | None, AS_INPUT] = _described(
        None, "Price of a million prompt tokens that the upstream has read from its cache."
    )
    cache_write_usd_per_mtok: Annotated[Price | None, AS_INPUT] = _described(
        None, "Price of a million prompt tokens that the upstream has written into its cache."
    )
    audio_input_usd_per_mtok: Annotated[Price | None, AS_INPUT] = _described(
        None, "Price of a million prompt tokens of sounds."
    )
    audio_output_usd_per_mtok: Annotated[Price | None, AS_OUTPUT] = _described(
        None, "Price of a million completion tokens of sounds."
    )

    @property
    def has_price(self) -> bool:
        """Whether it is known what an answer costs, so that keys with a balance may use the model."""
        return self.input_usd_per_mtok is not None and self.output_usd_per_mtok is not None


class UpstreamSettings(Section):
    name: Name = _described(..., "Unique name of the upstream, shown in headers, metrics and logs.")
    base_url: BaseUrl = _described(
        ..., "Root of the upstream's API, usually ending in /v1; `/chat/completions` is added to it."
    )
    api_key_env: Variable | None = _described(None, "Environment variable that holds the upstream's API key.")
    api_key_file: KeyFile | None = _described(
        None, "File that holds the upstream's API key: a path, or the name of a systemd credential."
    )
    api_key: SecretStr | None = Field(
        default=None, exclude=True, description="The API key itself, filled in by load()."
    )
    connect_timeout_ms: Whole = _number(
        5000, 1, MAX_MS, "How long the name lookup and the TCP connection may take together."
    )
    tls_timeout_ms: Whole = _number(5000, 1, MAX_MS, "How long the TLS handshake may take.")
    head_timeout_ms: Whole = _number(
        600_000, 1, MAX_MS, "How long a streamed answer may take from the request to the response headers."
    )
    first_content_timeout_ms: Whole = _number(
        600_000, 1, MAX_MS, "How long an upstream may send no byte before the first content of a streamed answer."
    )
    response_timeout_ms: Whole = _number(
        600_000, 1, MAX_MS, "How long an upstream may send no byte of an answer that is not streamed."
    )
    max_event_bytes: Whole = _number(
        67_108_864,
        4096,
        1 << 30,
        "Largest event of a streamed answer, such as an image; a larger one ends the stream.",
    )
    max_idle_connections: Whole = _number(
        64, 0, 10_000, "Most idle connections that are kept for the next requests; 0 keeps none."
    )
    idle_connection_seconds: Seconds = _number(
        30.0, 0, 3600, "How long an idle connection is kept; 0 closes it at once."
    )
    tls_ca_file: FileName | None = _described(
        None, "PEM file of the certificate authorities to trust instead of the system's."
    )
    include_usage: Flag = _described(
        True, "Whether the upstream is sent `stream_options.include_usage`; false for one that refuses the field."
    )
    takes_models: Flag = _described(
        False, "Whether the upstream is sent the list `models` that stands beside `model`, as OpenRouter takes it."
    )
    headers: FixedHeaders = _described({}, "Header fields that every request to the upstream carries.")
    header_env: HeaderVariables = _described(
        {}, "Secret header fields: the name of each with the environment variable that holds its value."
    )
    header_file: HeaderFiles = _described(
        {}, "Secret header fields: the name of each with the file that holds its value."
    )
    secret_headers: dict[str, SecretStr] = Field(
        default={}, exclude=True, description="The values of `header_env` and `header_file`, filled in by load()."
    )
    query: Query = _described({}, "Parameters that are added to the URL of every request, such as `api-version`.")
    auth_header: HeaderName = _described("Authorization", "Header field that carries the upstream's API key.")
    auth_scheme: AuthScheme | None = _described(None, "Word before the API key in its header field.")
    forward_headers: tuple[ForwardedHeader, ...] = _described(
        (), "Header fields of the client's request that are passed on; they replace those of `headers`."
    )
    dialects: Annotated[tuple[DialectName, ...], Field(min_length=1)] = _described(
        ("chat",), "The APIs that the upstream speaks itself: it is asked for these alone."
    )
    drop: tuple[DroppedField, ...] = _described(
        (), "Request fields that the upstream refuses and is not sent; a dotted path reaches into objects and lists."
    )
    rename: RenamedFields = _described({}, "Request fields that the upstream knows by another name: ours, then its.")
    defaults: DefaultFields = _described({}, "Request fields that the upstream is sent where the client sends none.")
    weight: Ratio = _number(
        1.0, 0, 1000, "Share of the requests among upstreams that rank alike; 0: only after the others."
    )
    max_concurrency: Whole = _number(
        0, 0, 1_000_000, "Most requests that run at the upstream at once; beyond it the next is asked. 0: no limit."
    )
    rpm: Whole = _number(
        0, 0, 1_000_000, "Most requests to the upstream in any 60 seconds; beyond it the next is asked. 0: no limit."
    )
    proxy: ProxyUrl | None = _described(
        None, "HTTP proxy to the upstream. Unset: the one of HTTPS_PROXY or HTTP_PROXY, unless NO_PROXY exempts it."
    )
    tls_client_cert_file: FileName | None = _described(
        None, "PEM file with the certificate chain by which the gateway shows the upstream who it is."
    )
    tls_client_key_file: FileName | None = _described(
        None, "PEM file with the private key of `tls_client_cert_file`; unset: that file holds it too."
    )
    discover: Discover = _described(
        "off",
        "`on` serves all models that the upstream's /models lists, beside those of this file; asked again often.",
    )
    models: tuple[ModelSettings, ...] = _described(
        (), "The models that the upstream serves; at least one, unless `discover` is on."
    )


class StorageSettings(Section):
    path: FileName = _described(
        "rivergate.db", "SQLite file of API keys, balances and usage; other files of the gateway lie beside it."
    )


class Config(Section):
    server: ServerSettings = _all_defaults()
    stream: StreamSettings = _all_defaults()
    ttft: TtftSettings = _all_defaults()
    routing: RoutingSettings = _all_defaults()
    upstreams: tuple[UpstreamSettings, ...] = ()
    feeds: tuple[FeedSettings, ...] = ()
    viewers: ViewerSettings = _all_defaults()
    storage: StorageSettings = _all_defaults()
