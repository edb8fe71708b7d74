"""Wiring: builds aiohttp's application: which handler serves which path, and the middleware around all handlers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from aiohttp import web

from gateway.access.books_thread import BooksThread
from gateway.dialects.dialect import Dialect
from gateway.feeds.feed import Feed
from gateway.http.body import on_expect
from gateway.http.capacity import Capacity
from gateway.http.dashboard import pages
from gateway.http.endpoints.account import KeyEndpoints
from gateway.http.endpoints.answers import AnswerEndpoints
from gateway.http.endpoints.client_script import get_client
from gateway.http.endpoints.completions import CompletionEndpoints
from gateway.http.endpoints.events import EventEndpoints
from gateway.http.endpoints.feeds import FeedEndpoints
from gateway.http.endpoints.health import HealthEndpoints, MetricsText
from gateway.http.endpoints.model_directory import DirectoryEndpoints
from gateway.http.endpoints.models import ModelEndpoints
from gateway.http.endpoints.publishing import PublishEndpoint
from gateway.http.endpoints.statistics import StatisticsEndpoints, StatisticsReports
from gateway.http.endpoints.streams import StreamEndpoints
from gateway.http.errors import MAX_BODY_BYTES, envelope_middleware
from gateway.http.stream_search import StreamSearch
from gateway.http.streamed_reply import ReplyParts


@dataclass(frozen=True, slots=True)
class AppParts:
    """The parts that the service hands to the HTTP side."""

    reply: ReplyParts
    dialects: Sequence[Dialect]  # the first is used where a request names none
    books: BooksThread
    capacity: Capacity
    feeds: Mapping[str, Feed]
    exposition: Callable[[], Iterator[bytes]]  # gives the metrics in Prometheus's text format, in parts
    reports: StatisticsReports
    started_at: int  # Unix seconds


def build_app(parts: AppParts) -> web.Application:
    """The application of aiohttp's way."""
    reply = parts.reply
    limit, admission = reply.in_force.config.server.max_body_bytes, reply.admission
    app = web.Application(middlewares=[envelope_middleware, admission.admit], client_max_size=limit)
    app[MAX_BODY_BYTES] = limit
    app.on_response_prepare.extend([admission.add_headers, reply.refusals.on_prepare])
    opening = reply.opening
    streams = StreamEndpoints(reply, opening.hub, opening.directory, parts.dialects)
    feeds = FeedEndpoints(parts.feeds, reply.subscriptions)
    events = EventEndpoints(reply)
    publishing = PublishEndpoint(parts.feeds, admission, reply.turns, reply.waiting)
    admission.admit_viewers_to(frozenset([streams.get, streams.get_events, feeds.get_events, events.get_events]))
    _add_dialects(app, parts)
    app.router.add_post("/v1/streams", streams.create, expect_handler=on_expect)
    app.router.add_get("/v1/streams", streams.list)
    app.router.add_get("/v1/streams/{id}", streams.get)
    app.router.add_delete("/v1/streams/{id}", streams.stop)
    app.router.add_get("/v1/streams/{id}/events", streams.get_events, allow_head=False)
    app.router.add_post("/v1/streams/{id}/tokens", streams.create_token)
    app.router.add_get("/v1/events", events.get_events, allow_head=False)
    app.router.add_post("/v1/events", events.create)
    app.router.add_post("/v1/events/tokens", events.create_token)
    app.router.add_get("/v1/feeds", feeds.list)
    app.router.add_get("/v1/feeds/{name}/events", feeds.get_events, allow_head=False)
    _add_dashboard(app, parts)
    app.router.add_post("/v1/feeds/{name}/events", publishing.create, expect_handler=on_expect)
    _add_models(app, parts)
    key_report = KeyEndpoints(parts.books, parts.started_at)
    app.router.add_get("/v1/me", key_report.get_me)
    app.router.add_get("/v1/usage", key_report.get_usage)
    health = HealthEndpoints(parts.capacity, opening.bank, opening.hub, MetricsText(parts.exposition, reply.turns))
    app.router.add_get("/healthz", health.healthz)
    app.router.add_get("/readyz", health.readyz)
    app.router.add_get("/metrics", health.metrics)
    return app


def _add_dashboard(app: web.Application, parts: AppParts) -> None:
    """Add the page and what it draws."""
    app.router.add_get("/", pages.get_root)
    app.router.add_get("/client.js", get_client)
    app.router.add_get("/dashboard", pages.get_page)
    app.router.add_get("/dashboard/{name}", pages.get_file)
    reply = parts.reply
    search = StreamSearch(reply.opening.hub, reply.turns)
    statistics = StatisticsEndpoints(parts.reports, search, reply.subscriptions)
    viewed = frozenset([statistics.get_history, statistics.get_failures, statistics.get_streams])
    reply.admission.admit_viewers_to(viewed)
    app.router.add_get("/v1/statistics/history", statistics.get_history)
    app.router.add_get("/v1/statistics/failures", statistics.get_failures)
    app.router.add_get("/v1/statistics/streams", statistics.get_streams)
    app.router.add_get("/v1/statistics/usage", statistics.get_hourly)


def _add_dialects(app: web.Application, parts: AppParts) -> None:
    reply = parts.reply
    for dialect in parts.dialects:
        app.router.add_post(dialect.path, CompletionEndpoints(reply, dialect).create, expect_handler=on_expect)
        if dialect.keeping is not None:
            answers = AnswerEndpoints(reply, reply.opening.directory, dialect, dialect.keeping)
            one = f"{dialect.path}/{{id:[A-Za-z0-9_][A-Za-z0-9_.:-]*}}"  # an id means no more than itself in a URL
            app.router.add_get(one, answers.get, allow_head=False)
            app.router.add_delete(one, answers.delete)
            app.router.add_post(f"{one}/cancel", answers.cancel)
            app.router.add_get(f"{one}/input_items", answers.list_input)


def _add_models(app: web.Application, parts: AppParts) -> None:
    models = ModelEndpoints(parts.reply.in_force, parts.reply.turns, parts.started_at)
    app.router.add_get("/v1/models", models.list)
    app.router.add_get("/v1/models/{id:.+}", models.get)
    directory = DirectoryEndpoints(parts.reply.in_force, parts.reply.turns)
    app.router.add_get("/v1/directory/models", directory.list_directory)
    app.router.add_get("/v1/registry/models", directory.list_models)
    app.router.add_get("/v1/registry/providers", directory.list_providers)
