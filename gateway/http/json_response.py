"""Shell: the responses of aiohttp's way with JSON that is written already, part by part if it is long."""

import asyncio
from collections.abc import AsyncIterator, Mapping

from aiohttp import web

from gateway.wire.json_pieces import LongText


def response_of(content: bytes | LongText, headers: Mapping[str, str]) -> web.Response:
    """The response with this JSON; a long one is sent part by part, as fast as its client takes it."""
    if isinstance(content, bytes):
        return web.Response(body=content, content_type="application/json", headers=headers)
    length = {} if (size := content.size) is None else {"Content-Length": str(size)}
    return web.Response(body=_parts(content), content_type="application/json", headers={**headers, **length})


async def _parts(content: LongText) -> AsyncIterator[bytes]:
    for part in content.parts():
        yield part
        await asyncio.sleep(0)  # a client that is quick enough is never waited for
