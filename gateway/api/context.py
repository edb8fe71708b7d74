"""Wiring: what the handlers share; built by the service."""

from collections.abc import Sequence
from dataclasses import dataclass

from aiohttp import web

from gateway.access.viewer_token import SigningKey
from gateway.api.envelope import Handler
from gateway.config import Config
from gateway.errors import ServiceUnavailable
from gateway.relay.answer import Settle
from gateway.routing.catalog import Catalog
from gateway.stream.hub import Hub
from gateway.stream.watch import Watch
from gateway.tasks import Tasks


@dataclass(slots=True)
class Context:
    config: Config
    catalog: Catalog
    hub: Hub
    tasks: Tasks
    settle: Settle
    started_at: int  # Unix seconds
    signing_keys: Sequence[SigningKey]  # of viewer tokens; the first one signs
    watch: Watch | None = None  # of sockets that were taken over; there is one while the service runs
    ready: bool = False


CONTEXT = web.AppKey("context", Context)


@web.middleware
async def refuse_while_draining(request: web.Request, handler: Handler) -> web.StreamResponse:
    """A connection that was kept alive over the beginning of the drain gets no new completion out of it."""
    if not request.app[CONTEXT].ready and request.method == "POST":
        raise ServiceUnavailable("the gateway is shutting down; try again", retry_after=1)
    return await handler(request)
