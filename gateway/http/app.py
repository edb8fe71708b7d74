"""Wiring: paths to handlers, and what surrounds every handler."""

from functools import partial

from aiohttp import web

from gateway.http.admission import VIEWABLE, add_headers, admit
from gateway.http.body import on_expect
from gateway.http.context import CONTEXT, Context
from gateway.http.dashboard import pages
from gateway.http.endpoints import account, completions, feeds, health, models, streams
from gateway.http.endpoints import model_directory as directory
from gateway.http.errors import MAX_BODY_BYTES, envelope_middleware


def build_app(context: Context) -> web.Application:
    limit = context.config.server.max_body_bytes
    app = web.Application(middlewares=[envelope_middleware, admit], client_max_size=limit)
    app[CONTEXT] = context
    app[MAX_BODY_BYTES] = limit
    app[VIEWABLE] = frozenset([streams.get_stream, streams.stream_events, feeds.feed_events])
    app.on_response_prepare.append(add_headers)
    for dialect in context.dialects:
        create = partial(completions.create_completion, dialect=dialect)
        app.router.add_post(dialect.path, create, expect_handler=on_expect)
    app.router.add_post("/v1/streams", streams.create_stream, expect_handler=on_expect)
    app.router.add_get("/v1/streams", streams.list_streams)
    app.router.add_get("/v1/streams/{id}", streams.get_stream)
    app.router.add_delete("/v1/streams/{id}", streams.stop_stream)
    app.router.add_get("/v1/streams/{id}/events", streams.stream_events, allow_head=False)
    app.router.add_post("/v1/streams/{id}/tokens", streams.create_token)
    app.router.add_get("/v1/feeds", feeds.list_feeds)
    app.router.add_get("/v1/feeds/{name}/events", feeds.feed_events, allow_head=False)
    app.router.add_get("/v1/models", models.list_models)
    app.router.add_get("/v1/models/{id:.+}", models.get_model)
    app.router.add_get("/v1/directory/models", directory.list_directory)
    app.router.add_get("/v1/registry/models", directory.list_models)
    app.router.add_get("/v1/registry/providers", directory.list_providers)
    app.router.add_get("/v1/me", account.get_me)
    app.router.add_get("/v1/usage", account.get_usage)
    app.router.add_get("/healthz", health.healthz)
    app.router.add_get("/readyz", health.readyz)
    app.router.add_get("/metrics", health.metrics)
    app.router.add_get("/dashboard", pages.get_page)
    app.router.add_get("/dashboard/{name}", pages.get_file)
    return app
