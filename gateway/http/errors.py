"""Shell: the renderer of errors for both ways: whatever goes wrong, the client gets an envelope and a request id.

In: an error, and the headers of every answer. Out: an `ErrorResponse`, which the fast way writes as bytes and
aiohttp's way as a response. Both have the same status, the same header lines in the same order, and the same body.
"""

import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus

from aiohttp import HttpVersion10, HttpVersion11, web

from gateway import clock
from gateway.dialects.dialect import Dialect, Refusal
from gateway.dialects.registry import DIALECTS, dialect_at
from gateway.errors import (
    ClientError,
    MethodNotAllowed,
    NotFound,
    PayloadTooLarge,
    RivergateError,
    VersionNotSupported,
    closed_code,
)
from gateway.http import aiohttp_seam as seam
from gateway.http.capacity import NoRoom
from gateway.http.request_id import request_id_of
from gateway.wire import http1, json_text, sse

_log = logging.getLogger("rivergate.api")

SERVER_NAME = "rivergate"
MAX_BODY_BYTES = web.AppKey("max_body_bytes", int)
ERROR_CODE = web.ResponseKey("error_code", str)  # the code of an error's response, for the record of refusals
ERROR_REASON = web.ResponseKey("error_reason", str)  # why, in our own words
ERROR_STATUS = web.ResponseKey("error_status", int)  # the status of the error, which an `EventSource` is not told
WRONG_VERSION = "this server speaks HTTP/1.1 and HTTP/1.0"
_CLOSES = web.RequestKey("closes", bool)
_KNOWN_STATUSES = frozenset(HTTPStatus)  # a dialect may have others: 529
_NO_ROOM = frozenset({429, 503})  # the statuses of refusals that a later request may not meet

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class ErrorResponse:
    """An error as it goes over the wire. `code`, of the closed set, and what is below it are for the record."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    code: str
    counts_as: int  # the status of the error
    reason: str  # in our own words

    def encode(self) -> bytes:
        """The bytes of an HTTP/1.1 response on a connection that stays open."""
        phrase = HTTPStatus(self.status).phrase if self.status in _KNOWN_STATUSES else ""
        return http1.encode_response(self.status, phrase, self.headers.items()) + self.body

    def response(self) -> web.Response:
        """The response for aiohttp to write, which adds what the request's HTTP version and method need."""
        response = web.Response(status=self.status, headers=self.headers, body=self.body)
        response[ERROR_CODE], response[ERROR_STATUS] = self.code, self.counts_as
        response[ERROR_REASON] = self.reason
        return response


def render(
    error: RivergateError, headers: Mapping[str, str], *, dialect: Dialect | None = None, request_id: str = ""
) -> ErrorResponse:
    """The error in the envelope of a dialect, else in OpenAI's (deploy/reference/errors.md).

    `headers` follow the headers of the error itself. `request_id` is for a dialect whose envelope holds it.
    """
    if dialect is not None:
        refusal = dialect.refusal(error, request_id)
    else:
        refusal = Refusal(error.status, error.headers(), json_text.dumps_line(error.envelope()))
    fields = {**refusal.headers, **_fields("application/json", refusal.body), **headers}
    return ErrorResponse(refusal.status, fields, refusal.body, closed_code(error), refusal.status, error.reason)


def render_for_subscriber(
    error: RivergateError, request_headers: Mapping[str, str], headers: Mapping[str, str]
) -> ErrorResponse:
    """The error as `render` has it, in answer to a request for events.

    If there is only no room for it now, a client that wants an event stream is told in one when to come again: any
    status but 200 would keep an `EventSource` away for good (WHATWG HTML section 9.2.3).
    """
    if error.status not in _NO_ROOM or "text/event-stream" not in request_headers.get("Accept", "").lower():
        return render(error, headers)
    body = sse.retry_line(1000 * (error.retry_after or 1) + int(random.random() * 1000))
    fields = {
        **error.headers(),
        **_fields("text/event-stream; charset=utf-8", body),
        "Cache-Control": "no-store",
        **headers,
    }
    return ErrorResponse(200, fields, body, closed_code(error), error.status, error.reason)


def _fields(kind: str, body: bytes) -> dict[str, str]:
    """The header fields that the answer with any error has."""
    date = clock.http_date(int(clock.wall_time()))
    return {"Content-Type": kind, "Content-Length": str(len(body)), "Date": date, "Server": SERVER_NAME}


def as_rivergate_error(error: Exception, request_id: str) -> RivergateError:
    """The error that the client is told. An unforeseen error is logged, and the client is told no detail of it."""
    if isinstance(error, RivergateError):
        return error
    _log.error("request %s failed", request_id, exc_info=error)
    return RivergateError("the gateway failed to handle this request")


def error_response(error: RivergateError, request: web.Request) -> web.Response:
    """The response to a request that is refused; `Admission.add_headers` adds the headers that every answer has."""
    if request.method == "GET" and request.path.startswith("/v1/") and request.path.endswith("/events"):
        return render_for_subscriber(error, request.headers, {}).response()
    dialect = dialect_at(request.path, request.headers)
    return render(error, {}, dialect=dialect, request_id=request_id_of(request)).response()


def close_after(request: web.Request) -> None:
    """Have the connection closed after the answer to this request, and the answer say so."""
    request[_CLOSES] = True


def tell_close(request: web.Request, response: web.StreamResponse) -> None:
    """Say that the connection will be closed, if a body was left unread or cannot be read (RFC 9112 section 9.6).

    A proxy would else send its next request on it, and answer that one with 502.
    """
    if request.get(_CLOSES) or not request.content.is_eof():
        response.force_close()
        response.headers["Connection"] = "close"


def json_response(body: object, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """A response whose body is this value as JSON."""
    return web.Response(
        body=json_text.dumps_line(body), status=status, content_type="application/json", headers=headers or {}
    )


@web.middleware
async def envelope_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every failure of a handler, and of aiohttp, into the envelope."""
    if request.version not in (HttpVersion11, HttpVersion10):
        return _refuse_version(request)
    try:
        return await handler(request)
    except web.HTTPException as problem:
        if problem.status < 400:
            raise
        response = error_response(_translated(request, problem), request)
        if "Allow" in problem.headers:
            response.headers["Allow"] = problem.headers["Allow"]
        return response
    except ConnectionError:
        raise  # the client is gone, so there is nobody to answer
    except Exception as error:
        if request.writer.output_size > 0 and not isinstance(error, RivergateError):
            raise  # the answer has begun, so aiohttp can only close the connection
        response = error_response(as_rivergate_error(error, request_id_of(request)), request)
        if isinstance(error, NoRoom):
            response.force_close()
        return response


def _refuse_version(request: web.Request) -> web.Response:
    """The answer to a request of another version, whose next bytes nobody here would understand."""
    seam.answer_as_http11(request)
    close_after(request)
    return error_response(VersionNotSupported(WRONG_VERSION), request)


def _translated(request: web.Request, problem: web.HTTPException) -> RivergateError:
    match problem.status:
        case 404:
            there_are = ", ".join(dialect.path for dialect in DIALECTS)
            message = f"there is nothing at {request.method} {request.path[:200]}; there are POST {there_are}"
            return NotFound(f"{message}, and GET /v1/models")
        case 405:
            return MethodNotAllowed(f"{request.method} is not allowed at {request.path[:200]}")
        case 413:
            limit = request.app[MAX_BODY_BYTES]
            return PayloadTooLarge(f"the body is larger than server.max_body_bytes ({limit})")
        case status if status < 500:
            return ClientError(problem.reason)
        case _:
            return RivergateError("the gateway failed to handle this request")
