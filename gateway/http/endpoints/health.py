"""Shell: the endpoints `/healthz` (the process lives), `/readyz` (it takes requests) and `/metrics`."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from aiohttp import web

from gateway.access.bank import Bank
from gateway.errors import ServiceUnavailable
from gateway.http.capacity import Capacity
from gateway.http.errors import json_response
from gateway.http.turns import Turns
from gateway.observe.metrics import CONTENT_TYPE
from gateway.stream.hub import Hub


@dataclass(frozen=True, slots=True)
class MetricsText:
    """The metrics in Prometheus's text format, which are written part by part: many models take many milliseconds."""

    exposition: Callable[[], Iterator[bytes]]
    turns: Turns

    async def read(self) -> bytes:
        """The text as it stands now."""
        parts, text = self.exposition(), bytearray()
        while (part := await self.turns.run(lambda: next(parts, None))) is not None:
            text += part
        return bytes(text)


class HealthEndpoints:
    """The endpoints for load balancers, service managers and Prometheus."""

    def __init__(self, capacity: Capacity, bank: Bank, hub: Hub, metrics_text: MetricsText) -> None:
        """Serve the state of these parts."""
        self._capacity = capacity
        self._bank = bank
        self._hub = hub
        self._metrics_text = metrics_text

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
        return web.Response(body=await self._metrics_text.read(), headers={"Content-Type": CONTENT_TYPE})
