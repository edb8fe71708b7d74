"""Shell: errors as answers. Whatever goes wrong on any path, the client gets one envelope and a request id."""

import logging
import os
import re
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus

from aiohttp import web

from gateway import clock
from gateway.errors import ClientError, MethodNotAllowed, NotFound, PayloadTooLarge, RivergateError
from gateway.wire import http1, json_text

_log = logging.getLogger("rivergate.api")
_SANE_ID = re.compile(r"[A-Za-z0-9._:\-]{1,128}")

MAX_BODY_BYTES = web.AppKey("max_body_bytes", int)
REQUEST_ID = web.RequestKey("request_id", str)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def json_response(body: object, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(
        body=json_text.dumps(body), status=status, content_type="application/json", headers=headers or {}
    )


def error_response(error: RivergateError) -> web.Response:
    """The error as DESIGN.md section 6 has it."""
    return json_response(error.envelope(), status=error.status, headers=dict(error.headers()))


def encoded_error(error: RivergateError, headers: Mapping[str, str]) -> bytes:
    """The same as the bytes of an answer, with these headers too."""
    body = json_text.dumps(error.envelope())
    fields = {
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Date": clock.http_date(int(clock.wall_time())),
        **error.headers(),
        **headers,
    }
    return http1.encode_response(error.status, HTTPStatus(error.status).phrase, fields.items()) + body


def request_id_of(request: web.Request) -> str:
    """The client's own `x-request-id` if it is a sane one, else a new one; the same for the whole request."""
    known = request.get(REQUEST_ID)
    if known is None:
        known = request[REQUEST_ID] = request_id_by(request.headers)
    return known


def request_id_by(headers: Mapping[str, str]) -> str:
    """The id that these headers of a request give it, or a new one."""
    sent = headers.get("x-request-id")
    return sent if sent is not None and _SANE_ID.fullmatch(sent) else new_request_id()


def new_request_id() -> str:
    return f"req_{os.urandom(12).hex()}"


@web.middleware
async def envelope_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every failure of a handler, and of the framework, into the envelope."""
    try:
        return await handler(request)
    except RivergateError as error:
        return error_response(error)
    except web.HTTPException as problem:
        if problem.status < 400:
            raise
        response = error_response(_translated(request, problem))
        if "Allow" in problem.headers:
            response.headers["Allow"] = problem.headers["Allow"]
        return response
    except ConnectionError:
        raise  # the client is gone: aiohttp has nobody to answer
    except Exception:
        if request.writer.output_size > 0:
            raise  # the answer has begun: all that can still be said is to close the connection
        _log.exception("request %s failed", request_id_of(request))
        return error_response(RivergateError("the gateway failed to handle this request"))


def _translated(request: web.Request, problem: web.HTTPException) -> RivergateError:
    match problem.status:
        case 404:
            return NotFound(f"there is nothing at {request.method} {request.path[:200]}")
        case 405:
            return MethodNotAllowed(f"{request.method} is not allowed at {request.path[:200]}")
        case 413:
            limit = request.app[MAX_BODY_BYTES]
            return PayloadTooLarge(f"the body is larger than server.max_body_bytes ({limit})")
        case status if status < 500:
            return ClientError(problem.reason)
        case _:
            return RivergateError("the gateway failed to handle this request")
