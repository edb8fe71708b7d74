"""Shell: the short way of a plain streamed completion: from the bytes of its request to its upstream in one call.

It needs no task, no turn of the loop, no request object, route or middleware: a quarter of the time before a first
token (bench/NOTES.md). Whatever is not plain takes the framework's way, which answers the same: another path or
method, requests sent ahead, HTTP/1.0, a browser's, a compressed or a large one, a whole answer, an unknown key, no
room, a bank or a directory that has to be waited for.
"""

import logging
import re

from multidict import CIMultiDict

from gateway.access.callers import Caller
from gateway.dialects.chat.dialect import CHAT
from gateway.dialects.dialect import CheckedRequest, check
from gateway.errors import RivergateError
from gateway.http.admission import Requester, common_headers
from gateway.http.aiohttp_seam import ClientProtocol, Verdict
from gateway.http.context import Context, refusal_for_capacity
from gateway.http.errors import encoded_error, request_id_by
from gateway.http.opening import Opening, answers_at_once
from gateway.http.streamed_reply import StreamedReply
from gateway.wire import http1

REQUEST_LINE = http1.encode_request_line("POST", CHAT.path)
MAX_CONTENT = 262144  # bytes; a longer one is put together from many reads, for which aiohttp is better made
_NOT_PLAIN = frozenset({"transfer-encoding", "content-encoding", "expect", "origin", "upgrade"})
_STREAMED = re.compile(rb'"stream"\s*:\s*true')

_log = logging.getLogger("rivergate.api")


class FastPath:
    """Takes what is plain; one for all connections."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def __call__(self, client: ClientProtocol, data: bytes) -> Verdict:
        """`data`: all that the client has sent since its last request."""
        if not data.startswith(REQUEST_LINE):
            return Verdict.INCOMPLETE if REQUEST_LINE.startswith(data) else Verdict.LEFT
        try:
            head = http1.parse_fields(data, len(REQUEST_LINE))
        except ValueError:
            return Verdict.LEFT
        if head is None:
            return Verdict.INCOMPLETE
        fields, start = head
        length = _plain_length(fields)
        came = len(data) - start
        if length is None or length < came or length > self._context.config.server.max_body_bytes:
            return Verdict.LEFT
        if length > came:
            return Verdict.INCOMPLETE
        return self._take(client, CIMultiDict(fields), data[start:])

    def _take(self, client: ClientProtocol, headers: CIMultiDict[str], content: bytes) -> Verdict:
        context = self._context
        if not _STREAMED.search(content) or refusal_for_capacity(context, "POST") is not None:
            return Verdict.LEFT
        try:
            caller = context.gate.known(headers)
            asked = check(CHAT, content)
        except RivergateError:
            return Verdict.LEFT  # it is told in the framework's way
        if caller is None or not asked.request.streamed or not answers_at_once(context, caller, headers):
            return Verdict.LEFT
        client.keep_alive(True)  # the timer of an idle connection does not run
        _Run(client, context, Requester(headers, request_id_by(headers), caller)).start(caller, asked)
        return Verdict.TAKEN


class _Run:
    """One request."""

    __slots__ = ("_client", "_context", "_exchange", "_requester")

    def __init__(self, client: ClientProtocol, context: Context, requester: Requester) -> None:
        self._client = client
        self._context = context
        self._requester = requester
        self._exchange = StreamedReply(client, self._on_end)

    def start(self, caller: Caller, asked: CheckedRequest) -> None:
        try:
            opening = Opening(self._requester, caller, self._context, asked)
            opening.admit_at_once()
        except Exception as error:
            self._exchange.fail(error)
        else:
            self._exchange.start(opening, self._context, chunked=True, keep_alive=True)

    def _on_end(self, outcome: Exception | None) -> None:
        whole = outcome is None
        try:
            if outcome is not None and not isinstance(outcome, ConnectionResetError):
                whole = self._tell(outcome)
        finally:
            self._client.on_answered(keep_alive=whole)

    def _tell(self, error: Exception) -> bool:
        """Answer with this error; whether that could be done."""
        if not isinstance(error, RivergateError):
            _log.error("request %s failed", self._requester.request_id, exc_info=error)
            error = RivergateError("the gateway failed to handle this request")
        transport = self._client.transport
        if self._exchange.head_bytes or transport is None:
            return False
        transport.write(encoded_error(error, common_headers(self._requester, self._context.cors)))
        return True


def _plain_length(fields: list[tuple[str, str]]) -> int | None:
    """The length of the body behind a head with these fields; None if something about it is out of the ordinary."""
    known = {name.lower(): value for name, value in fields}
    length = known.get("content-length", "")
    if (
        len(known) != len(fields)
        or not _NOT_PLAIN.isdisjoint(known)
        or known.get("connection", "keep-alive").lower() != "keep-alive"
        or not (length.isdigit() and len(length) < 8 and int(length) <= MAX_CONTENT)
    ):
        return None
    return int(length)
