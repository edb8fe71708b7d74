"""Shell: `GET /v1/models` and `/v1/models/{id}`; ids may contain slashes."""

from typing import Any

from aiohttp import web

from gateway.api.context import CONTEXT, Context
from gateway.api.envelope import json_response
from gateway.config import Model


async def list_models(request: web.Request) -> web.Response:
    context = request.app[CONTEXT]
    return json_response(
        {"object": "list", "data": [_model(context, one) for one in context.router.catalog.model_ids()]}
    )


async def get_model(request: web.Request) -> web.Response:
    """One model; `%2F` and a raw slash in the id mean the same."""
    return json_response(_model(request.app[CONTEXT], request.match_info["id"]))


def _model(context: Context, model_id: str) -> dict[str, Any]:
    candidates = context.router.catalog.candidates(model_id)
    return {
        "id": model_id,
        "object": "model",
        "created": context.started_at,
        "owned_by": candidates[0].endpoint.name,
        "providers": [_provider(one.endpoint.name, one.model) for one in candidates],
    }


def _provider(name: str, model: Model) -> dict[str, Any]:
    """Prices per million tokens in US dollars, null if unknown."""
    prices = (model.input_usd_per_mtok, model.output_usd_per_mtok)
    given, output = (None if price is None else float(price) for price in prices)
    return {"name": name, "input_price": given, "output_price": output}
