"""Shell: the admission of requests, which both ways (the fast way and aiohttp's) take through one front door.

Every request below `/v1` passes these steps in this order, and the first one that refuses it raises a
`RivergateError`:

1. `enter`: capacity (is there room, is the gateway open), then origin (may the page of another site ask).
2. `known_caller`, or `caller` where the books must be asked: who sends the request. Without any API key: whether it
   comes from this machine (access/open_mode.py). For what costs something, `check_rate`: may this key ask now.
3. The checks of the body: `body.read_body`, `dialect.check`, `answer_plan.plan_answer`.
4. `check_models`: may this key use the models of the route, and is it known what they cost.
5. The place: the bank counts the request against the key's rate, running requests and money (`Opening.admit`); a
   subscription takes a place among the subscribers of a stream (`Places.take`).

A request that steps 3 or 4 refuse counts against the rate of its key (`count_refused`).

The fast way takes these steps one after the other; on aiohttp's way the middleware takes steps 1 and 2, and a handler
the others.
"""

from collections.abc import Mapping
from typing import NamedTuple

from aiohttp import HttpVersion10, web
from multidict import CIMultiDict

from gateway import clock
from gateway.access.accounts import Account
from gateway.access.bank import Bank
from gateway.access.callers import Caller, Gate
from gateway.access.cors import Cors
from gateway.dialects.dialect import Dialect
from gateway.dialects.registry import dialect_at
from gateway.errors import ClientError, PermissionDenied
from gateway.http.capacity import Capacity
from gateway.http.errors import SERVER_NAME, Handler, tell_close
from gateway.http.in_force import InForce
from gateway.http.known_head import KnownHead
from gateway.http.request_id import request_id_of
from gateway.http.viewing import learn_key, token_text
from gateway.routing.router import Route
from gateway.wire import http1

CALLER = web.RequestKey("caller", Caller)
_FOR_ANYBODY = frozenset({"/healthz", "/readyz"})  # for whoever looks after the process, also through a proxy


class RequestHead(NamedTuple):
    """What is known of a request before its body, whichever way it takes."""

    headers: Mapping[str, str]  # names in any case
    request_id: str
    caller: Caller | None  # None: not known yet, or not asked for
    query: str = ""  # of the target, percent-encoded
    dialect: Dialect | None = None  # in which the client expects its answer; None: the path has none of its own

    @property
    def owner(self) -> str:
        """The id of the key that will own the answer; "" for the machine's own users."""
        return self.caller.id if self.caller is not None else ""

    @property
    def account(self) -> Account | None:
        """The account of the key that pays; None in open mode."""
        return self.caller.account if self.caller is not None else None


def head_of(request: web.Request) -> RequestHead:
    """The head of an aiohttp request."""
    headers = request.headers
    dialect = dialect_at(request.path, headers)
    return RequestHead(
        headers, request_id_of(request), request.get(CALLER), request.rel_url.raw_query_string, dialect
    )


