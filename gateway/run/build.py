"""Wiring: a configuration becomes the parts of a gateway; a new one, what can be exchanged while it runs."""

import random
import secrets
import ssl
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from gateway import config
from gateway.errors import ConfigError
from gateway.feeds.rings import FeedState
from gateway.feeds.source import SourceFeed
from gateway.routing.catalog import Candidate, Catalog
from gateway.routing.health import BreakerRules, Health
from gateway.routing.router import Router
from gateway.routing.throttle import Throttle
from gateway.tasks import Tasks
from gateway.upstream.dial import Dialer, DialLimits, Origin, proxy_for, tls_context
from gateway.upstream.endpoint import Endpoint
from gateway.upstream.pace import Pace

FEED_DIAL_LIMITS = DialLimits(connect_ms=10_000, tls_ms=10_000)


@dataclass(frozen=True, slots=True)
class Upstreams:
    """The upstreams of one configuration, with their connections, and what is known of them."""

    settings: config.Config
    endpoints: dict[str, Endpoint]
    router: Router
    pace: Pace  # of what they send

    def close(self) -> None:
        for endpoint in self.endpoints.values():
            endpoint.pool.close()


def build_upstreams(settings: config.Config, before: Upstreams | None = None) -> Upstreams:
    """The upstreams of a configuration. Those that were there `before` and are the same keep their connections."""
    pace = before.pace if before is not None else Pace(settings.server.batch_us / 1_000_000)
    endpoints = {one.name: _endpoint(one, settings, pace, before) for one in settings.upstreams}
    return Upstreams(settings, endpoints, _router(settings, endpoints, before), pace)


def retire(before: Upstreams, now: Upstreams) -> None:
    """Let go of the endpoints that are used no more; what runs on them ends by itself."""
    for name, endpoint in before.endpoints.items():
        if now.endpoints.get(name) is not endpoint:
            endpoint.pool.retire()


def build_feeds(settings: config.Config, tasks: Tasks, states: Mapping[str, FeedState]) -> dict[str, SourceFeed]:
    """The configured feeds; `states`: what the last process left of them."""
    return {one.name: _feed(one, settings.stream, tasks, states.get(one.name)) for one in settings.feeds}


def server_tls(server: config.ServerSettings) -> ssl.SSLContext | None:
    """What clients are shown, None without TLS. Raises `ConfigError` for a certificate that cannot be used."""
    if server.tls_cert_file is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(server.tls_cert_file, server.tls_key_file)
    except OSError as error:  # `ssl.SSLError` is one
        reason = error.strerror or str(error)
        raise ConfigError([f"server.tls_cert_file: cannot use {server.tls_cert_file}: {reason}"]) from None
    return context


def renew(tls: ssl.SSLContext, server: config.ServerSettings) -> None:
    """Show the certificate that is there now to those who connect from now on. Raises `ConfigError`.

    One with another kind of key (EC, RSA) stands beside the old one in OpenSSL's context, and clients may still be
    shown that: it needs a restart.
    """
    server_tls(server)  # first in another place: half of a pair must not get into this one
    assert server.tls_cert_file is not None
    tls.load_cert_chain(server.tls_cert_file, server.tls_key_file)


def probe(settings: config.Config) -> None:
    """Raises `ConfigError` for a file of the configuration that a start could not use."""
    server_tls(settings.server)
    build_upstreams(settings)


def _endpoint(
    upstream: config.UpstreamSettings, settings: config.Config, pace: Pace, before: Upstreams | None
) -> Endpoint:
    if before is not None:
        same_limits = before.settings.stream.idle_timeout_ms == settings.stream.idle_timeout_ms
        for old in before.settings.upstreams:
            if same_limits and _reached_alike(old, upstream):
                return before.endpoints[old.name]
    idle = settings.stream.idle_timeout_ms / 1000
    return Endpoint.build(upstream, idle, urllib.request.getproxies_environment(), pace)


def _reached_alike(old: config.UpstreamSettings, new: config.UpstreamSettings) -> bool:
    """Whether all but the models is the same."""
    return old.model_copy(update={"models": new.models}) == new


def _router(settings: config.Config, endpoints: dict[str, Endpoint], before: Upstreams | None) -> Router:
    routing = settings.routing
    rules = _rules(routing)
    known: dict[tuple[str, str], Health] = {}
    if before is not None and _rules(before.settings.routing) == rules:
        # Of what is reached in the same way: nothing is known of another address or another key.
        same = [one for one in before.router.catalog.all() if endpoints.get(one.endpoint.name) is one.endpoint]
        known = {(one.endpoint.name, one.model.id): one.health for one in same}
    catalog = Catalog(
        Candidate(endpoints[upstream.name], model, known.get((upstream.name, model.id)) or Health(rules))
        for upstream in settings.upstreams
        for model in upstream.models
    )
    throttle = _throttle(settings.ttft.hedge_max_share, before)
    return Router(catalog, routing, settings.ttft, dice=random.random, jitter=random.random, throttle=throttle)


def _throttle(share: float, before: Upstreams | None) -> Throttle:
    """The one that counts since the start of the process, however often the configuration is read."""
    if before is None:
        return Throttle(share)
    before.router.throttle.change(share)
    return before.router.throttle


def _rules(routing: config.RoutingSettings) -> BreakerRules:
    return BreakerRules(routing.breaker_failures, routing.breaker_seconds, routing.max_cooldown_seconds)


def _feed(
    feed: config.FeedSettings, limits: config.StreamSettings, tasks: Tasks, state: FeedState | None
) -> SourceFeed:
    origin, query = Origin.parse(feed.url), urlsplit(feed.url).query
    proxy = proxy_for(origin, urllib.request.getproxies_environment())
    dialer = Dialer(origin, FEED_DIAL_LIMITS, tls_context(None) if origin.tls else None, proxy)
    target = (origin.prefix or "/") + (f"?{query}" if query else "")
    epoch = secrets.token_hex(6)
    return SourceFeed(feed, limits, dialer, target, epoch=epoch, jitter=random.random, tasks=tasks, state=state)
