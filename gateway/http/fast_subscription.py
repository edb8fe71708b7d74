"""Shell: the fast way of a plain subscription: from the bytes of its request to a socket in the watch in one call.

It needs no task, no request object, route or middleware. Like aiohttp's way it takes the steps of `Admission`, opens
the subscription by `Subscriptions`, and renders errors with `errors.render_for_subscriber`. It leaves some kinds of
request to aiohttp's way: for a stream that this process does not have, with a key that only the books know, with a
token whose key only its issuer knows, on a connection that cannot be taken over or has bytes unsent, when there is no
descriptor left, and when there is no room.
"""

import asyncio

from multidict import CIMultiDict

from gateway.http.admission import RequestHead
from gateway.http.capacity import NoRoom
from gateway.http.client_connection import ClientProtocol
from gateway.http.errors import as_rivergate_error, render_for_subscriber
from gateway.http.event_stream import encode_no_content
from gateway.http.request_id import request_id_in
from gateway.http.request_parser import EventsTarget, PlainRequest
from gateway.http.streamed_reply import ReplyParts
from gateway.http.subscriptions import EventsRequest, Subscription, readable
from gateway.http.takeover import duplicate, is_bare, start_taken
from gateway.http.viewing import key_is_known, token_text


class _LeftToAiohttp(Exception):
    """The request is one that only aiohttp's way can answer."""


class FastSubscription:
    """The fast way of subscriptions for all connections."""

    __slots__ = ("_parts",)

    def __init__(self, parts: ReplyParts) -> None:
        self._parts = parts

    def answer(self, client: ClientProtocol, request: PlainRequest, target: EventsTarget) -> bool:
        """Take the connection over, or answer with an error or with 204; False: aiohttp has to answer."""
        transport = client.transport
        if transport is None or transport.get_write_buffer_size() or not is_bare(transport):
            return False
        headers: CIMultiDict[str] = CIMultiDict(request.fields)
        head, admission = RequestHead(headers, request_id_in(headers), None), self._parts.admission
        token = token_text(target.query, headers, self._parts.in_force)
        if token is not None and not key_is_known(token, self._parts.in_force):
            return False
        try:
            admission.enter("GET", headers)
            if token is None:
                head = RequestHead(headers, head.request_id, admission.known_caller(headers))
                if head.caller is None:
                    return False
            if self._take_over(client, transport, EventsRequest(target.name, target.query, head, True), target):
                return True
            answer = encode_no_content(admission.answer_headers(head))
        except (NoRoom, _LeftToAiohttp):
            return False
        except Exception as error:
            answer = self._refusal(error, head, target)
        transport.write(answer)
        client.on_answered(keep_alive=True)
        return True

    # --- inside

    def _take_over(
        self, client: ClientProtocol, transport: asyncio.Transport, asked: EventsRequest, target: EventsTarget
    ) -> bool:
        """Serve the subscription on a duplicate of the socket, and let go of the connection.

        False: the client has been sent everything. Raises `RivergateError`, `_LeftToAiohttp`.
        """
        taken, watch = duplicate(transport), self._parts.subscriptions.capacity.watch
        if taken is None or watch is None:
            raise _LeftToAiohttp
        try:
            subscription = self._open(asked, target)
        except BaseException:
            taken.close()
            raise
        if subscription is None:
            taken.close()
            return False
        client.let_go()
        start_taken(taken, watch, subscription)
        return True

    def _open(self, asked: EventsRequest, target: EventsTarget) -> Subscription | None:
        subscriptions = self._parts.subscriptions
        if target.kind == "feeds":
            return subscriptions.to_feed(asked)
        if target.kind == "events":
            return self._parts.channels.open(asked)
        token = subscriptions.token_for(f"stream:{asked.name}", asked.query, asked.head.headers)
        production = self._parts.opening.directory.here(asked.name)
        if production is None:
            raise _LeftToAiohttp
        return subscriptions.to_stream(asked, readable(production, token, asked.head, asked.name), token)

    def _refusal(self, error: Exception, head: RequestHead, target: EventsTarget) -> bytes:
        """The answer with this error."""
        told = as_rivergate_error(error, head.request_id)
        refused = render_for_subscriber(told, head.headers, self._parts.admission.answer_headers(head))
        line, reason = f"GET {target.path}", refused.reason
        self._parts.refusals.on_refused(refused.counts_as, refused.code, head, line, reason)
        return refused.encode()