class Admission:
    """The steps of admission that need only the head and the route of a request."""

    def __init__(self, capacity: Capacity, gate: Gate, bank: Bank, in_force: InForce) -> None:
        self._capacity = capacity
        self._gate = gate
        self._bank = bank
        self._in_force = in_force
        self._viewer_handlers: frozenset[Handler] = frozenset()  # they check a viewer token themselves

    def admit_viewers_to(self, handlers: frozenset[Handler]) -> None:
        """Let requests with a viewer token go to these handlers without a key: the handlers check the token."""
        self._viewer_handlers |= handlers

    def enter(self, method: str, headers: Mapping[str, str]) -> None:
        """Take the first step: check capacity and origin. Raises `NoRoom`, `PermissionDenied`."""
        self._capacity.check(method)
        self._check_origin(method, headers)

    def known_caller(self, headers: Mapping[str, str]) -> Caller | None:
        """The caller of a request; None if only the books know the key.

        Raises `AuthenticationFailed`, `PermissionDenied`.
        """
        return self._gate.known(headers)

    def enter_again(self, head: KnownHead) -> Caller | None:
        """Take the first two steps for a plain POST, which has no `Origin`; None if only the books know the key.

        Raises as `enter` and `known_caller` do.
        """
        self._capacity.check("POST")
        return self._gate.known_again(head.headers, head.caller)

    async def caller(self, headers: Mapping[str, str]) -> Caller:
        """The caller of a request, looked up in the books if necessary.

        Raises `AuthenticationFailed`, `PermissionDenied`.
        """
        return await self._gate.caller(headers)

    def check_rate(self, caller: Caller | None, headers: Mapping[str, str]) -> None:
        """Refuse a key that has used up its rate, before its body is read. Raises `RateLimited`.

        A request with a stream key may join a stream, which costs nothing: it is asked later.
        """
        if caller is not None and caller.account is not None and "X-Stream-Key" not in headers:
            self._bank.check_rate(caller.account, clock.monotonic())

    def count_refused(self, error: Exception, caller: Caller | None) -> None:
        """Count a request that was refused for what it asks against the rate of its key, like any other."""
        if isinstance(error, ClientError):
            self.count_request(caller)

    def count_request(self, caller: Caller | None) -> None:
        """Count a request that asks no upstream against the rate of its key."""
        if caller is not None and caller.account is not None:
            self._bank.count_request(caller.account, clock.monotonic())

    def check_models(self, caller: Caller | None, route: Route, models_field: str) -> None:
        """Refuse a caller that may not use the models of this route, or cannot pay for them.

        Raises `PermissionDenied`.
        """
        if caller is not None and (account := caller.account) is not None:
            for candidate in route.candidates:
                model = candidate.model
                account.check_model(candidate.names, models_field)
                if not model.has_price:
                    account.check_price(model.id, candidate.endpoint.name, models_field)

    def answer_headers(self, head: RequestHead) -> dict[str, str]:
        """The headers that every answer has: request id, server name, CORS, and the limits and balance of the key."""
        cors = self._in_force.cors.headers(head.headers.get("Origin"))
        headers = {"x-request-id": head.request_id, "Server": SERVER_NAME, **cors}
        if head.dialect is not None and head.dialect.id_field is not None:
            headers[head.dialect.id_field] = head.request_id
        account = head.account
        if account is None:
            return headers
        if (allowance := account.allowance(clock.monotonic())) is not None:
            headers["x-ratelimit-limit-requests"] = str(allowance.limit)
            headers["x-ratelimit-remaining-requests"] = str(allowance.remaining)
            headers["x-ratelimit-reset-requests"] = clock.rfc3339(clock.wall_time() + allowance.reset)
        if (available := account.available) is not None:
            headers["x-credits-balance-microdollars"] = str(available)
        return headers

    # --- aiohttp's way

    @web.middleware
    async def admit(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Take the steps that need no body, and set `CALLER` for the handler."""
        headers = _headers_of(request)
        if request.path in _FOR_ANYBODY:
            return await handler(request)
        if request.version == HttpVersion10:
            self._gate.check_old_version(headers)
        if not request.path.startswith("/v1/"):
            self._gate.check_open_mode(headers, is_page=True)
            return await handler(request)
        origin = headers.get("Origin")
        if request.method == "OPTIONS" and origin is not None and "Access-Control-Request-Method" in headers:
            self._capacity.check(request.method)
            return _preflight(self._in_force.cors, origin, headers.get("Access-Control-Request-Headers", ""))
        self.enter(request.method, headers)
        is_for_viewers = request.match_info.handler in self._viewer_handlers
        if is_for_viewers and (token := token_text(request.query, headers, self._in_force)) is not None:
            await learn_key(token, self._in_force)
        else:
            request[CALLER] = await self.caller(headers)
        return await handler(request)

    async def add_headers(self, request: web.Request, response: web.StreamResponse) -> None:
        """Add the headers that every answer has to a response that aiohttp writes."""
        response.headers.update(self.answer_headers(head_of(request)))
        tell_close(request, response)

    # --- inside

    def _check_origin(self, method: str, headers: Mapping[str, str]) -> None:
        """Refuse a request that a page of a foreign site sends. Raises `PermissionDenied`.

        A browser would only hide the answer from that page, after the request has cost money.
        """
        origin = headers.get("Origin")
        if origin is not None and method != "GET" and self._in_force.cors.is_foreign(origin, headers.get("Host")):
            raise PermissionDenied("this origin may not call: it is not in server.cors_origins", param="Origin")


def _headers_of(request: web.Request) -> Mapping[str, str]:
    """The headers of a request; the host that its target names, if it names one, stands in place of `Host`."""
    authority = http1.authority_of(request.raw_path)
    if authority is None:
        return request.headers
    headers = CIMultiDict(request.headers)
    headers["Host"] = authority
    return headers


def _preflight(cors: Cors, origin: str, wanted_headers: str) -> web.Response:
    """The answer to a browser that asks whether a page of `origin` may call (WHATWG Fetch section 3.2)."""
    if not cors.allows(origin):
        raise PermissionDenied("this origin is not in server.cors_origins", param="Origin")
    return web.Response(status=204, headers=dict(cors.preflight(wanted_headers)))
