"""Pure: the sections of feeds and of their viewers: every key with its type, default, range and one sentence."""

from typing import Literal

from pydantic import Field, SecretStr

from gateway.config.provider_values import (
    AuthScheme,
    FixedHeaders,
    HeaderFiles,
    HeaderName,
    HeaderVariables,
    ProxyUrl,
)
from gateway.config.section import Section
from gateway.config.section import described as _described
from gateway.config.section import number as _number
from gateway.config.values import (
    MAX_MS,
    FeedUrl,
    FileName,
    Flag,
    KeyFile,
    Name,
    Seconds,
    Text,
    Variable,
    Whole,
)


class FeedSettings(Section):
    name: Name = _described(..., "Unique name of the feed, as in its path /v1/feeds/NAME/events.")
    url: FeedUrl | None = _described(
        None, "Source of server-sent events; it is connected while the feed has subscribers."
    )
    publish: Flag = _described(False, "Whether clients publish the events, by POST; in place of a source.")
    retain_events: Whole = _number(
        1000, 1, 1_000_000, "How many of the newest events are kept for subscribers that come later."
    )
    lag: Literal["skip", "close"] = _described(
        "skip",
        "For a subscriber that waits for more than stream.max_log_bytes: "
        "`skip` sends a `gap` event and goes on, `close` ends it.",
    )
    linger_seconds: Seconds = _number(
        5.0, 0, 3600, "How long the source stays connected after the last subscriber has left."
    )
    idle_timeout_ms: Whole = _number(
        0, 0, MAX_MS, "How long the source may send no byte; then it is connected anew. 0 sets no limit."
    )
    max_event_bytes: Whole = _number(
        8_388_608,
        256,
        1 << 30,
        "Largest event; a larger one is left out, and a `gap` event says so. Of what is published at most 2 MiB.",
    )
    headers: FixedHeaders = _described({}, "Header fields that every request to the source carries.")
    header_env: HeaderVariables = _described(
        {}, "Secret header fields: the name of each with the environment variable that holds its value."
    )
    header_file: HeaderFiles = _described(
        {}, "Secret header fields: the name of each with the file that holds its value."
    )
    secret_headers: dict[str, SecretStr] = Field(
        default={}, exclude=True, description="The values of `header_env` and `header_file`, filled in by load()."
    )
    api_key_env: Variable | None = _described(None, "Environment variable that holds the source's API key.")
    api_key_file: KeyFile | None = _described(
        None, "File that holds the source's API key: a path, or the name of a systemd credential."
    )
    api_key: SecretStr | None = Field(
        default=None, exclude=True, description="The API key itself, filled in by load()."
    )
    auth_header: HeaderName = _described("Authorization", "Header field that carries the source's API key.")
    auth_scheme: AuthScheme | None = _described(None, "Word before the API key in its header field.")
    proxy: ProxyUrl | None = _described(
        None, "HTTP proxy to the source. Unset: the one of HTTPS_PROXY or HTTP_PROXY, unless NO_PROXY exempts it."
    )
    max_events_per_second: Whole = _number(
        0, 0, 1_000_000, "Most events a second that one key may publish to the feed; 0 sets no limit."
    )
    remember_ids: Whole = _number(
        10_000, 0, 1_000_000, "How many of the newest ids of published events are known, so that none is taken twice."
    )


class ViewerSettings(Section):
    jwt_secret_file: KeyFile | None = _described(
        None, "File with the secret of the application's tokens (HS256): a path, or the name of a systemd credential."
    )
    jwt_public_key_file: FileName | None = _described(
        None, "PEM file with the public keys of the application's tokens (RS256, ES256, EdDSA)."
    )
    jwks_url: FeedUrl | None = _described(
        None, "Where the issuer of tokens lists its public keys (JWKS), in place of a file."
    )
    jwt_audience: Text | None = _described(None, "What the claim `aud` must hold. Unset: a token must have none.")
    jwt_issuer: Text | None = _described(None, "What the claim `iss` must be. Unset: it does not matter.")
    jwt_leeway_seconds: Seconds = _number(
        10.0, 0, 600, "By how much the clocks of the gateway and of the application may differ."
    )
    jwks_refresh_seconds: Seconds = _number(
        300.0, 1, 86_400, "Pause between two looks at `jwks_url`; a token of an unknown key asks sooner."
    )

    @property
    def takes_tokens(self) -> bool:
        """Whether tokens of the application are taken at all."""
        return any((self.jwt_secret_file, self.jwt_public_key_file, self.jwks_url))
