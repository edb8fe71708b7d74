"""Shell: `/healthz` (the process lives), `/readyz` (it takes requests), `/metrics`."""

from aiohttp import web

from gateway.errors import ServiceUnavailable
from gateway.http.context import CONTEXT
from gateway.http.errors import json_response
from gateway.observe.metrics import CONTENT_TYPE


async def healthz(request: web.Request) -> web.Response:
    return json_response({"status": "ok"})


async def metrics(request: web.Request) -> web.Response:
    """For Prometheus."""
    return web.Response(body=request.app[CONTEXT].exposition(), headers={"Content-Type": CONTENT_TYPE})


async def readyz(request: web.Request) -> web.Response:
    context = request.app[CONTEXT]
    if not context.ready:
        raise ServiceUnavailable("the gateway is draining", retry_after=1)
    if (failure := context.bank.failure) is not None:
        raise ServiceUnavailable(f"the ledger cannot be written: {failure}", retry_after=5)
    return json_response({"status": "ready", "streams": context.hub.statistics().running})
