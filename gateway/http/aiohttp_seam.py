"""Shell: the seam to aiohttp: the only file that uses private members of aiohttp.

aiohttp may change these members in any release. `tests/http/test_aiohttp_seam.py` has a test for each function here,
and `pyproject.toml` admits only the versions that passed them.
"""

import asyncio
import re
from collections.abc import Callable
from typing import Any

from aiohttp import web
from aiohttp.http import HttpVersion11, RawRequestMessage
from yarl import URL

# What aiohttp's parser says of a request line with a version that it does not know or cannot read, and of the preface
# of HTTP/2 (RFC 9113 section 3.4).
_OTHER_VERSION = re.compile(r"Invalid HTTP version|Expected dot:|Pause on PRI|Expected HTTP/2 Connection Preface")


class HoldingHandler(web.RequestHandler):
    """aiohttp's protocol of a connection, whose transport is not read while bytes are held.

    `held`: bytes that have come, and wait for a later turn in which aiohttp's parser takes them.
    """

    __slots__ = ("held",)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.held = b""

    def _resume_transport_reading(self) -> None:
        if not self.held:
            super()._resume_transport_reading()


def connect(handler: web.RequestHandler, transport: asyncio.Transport) -> None:
    """Take a new connection as `RequestHandler.connection_made` does, but without a task.

    `begin` starts the task, so that a connection that only the fast way serves has none. The options of the socket
    are the caller's business, but for `TCP_NODELAY`, which the event loop sets.
    """
    handler.transport = transport
    assert handler._manager is not None
    handler._manager.connection_made(handler, transport)
    start_keepalive_timer(handler)


def begin(handler: web.RequestHandler) -> None:
    """Start the task in which aiohttp answers the requests that it is given, unless it runs."""
    if handler._task_handler is None:
        handler._task_handler = handler._loop.create_task(handler.start())


def is_closing(handler: web.RequestHandler) -> bool:
    """Whether the connection will be closed, at once or after the answer that is under way."""
    return handler._close or handler._force_close


def is_idle(handler: web.RequestHandler) -> bool:
    """Whether aiohttp waits for a request: all requests that its parser has found are answered, their bodies read."""
    waiter = handler._waiter
    return (
        waiter is not None
        and not waiter.done()
        and not handler._messages
        and handler._payload_parser is None  # no WebSocket
        and not is_closing(handler)
    )


def requests_found(handler: web.RequestHandler) -> int:
    """How many requests, broken ones included, the parser has found since the connection was made."""
    return handler._request_count


def has_found_broken_bytes(handler: web.RequestHandler) -> bool:
    """Whether the newest message that waits for its turn is an error of the parser instead of a request."""
    return bool(handler._messages) and not isinstance(handler._messages[-1][0], RawRequestMessage)


def has_enough(handler: web.RequestHandler) -> bool:
    """Whether a body holds so much that nobody has read that the parser takes no more; it asks when it goes on."""
    return handler._reading_paused


def resume_reading(handler: web.RequestHandler) -> None:
    """Read the transport again after a pause of our own, unless aiohttp has paused it, too."""
    if not handler._reading_paused and not handler._buffer_paused:
        handler._resume_transport_reading()


def end_lingering(handler: web.RequestHandler) -> None:
    """Let the task of a connection that is being lost end, if it waits for the rest of a body that nobody reads."""
    if handler._task_handler is not None and not handler._request_in_progress:
        handler._task_handler.cancel()


def start_keepalive_timer(handler: web.RequestHandler) -> None:
    """Close the connection after the keep-alive time unless another request comes. `keep_alive(True)` stops it."""
    loop = handler._loop
    handler._next_keepalive_close_time = loop.time() + handler._keepalive_timeout
    handler._keepalive_handle = loop.call_at(handler._next_keepalive_close_time, _close_idle, handler)


def _close_idle(handler: web.RequestHandler) -> None:
    """Close a connection that has been idle for the keep-alive time; aiohttp knows so only while its task runs."""
    if handler._task_handler is not None:
        handler._process_keepalive()
    else:
        handler._keepalive_handle = None
        handler.force_close()


def is_about_version(message: str) -> bool:
    """Whether an error of the parser, with this message, is about the version of HTTP that the request names."""
    return _OTHER_VERSION.search(message) is not None


def answer_as_http11(request: web.BaseRequest) -> None:
    """Let the status line of the answer say HTTP/1.1, whatever version the request line has named."""
    request._version = HttpVersion11
    request._cache.pop("version", None)  # what was read of it before


def rewrite_targets(server: web.Server, rewrite: Callable[[str], str]) -> None:
    """Have every request of the server made with the target that `rewrite` makes of the one that came."""
    make = server.request_factory

    def make_rewritten(message: RawRequestMessage, *rest: Any) -> web.BaseRequest:
        target = rewrite(message.path)
        if target != message.path:
            message = message._replace(path=target, url=_url_of(target))
        return make(message, *rest)

    server.request_factory = make_rewritten


def _url_of(target: str) -> URL:
    path, _, query = target.partition("?")
    return URL.build(path=path, query_string=query, encoded=True)
