"""Shell: reads and checks the body of a request on aiohttp's way, within its limits of size, time and memory.

aiohttp hands bodies over as they came. They are decompressed here, so that nothing is inflated before the caller is
known and the path wants a body; and whatever a body holds, the event loop goes on after some milliseconds.
"""

import asyncio
import hashlib
from collections.abc import Iterator
from functools import partial
from typing import cast

from aiohttp import web

from gateway.dialects.dialect import CheckedRequest, Dialect, check
from gateway.dialects.request_body import is_read_at_once
from gateway.errors import (
    ClientError,
    ExpectationFailed,
    PayloadTooLarge,
    RequestTimeout,
    RivergateError,
    UnsupportedEncoding,
)
from gateway.http.client_connection import ClientProtocol
from gateway.http.errors import MAX_BODY_BYTES, close_after, error_response
from gateway.http.turns import Turns
from gateway.http.waiting import WaitingBody
from gateway.wire.content_coding import CODINGS, BrokenContent, Inflater, inflater_for
from gateway.wire.json_members import Buffer

BODY_SECONDS = 60.0  # a client that needs longer for a body of some bytes holds a connection for nothing
LEAST_BYTES_PER_SECOND = 131072  # a long body may take as much longer as it does at this rate
SMALL_BODY_BYTES = 65536  # the limit of a body that is not for an upstream
BYTES_IN_A_TURN = 262144  # of inflated content: 1 ms


async def read_checked(request: web.Request, dialect: Dialect, turns: Turns, waiting: WaitingBody) -> CheckedRequest:
    """The request that the body asks for, checked by its dialect. Raises `ClientError`, `ServiceUnavailable`."""
    content = await read_body(request, turns, waiting)
    if is_read_at_once(content):
        return check(dialect, content)
    reading = dialect.begin_reading(content)
    while not await turns.run(reading.step):
        check_client(request)
    digest = b""
    if "X-Stream-Key" in request.headers:
        digest = (await asyncio.to_thread(hashlib.sha256, content)).digest()  # which lets other threads run
    return CheckedRequest(dialect, dialect.parse(reading.body()), content, digest)


def check_client(request: web.Request) -> None:
    """Raise `ConnectionResetError` if the client is gone, so that nobody works on its request any more."""
    if request.transport is None:
        raise ConnectionResetError("the client is gone")


async def read_body(
    request: web.Request, turns: Turns, waiting: WaitingBody | None = None, limit: int | None = None
) -> Buffer:
    """The whole body, decompressed; at most `limit` bytes, or `server.max_body_bytes`.

    `waiting` counts its bytes. Raises `ClientError`, `ServiceUnavailable`.
    """
    limit = min(limit or request.app[MAX_BODY_BYTES], request.app[MAX_BODY_BYTES])
    _check_length(request, limit)
    inflater = _inflater_for(request)
    client = cast(ClientProtocol, request.protocol)
    client.reads(request.content)
    try:
        if inflater is None and request.content.is_eof():  # the body came with the head: there is nothing to wait for
            content: bytes = request.content.read_nowait()
            _Collector(waiting, limit).count(len(content))
            return content
        return await _read(request, turns, inflater, _Collector(waiting, limit))
    except TimeoutError:
        raise RequestTimeout(f"the body did not come within {BODY_SECONDS:.0f} s") from None
    except web.RequestPayloadError:
        request.content.feed_eof()  # so that aiohttp does not wait for the rest either
        close_after(request)
        raise ClientError("the body cannot be read: its framing is broken") from None
    except BrokenContent as error:
        close_after(request)
        raise ClientError(f"the body cannot be read: its Content-Encoding is broken: {error}") from None
    finally:
        client.reads(None)


async def on_expect(request: web.Request) -> web.StreamResponse | None:
    """Refuse an `Expect` (RFC 9110 section 10.1.1) that cannot be met; `read_body` meets the others."""
    if request.headers.get("Expect", "").lower() != "100-continue":
        return _refusal(ExpectationFailed("the only expectation that is met is 100-continue"), request)
    try:
        _check_length(request, request.app[MAX_BODY_BYTES])
    except PayloadTooLarge as error:
        return _refusal(error, request)
    return None


class _Collector:
    """Puts a body together, within its limits."""

    def __init__(self, waiting: WaitingBody | None, limit: int) -> None:
        self.content = bytearray()
        self._waiting = waiting
        self._limit = limit
        self._size = 0

    def count(self, size: int) -> None:
        """Count bytes that have come. Raises `PayloadTooLarge`, `ServiceUnavailable`."""
        self._size += size
        if self._size > self._limit:
            raise _too_large(self._limit)
        if self._waiting is not None:
            self._waiting.grow(size)

    def add(self, piece: bytes) -> None:
        """Add the next bytes. Raises what `count` raises."""
        self.count(len(piece))
        self.content += piece

    def add_some(self, pieces: Iterator[bytes]) -> bool:
        """Add the pieces of one turn; returns whether there may be more."""
        size = 0
        for piece in pieces:
            self.add(piece)
            size += len(piece)
            if size >= BYTES_IN_A_TURN:
                return True
        return False


async def _read(request: web.Request, turns: Turns, inflater: Inflater | None, collector: _Collector) -> bytearray:
    patience_ends = asyncio.get_running_loop().time() + BODY_SECONDS
    if "Expect" in request.headers and not request.content.is_eof():
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # an interim answer does not count as the beginning of the answer
    async with asyncio.timeout_at(patience_ends) as deadline:
        while data := await request.content.readany():
            if inflater is None:
                collector.add(data)
            else:
                add_some = partial(collector.add_some, inflater.feed(data))
                while await turns.run(add_some):
                    pass
            deadline.reschedule(patience_ends + len(collector.content) / LEAST_BYTES_PER_SECOND)
    if inflater is not None:
        inflater.end()
    return collector.content


def _inflater_for(request: web.Request) -> Inflater | None:
    try:
        return inflater_for(", ".join(request.headers.getall("Content-Encoding", [])))
    except LookupError as coding:
        known = ", ".join(CODINGS)
        message = f"the Content-Encoding {str(coding)[:100]} is not understood; these are: {known}"
        raise UnsupportedEncoding(message, param="Content-Encoding") from None


def _refusal(error: RivergateError, request: web.Request) -> web.Response:
    """The response that refuses a body; it closes the connection, since the client may already be sending."""
    response = error_response(error, request)
    response.force_close()
    return response


def _check_length(request: web.Request, limit: int) -> None:
    if (request.content_length or 0) > limit:
        raise _too_large(limit)


def _too_large(limit: int) -> PayloadTooLarge:
    if limit == SMALL_BODY_BYTES:
        return PayloadTooLarge(f"the body is larger than {limit} bytes")
    return PayloadTooLarge(f"the body is larger than server.max_body_bytes ({limit})")
