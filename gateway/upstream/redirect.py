"""Pure: follows a redirect of an upstream that stays on its origin.

In: a request and the head of its answer. Out: the request for the other path. The invariant: a request,
which holds our credential and somebody's prompt, never goes to an origin that no configuration names.
"""

from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import urljoin, urlsplit

from gateway.errors import UpstreamError
from gateway.upstream.dial import Origin
from gateway.upstream.long_request import Request
from gateway.wire import http1

MAX_HOPS = 3  # redirects of one request
MAX_LOCATION = 200  # characters of a location that an error repeats

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_SAME_METHOD = frozenset({307, 308})  # the statuses by which the method and the body stay (RFC 9110 section 15.4)


def is_redirect(status: int, headers: Mapping[str, str]) -> bool:
    """Whether an answer sends the client elsewhere."""
    return status in _REDIRECTS and "location" in headers


def redirected(request: Request, status: int, location: str, origin: Origin, hops: int) -> Request:
    """The request for the location that a redirect names; `hops`: how many were followed before.

    Raises `UpstreamError` that names the location if it is not followed.
    """
    line, _, rest = (request if isinstance(request, bytes) else request.head).partition(b"\r\n")
    method, target, _ = line.decode("ascii").split(" ", 2)
    scheme = "https" if origin.tls else "http"
    root = f"{scheme}://{origin.authority}"
    via_proxy = target.startswith(root)  # a proxy is told the whole URL (RFC 9112 section 3.2.2)
    try:
        url = urljoin(target if via_proxy else root + target, location.strip())
        parts, there = urlsplit(url), Origin.parse(url)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        following = http1.encode_request_line(method, root + path if via_proxy else path)
    except ValueError:
        raise UpstreamError(f"HTTP {status} with a Location that is no URL") from None
    # As it was written, since a secret in it may be known by its case; without the user, who is nobody's business.
    where = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"[:MAX_LOCATION]
    if parts.scheme != scheme or (there.host, there.port) != (origin.host, origin.port):
        raise UpstreamError(f"HTTP {status}: it redirects to another origin; base_url has to name it", quoted=where)
    if status not in _SAME_METHOD:
        raise UpstreamError(f"HTTP {status}: it redirects by a status that is not followed", quoted=where)
    if hops >= MAX_HOPS:
        raise UpstreamError(f"HTTP {status}: more than {MAX_HOPS} redirects", quoted=where)
    return following + rest if isinstance(request, bytes) else replace(request, head=following + rest)
