"""Shell: before every handler below `/v1`: who asks, and from which site; after it, what the limits have left."""

from aiohttp import web

from gateway import clock
from gateway.access.caller import Caller
from gateway.api.context import CONTEXT
from gateway.api.envelope import Handler, error_response
from gateway.errors import PermissionDenied

CALLER = web.RequestKey("caller", Caller)
VIEWABLE = web.AppKey("viewable", frozenset[Handler])  # handlers that check a viewer token themselves


@web.middleware
async def identify(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Set `CALLER`, or refuse."""
    context = request.app[CONTEXT]
    if not request.path.startswith("/v1/"):
        return await handler(request)
    origin = request.headers.get("Origin")
    if request.method == "OPTIONS" and origin is not None and "Access-Control-Request-Method" in request.headers:
        return _preflight(request, origin)
    if origin is not None and request.method != "GET" and context.cors.is_foreign(origin, request.host):
        # Not left to the browser, which only keeps the answer from the page: the request itself may cost money.
        refusal = PermissionDenied("this origin may not call: it is not in server.cors_origins", param="Origin")
        return error_response(refusal)
    if request.match_info.handler in request.app[VIEWABLE] and "token" in request.query:
        return await handler(request)
    request[CALLER] = await context.gate.caller(request.headers)
    return await handler(request)


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """CORS, and the state of the key's limits and balance (CONTRACT.md 1.5)."""
    context = request.app[CONTEXT]
    response.headers.update(context.cors.headers(request.headers.get("Origin")))
    caller = request.get(CALLER)
    if caller is None or caller.account is None:
        return
    now = clock.monotonic()
    if (allowance := caller.account.allowance(now)) is not None:
        response.headers["x-ratelimit-limit-requests"] = str(allowance.limit)
        response.headers["x-ratelimit-remaining-requests"] = str(allowance.remaining)
        response.headers["x-ratelimit-reset-requests"] = clock.rfc3339(clock.wall_time() + allowance.reset)
    if (available := caller.account.available) is not None:
        response.headers["x-credits-balance-microdollars"] = str(available)


def _preflight(request: web.Request, origin: str) -> web.Response:
    cors = request.app[CONTEXT].cors
    if not cors.allows(origin):
        return error_response(PermissionDenied("this origin is not in server.cors_origins", param="Origin"))
    asked = request.headers.get("Access-Control-Request-Headers", "")
    return web.Response(status=204, headers=dict(cors.preflight(asked)))
