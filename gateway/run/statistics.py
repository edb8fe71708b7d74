"""Shell: the statistics of the gateway, for the dashboard's feed and for Prometheus.

It stands with the service, not in `observe`: it reads the hub, the router, the accounts, the feeds and the capacity,
and a Protocol for each of them in a lower package would say twice what they are.
"""

import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway import __version__, clock
from gateway.access.bank import Bank
from gateway.access.key_ring import KeyRing
from gateway.endings import Ending
from gateway.feeds.built_in import BuiltInFeed
from gateway.feeds.feed import Feed
from gateway.feeds.published import PublishedFeed
from gateway.http.capacity import Capacity
from gateway.http.in_force import InForce
from gateway.http.refusals import Refusals
from gateway.http.stream_search import listed
from gateway.observe.loop_lag import LoopLag
from gateway.observe.metrics import Reading
from gateway.routing.catalog import Candidate
from gateway.routing.health import Breaker
from gateway.run.history import GAP_BOUNDS_MS, TTFT_BOUNDS_MS, History
from gateway.stream.hub import Hub, HubStatistics
from gateway.stream.stream import StreamStatistics
from gateway.upstream.pace import Pace
from gateway.wire import json_text, sse

FEED = "statistics"  # the name of the built-in feed
SECONDS = 1.0  # the pause between two events of the built-in feed
MAX_LISTED = 50  # an event lists this many streams at most, the running and the newest first
MAX_SHOWN = 300  # upstreams with one of their models each, which take 5 ms


@dataclass(frozen=True, slots=True)
class StatisticsSources:
    """The parts that the statistics read."""

    in_force: InForce
    hub: Hub
    keys: KeyRing
    bank: Bank
    capacity: Capacity
    refusals: Refusals
    feeds: Mapping[str, Feed]
    lag: LoopLag
    pace: Pace
    history: History
    started_at: int  # Unix seconds


