"""Shell: `GET /v1/models` and `/v1/models/{id}`; ids may contain slashes."""

from typing import Any

from aiohttp import web

from gateway.config import ModelSettings
from gateway.http.context import CONTEXT, Context
from gateway.http.errors import json_response


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
        # Those with a price: Auriko's SDK takes no null for one.
        "providers": [told for one in candidates if (told := _provider(one.endpoint.name, one.model)) is not None],
    }


def _provider(name: str, model: ModelSettings) -> dict[str, Any] | None:
    """Prices per million tokens in US dollars; None if they are not known."""
    given, output = model.input_usd_per_mtok, model.output_usd_per_mtok
    if given is None or output is None:
        return None
    return {"name": name, "input_price": float(given), "output_price": float(output)}
