"""Shell: TOML and environment in, one frozen `Config` out, or every fault at once.

Reads the given file and the secret and TLS files that it names, nothing else; the environment is an argument.
Invariant: whoever holds a `Config` never has to check a value again. Rules over several keys hold for what
`load` returns. Secrets live in `SecretStr` only: in no repr, no dump, no fault.
"""

import ipaddress
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic.functional_serializers import PlainSerializer
from pydantic.functional_validators import AfterValidator, BeforeValidator, InstanceOf
from pydantic.types import AllowInfNan, Strict

from gateway import config_report as report
from gateway.config_report import Fault, KeyRow, Loc, Words
from gateway.errors import ConfigError

SYSTEM_FILE = Path("/etc/rivergate/rivergate.toml")
MAX_SECRET_BYTES = 8192  # a header line beyond this is refused by common servers
MAX_TLS_FILE_BYTES = 1 << 22  # the system's whole bundle of authorities has a quarter of a MiB
MAX_SOCKET_PATH_BYTES = 107  # sun_path of Linux, without its NUL

OPTIMIZE_ALIASES: Mapping[str, str] = {"speed": "ttft", "cheapest": "cost", "throughput": "tps"}


@dataclass(frozen=True, slots=True)
class Listen:
    """Where to listen: host and port (host "" = every interface), or the path of a Unix socket."""

    host: str
    port: int
    path: str | None = None

    @classmethod
    def parse(cls, text: str) -> "Listen":
        """`host:port`, `[::1]:8080`, `:8080` or `unix:/path`; raises ValueError with the reason."""
        if text.startswith("unix:"):
            path = text.removeprefix("unix:")
            if not path.startswith("/") or not path.isprintable():
                raise ValueError('must have an absolute path after "unix:"')
            if len(path.encode()) > MAX_SOCKET_PATH_BYTES:
                raise ValueError(f"must have a socket path of at most {MAX_SOCKET_PATH_BYTES} bytes")
            return cls("", 0, path)
        if not (matched := re.fullmatch(r"(\[[^\]]*\]|[^:]*):([0-9]{1,5})", text)):
            raise ValueError("must be host:port, [IPv6]:port, :port or unix:/path")
        host, port = matched[1], int(matched[2])
        if port > 65535:
            raise ValueError("must have a port of at least 0 and at most 65535")
        bare = host[1:-1] if host.startswith("[") else host
        if host and (not _is_host(bare) or (":" in bare) != host.startswith("[")):
            raise ValueError("must have a host name, an IPv4 address or an IPv6 address in brackets")
        return cls(bare, port)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect."""
        if self.path is not None or self.host.lower() == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _is_host(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        # A last label of digits is a mistyped address, never a name (WHATWG URL, "ends in a number").
        named = re.fullmatch(r"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*", host) is not None
        return named and len(host) <= 253 and not host.rpartition(".")[2].isdecimal()
    return True


def _http_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("is not a valid URL") from None
    if "@" in parts.netloc:
        raise ValueError("must not carry a user name or password; use api_key_env or api_key_file")
    if parts.scheme not in ("http", "https") or port == 0 or not _is_host(parts.hostname or ""):
        raise ValueError("must be http:// or https:// and a host")
    if "#" in url or not re.fullmatch("[!-~]+", url):
        raise ValueError("must be plain ASCII without blanks or a fragment")
    return parts.geturl()


def _base_url(url: str) -> str:
    if "?" in url:
        raise ValueError("must not have a query")
    return _http_url(url).rstrip("/")


def _exact(value: Any) -> Any:
    """Numbers as exact decimals: 2.5 stays 2.5; anything else is left to be refused."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return Decimal(str(value)) if number else value


def _told(default: Any, description: str) -> Any:
    return Field(default, description=description)


def _number(default: float, low: float, high: float, description: str) -> Any:
    return Field(default, ge=low, le=high, description=description)