class GatewayStatistics:
    """The statistics, which are read from their sources when a snapshot or a report (`StatisticsReports`) is made."""

    def __init__(self, sources: StatisticsSources) -> None:
        self._sources = sources

    def feed(self) -> BuiltInFeed:
        """The built-in feed of these statistics."""
        return BuiltInFeed(
            FEED, self._frame, SECONDS, self._sources.in_force.config.stream, epoch=secrets.token_hex(6)
        )

    def snapshot(self) -> dict[str, Any]:
        """All statistics, as the dashboard and `rivergate top` read them."""
        sources, now = self._sources, clock.monotonic()
        hub = sources.hub.statistics()
        running = sources.hub.running()[::-1]
        ended = sources.hub.newest_ended(MAX_LISTED)
        history, router = sources.history, sources.in_force.router
        endings, distributions = history.endings, history.distributions()
        return {
            "at": round(clock.wall_time(), 3),
            "version": __version__,
            "uptime_seconds": round(clock.wall_time() - sources.started_at),
            "ready": sources.capacity.ready,
            "open_mode": sources.keys.is_open,
            "loop_lag_ms": round(self._sources.lag.last * 1000, 3),
            "open_fds": open_fds(),
            "connections": sources.capacity.connections,
            "ledger": {"failure": sources.bank.failure, "unwritten": sources.bank.statistics().unwritten},
            "streams": {"running": hub.running, "kept": hub.kept, "ended": hub.ended, "endings": dict(endings)},
            "tokens": history.tokens(),
            "readers": sum(stream.subscribers for stream in sources.hub.open_streams()),
            "deliveries": hub.deliveries,
            "sends": hub.sends,
            "lagged_readers": hub.lagged_subscribers,
            "orphan_seconds": round(hub.orphan_seconds, 3),
            "budget_misses": endings[Ending.TTFT_BUDGET_EXCEEDED],
            "hedges": router.throttle.hedges,
            "requests": router.throttle.requests,
            "refusals": sources.refusals.total,
            "ttft_ms": {"bounds": TTFT_BOUNDS_MS, "counts": distributions["ttft_ms"].counts},
            "gap_ms": {"bounds": GAP_BOUNDS_MS, "counts": distributions["gap_ms"].counts},
            "ttft": history.last_minute(),
            "point": history.newest(),
            "failures": history.failures.count,
            "breaker_changes": router.incidents.breakers.count,
            "errors": router.incidents.errors.as_json(),
            "upstreams": [_upstream(candidate, now) for candidate in _most_used(self._shown())],
            "list": [listed(production) for production in (running + ended)[:MAX_LISTED]],
        }

    # --- the reports (`StatisticsReports`)

    def history(self) -> dict[str, Any]:
        """The timeline, and the changes of breakers."""
        sources = self._sources
        breakers = sources.in_force.router.incidents.breakers
        return {
            "at": round(clock.wall_time(), 3),
            "started_at": sources.started_at,
            **sources.history.as_json(),
            "breaker_changes": {"count": breakers.count, "data": breakers.as_json()},
        }

    def failures(self, after: int, *, with_keys: bool) -> dict[str, Any]:
        """The failed requests with a number above `after`. `with_keys`: also whose they were."""
        failures = self._sources.history.failures
        rows = failures.as_json(after, with_keys=with_keys)
        for row in rows:
            if with_keys:
                row["key_name"] = self._name_of(row["key"])
        return {"count": failures.count, "data": rows}

    def hourly(self) -> dict[str, Any]:
        """Requests, tokens and cost by hour, model and key."""
        rows = self._sources.history.hourly()
        for row in rows:
            row["key_name"] = self._name_of(row["key"])
        return {"since": self._sources.started_at, "data": rows}

    # --- the metrics

    def readings(self) -> Iterator[Reading]:
        """All statistics, as Prometheus reads them at a scrape."""
        sources = self._sources
        hub = sources.hub.statistics()
        streams = [stream.statistics() for stream in sources.hub.open_streams()]
        feeds = {name: feed.stream.statistics() for name, feed in sources.feeds.items()}
        yield _single("rivergate_streams_running", "Completions that are running.", hub.running)
        yield _single("rivergate_streams_kept", "Ended streams that can still be read.", hub.kept)
        yield _single(
            "rivergate_readers", "Subscribers of completions.", sum(stream.subscribers for stream in streams)
        )
        yield _single(
            "rivergate_stream_readers_max",
            "Subscribers of the completion that has the most.",
            max((stream.subscribers for stream in streams), default=0),
        )
        yield Reading(
            "rivergate_feed_readers",
            "Subscribers of a feed.",
            {(name,): feed.subscribers for name, feed in feeds.items()},
            ("feed",),
        )
        yield _single(
            "rivergate_lag_bytes",
            "Bytes that wait for the subscriber that is furthest behind.",
            max((stream.lag_bytes for stream in (*streams, *feeds.values())), default=0),
        )
        yield from _delivery_readings(hub, feeds)
        yield from self._published_readings()
        yield from self._viewer_readings()
        orphaned = "Seconds that streams have run without a subscriber."
        yield _single("rivergate_orphan_seconds", orphaned, hub.orphan_seconds, counts=True)
        yield sources.refusals.reading()
        yield from self._upstream_readings()
        yield from self._loop_readings()
        yield from self._connection_readings()
        failing = sources.bank.failure is not None
        yield _single("rivergate_ledger_failing", "1 while the ledger cannot be written, else 0.", failing)

    def _viewer_readings(self) -> Iterator[Reading]:
        if (tokens := self._sources.in_force.application_tokens) is not None:
            failing = "1 while the keys of viewers' tokens cannot be fetched, else 0."
            yield _single("rivergate_viewer_keys_failing", failing, tokens.is_failing)

    def _published_readings(self) -> Iterator[Reading]:
        published = {name: feed for name, feed in self._sources.feeds.items() if isinstance(feed, PublishedFeed)}
        if not published:
            return
        yield Reading(
            "rivergate_published_events",
            "Events that clients published to a feed.",
            {(name,): feed.taken for name, feed in published.items()},
            ("feed",),
            counts=True,
        )
        yield Reading(
            "rivergate_published_duplicates",
            "Events that were published again and not taken, since their ids had come before.",
            {(name,): feed.duplicates for name, feed in published.items()},
            ("feed",),
            counts=True,
        )

    def _connection_readings(self) -> Iterator[Reading]:
        yield _single("rivergate_open_fds", "Open file descriptors of the process.", open_fds())
        yield _single("rivergate_connections", "Open client connections.", self._sources.capacity.connections)

    def _loop_readings(self) -> Iterator[Reading]:
        yield _single(
            "rivergate_event_loop_lag_seconds",
            "Longest delay of the event loop since the last scrape.",
            self._sources.lag.worst(),
        )
        yield _single(
            "rivergate_upstream_reads", "Reads from upstream connections.", self._sources.pace.reads, counts=True
        )
        yield _single(
            "rivergate_loop_rests",
            "Rests of the event loop under load, in which tokens gather (server.batch_us).",
            self._sources.pace.rests,
            counts=True,
        )

    def _upstream_readings(self) -> Iterator[Reading]:
        yield from self._sources.in_force.router.incidents.readings()
        candidates = self._shown()
        yield Reading(
            "rivergate_breaker_open",
            "State of a breaker: 0 closed, 1 half open (one request probes the upstream), 2 open (it is not asked).",
            {_labels(candidate): _BREAKERS[candidate.health.breaker] for candidate in candidates},
            ("upstream", "model"),
        )
        yield Reading(
            "rivergate_in_flight",
            "Attempts that are running.",
            {_labels(candidate): candidate.health.in_flight for candidate in candidates},
            ("upstream", "model"),
        )

    def _shown(self) -> list[Candidate]:
        """The candidates that are shown, in the order of the configuration."""
        return [candidate for candidate in self._sources.in_force.router.catalog.all() if candidate.is_shown]

    def _name_of(self, key_id: str | None) -> str | None:
        """The name of a key; None: there is no such key."""
        account = None if key_id is None else self._sources.keys.account(key_id)
        return None if account is None else account.key.name

    def _frame(self) -> bytes:
        return sse.frame(json_text.dumps_line(self.snapshot()))


