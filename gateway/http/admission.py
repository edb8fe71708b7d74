"""Shell: before every handler below `/v1`: is there room, who asks, and from which site; after it, what every answer
tells.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp import web

from gateway import clock
from gateway.access.callers import Caller
from gateway.access.cors import Cors
from gateway.errors import PermissionDenied
from gateway.http.context import CONTEXT, refusal_for_capacity
from gateway.http.errors import Handler, error_response, request_id_of

CALLER = web.RequestKey("caller", Caller)
VIEWABLE = web.AppKey("viewable", frozenset[Handler])  # handlers that check a viewer token themselves


@dataclass(frozen=True, slots=True)
class Requester:
    """Who sends a request, and what it tells of itself; by whichever way it came in."""

    headers: Mapping[str, str]  # of any case
    request_id: str
    caller: Caller | None  # None: it is not known, or nobody asked


def requester_of(request: web.Request) -> Requester:
    return Requester(request.headers, request_id_of(request), request.get(CALLER))


@web.middleware
async def admit(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Set `CALLER`, or refuse."""
    if not request.path.startswith("/v1/"):
        return await handler(request)
    context = request.app[CONTEXT]
    if (refusal := refusal_for_capacity(context, request.method)) is not None:
        response = error_response(refusal)
        response.force_close()
        return response
    origin = request.headers.get("Origin")
    if request.method == "OPTIONS" and origin is not None and "Access-Control-Request-Method" in request.headers:
        return _preflight(request, origin)
    if origin is not None and request.method != "GET" and context.cors.is_foreign(origin, request.host):
        # Not left to the browser, which only keeps the answer from the page: the request itself may cost money.
        foreign = PermissionDenied("this origin may not call: it is not in server.cors_origins", param="Origin")
        return error_response(foreign)
    if request.match_info.handler in request.app[VIEWABLE] and "token" in request.query:
        return await handler(request)
    request[CALLER] = await context.gate.caller(request.headers)
    return await handler(request)


def common_headers(requester: Requester, cors: Cors) -> dict[str, str]:
    """Of every answer: its id, our name, CORS, and the state of the key's limits and balance (CONTRACT.md 1.5)."""
    told = cors.headers(requester.headers.get("Origin"))
    headers = {"x-request-id": requester.request_id, "Server": "rivergate", **told}
    caller = requester.caller
    if caller is None or caller.account is None:
        return headers
    if (allowance := caller.account.allowance(clock.monotonic())) is not None:
        headers["x-ratelimit-limit-requests"] = str(allowance.limit)
        headers["x-ratelimit-remaining-requests"] = str(allowance.remaining)
        headers["x-ratelimit-reset-requests"] = clock.rfc3339(clock.wall_time() + allowance.reset)
    if (available := caller.account.available) is not None:
        headers["x-credits-balance-microdollars"] = str(available)
    return headers


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """For the answers that aiohttp writes."""
    response.headers.update(common_headers(requester_of(request), request.app[CONTEXT].cors))


def _preflight(request: web.Request, origin: str) -> web.Response:
    cors = request.app[CONTEXT].cors
    if not cors.allows(origin):
        return error_response(PermissionDenied("this origin is not in server.cors_origins", param="Origin"))
    asked = request.headers.get("Access-Control-Request-Headers", "")
    return web.Response(status=204, headers=dict(cors.preflight(asked)))
