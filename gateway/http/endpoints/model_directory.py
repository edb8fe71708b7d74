"""Shell: the endpoints that describe the catalog in the shapes of Auriko's SDK, made from the configuration alone."""

import datetime
from typing import Any

from aiohttp import web

from gateway import clock
from gateway.config import ModelSettings
from gateway.http.errors import json_response
from gateway.http.in_force import InForce
from gateway.http.long_lists import list_response, written_member
from gateway.http.turns import Turns
from gateway.routing.catalog import Candidate
from gateway.wire import json_text

TEXT = ["text"]


class DirectoryEndpoints:
    """The endpoints that tell which upstream offers which model."""

    def __init__(self, in_force: InForce, turns: Turns) -> None:
        self._in_force = in_force
        self._turns = turns

    async def list_directory(self, request: web.Request) -> web.Response:
        """Answer `GET /v1/directory/models`: each model with the upstreams that offer it, and their prices."""
        catalog = self._in_force.router.catalog
        models = (
            (
                model_id,
                {
                    "family": _family(model_id),
                    "display_name": model_id,
                    "providers": [_entry(candidate) for candidate in candidates],
                },
            )
            for model_id, candidates in catalog.listing()
        )
        now = datetime.datetime.fromtimestamp(clock.wall_time(), datetime.UTC)
        end = b'},"generated_at":%b}' % json_text.dumps_line(now.isoformat(timespec="seconds"))
        return await list_response(self._turns, models, b'{"models":{', end, written_member)

    async def list_models(self, request: web.Request) -> web.Response:
        """Answer `GET /v1/registry/models`: each model with the names of its upstreams."""
        catalog = self._in_force.router.catalog
        listing = list(catalog.listing())
        models = (
            {
                "id": model_id,
                "family": _family(model_id),
                "display_name": model_id,
                "capabilities": {"streaming": True},
                "input_modalities": TEXT,
                "output_modalities": TEXT,
                "providers": [candidate.endpoint.name for candidate in candidates],
                "has_free_provider": any(_is_free(candidate.model) for candidate in candidates),
            }
            for model_id, candidates in listing
        )
        return await list_response(self._turns, models, b'{"models":[', b'],"count":%d}' % len(listing))

    async def list_providers(self, request: web.Request) -> web.Response:
        """Answer `GET /v1/registry/providers`: the upstreams."""
        names = dict.fromkeys(candidate.endpoint.name for candidate in self._in_force.router.catalog.all())
        providers = [
            {"id": name, "display_name": name, "description": "", "icon": "", "data_policy": "unknown"}
            for name in names
        ]
        return json_response({"providers": providers, "count": len(providers)})


def _entry(candidate: Candidate) -> dict[str, Any]:
    model = candidate.model
    prices = (model.input_usd_per_mtok, model.output_usd_per_mtok)
    input_price, output_price = (None if price is None else float(price) for price in prices)
    return {
        "provider": candidate.endpoint.name,
        "provider_model_id": model.upstream_id,
        "tiers": [{"name": "standard", "input_price": input_price, "output_price": output_price}],
        "supported_endpoints": ["chat_completions"],
    }


def _family(model_id: str) -> str:
    """The first word of the model's own name: `gpt` of `openai/gpt-4o`."""
    return model_id.rpartition("/")[2].split("-")[0].split(":")[0] or model_id


def _is_free(model: ModelSettings) -> bool:
    return model.input_usd_per_mtok == 0 and model.output_usd_per_mtok == 0