_BREAKERS = {Breaker.CLOSED: 0, Breaker.HALF_OPEN: 1, Breaker.OPEN: 2}


def open_fds() -> int:
    """The open file descriptors of this process; 0 where that cannot be known."""
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return 0


def _delivery_readings(hub: HubStatistics, feeds: Mapping[str, StreamStatistics]) -> Iterator[Reading]:
    lagged = hub.lagged_subscribers + sum(feed.lagged_subscribers for feed in feeds.values())
    yield _single(
        "rivergate_lagged_readers", "Subscribers that were closed because they were too slow.", lagged, counts=True
    )
    deliveries = hub.deliveries + sum(feed.deliveries for feed in feeds.values())
    sends = hub.sends + sum(feed.sends for feed in feeds.values())
    yield _single(
        "rivergate_deliveries",
        "Events delivered, each counted once for every subscriber that got it.",
        deliveries,
        counts=True,
    )
    yield _single(
        "rivergate_sends",
        "Writes to subscribers; deliveries divided by sends is the number of events in one write.",
        sends,
        counts=True,
    )


def _most_used(candidates: Sequence[Candidate]) -> Sequence[Candidate]:
    """The candidates for the dashboard, in their order: those that were asked before the others, if they are many."""
    if len(candidates) <= MAX_SHOWN:
        return candidates
    asked = [candidate for candidate in candidates if candidate.health.was_asked]
    others = (candidate for candidate in candidates if not candidate.health.was_asked)
    return [*asked, *others][:MAX_SHOWN]


def _labels(candidate: Candidate) -> tuple[str, str]:
    """The values of the labels `upstream` and `model`."""
    return candidate.endpoint.name, candidate.model.id


def _single(name: str, text: str, value: float, *, counts: bool = False) -> Reading:
    """The reading of a metric without labels."""
    return Reading(name, text, {(): float(value)}, counts=counts)


def _upstream(candidate: Candidate, now: float) -> dict[str, Any]:
    known = candidate.health.statistics(now)
    return {
        "upstream": candidate.endpoint.name,
        "model": candidate.model.id,
        "breaker": known.breaker,
        "wait_seconds": round(known.wait, 1),
        "ttft_p50_ms": _ms(known.ttft_p50),
        "ttft_p95_ms": _ms(known.ttft_p95),
        "tps_p50": None if known.tps_p50 is None else round(known.tps_p50, 1),
        "error_rate": round(known.error_rate, 4),
        "in_flight": known.in_flight,
    }


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)
