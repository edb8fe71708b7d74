"""Wiring: the parts of a gateway are built from a configuration; a new configuration exchanges some of them."""

import random
import secrets
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from gateway import config
from gateway.feeds.rings import FeedState
from gateway.feeds.source import SourceFeed
from gateway.routing.catalog import Candidate, Catalog
from gateway.routing.health import BreakerRules, Health
from gateway.routing.router import Router
from gateway.routing.throttle import Throttle
from gateway.run import certificate
from gateway.tasks import Tasks
from gateway.upstream.dial import Dialer, DialLimits, Origin, proxy_for, tls_context
from gateway.upstream.endpoint import Endpoint
from gateway.upstream.pace import Pace

FEED_DIAL_LIMITS = DialLimits(connect_ms=10_000, tls_ms=10_000)


@dataclass(frozen=True, slots=True)
class Upstreams:
    """The upstreams of one configuration, with their connections, their health and the pace of reading them."""

    settings: config.Config
    endpoints: dict[str, Endpoint]
    router: Router
    pace: Pace

    def close(self) -> None:
        """Close the idle connections of all upstreams."""
        for endpoint in self.endpoints.values():
            endpoint.pool.close()


def build_upstreams(settings: config.Config, before: Upstreams | None = None) -> Upstreams:
    """The upstreams of a configuration. An upstream that is unchanged since `before` keeps its connections."""
    pace = before.pace if before is not None else Pace(settings.server.batch_us / 1_000_000)
    endpoints = {upstream.name: _endpoint(upstream, settings, pace, before) for upstream in settings.upstreams}
    return Upstreams(settings, endpoints, _router(settings, endpoints, before), pace)


def retire(before: Upstreams, now: Upstreams) -> None:
    """Retire the endpoints of `before` that are not in `now`; requests that run on them end by themselves."""
    for name, endpoint in before.endpoints.items():
        if now.endpoints.get(name) is not endpoint:
            endpoint.pool.retire()


def build_feeds(settings: config.Config, tasks: Tasks, states: Mapping[str, FeedState]) -> dict[str, SourceFeed]:
    """The configured feeds; `states`: the rings that the last process saved, by the names of the feeds."""
    return {feed.name: _feed(feed, settings.stream, tasks, states.get(feed.name)) for feed in settings.feeds}


def probe(settings: config.Config) -> None:
    """Try the files that a configuration names; raises `ConfigError` for a file that would prevent a start."""
    certificate.load(settings.server)
    build_upstreams(settings)


def needs_restart(before: config.Config, now: config.Config) -> list[str]:
    """The sections whose changes a reload does not take over."""
    at_start = _read_at_start(before)
    return [section for section, read in _read_at_start(now).items() if read != at_start[section]]


def _endpoint(
    upstream: config.UpstreamSettings, settings: config.Config, pace: Pace, before: Upstreams | None
) -> Endpoint:
    if before is not None:
        same_limits = before.settings.stream.idle_timeout_ms == settings.stream.idle_timeout_ms
        for old in before.settings.upstreams:
            if same_limits and _is_reached_alike(old, upstream):
                return before.endpoints[old.name]
    idle = settings.stream.idle_timeout_ms / 1000
    return Endpoint.build(upstream, idle, urllib.request.getproxies_environment(), pace)


def _is_reached_alike(old: config.UpstreamSettings, new: config.UpstreamSettings) -> bool:
    """Whether two upstreams differ in their models at most."""
    return old.model_copy(update={"models": new.models}) == new


def _router(settings: config.Config, endpoints: dict[str, Endpoint], before: Upstreams | None) -> Router:
    routing = settings.routing
    rules = _rules(routing)
    known: dict[tuple[str, str], Health] = {}
    if before is not None and _rules(before.settings.routing) == rules:
        # Health is kept only together with the endpoint: it says nothing about another address or another key.
        known = {
            (candidate.endpoint.name, candidate.model.id): candidate.health
            for candidate in before.router.catalog.all()
            if endpoints.get(candidate.endpoint.name) is candidate.endpoint
        }
    catalog = Catalog(
        Candidate(endpoints[upstream.name], model, known.get((upstream.name, model.id)) or Health(rules))
        for upstream in settings.upstreams
        for model in upstream.models
    )
    throttle = _throttle(settings.ttft.hedge_max_share, before)
    return Router(catalog, routing, settings.ttft, dice=random.random, jitter=random.random, throttle=throttle)


def _throttle(share: float, before: Upstreams | None) -> Throttle:
    """The throttle of hedges, which counts since the start of the process, across reloads."""
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


# The keys of `[stream]` that a feed keeps from its start on.
_KEPT_BY_FEEDS = {"abort_grace_ms", "keepalive_seconds", "max_log_bytes", "subscriber_stall_seconds"}


def _read_at_start(settings: config.Config) -> dict[str, object]:
    """The settings that a reload does not take over, by section."""
    return {
        "server": settings.server.model_dump(
            exclude={"allowed_hosts", "cors_origins", "drain_seconds", "max_waiting_bytes"}
        ),
        "stream": settings.stream.model_dump(include={"retain_seconds", "max_retained_bytes"}),
        "feeds": (settings.feeds, settings.stream.model_dump(include=_KEPT_BY_FEEDS) if settings.feeds else None),
        "storage": settings.storage,
    }
