"""Shell: the endpoints `/healthz` (the process lives), `/readyz` (it takes requests) and `/metrics`."""

from collections.abc import Callable

from aiohttp import web

from gateway.access.bank import Bank
from gateway.errors import ServiceUnavailable
from gateway.http.capacity import Capacity
from gateway.http.errors import json_response
from gateway.observe.metrics import CONTENT_TYPE
from gateway.stream.hub import Hub


class HealthEndpoints:
    """The endpoints for load balancers, service managers and Prometheus."""

    def __init__(self, capacity: Capacity, bank: Bank, hub: Hub, exposition: Callable[[], bytes]) -> None:
        """Serve the state of these parts. `exposition` gives the metrics in Prometheus's text format."""
        self._capacity = capacity
        self._bank = bank
        self._hub = hub
        self._exposition = exposition

    async def healthz(self, request: web.Request) -> web.Response:
        """Say that the process lives."""
        return json_response({"status": "ok"})

    async def readyz(self, request: web.Request) -> web.Response:
        """Say whether new requests are taken. Raises `ServiceUnavailable` if they are not."""
        if not self._capacity.ready:
            raise ServiceUnavailable("the gateway is draining", retry_after=1)
        if (failure := self._bank.failure) is not None:
            raise ServiceUnavailable(f"the ledger cannot be written: {failure}", retry_after=5)
        return json_response({"status": "ready", "streams": self._hub.statistics().running})

    async def metrics(self, request: web.Request) -> web.Response:
        """The metrics, for Prometheus."""
        return web.Response(body=self._exposition(), headers={"Content-Type": CONTENT_TYPE})
