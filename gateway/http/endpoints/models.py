"""Shell: the endpoints `GET /v1/models` and `GET /v1/models/{id}`; ids may contain slashes.

The list has every id of the configuration, wildcards as they are written there, the models that upstreams were found
to have, and every alias. A client that sends `anthropic-version` gets Anthropic's shape, page by page.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from gateway import clock
from gateway.config import ModelSettings
from gateway.errors import InvalidParameter
from gateway.http.errors import json_response
from gateway.http.in_force import InForce
from gateway.http.long_lists import list_response
from gateway.http.turns import Turns
from gateway.routing.catalog import Candidate

MAX_PAGE, PAGE = 1000, 20  # models on a page in Anthropic's shape: the most, and the usual number


class ModelEndpoints:
    """The endpoints of models: in OpenAI's shape with the prices of each upstream added, or in Anthropic's."""

    def __init__(self, in_force: InForce, turns: Turns, started_at: int) -> None:
        """Serve the catalog in force. `started_at`, in Unix seconds, is the creation time of every model."""
        self._in_force = in_force
        self._turns = turns
        self._started_at = started_at

    async def list(self, request: web.Request) -> web.Response:
        """The list of all models."""
        listing = self._in_force.router.catalog.listing()
        if _is_anthropic(request):
            ids, has_more = _page([name for name, _ in listing], request.query)
            page = {"data": list(map(self._describe_briefly, ids)), "has_more": has_more}
            return json_response(page | {"first_id": ids[0] if ids else None, "last_id": ids[-1] if ids else None})
        models = (self._describe(*entry) for entry in listing)
        return await list_response(self._turns, models, b'{"object":"list","data":[', b"]}")

    async def get(self, request: web.Request) -> web.Response:
        """One model; `%2F` and a raw slash in the id mean the same."""
        catalog, model_id = self._in_force.router.catalog, request.match_info["id"]
        candidates = catalog.candidates(model_id)
        if _is_anthropic(request):
            return json_response(self._describe_briefly(model_id))
        return json_response(self._describe(model_id, candidates))

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

    def _describe_briefly(self, model_id: str) -> dict[str, Any]:
        """A model in Anthropic's shape."""
        created = clock.rfc3339(self._started_at)
        return {"type": "model", "id": model_id, "display_name": model_id, "created_at": created}


def _is_anthropic(request: web.Request) -> bool:
    return "anthropic-version" in request.headers


def _page(ids: Sequence[str], query: Mapping[str, str]) -> tuple[Sequence[str], bool]:
    """The ids that the query asks for by `limit`, and `after_id` or `before_id`; and whether there are more."""
    limit = query.get("limit", str(PAGE))
    if not (limit.isascii() and limit.isdigit() and 1 <= int(limit[:9]) <= MAX_PAGE):
        raise InvalidParameter(f"limit must be a whole number from 1 to {MAX_PAGE}", param="limit")
    start, end = 0, len(ids)
    if (after := query.get("after_id")) in ids:
        start = ids.index(after) + 1
    if (before := query.get("before_id")) in ids:
        end = ids.index(before)
        start = max(start, end - int(limit))
    page = ids[start:end][: int(limit)]
    return page, start > 0 if before in ids else start + len(page) < end


def _provider(name: str, model: ModelSettings) -> dict[str, Any] | None:
    """An upstream with its prices per million tokens in US dollars; None if a price is not known."""
    input_price, output_price = model.input_usd_per_mtok, model.output_usd_per_mtok
    if input_price is None or output_price is None:
        return None
    return {"name": name, "input_price": float(input_price), "output_price": float(output_price)}
