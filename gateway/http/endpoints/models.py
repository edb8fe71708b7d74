"""Shell: the endpoints `GET /v1/models` and `GET /v1/models/{id}`; ids may contain slashes.

The list has every id of the configuration, wildcards as they are written there, the models that upstreams were found
to have, and every alias.
"""

from collections.abc import Sequence
from typing import Any

from aiohttp import web

from gateway.config import ModelSettings
from gateway.http.errors import json_response
from gateway.http.in_force import InForce
from gateway.routing.catalog import Candidate


class ModelEndpoints:
    """The endpoints of models, in OpenAI's shape with the prices of each upstream added."""

    def __init__(self, in_force: InForce, started_at: int) -> None:
        """Serve the catalog in force. `started_at`, in Unix seconds, is the creation time of every model."""
        self._in_force = in_force
        self._started_at = started_at

    async def list(self, request: web.Request) -> web.Response:
        """The list of all models."""
        listing = self._in_force.router.catalog.listing()
        return json_response({"object": "list", "data": [self._describe(*entry) for entry in listing]})

    async def get(self, request: web.Request) -> web.Response:
        """One model; `%2F` and a raw slash in the id mean the same."""
        catalog, model_id = self._in_force.router.catalog, request.match_info["id"]
        return json_response(self._describe(model_id, catalog.candidates(model_id)))

    def _describe(self, model_id: str, candidates: Sequence[Candidate]) -> dict[str, Any]:
        providers = [_provider(candidate.endpoint.name, candidate.model) for candidate in candidates]
        return {
            "id": model_id,
            "object": "model",
            "created": self._started_at,
            "owned_by": candidates[0].endpoint.name,
            # Only upstreams with a known price, since Auriko's SDK does not accept null as a price.
            "providers": [provider for provider in providers if provider is not None],
        }


def _provider(name: str, model: ModelSettings) -> dict[str, Any] | None:
    """An upstream with its prices per million tokens in US dollars; None if a price is not known."""
    input_price, output_price = model.input_usd_per_mtok, model.output_usd_per_mtok
    if input_price is None or output_price is None:
        return None
    return {"name": name, "input_price": float(input_price), "output_price": float(output_price)}
