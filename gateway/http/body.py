"""Shell: reads the body of a request, within its limits of size and time."""

import asyncio
from typing import cast

from aiohttp import web

from gateway.errors import ClientError, ExpectationFailed, PayloadTooLarge, RequestTimeout
from gateway.http.aiohttp_seam import ClientProtocol
from gateway.http.errors import MAX_BODY_BYTES, error_response

BODY_SECONDS = 60.0  # a client that needs longer for a few megabytes holds a connection for nothing


async def read_body(request: web.Request) -> bytes:
    """The whole body, decompressed. Raises `ClientError`."""
    _check_length(request)
    client = cast(ClientProtocol, request.protocol)
    client.reads(request.content)
    try:
        if request.content.is_eof():  # it came with the head, as most do: there is nothing to wait for
            return _whole(request)
        async with asyncio.timeout(BODY_SECONDS):
            return await request.read()
    except TimeoutError:
        raise RequestTimeout(f"the body did not come within {BODY_SECONDS:.0f} s") from None
    except web.RequestPayloadError:
        request.content.feed_eof()  # there is nothing more to read, also for aiohttp when it clears up
        client.close()
        raise ClientError("the body cannot be read: its framing or its Content-Encoding is broken") from None
    finally:
        client.reads(None)


def _whole(request: web.Request) -> bytes:
    content: bytes = request.content.read_nowait()
    limit = request.app[MAX_BODY_BYTES]
    if len(content) > limit:  # a compressed one, or one that did not tell its length
        raise PayloadTooLarge(f"the body is larger than server.max_body_bytes ({limit})")
    return content


async def on_expect(request: web.Request) -> web.StreamResponse | None:
    """Answers `Expect` (RFC 9110 section 10.1.1): go on, or, for a body that will be refused, the refusal."""
    if request.headers.get("Expect", "").lower() != "100-continue":
        refusal = error_response(ExpectationFailed("the only expectation that is met is 100-continue"))
        refusal.force_close()
        return refusal
    try:
        _check_length(request)
    except PayloadTooLarge as error:
        refusal = error_response(error)
        refusal.force_close()
        return refusal
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    # What was written is not part of the answer that is still to come.
    request.writer.output_size = 0
    return None


def _check_length(request: web.Request) -> None:
    limit = request.app[MAX_BODY_BYTES]
    if (request.content_length or 0) > limit:
        raise PayloadTooLarge(f"the body is larger than server.max_body_bytes ({limit})")
