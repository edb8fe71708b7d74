"""Wiring: what the handlers share; built by the service, read-only here."""

from dataclasses import dataclass

from aiohttp import web

from gateway.config import Config
from gateway.relay.answer import Settle
from gateway.routing.catalog import Catalog
from gateway.stream.hub import Hub
from gateway.tasks import Tasks


@dataclass(slots=True)
class Context:
    config: Config
    catalog: Catalog
    hub: Hub
    tasks: Tasks
    settle: Settle
    started_at: int  # Unix seconds
    ready: bool = False


CONTEXT = web.AppKey("context", Context)
