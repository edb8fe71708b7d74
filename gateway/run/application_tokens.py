"""Shell: the tokens of the application: their keys, read from a file or fetched from the issuer, again and again.

In: the settings of `[viewers]`. Out: what the bearer of a token may read (`access.viewer_token.ApplicationTokens`).
The invariant: nothing here holds the event loop, and while the issuer does not answer, the keys that it gave last are
good.
"""

import asyncio
import logging
import math
import random
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from gateway import clock
from gateway.access.application_token import ApplicationToken, TokenRules, knows_key, read
from gateway.access.signature_keys import SignatureKey, keys_in_set, public_keys, secret_key
from gateway.config import ViewerSettings
from gateway.errors import ConfigError, RivergateError
from gateway.tasks import Tasks
from gateway.upstream.connection import UpstreamConnection
from gateway.upstream.dial import Dialer, DialLimits, Origin, proxy_for, tls_context
from gateway.upstream.question import ask_over
from gateway.wire import http1

ANSWER_SECONDS = 10.0  # how long the issuer may take for its keys
MAX_SET_BYTES = 262144  # a hundred RSA keys with their certificates
LEAST_PAUSE_SECONDS = 10.0  # between two looks because of unknown keys, however many tokens name some
FIRST_RETRY_SECONDS = 1.0  # after a failure; doubled with each further one, up to the usual pause
_DIAL_LIMITS = DialLimits(connect_ms=5000, tls_ms=5000)

_log = logging.getLogger("rivergate.access")


class FileTokens:
    """Tokens whose keys are in a file."""

    is_failing = False

    def __init__(self, keys: Sequence[SignatureKey], rules: TokenRules) -> None:
        self.keys = keys
        self._rules = rules

    def read(self, text: str, now: float) -> ApplicationToken:
        return read(text, self.keys, self._rules, now)

    def knows_key(self, text: str) -> bool:
        return True

    async def look_for_keys(self) -> None:
        """Nothing: a reload reads the file again."""

    def start(self, tasks: Tasks, before: "ConfiguredTokens | None" = None) -> None:
        """Nothing: the keys are there."""

    def close(self) -> None:
        """Nothing: there is no task."""


class IssuerTokens:
    """Tokens whose keys their issuer lists at a URL (JWKS)."""

    def __init__(self, settings: ViewerSettings, rules: TokenRules, url: str) -> None:
        self.is_failing = False
        self.url = url
        self._rules = rules
        self._refresh_seconds = settings.jwks_refresh_seconds
        self.keys: Sequence[SignatureKey] = []
        self._dialer, self._request = _way_to(url)
        self._looking = asyncio.Lock()
        self._looked_at = self._asked_at = -math.inf  # the last look of any kind, and the last because of a token
        self._task: asyncio.Task[None] | None = None

    def read(self, text: str, now: float) -> ApplicationToken:
        return read(text, self.keys, self._rules, now)

    def knows_key(self, text: str) -> bool:
        return knows_key(text, self.keys)

    def start(self, tasks: Tasks, before: "ConfiguredTokens | None" = None) -> None:
        """Begin to look for the keys; till they come, those of `before` are good if their issuer is the same."""
        if isinstance(before, IssuerTokens) and before.url == self.url:
            self.keys = before.keys
        self._task = tasks.start(self._run(), "keys of viewers")

    def close(self) -> None:
        """Look no more. Idempotent."""
        if self._task is not None:
            self._task.cancel()

    async def look_for_keys(self) -> None:
        asked_at = clock.monotonic()
        async with self._looking:
            # Only the first of several waiting requests looks; the others see that it began after they asked.
            if self._looked_at < asked_at and self._asked_at + LEAST_PAUSE_SECONDS <= asked_at:
                self._asked_at = asked_at
                await self._look()

    async def _run(self) -> None:
        failures = 0
        while True:
            async with self._looking:
                await self._look()
            failures = failures + 1 if self.is_failing else 0
            pause = self._refresh_seconds
            if failures:
                pause = min(FIRST_RETRY_SECONDS * 2 ** min(failures - 1, 20), pause)
            await asyncio.sleep(pause * (0.75 + random.random() / 4))

    async def _look(self) -> None:
        """Ask the issuer once; after a failure the keys stay as they were."""
        self._looked_at = clock.monotonic()
        try:
            reply = await ask_over(self._dial, self._request, ANSWER_SECONDS, MAX_SET_BYTES)
            if reply.status != 200:
                raise ValueError(f"it answered HTTP {reply.status}")
            keys = await asyncio.to_thread(keys_in_set, bytes(reply.body))  # a hundred RSA keys take 10 ms
        except (RivergateError, ValueError) as error:
            reason = error.reason if isinstance(error, RivergateError) else str(error)
            if not self.is_failing:
                fields = {"reason": reason, "keys_kept": len(self.keys)}
                _log.warning("the keys of viewers cannot be fetched", extra={"fields": fields})
            self.is_failing = True
            return
        if self.is_failing or [key.id for key in keys] != [key.id for key in self.keys]:
            _log.info("the keys of viewers are fetched", extra={"fields": {"keys": len(keys)}})
        self.is_failing, self.keys = False, keys

    async def _dial(self) -> UpstreamConnection:
        return await self._dialer.dial(lambda: UpstreamConnection(UpstreamConnection.abort, _forget))


ConfiguredTokens = FileTokens | IssuerTokens


def build(settings: ViewerSettings) -> ConfiguredTokens | None:
    """The tokens that are configured, if any are. Raises `ConfigError`."""
    rules = TokenRules(settings.jwt_audience, settings.jwt_issuer, settings.jwt_leeway_seconds)
    if settings.jwks_url is not None:
        return IssuerTokens(settings, rules, settings.jwks_url)
    if settings.jwt_secret_file is not None:
        return FileTokens(_keys_in("jwt_secret_file", settings.jwt_secret_file), rules)
    if settings.jwt_public_key_file is not None:
        return FileTokens(_keys_in("jwt_public_key_file", settings.jwt_public_key_file), rules)
    return None


def _keys_in(key: str, path: str) -> Sequence[SignatureKey]:
    try:
        content = Path(path).read_bytes()
        return [secret_key(content)] if key == "jwt_secret_file" else public_keys(content)
    except OSError as error:
        raise ConfigError([f"viewers.{key}: cannot be read: {error.strerror}"]) from None
    except ValueError as error:
        raise ConfigError([f"viewers.{key}: {error}"]) from None


def _way_to(url: str) -> tuple[Dialer, bytes]:
    """How the issuer is reached, and what it is asked."""
    origin, query = Origin.parse(url), urlsplit(url).query
    proxy = proxy_for(origin, urllib.request.getproxies_environment())
    dialer = Dialer(origin, _DIAL_LIMITS, tls_context(None) if origin.tls else None, proxy)
    path = urlsplit(url).path or "/"
    fields = [
        ("Host", origin.authority),
        ("Accept", "application/jwk-set+json, application/json"),
        ("Accept-Encoding", "identity"),
        *dialer.hop_fields(),
    ]
    return dialer, http1.encode_request("GET", dialer.target(path + (f"?{query}" if query else "")), fields)


def _forget(connection: UpstreamConnection) -> None:
    """Nothing: the connection belongs to no pool that would have to forget it."""
