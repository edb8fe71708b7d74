"""Wiring: the parts of a gateway are built from a configuration; a new configuration exchanges some of them."""

import random
import secrets
import urllib.request
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from gateway import __version__, config
from gateway.errors import ConfigError
from gateway.feeds.published import PublishedFeed
from gateway.feeds.rings import FeedState
from gateway.feeds.source import SourceFeed
from gateway.feeds.source_request import Address, SourceRequests
from gateway.routing.catalog import Candidate, Catalog
from gateway.routing.health import BreakerRules, Health
from gateway.routing.incidents import Incidents
from gateway.routing.quota import Quota
from gateway.routing.router import Router
from gateway.routing.shared_health import SharedHealth
from gateway.routing.throttle import Throttle
from gateway.routing.wildcard import STAR
from gateway.run import certificate
from gateway.tasks import Tasks
from gateway.upstream.configured import configured_fields, proxy_of
from gateway.upstream.dial import Dialer, DialLimits, Origin, tls_context
from gateway.upstream.endpoint import Endpoint
from gateway.upstream.pace import Pace

if TYPE_CHECKING:
    from gateway.run.application_tokens import ConfiguredTokens

_Built = TypeVar("_Built")

# The keys of an upstream that only routing reads.
_READ_BY_ROUTING = ("discover", "max_concurrency", "models", "rpm", "weight")
MODELS_OF_STEP = 50  # models that are built in one step: 1.5 ms
Building = Generator[None, None, _Built]
"""The building of a part, in steps."""
ConfiguredFeed = SourceFeed | PublishedFeed
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
    building = building_upstreams(settings, before)
    while True:
        try:
            next(building)
        except StopIteration as end:
            built: Upstreams = end.value
            return built


def building_upstreams(settings: config.Config, before: Upstreams | None) -> Building[Upstreams]:
    """Build as `build_upstreams` does, in steps of a few milliseconds however many models there are."""
    pace = before.pace if before is not None else Pace(settings.server.batch_us / 1_000_000)
    endpoints = _endpoints(settings, pace, before)
    yield
    router = yield from _router(settings, endpoints, before)
    return Upstreams(settings, endpoints, router, pace)


def retire(before: Upstreams, now: Upstreams) -> None:
    """Retire the endpoints of `before` that are not in `now`; requests that run on them end by themselves."""
    for name, endpoint in before.endpoints.items():
        if now.endpoints.get(name) is not endpoint:
            endpoint.pool.retire()


def build_feeds(settings: config.Config, tasks: Tasks, states: Mapping[str, FeedState]) -> dict[str, ConfiguredFeed]:
    """The configured feeds; `states`: the rings that the last process saved, by the names of the feeds."""
    return {feed.name: _feed(feed, settings.stream, tasks, states.get(feed.name)) for feed in settings.feeds}


def build_tokens(settings: config.Config) -> "ConfiguredTokens | None":
    """The tokens of the application that are configured, if any are. Raises `ConfigError`."""
    if not settings.viewers.takes_tokens:
        return None
    from gateway.run import application_tokens  # it needs PyJWT and cryptography, which take 60 ms to import

    return application_tokens.build(settings.viewers)


def probe(settings: config.Config) -> None:
    """Try the files that a configuration names; raises `ConfigError` for a file that would prevent a start."""
    certificate.load(settings.server)
    build_upstreams(settings)
    secret = settings.viewers.jwt_secret_file
    if secret is None or Path(secret).exists():  # a secret need not be on the machine of a check
        build_tokens(settings)


def needs_restart(before: config.Config, now: config.Config) -> list[str]:
    """The sections whose changes a reload does not take over."""
    at_start = _read_at_start(before)
    return [section for section, read in _read_at_start(now).items() if read != at_start[section]]


def _endpoints(settings: config.Config, pace: Pace, before: Upstreams | None) -> dict[str, Endpoint]:
    """The endpoints of all upstreams; raises `ConfigError`, in which each fault has its key path and upstream."""
    endpoints, faults = {}, []
    for index, upstream in enumerate(settings.upstreams):
        try:
            endpoints[upstream.name] = _endpoint(upstream, settings, pace, before)
        except ConfigError as error:
            faults += [f"upstreams[{index}].{fault} [upstream {upstream.name}]" for fault in error.faults]
    if faults:
        raise ConfigError(faults)
    return endpoints


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
    """Whether two upstreams differ at most in what routing reads: connections and health can be kept."""
    return old.model_copy(update={key: getattr(new, key) for key in _READ_BY_ROUTING}) == new