Text = Annotated[str, Strict()]
Flag = Annotated[bool, Strict()]
Whole = Annotated[int, Strict()]
Ratio = Annotated[float, Strict(), AllowInfNan(False)]
Seconds = Ratio
Price = Annotated[Decimal, BeforeValidator(_exact), Strict(), Field(ge=0, le=1_000_000)]
Name = Annotated[Text, Field(pattern="^[A-Za-z0-9._-]{1,64}$"), Words("1 to 64 letters, digits, . _ -")]
_ID_WORDS = "1 to 256 characters without blanks or control characters"
ModelId = Annotated[Text, Field(pattern=r"^[^\s\p{C}]+$", max_length=256), Words(_ID_WORDS)]
FileName = Annotated[Text, Field(pattern=r"^\P{Cc}+$"), Words("a path")]
KeyFile = Annotated[FileName, Words("a path", hidden=True)]
Variable = Annotated[
    Text, Field(pattern="^[A-Za-z_][A-Za-z0-9_]*$"), Words("an environment variable's name", hidden=True)
]
Origin = Annotated[
    Text,
    Field(pattern=r"^(\*|[a-z][a-z0-9+.-]*://[^/?#@\sA-Z]+)$"),
    Words('"*" or scheme://host[:port]'),
]
BaseUrl = Annotated[Text, AfterValidator(_base_url), Words("an http(s) URL without a query", hidden=True)]
FeedUrl = Annotated[Text, AfterValidator(_http_url), Words("an http(s) URL", hidden=True)]
ListenOn = Annotated[
    InstanceOf[Listen],
    BeforeValidator(lambda value: Listen.parse(value) if isinstance(value, str) else value),
    PlainSerializer(str),
    Words("host:port, [IPv6]:port, :port or unix:/path"),
]
Optimize = Literal["cost", "cost-focus", "ttft", "ttft-focus", "tps", "tps-focus", "balanced", "priority"]
_OPTIMIZE_WORDS = Words("one of " + ", ".join((*get_args(Optimize), *OPTIMIZE_ALIASES)))
_UNALIASED = BeforeValidator(lambda word: OPTIMIZE_ALIASES.get(word, word) if isinstance(word, str) else word)
_MAX_MS = 3_600_000
_WEEK = 604_800
HedgeAfter = Literal["off", "auto"] | Annotated[Whole, Field(ge=1, le=_MAX_MS)]


class Section(BaseModel):
    """Frozen; a key that is not declared is a fault."""

    # Deferred: a section is only ever read as a part of the whole, and has no use for a validator of its own.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, defer_build=True)


class Server(Section):
    listen: ListenOn = _told(
        Listen("127.0.0.1", 8080), "Where clients connect; sockets that systemd hands over are used instead."
    )
    drain_seconds: Seconds = _number(
        30.0, 0, 3600, "How long running streams may go on after a stop was asked for; 0 ends them at once."
    )
    cors_origins: tuple[Origin, ...] = _told(
        (), "Origins whose pages may call from a browser; `*` allows all, `http://localhost:*` every port."
    )
    max_body_bytes: Whole = _number(
        4_194_304, 1024, 1 << 30, "Largest request body; a larger one is refused with 413."
    )
    max_connections: Whole = _number(
        50_000, 1, 1_000_000, "Most client connections at once; one more gets 503. The limit of open files lowers it."
    )
    batch_us: Whole = _number(
        500, 0, 5000, "Under load, tokens of this many microseconds are relayed together; 0 relays each at once."
    )
    tls_cert_file: FileName | None = _told(None, "PEM file with the certificate chain; setting it turns TLS on.")
    tls_key_file: FileName | None = _told(None, "PEM file with the private key of `tls_cert_file`.")


