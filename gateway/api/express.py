"""Shell: the short way of a plain streamed completion: from the bytes of its request to its upstream in one call.

Behind aiohttp's parser it needs no task, no turn of the loop, no request object, route or middleware, which together
take longer than all that the gateway itself does before a first token (bench/NOTES.md). Whatever is not plain takes
the framework's way, which answers the same: a request in pieces or sent ahead, another path or method, HTTP/1.0, a
browser's, a compressed one, a whole answer, an unknown key, no room.
"""

import logging
import re

from aiohttp import HttpVersion11
from aiohttp.http import RawRequestMessage

from gateway.access.caller import Caller
from gateway.api.chat_request import Asked, parse
from gateway.api.context import Context, refusal_for_capacity
from gateway.api.envelope import encoded_error, request_id_by
from gateway.api.exchange import Exchange
from gateway.api.identity import Requester, common_headers
from gateway.api.opening import Opening
from gateway.api.protocol import ClientProtocol
from gateway.errors import RivergateError

PATH = "/v1/chat/completions"
_LEFT_TO_FRAMEWORK = ("Origin", "Expect")  # CORS (api/identity.py), and who wants to hear from us before the body
_STREAMED = re.compile(rb'"stream"\s*:\s*true')

_log = logging.getLogger("rivergate.api")


class Express:
    """Takes what is plain; one for all connections."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def __call__(self, client: ClientProtocol, message: RawRequestMessage, content: bytes) -> bool:
        """Whether this request is answered here; `client.on_answered` is called when it is."""
        if not (
            message.path == PATH
            and message.method == "POST"
            and message.version == HttpVersion11
            and not (message.should_close or message.compression or message.upgrade)
            and not any(name in message.headers for name in _LEFT_TO_FRAMEWORK)
            and _STREAMED.search(content)
        ):
            return False
        context, headers = self._context, message.headers
        if len(content) > context.config.server.max_body_bytes or refusal_for_capacity(context, "POST") is not None:
            return False
        try:
            caller = context.gate.known(headers)
            asked = parse(content)
        except RivergateError:
            return False  # it is told in the framework's way
        if caller is None or not asked.chat.stream:
            return False
        _Run(client, context, Requester(headers, request_id_by(headers), caller)).start(caller, asked)
        return True


class _Run:
    """One request."""

    __slots__ = ("_client", "_context", "_exchange", "_requester")

    def __init__(self, client: ClientProtocol, context: Context, requester: Requester) -> None:
        self._client = client
        self._context = context
        self._requester = requester
        self._exchange = Exchange(client, self._on_end)

    def start(self, caller: Caller, asked: Asked) -> None:
        try:
            opening = Opening(self._requester, caller, self._context, asked)
            self._exchange.start(opening, self._context, chunked=True, keep_alive=True)
        except RivergateError as error:
            self._on_end(error)
        except Exception:
            _log.exception("request %s failed", self._requester.request_id)
            self._on_end(RivergateError("the gateway failed to handle this request"))

    def _on_end(self, outcome: Exception | None) -> None:
        client = self._client
        if isinstance(outcome, RivergateError) and not self._exchange.head_bytes and client.transport is not None:
            headers = common_headers(self._requester, self._context.cors)
            client.transport.write(encoded_error(outcome, headers))
            outcome = None
        client.on_answered(keep_alive=outcome is None)