def _router(settings: config.Config, endpoints: dict[str, Endpoint], before: Upstreams | None) -> Building[Router]:
    routing = settings.routing
    rules = _rules(routing)
    quotas = {upstream.name: _quota(upstream, endpoints, before) for upstream in settings.upstreams}
    yield
    known: dict[tuple[str, str], Candidate] = {}
    if before is not None and _rules(before.settings.routing) == rules:
        # Health is kept only together with the endpoint: it says nothing about another address or another key.
        known = {
            (candidate.endpoint.name, candidate.model.id): candidate
            for candidate in before.router.catalog.all()
            if endpoints.get(candidate.endpoint.name) is candidate.endpoint
        }
        yield
    catalog = Catalog((), rules)
    for upstream in settings.upstreams:
        quota = quotas[upstream.name]
        for number, model in enumerate(upstream.models):
            if number % MODELS_OF_STEP == MODELS_OF_STEP - 1:
                yield
            health = _health(known.get((upstream.name, model.id)), model, quota, rules)
            catalog.add(Candidate(endpoints[upstream.name], model, health, upstream.weight, quota))
    yield
    return Router(
        catalog,
        routing,
        settings.ttft,
        dice=random.random,
        jitter=random.random,
        throttle=_throttle(settings.ttft.hedge_max_share, before),
        incidents=_incidents(endpoints, before),
    )


def _quota(
    upstream: config.UpstreamSettings, endpoints: dict[str, Endpoint], before: Upstreams | None
) -> Quota | None:
    """The quota of an upstream; None if it has no limit. What runs at the same endpoint counts on after a reload."""
    if not (upstream.max_concurrency or upstream.rpm):
        return None
    before_it = [] if before is None else before.router.catalog.all()
    quota = next((old.quota for old in before_it if old.quota and old.endpoint is endpoints[upstream.name]), None)
    quota = quota or Quota()
    quota.change(upstream.max_concurrency, upstream.rpm)
    return quota


def _health(known: Candidate | None, model: config.ModelSettings, quota: Quota | None, rules: BreakerRules) -> Health:
    """The health of a candidate: the one that is known, if the same limits are kept with it, or a new one."""
    if known is not None and known.quota is quota:
        return known.health
    if STAR in model.id:
        return Health(BreakerRules(failures=0))  # each model that the wildcard finds has a breaker of its own
    return Health(rules) if quota is None else SharedHealth(rules, quota)


def _throttle(share: float, before: Upstreams | None) -> Throttle:
    """The throttle of hedges, which counts since the start of the process, across reloads."""
    if before is None:
        return Throttle(share)
    before.router.throttle.change(share)
    return before.router.throttle


def _incidents(endpoints: Mapping[str, Endpoint], before: Upstreams | None) -> Incidents | None:
    """The record of what happened to upstreams, which goes on across reloads; None at the start."""
    if before is None:
        return None
    before.router.incidents.keep(endpoints)
    return before.router.incidents


def _rules(routing: config.RoutingSettings) -> BreakerRules:
    return BreakerRules(routing.breaker_failures, routing.breaker_seconds, routing.max_cooldown_seconds)


def _feed(
    feed: config.FeedSettings, limits: config.StreamSettings, tasks: Tasks, state: FeedState | None
) -> ConfiguredFeed:
    epoch = secrets.token_hex(6)
    if feed.url is None:
        return PublishedFeed(feed, limits, epoch=epoch, state=state)
    proxies = urllib.request.getproxies_environment()

    def dial_to(origin: Origin) -> Dialer:
        tls = tls_context(None) if origin.tls else None
        return Dialer(origin, FEED_DIAL_LIMITS, tls, proxy_of(feed, origin, proxies))

    fields = (("User-Agent", f"rivergate/{__version__}"), *configured_fields(feed))
    requests = SourceRequests(Address.parse(feed.url), dial_to, fields)
    return SourceFeed(feed, limits, requests, epoch=epoch, jitter=random.random, tasks=tasks, state=state)


# The keys of `[stream]` that a feed keeps from its start on.
_KEPT_BY_FEEDS = {"keepalive_seconds", "max_log_bytes", "subscriber_stall_seconds"}


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