class Stream(Section):
    commit_after_ms: Whole = _number(
        10_000, 0, _MAX_MS, "How long the response headers wait for the first content; 0 sends them at once."
    )
    keepalive_seconds: Seconds = _number(
        15.0, 0.01, 3600, "Pause between two `: keepalive` comments while a stream has nothing to send."
    )
    idle_timeout_ms: Whole = _number(
        60_000, 1, _MAX_MS, "How long an upstream may be silent between two events; a longer silence ends the stream."
    )
    max_duration_seconds: Seconds = _number(0.0, 0, _WEEK, "How long a stream may run; 0 sets no limit.")
    abort_grace_ms: Whole = _number(
        0, 0, _MAX_MS, "How long a stream without subscribers waits for a new one before it ends; 0 does not wait."
    )
    on_last_reader: Literal["abort", "drain"] = _told(
        "abort", "When the last subscriber leaves: `abort` closes the upstream, `drain` reads the answer to its end."
    )
    detached_max_seconds: Seconds = _number(
        3600.0, 0.01, _WEEK, "How long a stream may run without a subscriber; then it ends as `expired`."
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
    usage_event: Literal["auto", "event", "finish", "none"] = _told(
        "auto", "Where usage and routing metadata are sent: in a last `event`, on the `finish` chunk, or nowhere."
    )


class Ttft(Section):
    budget_ms: Whole = _number(
        0, 0, _MAX_MS, "How long a request may wait for its first token, over all attempts; 0 sets no budget."
    )
    hedge_after: HedgeAfter = _told(
        "off", "Milliseconds without content after which a second upstream is asked too; `auto`: p95 of the TTFT."
    )
    hedge_max_share: Ratio = _number(
        0.1, 0, 1, "Largest share of the requests for which a second upstream may be asked; 0 allows none."
    )


class Routing(Section):
    optimize: Annotated[Optimize, _UNALIASED, _OPTIMIZE_WORDS] = _told(
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


class Model(Section):
    id: ModelId = _told(
        ..., "Name by which clients ask for the model; upstreams with the same id stand in for each other."
    )
    upstream_id: Annotated[ModelId, Words(_ID_WORDS, default="the id")] = Field(
        default_factory=lambda data: data.get("id", ""), description="Name of the model at the upstream."
    )
    input_usd_per_mtok: Price | None = _told(None, "Price of a million prompt tokens in US dollars.")
    output_usd_per_mtok: Price | None = _told(None, "Price of a million completion tokens in US dollars.")


class Upstream(Section):
    name: Name = _told(..., "Unique name of the upstream, shown in headers, metrics and logs.")
    base_url: BaseUrl = _told(
        ..., "Root of the upstream's API, usually ending in /v1; `/chat/completions` is added to it."
    )
    api_key_env: Variable | None = _told(None, "Environment variable that holds the upstream's API key.")
    api_key_file: KeyFile | None = _told(
        None, "File that holds the upstream's API key: a path, or the name of a systemd credential."
    )
    api_key: SecretStr | None = Field(
        default=None, exclude=True, description="The API key itself, filled in by load()."
    )
    connect_timeout_ms: Whole = _number(
        5000, 1, _MAX_MS, "How long the name lookup and the TCP connection may take together."
    )
    tls_timeout_ms: Whole = _number(5000, 1, _MAX_MS, "How long the TLS handshake may take.")
    head_timeout_ms: Whole = _number(
        60_000, 1, _MAX_MS, "How long a streamed answer may take from the request to the response headers."
    )
    first_content_timeout_ms: Whole = _number(
        120_000, 1, _MAX_MS, "How long a streamed answer may take from the request to its first content."
    )
    response_timeout_ms: Whole = _number(
        600_000, 1, _MAX_MS, "How long a whole answer may take that is not streamed."
    )
    max_idle_connections: Whole = _number(
        64, 0, 10_000, "Most idle connections that are kept for the next requests; 0 keeps none."
    )
    idle_connection_seconds: Seconds = _number(
        30.0, 0, 3600, "How long an idle connection is kept; 0 closes it at once."
    )
    tls_ca_file: FileName | None = _told(
        None, "PEM file of the certificate authorities to trust instead of the system's."
    )
    include_usage: Flag = _told(
        True, "Whether the upstream is sent `stream_options.include_usage`; false for one that refuses the field."
    )
    models: tuple[Model, ...] = Field(min_length=1, description="The models that the upstream serves.")


class Feed(Section):
    name: Name = _told(..., "Unique name of the feed, as in its path /v1/feeds/NAME/events.")
    url: FeedUrl = _told(..., "Source of server-sent events; it is connected while the feed has subscribers.")
    retain_events: Whole = _number(
        1000, 1, 1_000_000, "How many of the newest events are kept for subscribers that come late or are slow."
    )
    lag: Literal["skip", "close"] = _told(
        "skip", "For a subscriber that falls further behind: `skip` sends a `gap` event and goes on, `close` ends it."
    )


class Storage(Section):
    path: FileName = _told(
        "rivergate.db", "SQLite file of API keys, balances and usage; other files of the gateway lie beside it."
    )


class Config(Section):
    server: Server = Server()
    stream: Stream = Stream()
    ttft: Ttft = Ttft()
    routing: Routing = Routing()
    upstreams: tuple[Upstream, ...] = ()
    feeds: tuple[Feed, ...] = ()
    storage: Storage = Storage()


def find(environ: Mapping[str, str], cwd: Path, system_file: Path = SYSTEM_FILE) -> Path | None:
    """The file to load when none was named: $RIVERGATE_CONFIG, ./rivergate.toml, the system's, or none."""
    if named := environ.get(report.CONFIG_VARIABLE):
        return cwd / named
    return next((path for path in (cwd / "rivergate.toml", system_file) if path.is_file()), None)


def load(path: Path | None, environ: Mapping[str, str]) -> Config:
    """Read `path` (None: the environment alone); raises ConfigError with every fault, one line each.

    Relative paths of secret and TLS files start at $CREDENTIALS_DIRECTORY if it is set, else beside `path`.
    """
    tree = {} if path is None else _read(path)
    origins, faults = report.overlay(Config, tree, environ)
    folder = Path(environ.get("CREDENTIALS_DIRECTORY") or (path.parent if path else Path()))
    for loc, upstream in report.tables_at(tree, "upstreams"):
        faults += _resolve_key(loc, upstream, folder, environ)
        faults += _resolve_files(loc, upstream, folder, ["tls_ca_file"])
    if isinstance(server := tree.get("server"), dict):
        faults += _resolve_files(("server",), server, folder, ["tls_cert_file", "tls_key_file"])
    faults += _cross_faults(tree)
    try:
        config = Config.model_validate(tree)
    except ValidationError as error:
        faults = report.faults_in(error, Config) + faults
    if faults:
        raise ConfigError(report.lines(faults, origins, Config))
    return config


def defaults_table() -> list[KeyRow]:
    """Every key with its default, its range and one sentence, in the order of the models."""
    return report.rows(Config)


def summary(config: Config) -> list[str]:
    """What a valid configuration amounts to, for people."""
    told = [f"listens on {config.server.listen}{' with TLS' * (config.server.tls_cert_file is not None)}"]
    for upstream in config.upstreams:
        source = f"${upstream.api_key_env}" if upstream.api_key_env else f"file {upstream.api_key_file}"
        key = f"key from {source}" if upstream.api_key else "no key"
        told.append(f"upstream {upstream.name}: {upstream.base_url}, models: {len(upstream.models)}, {key}")
    told += [f"feed {feed.name}: {feed.url.partition('?')[0]}" for feed in config.feeds]
    return told


def _cross_faults(tree: dict[str, Any]) -> Iterator[Fault]:
    """Rules over several keys, on the raw tree: they are told beside the faults of single keys."""
    if isinstance(server := tree.get("server"), dict):
        pair = ("tls_cert_file", "tls_key_file")
        for here, there in (pair, pair[::-1]):
            if here in server and there not in server:
                yield Fault(("server", there), f"is required beside {here}")
    if not tree.get("upstreams") and not tree.get("feeds"):
        yield Fault(("upstreams",), "at least one [[upstreams]] or [[feeds]] is needed")
    yield from report.duplicates((), tree, "upstreams", "name")
    for loc, upstream in report.tables_at(tree, "upstreams"):
        yield from report.duplicates(loc, upstream, "models", "id")
    yield from report.duplicates((), tree, "feeds", "name")


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
        return tomllib.loads(text, parse_float=Decimal)
    except UnicodeDecodeError:
        fault = ": is not UTF-8 text"
    except tomllib.TOMLDecodeError as error:
        fault = report.toml_fault(str(error), text)
    except OSError as error:
        fault = f": cannot be read: {error.strerror}"
    except (ValueError, RecursionError):  # an integer of thousands of digits, a NUL in the path; deep nesting
        fault = ": cannot be read: not a usable path, a number too long or tables too deep"
    raise ConfigError(report.lines([Fault((), f"{path}{fault}")], {}, Config))


def _resolve_files(loc: Loc, table: dict[str, Any], folder: Path, keys: list[str]) -> Iterator[Fault]:
    """Make the paths absolute to `folder` and see that they can be read."""
    for key in keys:
        if isinstance(name := table.get(key), str) and name:
            try:
                _content(folder, name, MAX_TLS_FILE_BYTES)
                table[key] = str(folder / name)
            except ValueError as error:
                yield Fault((*loc, key), str(error))


def _resolve_key(loc: Loc, upstream: dict[str, Any], folder: Path, environ: Mapping[str, str]) -> Iterator[Fault]:
    """Put the secret beside its reference. No fault repeats a reference that could be a pasted key."""
    if upstream.pop("api_key", None) is not None:
        yield Fault((*loc, "api_key"), "a key does not belong here; use api_key_env or api_key_file")
    variable, file_name = upstream.get("api_key_env"), upstream.get("api_key_file")
    if variable is not None and file_name is not None:
        yield Fault((*loc, "api_key_file"), "only one of api_key_env and api_key_file may be set")
        return
    key = "api_key_env" if file_name is None else "api_key_file"
    try:
        if isinstance(variable, str) and re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", variable):
            secret = _secret_of(variable, environ)
        elif isinstance(file_name, str):
            content = _content(folder, file_name, MAX_SECRET_BYTES)
            secret = _usable_secret(content.decode("ascii", "replace"), "the file")
            upstream["api_key_file"] = str(folder / file_name)
        else:
            return
        upstream["api_key"] = SecretStr(secret)
    except ValueError as error:
        yield Fault((*loc, key), str(error))


def _secret_of(variable: str, environ: Mapping[str, str]) -> str:
    # A key pasted in place of a name can look like a name, but hardly like ALPHA_API_KEY.
    told = f"${variable}" if variable.isupper() and "_" in variable else "the variable"
    if variable not in environ:
        raise ValueError(f"{told} is not set")
    return _usable_secret(environ[variable], told)


def _usable_secret(text: str, told: str) -> str:
    if not (secret := text.strip()):
        raise ValueError(f"{told} holds no key: it is empty")
    if not re.fullmatch("[!-~]+", secret):
        raise ValueError(f"{told} holds no usable key: blanks, control or non-ASCII characters in it")
    return secret


def _content(folder: Path, name: str, limit: int) -> bytes:
    try:
        with (folder / name).open("rb") as file:
            content = file.read(limit + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a usable path"
        place = "" if Path(name).is_absolute() else f" (looked in {folder})"
        raise ValueError(f"cannot be read: {reason}{place}") from None
    if len(content) > limit:
        raise ValueError(f"is larger than {limit} bytes")
    return content
