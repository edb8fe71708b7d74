"""Shell: the id of a request, which stands in its answer, its log lines and its upstream requests."""

import os
import re
from collections.abc import Mapping

from aiohttp import web

from gateway.access.pasted_secret import shows_secret

REQUEST_ID = web.RequestKey("request_id", str)
_ACCEPTED = re.compile(r"[A-Za-z0-9._:\-]{1,128}")


def new_request_id() -> str:
    """An id that no other request has."""
    return f"req_{os.urandom(12).hex()}"


def request_id_in(headers: Mapping[str, str]) -> str:
    """The client's own `x-request-id` if it may stand in a log line, else a new id."""
    return sent_request_id(headers) or new_request_id()


def sent_request_id(headers: Mapping[str, str]) -> str | None:
    """The client's own `x-request-id` if it may stand in a log line, else None."""
    sent = headers.get("x-request-id")
    return sent if sent is not None and _ACCEPTED.fullmatch(sent) and not shows_secret(sent) else None


def request_id_of(request: web.Request) -> str:
    """The id of an aiohttp request; every call for one request gives one id."""
    known = request.get(REQUEST_ID)
    if known is None:
        known = request[REQUEST_ID] = request_id_in(request.headers)
    return known
