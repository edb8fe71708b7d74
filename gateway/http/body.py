"""Shell: reads the body of a request on aiohttp's way, within its limits of size and time."""

import asyncio
from typing import cast

from aiohttp import web

from gateway.errors import ClientError, ExpectationFailed, PayloadTooLarge, RequestTimeout, RivergateError
from gateway.http.client_connection import ClientProtocol
from gateway.http.errors import MAX_BODY_BYTES, error_response

BODY_SECONDS = 60.0  # a client that needs longer for a few megabytes holds a connection for nothing


async def read_body(request: web.Request) -> bytes:
    """The whole body, decompressed. Raises `ClientError`."""
    _check_length(request)
    client = cast(ClientProtocol, request.protocol)
    client.reads(request.content)
    try:
        if request.content.is_eof():  # the body came with the head, as most do: there is nothing to wait for
            return _whole(request)
        async with asyncio.timeout(BODY_SECONDS):
            return await request.read()
    except TimeoutError:
        raise RequestTimeout(f"the body did not come within {BODY_SECONDS:.0f} s") from None
    except web.RequestPayloadError:
        request.content.feed_eof()  # so that aiohttp does not wait for the rest either
        client.close()
        raise ClientError("the body cannot be read: its framing or its Content-Encoding is broken") from None
    finally:
        client.reads(None)


async def on_expect(request: web.Request) -> web.StreamResponse | None:
    """Answer `Expect` (RFC 9110 section 10.1.1): go on, or refuse before the body is sent."""
    if request.headers.get("Expect", "").lower() != "100-continue":
        return _refusal(ExpectationFailed("the only expectation that is met is 100-continue"))
    try:
        _check_length(request)
    except PayloadTooLarge as error:
        return _refusal(error)
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    request.writer.output_size = 0  # an interim answer does not count as the beginning of the answer
    return None


def _refusal(error: RivergateError) -> web.Response:
    """The response that refuses a body; it closes the connection, since the client may already be sending."""
    response = error_response(error)
    response.force_close()
    return response


def _whole(request: web.Request) -> bytes:
    content: bytes = request.content.read_nowait()
    limit = request.app[MAX_BODY_BYTES]
    if len(content) > limit:  # the body was compressed, or came without a length
        raise PayloadTooLarge(f"the body is larger than server.max_body_bytes ({limit})")
    return content


def _check_length(request: web.Request) -> None:
    limit = request.app[MAX_BODY_BYTES]
    if (request.content_length or 0) > limit:
        raise PayloadTooLarge(f"the body is larger than server.max_body_bytes ({limit})")
